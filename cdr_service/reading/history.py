"""The use cases: what was in use over time, and when most of the shared pool was."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, Protocol

from msgspec import structs

from cdr_service.domain import usage
from cdr_service.domain.calls import Call, Meeting
from cdr_service.domain.filters import HistoryFilters, PeakFilters
from cdr_service.domain.history import (
    HOUR,
    MINUTE,
    STEP_MINUTES,
    Levels,
    Peak,
    Recorded,
    Series,
    coarse_peak,
    edges,
    exact_moment,
    license_at,
)
from cdr_service.domain.history_views import DeploymentPeakView, HistoryView, PeakView, SharedMeetingView
from cdr_service.domain.licensing import License
from cdr_service.domain.options import Options
from cdr_service.domain.pages import Cursor, Listing, Page, Place
from cdr_service.domain.past import TRAILS, Ours
from cdr_service.domain.policies import policies_of
from cdr_service.domain.stored import ThingReads
from cdr_service.domain.views import rfc3339
from cdr_service.domain.weights import SIXTHS
from cdr_service.errors import BadRequest
from cdr_service.reading.paging import cursor_of
from cdr_service.reading.queries import Queried, asked

MEETINGS_MAX: Final = 10_000
"""So many meetings at one moment are looked at."""


class HistoryReads(Protocol):
    """What the use cases need of the store. Every method may raise StoreUnavailable."""

    async def recorded(
        self, deployment: str, until: int, peaks: Collection[int] = (), steps: Collection[int] = ()
    ) -> Recorded:
        """Return the history before a time: the peaks of some hours and the steps of others with it."""
        ...

    async def meetings(self, deployment: str, since: int, until: int, most: int) -> list[str]:
        """Return the ids of meetings that took licenses in a span, and of some that ended shortly before.

        Where there are more than `most`, one more than that are given.
        """
        ...


class History:
    """Answers queries about the use over time, of all deployments."""

    def __init__(
        self, deployments: Iterable[Queried], history: HistoryReads, things: ThingReads, clock: Callable[[], int]
    ) -> None:
        """`clock` returns milliseconds since 1970 UTC."""
        self._deployments = {deployment.name: deployment for deployment in deployments}
        self._history = history
        self._things = things
        self._clock = clock

    async def steps(self, filters: HistoryFilters, limit: int, cursor: str | None = None) -> Page[HistoryView]:
        """Return what was in use in each step, newest first, up to now and as far back as is kept. Raises BadRequest.

        A step that overlaps the span is given whole.
        """
        names = asked(self._deployments, filters.deployment)
        policies = {name: self._policy(name, filters.policy) for name in names}
        length, position = STEP_MINUTES[filters.step] * MINUTE, cursor_of(cursor, [Listing.HISTORY], names)
        end = _end(filters.until, self._clock())
        newest = (end - 1) // length * length
        if position is not None:
            newest = min(newest, position.place.time // length * length)
        # One beyond the page tells whether there is a next one; the one at the cursor was given.
        starts = range(newest, newest - (limit + 2) * length, -length)
        starts = (
            starts
            if filters.since is None
            else range(newest, filters.since // length * length - 1, -length)[: limit + 2]
        )
        hours = range(starts[-1] // HOUR, (starts[0] + length - 1) // HOUR + 1) if starts else ()
        known = {name: await self._history.recorded(name, end, hours) for name in names}
        found = [
            (start, name)
            for start in starts
            for place, name in enumerate(names)
            if _overlaps(known[name], start, length) and not _was_given(position, start, place, names)
        ]
        peaks = {name: _Peaks(name, known[name], policies[name]) for name in names}
        items = [peaks[name].view(start, min(start + length, end)) for start, name in found[:limit]]
        more = (
            Cursor(Listing.HISTORY, Place(found[limit - 1][0], ""), found[limit - 1][1]) if len(found) > limit else None
        )
        return Page(items, more.encode() if more else None)

    async def ours(self, name: str, moments: Iterable[int]) -> dict[int, Ours]:
        """Return what was in use at moments (milliseconds) and shortly before; those that are not kept are left out."""
        wanted = sorted(moments)
        if not wanted:
            return {}
        hours = {time // HOUR for at in wanted for time in (at - TRAILS, at)}
        known = await self._history.recorded(name, wanted[-1] + 1, (), hours)
        policy = self._policy(name, None)
        personal, sixths = (Levels(known, one, hours) for one in (usage.personal(policy), usage.sixths(policy)))
        return {
            at: Ours(personal.between(at - TRAILS, at), sixths.between(at - TRAILS, at))
            for at in wanted
            if known.first is not None and at >= known.first
        }

    def asked(self, deployment: str | None) -> list[str]:
        """Return the deployments that a filter names. Raises BadRequest."""
        return asked(self._deployments, deployment)

    async def peak(self, filters: PeakFilters) -> PeakView:
        """Return the highest use of each deployment's shared pool, that of the highest first. Raises BadRequest.

        Without a span that of all that is kept, up to now.
        """
        names, until = self._span(filters)
        views = [await self._peak(name, self._policy(name, filters.policy), filters.since, until) for name in names]
        highest, *others = sorted(views, key=lambda view: -view.shared_sixths)
        return PeakView(**structs.asdict(highest), others=others)

    async def spans(self, filters: PeakFilters) -> list[tuple[str, str, int, int]]:
        """Return the deployments, policies and spans that a report is about; those without any history are left out.

        Raises BadRequest.
        """
        names, until = self._span(filters)
        found = []
        for name in names:
            policy = self._policy(name, filters.policy)
            since = filters.since
            if since is None:
                since = (await self._history.recorded(name, until)).first
            if since is not None and since < until:
                found.append((name, policy, since, until))
        return found

    def options(self, deployment: str) -> Options:
        """Return what a deployment is set to."""
        return self._deployments[deployment].options

    def _span(self, filters: PeakFilters) -> tuple[list[str], int]:
        until = _end(filters.until, self._clock())
        if filters.since is not None and filters.since >= until:
            raise BadRequest("since", "since must be earlier than until, and than now.")
        return asked(self._deployments, filters.deployment), until

    async def _peak(self, name: str, policy: str, since: int | None, until: int) -> DeploymentPeakView:
        found = await self.peak_of(name, policy, since, until)
        meetings = await self._meetings(name, policy, found.at) if found and found.level else []
        level = found.level if found else 0
        return DeploymentPeakView(
            deployment=name,
            policy=policy,
            at=rfc3339(found.at) if found and level else None,
            shared_sixths=level,
            shared_licenses=_licenses(level),
            meetings=meetings,
        )

    async def peak_of(self, name: str, policy: str, since: int | None, until: int) -> Peak | None:
        """Return the highest use of a deployment's shared pool in a span; None where nothing is known of it."""
        overview = await self._history.recorded(name, until)
        since = overview.first if since is None else since
        if since is None or since >= until:
            return None
        hours = [hour for hour in overview.changes if since // HOUR <= hour <= (until - 1) // HOUR]
        known = await self._history.recorded(name, until, hours, edges(since, until))
        series = usage.sixths(policy)
        found = coarse_peak(Series(known, series), hours, since, until)
        if found.at // HOUR not in edges(since, until):
            known = await self._history.recorded(name, until, hours, [found.at // HOUR])
            found = exact_moment(Series(known, series), found)
        return found

    async def _meetings(self, name: str, policy: str, at: int) -> list[SharedMeetingView]:
        """Return the meetings that took SMP+ at a moment."""
        ids = await self._history.meetings(name, at, at + 1, MEETINGS_MAX)
        found = await self._things.things(name, [("meeting", id_) for id_ in ids[:MEETINGS_MAX]])
        taken = [
            (meeting, license_then)
            for meeting in found
            if isinstance(meeting, Meeting)
            and (license_then := license_at(meeting, policy, at))
            and license_then.sixths
        ]
        keys = sorted({("call", call) for meeting, _ in taken for call in meeting.calls})
        calls: dict[str, list[Call]] = {}
        for call in await self._things.things(name, keys):
            if isinstance(call, Call):
                calls.setdefault(call.meeting, []).append(call)
        taken.sort(key=lambda one: (-one[1].sixths, one[1].since, one[0].id))
        return [
            shared_meeting_view(meeting, license_then, calls.get(meeting.id, [])) for meeting, license_then in taken
        ]

    def _policy(self, name: str, wanted: str | None) -> str:
        options = self._deployments[name].options
        if wanted is None:
            return options.policy
        known = policies_of(options)
        if wanted not in known:
            raise BadRequest("policy", f"policy must be one of {', '.join(known)}.")
        return wanted


class _Peaks:
    """What a deployment's history is shown from."""

    def __init__(self, deployment: str, recorded: Recorded, policy: str) -> None:
        self._deployment = deployment
        self._personal = Series(recorded, usage.personal(policy))
        self._sixths = Series(recorded, usage.sixths(policy))
        self._participants = Series(recorded, usage.PARTICIPANTS)

    def view(self, start: int, end: int) -> HistoryView:
        """Return one step."""
        first, last = start // MINUTE, (end - 1) // MINUTE + 1
        sixths = self._sixths.peak(first, last)
        return HistoryView(
            deployment=self._deployment,
            start=rfc3339(start),
            personal_peak=self._personal.peak(first, last),
            shared_sixths_peak=sixths,
            shared_licenses_peak=_licenses(sixths),
            participants_peak=self._participants.peak(first, last),
        )


def shared_meeting_view(meeting: Meeting, license_then: License, calls: Sequence[Call]) -> SharedMeetingView:
    """Return a meeting that took SMP+, given its calls."""
    return SharedMeetingView(
        id=meeting.id,
        name=next((call.name for call in calls if call.name), None),
        call_type=meeting.call_type,
        cospace=next((call.cospace for call in calls if call.cospace), None),
        owner=meeting.owner.user,
        weight=license_then.weight,
        since=rfc3339(license_then.since.time),
    )


def _end(until: int | None, now: int) -> int:
    """Return the end of a span: a live meeting counts up to now."""
    return now + 1 if until is None else min(until, now + 1)


def _overlaps(recorded: Recorded, start: int, length: int) -> bool:
    """Is the step part of what is kept?"""
    return recorded.first is not None and start + length > recorded.first


def _was_given(position: Cursor | None, start: int, place: int, names: Sequence[str]) -> bool:
    if position is None or start != position.place.time:
        return False
    return place <= names.index(position.deployment)


def _licenses(sixths: int) -> float:
    return round(sixths / SIXTHS, 3)
