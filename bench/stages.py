"""CPU time per record, stage by stage, without HTTP and without a server: `python -m bench.stages`.

CPU time of this process is counted, so the figures hold on a busy machine, and tell where a change pays. The store
client is asked to write its bytes, which then go nowhere; everything that is new is answered as absent.
"""

import asyncio
import io
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from redis.asyncio import Connection

from bench.traffic import bodies
from cdr_service.domain.commit import Document, read
from cdr_service.domain.options import Options
from cdr_service.logs import configure_logging
from cdr_service.metrics import Metrics
from cdr_service.parting import Waiting, parted
from cdr_service.reporting import Reporter
from cdr_service.store.connection import _packed_in_c
from cdr_service.store.layout import LAYOUT
from cdr_service.store.redis_store import RedisStore, Written
from cdr_service.working_out import WorkingOut

CONNECTIONS: Final = 32
MEETINGS: Final = 400


class _Nowhere:
    """Stands in for the connection to the store: packs what would be sent, and knows nothing."""

    replicas = 0

    def __init__(self) -> None:
        self.sent = 0
        self._packer = _packed_in_c(Connection)()

    async def execute(self, *_command: Any) -> Any:
        return str(LAYOUT).encode()  # all that is asked for so

    async def pipeline(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        for command in commands:
            self._send(command)
        return [() if command[0] == "SMEMBERS" else None for command in commands]

    async def script(self, _script: Any, keys: Sequence[Any], args: Sequence[Any], **_: Any) -> Any:
        self._send(("EVALSHA", "sha", len(keys), *keys, *args))
        return []

    def _send(self, command: tuple[Any, ...]) -> None:
        self.sent += sum(map(len, self._packer.pack_command(*command)))


class _Stages:
    """The time that was spent in each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Count the CPU time of a piece of work."""
        start = time.process_time_ns()
        yield
        self.seconds[stage] += (time.process_time_ns() - start) / 1e9


async def measure(size: int, together: int, *, meetings: int = MEETINGS) -> tuple[dict[str, float], int]:
    """Return CPU seconds by stage, and how many records; `size` a document, `together` documents a commit."""
    waiting, records = bodies(1, size, meetings=meetings, bridges=CONNECTIONS)
    stages, connection = _Stages(), _Nowhere()
    store: Any = RedisStore(connection, {"default": Written()}, "bench")  # type: ignore[arg-type]
    reporter = Reporter(Metrics(["default"]))
    working_out = WorkingOut("default", Options(), store, lambda: time.time_ns() // 1_000_000)
    loop = asyncio.get_running_loop()
    for at in range(0, len(waiting), together):
        with stages.time("parse"):
            documents: list[Document] = [read(body, bridge) for bridge, body in waiting[at : at + together]]
        group = [Waiting(document=document, done=loop.create_future()) for document in documents]
        for pieces in parted(group):
            with stages.time("work out"):
                worked = await working_out(pieces)
            with stages.time("write"):
                await store.commit("default", worked.commit)
            with stages.time("tell"):
                reporter.committed("default", worked.commit, worked.received)
    return dict(stages.seconds), records


def main() -> None:
    """Print a table: microseconds of CPU per record."""
    sink = io.TextIOWrapper(io.FileIO("/dev/null", "w"))
    configure_logging("json", "info", sink)
    for size, together in ((1, 1), (1, CONNECTIONS), (50, 1), (50, 10)):
        seconds, records = asyncio.run(measure(size, together))
        each = {stage: spent / records * 1e6 for stage, spent in seconds.items()}
        told = "  ".join(f"{stage} {spent:6.1f}" for stage, spent in each.items())
        print(f"{size:>3} per document, {together:>3} documents per commit: {told}  all {sum(each.values()):6.1f} µs")


if __name__ == "__main__":
    main()
