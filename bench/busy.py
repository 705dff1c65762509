"""Somebody looks at the live calls while the intake is busy: how long do they wait, and what does the intake lose?"""

import asyncio
from contextlib import suppress
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import uvloop

from bench.contenders import Running, service
from bench.growth import fill
from bench.load import Load, send
from bench.meetings import known_of
from bench.traffic import Piece, Traffic
from bench.truth import Known, verify

BRIDGES: Final = 32
PEAK_RECORDS: Final = 6_000
SECONDS: Final = 20
"""How long the intake runs at half its peak with somebody asking."""
EVERY_SECONDS: Final = 0.05
"""How often `/v1/calls` is asked for."""
ASKED: Final = "/v1/calls?limit=100"


class Busy(NamedTuple):
    """What was found."""

    asked: int
    """How often."""
    wait: float
    """The 99th percentile of the wait for 100 calls, in milliseconds."""
    per_second: float
    """Records that the intake took, one a POST, while nobody asked …"""
    lost: float
    """… and the share of them that it took less while somebody did."""


def busy(calls: int) -> Busy:
    """Measure with so many live calls, and with those of the traffic beside them."""
    traffic = Traffic(7, bridges=BRIDGES)
    with service() as running:
        filling = fill(running, calls, 2)
        piece = traffic.take(1, PEAK_RECORDS)
        half = uvloop.run(send(running.port, piece.requests(), piece.records)).requests_per_second / 2
        quiet_piece, asked_piece = (traffic.take(1, int(half * seconds)) for seconds in (SECONDS / 2, SECONDS))
        quiet = uvloop.run(_paced(running, quiet_piece, half))
        asked, waits = uvloop.run(_asking(running, asked_piece, half))
        verify([running.api], {"default": _both(known_of(filling), traffic.known())})
    lost = 1 - asked.records_per_second / quiet.records_per_second
    return Busy(len(waits), waits[len(waits) * 99 // 100] * 1000, quiet.records_per_second, lost)


async def _paced(running: Running, piece: Piece, per_second: float) -> Load:
    return await send(running.port, piece.requests(), piece.records, per_second=per_second)


async def _asking(running: Running, piece: Piece, per_second: float) -> tuple[Load, list[float]]:
    """Send, and ask for the live calls meanwhile; return the waits too, the shortest first."""
    waits: list[float] = []
    asking = asyncio.create_task(_ask(running.api, waits))
    load = await _paced(running, piece, per_second)
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking
    return load, sorted(waits)


async def _ask(api: str, waits: list[float]) -> None:
    """Ask again and again over one connection, and note how long each whole answer took."""
    address, clock = urlsplit(api), asyncio.get_running_loop().time
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=1 << 20)
    due = clock()
    while True:
        begun = clock()
        writer.write(f"GET {ASKED} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        if not head.startswith("http/1.1 200"):
            raise RuntimeError(f"{ASKED} was answered {head}")
        await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]))
        waits.append(clock() - begun)
        due += EVERY_SECONDS
        await asyncio.sleep(max(0.0, due - clock()))


def _both(one: Known, other: Known) -> Known:
    return Known(
        one.records + other.records,
        one.participants + other.participants,
        {**one.calls, **other.calls},
        {**one.charges, **other.charges},
    )
