"""What the query side reads: places in lists, things, and counts, each in one round trip.

Nothing here goes through what the write side remembers, so an answer is never older than the store.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from cdr_service.domain.directory import Directory
from cdr_service.domain.pages import Listing, Place
from cdr_service.domain.records import OrderKey
from cdr_service.domain.workspace import DIRECTORY, LEGS_OF, Key
from cdr_service.store.codec import VERSION_BYTES, decode
from cdr_service.store.connection import Connection
from cdr_service.store.keys import Keys

THINGS_PER_COMMAND: Final = 1000
"""So that one command never keeps the store from others for long."""


class RedisReads:
    """Reads of all deployments from a Redis-compatible store. Every method raises StoreUnavailable."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._directories: dict[str, tuple[bytes, Directory]] = {}

    async def places(
        self,
        deployment: str,
        listing: Listing,
        *,
        start: Place | None,
        count: int,
        oldest: int | None = None,
        newest: int | None = None,
    ) -> list[Place]:
        """Return up to `count` entries of a list, newest first, from `start` on (itself included, where it is there).

        `oldest` and `newest` bound their times, in milliseconds.
        """
        keys = Keys(deployment)
        name = {Listing.LIVE: keys.live, Listing.ENDED: keys.ended, Listing.SWITCHES: keys.switches}[listing]
        highest = min((time for time in (newest, start and start.time) if time is not None), default="+inf")
        lowest = "-inf" if oldest is None else oldest
        asked = count
        while True:
            answer = await self._connection.execute(
                *("ZRANGE", name, highest, lowest, "BYSCORE", "REV", "LIMIT", 0, asked, "WITHSCORES")
            )
            entries = [
                Place(int(float(time)), id_.decode()) for id_, time in zip(answer[::2], answer[1::2], strict=True)
            ]
            found = [place for place in entries if start is None or place <= start]
            if len(found) >= count or len(entries) < asked:
                return found[:count]
            # Entries of the same time stand before the start. One command that asks for more, rather than another for
            # the rest, sees the list at one moment.
            asked *= 2

    async def things(self, deployment: str, keys: Sequence[Key]) -> list[Any]:
        """Return things in the order of their keys; None for one that does not exist."""
        names = Keys(deployment)
        chunks = [keys[at : at + THINGS_PER_COMMAND] for at in range(0, len(keys), THINGS_PER_COMMAND)]
        answers = await self._pipeline(("MGET", *map(names.thing, chunk)) for chunk in chunks)
        return [
            decode(key, value)[0]
            for chunk, answer in zip(chunks, answers, strict=True)
            for key, value in zip(chunk, answer, strict=True)
        ]

    async def leg_counts(self, deployment: str, calls: Sequence[str]) -> list[int]:
        """Return how many legs were ever on each of the calls."""
        names = Keys(deployment)
        return await self._pipeline(("SCARD", names.thing((LEGS_OF, call))) for call in calls)

    async def leg_ids(self, deployment: str, calls: Sequence[str]) -> list[list[str]]:
        """Return the ids of the legs that were ever on each of the calls, in no order."""
        names = Keys(deployment)
        answers = await self._pipeline(("SMEMBERS", names.thing((LEGS_OF, call))) for call in calls)
        return [[member.decode() for member in answer] for answer in answers]

    def switch(self, place: Place) -> tuple[str, OrderKey]:
        """Return what an entry of the list of switches names: the meeting, and where in its timeline."""
        meeting, time, session, number = place.id.rsplit("|", 3)
        return meeting, OrderKey(int(time), session, int(number))

    async def directory(self, deployment: str) -> Directory:
        """Return the directory by which all processes decide; an empty one where none was ever stored."""
        name = Keys(deployment).thing(DIRECTORY)
        version = await self._connection.execute("GETRANGE", name, 0, VERSION_BYTES - 1)
        known = self._directories.get(deployment)
        if known is None or known[0] != version:
            # It may have many thousands of users, so it is read and decoded only where it changed.
            found, version = decode(DIRECTORY, await self._connection.execute("GET", name))
            known = self._directories[deployment] = version, found or Directory([])
        return known[1]

    async def usage(self, deployment: str) -> Mapping[str, int]:
        """Return the counts of what is in use now; one that is 0 is left out."""
        answer = await self._connection.execute("HGETALL", Keys(deployment).usage)
        return {name.decode(): int(count) for name, count in zip(answer[::2], answer[1::2], strict=True)}

    async def unsafe(self) -> list[str]:
        """Return sentences that name what is unsafe about the store's settings."""
        return await self._connection.safety()

    async def _pipeline(self, commands: Iterable[tuple[Any, ...]]) -> list[Any]:
        asked = list(commands)
        return await self._connection.pipeline(asked) if asked else []
