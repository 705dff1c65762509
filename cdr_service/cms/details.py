"""Objects that a list only names, each read by itself: all at first, then new ones, and some of the others each time.

So a pass over many thousands costs a bounded number of requests, and everything is read again after a few passes.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Generic, TypeVar

from cdr_service.cms.errors import CmsUnusable

T = TypeVar("T")

AGAIN: Final = 500
"""So many of those that are known are read again in one pass, those first that were not for the longest time."""


class Details(Generic[T]):
    """What is known of each object of one collection."""

    def __init__(self, read: Callable[[str], Awaitable[T | None]], again: int = AGAIN) -> None:
        """`read` reads one by its id, None for one that does not exist."""
        self._read = read
        self._again = again
        self._known: dict[str, T] = {}
        self.unread: frozenset[str] = frozenset()
        """Ids of those that the server named, and of which its answer could not be used."""

    async def refreshed(self, listed: Iterable[T]) -> dict[str, T]:
        """Return all objects by id, given those that the list has; raises CmsError, and keeps what it read until then.

        Lists shift while they are read page by page, so one that is missing is gone only once the server says so.
        """
        named: dict[str, Any] = {_id(one): one for one in listed}
        new = [id_ for id_ in named if id_ not in self._known]
        missing = [id_ for id_ in self._known if id_ not in named]
        known = [id_ for id_ in self._known if id_ in named]
        unread, problem, good = set(), None, 0
        for id_ in (*new, *missing, *known[: self._again]):
            try:
                found = await self._read(id_)
            except CmsUnusable as unusable:
                problem = unusable
                unread |= {id_} & named.keys() - self._known.keys()
                continue
            good += 1
            self._known.pop(id_, None)  # what was read last stands last
            if found is not None:
                self._known[id_] = found
        if problem is not None and not good:
            raise problem
        self.unread = frozenset(unread)
        return {**{id_: named[id_] for id_ in unread}, **self._known}


def _id(one: Any) -> str:
    return str(one.id)
