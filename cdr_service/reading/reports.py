"""The use cases: what took shared licenses, how holders' licenses are used, and what would be with other holders.

A report goes through all meetings that took licenses in its span, some at a time, so that other work goes on meanwhile.
There is one report at a time. Where a span holds too many meetings it is refused.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final, NamedTuple, Protocol, TypeVar

from cdr_service.domain import usage
from cdr_service.domain.addresses import normalize_address
from cdr_service.domain.calls import Call, Meeting, Recording
from cdr_service.domain.directory import Directory
from cdr_service.domain.filters import PeakFilters, SharedReportFilters, WhatIfFilters
from cdr_service.domain.history import span_of
from cdr_service.domain.legs import Leg
from cdr_service.domain.pages import Cursor, Listing, Page, Place
from cdr_service.domain.report_views import HolderUseView, SharedUseView, WhatIfUse, WhatIfView
from cdr_service.domain.reports import HoldersReport, Reported, SharedReport, highest, hours_of_use
from cdr_service.domain.steps import Steps, license_steps
from cdr_service.domain.stored import ThingReads
from cdr_service.domain.views import rfc3339
from cdr_service.domain.weights import SIXTHS
from cdr_service.domain.what_if import AsIf, Recorded, decided_anew, drawn_in
from cdr_service.domain.workspace import DIRECTORY
from cdr_service.errors import BadRequest
from cdr_service.reading.history import History
from cdr_service.reading.paging import cursor_of

AT_ONCE: Final = 100
"""Meetings that are looked at together."""
ASSIGNED_MAX: Final = 500

T = TypeVar("T")
Row = TypeVar("Row")


class Meetings(Protocol):
    """The lists of meetings that took licenses. May raise StoreUnavailable."""

    async def meetings(self, deployment: str, since: int, until: int, most: int) -> list[str]:
        """Return the ids of meetings that took licenses in a span, and of some that ended shortly before.

        Where there are more than `most`, one more than that are given.
        """
        ...


class _Change(NamedTuple):
    """What a what-if has gathered of a span."""

    steps: dict[str, Steps]
    """Of each meeting as it was."""
    concerned: set[str]
    """Meetings that would have been otherwise, by what is known of who was in."""
    wanted: dict[str, frozenset[str]]


class Bounds(NamedTuple):
    """How much a report may look at; beyond it is refused."""

    meetings: int = 100_000
    what_if_meetings: int = 50_000
    """Where all of their legs are looked at: who was in, and what would have been decided otherwise."""
    what_if_legs: int = 50_000
    """So many are in memory while meetings are decided anew."""


class Reports:
    """Reports on all deployments."""

    def __init__(self, history: History, meetings: Meetings, reads: ThingReads, bounds: Bounds | None = None) -> None:
        self._history = history
        self._listed = meetings
        self._reads = reads
        self._bounds = bounds or Bounds()
        self._turn = asyncio.Semaphore(1)

    async def shared(self, filters: SharedReportFilters, limit: int, cursor: str | None = None) -> Page[SharedUseView]:
        """Return what took shared licenses, the most first. Raises BadRequest."""
        found: list[SharedUseView] = []
        async with self._turn:
            for about in await self._about(filters):
                peak = await self._history.peak_of(about.deployment, about.policy, about.since, about.until)
                report = SharedReport(about, filters.by, peak)
                most = self._bounds.what_if_meetings if filters.by == "user" else self._bounds.meetings
                async for meetings in self._meetings(about, most):
                    recorded = await self._facts(about.deployment, meetings, legs=filters.by == "user")
                    for meeting in meetings:
                        calls = [recorded.calls[call] for call in meeting.calls if call in recorded.calls]
                        report.add(meeting, calls, recorded.legs_on(meeting))
                found += report.rows()
        found.sort(key=lambda row: (-row.license_hours, -row.meeting_hours, row.deployment, row.key or ""))
        return _ranked(found, limit, cursor)

    async def holders(self, filters: PeakFilters, limit: int, cursor: str | None = None) -> Page[HolderUseView]:
        """Return how the license of each holder is used, the most used first. Raises BadRequest."""
        found: list[HolderUseView] = []
        async with self._turn:
            for about in await self._about(filters):
                directory = await self._directory(about.deployment)
                report = HoldersReport(about, [one.address for one in directory.users.values() if one.holds_license])
                async for meetings in self._meetings(about, self._bounds.meetings):
                    for meeting in meetings:
                        report.add(meeting)
                found += report.rows()
        found.sort(key=lambda row: (-row.meeting_hours, -row.meetings, row.deployment, row.user))
        return _ranked(found, limit, cursor)

    async def what_if(self, filters: WhatIfFilters) -> Page[WhatIfView]:
        """Return the history of each deployment decided anew, as if some users had held PMP+. Raises BadRequest."""
        users = _users(filters.assign)
        async with self._turn:
            return Page([await self._what_if(about, users) for about in await self._about(filters)])

    async def _what_if(self, about: Reported, users: Sequence[str]) -> WhatIfView:
        as_if = AsIf(users, await self._directory(about.deployment))
        change = await self._gathered(about, as_if)
        again = drawn_in(change.wanted, change.concerned)
        recorded = await self._recorded(about.deployment, sorted(again))
        options = self._history.options(about.deployment)
        # Beside the loop: it may take seconds.
        anew = await asyncio.to_thread(decided_anew, recorded, as_if, about.policy, options)
        before = {**change.steps, **{id_: license_steps(meeting) for id_, meeting in recorded.meetings.items()}}
        after = {**before, **{id_: license_steps(meeting) for id_, meeting in anew.items()}}
        return WhatIfView(
            deployment=about.deployment,
            policy=about.policy,
            assign=list(users),
            unknown=as_if.unknown,
            meetings=len(before),
            meetings_changed=sum(_differs(before[id_], after[id_], about.policy) for id_ in anew),
            before=_use(about, before.values()),
            after=_use(about, after.values()),
        )

    async def _gathered(self, about: Reported, as_if: AsIf) -> _Change:
        """Go through the meetings of the span: what each took, and whose licenses it could want."""
        change = _Change({}, set(), {})
        async for meetings in self._meetings(about, self._bounds.what_if_meetings):
            recorded = await self._facts(about.deployment, meetings)
            for meeting in meetings:
                change.steps[meeting.id] = license_steps(meeting)
                look = as_if.look(meeting, recorded.legs_on(meeting))
                change.wanted[meeting.id] = look.wanted
                if look.changed:
                    change.concerned.add(meeting.id)
        return change

    async def _recorded(self, deployment: str, ids: Sequence[str]) -> Recorded:
        """Return some meetings with everything that they are decided from."""
        found = Recorded()
        for at in range(0, len(ids), AT_ONCE):
            things = await self._reads.things(deployment, [("meeting", id_) for id_ in ids[at : at + AT_ONCE]])
            some = await self._facts(deployment, [meeting for meeting in things if isinstance(meeting, Meeting)])
            recordings = sorted({id_ for call in some.calls.values() for id_ in call.recordings})
            known = await self._things(deployment, "recording", recordings, Recording)
            found.meetings |= some.meetings
            found.calls |= some.calls
            found.legs |= some.legs
            found.legs_of |= some.legs_of
            found.recordings |= {recording.id: recording for recording in known}
            if len(found.legs) > self._bounds.what_if_legs:
                raise _too_many(f"Meetings with more than {self._bounds.what_if_legs} call legs could change")
        return found

    async def _facts(self, deployment: str, meetings: Sequence[Meeting], *, legs: bool = True) -> Recorded:
        """Return meetings with their calls, and with their legs unless these do not matter."""
        calls = await self._calls(deployment, meetings)
        if not legs:
            return Recorded(meetings={meeting.id: meeting for meeting in meetings}, calls=calls)
        names = list(calls)
        ids = await self._reads.leg_ids(deployment, names)
        found = await self._things(deployment, "leg", sorted({leg for on in ids for leg in on}), Leg)
        by_id = {leg.id: leg for leg in found}
        return Recorded(
            meetings={meeting.id: meeting for meeting in meetings},
            calls=calls,
            legs=by_id,
            legs_of={call: frozenset(leg for leg in on if leg in by_id) for call, on in zip(names, ids, strict=True)},
        )

    async def _about(self, filters: PeakFilters) -> list[Reported]:
        """Return the deployments, policies and spans that are asked for; none for one in which nothing happened."""
        return [
            Reported(name, policy, since, until) for name, policy, since, until in await self._history.spans(filters)
        ]

    async def _meetings(self, about: Reported, most: int) -> AsyncIterator[list[Meeting]]:
        """Yield the meetings that took licenses in the span, some at a time."""
        ids = await self._listed.meetings(about.deployment, about.since, about.until, most)
        if len(ids) > most:
            raise _too_many(f"More than {most} meetings took licenses")
        for at in range(0, len(ids), AT_ONCE):
            found = await self._things(about.deployment, "meeting", ids[at : at + AT_ONCE], Meeting)
            yield [meeting for meeting in found if _overlaps(meeting, about)]

    async def _calls(self, deployment: str, meetings: Iterable[Meeting]) -> dict[str, Call]:
        ids = [call for meeting in meetings for call in meeting.calls]
        return {call.id: call for call in await self._things(deployment, "call", ids, Call)}

    async def _things(self, deployment: str, kind: str, ids: Sequence[str], wanted: type[T]) -> list[T]:
        found = await self._reads.things(deployment, [(kind, id_) for id_ in ids])
        return [thing for thing in found if isinstance(thing, wanted)]

    async def _directory(self, deployment: str) -> Directory:
        (found,) = await self._reads.things(deployment, [DIRECTORY])
        return found if isinstance(found, Directory) else Directory([])


def _overlaps(meeting: Meeting, about: Reported) -> bool:
    span = span_of(meeting)
    return span is not None and span.since < about.until and (span.until is None or span.until > about.since)


def _use(about: Reported, steps: Iterable[Steps]) -> WhatIfUse:
    """Return what was in use, given the steps of every meeting."""
    total: Steps = Steps()
    for one in steps:
        total.update(one)
    sixths, span = usage.sixths(about.policy), (about.since, about.until)
    peak = highest(total, sixths, *span)
    return WhatIfUse(
        at=rfc3339(peak.at) if peak.level else None,
        shared_sixths=peak.level,
        shared_licenses=round(peak.level / SIXTHS, 3),
        shared_license_hours=round(hours_of_use(total, sixths, *span) / SIXTHS, 3),
        personal_peak=highest(total, usage.personal(about.policy), *span).level,
    )


def _differs(before: Steps, after: Steps, policy: str) -> bool:
    names = usage.personal(policy), usage.sixths(policy)
    return any(before[step] != after[step] for step in {*before, *after} if step.series in names)


def _ranked(rows: Sequence[Row], limit: int, cursor: str | None) -> Page[Row]:
    """Return a page of a ranking. A cursor tells the rank, so a row whose rank changes meanwhile may come twice."""
    position = cursor_of(cursor, [Listing.REPORT])
    start = position.place.time if position else 0
    end = start + limit
    return Page(list(rows[start:end]), Cursor(Listing.REPORT, Place(end, ""), "").encode() if end < len(rows) else None)


def _users(assign: str | None) -> list[str]:
    """Return the users that a list names, in their one spelling."""
    named = [text.strip() for text in (assign or "").split(",") if text.strip()]
    users = [normalize_address(text) for text in named]
    if None in users or not all("@" in (user or "") for user in users):
        raise BadRequest("assign", "assign must be addresses such as alice@example.com, separated by commas.")
    if len(users) > ASSIGNED_MAX:
        raise BadRequest("assign", f"assign takes up to {ASSIGNED_MAX} users.")
    return list(dict.fromkeys(user for user in users if user))


def _too_many(what: str) -> BadRequest:
    return BadRequest("since", f"{what} in that span: ask for a shorter one by since and until.")
