"""The servers that are measured side by side: each is started on an empty store, and gone afterwards."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.traffic import HOLDERS
from cdr_service.store.embedded import find_server

PEER: Final = Path(__file__).with_name("peer")


class Running(NamedTuple):
    """A server that runs."""

    port: int
    pid: int
    """Of the process that answers; its store is another one."""
    api: str = ""
    """Where the query API of the service is."""
    store: str = ""
    """The URL of the service's store."""

    def cpu(self) -> float:
        """Return the CPU seconds that the process and its workers have used, but not their store."""
        return sum(_cpu(pid) for pid in (self.pid, *_python_below(self.pid)))

    def memory(self) -> int:
        """Return the bytes of memory that the process holds."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _python_below(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    python = [child for child in children if Path(f"/proc/{child}/comm").read_text().startswith("python")]
    return python + [below for child in python for below in _python_below(child)]


@contextmanager
def bare() -> Iterator[Running]:
    """Run the bare aiohttp server, which only answers 200."""
    with printing([sys.executable, "-m", "bench.bare"], {}) as running:
        yield running


@contextmanager
def peer() -> Iterator[Running]:
    """Run what a user would build instead, on a store of its own that syncs each write too."""
    if not (PEER / "node_modules").exists():
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=PEER, check=True, stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/socket"
        options = ["--port", "0", "--unixsocket", socket, "--dir", folder, "--save", ""]
        options += ["--appendonly", "yes", "--appendfsync", "always"]
        store = subprocess.Popen([str(find_server()), *options], stdout=subprocess.DEVNULL)
        try:
            while not Path(socket).exists():
                time.sleep(0.02)
            environ = {"PEER_REDIS": socket, "NODE_ENV": "production"}
            with printing(["node", str(PEER / "server.js")], environ) as running:
                yield running
        finally:
            store.terminate()
            store.wait()


def has_peer() -> bool:
    """Return whether the peer can be run here."""
    return shutil.which("npm") is not None


@contextmanager
def service(
    workers: int = 1, data: Path | None = None, *, store: str = "", deployments: Sequence[str] = ()
) -> Iterator[Running]:
    """Run the service; its log goes to a file, of which the warnings are printed where the block fails.

    It stands on an embedded store, an empty one unless `data` is given, or on the one at the URL `store`. `deployments`
    are those beside `default`.
    """
    with tempfile.TemporaryDirectory() as folder:
        holders, log, settings = Path(folder, "holders.csv"), Path(folder, "log"), Path(folder, "settings.toml")
        holders.write_text("user,license\n" + "".join(f"{holder},PMP+\n" for holder in HOLDERS))
        settings.write_text("".join(f'[deployments.{name}]\nholders = "{holders}"\n' for name in deployments))
        environ = {
            "CDR_CONFIG": str(settings),
            "CDR_DATA_DIR": str(data or Path(folder, "data")),
            "CDR_HOLDERS": str(holders),
            "CDR_INTAKE_BIND": ":0",
            "CDR_API_BIND": ":0",
            "PATH": os.environ["PATH"],
        }
        if store:
            environ["CDR_REDIS_URL"] = store
        command = [sys.executable, "-m", "cdr_service", "serve", "--workers", str(workers)]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environ)
            try:
                running = _started(process, log)
                if not store:
                    lock = Path(environ["CDR_DATA_DIR"], "lock").read_text()
                    running = running._replace(store=f"unix://{lock.splitlines()[1]}")
                yield running
            except BaseException:
                print(*_troubles(log), sep="\n", file=sys.stderr)
                raise
            finally:
                process.terminate()
                process.wait()


@contextmanager
def printing(command: list[str], environ: dict[str, str]) -> Iterator[Running]:
    """Run a server that prints its port."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | environ
    )
    assert process.stdout is not None
    try:
        yield Running(int(process.stdout.readline()), process.pid)
    finally:
        process.terminate()
        process.wait()


def _started(process: "subprocess.Popen[bytes]", log: Path) -> Running:
    while process.poll() is None:
        for line in _lines(log):
            if line.get("event") == "service.started":
                port = int(line["intake_url"].rsplit(":", 1)[1].partition("/")[0])
                return Running(port, process.pid, line["api_url"])
        time.sleep(0.02)
    raise RuntimeError("the service did not start")


def _lines(log: Path) -> Iterator[dict[str, Any]]:
    for line in log.read_text().splitlines(keepends=True):
        if line.startswith("{") and line.endswith("\n"):
            yield json.loads(line)


def _troubles(log: Path) -> list[str]:
    """Return what a log says that is not the ordinary course, the last of it."""
    return [line for line in log.read_text().splitlines() if '"level":"info"' not in line.replace(" ", "")][-50:]
