"""What a number of Call Bridges costs, worked out from what was measured: where does growth meet its first bound?"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from bench.traffic import Traffic

SIZES: Final = (10, 1_000, 10_000)
"""Call Bridges, …"""
IN_A_CLUSTER: Final = 10
"""… so many in each cluster, which is a deployment."""
LIVE_LEGS: Final = 500
"""On a busy bridge."""
STAY_SECONDS: Final = 1_800
"""Of a leg."""
PEAK: Final = 4
"""At the full hour legs come so many times as fast."""
BUSY_SECONDS: Final = 8 * 3600
"""A day."""
RETENTION_DAYS: Final = 90
AT_MOST: Final = 0.5
"""Of a processor that a process or a store should use at its peak."""
STORE_BYTES: Final = 64 << 30
"""Memory of a store server."""


class Measured(NamedTuple):
    """What the model rests on. Processor time is in microseconds."""

    cpu: float
    """Of the service, per record that comes alone."""
    store_cpu: float
    """Of the store, per record."""
    sync: float
    """Milliseconds of one sync."""
    live_leg: float
    """Bytes in the store."""
    ended_call: float
    ended_leg: float
    idle_cpu: float
    """Milliseconds of a process, per second and deployment, while nothing comes."""


class _Mix(NamedTuple):
    """The simulator's."""

    records_of_leg: float
    legs_of_call: float


class _Need(NamedTuple):
    """What a part of the system needs, and how much of it there is in one piece."""

    what: str
    pieces: float
    """Processes or store servers."""


def _mix() -> _Mix:
    body = b"".join(body for _, body in Traffic(1, bridges=4, meetings=500).take(50).bodies)
    legs, calls = body.count(b'"callLegStart"'), body.count(b'"callStart"')
    return _Mix(body.count(b"<record ") / legs, legs / calls)


def rows(measured: Measured) -> Iterator[str]:
    """Yield a table, a row for each number of bridges."""
    mix = _mix()
    yield "| Call Bridges | records/s on average; at the full hour | processes | stores, by what bounds them first |"
    yield "| --- | --- | --- | --- |"
    for bridges in SIZES:
        joins = bridges * LIVE_LEGS / STAY_SECONDS
        average, peak = joins * mix.records_of_leg, joins * mix.records_of_leg * PEAK
        ended_legs = joins * BUSY_SECONDS * RETENTION_DAYS
        live = bridges * LIVE_LEGS * measured.live_leg
        ended = ended_legs * (measured.ended_leg + measured.ended_call / mix.legs_of_call)
        intake, idle = peak * measured.cpu / 1e6, bridges / IN_A_CLUSTER * measured.idle_cpu / 1e3
        stores = (
            _Need(f"memory ({live / 1e6:,.0f} MB live, {ended / 1e9:,.0f} GB ended)", (live + ended) / STORE_BYTES),
            _Need(f"processor ({peak * measured.store_cpu / 1e6:.2f})", peak * measured.store_cpu / 1e6 / AT_MOST),
            _Need(f"syncs ({peak:,.0f}/s at most)", peak * measured.sync / 1e3 / AT_MOST),
        )
        first, *others = sorted(stores, key=lambda need: -need.pieces)
        told = f"{_whole(first)}: {first.what}; then " + ", ".join(f"{_whole(one)}: {one.what}" for one in others)
        # Each process looks after every deployment that it is set to, whether records come or not.
        processes = f"{_whole(_Need('', intake / AT_MOST))} for the records, {idle:.2f} of each for upkeep"
        yield f"| {bridges:,} | {average:,.0f}; {peak:,.0f} | {processes} | {told} |"


def _whole(need: _Need) -> int:
    return max(1, round(need.pieces + 0.499))
