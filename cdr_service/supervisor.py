"""Several processes on one machine: a supervisor owns the sockets and the embedded store, workers do the work.

The workers accept from the same two sockets, so a document goes to whichever is free; the store makes them one
service. Nothing outlives the supervisor: each worker holds the reading end of a pipe whose other end only the
supervisor has, so its end is noticed even after SIGKILL.
"""

import asyncio
import json
import os
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import structlog

from cdr_service.compose import Outside, Running, opened, policies_in_force
from cdr_service.metrics import Counting
from cdr_service.settings import Settings
from cdr_service.web.server import url_of

RESTART_SECONDS: Final = 1.0
"""Between the end of a worker that nobody asked to end and the start of another."""
GRACE_SECONDS: Final = 30.0
"""How long workers may take to finish what is in flight."""


def handed_over(outside: Outside, counting: Counting) -> str:
    """Return what a worker is to stand on, as an argument of its command line.

    Only the embedded store is named, by a path; the URL of another may hold a password, and the worker reads it from
    the same settings as its supervisor.
    """
    embedded = outside.store_url if outside.store_url.startswith("unix:") else ""
    return json.dumps([outside.intake.fileno(), outside.api.fileno(), embedded, *counting])


def taken_over(text: str, settings: Settings) -> Outside:
    """Return what the supervisor handed over."""
    intake, api, embedded, *counting = json.loads(text)
    url = settings.redis_url.get_secret_value() if settings.redis_url else embedded
    return Outside(socket.socket(fileno=intake), socket.socket(fileno=api), url, Counting(*counting))


class Supervisor:
    """Starts workers and keeps as many running as were asked for."""

    def __init__(self, settings: Settings, arguments: Sequence[str], workers: int) -> None:
        """`arguments` are those of the command line that a worker needs too, such as `--config`."""
        self._settings = settings
        self._arguments = arguments
        self._workers = workers
        self._log: Any = structlog.get_logger().bind()
        self._processes: set[asyncio.subprocess.Process] = set()

    async def run(self, stop: asyncio.Event, say: Callable[[Running], Awaitable[None]]) -> None:
        """Run until `stop` is set; then let the workers finish, and end the store last. `say` tells where it is."""
        with tempfile.TemporaryDirectory(prefix="cdr-metrics-") as folder:
            await self._supervise(self._settings, folder, stop, say)

    async def _supervise(
        self, settings: Settings, folder: str, stop: asyncio.Event, say: Callable[[Running], Awaitable[None]]
    ) -> None:
        async with opened(settings) as outside:
            counting = [Counting(folder, worker) for worker in range(self._workers)]
            tasks = [asyncio.create_task(self._keep_running(outside, one, stop)) for one in counting]
            intake_url = url_of(outside.intake, secure=settings.intake_tls_cert is not None)
            api_url = url_of(outside.api, secure=settings.api_tls_cert is not None)
            await say(Running(intake_url, api_url, await policies_in_force(settings, outside.store_url)))
            await stop.wait()
            for process in list(self._processes):
                process.terminate()
            _, late = await asyncio.wait(tasks, timeout=GRACE_SECONDS)
            for process in list(self._processes) if late else ():
                process.kill()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_running(self, outside: Outside, counting: Counting, stop: asyncio.Event) -> None:
        """Start a worker, and another when it ends before it should."""
        while not stop.is_set():
            process = await asyncio.create_subprocess_exec(
                *(
                    sys.executable,
                    "-m",
                    "cdr_service",
                    "serve",
                    *self._arguments,
                    "--worker",
                    handed_over(outside, counting),
                ),
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(outside.intake.fileno(), outside.api.fileno()),
            )
            self._processes.add(process)
            if stop.is_set():
                process.terminate()  # it was asked to end while it started
            code = await process.wait()
            self._processes.discard(process)
            if not stop.is_set():
                self._log.error("worker.ended", exit_code=code)
                await asyncio.sleep(RESTART_SECONDS)


async def supervisor_gone() -> None:
    """Return when the supervisor of this worker is no more."""
    ended = asyncio.get_running_loop().create_future()
    descriptor = sys.stdin.fileno()

    def look() -> None:
        if not os.read(descriptor, 1) and not ended.done():
            ended.set_result(None)

    asyncio.get_running_loop().add_reader(descriptor, look)
    try:
        await ended
    finally:
        asyncio.get_running_loop().remove_reader(descriptor)
