"""Reports on a span of the history: what took shared licenses, and how each holder's license is used."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from msgspec import Struct

from cdr_service.domain.addresses import normalize_address
from cdr_service.domain.calls import Call, Meeting, stays_until_end
from cdr_service.domain.directory import is_guest_id
from cdr_service.domain.history import HOUR, Peak, license_at
from cdr_service.domain.legs import Leg
from cdr_service.domain.licensing import License
from cdr_service.domain.report_views import HolderUseView, SharedUseView
from cdr_service.domain.steps import Step, Steps
from cdr_service.domain.timeline import Standing
from cdr_service.domain.views import rfc3339
from cdr_service.domain.weights import SIXTHS

Grouping = Literal["cospace", "owner", "call_type", "user"]

_NOTHING: Final = Standing()


class Reported(NamedTuple):
    """What a report is about."""

    deployment: str
    policy: str
    since: int
    until: int


class Period(NamedTuple):
    """A time in which a meeting took one license, in milliseconds."""

    since: int
    until: int
    license: License

    @property
    def length(self) -> int:
        """How long it lasted."""
        return self.until - self.since


def periods(meeting: Meeting, about: Reported) -> Iterator[Period]:
    """Yield what a meeting took, as far as it lies in the span."""
    transitions = meeting.timeline.standings.get(about.policy, _NOTHING).transitions
    ends = [*(transition.at.time for transition in transitions[1:]), about.until]
    for transition, end in zip(transitions, ends, strict=False):
        since, until = max(transition.at.time, about.since), min(end, about.until)
        if transition.after is not None and since < until:
            yield Period(since, until, transition.after)


class _Shared(Struct):
    """What a group of meetings took from the shared pool; times in milliseconds."""

    name: str | None = None
    meetings: int = 0
    time: int = 0
    sixths_time: int = 0
    at_peak: int = 0


class SharedReport:
    """Which spaces, owners or kinds of meeting took shared licenses, or who was in these meetings.

    For somebody who was in, that counts which a meeting took from when they first came: what a PMP+ of theirs might
    have saved.
    """

    def __init__(self, about: Reported, by: Grouping, peak: Peak | None) -> None:
        self._about = about
        self._by = by
        self._peak = peak
        self._groups: dict[str | None, _Shared] = {}

    def add(self, meeting: Meeting, calls: Sequence[Call], legs: Iterable[Leg] = ()) -> None:
        """Count a meeting, given its calls and, to say who was in, its legs."""
        taken = [period for period in periods(meeting, self._about) if period.license.sixths]
        if not taken:
            return
        if self._by == "user":
            for user, came in first_comings(calls, legs).items():
                self._count(user, meeting, [one._replace(since=max(one.since, came)) for one in taken], came)
            return
        if self._by == "cospace":
            key = next((call.cospace for call in calls if call.cospace), None)
        else:
            key = meeting.owner.user if self._by == "owner" else meeting.call_type
        group = self._count(key, meeting, taken, taken[0].since)
        if self._by == "cospace":
            group.name = next((call.name for call in calls if call.name), group.name)

    def _count(self, key: str | None, meeting: Meeting, taken: Iterable[Period], since: int) -> _Shared:
        """Count what a meeting took since a time."""
        group = self._groups.setdefault(key, _Shared())
        lasting = [period for period in taken if period.length > 0]
        group.meetings += bool(lasting)
        group.time += sum(period.length for period in lasting)
        group.sixths_time += sum(period.length * period.license.sixths for period in lasting)
        if self._peak is not None and self._peak.at >= since:
            then = license_at(meeting, self._about.policy, self._peak.at)
            group.at_peak += then.sixths if then else 0
        return group

    def rows(self) -> list[SharedUseView]:
        """Return the groups."""
        level = self._peak.level if self._peak else 0
        return [
            SharedUseView(
                deployment=self._about.deployment,
                by=self._by,
                key=key,
                name=group.name,
                meetings=group.meetings,
                meeting_hours=_hours(group.time),
                license_hours=_hours(group.sixths_time / SIXTHS),
                sixths_at_peak=group.at_peak,
                share_of_peak=round(group.at_peak / level, 3) if level else 0.0,
            )
            for key, group in self._groups.items()
            if group.meetings
        ]


class HoldersReport:
    """How the license of each holder is used."""

    def __init__(self, about: Reported, holders: Iterable[str]) -> None:
        """`holders` are those who hold PMP+ now."""
        self._about = about
        self._holders = frozenset(holders)
        self._paid: dict[str, list[Period]] = {holder: [] for holder in self._holders}
        self._meetings: Counter[str] = Counter()

    def add(self, meeting: Meeting) -> None:
        """Count a meeting."""
        paid: set[str] = set()
        for period in periods(meeting, self._about):
            if period.license.holder is not None:
                self._paid.setdefault(period.license.holder, []).append(period)
                paid.add(period.license.holder)
        self._meetings.update(paid)

    def rows(self) -> list[HolderUseView]:
        """Return the holders: those of now, and whoever paid in the span."""
        return [
            HolderUseView(
                deployment=self._about.deployment,
                user=user,
                holds_license=user in self._holders,
                meetings=self._meetings[user],
                meeting_hours=_hours(sum(period.length for period in paid)),
                most_at_once=_most_at_once(paid),
                last_used_at=rfc3339(max(period.until for period in paid)) if paid else None,
                never_used=not paid,
            )
            for user, paid in self._paid.items()
        ]


def first_comings(calls: Sequence[Call], legs: Iterable[Leg]) -> dict[str, int]:
    """Return when each person first came into one of the calls, by user or else by address; guests are left out."""
    known = {call.id: call for call in calls}
    found: dict[str, int] = {}
    for leg in legs:
        user = leg.identity_now.user or normalize_address(leg.remote_party or "")
        if user is None or "@" not in user or leg.guest or is_guest_id(user) or not leg.counted:
            continue
        for stay, _ in stays_until_end(leg, known):
            found[user] = min(stay.joined.time, found.get(user, stay.joined.time))
    return found


def _most_at_once(paid: Iterable[Period]) -> int:
    steps: Steps = Counter()
    for period in paid:
        steps[Step(period.since, "")] += 1
        steps[Step(period.until, "")] -= 1
    return highest(steps, "", None, None).level


def highest(steps: Mapping[Step, int], series: str, since: int | None, until: int | None) -> Peak:
    """Return the highest level of a series in a span, from all its steps; None bounds nothing."""
    level, found = 0, Peak(0, 0 if since is None else since)
    for step in sorted(step for step in steps if step.series == series):
        if until is not None and step.time >= until:
            break
        level += steps[step]
        if since is not None and step.time <= since:
            found = Peak(level, since)
        elif level > found.level:
            found = Peak(level, step.time)
    return found


def hours_of_use(steps: Mapping[Step, int], series: str, since: int, until: int) -> float:
    """Return the sum over time of a series in a span, in hours times what it counts."""
    level = total = 0
    at = since
    for step in sorted(step for step in steps if step.series == series):
        time = min(max(step.time, since), until)
        total += level * (time - at)
        level, at = level + steps[step], time
    return _hours(total + level * (until - at))


def _hours(milliseconds: float) -> float:
    return round(milliseconds / HOUR, 3)
