"""What is kept to be taken in once more: dead letters with their bodies, and the documents as they were received."""

import zlib
from collections.abc import Iterator, Mapping
from typing import Final

from cdr_service.repair.derivation import KeptDocument
from cdr_service.repair.letters import KeptLetter
from cdr_service.store.codec import kept_documents
from cdr_service.store.connection import Connection
from cdr_service.store.keys import Keys, removed_from

BODIES_MAX: Final = 16
"""Documents remembered for the letters that follow the one which has the body."""

Entry = tuple[str, Mapping[bytes, bytes]]


class RedisKept:
    """Reads of the two streams, oldest first. Every method raises StoreUnavailable."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._bodies: dict[bytes, bytes] = {}

    async def newest_letter(self, deployment: str) -> str | None:
        """Return the id of the newest dead letter, or None where there is none."""
        newest = await self._connection.execute("XREVRANGE", Keys(deployment).dead_letters, "+", "-", "COUNT", 1)
        return newest[0][0].decode() if newest else None

    async def letter(self, deployment: str, after: str | None, last: str) -> KeptLetter | None:
        """Return the oldest dead letter after the one entry, and no later than the other."""
        entries = await self._entries(Keys(deployment).dead_letters, after, last, 1)
        if not entries:
            return None
        entry, fields = entries[0]
        return _letter(entry, fields, self._body(fields))

    def _body(self, fields: Mapping[bytes, bytes]) -> bytes:
        """Return the document of a letter. It is stored once, so that of a later letter is the one seen before."""
        document = fields[b"document"]
        if not document:
            return zlib.decompress(fields[b"content"])
        if fields[b"body"]:
            self._bodies[document] = zlib.decompress(fields[b"body"])
            while len(self._bodies) > BODIES_MAX:
                del self._bodies[next(iter(self._bodies))]
        return self._bodies.get(document, b"")

    async def remove_letter(self, deployment: str, letter: str) -> None:
        """Remove a dead letter; one that is gone already is no error."""
        keys = Keys(deployment)
        if await self._connection.execute("XDEL", keys.dead_letters, letter):
            await self._connection.execute("HINCRBY", keys.counts, removed_from(keys.dead_letters), 1)

    async def documents(self, deployment: str, after: str | None, count: int) -> list[KeptDocument]:
        """Return the documents of up to `count` commits that were received after that entry."""
        entries = await self._entries(Keys(deployment).documents, after, "+", count)
        return [document for entry in entries for document in _documents(*entry)]

    async def _entries(self, key: str, after: str | None, last: str, count: int) -> list[Entry]:
        start = f"({after}" if after else "-"
        found = await self._connection.execute("XRANGE", key, start, last, "COUNT", count)
        return [(entry.decode(), dict(zip(fields[::2], fields[1::2], strict=True))) for entry, fields in found]


def _letter(entry: str, fields: Mapping[bytes, bytes], body: bytes) -> KeptLetter:
    return KeptLetter(
        id=entry,
        kind=fields[b"kind"].decode(),
        reason=fields[b"reason"].decode(),
        content=zlib.decompress(fields[b"content"]),
        bridge=fields[b"bridge"].decode(),
        body=body,
    )


def _documents(entry: str, fields: Mapping[bytes, bytes]) -> Iterator[KeptDocument]:
    for bridge, body in kept_documents(fields):
        yield KeptDocument(entry, body, bridge, int(fields[b"at"]))
