"""Objects and lists of one node: ids that fit into a path, lists page by page, entries that hold nothing but an id."""

import re
from collections.abc import Mapping
from math import inf
from typing import Any, Final, Generic, TypeVar

from cdr_service.cms.errors import CmsUnusable
from cdr_service.cms.kinds import Kind
from cdr_service.cms.node import Node
from cdr_service.cms.parsing import read_one, read_page

T = TypeVar("T")

PAGE: Final = 100
"""How many entries we ask for; servers give 10 to 20 whatever is asked."""

# An id that came with a CDR may be any text; one that cannot stand in a path as it is, no server gave.
_ID = re.compile(r"(?!\.*$)[A-Za-z0-9._~-]{1,128}")


def is_id(text: str) -> bool:
    """Whether a text may be an id, and can stand in a path."""
    return _ID.fullmatch(text) is not None


async def one(node: Node, kind: Kind[T], object_id: str, collection: str | None = None) -> T | None:
    """Read an object of a collection by its id; None where there is none."""
    if not is_id(object_id):
        return None
    path = f"{collection or kind.collection}/{object_id}"
    return await node.get(path, lambda body: read_one(kind, body, object_id.lower()))


async def single(node: Node, kind: Kind[T], path: str) -> T | None:
    """Read what exists once; None where the release does not have it."""
    return await node.get(path, lambda body: read_one(kind, body))


async def only(node: Node, kind: Kind[T], path: str) -> T:
    """Read what exists once, in all releases."""
    found: T | None = await single(node, kind, path)
    return required(node, path, found)


async def listed(node: Node, kind: Kind[T], path: str = "", *, whole: bool = False) -> tuple[T, ...]:
    """Read the list of a collection, and with `whole` each of its objects by itself."""
    reading = ListReading(node, kind, path, whole=whole)
    return required(node, reading.path, await reading.read())


async def listed_of(node: Node, kind: Kind[T], parents: str, parent: str, name: str) -> tuple[T, ...] | None:
    """Read a list that belongs to an object; None where there is no such object."""
    if not is_id(parent):
        return None
    path = f"{parents}/{parent}/{name}"
    return await ListReading(node, kind, path, collection=kind.collection or path).read()


async def pages(node: Node, kind: Kind[T], path: str, query: Mapping[str, str] | None = None) -> tuple[T, ...] | None:
    """Read a list of what has no id of its own, page by page; None where there is none."""
    return await ListReading(node, kind, path, query=query, collection="").read()


class ListReading(Generic[T]):
    """A list that is read page by page, and with it those objects of which it tells no more than the id.

    Where a request fails, the next `read` goes on with it. The list may shift meanwhile: what comes twice counts once,
    and what is missing is gone only if it is missing again.
    """

    def __init__(
        self,
        node: Node,
        kind: Kind[T],
        path: str = "",
        *,
        query: Mapping[str, str] | None = None,
        collection: str | None = None,
        whole: bool = False,
    ) -> None:
        """Take where its objects are (`collection`, empty where they have no id); with `whole` all of them are read."""
        self.path = path or kind.collection
        self._node = node
        self._kind = kind
        self._query = query or {}
        self._collection = kind.collection if collection is None else collection
        self._whole = whole
        self._items: dict[Any, T] = {}
        self._offset = 0
        self._at_end = False
        self._completed: list[T | None] = []

    async def read(self) -> tuple[T, ...] | None:
        """Read on to the end; None where there is no such list. Raises CmsError."""
        while not self._at_end:
            if not await self._next_page():
                return None
        items = tuple(self._items.values())
        if not self._collection:
            return items
        for item in items[len(self._completed) :]:
            self._completed.append(await self._complete(item))
        return tuple(item for item in self._completed if item is not None)

    async def _next_page(self) -> bool:
        wanted = {**self._query, "limit": str(PAGE), "offset": str(self._offset)}
        page = await self._node.get(self.path, lambda body: read_page(self._kind, body), wanted)
        if page is None:
            return False
        known = len(self._items)
        for key, item in page.items.items():
            self._items.setdefault(key, item)
        self._offset += page.received
        # Without a total, a server that pays no heed to the offset would give the same page for ever.
        end = page.total if page.total is not None else inf if len(self._items) > known else self._offset
        self._at_end = not page.received or self._offset >= end
        return True

    async def _complete(self, item: T) -> T | None:
        """Read an object by itself where the list tells no more than the id; None where it is gone by then."""
        told: Any = item
        if self._whole or all(getattr(told, name) is None for name in told.__struct_fields__ if name != "id"):
            return await one(self._node, self._kind, told.id, self._collection)
        return item


def required(node: Node, path: str, found: T | None) -> T:
    """Return what must be there in every release. Raises CmsUnusable where it is not."""
    if found is None:
        raise CmsUnusable(
            f"{node.name} has nothing at /{path}: check that CDR_CMS_URL is a Meeting Server's web admin."
        )
    return found
