"""The parts of a run: each yields rows of the table of goals, and may add a table of what stands behind them."""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from bench import backlog, busy, fleet, growth, model, outage
from bench.rates import Rate, middle, rates, ratio, sync_milliseconds

ONE_BY_ONE: Final = ("bare", "peer", "service", "workers")


@dataclass
class Run:
    """A run, and what its parts leave for those that follow."""

    full: bool
    runs: int = 3
    tables: list[str] = field(default_factory=list)
    """Lines that stand below the table of goals."""
    alone: Rate | None = None
    """Of the service, where each record comes alone."""
    memory: tuple[float, float, float] | None = None
    idle_cpu: float | None = None

    @property
    def calls(self) -> int:
        """How many live calls are many."""
        return 100_000 if self.full else 10_000

    @property
    def records(self) -> int:
        """How long a backlog is."""
        return 1_000_000 if self.full else 40_000


def speed(run: Run) -> Iterator[str]:
    """Measure rates beside other servers."""
    one, fifty = rates(1, run.runs, ONE_BY_ONE), rates(50, run.runs, ("bare", "peer", "service"))
    in_order, sync = rates(1, run.runs, ("bare", "service"), connections=1), sync_milliseconds()
    share = ratio(one, "service", "bare") or 0.0
    more = median(f.per_second / o.per_second for f, o in zip(fifty["service"], one["service"], strict=True))
    bare, ours = middle(in_order["bare"]).wait, middle(in_order["service"]).wait
    yield f"| 1 record per POST, share of the bare server | ≥ 45 % | {share:.0%} |"
    yield f"| 50 per POST, against the peer | ≥ 1.5 times | {_times(ratio(fifty, 'service', 'peer'))} |"
    yield f"| 1 per POST, against the peer | ≥ 2 times | {_times(ratio(one, 'service', 'peer'))} |"
    yield f"| 50 per POST, against 1 per POST | ≥ 2 times | {more:.2f} times |"
    yield (
        f"| one in-order connection, median time to the 200 | bare {bare:.2f} + sync {sync:.2f} + 0.5 ms"
        f" | {ours:.2f} ms |"
    )
    workers = ratio(one, "workers", "service", "cpu")
    yield f"| `--workers 2`, processor time per record against one process | ≤ 1.15 times | {_times(workers)} |"
    run.alone = middle(in_order["service"])
    run.tables += ["", "| server | records/s | µs per record | µs of its store | median time to the 200, ms |"]
    run.tables += ["| --- | --- | --- | --- | --- |"]
    run.tables += [_told(f"{name}, 1 per POST", middle(found)) for name, found in one.items()]
    run.tables += [_told(f"{name}, 50 per POST", middle(found)) for name, found in fifty.items()]
    run.tables += [_told(f"{name}, 1 per POST, one connection", middle(found)) for name, found in in_order.items()]


def size(run: Run) -> Iterator[str]:
    """Measure growth, memory and starting."""
    with tempfile.TemporaryDirectory() as folder:
        more = growth.per_live_calls(100, run.calls, Path(folder))
        empty, full = growth.start_seconds(), growth.start_seconds(Path(folder))
    yield f"| processor time of an in-order record, 100 to {run.calls:,} live calls | ≤ 1.1 times | {more:.2f} times |"
    more = growth.per_legs_in_a_meeting(2, 2000)
    yield f"| processor time of one, 2 to 2,000 legs in its meeting | ≤ 1.1 times | {more:.2f} times |"
    leg, call, ended_leg = run.memory = growth.memory()
    yield f"| store memory of a live leg | ≤ 900 B | {leg:,.0f} B |"
    yield f"| store memory of an ended call; of each of its legs | ≤ 1 KiB; 250 B | {call:,.0f} B; {ended_leg:,.0f} B |"
    yield f"| start to the first 200, empty store | ≤ 0.6 s | {empty:.2f} s |"
    yield f"| start to the first 200, {run.calls:,} live calls in the store | ≤ 3 s for 100,000 | {full:.2f} s |"


def asking(_: Run) -> Iterator[str]:
    """Measure the wait of somebody who looks while the intake is busy."""
    found = busy.busy(10_000)
    yield (
        f"| `/v1/calls` (100 of 10,000 live), asked {found.asked} times while the intake takes {found.per_second:,.0f}"
        f" records/s, half its peak: p99; loss of the intake | ≤ 25 ms; ≤ 5 % | {found.wait:.0f} ms; {found.lost:.1%} |"
    )


def catching_up(run: Run) -> Iterator[str]:
    """Measure a backlog, tenth by tenth."""
    tenths = []
    for tenth in backlog.backlog(run.records):
        print(f"({tenth})", file=sys.stderr, flush=True)  # a million records take minutes
        tenths.append(tenth)
    first, last = tenths[0], tenths[-1]
    held = f"{first.memory >> 20} to {last.memory >> 20} MiB"
    yield (
        f"| backlog of {sum(tenth.records for tenth in tenths):,} records: processor time per record, and rate, in the"
        " last tenth against the first; memory of the process | within 10 %; constant |"
        f" {last.cpu / first.cpu - 1:+.0%}, {last.per_second / first.per_second - 1:+.0%}; {held} |"
    )
    run.tables += ["", "| tenth of the backlog | records/s | µs per record | MiB |", "| --- | --- | --- | --- |"]
    run.tables += [
        f"| {number} | {tenth.per_second:,.0f} | {tenth.cpu:,.0f} | {tenth.memory >> 20} |"
        for number, tenth in enumerate(tenths, 1)
    ]


def after_an_outage(run: Run) -> Iterator[str]:
    """Measure what clusters that kept everything back bring."""
    found = outage.outage(100_000 if run.full else 20_000)
    yield (
        f"| outage: 24 bridges in 3 clusters, {found.meetings:,} meetings, keep {found.records:,} records back and send"
        f" them at once | the state is right |"
        f" {found.seconds:.1f} s, {found.per_second:,.0f} records/s, {found.cpu:,.0f} µs each |"
    )


def beyond_a_machine(run: Run) -> Iterator[str]:
    """Measure replicas on a cluster of stores, and work out what many bridges would need."""
    found = fleet.fleet(20_000)
    run.idle_cpu = found.idle_cpu
    shares = ", ".join(f"{share:.0%}" for share in found.shares)
    yield (
        f"| {fleet.DEPLOYMENTS} deployments, {fleet.REPLICAS} replicas behind a TCP balancer, a cluster of"
        f" three stores, {found.records:,} records | the state is right |"
        f" {found.per_second:,.0f} records/s, {found.cpu:,.0f} µs each; commits by store {shares} |"
    )
    yield (
        "| a replica while nothing comes, per deployment | | "
        f"{found.idle_cpu:.2f} ms of processor time and {found.idle_commands:.1f} commands a second |"
    )
    if run.alone and run.memory:
        measured = model.Measured(run.alone.cpu, run.alone.store_cpu, sync_milliseconds(), *run.memory, found.idle_cpu)
        run.tables += ["", *model.rows(measured)]


def _times(value: float | None) -> str:
    return "not measured: no npm" if value is None else f"{value:.2f} times"


def _told(name: str, rate: Rate) -> str:
    """Return a row of the table of what was measured."""
    store = f"{rate.store_cpu:,.0f}" if rate.commits else "-"
    return f"| {name} | {rate.per_second:,.0f} | {rate.cpu:,.0f} | {store} | {rate.wait:.2f} |"


PARTS: Final[Mapping[str, Callable[[Run], Iterator[str]]]] = {
    "speed": speed,
    "size": size,
    "asking": asking,
    "backlog": catching_up,
    "outage": after_an_outage,
    "fleet": beyond_a_machine,
}
