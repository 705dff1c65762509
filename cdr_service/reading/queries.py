"""The use cases: answer a query. They know neither HTTP nor Redis.

Ids are looked up in all deployments, unless one is named: they are the Call Bridges' own, and a bridge that pushes to
two deployments gives both the same. Lists are pages, newest first, merged over the deployments unless the filters name
one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

from msgspec import Struct

from cdr_service.domain.calls import Call, Meeting
from cdr_service.domain.filters import CallFilters, CallMatch, SwitchFilters, SwitchMatch
from cdr_service.domain.legs import Leg
from cdr_service.domain.options import Options
from cdr_service.domain.pages import Cursor, Listing, Page, Place
from cdr_service.domain.policies import policies_of
from cdr_service.domain.reconciling import Reconciliation
from cdr_service.domain.showing import (
    Scope,
    call_summary,
    call_view,
    leg_view,
    meeting_view,
    usage_view,
)
from cdr_service.domain.views import CallSummary, CallView, LegView, MeetingView, SwitchView, UsageView
from cdr_service.errors import BadRequest, NotFound
from cdr_service.reading.gathering import Gathering, Reads
from cdr_service.reading.hinting import Hinting
from cdr_service.reading.paging import Entry, Walk, cursor_of, part

T = TypeVar("T")

LISTINGS: Final = {"active": (Listing.LIVE,), "ended": (Listing.ENDED,), "all": (Listing.LIVE, Listing.ENDED)}
"""Where the calls of a state stand."""


class Queried(Struct, kw_only=True):
    """A deployment, as queries see it."""

    name: str
    options: Options
    assigned: Callable[[], int | None] = lambda: None
    """Gives how many users hold PMP+; None where no holders are known."""
    limit_personal: int | None = None
    limit_shared: int | None = None

    @property
    def scope(self) -> Scope:
        """The deployment and its policies."""
        return Scope(self.name, self.options.policy, tuple(policies_of(self.options)))


async def never_compared(_: str) -> Reconciliation | None:
    """Say that a deployment is not compared with anything."""
    return None


class Queries:
    """Answers queries about all deployments."""

    def __init__(
        self,
        deployments: Iterable[Queried],
        reads: Reads,
        clock: Callable[[], int],
        reconciliation: Callable[[str], Awaitable[Reconciliation | None]] = never_compared,
    ) -> None:
        """`clock` returns milliseconds since 1970 UTC.

        `reconciliation` gives where the comparison of a deployment with the server's own counts stands.
        """
        self._reconciliation = reconciliation
        self._deployments = {deployment.name: deployment for deployment in deployments}
        self._reads = reads
        self._gathering = Gathering(reads, clock)
        self._hinting = Hinting(reads, self._gathering)
        self._clock = clock

    async def calls(self, filters: CallFilters, limit: int, cursor: str | None = None) -> Page[CallSummary]:
        """Return calls: live ones by start, then ended ones by end. Raises BadRequest.

        While somebody reads page after page, no call is lost or repeated within either state; with `state=all` one
        that ends meanwhile may be given twice, first as active and later as ended.
        """
        match, listings = CallMatch(filters), LISTINGS[filters.state]

        async def places(deployment: str, listing: Listing, start: Place | None, count: int) -> list[Place]:
            if filters.meeting is not None:
                return await self._gathering.places_in(deployment, filters.meeting.lower(), listing, start, count)
            # A live call overlaps a span that it began before, an ended one a span that it ended after.
            bounds = {"newest": _before(filters.until)} if listing is Listing.LIVE else {"oldest": filters.since}
            return await self._reads.places(deployment, listing, start=start, count=count, **bounds)

        async def examine(listing: Listing, entries: list[Entry]) -> list[list[CallSummary]]:
            found: dict[Entry, CallSummary] = {}
            for deployment, ids in _by_deployment(entries).items():
                live, settled = listing is Listing.LIVE, self._deployments[deployment].scope
                scope, selected = await asyncio.gather(
                    self._scope(deployment), self._gathering.matching(settled, ids, match, live=live)
                )
                found |= {ids[known.call.id]: call_summary(scope, known) for known in selected}
            return [[found[entry]] if entry in found else [] for entry in entries]

        walk = Walk(asked(self._deployments, filters.deployment), listings, places, examine)
        return await walk.page(limit, cursor_of(cursor, listings))

    async def call(self, call: str, deployment: str | None = None) -> CallView:
        """Return one call, whole. Raises NotFound and BadRequest."""

        async def look(scope: Scope) -> CallView | None:
            found = self._gathering.known(await self._gathering.loaded(scope, [call.lower()]))
            if not found:
                return None
            known = found[0]
            hints = [] if known.call.end else await self._hints(scope, known.meeting, [known.call])
            return call_view(scope, known, hints)

        _, view = await self._one("call", call, deployment, look)
        return view

    async def legs(
        self, call: str, limit: int, cursor: str | None = None, deployment: str | None = None
    ) -> Page[LegView]:
        """Return the legs of a call, the latest to start first. Raises NotFound and BadRequest."""
        position = cursor_of(cursor, [Listing.LEGS])

        async def look(scope: Scope) -> list[str] | None:
            if not await self._gathering.things(scope.deployment, Call, [call.lower()]):
                return None
            (ids,) = await self._reads.leg_ids(scope.deployment, [call.lower()])
            return ids

        known = position.deployment if position else None
        at, ids = await self._one("call", call, deployment or known, look)
        legs = await self._gathering.things(at, Leg, ids)
        by_place = {Place(leg.started_at or 0, leg.id): leg for leg in legs}
        places = sorted((p for p in by_place if position is None or p < position.place), reverse=True)
        shown = [by_place[place] for place in places[:limit]]
        on = await self._gathering.things(at, Call, {call for leg in shown for call in leg.calls})
        calls = {call.id: call for call in on}
        following = Cursor(Listing.LEGS, places[limit - 1], at).encode() if len(places) > limit else None
        return Page([leg_view(leg, calls) for leg in shown], following)

    async def meeting(self, meeting: str, deployment: str | None = None) -> MeetingView:
        """Return a meeting by its id, or by that of one of its calls. Raises NotFound and BadRequest."""
        wanted = meeting.lower()

        async def look(scope: Scope) -> MeetingView | None:
            found, call = await self._reads.things(scope.deployment, [("meeting", wanted), ("call", wanted)])
            if found is None and call is not None:
                (found,) = await self._reads.things(scope.deployment, [("meeting", call.meeting)])
            if found is None:
                return None
            calls = self._gathering.known(await self._gathering.loaded(scope, found.calls))
            hints = await self._hints(scope, found, [known.call for known in calls])
            return meeting_view(scope, found, calls, hints)

        _, view = await self._one("meeting", meeting, deployment, look)
        return view

    async def switches(self, filters: SwitchFilters, limit: int, cursor: str | None = None) -> Page[SwitchView]:
        """Return changes from one license to another under the deciding policy, newest first. Raises BadRequest."""
        match = SwitchMatch(filters)
        oldest, newest = filters.since, _before(filters.until)

        async def places(deployment: str, listing: Listing, start: Place | None, count: int) -> list[Place]:
            return await self._reads.places(deployment, listing, start=start, count=count, oldest=oldest, newest=newest)

        async def examine(_: Listing, entries: list[Entry]) -> list[list[SwitchView]]:
            found: dict[Entry, list[SwitchView]] = {}
            for deployment, group in _by_deployment(entries).items():
                found |= await self._gathering.switches(self._deployments[deployment].scope, group.values(), match)
            return [found[entry] for entry in entries]

        walk = Walk(asked(self._deployments, filters.deployment), [Listing.SWITCHES], places, examine)
        return await walk.page(limit, cursor_of(cursor, [Listing.SWITCHES]))

    async def usage(self, limit: int | None = None, cursor: str | None = None) -> Page[UsageView]:
        """Return the licenses in use now, of each deployment; without a limit all of them. Raises BadRequest."""
        entries = [Entry(Place(0, ""), name) for name in self._deployments]
        shown, following = part(entries, list(self._deployments), Listing.USAGE, limit, cursor)
        return Page([await self._usage(self._deployments[entry.deployment]) for entry in shown], following)

    async def _scope(self, deployment: str) -> Scope:
        known = await self._reconciliation(deployment)
        return self._deployments[deployment].scope._replace(reconciliation=known, now=self._clock())

    async def _usage(self, deployment: Queried) -> UsageView:
        counts, assigned = await self._reads.usage(deployment.name), deployment.assigned()
        limits = deployment.limit_personal, deployment.limit_shared
        hints = await self._hinting.of_usage(deployment.name, deployment.options, counts, assigned, limits[0])
        return usage_view(deployment.scope, counts, self._clock(), assigned=assigned, limits=limits, hints=hints)

    async def _hints(self, scope: Scope, meeting: Meeting, calls: list[Call]) -> list[str]:
        options = self._deployments[scope.deployment].options
        return await self._hinting.of_meeting(scope.deployment, options, meeting, calls)

    async def ready(self) -> list[str]:
        """Return what is unsafe about the store, as sentences. Raises StoreUnavailable where it does not answer."""
        return await self._reads.unsafe()

    async def _one(
        self, kind: str, id_: str, deployment: str | None, look: Callable[[Scope], Awaitable[T | None]]
    ) -> tuple[str, T]:
        """Return what an id names, and where. Raises NotFound, and BadRequest where it is in several deployments."""
        looked = {name: await look(await self._scope(name)) for name in asked(self._deployments, deployment)}
        found = [(name, thing) for name, thing in looked.items() if thing is not None]
        if not found:
            raise NotFound(f"There is no {kind} {id_}, or it is no longer kept.")
        if len(found) > 1:
            names = ", ".join(name for name, _ in found)
            raise BadRequest("deployment", f"This {kind} is in several deployments: name one of {names}.")
        return found[0]


def asked(deployments: Iterable[str], deployment: str | None) -> list[str]:
    """Return the deployments that a filter names; raise BadRequest where it names none that exists."""
    known = list(deployments)
    if deployment is None:
        return known
    if deployment not in known:
        names = ", ".join(known)
        raise BadRequest("deployment", f'There is no deployment "{deployment}"; those that exist: {names}.')
    return [deployment]


def _before(until: int | None) -> int | None:
    """Return the last moment of a span."""
    return None if until is None else until - 1


def _by_deployment(entries: Iterable[Entry]) -> dict[str, dict[str, Entry]]:
    """Return the entries by deployment and id."""
    groups: dict[str, dict[str, Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.deployment, {})[entry.place.id] = entry
    return groups
