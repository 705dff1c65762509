"""A load tool that costs little: requests are bytes made beforehand, one keep-alive connection per Call Bridge."""

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple


class Load(NamedTuple):
    """What one run of the load came to."""

    requests: int
    records: int
    seconds: float
    median: float
    """Seconds from sending a request to its whole answer."""

    @property
    def records_per_second(self) -> float:
        """Records answered with a 200, per second."""
        return self.records / self.seconds


def request(path: str, body: bytes) -> bytes:
    """Return a POST as bytes."""
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class _Sender(asyncio.Protocol):
    """Sends its requests one after another, each when the one before was answered 200."""

    def __init__(self, requests: Sequence[bytes], done: asyncio.Future[list[float]]) -> None:
        self._requests = iter(requests)
        self._done = done
        self._sent = 0.0
        self._times: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._next()

    def data_received(self, data: bytes) -> None:
        if not data.startswith(b"HTTP/1.1 200 "):
            self._fail(RuntimeError(f"answered {data[:80]!r}"))
            return
        self._times.append(time.perf_counter() - self._sent)
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or RuntimeError("the connection was closed"))

    def _next(self) -> None:
        following = next(self._requests, None)
        if following is None:
            if not self._done.done():
                self._done.set_result(self._times)
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(following)

    def _fail(self, problem: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(problem)


async def send(port: int, per_connection: Sequence[Sequence[bytes]], records: int) -> Load:
    """Send all requests, those of each connection in order; `records` is how many they hold."""
    loop = asyncio.get_running_loop()
    done = [loop.create_future() for _ in per_connection]
    start = time.perf_counter()
    for requests, future in zip(per_connection, done, strict=True):
        await loop.create_connection(lambda r=requests, f=future: _Sender(r, f), "127.0.0.1", port)  # type: ignore[misc]
    times = [seconds for result in await asyncio.gather(*done) for seconds in result]
    seconds = time.perf_counter() - start
    return Load(len(times), records, seconds, sorted(times)[len(times) // 2])
