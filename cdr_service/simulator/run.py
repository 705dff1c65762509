"""A simulated Meeting Server at work: plays scenarios in real time, or faster, against a receiver."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from math import inf
from typing import NamedTuple
from uuid import uuid4

from cdr_service.simulator.bridge import Bridge, Sender, receiver_url
from cdr_service.simulator.expected import Expected
from cdr_service.simulator.meeting import Step
from cdr_service.simulator.people import HOLDERS
from cdr_service.simulator.scenarios import Arrival, arrivals, identities, in_order


@dataclass(frozen=True, slots=True)
class Summary:
    """How far a simulation is, or how it ended."""

    calls: int
    """Calls begun, on all bridges."""
    live: int
    """Calls that did not end yet."""
    records: int
    """Records delivered."""
    documents: int
    """Documents delivered."""
    repeats: int
    """How often a document was sent again for want of a 200."""
    waiting: int
    """Records generated and not delivered."""
    trouble: str | None
    """Why the last attempt did not succeed, in a few words that name no secret; None where all is well."""


def together(summaries: Iterable[Summary]) -> Summary:
    """Return how far several simulations are together."""
    parts = list(summaries)
    counts = ("calls", "live", "records", "documents", "repeats", "waiting")
    sums = {name: sum(getattr(part, name) for part in parts) for name in counts}
    return Summary(**sums, trouble=next((part.trouble for part in parts if part.trouble), None))


class Outage(NamedTuple):
    """A time in which no bridge reaches the receiver; at its end each sends all that it kept."""

    after: float
    """Seconds from the start of the simulation, of our time."""
    seconds: float


@dataclass(slots=True)
class _Server:
    """The bridges of one simulated Meeting Server, and what they did so far."""

    bridges: Sequence[Bridge]
    senders: Sequence[Sender]
    calls: int = 0
    live: int = 0

    def emit(self, step: Step, time: datetime) -> None:
        self.bridges[step.bridge].emit(step.record, time)
        if step.record.type == "callStart":
            self.calls += 1
            self.live += 1
        elif step.record.type == "callEnd":
            self.live -= 1

    def summary(self) -> Summary:
        senders = self.senders
        return Summary(
            calls=self.calls,
            live=self.live,
            records=sum(sender.records for sender in senders),
            documents=sum(sender.documents for sender in senders),
            repeats=sum(sender.repeats for sender in senders),
            waiting=sum(feed.waiting for bridge in self.bridges for feed in bridge.feeds),
            trouble=next((sender.trouble for sender in senders if sender.trouble), None),
        )


def new_bridges(
    seed: int, *, sessions: str, bridges: int = 1, cluster: bool = False, first_index: int = 0
) -> list[Bridge]:
    """Make the bridges of one simulated Meeting Server."""
    named = identities(seed, bridges=bridges, cluster=cluster, sessions=sessions)
    return [Bridge(identity, first_index=first_index) for identity in named]


async def simulate(
    target: str,
    *,
    seed: int = 0,
    bridges: int = 1,
    cluster: bool = False,
    meetings: int | None = None,
    rate: float = 1.0,
    speed: float = 1.0,
    duration: float | None = None,
    token: str | None = None,
    holders: Sequence[str] = HOLDERS,
    start: datetime | None = None,
    sessions: str | None = None,
    first_index: int = 0,
    name_bridges: bool = True,
    hostile: bool = False,
    burst: int = 1,
    outage: Outage | None = None,
    drain: float = 10.0,
    on_progress: Callable[[Summary], None] | None = None,
    on_answers: Callable[[Expected], None] | None = None,
    stop: asyncio.Event | None = None,
    made: Sequence[Bridge] | None = None,
) -> Summary:
    """Push the CDRs of made-up meetings to a receiver, until `meetings` are over, `duration` seconds passed, or `stop`.

    `rate` is how many meetings begin in a minute of their own time, which runs `speed` times as fast as ours, and
    `burst` how many of them at the same moment. Records
    carry the real time; given `start`, that of a clock which begins there and runs with the meetings. Sessions, calls
    and legs get new ids in each run, so that it can be run again; the same `sessions` (any text) gives the same ids,
    and with `start` the very same records. `first_index` is the correlatorIndex that each bridge begins with.
    Bridges that are not clustered add their name to the URL, if `name_bridges`. `made` are bridges by `new_bridges`,
    for which somebody else has a use too; then `sessions` are theirs.

    `on_answers` is given what must be known of each meeting that came to its end; that is exact with `start` only.
    At the end up to `drain` seconds are given to deliver what waits. Raises ValueError with one sentence where an
    argument does not make sense.
    """
    for what, value in (("rate", rate), ("speed", speed), ("burst", burst)):
        if not 0 < value < inf:
            raise ValueError(f"{what} must be a number above 0, not {value:g}.")
    if bridges < 1 or (meetings is not None and meetings < 1):
        raise ValueError("There must be one bridge at least and one meeting at least.")
    ids = uuid4().hex if sessions is None else sessions
    running = made or new_bridges(seed, bridges=bridges, cluster=cluster, sessions=ids, first_index=first_index)
    named = [bridge.identity for bridge in running]
    senders, line = [], asyncio.Event()
    line.set()
    for bridge in running:
        name = bridge.identity.name if name_bridges and not cluster else None
        url = receiver_url(target, token=token, bridge=name)
        senders.append(Sender(bridge.add_receiver(seed=seed), url, line=line))
    server = _Server(running, senders)
    # With the real clock in the records the meetings themselves are shortened: durations must fit the times.
    pace = 1.0 if start else speed
    coming = arrivals(seed, named, holders=holders, rate=rate, pace=pace, burst=burst, sessions=ids, hostile=hostile)
    begun: list[Expected] = []
    steps = in_order(_noted(islice(coming, meetings), begun if on_answers else None))
    async with asyncio.TaskGroup() as group:
        pushing = [group.create_task(sender.run()) for sender in senders]
        beside = [group.create_task(_report(server, on_progress)), group.create_task(_cut(line, outage))]
        over = await _play(
            server, steps, start=start, speed=speed / pace, duration=duration, stop=stop or asyncio.Event()
        )
        for bridge in running:
            for feed in bridge.feeds:
                feed.close()
        await asyncio.wait(pushing, timeout=drain)
        for task in (*beside, *pushing):
            task.cancel()
    for known in begun:
        if on_answers and known.end < over:
            on_answers(known)
    return server.summary()


def _noted(coming: Iterable[Arrival], begun: list[Expected] | None) -> Iterator[Arrival]:
    for arrival in coming:
        if begun is not None:
            begun += arrival.expected
        yield arrival


async def _cut(line: asyncio.Event, outage: Outage | None) -> None:
    if outage is not None:
        if outage.after:
            await asyncio.sleep(outage.after)
        line.clear()
        await asyncio.sleep(outage.seconds)
        line.set()


async def _play(
    server: _Server,
    steps: Iterator[Step],
    *,
    start: datetime | None,
    speed: float,
    duration: float | None,
    stop: asyncio.Event,
) -> float:
    """Let each step happen in its time, late rather than not at all; return the offset up to which all happened."""
    clock = asyncio.get_running_loop().time
    begun = clock()
    end = begun + (inf if duration is None else duration)
    for step in steps:
        await _until(min(begun + step.offset / speed, end), stop)
        if stop.is_set() or clock() >= end:
            return step.offset
        time = start + timedelta(seconds=step.offset) if start else datetime.now(UTC)
        server.emit(step, time)
    return inf


async def _until(when: float, stop: asyncio.Event) -> None:
    try:
        async with asyncio.timeout_at(when):
            await stop.wait()
    except TimeoutError:
        return


async def _report(server: _Server, on_progress: Callable[[Summary], None] | None) -> None:
    while on_progress:
        await asyncio.sleep(1)
        on_progress(server.summary())
