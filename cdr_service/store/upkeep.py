"""What the store keeps in order beside the commits: leases, signs of life, unprinted events, and bounds."""

from collections.abc import AsyncIterator, Callable, Mapping
from importlib.resources import files
from typing import Any, Final, NamedTuple

import msgspec

from cdr_service.domain.directory import Directory
from cdr_service.domain.sessions import Session
from cdr_service.domain.workspace import DIRECTORY
from cdr_service.store.always import write_always
from cdr_service.store.codec import VERSION_BYTES, decode, packed_in
from cdr_service.store.connection import Connection, Script
from cdr_service.store.history import RedisHistory
from cdr_service.store.keys import Keys, dropped_from, removed_from
from cdr_service.store.layout import LEASE, Layouts
from cdr_service.store.memory import NEARLY_FULL
from cdr_service.store.writes import DOCUMENT_BYTES

FORGET: Final = Script(files(__package__).joinpath("forget.lua").read_text())
CHUNK: Final = 500
"""Entries handled in one step, so that upkeep never stalls the intake."""


LOOKED_UP: Final = "looked_up"
"""By what all live calls were looked up."""
ASSIGNED: Final = "assigned"
"""The count of users who hold PMP+."""
DOCUMENTS_AT_ONCE: Final = 50
"""Documents come with their bodies, so fewer of them make a step."""


class Printer(NamedTuple):
    """Who prints events: a process, and which of its generations (see `RedisStore.generation`)."""

    name: str
    """`process.generation`"""
    printed: str
    """The event up to which all of its events are printed; with a `-` before it, its first, where none is."""


class Upkeep:
    """The upkeep of one deployment, by one process."""

    def __init__(
        self, connection: Connection, deployment: str, process: str, generation: Callable[[], int] = lambda: 0
    ) -> None:
        """Take care for a process, a name that no other has, with the `generation` of its store (see `RedisStore`)."""
        self._connection = connection
        self._keys = Keys(deployment)
        self._process = process
        self._generation = generation
        self._layouts = Layouts(connection, process)
        self._history = RedisHistory(connection)
        self._fresh_hours: Mapping[int, bytes] = {}

    async def check_layout(self) -> None:
        """See to it that the store has our layout: errors as `Layouts.settle`."""
        self._layouts.doubt(self._keys.deployment)
        await self._layouts.settle(self._keys.deployment)

    async def lease(self, task: str, seconds: int) -> bool:
        """Take or prolong the lease for a task that must run once; False while another process has it."""
        key = self._keys.lease(task)
        return bool(await self._connection.script(LEASE, [key], [self._process, seconds * 1000]))

    async def give_up_lease(self, task: str) -> None:
        """Let another process take the lease at once."""
        await self._connection.script(LEASE, [self._keys.lease(task)], [self._process, 0])

    async def has_room(self) -> bool:
        """Return whether the store's memory is neither full nor nearly so."""
        memory = await self._connection.memory()
        return memory is None or memory.share < NEARLY_FULL

    async def show_life(self, seconds: int) -> None:
        """Say that this process lives, for so long."""
        await self._write("SET", self._keys.alive(self._process), self._generation(), "EX", seconds)

    async def leave(self, *, all_printed: bool) -> None:
        """Say in an orderly way that this process prints nothing more; what is not on its log another has to print."""
        gone: list[tuple[str, ...]] = [("DEL", self._keys.alive(self._process))]
        if all_printed:
            gone.append(("HDEL", self._keys.printers, f"{self._process}.{self._generation()}"))
        await self._connection.pipeline(gone)

    async def newest_event(self) -> str:
        """Return the event_id of the newest event; empty where there is none."""
        newest = await self._connection.execute("XREVRANGE", self._keys.events, "+", "-", "COUNT", 1)
        if not newest:
            return ""
        ((_, fields),) = newest
        return str(msgspec.json.decode(fields[fields.index(b"e") + 1])["event_id"])

    async def unprinted(self) -> AsyncIterator[tuple[Printer, list[dict[str, Any]]]]:
        """Yield who prints no more, with the events that it may not have printed, oldest first."""
        printers = _pairs(await self._connection.execute("HGETALL", self._keys.printers))
        for printer in map(Printer._make, printers.items()):
            process, _, generation = printer.name.partition(".")
            living = await self._connection.execute("GET", self._keys.alive(process))
            if living is not None and int(generation) >= int(living):
                continue
            found: list[dict[str, Any]] = []
            newest: str | bytes = "+"
            while True:
                entries = await self._connection.execute("XREVRANGE", self._keys.events, newest, "-", "COUNT", CHUNK)
                for entry, fields in entries:
                    newest = b"(" + entry
                    values = dict(zip(fields[::2], fields[1::2], strict=True))
                    event = msgspec.json.decode(values[b"e"])
                    if event["event_id"] == printer.printed:
                        entries = []
                        break
                    if values[b"p"].decode() == printer.name:
                        found.append(event)
                    if f"-{event['event_id']}" == printer.printed:
                        entries = []
                        break
                if not entries:
                    break
            yield printer, found[::-1]

    async def forget_printer(self, printer: Printer) -> None:
        """Note that the events were printed by another, unless there are more by now."""
        await self._connection.script(FORGET, [self._keys.printers], [*printer])

    async def live_calls(self) -> list[str]:
        """Return the ids of all live calls."""
        return [call.decode() for call in await self._connection.execute("ZRANGE", self._keys.live, 0, -1)]

    async def silent_calls(self, since: int) -> list[str]:
        """Return live calls of which no record was received since then (milliseconds), the longest silent first."""
        return await self._until(self._keys.heard, since)

    async def expired_calls(self, since: int) -> list[str]:
        """Return ended calls whose end was received before then."""
        return await self._until(self._keys.expiring, since)

    async def loose_things(self, since: int) -> list[str]:
        """Return legs and recordings that are on no call and were heard of before then, as `kind:id`."""
        return await self._until(self._keys.loose, since)

    async def expired_sessions(self, since: int) -> list[str]:
        """Return sessions of which no record was received since then."""
        return await self._until(self._keys.sessions, since)

    async def recent_sessions(self, since: int) -> list[Session]:
        """Return sessions of which a record was received since then, as they are in the store."""
        ids = await self._connection.execute("ZRANGEBYSCORE", self._keys.sessions, since, "+inf")
        keys = [("session", id_.decode()) for id_ in ids]
        found: list[Session | None] = []
        for first in range(0, len(keys), CHUNK):
            some = keys[first : first + CHUNK]
            answers = await self._connection.pipeline([self._keys.read(key) for key in some])
            found += [decode(key, answer)[0] for key, answer in zip(some, answers, strict=True)]
        return [session for session in found if session is not None]

    async def ending_sessions(self) -> list[str]:
        """Return the sessions that were replaced and whose calls are not all ended yet, or gone on with."""
        return [session.decode() for session in await self._connection.execute("SMEMBERS", self._keys.ending)]

    async def trim(self, *, events_since: int, documents_since: int, dead_since: int, most_bytes: int) -> bool:
        """Remove a chunk of what is older than that from the streams; return whether there may be more.

        `most_bytes` bounds the documents, and the dead letters as well.
        """
        more = [await self._trimmed(self._keys.events, events_since)]
        more.append(await self._trimmed(self._keys.dead_letters, dead_since))
        more.append(await self._trimmed_letters(most_bytes))
        more.append(await self._trimmed_documents(documents_since, most_bytes))
        return any(more)

    async def _trimmed(self, stream: str, since: int) -> bool:
        whole = await self._connection.execute("XTRIM", stream, "MINID", "~", since, "LIMIT", CHUNK)
        # Whole nodes are quick to remove; then there is what is left of one.
        gone = whole or await self._connection.execute("XTRIM", stream, "MINID", since)
        if gone:
            await self._write("HINCRBY", self._keys.counts, removed_from(stream), gone)
        return bool(whole)

    async def _trimmed_letters(self, most_bytes: int) -> bool:
        """Drop the oldest dead letters where all of them take too much; return whether some went."""
        letters = self._keys.dead_letters
        used = int(await self._connection.execute("MEMORY USAGE", letters, "SAMPLES", 0) or 0)
        kept = await self._connection.execute("XLEN", letters) if used > most_bytes else 0
        # They differ in size, so the rest may still be too much: then the next step sees to it.
        return bool(kept and await self._connection.execute("XTRIM", letters, "MAXLEN", kept * most_bytes // used))

    async def newly_dropped(self) -> Mapping[str, int]:
        """Return how many events and dead letters went since this was last asked because there were too many."""
        found: dict[str, int] = {}
        for name, stream in (("events", self._keys.events), ("dead_letters", self._keys.dead_letters)):
            if not await self._connection.execute("EXISTS", stream):
                continue
            told = await self._connection.execute("XINFO", "STREAM", stream)
            facts = dict(zip(told[::2], told[1::2], strict=True))
            fields = (removed_from(stream), dropped_from(stream))
            removed, known = (int(n or 0) for n in await self._connection.execute("HMGET", self._keys.counts, *fields))
            dropped = facts[b"entries-added"] - facts[b"length"] - removed
            if dropped > known:
                await self._write("HSET", self._keys.counts, dropped_from(stream), dropped)
                found[name] = dropped - known
        return found

    async def _trimmed_documents(self, since: int, most_bytes: int) -> bool:
        keys = self._keys
        used = int(await self._connection.execute("HGET", keys.counts, DOCUMENT_BYTES) or 0)
        entries = await self._connection.execute("XRANGE", keys.documents, "-", "+", "COUNT", 1)
        if not entries or (_entry_time(entries[0][0]) >= since and used <= most_bytes):
            return False
        entries = await self._connection.execute("XRANGE", keys.documents, "-", "+", "COUNT", DOCUMENTS_AT_ONCE)
        gone: list[bytes] = []
        freed = 0
        for entry, fields in entries:
            if _entry_time(entry) >= since and used - freed <= most_bytes:
                break
            gone.append(entry)
            freed += len(packed_in(dict(zip(fields[::2], fields[1::2], strict=True))))
        if gone:
            taken = ("HINCRBY", keys.counts, DOCUMENT_BYTES, -freed)
            await write_always(self._connection, ("XDEL", keys.documents, *gone), taken)
        return len(gone) == DOCUMENTS_AT_ONCE

    async def settle_history(self, now: int) -> None:
        """Sum up the hours of the history that are over by now (milliseconds), once none of their steps are new.

        New is what was not there when this was called before.
        """
        self._fresh_hours = await self._history.settle(self._keys.deployment, now, self._fresh_hours)

    async def forget_history(self, since: int) -> None:
        """Remove the oldest hours of the history, up to the first that has changed since then."""
        await self._history.forget(self._keys.deployment, since)

    async def directory(self) -> Directory | None:
        """Return the directory that all processes decide by."""
        value = await self._connection.execute("GET", self._keys.thing(DIRECTORY))
        directory, _ = decode(DIRECTORY, value)
        return directory if isinstance(directory, Directory) else None

    async def directory_stamp(self) -> str:
        """Return what is another text whenever the directory was written; empty where there is none."""
        key = self._keys.thing(DIRECTORY)
        stamp: bytes = await self._connection.execute("GETRANGE", key, 0, VERSION_BYTES - 1)
        return stamp.hex()

    async def server_directory(self) -> Directory | None:
        """Return the directory as the Meeting Server told it last; None where it was never read."""
        value = await self._connection.execute("GET", self._keys.server_directory)
        return None if value is None else Directory.decode(value)

    async def keep_server_directory(self, directory: Directory) -> None:
        """Keep what the Meeting Server told, for whoever has the lease when it cannot be asked."""
        await self._write("SET", self._keys.server_directory, directory.encode())

    async def assigned(self) -> int | None:
        """Return how many users hold PMP+; None where no holders are known."""
        found = await self._connection.execute("HGET", self._keys.counts, ASSIGNED)
        return None if found is None else int(found)

    async def put_assigned(self, count: int) -> None:
        """Note how many users hold PMP+, for all processes to tell."""
        await self._write("HSET", self._keys.counts, ASSIGNED, count)

    async def looked_up(self) -> str | None:
        """Return by what all live calls were looked up last, as `put_looked_up` noted it."""
        found = await self._connection.execute("HGET", self._keys.counts, LOOKED_UP)
        return None if found is None else str(found.decode())

    async def put_looked_up(self, by: str) -> None:
        """Note by what all live calls were looked up, so that a start need not do it again."""
        await self._write("HSET", self._keys.counts, LOOKED_UP, by)

    async def ask_later(self, call: str, since: int) -> None:
        """Take a live call for one that was heard of at `since` (milliseconds); what was heard later stands."""
        await self._write("ZADD", self._keys.heard, "XX", "GT", since, call)

    async def _write(self, name: str, key: str, *arguments: Any) -> None:
        await write_always(self._connection, (name, key, *arguments))

    async def _until(self, key: str, since: int) -> list[str]:
        found = await self._connection.execute("ZRANGEBYSCORE", key, "-inf", f"({since}", "LIMIT", 0, CHUNK)
        return [member.decode() for member in found]


def _entry_time(entry: bytes) -> int:
    """Return when an entry was added to its stream, in milliseconds since 1970 UTC."""
    return int(entry.partition(b"-")[0])


def _pairs(flat: list[bytes]) -> Mapping[str, str]:
    return {name.decode(): value.decode() for name, value in zip(flat[::2], flat[1::2], strict=True)}
