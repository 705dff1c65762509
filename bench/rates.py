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
from bench.storage import StoreUse
from bench.traffic import Piece, Traffic
from bench.truth import Known, verify

CONNECTIONS: Final = 32
RECORDS: Final = 30_000
"""Sent to each server in each run; an eighth of them where there is one connection only."""

Contender = Callable[[], AbstractContextManager[Running]]


class Rate(NamedTuple):
    """What a server did."""

    per_second: float
    """Records."""
    cpu: float
    """Microseconds of its own processes, per record."""
    wait: float
    """Median time to the 200, in milliseconds."""
    store_cpu: float = 0.0
    """Microseconds of its store, per record."""
    commits: float = 0.0
    """Commits per record, each of which is synced."""


def measure(contender: Contender, piece: Piece, size: int, known: Known) -> Rate:
    """Send to one server, started on an empty store, as long as all connections have something to send.

    The service is sent the rest as well, and then has to know what is `known`.
    """
    posts = piece.requests()
    shortest = min(map(len, posts)) - (size > 1)  # the last document of a bridge may be a smaller one
    records = size * shortest * len(posts)
    with contender() as running:
        before, store_before = running.cpu(), StoreUse.of(running.store)
        load = uvloop.run(send(running.port, [bridge[:shortest] for bridge in posts], records))
        cpu, used = (running.cpu() - before) / records * 1e6, StoreUse.of(running.store) - store_before
        if running.api:
            uvloop.run(send(running.port, [bridge[shortest:] for bridge in posts], piece.records - records))
            verify([running.api], {"default": known})
    per_record = used.cpu / records * 1e6, used.commits / records
    return Rate(load.records_per_second, cpu, load.median * 1000, *per_record)


def contenders() -> Mapping[str, Contender]:
    """Return the servers that can be run here."""
    found: dict[str, Contender] = {"bare": bare, "service": service, "workers": lambda: service(2)}
    return found | {"peer": peer} if has_peer() else found


def rates(size: int, runs: int, names: tuple[str, ...], *, connections: int = CONNECTIONS) -> dict[str, list[Rate]]:
    """Measure servers in turn, so that whatever else the machine does meets them alike; `size` records a POST."""
    available, found = contenders(), defaultdict(list)
    for seed in range(1, runs + 1):
        traffic = Traffic(seed, bridges=connections)
        piece = traffic.take(size, RECORDS if connections > 1 else RECORDS // 8)
        for name in names:
            if name in available:
                found[name].append(measure(available[name], piece, size, traffic.known()))
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
