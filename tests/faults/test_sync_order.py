"""What a kill cannot show: a document is synced to disk before it is answered. The order of system calls shows it."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.faults.senders import answers
from tests.faults.service import service
from tests.feed import Feed, call_start, join

CALLS = "read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,fsync,fdatasync"
DOCUMENTS = 20


def may_trace() -> bool:
    """Say whether there is a strace that may look at another process."""
    if shutil.which("strace") is None:
        return False
    with subprocess.Popen(["sleep", "60"]) as other:
        found = subprocess.run(
            ["timeout", "--signal=INT", "1", "strace", "-p", str(other.pid)], capture_output=True, check=False
        )
        other.kill()
    return b"attached" in found.stderr


@contextmanager
def traced(to: Path, *processes: int) -> Iterator[None]:
    """Write the system calls of processes to a file while the block lasts, in the one order in which they happened."""
    ids = [argument for process in processes for argument in ("-p", str(process))]
    command = ["strace", "-f", "-y", "-s", "100000", "-e", f"trace={CALLS}", "-o", str(to), *ids]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:
        assert tracer.stderr is not None
        try:
            for _ in processes:
                assert b"attached" in tracer.stderr.readline()
            yield
        finally:
            tracer.terminate()


def first(lines: list[str], after: int, pattern: str) -> int:
    """Return the number of the first line behind another that holds a pattern."""
    return next(number for number in range(after + 1, len(lines)) if re.search(pattern, lines[number]))


@pytest.mark.skipif(not may_trace(), reason="strace is not installed, or this system forbids to trace")
async def test_a_document_is_synced_before_it_is_acknowledged(tmp_path: Path) -> None:
    """Between a push and its 200 the store writes it to its append-only file and the sync of that file succeeds."""
    feed = Feed("s")
    named = [f"call-{number:03}" for number in range(DOCUMENTS)]
    with service(tmp_path) as served:
        await served.start()
        with redis.Redis(unix_socket_path=str(served.data_dir / "run" / "store.sock")) as store:
            process = store.info("server")["process_id"]
            settings = {**store.config_get("append*"), **store.config_get("maxmemory-policy")}
        assert (await served.ready())["unsafe"] == []
        with traced(tmp_path / "calls", served.pid, process):
            for call in named:
                assert await answers(served.intake_url, feed.document(call_start(call), join(f"bob-{call}", call))) == [
                    200
                ]
        assert await served.stop() == 0
    assert (settings["appendonly"], settings["appendfsync"]) == ("yes", "always")
    assert settings["maxmemory-policy"] == "noeviction"
    lines = (tmp_path / "calls").read_text().splitlines()
    for call in named:
        pushed = next(number for number, line in enumerate(lines) if "POST /cdr" in line and call in line)
        answered = first(lines, pushed, r"(write|writev|sendto|sendmsg)\(.*HTTP/1\.1 200 OK")
        appended = first(lines, pushed, rf"write\(\d+<[^>]*appendonlydir[^>]*>.*{call}")
        synced = first(lines, appended, r"(fdatasync|fsync)(\(\d+<[^>]*appendonlydir.*| resumed>.*)= 0$")
        assert pushed < appended < synced < answered
