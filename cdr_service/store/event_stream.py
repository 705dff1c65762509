"""The event stream, read on and on. Each read finds out by itself whether anything is missing before it."""

import zlib
from typing import Any

from cdr_service.domain.event_stream import START, Point
from cdr_service.reading.event_stream import Entry, Piece
from cdr_service.store.connection import Connection
from cdr_service.store.keys import Keys


class RedisEventStream:
    """Reads of the event streams of all deployments. Every method raises StoreUnavailable."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def end(self, deployment: str) -> Point:
        """Return the point after which everything is new."""
        newest = await self._connection.execute("XREVRANGE", Keys(deployment).events, "+", "-", "COUNT", 1)
        if newest:
            return _entry(*newest[0]).point
        return Point((await self._facts(deployment)).get("last-generated-id", START.entry))

    async def after(self, deployment: str, point: Point, count: int) -> Piece:
        """Return up to `count` entries after a point, and whether something between is gone.

        The entry at the point is read again: where it is there and holds the same, nothing is missing after it.
        """
        found = await self._from(deployment, point, count + 1)
        if found and point in (found[0].point, Point(found[0].point.entry)):
            return Piece(found[1:], found[-1].point)
        facts = await self._facts(deployment)
        last = Point(facts.get("last-generated-id", START.entry))
        if last.order < point.order:
            # An older copy of the stream took over, and what was read last is not in it.
            return Piece([], await self.end(deployment), lost=True)
        found = await self._from(deployment, point, count + 1)  # nothing of what the facts tell is missing from this
        replaced = bool(found) and found[0].point.entry == point.entry
        whole = point == START and facts.get("entries-added") == facts.get("length")
        emptied = last.order == point.order and not replaced
        entries = found[replaced : replaced + count]
        lost = not (whole or emptied)
        return Piece(entries, entries[-1].point if entries else last if lost else point, lost)

    async def _from(self, deployment: str, point: Point, count: int) -> list[Entry]:
        """Return entries from a point on, itself included where it is there."""
        key = Keys(deployment).events
        answer = await self._connection.execute("XRANGE", key, point.entry, "+", "COUNT", count)
        return [_entry(*entry) for entry in answer]

    async def _facts(self, deployment: str) -> dict[str, str]:
        """Return what the store knows of the stream; nothing where there is none."""
        key = Keys(deployment).events
        if not await self._connection.execute("EXISTS", key):
            return {}
        told = await self._connection.execute("XINFO", "STREAM", key)
        return {
            name.decode(): value.decode() if isinstance(value, bytes) else str(value)
            for name, value in zip(told[::2], told[1::2], strict=True)
        }


def _entry(name: bytes, fields: list[Any]) -> Entry:
    told = fields[fields.index(b"e") + 1]
    return Entry(Point(name.decode(), f"{zlib.crc32(told):08x}"), told)
