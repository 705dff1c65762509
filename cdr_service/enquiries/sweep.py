"""Goes through all live calls now and then, where this process has the lease, and asks what may change a license.

That is who a participant of an SMP+ meeting is, and whether such a meeting uses video, which CDRs do not tell before a
leg has ended; and its space, where that could not be asked for when the call began. So many requests of each node at
most each time, those first that were made longest ago.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

import structlog

from cdr_service.cms.budget import Budget
from cdr_service.cms.errors import CmsError, CmsSpent
from cdr_service.domain.calls import Call, Meeting
from cdr_service.domain.legs import Leg
from cdr_service.enquiries.enquiries import Enquiries
from cdr_service.enquiries.matters import is_in, is_unknown, takes_shared, weighs_by_video, whose_video
from cdr_service.errors import Draining, StoreUnavailable

SECONDS: Final = 10.0
"""Between two sweeps."""
REQUESTS: Final = 20
"""The budget of a sweep, for each node: two requests a second at most."""
AGAIN_SECONDS: Final = 300.0
"""A participant or a space that could not be read is asked for again after so long."""
CHUNK: Final = 200
"""Calls looked at between two turns of the event loop."""


class _Wanted(NamedTuple):
    """Something to ask, sorted by when it was asked last."""

    asked: float
    what: str
    about: str
    """Id of a leg or a call."""
    leg: Leg | None = None
    bridge: str | None = None


class Sweep:
    """The sweep of one deployment."""

    def __init__(
        self,
        enquiries: Enquiries,
        live_calls: Callable[[], Awaitable[list[str]]],
        *,
        recording_lifts: bool = False,
        requests: int = REQUESTS,
    ) -> None:
        """`live_calls` returns the ids of all live calls; `recording_lifts` is as in `matters`."""
        self._enquiries = enquiries
        self._live_calls = live_calls
        self._recording_lifts = recording_lifts
        self._requests = requests
        self._asked: dict[tuple[str, str], float] = {}
        self._using: set[str] = set()
        self._log = structlog.get_logger().bind(deployment=enquiries.deployment)

    async def run(self, leads: asyncio.Event) -> None:
        """Sweep while `leads` is set, until cancelled."""
        while True:
            await leads.wait()
            try:
                await self.once()
            except (StoreUnavailable, Draining):
                pass  # it is asked again at the next sweep
            except Exception:  # noqa: BLE001 - the next sweep must not fall with this one
                self._log.exception("upkeep.failed")
            await asyncio.sleep(SECONDS)

    async def once(self) -> None:
        """Ask what was asked longest ago, within the budget. Raises StoreUnavailable and Draining."""
        wanted: list[_Wanted] = []
        ids = await self._live_calls()
        for at in range(0, len(ids), CHUNK):
            wanted += await self._wanted(ids[at : at + CHUNK])
        present = {(one.what, one.about) for one in wanted}
        self._asked = {key: when for key, when in self._asked.items() if key in present}
        self._using &= {about for _, about in present}
        clock = asyncio.get_running_loop().time
        due = [one for one in wanted if one.what == "video" or clock() - one.asked > AGAIN_SECONDS]
        with Budget(self._requests).spending():
            for one in sorted(due, key=lambda one: one.asked)[: self._requests]:
                with suppress(CmsError):  # other nodes may answer
                    await self._ask_in_turn(one, clock())

    async def _ask_in_turn(self, one: _Wanted, now: float) -> None:
        try:
            await self._ask(one)
        except CmsSpent:
            raise  # it comes first at the next sweep
        except CmsError:
            self._asked[one.what, one.about] = now
            raise
        self._asked[one.what, one.about] = now

    async def _ask(self, one: _Wanted) -> None:
        if one.what == "space":
            await self._enquiries.space(one.about)
        elif one.leg is None or one.what == "user":
            await self._enquiries.user(one.about)
        elif await self._enquiries.video(one.leg, one.bridge):
            self._using.add(one.about)
        else:
            self._using.discard(one.about)

    async def _wanted(self, ids: list[str]) -> list[_Wanted]:
        """Return what could be asked about some calls."""
        reads, deployment = self._enquiries.reads, self._enquiries.deployment
        calls = [call for call in await reads.things(deployment, [("call", id_) for id_ in ids]) if call is not None]
        named = {call.meeting for call in calls}
        meetings = {m.id: m for m in await reads.things(deployment, [("meeting", id_) for id_ in named]) if m}
        calls = [call for call in calls if takes_shared(meetings.get(call.meeting))]
        if not calls:
            return []
        on_call = await reads.leg_ids(deployment, [call.id for call in calls])
        keys = [("leg", leg) for legs in on_call for leg in legs]
        legs = {leg.id: leg for leg in await reads.things(deployment, keys) if leg is not None}
        return [
            one
            for call, on_it in zip(calls, on_call, strict=True)
            for one in self._about(call, meetings[call.meeting], [legs[leg] for leg in on_it if leg in legs])
        ]

    def _about(self, call: Call, meeting: Meeting, legs: Iterable[Leg]) -> Iterator[_Wanted]:
        if call.cospace and not meeting.known_now.space.known:
            yield self._want("space", call.id)
        here = [leg for leg in legs if is_in(leg) and leg.calls[-1] == call.id]
        for leg in filter(is_unknown, here):
            yield self._want("user", leg.id, leg, call)
        if weighs_by_video(meeting, recording_lifts=self._recording_lifts):
            for leg in whose_video(here, self._using):
                yield self._want("video", leg.id, leg, call)

    def _want(self, what: str, about: str, leg: Leg | None = None, call: Call | None = None) -> _Wanted:
        return _Wanted(
            self._asked.get((what, about), float("-inf")), what, about, leg, call.call_bridge if call else None
        )
