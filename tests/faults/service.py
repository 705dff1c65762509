"""The service as a process of its own, which a test starts, kills and asks; and the long form of the tests."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import aiohttp

from cdr_service.simulator.people import HOLDERS
from tests.integration.servers import free_port

LONG = os.environ.get("CDR_TEST_FAULTS") == "long"
"""Hundreds of kills rather than a few."""
SEED = int(os.environ.get("CDR_TEST_SEED", "0")) or random.randrange(1, 10**6)
"""What the moments of the faults are drawn from; CDR_TEST_SEED draws them again."""
PATIENCE_SECONDS = 60.0


async def eventually(
    condition: Callable[[], Awaitable[Any] | Any], what: str, seconds: float = PATIENCE_SECONDS
) -> Any:
    """Wait until `condition` gives something true, and return that. Fails the test with `what` if it never does."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds:g} seconds: {what}"
        await asyncio.sleep(0.01)


class Service:
    """`cdr-service serve` on two ports that stay its own, in a folder that holds its data and its log.

    It may be started again and again; the log goes on.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        """Take settings as TOML names them."""
        folder.mkdir(parents=True, exist_ok=True)
        holders = folder / "holders.csv"
        holders.write_text("user,license,aliases,spaces\n" + "".join(f"{user},PMP+,,\n" for user in HOLDERS))
        intake, api = free_port(), free_port()
        self.intake_url = f"http://127.0.0.1:{intake}/cdr"
        self.api_url = f"http://127.0.0.1:{api}"
        self.data_dir = folder / "data"
        self.log = folder / "log"
        self.starts = 0
        self.process: subprocess.Popen[bytes] | None = None
        given = {
            "intake_bind": f"127.0.0.1:{intake}",
            "api_bind": f"127.0.0.1:{api}",
            "data_dir": str(self.data_dir),
            "holders": str(holders),
            **settings,
        }
        self._environ = {name: value for name, value in os.environ.items() if not name.startswith("CDR_")}
        self._environ |= {f"CDR_{name.upper()}": value for name, value in given.items()}

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self.process is not None
        return self.process.pid

    def launch(self, stdout: IO[bytes] | int | None = None) -> None:
        """Start the process; its log goes to `stdout`, else to the file."""
        self.starts += 1
        command = [sys.executable, "-m", "cdr_service", "serve"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=self._environ, stdout=stdout or log, stderr=log)

    async def start(self) -> None:
        """Start the process and wait until it takes documents."""
        self.launch()
        await self.up()

    async def up(self) -> None:
        """Wait until it has started."""

        def has_started() -> bool:
            assert self.process is None or self.process.poll() is None, f"it ended: {self.log.read_text()}"
            return len(self.lines("service.started")) >= self.starts

        await eventually(has_started, "the service starts")

    def kill(self) -> None:
        """SIGKILL."""
        self.send(signal.SIGKILL)
        self.ended()

    def send(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def ended(self) -> int:
        """Wait for the process's end and return its exit code."""
        assert self.process is not None
        code = self.process.wait(PATIENCE_SECONDS)
        self.process = None
        return code

    async def stop(self) -> int:
        """Ask the process to end; return its exit code."""
        self.send(signal.SIGTERM)
        return await asyncio.to_thread(self.ended)

    def lines(self, *events: str) -> list[dict[str, Any]]:
        """Return the lines of the log, of these events or all. A line that a kill cut off is none."""
        found = []
        for text in self.log.read_bytes().splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and (not events or line.get("event") in events):
                found.append(line)
        return found

    async def get(self, path: str, **parameters: str) -> Any:
        """Ask the API; an answer that is no 200 fails the test, but for `/readyz`."""
        async with aiohttp.ClientSession() as http:
            return await answer_of(http, f"{self.api_url}{path}", **parameters)

    async def ready(self) -> dict[str, Any]:
        """Return what `/readyz` says."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.api_url}/readyz") as answer:
            return dict(await answer.json())


async def answer_of(http: aiohttp.ClientSession, url: str, **parameters: str) -> Any:
    """Return the JSON that a URL answers with."""
    async with http.get(url, params=parameters) as answer:
        assert answer.status == 200, f"{url} answered {answer.status}: {await answer.text()}"
        return await answer.json()


@contextmanager
def service(folder: Path, **settings: str) -> Iterator[Service]:
    """Have a service, which is not started yet; it ends with the block."""
    made = Service(folder, **settings)
    try:
        yield made
    finally:
        if made.process is not None:
            made.kill()
