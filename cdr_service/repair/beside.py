"""Work on the store beside the service, for commands that need no port: whether or not a service runs on that store.

Such a command is one more process among those of the service, and the store makes them one. Only what happens through
it is printed by the service: it takes the command for a process that died as soon as it is gone, so that its events
stand in the log with all others. Where no service runs, one prints them when it starts.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

from cdr_service.compose import now, options_of, written
from cdr_service.domain.options import Options
from cdr_service.ending import end
from cdr_service.errors import StoreUnavailable
from cdr_service.service import Deployment, Intake, Observer
from cdr_service.settings import Settings
from cdr_service.store.connection import Connection, connect
from cdr_service.store.embedded import embedded_server, running_server
from cdr_service.store.redis_store import RedisStore
from cdr_service.store.upkeep import Upkeep

LIFE_SECONDS: Final = 6
"""The service waits so long after this process's end before it prints what happened through it."""


class Beside:
    """The settings' store, as a command works on it."""

    def __init__(self, connection: Connection, settings: Settings, process: str, upkeeps: Mapping[str, Upkeep]) -> None:
        self.connection = connection
        self.settings = settings
        self.upkeeps = upkeeps
        """By deployment."""
        self._process = process
        self._printed: dict[str, str] = {}

    async def enter(self) -> None:
        """Appear among the processes that work on the store."""
        for name, upkeep in self.upkeeps.items():
            await upkeep.check_layout()
            await upkeep.show_life(LIFE_SECONDS)
            self._printed[name] = await upkeep.newest_event()

    def store(self) -> RedisStore:
        """Return the store, with nothing remembered of it."""
        deployments = {name: written(given) for name, given in self.settings.deployments.items()}
        return RedisStore(self.connection, deployments, self._process, self._printed)

    def options(self, deployment: str) -> Options:
        """Return the license options of a deployment."""
        return options_of(self.settings.deployments[deployment])

    def intake(self, deployment: str, observer: Observer) -> Intake:
        """Return an intake of our own for a deployment; it is not running yet."""
        return Intake(Deployment(name=deployment, options=self.options(deployment)), self.store(), observer, now)


@asynccontextmanager
async def store_url(settings: Settings) -> AsyncIterator[str]:
    """Give the URL of the settings' store.

    The embedded one is that of the service that runs on the data folder; where none runs, it is started for the length
    of the block. Raises EmbeddedServerError.
    """
    async with AsyncExitStack() as stack:
        if settings.redis_url is not None:
            yield settings.redis_url.get_secret_value()
        elif (url := running_server(settings.data_dir)) is not None:
            yield url
        else:
            yield await stack.enter_async_context(embedded_server(settings.data_dir, settings.store_max_bytes))


@asynccontextmanager
async def beside(settings: Settings) -> AsyncIterator[Beside]:
    """Work on the settings' store while the context lasts.

    Raises EmbeddedServerError, StoreUnavailable, and StoreLayoutError where a newer release wrote the store.
    """
    process = secrets.token_hex(8)
    async with AsyncExitStack() as stack:
        connection = connect(await stack.enter_async_context(store_url(settings)))
        stack.push_async_callback(connection.close)
        upkeeps = {name: Upkeep(connection, name, process) for name in settings.deployments}
        found = Beside(connection, settings, process, upkeeps)
        await found.enter()
        living = asyncio.create_task(_live(upkeeps.values()))
        try:
            yield found
        finally:
            await end(living)


async def _live(upkeeps: Iterable[Upkeep]) -> None:
    """Show that this process lives, so that nobody takes it for dead before its end."""
    while True:
        await asyncio.sleep(LIFE_SECONDS / 3)
        for upkeep in upkeeps:
            with suppress(StoreUnavailable):  # whoever waits for a commit hears of it
                await upkeep.show_life(LIFE_SECONDS)
