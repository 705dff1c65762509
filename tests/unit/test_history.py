"""Peaks of minutes, hours and days, and the moment of the highest use, are those of a plain count."""

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdr_service.domain.history import (
    HOUR,
    MINUTE,
    MINUTES,
    Before,
    Levels,
    Peak,
    Recorded,
    Series,
    coarse_peak,
    edges,
    exact_moment,
    summed_up,
)
from cdr_service.domain.steps import Step, Steps

FIRST = 490_000
"""The first hour in which anything happens, in 2025."""
HOURS = 5
NAME = "join:sixths"

times = st.builds(
    lambda hour, minute, second: (FIRST + hour) * HOUR + minute * MINUTE + second * 1000,
    *(st.integers(0, HOURS - 1), st.sampled_from((0, 0, 1, 29, 59)), st.sampled_from((0, 0, 1, 30, 59))),
)
steps = st.dictionaries(st.builds(Step, times, st.just(NAME)), st.integers(-6, 6), max_size=12).map(Counter)


def recorded(all_steps: Steps, before: int, whole: set[int]) -> Recorded:
    """Return what the store gives: hours summed up, with the steps of some."""
    by_hour: dict[int, Steps] = {}
    for step, change in all_steps.items():
        by_hour.setdefault(step.time // HOUR, Counter())[step] = change
    hours = {hour: summed_up(hour, found) for hour, found in by_hour.items()}
    return Recorded(
        before=Before(levels={NAME: before}),
        changes={hour: one.changes for hour, one in hours.items()},
        peaks={hour: one.peaks for hour, one in hours.items()},
        steps={hour: by_hour.get(hour, Counter()) for hour in whole},
    )


def levels(all_steps: Steps, before: int, since: int, until: int) -> Iterator[tuple[int, int]]:
    """Yield when in a span a level begins, and what it is: counted from all steps, one by one."""
    yield since, before + sum(change for step, change in all_steps.items() if step.time <= since)
    for time in sorted({step.time for step in all_steps}):
        if since < time < until:
            yield time, before + sum(change for step, change in all_steps.items() if step.time <= time)


@given(all_steps=steps, before=st.integers(0, 9), first=st.integers(-70, 310), minutes=st.integers(1, 200))
def test_a_peak_is_the_highest_level_that_lasts(all_steps: Steps, before: int, first: int, minutes: int) -> None:
    """Over any number of minutes the peak is the highest level in them; one that lasts no time is none."""
    start = FIRST * MINUTES + first
    series = Series(recorded(all_steps, before, set()), NAME)
    since, until = start * MINUTE, (start + minutes) * MINUTE
    assert series.peak(start, start + minutes) == max(level for _, level in levels(all_steps, before, since, until))


@settings(max_examples=400)
@given(
    all_steps=steps,
    before=st.integers(0, 9),
    since=times | times.map(lambda time: time + 7),
    length=st.integers(1, HOURS * HOUR),
)
def test_the_highest_use_is_found_with_its_moment(all_steps: Steps, before: int, since: int, length: int) -> None:
    """In any span, cut at any moment, the highest level is found, and the moment at which it was reached first."""
    until = since + length
    known = recorded(all_steps, before, edges(since, until))
    hours = [hour for hour in known.changes if since // HOUR <= hour <= (until - 1) // HOUR]
    found = coarse_peak(Series(known, NAME), hours, since, until)
    if found.at // HOUR not in edges(since, until):
        known = recorded(all_steps, before, {found.at // HOUR})
        found = exact_moment(Series(known, NAME), found)
    at, level = max(levels(all_steps, before, since, until), key=lambda one: (one[1], -one[0]))
    assert found == Peak(level, at)


@given(all_steps=steps, before=st.integers(0, 9), until=times, length=st.integers(0, 5 * MINUTE))
def test_what_was_shortly_before_a_moment(all_steps: Steps, before: int, until: int, length: int) -> None:
    """Every level up to a moment is known, also over the turn of an hour, and that of the moment is the last."""
    hours = {(until - length) // HOUR, until // HOUR}
    found = Levels(recorded(all_steps, before, hours), NAME, hours).between(until - length, until)
    counted = [level for _, level in levels(all_steps, before, until - length, until + 1)]
    assert set(found) == set(counted)
    assert found[-1] == counted[-1]


@pytest.mark.parametrize(("second", "peak"), [(0, 0), (1, 6)])
def test_what_ends_with_the_first_moment_of_a_minute_is_not_in_it(second: int, peak: int) -> None:
    """A meeting that ends at 10:05:00 does not count in the minute that begins then; at 10:05:01 it does."""
    start = FIRST * HOUR
    all_steps = Counter({Step(start, NAME): 6, Step(start + 5 * MINUTE + second * 1000, NAME): -6})
    series = Series(recorded(all_steps, 0, set()), NAME)
    assert series.peak(FIRST * MINUTES + 4, FIRST * MINUTES + 5) == 6
    assert series.peak(FIRST * MINUTES + 5, FIRST * MINUTES + 6) == peak
