"""Every figure of `docs/performance.md`, measured side by side in one run on one machine: `python -m bench`.

Real HTTP on loopback, `appendfsync always`, the JSON log on, both policies computed, a realistic mix of records and
meetings from the simulator, 32 keep-alive connections. Servers take turns, and medians are told. `--full` takes the
large sizes: 100,000 live calls and a backlog of a million records.
"""

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Final

from bench import growth
from bench.rates import Rate, middle, rates, ratio, sync_milliseconds

PAGE: Final = Path(__file__).parents[1] / "docs" / "performance.md"
MARK: Final = "<!-- Below this line `make bench` writes. -->"
ONE_BY_ONE: Final = ("bare", "peer", "service", "workers")


def times(value: float | None) -> str:
    """Return a ratio as text."""
    return "not measured: no npm" if value is None else f"{value:.2f} times"


def told(name: str, rate: Rate) -> str:
    """Return a row of the table of what was measured."""
    return f"| {name} | {rate.per_second:,.0f} | {rate.cpu:,.0f} | {rate.wait:.2f} |"


def speed(runs: int) -> Iterator[str]:
    """Yield the rows of the goals that are about speed, then a table of what stands behind them."""
    one, fifty = rates(1, runs, ONE_BY_ONE), rates(50, runs, ("bare", "peer", "service"))
    in_order, sync = rates(1, runs, ("bare", "service"), connections=1), sync_milliseconds()
    share = ratio(one, "service", "bare") or 0.0
    more = median(f.per_second / o.per_second for f, o in zip(fifty["service"], one["service"], strict=True))
    bare, ours = middle(in_order["bare"]).wait, middle(in_order["service"]).wait
    yield f"| 1 record per POST, share of the bare server | ≥ 45 % | {share:.0%} |"
    yield f"| 50 per POST, against the peer | ≥ 1.5 times | {times(ratio(fifty, 'service', 'peer'))} |"
    yield f"| 1 per POST, against the peer | ≥ 2 times | {times(ratio(one, 'service', 'peer'))} |"
    yield f"| 50 per POST, against 1 per POST | ≥ 2 times | {more:.2f} times |"
    yield (
        f"| one in-order connection, median time to the 200 | bare {bare:.2f} + sync {sync:.2f} + 0.5 ms"
        f" | {ours:.2f} ms |"
    )
    workers = ratio(one, "workers", "service", "cpu")
    yield f"| `--workers 2`, processor time per record against one process | ≤ 1.15 times | {times(workers)} |"
    DETAILS.extend(told(f"{name}, 1 per POST", middle(found)) for name, found in one.items())
    DETAILS.extend(told(f"{name}, 50 per POST", middle(found)) for name, found in fifty.items())
    DETAILS.extend(told(f"{name}, 1 per POST, one connection", middle(found)) for name, found in in_order.items())


def size(calls: int, records: int) -> Iterator[str]:
    """Yield the rows of the goals that are about growth, memory and starting."""
    with tempfile.TemporaryDirectory() as folder:
        few, many = growth.per_live_calls((100, calls), Path(folder))
        empty, full = growth.start_seconds(), growth.start_seconds(Path(folder))
    yield f"| processor time of a record, 100 to {calls:,} live calls | ≤ 1.1 times | {many / few:.2f} times |"
    few, many = growth.per_legs_in_a_meeting((2, 2000))
    yield f"| processor time of one, 2 to 2,000 legs in its meeting | ≤ 1.1 times | {many / few:.2f} times |"
    leg, call, ended_leg = growth.memory()
    yield f"| store memory of a live leg | ≤ 900 B | {leg:,.0f} B |"
    yield f"| store memory of an ended call; of each of its legs | ≤ 1 KiB; 250 B | {call:,.0f} B; {ended_leg:,.0f} B |"
    yield f"| start to the first 200, empty store | ≤ 0.6 s | {empty:.2f} s |"
    yield f"| start to the first 200, {calls:,} live calls in the store | ≤ 3 s for 100,000 | {full:.2f} s |"
    count, per_tenth, held = growth.backlog(records)
    change, memory = per_tenth[-1] / per_tenth[0] - 1, f"{held[0] >> 20} to {held[-1] >> 20} MiB"
    yield (
        f"| backlog of {count:,} records: processor time per record in the last tenth against the first; memory"
        f" | within 10 %; constant | {change:+.0%}; {memory} |"
    )


DETAILS: Final[list[str]] = []
"""Rows of the second table."""


def conditions(runs: int) -> str:
    """Return a sentence that says where and when this was measured."""
    load = os.getloadavg()[0]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    return (
        f"Measured {datetime.now(UTC):%Y-%m-%d} at {commit.strip() or 'an unknown commit'} with Python"
        f" {platform.python_version()} on {os.cpu_count()} cores ({platform.machine()}), medians of {runs} runs;"
        f" load average at the start {load:.1f}. Where that is above 2, others used the machine too, and processor time"
        " tells more than rates."
    )


def main() -> None:
    """Measure everything, print it as it comes, and write it into the page."""
    full = "--full" in sys.argv
    runs = 3
    lines = [conditions(runs), "", "| what | goal | measured |", "| --- | --- | --- |"]
    print("\n".join(lines))
    for rows in (speed(runs), size(100_000 if full else 10_000, 1_000_000 if full else 40_000)):
        for row in rows:
            print(row, flush=True)
            lines.append(row)
    lines += ["", "| server | records/s | processor time per record, µs | median time to the 200, ms |"]
    lines += ["| --- | --- | --- | --- |", *DETAILS]
    print("\n".join(DETAILS))
    head = PAGE.read_text().partition(MARK)[0]
    PAGE.write_text(f"{head}{MARK}\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
