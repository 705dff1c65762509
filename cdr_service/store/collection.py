"""What queries about the collection read: bridges, sessions and dead letters."""

import zlib
from collections.abc import Mapping, Sequence

from cdr_service.reading.collection import Letter
from cdr_service.store.keys import Keys
from cdr_service.store.reads import RedisReads


class RedisCollection(RedisReads):
    """Adds to the reads what the collection asks for. Every method raises StoreUnavailable."""

    async def bridge_ids(self, deployment: str) -> list[str]:
        """Return the ids of all Call Bridges."""
        return [id_.decode() for id_ in await self._connection.execute("SMEMBERS", Keys(deployment).bridges)]

    async def received(self, deployment: str, sessions: Sequence[str]) -> Mapping[str, int]:
        """Return when a record of each session was last received, in milliseconds."""
        if not sessions:
            return {}
        scores = await self._connection.execute("ZMSCORE", Keys(deployment).sessions, *sessions)
        pairs = zip(sessions, scores, strict=True)
        return {session: int(float(score)) for session, score in pairs if score is not None}

    async def letters(self, deployment: str, before: str | None, count: int) -> list[Letter]:
        """Return dead letters, newest first, older than the entry `before`."""
        newest = f"({before}" if before else "+"
        found = await self._connection.execute(
            *("XREVRANGE", Keys(deployment).dead_letters, newest, "-", "COUNT", count)
        )
        return [_letter(entry, dict(zip(fields[::2], fields[1::2], strict=True))) for entry, fields in found]


def _letter(entry: bytes, fields: Mapping[bytes, bytes]) -> Letter:
    return Letter(
        id=entry.decode(),
        received=int(fields[b"received"]),
        kind=fields[b"kind"].decode(),
        reason=fields[b"reason"].decode(),
        session=fields[b"session"].decode(),
        bridge=fields[b"bridge"].decode(),
        content=zlib.decompress(fields[b"content"]),
    )
