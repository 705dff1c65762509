"""Use over record time: the peaks of minutes, hours and days, and the moment of the highest use.

Steps (`steps`) are kept by the hour. A settled hour is summed up once: by how much it changes each series, and how
high each minute of it goes above where the hour began. So a late record changes the hours that its steps lie in, and
what that means for the hours between follows from the sums. Hours are those of UTC, numbered from 1970.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from operator import itemgetter
from typing import Final, Literal, NamedTuple

from msgspec import Struct

from cdr_service.domain.calls import Meeting
from cdr_service.domain.licensing import License
from cdr_service.domain.steps import Step, Steps

MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
MINUTES: Final = 60

StepName = Literal["1m", "5m", "1h", "1d"]
STEP_MINUTES: Final[Mapping[StepName, int]] = {"1m": 1, "5m": 5, "1h": 60, "1d": 1440}

LENGTHS: Final = 13
"""Meetings are listed by how long they last: less than 1, 2, 4, … 2^(LENGTHS - 2) hours; the last list has the rest."""


class Span(NamedTuple):
    """From when to when a meeting took a license, in milliseconds; `until` is None while it does."""

    since: int
    until: int | None

    @property
    def length(self) -> int:
        """The number of the list that has it."""
        if self.until is None:
            return LENGTHS - 1
        return min(((self.until - self.since) // HOUR).bit_length(), LENGTHS - 1)


def span_of(meeting: Meeting | None) -> Span | None:
    """Return from when to when a meeting took a license; None where it never did."""
    standings = list(meeting.timeline.standings.values()) if meeting else []
    times = [transition.at.time for standing in standings for transition in standing.transitions]
    if not times:
        return None
    return Span(min(times), None if any(standing.license for standing in standings) else max(times))


def license_at(meeting: Meeting, policy: str, at: int) -> License | None:
    """Return what a meeting took at a time (milliseconds) under a policy; None for nothing."""
    standing = meeting.timeline.standings.get(policy)
    transitions = standing.transitions if standing else ()
    return next((transition.after for transition in reversed(transitions) if transition.at.time <= at), None)


def hours_of(length: int) -> int | None:
    """Return how many hours the meetings of a list last at most; None where there is no bound."""
    return None if length == LENGTHS - 1 else 1 << length


class Hour(Struct, frozen=True, array_like=True):
    """An hour, summed up."""

    changes: dict[str, int] = {}
    """By how much it changes each series; what it does not change is left out."""
    peaks: dict[str, tuple[int, ...]] = {}
    """How high each minute goes, above where the hour began; a series that stays level is left out."""


def summed_up(hour: int, steps: Mapping[Step, int]) -> Hour:
    """Sum up an hour, given its steps."""
    by_series: dict[str, list[tuple[int, int]]] = {}
    for step in sorted(steps):
        by_series.setdefault(step.series, []).append((step.time, steps[step]))
    changes = {series: change for series, found in by_series.items() if (change := sum(c for _, c in found))}
    return Hour(changes, {series: tuple(_minutes(hour, found)) for series, found in by_series.items()})


def _minutes(hour: int, steps: Sequence[tuple[int, int]]) -> Iterator[int]:
    """Yield how high each minute goes: what it begins with, or more."""
    level, place = 0, 0
    for minute in range(MINUTES):
        begin = hour * HOUR + minute * MINUTE
        # What changes with the first moment of the minute is not seen in it as it was before.
        peak = level if place == len(steps) or steps[place][0] > begin else None
        while place < len(steps) and steps[place][0] < begin + MINUTE:
            level += steps[place][1]
            peak = level if peak is None else max(peak, level)
            place += 1
        yield level if peak is None else peak


class Before(Struct, frozen=True, array_like=True):
    """What retention removed, summed up."""

    hour: int | None = None
    """The first hour that is kept; None where nothing was removed yet."""
    levels: dict[str, int] = {}
    """What was in use when it began."""


class Recorded(Struct, frozen=True, kw_only=True):
    """What is kept of the history of a deployment, as far as it was asked for."""

    before: Before = Before()
    changes: dict[int, dict[str, int]]
    """By how much each hour in which anything happened changes each series."""
    peaks: dict[int, dict[str, tuple[int, ...]]]
    """The peaks of the minutes of hours, as in `Hour`."""
    steps: dict[int, Steps]
    """The steps of single hours."""

    @property
    def first(self) -> int | None:
        """When that begins which is kept; None where nothing ever happened."""
        hour = self.before.hour if self.before.hour is not None else min(self.changes, default=None)
        return None if hour is None else hour * HOUR


class Series:
    """One series of a recorded history."""

    def __init__(self, recorded: Recorded, name: str) -> None:
        self._recorded = recorded
        self._name = name
        self._hours = sorted(recorded.changes)
        changes = (recorded.changes[hour].get(name, 0) for hour in self._hours)
        self._levels = list(accumulate(changes, initial=recorded.before.levels.get(name, 0)))

    def level(self, hour: int) -> int:
        """Return what is in use as an hour begins, without what changes in its first moment."""
        return self._levels[bisect_left(self._hours, hour)]

    def peak(self, first: int, end: int) -> int:
        """Return the most that is in use from one minute (numbered from 1970) until before another."""
        highest: list[int] = []
        for hour in range(first // MINUTES, (end - 1) // MINUTES + 1):
            minutes = self._recorded.peaks.get(hour, {}).get(self._name)
            if minutes is not None:
                minutes = minutes[max(first - hour * MINUTES, 0) : end - hour * MINUTES]
            highest.append(self.level(hour) + (max(minutes) if minutes else 0))
        return max(highest)

    def highest_minute(self, hour: int) -> int | None:
        """Return the most that is in use in an hour in which it changes; None for any other."""
        minutes = self._recorded.peaks.get(hour, {}).get(self._name)
        return self.level(hour) + max(minutes) if minutes else None

    def levels(self, hour: int) -> Iterator[tuple[int, int]]:
        """Yield what is in use from each moment on at which it changes, for an hour whose steps are known."""
        level = self.level(hour)
        steps = self._recorded.steps.get(hour) or Counter()
        for step in sorted(step for step in steps if step.series == self._name):
            level += steps[step]
            yield step.time, level


class Levels:
    """What one series was at the moments of some hours, whose steps must be known."""

    def __init__(self, recorded: Recorded, name: str, hours: Iterable[int]) -> None:
        series = Series(recorded, name)
        self._known = [
            known for hour in sorted(hours) for known in ((hour * HOUR, series.level(hour)), *series.levels(hour))
        ]

    def between(self, since: int, until: int) -> list[int]:
        """Return every level from one moment to another, both included, in order; their hours must be those known."""
        first = bisect_right(self._known, since, key=itemgetter(0)) - 1
        return [level for _, level in self._known[first : bisect_right(self._known, until, key=itemgetter(0))]]


class Peak(NamedTuple):
    """The most that was in use, and since when."""

    level: int
    at: int
    """Milliseconds since 1970 UTC; the earliest where it was so high several times."""


def edges(since: int, until: int) -> set[int]:
    """Return the hours of a span whose steps must be known to find its peak."""
    return {since // HOUR, (until - 1) // HOUR}


def coarse_peak(series: Series, hours: Iterable[int], since: int, until: int) -> Peak:
    """Return the peak of a span, in an hour of those with changes; `at` is exact in the hours at its edges only.

    The steps of `edges` must be known, and the peaks of the hours between.
    """
    level = series.level(since // HOUR)
    for time, now in series.levels(since // HOUR):
        if time <= since:
            level = now
    found = Peak(level, since)
    for hour in sorted(hours):
        if hour in edges(since, until):
            within = [Peak(now, time) for time, now in series.levels(hour) if since < time < until]
        else:
            most = series.highest_minute(hour)
            within = [] if most is None else [Peak(most, hour * HOUR)]
        found = max([found, *within], key=lambda peak: (peak.level, -peak.at))
    return found


def exact_moment(series: Series, peak: Peak) -> Peak:
    """Return a coarse peak with its moment, given the steps of its hour."""
    return next((Peak(now, time) for time, now in series.levels(peak.at // HOUR) if now == peak.level), peak)
