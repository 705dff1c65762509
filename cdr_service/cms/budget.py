"""How often nodes may be asked: so many requests of each within a budget, every attempt counted, and not one more."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_CURRENT: Final[ContextVar["Budget | None"]] = ContextVar("budget", default=None)


class Budget:
    """So many requests of each node."""

    def __init__(self, requests: int) -> None:
        self.requests = requests
        self._made: Counter[str] = Counter()

    def take(self, node: str) -> bool:
        """Count a request that is about to be made; return False where it would be one too many."""
        if self._made[node] >= self.requests:
            return False
        self._made[node] += 1
        return True

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Let what is asked by this task, and by those that it starts, while the context lasts, count.

        What would be asked beyond the budget is not, and raises CmsSpent.
        """
        before = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(before)


def current() -> Budget | None:
    """Return the budget that holds; None where nothing bounds what is asked."""
    return _CURRENT.get()
