"""An event loop whose time is simulated: where everybody waits, it is at once the next moment that somebody waits for.

So an hour of polls takes seconds, and the same seed gives the same hour. Nothing outside the process can be waited for.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")


class _Moments(selectors.SelectSelector):
    """Waits by letting the simulated time pass."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Pass the time until the next moment that somebody waits for."""
        if timeout is None:
            raise RuntimeError("Everybody waits for something that will never happen.")
        self.now += max(timeout, 0.0)
        return []


class Clockwork(asyncio.SelectorEventLoop):
    """The loop."""

    def __init__(self) -> None:
        self._moments = _Moments()
        super().__init__(self._moments)

    def time(self) -> float:
        """Return the simulated time, in seconds since the loop began."""
        return self._moments.now

    def run_in_executor(self, executor: Executor | None, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]  # noqa: ARG002
        """Run it here and now: a thread would take time that is not simulated."""
        done: asyncio.Future[T] = self.create_future()
        done.set_result(func(*args))
        return done


def played(work: Coroutine[Any, Any, T]) -> T:
    """Run something to its end in simulated time."""
    with asyncio.Runner(loop_factory=Clockwork) as runner:
        return runner.run(work)
