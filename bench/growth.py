"""What a record costs, what a leg takes and how long a start lasts, as calls and legs become more."""

import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import redis
import uvloop

from bench.contenders import Running, service
from bench.load import request, send
from bench.traffic import Meetings, requests

AT_ONCE: Final = 50
"""Records in a document."""


def _deliver(running: Running, meetings: Meetings, records: Iterable[str]) -> float:
    """Send records over one connection, in order; return the microseconds of processor time per record."""
    told = list(records)
    posts = [request("/cdr", meetings.body(*told[at : at + AT_ONCE])) for at in range(0, len(told), AT_ONCE)]
    before = running.cpu()
    uvloop.run(send(running.port, [posts], len(told)))
    return (running.cpu() - before) / len(told) * 1e6


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


def per_live_calls(counts: tuple[int, ...], data: Path) -> list[float]:
    """Return what an in-order record costs with so many live calls of two legs each; ever more in one store."""
    meetings, known, costs = Meetings(), 0, []
    with service(data=data) as running:
        for count in counts:
            _deliver(running, meetings, _calls(meetings, f"c{count}-", count - known, 2))
            known = count
            _deliver(running, meetings, _calls(meetings, f"w{count}-", 1, 2))
            costs.append(_deliver(running, meetings, _comings_and_goings(meetings, f"w{count}-0", 3000, f"g{count}-")))
    return costs


def per_legs_in_a_meeting(counts: tuple[int, ...]) -> list[float]:
    """Return what an in-order record costs with so many legs in its meeting."""
    meetings, costs = Meetings(), []
    with service() as running:
        for count in counts:
            _deliver(running, meetings, _calls(meetings, f"l{count}-", 1, count))
            costs.append(_deliver(running, meetings, _comings_and_goings(meetings, f"l{count}-0", 3000, f"g{count}-")))
    return costs


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
            _deliver(running, meetings, _calls(meetings, "m", calls, count))
            live.append(_state_bytes(Path(folder)))
            ends = [meetings.end(f"m{call}-{leg}") for call in range(calls) for leg in range(count)]
            _deliver(running, meetings, ends + [meetings.call_end(f"m{call}") for call in range(calls)])
            ended.append(_state_bytes(Path(folder)))
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


def backlog(records: int) -> tuple[int, list[float], list[int]]:
    """Catch up so many records, by bridges that empty their buffers at once, tenth by tenth.

    Returns how many it were, and per tenth the microseconds of processor time per record and the bytes that the process
    held at its end.
    """
    posts, count = requests(9, 100, meetings=records // 19, bridges=8)
    costs, held = [], []
    with service() as running:
        for tenth in range(10):
            part = [bridge[len(bridge) * tenth // 10 : len(bridge) * (tenth + 1) // 10] for bridge in posts]
            part_records, before = 100 * sum(map(len, part)), running.cpu()
            uvloop.run(send(running.port, part, part_records))
            costs.append((running.cpu() - before) / part_records * 1e6)
            held.append(running.memory())
    return count, costs, held
