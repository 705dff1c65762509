"""Bridges that were cut off for long empty their buffers: does the last tenth cost what the first one did?"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import uvloop

from bench.contenders import service
from bench.load import send
from bench.traffic import Traffic
from bench.truth import verify

BRIDGES: Final = 8
AT_ONCE: Final = 100
"""Records in a document."""
BEFORE: Final = 20_000
"""Records that are sent beforehand: until then meetings begin, and few end, which costs most."""


class Tenth(NamedTuple):
    """A part of the backlog."""

    records: int
    per_second: float
    cpu: float
    """Microseconds of processor time per record."""
    memory: int
    """Bytes that the process holds at its end."""


def backlog(records: int) -> Iterator[Tenth]:
    """Catch up about so many records, by bridges that send them at once, and yield each tenth when it is done.

    Each tenth is made before it is sent, and forgotten then.
    """
    traffic = Traffic(9, bridges=BRIDGES)
    with service() as running:
        for number, count in enumerate([BEFORE, *[records // 10] * 10]):
            piece = traffic.take(AT_ONCE, count)
            posts, before = piece.requests(), running.cpu()
            load = uvloop.run(send(running.port, posts, piece.records))
            cpu = (running.cpu() - before) / piece.records * 1e6
            if number:
                yield Tenth(piece.records, load.records_per_second, cpu, running.memory())
        verify([running.api], {"default": traffic.known()})
