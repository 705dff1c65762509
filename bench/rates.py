"""Records per second, processor time per record and time to the 200, of several servers that take turns."""

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from statistics import median
from typing import Final, NamedTuple

import uvloop

from bench.contenders import Running, bare, has_peer, peer, service
from bench.load import send
from bench.traffic import requests

CONNECTIONS: Final = 32
MEETINGS: Final = 2000

Contender = Callable[[], AbstractContextManager[Running]]


class Rate(NamedTuple):
    """What a server did."""

    per_second: float
    """Records."""
    cpu: float
    """Microseconds of its own processes, per record."""
    wait: float
    """Median time to the 200, in milliseconds."""


def measure(contender: Contender, posts: list[list[bytes]], size: int) -> Rate:
    """Send to one server, started on an empty store, as long as all connections have something to send."""
    shortest = min(map(len, posts)) - (size > 1)  # the last document of a bridge may be a smaller one
    even = [bridge[:shortest] for bridge in posts]
    records = size * shortest * len(posts)
    with contender() as running:
        before = running.cpu()
        load = uvloop.run(send(running.port, even, records))
        return Rate(load.records_per_second, (running.cpu() - before) / records * 1e6, load.median * 1000)


def contenders() -> Mapping[str, Contender]:
    """Return the servers that can be run here."""
    found: dict[str, Contender] = {"bare": bare, "service": service, "workers": lambda: service(2)}
    return found | {"peer": peer} if has_peer() else found


def rates(size: int, runs: int, names: tuple[str, ...], *, connections: int = CONNECTIONS) -> dict[str, list[Rate]]:
    """Measure servers in turn, so that whatever else the machine does meets them alike; `size` records a POST."""
    known, found = contenders(), defaultdict(list)
    for seed in range(1, runs + 1):
        meetings = MEETINGS if connections > 1 else MEETINGS // 8
        posts, _ = requests(seed, size, meetings=meetings, bridges=connections)
        for name in names:
            if name in known:
                found[name].append(measure(known[name], posts, size))
    return dict(found)


def middle(found: list[Rate]) -> Rate:
    """Return the medians."""
    return Rate(*(median(values) for values in zip(*found, strict=True)))


def ratio(found: Mapping[str, list[Rate]], one: str, other: str, field: str = "per_second") -> float | None:
    """Return the median of the ratios of two servers, run by run; None where one of them was not measured."""
    if one not in found or other not in found:
        return None
    pairs = zip(found[one], found[other], strict=True)
    return float(median(getattr(a, field) / getattr(b, field) for a, b in pairs))


def sync_milliseconds(times: int = 200) -> float:
    """Return how long this disk takes to sync a little that was appended to a file: the median."""
    spent = []
    with tempfile.TemporaryFile() as file:
        for _ in range(times):
            file.write(b"x" * 1024)
            file.flush()
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            spent.append(time.perf_counter() - start)
    return median(spent) * 1000
