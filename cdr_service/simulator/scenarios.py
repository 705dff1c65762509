"""Scenarios: meetings made up from a seed, as steps that a test can take directly, with their known answers.

The same seed gives the same scenario. Nobody is in two meetings at a time who holds a license, and nothing decisive in
a meeting happens in the same second as something else, so the known answers do not hang on limits and on chance.
"""

import heapq
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice
from uuid import UUID

from cdr_service.simulator.bridge import LARGEST_DOCUMENT, Bridge
from cdr_service.simulator.expected import Expected, expect
from cdr_service.simulator.meeting import Plan, Script, Step
from cdr_service.simulator.people import HOLDERS, People, Space, Spaces
from cdr_service.simulator.records import Document, Identity
from cdr_service.simulator.stories import STORIES, Cast

START = datetime(2026, 1, 5, 9, tzinfo=UTC)
"""When a scenario begins, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One meeting (or two, where somebody is moved from one to the other) that begins at some moment."""

    offset: float
    """Seconds from the start of the scenario."""
    steps: Sequence[Step]
    expected: Sequence[Expected]


@dataclass(frozen=True, slots=True)
class Scenario:
    """Meetings on one or several Call Bridges."""

    bridges: tuple[Identity, ...]
    steps: tuple[Step, ...]
    """In the order in which they happen."""
    expected: tuple[Expected, ...]
    holders: tuple[str, ...]


def identities(seed: int, *, bridges: int = 1, cluster: bool = False, sessions: str = "0") -> tuple[Identity, ...]:
    """Name the Call Bridges: their ids hang on the seed alone, their sessions on `sessions` too."""
    new_session, new_bridge = _ids(f"{seed}/{sessions}/sessions"), _ids(f"{seed}/bridges")
    return tuple(
        Identity(f"cms{number}", new_session(), new_bridge() if cluster else None) for number in range(1, bridges + 1)
    )


def arrivals(
    seed: int,
    bridges: Sequence[Identity],
    *,
    holders: Sequence[str] = HOLDERS,
    rate: float = 1.0,
    pace: float = 1.0,
    burst: int = 1,
    sessions: str = "0",
    hostile: bool = False,
) -> Iterator[Arrival]:
    """Make up meetings without end, in the order of their beginning.

    `rate` is how many begin in a minute, on average, and `burst` how many of them at the same second. All times are
    divided by `pace`; the known answers are exact only at 1. `sessions` changes the ids of calls and legs and nothing
    else. `hostile` gives spaces and guests names that try to break out of wherever they are shown.
    """
    chance = _random(f"{seed}/meetings")
    new_id = _ids(f"{seed}/{sessions}/ids")
    planner = _Planner(chance, new_id, bridges, holders, Spaces(chance, _ids(f"{seed}/spaces"), hostile), hostile)
    offset, number = 0.0, 0
    while True:
        begin = int(offset)
        steps: list[Step] = []
        expected: list[Expected] = []
        for plan in planner.plan(begin):
            for leg in plan.legs:
                leg.phases = [phase._replace(at=phase.at / pace) for phase in leg.phases]
            script = Script(plan, bridges, new_id)
            script.run()
            steps += script.steps
            answers = expect(script, holders)
            expected += [answers] if answers else []
        yield Arrival(begin / pace, steps, expected)
        if (number := number + 1) % burst == 0:
            offset += chance.expovariate(rate / burst / 60)


@dataclass(slots=True)
class _Planner:
    """Draws one meeting after the other; knows which holders and spaces are busy."""

    chance: random.Random
    new_id: Callable[[], str]
    bridges: Sequence[Identity]
    holders: Sequence[str]
    spaces: Spaces
    hostile: bool
    _busy_until: dict[str, float] = field(default_factory=dict)
    _begun: bool = False

    def plan(self, at: int) -> list[Plan]:
        """Plan what begins at a second: one meeting, or two where somebody is moved from one to the other."""
        free = [holder for holder in self.holders if self._busy_until.get(holder, -1.0) < at]
        told = self.chance.choices(list(STORIES), [story.weight for story in STORIES.values()])[0]
        if not self._begun:
            self._begun, told = True, "holder later"  # a switch is what people come to see
        if STORIES[told].holders > len(free):
            told = "no holder"
        people = People(self.chance, self.holders, free, hostile=self.hostile)
        taken: list[Space] = []

        def new_space() -> Space:
            taken.append(self.spaces.take(at))
            return taken[-1]

        cast = Cast(
            at,
            chance=self.chance,
            new_id=self.new_id,
            people=people,
            new_space=new_space,
            bridges=self._reachable(),
        )
        plans = STORIES[told].tell(cast, told)
        end = max(leg.phases[-1].at for plan in plans for leg in plan.legs)
        self._busy_until |= dict.fromkeys(people.chosen, end)
        for space in taken:
            space.busy_until = end
        return plans

    def _reachable(self) -> tuple[int, ...]:
        """Draw a home for a meeting, and where else it may spread: in a cluster everywhere, else nowhere."""
        numbers = list(range(len(self.bridges)))
        self.chance.shuffle(numbers)
        return tuple(numbers if self.bridges[0].call_bridge else numbers[:1])


def in_order(coming: Iterable[Arrival]) -> Iterator[Step]:
    """Interleave the steps of meetings that overlap; needs no more of them in memory than are live."""
    heap: list[tuple[float, int, Step]] = []
    count = 0
    for arrival in coming:
        while heap and heap[0][0] < arrival.offset:
            yield heapq.heappop(heap)[2]
        for step in arrival.steps:
            heapq.heappush(heap, (step.offset, count, step))
            count += 1
    while heap:
        yield heapq.heappop(heap)[2]


def generate(
    seed: int,
    *,
    meetings: int = 10,
    bridges: int = 1,
    cluster: bool = False,
    holders: Sequence[str] = HOLDERS,
    rate: float = 1.0,
    sessions: str = "0",
    hostile: bool = False,
) -> Scenario:
    """Make up a scenario of so many meetings (some of which nobody gets into); parameters as for `arrivals`."""
    named = identities(seed, bridges=bridges, cluster=cluster, sessions=sessions)
    coming = arrivals(seed, named, holders=holders, rate=rate, sessions=sessions, hostile=hostile)
    bounded = list(islice(coming, meetings))
    expected = tuple(answers for arrival in bounded for answers in arrival.expected)
    return Scenario(named, tuple(in_order(bounded)), expected, tuple(holders))


def documents(
    scenario: Scenario,
    *,
    start: datetime = START,
    first_index: int = 0,
    largest: int = LARGEST_DOCUMENT,
    seed: int = 0,
) -> list[Document]:
    """Write a scenario as the documents of one receiver per bridge, in the order in which they are sent.

    `start` should be a whole second, so that the known answers and the times of the records agree. `first_index` is
    the correlatorIndex that each bridge begins with.
    """
    bridges = [Bridge(identity, first_index=first_index) for identity in scenario.bridges]
    feeds = [bridge.add_receiver(largest=largest, seed=seed) for bridge in bridges]
    written: list[Document] = []
    for offset, steps in groupby(scenario.steps, key=lambda step: step.offset):
        for step in steps:
            bridges[step.bridge].emit(step.record, start + timedelta(seconds=offset))
        for feed in feeds:
            while offered := feed.document():
                written.append(offered)
                feed.delivered(offered)
    return written


def _random(seed: str) -> random.Random:
    return random.Random(seed)  # noqa: S311 (repeatable by its seed, guards nothing)


def _ids(seed: str) -> Callable[[], str]:
    chance = _random(seed)
    return lambda: str(UUID(int=chance.getrandbits(128), version=4))
