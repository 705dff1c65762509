"""What queries about the collection read: bridges, sessions and dead letters."""

import zlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Final

from cdr_service.reading.collection import Letter
from cdr_service.store.connection import Script
from cdr_service.store.keys import Keys
from cdr_service.store.reads import RedisReads

DUPLICATES: Final = Script(files(__package__).joinpath("duplicates.lua").read_text())


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

    async def duplicates(self, deployment: str, bridges: Sequence[str]) -> Mapping[str, int]:
        """Return how many duplicates each of the Call Bridges sent."""
        if not bridges:
            return {}
        counts = await self._connection.execute("HMGET", Keys(deployment).duplicates, *bridges)
        return {bridge: int(count or 0) for bridge, count in zip(bridges, counts, strict=True)}

    async def note_duplicates(self, deployment: str, counts: Mapping[str, int]) -> None:
        """Add to how many duplicates Call Bridges sent."""
        keys = Keys(deployment)
        added = [part for pair in counts.items() for part in pair]
        await self._connection.script(DUPLICATES, [keys.bridges, keys.duplicates], added)

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
