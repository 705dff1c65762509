"""The directory of a deployment with API access: read by the process that has the lease, the holders file over it.

The last good copy is in the store, so that whoever takes the lease over goes on with it while the API is away.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

from cdr_service.cms.directory import DirectoryReader
from cdr_service.cms.errors import CmsError
from cdr_service.cms.live import Live
from cdr_service.domain.directory import Directory
from cdr_service.errors import StoreUnavailable
from cdr_service.store.upkeep import Upkeep

AGAIN_SECONDS: Final = 15.0
"""After the API was away it is asked again so soon, or at the next interval where that comes first."""


class Following:
    """Follows what is configured on the Meeting Server, while this process has the lease."""

    def __init__(
        self,
        deployment: str,
        reader: DirectoryReader,
        live: Live,
        upkeep: Upkeep,
        file: Callable[[], Directory | None],
        *,
        interval: float,
        nobody: Directory,
    ) -> None:
        """`file` reads the holders file, None where there is none; `nobody` is a directory with the settings alone.

        `interval` is how often the API is read, in seconds.
        """
        self._reader = reader
        self._live = live
        self._upkeep = upkeep
        self._file = file
        self._interval = interval
        self._nobody = nobody
        self._server: Directory | None = None
        self._merged: tuple[tuple[str, str], Directory] | None = None
        self._leads = asyncio.Event()
        self._tried = asyncio.Event()
        self._wake = asyncio.Event()
        self._told_release = asyncio.Event()
        self._away = False
        self._log = structlog.get_logger().bind(deployment=deployment)
        self.release: tuple[int, ...] | None = None
        """What the Meeting Server runs; None while that is not known."""

    @property
    def leading(self) -> asyncio.Event:
        """Set while this process has the lease."""
        return self._leads

    def lead(self, *, leading: bool) -> None:
        """Hear whether this process has the lease."""
        if leading and not self._leads.is_set():
            self._leads.set()
            self._wake.set()
        elif not leading:
            self._leads.clear()
            self._forget()

    def _forget(self) -> None:
        """Forget what was read: another process reads now, and this is old by the time that it is asked for again."""
        self._tried.clear()
        self._server = None

    async def tried(self, seconds: float) -> bool:
        """Wait until there is a copy or the API is found to be away, or so long, where this process has the lease."""
        if not self._leads.is_set():
            return False
        with suppress(TimeoutError):
            await asyncio.wait_for(self._tried.wait(), seconds)
        self._tried.set()  # a large server takes minutes; until then the holders file has to do
        return True

    async def told_release(self, seconds: float) -> None:
        """Wait until the release is known, or so long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._told_release.wait(), seconds)

    async def directory(self) -> Directory | None:
        """Return the directory of the Meeting Server with the holders file over it.

        None until the API was tried for the first time, so that what is stored is not exchanged for less. Where it
        was never read, the file alone counts.
        """
        file = await asyncio.to_thread(self._file)
        server = self._server
        if server is None:
            return file if self._tried.is_set() else None
        over = file or self._nobody
        versions = (over.version, server.version)
        if self._merged is None or self._merged[0] != versions:
            self._merged = (versions, await asyncio.to_thread(over.over, server))
        return self._merged[1]

    async def run(self) -> None:
        """Read the API again and again, until cancelled."""
        while True:
            await self._leads.wait()
            self._wake.clear()
            done = False
            try:
                await self._recall()
                done = await self._read()
            except StoreUnavailable:
                pass  # the caretaker says so
            except Exception:  # noqa: BLE001 - the next reading must not fall with this one
                self._tried.set()
                self._log.exception("upkeep.failed")
            if not self._leads.is_set():
                self._forget()
            with suppress(TimeoutError):
                pause = self._interval if done else min(self._interval, AGAIN_SECONDS)
                await asyncio.wait_for(self._wake.wait(), pause)

    async def _recall(self) -> None:
        """Go on with the last good copy of whoever had the lease before."""
        if self._server is None:
            self._server = await self._upkeep.server_directory()
            if self._server is not None:
                self._tried.set()

    async def _read(self) -> bool:
        """Read the release and the directory; say once that this is not possible, and once that it is again."""
        try:
            self.release = await self._live.release() or self.release
            if self.release is not None:
                self._told_release.set()
            told = (await self._reader.read()).directory
        except CmsError as problem:
            if not self._away:
                self._away = True
                self._log.warning("directory.unreadable", source="api", reason=str(problem))
            self._tried.set()
            return False
        if self._away:
            self._away = False
            self._log.info("directory.readable", source="api")
        if self._server is None or self._server.version != told.version:
            await self._upkeep.keep_server_directory(told)
        self._server = told
        self._tried.set()
        return True
