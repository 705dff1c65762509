"""What the store keeps in order beside the commits: leases, signs of life, unprinted events, and bounds."""

from collections.abc import AsyncIterator, Mapping
from importlib.resources import files
from typing import Any, Final

import msgspec

from cdr_service.domain.identity import Directory
from cdr_service.domain.workspace import DIRECTORY
from cdr_service.errors import StoreLayoutError
from cdr_service.store.codec import decode, encode
from cdr_service.store.connection import Connection, Script
from cdr_service.store.keys import LAYOUT, Keys
from cdr_service.store.writes import DOCUMENT_BYTES

LEASE: Final = Script(files(__package__).joinpath("lease.lua").read_text())
CHUNK: Final = 500
"""Entries handled in one step, so that upkeep never stalls the intake."""


class Upkeep:
    """The upkeep of one deployment, by one process."""

    def __init__(self, connection: Connection, deployment: str, process: str) -> None:
        self._connection = connection
        self._keys = Keys(deployment)
        self._process = process

    async def check_layout(self) -> None:
        """Note the layout in a new store; raise StoreLayoutError where a newer release wrote it."""
        await self._connection.execute("SET", self._keys.layout, LAYOUT, "NX")
        found = int(await self._connection.execute("GET", self._keys.layout))
        if found > LAYOUT:
            raise StoreLayoutError(
                f"The store was written by a newer release (layout {found}, this one knows {LAYOUT}); "
                "run that release, or set CDR_REDIS_URL or CDR_DATA_DIR to another store."
            )

    async def lease(self, task: str, seconds: int) -> bool:
        """Take or prolong the lease for a task that must run once; False while another process has it."""
        key = self._keys.lease(task)
        return bool(await self._connection.script(LEASE, [key], [self._process, seconds * 1000]))

    async def give_up_lease(self, task: str) -> None:
        """Let another process take the lease at once."""
        await self._connection.script(LEASE, [self._keys.lease(task)], [self._process, 0])

    async def show_life(self, seconds: int) -> None:
        """Say that this process lives, for so long."""
        await self._connection.execute("SET", self._keys.alive(self._process), 1, "EX", seconds)

    async def leave(self) -> None:
        """Say in an orderly way that this process prints nothing more: all its events are on the log."""
        await self._connection.pipeline(
            [("HDEL", self._keys.printers, self._process), ("DEL", self._keys.alive(self._process))]
        )

    async def unprinted(self) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
        """Yield processes that died, with the events that they may not have printed, oldest first."""
        printers = _pairs(await self._connection.execute("HGETALL", self._keys.printers))
        for process, printed in printers.items():
            if process == self._process or await self._connection.execute("EXISTS", self._keys.alive(process)):
                continue
            found: list[dict[str, Any]] = []
            newest: str | bytes = "+"
            while True:
                entries = await self._connection.execute("XREVRANGE", self._keys.events, newest, "-", "COUNT", CHUNK)
                for entry, fields in entries:
                    newest = b"(" + entry
                    values = dict(zip(fields[::2], fields[1::2], strict=True))
                    event = msgspec.json.decode(values[b"e"])
                    if event["event_id"] == printed:
                        entries = []
                        break
                    if values[b"p"].decode() == process:
                        found.append(event)
                if not entries:
                    break
            yield process, found[::-1]

    async def forget_printer(self, process: str) -> None:
        """Note that a dead process's events were printed by another."""
        await self._connection.execute("HDEL", self._keys.printers, process)

    async def live_calls(self) -> list[str]:
        """Return the ids of all live calls."""
        return [call.decode() for call in await self._connection.execute("ZRANGE", self._keys.live, 0, -1)]

    async def silent_calls(self, since: int) -> list[str]:
        """Return live calls of which no record was received since then (milliseconds), the longest silent first."""
        return await self._until(self._keys.heard, since)

    async def expired_calls(self, since: int) -> list[str]:
        """Return ended calls whose end was received before then."""
        return await self._until(self._keys.expiring, since)

    async def loose_legs(self, since: int) -> list[str]:
        """Return legs that never were on a call and were heard of before then."""
        return await self._until(self._keys.loose, since)

    async def expired_sessions(self, since: int) -> list[str]:
        """Return sessions of which no record was received since then."""
        return await self._until(self._keys.sessions, since)

    async def recent_sessions(self, since: int) -> list[str]:
        """Return sessions of which a record was received since then."""
        found = await self._connection.execute("ZRANGEBYSCORE", self._keys.sessions, since, "+inf")
        return [session.decode() for session in found]

    async def trim(self, *, events_since: int, documents_since: int, dead_since: int, document_bytes: int) -> int:
        """Remove what is older than that from the streams, a chunk at a time; return how many documents went."""
        keys = self._keys
        await self._connection.pipeline(
            [
                ("XTRIM", keys.events, "MINID", "~", events_since, "LIMIT", CHUNK),
                ("XTRIM", keys.dead_letters, "MINID", "~", dead_since, "LIMIT", CHUNK),
            ]
        )
        used = int(await self._connection.execute("HGET", keys.counts, DOCUMENT_BYTES) or 0)
        entries = await self._connection.execute("XRANGE", keys.documents, "-", "+", "COUNT", CHUNK)
        gone: list[bytes] = []
        freed = 0
        for entry, fields in entries:
            if int(entry.partition(b"-")[0]) >= documents_since and used - freed <= document_bytes:
                break
            gone.append(entry)
            freed += len(fields[fields.index(b"b") + 1])
        if gone:
            await self._connection.pipeline(
                [("XDEL", keys.documents, *gone), ("HINCRBY", keys.counts, DOCUMENT_BYTES, -freed)]
            )
        return len(gone)

    async def directory(self) -> Directory | None:
        """Return the directory that all processes decide by."""
        value = await self._connection.execute("GET", self._keys.thing(DIRECTORY))
        directory, _ = decode(DIRECTORY, value)
        return directory if isinstance(directory, Directory) else None

    async def put_directory(self, directory: Directory, version: bytes) -> None:
        """Make this the directory that all processes decide by, from the next commit of each on."""
        await self._connection.execute("SET", self._keys.thing(DIRECTORY), encode(directory, version))

    async def _until(self, key: str, since: int) -> list[str]:
        found = await self._connection.execute("ZRANGEBYSCORE", key, "-inf", f"({since}", "LIMIT", 0, CHUNK)
        return [member.decode() for member in found]


def _pairs(flat: list[bytes]) -> Mapping[str, str]:
    return {name.decode(): value.decode() for name, value in zip(flat[::2], flat[1::2], strict=True)}
