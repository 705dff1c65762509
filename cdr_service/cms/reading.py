"""Objects and lists of one node: ids that fit into a path, lists page by page, entries that hold nothing but an id."""

import re
from collections.abc import Mapping
from math import inf
from typing import Any, Final, TypeVar

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
    path = path or kind.collection
    items = required(node, path, await pages(node, kind, path))
    return await _completed(node, kind, kind.collection, items, whole=whole) if kind.collection else items


async def listed_of(node: Node, kind: Kind[T], parents: str, parent: str, name: str) -> tuple[T, ...] | None:
    """Read a list that belongs to an object; None where there is no such object."""
    if not is_id(parent):
        return None
    path = f"{parents}/{parent}/{name}"
    items = await pages(node, kind, path)
    return None if items is None else await _completed(node, kind, kind.collection or path, items)


async def pages(node: Node, kind: Kind[T], path: str, query: Mapping[str, str] | None = None) -> tuple[T, ...] | None:
    """Read a list page by page; None where there is none.

    It may shift meanwhile: what comes twice counts once, and what is missing is gone only if it is missing again.
    """
    items: dict[Any, T] = {}
    offset = 0
    while True:
        wanted = {**(query or {}), "limit": str(PAGE), "offset": str(offset)}
        page = await node.get(path, lambda body: read_page(kind, body), wanted)
        if page is None:
            return None
        known = len(items)
        for key, item in page.items.items():
            items.setdefault(key, item)
        offset += page.received
        # Without a total, a server that pays no heed to the offset would give the same page for ever.
        end = page.total if page.total is not None else inf if len(items) > known else offset
        if not page.received or offset >= end:
            return tuple(items.values())


def required(node: Node, path: str, found: T | None) -> T:
    """Return what must be there in every release. Raises CmsUnusable where it is not."""
    if found is None:
        raise CmsUnusable(
            f"{node.name} has nothing at /{path}: check that CDR_CMS_URL is a Meeting Server's web admin."
        )
    return found


async def _completed(
    node: Node, kind: Kind[T], collection: str, items: tuple[T, ...], *, whole: bool = False
) -> tuple[T, ...]:
    """Read those by themselves that the list tells no more of than the id; what is gone by then is left out."""
    found: list[T] = []
    for item in items:
        told: Any = item
        read: T | None = item
        if whole or all(getattr(told, name) is None for name in told.__struct_fields__ if name != "id"):
            read = await one(node, kind, told.id, collection)
        found += [] if read is None else [read]
    return tuple(found)
