"""What a record costs, what a leg takes and how long a start lasts, as calls and legs become more."""

import socket
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Final

import redis
import uvloop

from bench.contenders import Running, service
from bench.load import request, send
from bench.meetings import Meetings, known_of
from bench.truth import verify

AT_ONCE: Final = 50
"""Records in a document."""
FILLING: Final = 8
"""Bridges that fill a store together."""
PIECE: Final = 5_000
"""Records of a bridge that are made, then sent, before the next are made."""
ROUNDS: Final = 3


def deliver(running: Running, parts: Sequence[tuple[Meetings, Iterable[str]]]) -> float:
    """Send the records of bridges, a connection each, in order; return the microseconds of processor time per record.

    The records are made while they are sent, a piece at a time.
    """
    before, count = running.cpu(), 0
    left = [(meetings, iter(records)) for meetings, records in parts]
    while pieces := [(meetings, piece) for meetings, records in left if (piece := list(islice(records, PIECE)))]:
        posts = [
            [
                request(f"/cdr?bridge={meetings.bridge}", meetings.body(*piece[at : at + AT_ONCE]))
                for at in range(0, len(piece), AT_ONCE)
            ]
            for meetings, piece in pieces
        ]
        told = sum(len(piece) for _, piece in pieces)
        uvloop.run(send(running.port, posts, told))
        count += told
    return (running.cpu() - before) / count * 1e6


def fill(running: Running, count: int, legs: int) -> list[Meetings]:
    """Place so many calls of so many legs, by several bridges at once; return these."""
    bridges = [Meetings(f"filling{number}") for number in range(FILLING)]
    shares = [count // FILLING + (number < count % FILLING) for number in range(FILLING)]
    parts = [
        (bridge, _calls(bridge, f"f{number}-", share, legs))
        for number, (bridge, share) in enumerate(zip(bridges, shares, strict=True))
    ]
    deliver(running, parts)
    return bridges


def _calls(meetings: Meetings, name: str, count: int, legs: int) -> Iterator[str]:
    for number in range(count):
        yield meetings.call(f"{name}{number}")
        for leg in range(legs):
            yield meetings.leg(f"{name}{number}", f"{name}{number}-{leg}")


def _comings_and_goings(meetings: Meetings, call: str, count: int, name: str) -> Iterator[str]:
    for number in range(count):
        leg = f"{name}{number}"
        yield meetings.leg(call, leg)
        yield meetings.update(call, leg)
        yield meetings.end(leg)


def _side_by_side(cases: Sequence[tuple[int, int]], data: Path) -> float:
    """Return how much more an in-order record costs in the second case than in the first: the median of some rounds.

    A case is how many calls go on beside the one that is measured, and how many legs that one has. Both services run
    all the while and take turns, so that whatever else the machine does meets them alike. `data` is where the store of
    the second is.
    """
    with ExitStack() as stack:
        running = [stack.enter_context(service(data=data if number else None)) for number in range(2)]
        bridges = [fill(one, calls, 2) for one, (calls, _) in zip(running, cases, strict=True)]
        measured = [Meetings(f"measured{number}") for number in range(2)]
        for one, meetings, (_, legs) in zip(running, measured, cases, strict=True):
            deliver(one, [(meetings, _calls(meetings, "m", 1, legs))])
        ratios = []
        for number in range(ROUNDS + 1):
            few, many = (
                deliver(one, [(meetings, _comings_and_goings(meetings, "m0", 2000, f"g{number}-"))])
                for one, meetings in zip(running, measured, strict=True)
            )
            ratios.append(many / few)
        for one, others, meetings in zip(running, bridges, measured, strict=True):
            verify([one.api], {"default": known_of([*others, meetings])})
        return median(ratios[1:])  # the first round is for warming up


def per_live_calls(few: int, many: int, data: Path) -> float:
    """Return how much more an in-order record costs with many live calls than with few; the many are left in `data`."""
    return _side_by_side([(few, 2), (many, 2)], data)


def per_legs_in_a_meeting(few: int, many: int) -> float:
    """Return how much more an in-order record costs with many legs in its meeting than with few."""
    with tempfile.TemporaryDirectory() as folder:
        return _side_by_side([(100, few), (100, many)], Path(folder))


def _state_bytes(data: Path) -> int:
    """Return the bytes that the store takes without the received documents and the events."""
    store = redis.Redis(unix_socket_path=Path(data, "lock").read_text().splitlines()[1])
    keys = [key for key in store.scan_iter(count=1000) if not key.endswith((b":raw", b":events"))]
    asked = store.pipeline(transaction=False)
    for key in keys:
        asked.memory_usage(key, samples=0)
    return sum(asked.execute())


def memory(calls: int = 200, legs: tuple[int, int] = (2, 12)) -> tuple[float, float, float]:
    """Return the bytes of a live leg, of an ended call without its legs, and of each leg of it."""
    live, ended = [], []
    for count in legs:
        with tempfile.TemporaryDirectory() as folder, service(data=Path(folder)) as running:
            meetings = Meetings()
            deliver(running, [(meetings, _calls(meetings, "m", calls, count))])
            live.append(_state_bytes(Path(folder)))
            verify([running.api], {"default": meetings.known()})
            ends = [meetings.end(f"m{call}-{leg}") for call in range(calls) for leg in range(count)]
            deliver(running, [(meetings, ends + [meetings.call_end(f"m{call}") for call in range(calls)])])
            ended.append(_state_bytes(Path(folder)))
            verify([running.api], {"default": meetings.known()})
    more = calls * (legs[1] - legs[0])
    ended_leg = (ended[1] - ended[0]) / more
    return (live[1] - live[0]) / more, ended[0] / calls - legs[0] * ended_leg, ended_leg


def start_seconds(data: Path | None = None) -> float:
    """Return the seconds from starting the service to its first 200."""
    start = time.perf_counter()
    with service(data=data) as running, socket.create_connection(("127.0.0.1", running.port)) as connection:
        connection.sendall(request("/cdr", Meetings("start").body()))
        if not connection.recv(1000).startswith(b"HTTP/1.1 200"):
            raise RuntimeError("the service did not answer 200")
        return time.perf_counter() - start
