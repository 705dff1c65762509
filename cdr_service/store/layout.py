"""The version of the layout: who may use a store, and how one that an older release wrote is brought up to date.

The layout is all of `keys`, `codec` and what they store. Its version stands in each deployment's key `layout`, and
every commit checks it. So a process never writes into a layout that it does not know, not even when a newer release
brings the store up while it runs: its documents are refused and come again.

A change needs no new version as long as the release before can go on beside it: a new key, or a field at the end of a
thing with a default (a release that does not know the field drops it when it changes the thing). Any other change does:
raise `LAYOUT`, add the migration to `MIGRATIONS`, and keep a copy of the old layout for its test (`tests/layouts`).
"""

from collections.abc import AsyncIterator, Callable, Mapping
from importlib.resources import files
from typing import Final

from cdr_service.errors import StoreLayoutError, StoreUnavailable
from cdr_service.store.connection import Connection, Script
from cdr_service.store.keys import Keys

LAYOUT: Final = 2
"""The version that this release writes and reads."""

Migration = Callable[[Connection, Keys], AsyncIterator[None]]
"""Brings a deployment from one version to the next.

It stops after each small step, so that the lease can be prolonged in between. Nobody commits meanwhile. Where its
process dies, another one begins it anew, so each step must be harmless when it is repeated.
"""


async def _as_it_is(_connection: Connection, _keys: Keys) -> AsyncIterator[None]:
    """Leave everything: layout 2 packs what is over, and reads what is not packed as layout 1 wrote it."""
    nothing: tuple[None, ...] = ()
    for step in nothing:
        yield step


MIGRATIONS: Final[Mapping[int, Migration]] = {1: _as_it_is}
"""By the version from which they lead."""

LEASE_SECONDS: Final = 30
LEASE: Final = Script(files(__package__).joinpath("lease.lua").read_text())
REPLACE: Final = Script(files(__package__).joinpath("replace.lua").read_text())


async def read_layout(connection: Connection, keys: Keys, newest: int = LAYOUT) -> str:
    """Return what the store says of its layout; empty where it is new.

    Raises StoreLayoutError where a newer release wrote it, or StoreUnavailable.
    """
    found = bytes(await connection.execute("GET", keys.layout) or b"").decode()
    version = found.rpartition(">")[2]
    if found and int(version) > newest:
        raise StoreLayoutError(
            f"The store was written by a newer release (layout {version}, this one knows {newest}): run that release,"
            " or set CDR_REDIS_URL or CDR_DATA_DIR to another store."
        )
    return found


class Layouts:
    """Sees to it that a process works on stores of its own layout only."""

    def __init__(
        self,
        connection: Connection,
        process: str,
        newest: int = LAYOUT,
        migrations: Mapping[int, Migration] = MIGRATIONS,
    ) -> None:
        """`process` is a name that no other process has."""
        self._connection = connection
        self._process = process
        self._newest = newest
        self._migrations = migrations
        self.current: Final = str(newest).encode()
        """What the key `layout` must say for a commit to count."""
        self._settled: set[str] = set()

    def doubt(self, deployment: str) -> None:
        """Look again before the next use: the store may be another one by now, or was brought up by another release."""
        self._settled.discard(deployment)

    async def settle(self, deployment: str) -> None:
        """Note the layout in a new store, bring up an older one; do nothing where that is done.

        Raises StoreLayoutError where a newer release wrote it, or StoreUnavailable, also while another process brings
        it up.
        """
        if deployment not in self._settled:
            await self._settle(Keys(deployment))
            self._settled.add(deployment)

    async def _settle(self, keys: Keys) -> None:
        while (found := await read_layout(self._connection, keys, self._newest)) != str(self._newest):
            if not found:
                await self._replace(keys, "", str(self._newest))
                continue
            await self._hold(keys)
            start = int(found.partition(">")[0])
            under_way = f"{start}>{start + 1}"
            if found != under_way and not await self._replace(keys, found, under_way):
                continue
            async for _ in self._migrations[start](self._connection, keys):
                await self._hold(keys)
            await self._replace(keys, under_way, str(start + 1))

    async def _hold(self, keys: Keys) -> None:
        lease = (self._process, LEASE_SECONDS * 1000)
        if not await self._connection.script(LEASE, [keys.lease("layout")], lease):
            raise StoreUnavailable(
                "The store is being brought into the layout of a newer release by another process; it is used again"
                " when that is done."
            )

    async def _replace(self, keys: Keys, found: str, value: str) -> bool:
        return bool(await self._connection.script(REPLACE, [keys.layout], (found, value), replicated=True))
