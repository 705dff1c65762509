"""A TCP balancer: each new connection goes to the next of the ports that it is given, and stays there."""

import asyncio
import sys
from itertools import cycle

import uvloop


class _Copying(asyncio.Protocol):
    """One end of a connection; hands what it gets to the other end."""

    def __init__(self, other: "_Copying | None" = None) -> None:
        self._other = other
        self.transport: asyncio.Transport | None = None
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        if self._other is not None:
            self._other.joined(self)

    def joined(self, other: "_Copying") -> None:
        """Take the other end, which is open by now, and hand it what came before."""
        self._other = other
        for data in self._early:
            self.data_received(data)
        self._early.clear()

    def data_received(self, data: bytes) -> None:
        if self._other is None or self._other.transport is None:
            self._early.append(data)
        else:
            self._other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        if self._other is not None and self._other.transport is not None:
            self._other.transport.close()


async def _main(ports: list[int]) -> None:
    loop, turns = asyncio.get_running_loop(), cycle(ports)
    opening: set[asyncio.Task[object]] = set()

    def accepted() -> _Copying:
        outside = _Copying()
        task: asyncio.Task[object] = loop.create_task(
            loop.create_connection(lambda: _Copying(outside), "127.0.0.1", next(turns))
        )
        opening.add(task)
        task.add_done_callback(opening.discard)
        return outside

    server = await loop.create_server(accepted, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


uvloop.run(_main([int(port) for port in sys.argv[1:]]))
