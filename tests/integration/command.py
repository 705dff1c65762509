"""The command `cdr-service` as a process of its own, with an empty home and an environment without any settings."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.integration.servers import eventually

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "tests" / "samples"


def command(*arguments: str) -> list[str]:
    """Return the command line of `cdr-service` with some arguments."""
    return [sys.executable, "-m", "cdr_service", *arguments]


def environment(home: Path, **settings: str) -> dict[str, str]:
    """Return an environment whose home is `home`, with some settings and nothing else."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), **settings}


def run(home: Path, *arguments: str, stdin: str | None = None, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; `stdin` is what it reads."""
    return subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env=environment(home, **settings),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Service:
    """A `serve` or `demo` that runs."""

    def __init__(self, process: subprocess.Popen[bytes], home: Path, output: Path, errors: Path) -> None:
        self.process = process
        self.home = home
        self._output = output
        self._errors = errors

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log lines so far."""
        whole = self._output.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    @property
    def errors(self) -> str:
        """What it wrote to standard error so far."""
        return self._errors.read_text()

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log lines of one event so far."""
        return [line for line in self.lines if line["event"] == name]

    def wait_for(self, name: str) -> dict[str, Any]:
        """Wait until an event is logged; return its first line."""

        def logged() -> list[dict[str, Any]]:
            found = self.events(name)
            assert found or self.process.poll() is None, f"it ended: {self._output.read_text()}{self.errors}"
            return found

        found: list[dict[str, Any]] = eventually(logged, f"{name} is logged")
        return found[0]

    @property
    def intake_url(self) -> str:
        """Where it takes documents."""
        return str(self.wait_for("service.started")["intake_url"])

    @property
    def api_url(self) -> str:
        """Where its query API is."""
        return str(self.wait_for("service.started")["api_url"])

    def get(self, path: str) -> Any:
        """Ask the query API."""
        status, body = _request("GET", f"{self.api_url}{path}")
        assert status == 200, body
        return json.loads(body)

    def raw(self, path: str) -> str:
        """Ask the query API; return the answer as it came."""
        return _request("GET", f"{self.api_url}{path}")[1].decode()

    def ask(self, path: str, body: Any) -> tuple[int, Any]:
        """Post a question to the query API; return status and answer."""
        status, answer = _request("POST", f"{self.api_url}{path}", json.dumps(body).encode())
        return status, json.loads(answer)

    def metrics(self) -> str:
        """Return the page for Prometheus."""
        return _request("GET", f"{self.api_url}/metrics")[1].decode()

    def status(self, path: str) -> int:
        """Return the status with which the query API answers."""
        return _request("GET", f"{self.api_url}{path}")[0]

    def post(self, body: bytes, query: str = "") -> int:
        """Push a document as a Call Bridge does; return the status."""
        return _request("POST", f"{self.intake_url}{query}", body)[0]

    def descendants(self) -> list[int]:
        """Return the ids of all processes that hang on it, itself among them."""
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        children: dict[int, list[int]] = {}
        for line in listed.splitlines():
            child, parent = map(int, line.split())
            children.setdefault(parent, []).append(child)
        found = [self.process.pid]
        for process in found:
            found += children.get(process, [])
        return found

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; return its exit code."""
        self.process.send_signal(how)
        return self.process.wait(timeout=60)


def _request(method: str, url: str, body: bytes | None = None) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=30)
    try:
        connection.request(method, f"{parts.path}?{parts.query}", body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@contextmanager
def running(
    home: Path,
    *arguments: str,
    settings: Mapping[str, str] | None = None,
    terminal: bool = False,
    program: Sequence[str] = (),
) -> Iterator[Service]:
    """Run a command that goes on until it is ended, on free ports unless the settings say otherwise.

    With `terminal`, its standard error is one. `program` is another than the one of this environment; it is then run in
    its home.
    """
    output, errors = home / "output", home / "errors"
    given = {"CDR_INTAKE_BIND": "127.0.0.1:0", "CDR_API_BIND": "127.0.0.1:0", **(settings or {})}
    with output.open("wb") as out, _terminal(errors) if terminal else errors.open("wb") as err:
        process = subprocess.Popen(
            [*program, *arguments] if program else command(*arguments),
            cwd=home if program else ROOT,
            env=environment(home, **given),
            stdout=out,
            stderr=err,
        )
    try:
        yield Service(process, home, output, errors)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=60)


@contextmanager
def _terminal(file: Path) -> Iterator[int]:
    """Make a terminal; what is written to it until its last writer ends goes to the file."""
    ours, theirs = pty.openpty()

    def copy() -> None:
        with file.open("wb", buffering=0) as copied, suppress(OSError):  # the end of a terminal is an error
            while read := os.read(ours, 4096):
                copied.write(read.replace(b"\r\n", b"\n"))
        os.close(ours)

    threading.Thread(target=copy).start()
    try:
        yield theirs
    finally:
        os.close(theirs)


def samples(case: str) -> list[bytes]:
    """Return the documents of a sample, in order of arrival."""
    return [file.read_bytes() for file in sorted((SAMPLES / case).iterdir())]
