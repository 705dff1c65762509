"""Gathers what queries show from the store, in a fixed number of round trips for any number of calls."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeVar

from cdr_service.domain.calls import Call, Meeting
from cdr_service.domain.completeness import complete, known_losses
from cdr_service.domain.directory import Directory
from cdr_service.domain.filters import CallMatch, SwitchMatch
from cdr_service.domain.legs import Leg
from cdr_service.domain.pages import Listing, Place
from cdr_service.domain.records import OrderKey
from cdr_service.domain.sessions import Session
from cdr_service.domain.showing import Known, Scope, standing_of, switch_view
from cdr_service.domain.stored import ListReads
from cdr_service.domain.views import SwitchView
from cdr_service.domain.workspace import KINDS
from cdr_service.reading.paging import Entry

T = TypeVar("T")


class Reads(ListReads, Protocol):
    """What the use cases need of the store. Every method may raise StoreUnavailable."""

    async def leg_counts(self, deployment: str, calls: Sequence[str]) -> list[int]:
        """Return how many legs were ever on each of the calls."""
        ...

    def switch(self, place: Place) -> tuple[str, OrderKey]:
        """Return the meeting that an entry of the list of switches names, and where in its timeline."""
        ...

    async def directory(self, deployment: str) -> Directory:
        """Return the directory by which all processes decide; an empty one where none was ever stored."""
        ...

    async def usage(self, deployment: str) -> Mapping[str, int]:
        """Return the counts of what is in use now (see `domain.usage`)."""
        ...

    async def unsafe(self) -> list[str]:
        """Return sentences that name what is unsafe about the store."""
        ...


KIND_NAMES: Final[Mapping[type, str]] = {kind: name for name, kind in KINDS.items()}

READS_OF_A_CALL: Final = 3
"""A call whose meeting is gone when we look for it was just merged into another meeting, so it is read again."""


class Loaded(NamedTuple):
    """A call with what belongs to it."""

    call: Call
    meeting: Meeting
    session: Session | None
    legs: int
    """How many legs were ever on it."""


class Gathering:
    """Reads what belongs together. Every method may raise StoreUnavailable."""

    def __init__(self, reads: Reads, clock: Callable[[], int]) -> None:
        """`clock` returns milliseconds since 1970 UTC."""
        self._reads = reads
        self._clock = clock

    async def things(self, deployment: str, kind: type[T], ids: Iterable[str]) -> list[T]:
        """Return those of the things that exist."""
        found = await self._reads.things(deployment, [(KIND_NAMES[kind], id_) for id_ in ids])
        return [thing for thing in found if isinstance(thing, kind)]

    async def places_in(
        self, deployment: str, meeting: str, listing: Listing, start: Place | None, count: int
    ) -> list[Place]:
        """Return the places of the calls of one meeting, as `Reads.places` does for all calls."""
        found = await self.things(deployment, Meeting, [meeting])
        calls = await self.things(deployment, Call, found[0].calls) if found else []
        live = listing is Listing.LIVE
        places = [Place(call.end.time if call.end else call.began, call.id) for call in calls if _is_live(call) == live]
        return sorted((place for place in places if start is None or place <= start), reverse=True)[:count]

    async def loaded(
        self, scope: Scope, ids: Iterable[str], keep: Callable[[Call], bool] = lambda _: True
    ) -> list[Loaded]:
        """Return calls with their meetings and sessions, in any order; those that are not kept are left out."""
        found: list[Loaded] = []
        for _ in range(READS_OF_A_CALL):
            calls = [call for call in await self.things(scope.deployment, Call, ids) if keep(call)]
            keys = {("meeting", call.meeting) for call in calls} | {("session", call.session) for call in calls}
            named = list(keys)
            # At once, because each answer waits behind the documents that the process is taking in.
            read, counts = await asyncio.gather(
                self._reads.things(scope.deployment, named),
                self._reads.leg_counts(scope.deployment, [call.id for call in calls]),
            )
            things = dict(zip(named, read, strict=True))
            for call, legs in zip(calls, counts, strict=True):
                meeting = things["meeting", call.meeting]
                if meeting is not None:
                    found.append(Loaded(call, meeting, things["session", call.session], legs))
            ids = [call.id for call in calls if things["meeting", call.meeting] is None]
            if not ids:
                break
        return found

    def known(self, loaded: Sequence[Loaded]) -> list[Known]:
        """Return calls with all that they are shown from."""
        now = self._clock()
        losses = {one.call.session: known_losses(one.session, now) for one in loaded}
        return [Known(one.call, one.meeting, one.legs, complete(one.call, losses[one.call.session])) for one in loaded]

    async def matching(self, scope: Scope, ids: Iterable[str], match: CallMatch, *, live: bool) -> list[Known]:
        """Return those of the calls that are selected; the cheap questions are asked first."""
        loaded = await self.loaded(scope, ids, lambda call: _is_live(call) == live and match.call(call))
        loaded = [one for one in loaded if match.meeting(one.call, one.meeting, scope.policy)]
        if match.asks_for_participants:
            on_call = await self._reads.leg_ids(scope.deployment, [one.call.id for one in loaded])
            legs = await self.things(scope.deployment, Leg, {leg for ids in on_call for leg in ids})
            by_id = {leg.id: leg for leg in legs}
            of_call = [[by_id[leg] for leg in ids if leg in by_id] for ids in on_call]
            directory = await self._reads.directory(scope.deployment)
            loaded = [
                one
                for one, legs in zip(loaded, of_call, strict=True)
                if match.participants(legs, directory)
                and match.found(one.call, one.meeting, scope.policy, legs, directory)
            ]
        return self.known(loaded)

    async def switches(
        self, scope: Scope, entries: Iterable[Entry], match: SwitchMatch
    ) -> dict[Entry, list[SwitchView]]:
        """Return for each entry the selected changes that its record made."""
        named = {entry: self._reads.switch(entry.place) for entry in entries}
        wanted = {meeting for meeting, _ in named.values() if match.meeting(meeting)}
        meetings = {m.id: m for m in await self.things(scope.deployment, Meeting, wanted)}
        selected = {
            entry: [
                transition
                for transition in standing_of(meetings[meeting], scope.policy).transitions
                if transition.at == at and match.transition(transition)
            ]
            for entry, (meeting, at) in named.items()
            if meeting in meetings
        }
        shown = {named[entry][0] for entry, transitions in selected.items() if transitions}
        calls = {call for meeting in shown for call in meetings[meeting].calls}
        names = {call.id: call.name for call in await self.things(scope.deployment, Call, calls)}
        views: dict[Entry, list[SwitchView]] = {entry: [] for entry in named}
        for entry, transitions in selected.items():
            meeting = meetings[named[entry][0]]
            name = next(filter(None, map(names.get, meeting.calls)), None)
            views[entry] = [switch_view(scope.deployment, meeting, name, transition) for transition in transitions]
        return views


def _is_live(call: Call) -> bool:
    return call.end is None
