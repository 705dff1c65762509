"""Following the Meeting Server's directory while the lease is held: with twins of the API and of the store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from cdr_service.cms.directory import Told
from cdr_service.cms.errors import CmsUnavailable
from cdr_service.domain.directory import Directory, User
from cdr_service.ending import end
from cdr_service.enquiries.following import Following
from cdr_service.errors import StoreUnavailable

ALICE, BOB = "alice@example.com", "bob@example.com"
OLD = Directory([User(ALICE, holds_license=True, id="id-alice")])
NEW = Directory([User(ALICE, holds_license=False, id="id-alice")])
FILE = Directory([User(BOB, holds_license=True)])


class ServerTwin:
    """The API and the store: each reading waits until the test lets it go on, with a directory or an error."""

    def __init__(self, kept: Directory | None = None) -> None:
        self.kept = kept
        self.store_is_away = False
        self.reading = asyncio.Event()
        self.answers: asyncio.Queue[Directory | Exception] = asyncio.Queue()

    async def release(self) -> tuple[int, ...]:
        """Tell the release."""
        return (3, 0)

    async def read(self) -> Told:
        """Read the directory."""
        self.reading.set()
        answer = await self.answers.get()
        self.reading.clear()
        if isinstance(answer, Exception):
            raise answer
        return Told(answer, ())

    async def server_directory(self) -> Directory | None:
        """Return the last good copy."""
        if self.store_is_away:
            raise StoreUnavailable("away")
        return self.kept

    async def keep_server_directory(self, directory: Directory) -> None:
        """Keep a copy."""
        self.kept = directory


@asynccontextmanager
async def following(server: ServerTwin, file: Directory | None = None) -> AsyncIterator[Following]:
    """Follow a server with the lease."""
    twin: Any = server
    made = Following("default", twin, twin, twin, lambda: file, interval=3600.0, nobody=Directory([]))
    running = asyncio.create_task(made.run())
    try:
        made.lead(leading=True)
        yield made
    finally:
        await end(running)


def version(directory: Directory | None) -> str | None:
    """Return the version of a directory."""
    return directory and directory.version


class TestFollowing:
    """What counts as the directory."""

    async def test_nothing_until_the_api_was_tried(self) -> None:
        """What is stored is not exchanged for the holders file while the first reading goes on."""
        server = ServerTwin()
        async with following(server, FILE) as found:
            await server.reading.wait()
            assert await found.directory() is None
            server.answers.put_nowait(OLD)
            assert await found.tried(60.0)
            assert version(await found.directory()) == FILE.over(OLD).version
            assert version(server.kept) == OLD.version
            assert found.release == (3, 0)

    async def test_a_first_reading_that_takes_long(self) -> None:
        """It is not waited for longer than that, and the holders file counts until then."""
        server = ServerTwin()
        async with following(server, FILE) as found:
            await server.reading.wait()
            assert await found.tried(0.0)
            assert version(await found.directory()) == FILE.version

    async def test_the_api_is_away(self) -> None:
        """Without a copy the holders file counts alone, with one the file over the copy."""
        for kept, expected in ((None, FILE), (OLD, FILE.over(OLD))):
            server = ServerTwin(kept)
            async with following(server, FILE) as found:
                server.answers.put_nowait(CmsUnavailable("away"))
                assert await found.tried(60.0)
                assert version(await found.directory()) == expected.version

    async def test_the_store_is_away(self) -> None:
        """As long as nobody can say whether there is a copy, nothing is exchanged."""
        server = ServerTwin(OLD)
        server.store_is_away = True
        async with following(server, FILE) as found:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert await found.directory() is None

    async def test_the_lease_is_lost(self) -> None:
        """What was read is forgotten, also what comes in later; with the lease again the other one's copy counts."""
        server = ServerTwin(OLD)
        async with following(server) as found:
            await server.reading.wait()
            found.lead(leading=False)
            assert not await found.tried(60.0)
            server.answers.put_nowait(OLD)
            for _ in range(9):
                await asyncio.sleep(0)
            assert not server.reading.is_set()
            assert await found.directory() is None
            server.kept = NEW
            found.lead(leading=True)
            await server.reading.wait()
            assert version(await found.directory()) == Directory([]).over(NEW).version
