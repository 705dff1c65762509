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
    waits: list[float]
    """Seconds from sending a request to its whole answer, the shortest first."""

    @property
    def records_per_second(self) -> float:
        """Records answered with a 200, per second."""
        return self.records / self.seconds

    @property
    def requests_per_second(self) -> float:
        """Requests answered with a 200, per second."""
        return self.requests / self.seconds

    @property
    def median(self) -> float:
        """The median of the waits."""
        return self.waits[len(self.waits) // 2]


def request(path: str, body: bytes) -> bytes:
    """Return a POST as bytes."""
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class _Sender(asyncio.Protocol):
    """Sends its requests one after another, each when the one before was answered 200, and not before it is due."""

    def __init__(
        self, requests: Sequence[bytes], done: asyncio.Future[list[float]], first: float, every: float
    ) -> None:
        """Send the `first` request then, by the loop's clock, and another `every` so many seconds."""
        self._requests = iter(requests)
        self._done = done
        self._due = first
        self._every = every
        self._sent = 0.0
        self._times: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._next()

    def data_received(self, data: bytes) -> None:
        if not data.startswith(b"HTTP/1.1 200 "):
            self._fail(RuntimeError(f"after {len(self._times)} answers of 200, answered {data[:300]!r}"))
            return
        self._times.append(time.perf_counter() - self._sent)
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or RuntimeError("the connection was closed"))

    def _next(self) -> None:
        following = next(self._requests, None)
        loop = asyncio.get_running_loop()
        if following is None:
            if not self._done.done():
                self._done.set_result(self._times)
            self._transport.close()
        elif self._every and self._due > loop.time():
            loop.call_at(self._due, self._send, following)
        else:
            self._send(following)
        self._due += self._every

    def _send(self, following: bytes) -> None:
        self._sent = time.perf_counter()
        self._transport.write(following)

    def _fail(self, problem: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(problem)


async def send(
    port: int, per_connection: Sequence[Sequence[bytes]], records: int, *, per_second: float | None = None
) -> Load:
    """Send all requests, those of each connection in order; `records` is how many they hold.

    With `per_second` all connections together send so many requests a second, each evenly from begin to end; what is
    late is made up for.
    """
    loop = asyncio.get_running_loop()
    done = [loop.create_future() for _ in per_connection]
    span = sum(map(len, per_connection)) / per_second if per_second else 0.0
    start, begun = time.perf_counter(), loop.time()
    for number, (requests, future) in enumerate(zip(per_connection, done, strict=True)):
        every = span / max(len(requests), 1)
        sender = _Sender(requests, future, begun + every * number / len(per_connection), every)
        await loop.create_connection(lambda sender=sender: sender, "127.0.0.1", port)  # type: ignore[misc]
    waits = sorted(seconds for result in await asyncio.gather(*done) for seconds in result)
    return Load(len(waits), records, time.perf_counter() - start, waits)
