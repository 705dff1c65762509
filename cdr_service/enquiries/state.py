"""The state of the books that is compared with the server's counts: live meetings, and those that ended just now."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from cdr_service.domain.calls import Call, Meeting
from cdr_service.domain.counting import Band, participants_band
from cdr_service.domain.legs import Leg
from cdr_service.domain.pages import Listing
from cdr_service.domain.sessions import Bridge, Session
from cdr_service.domain.stays import LegState, state
from cdr_service.domain.stored import ListReads
from cdr_service.domain.workspace import LEGS_OF, Key

ENDED_MAX: Final = 1000
"""Calls looked at that ended within the settle time."""
CHUNK: Final = 200
"""Calls or meetings read at a time, between two turns of the event loop."""
LEGS_MAX: Final = 50_000
"""So many legs at most are compared with the lists, or looked at for who waits in a lobby."""
DECIDED_MAX: Final = 5000
"""So many legs at most are decided by all rules."""


class Reads(ListReads, Protocol):
    """What is read from the store. Every method may raise StoreUnavailable."""

    async def bridge_ids(self, deployment: str) -> list[str]:
        """Return the ids of all Call Bridges."""
        ...


class State(NamedTuple):
    """What the books have."""

    calls: Mapping[str, Call]
    """Live ones, and those that ended just now."""
    meetings: Mapping[str, Meeting]

    def of(self, meeting: Meeting) -> list[Call]:
        """Return the calls of a meeting."""
        return [self.calls[call] for call in meeting.calls if call in self.calls]

    @property
    def live(self) -> list[Call]:
        """The calls that go on."""
        return [call for call in self.calls.values() if call.end is None]


class Bookreader:
    """Reads the state of one deployment."""

    def __init__(self, deployment: str, reads: Reads) -> None:
        self._deployment = deployment
        self._reads = reads
        self._seen: deque[tuple[int, dict[str, int]]] = deque()

    async def state(self, live: Sequence[str], since: int) -> State:
        """Return what the books have of live calls, and of those that ended since then by the records' clock."""
        ended = await self._reads.places(self._deployment, Listing.ENDED, start=None, count=ENDED_MAX, oldest=since)
        ids = list(dict.fromkeys((*live, *(place.id for place in ended))))
        calls = {call.id: call for call in await self._things("call", ids) if isinstance(call, Call)}
        named = list({call.meeting for call in calls.values()})
        meetings = {m.id: m for m in await self._things("meeting", named) if isinstance(m, Meeting)}
        return State(calls, meetings)

    def participants(self, state: State, now: int, back: int) -> Band | None:
        """Return how many may be counted as in, `back` milliseconds back; None until so far was looked back."""
        self._seen.append((now, {m.id: m.timeline.participants for m in state.meetings.values()}))
        while len(self._seen) > 1 and self._seen[1][0] <= now - back:
            self._seen.popleft()
        return participants_band([seen for _, seen in self._seen]) if self._seen[0][0] <= now - back else None

    def forget(self) -> None:
        """Forget what was seen before: there was a time in which nobody looked."""
        self._seen.clear()

    async def waiting(self, state: State) -> int:
        """Return how many wait in a lobby or an IVR, whom the server may count as participants."""
        legs = await self.legs([call.id for call in state.live])
        return sum(leg.counted and _waits(leg) for leg in legs)

    async def legs(self, calls: Sequence[str]) -> list[Leg]:
        """Return all legs that were ever on calls; not more than LEGS_MAX."""
        on = await self._reads.leg_ids(self._deployment, calls)
        ids = list(dict.fromkeys(leg for legs in on for leg in legs))[:LEGS_MAX]
        return [leg for leg in await self._things("leg", ids) if isinstance(leg, Leg)]

    async def meetings(self, ids: Sequence[str]) -> list[Meeting]:
        """Return those of the meetings that exist."""
        return [meeting for meeting in await self._things("meeting", ids) if isinstance(meeting, Meeting)]

    async def whole(self, meetings: Sequence[Meeting]) -> dict[Key, Any] | None:
        """Return meetings with everything that was ever on them, to be decided anew; None where that is too much."""
        calls = list(dict.fromkeys(call for meeting in meetings for call in meeting.calls))
        on = await self._reads.leg_ids(self._deployment, calls)
        legs = list(dict.fromkeys(leg for ids in on for leg in ids))
        if len(legs) > DECIDED_MAX:
            return None
        found: dict[Key, Any] = {("meeting", meeting.id): meeting for meeting in meetings}
        found |= {(LEGS_OF, call): frozenset(ids) for call, ids in zip(calls, on, strict=True)}
        for kind, ids in (("call", calls), ("leg", legs)):
            found |= {(kind, thing.id): thing for thing in await self._things(kind, ids) if thing is not None}
        recordings = [one for thing in found.values() if isinstance(thing, Call) for one in thing.recordings]
        things = await self._things("recording", recordings)
        return found | {("recording", thing.id): thing for thing in things if thing is not None}

    async def newest_sessions(self) -> dict[str, Session]:
        """Return the newest session of each Call Bridge, by its id."""
        ids = await self._reads.bridge_ids(self._deployment)
        bridges = [bridge for bridge in await self._things("bridge", ids) if isinstance(bridge, Bridge)]
        names = [session for bridge in bridges for session in bridge.sessions]
        sessions = {one.id: one for one in await self._things("session", names) if isinstance(one, Session)}
        found: dict[str, Session] = {}
        for bridge in bridges:
            own = [sessions[name] for name in bridge.sessions if name in sessions]
            if own:
                found[bridge.id] = max(own, key=lambda session: session.ran_until)
        return found

    async def _things(self, kind: str, ids: Sequence[str]) -> list[Any]:
        found: list[Any] = []
        for at in range(0, len(ids), CHUNK):
            found += await self._reads.things(self._deployment, [(kind, id_) for id_ in ids[at : at + CHUNK]])
        return found


def _waits(leg: Leg) -> bool:
    return bool(leg.calls) and state(leg) in (LegState.LOBBY, LegState.IVR)
