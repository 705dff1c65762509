"""A port that people and machines connect to: bounds on what a connection may cost, TLS, and an orderly end."""

import asyncio
import errno
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple, cast

from aiohttp import hdrs, web
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from cdr_service.settings import Bind
from cdr_service.web.problems import problem
from cdr_service.web.tls import SECONDS_BETWEEN_LOOKS, TlsError, TlsFiles, keep_renewed

CONNECTIONS_MAX: Final = 2000
"""Connections that a port has at a time; who comes then is told to come again."""
IDLE_SECONDS: Final = 75.0
"""How long a connection may stay open without a complete set of headers: idle, or sending them slowly."""
GRACE_SECONDS: Final = 10.0
"""How long requests may take to finish when the port closes."""

_BACKLOG: Final = 1024
_LINE_BYTES_MAX: Final = 8190
_HEADERS_MAX: Final = 64
_READ_BYTES: Final = 64 * 1024
_LINGER_SECONDS: Final = 2.0
"""How long the rest of a refused body is read and thrown away, so that its sender gets to read why."""
_HANDSHAKE_SECONDS: Final = 10.0
_FILES_BESIDE: Final = 256
"""Open files that the process needs beside a port's connections."""
_BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nServer: cdr-service\r\nRetry-After: 5\r\nContent-Length: 0\r\n"
    b"Connection: close\r\n\r\n"
)


class ListenError(Exception):
    """We cannot listen where we were told to. The message is one sentence that says what to change."""


class Listener(NamedTuple):
    """A port that is open."""

    url: str
    """How it is reached from this machine, with the port that it really has."""
    server: web.Server
    """Its connections and the number of its requests."""


def open_socket(bind: Bind, setting: str) -> socket.socket:
    """Return a socket that listens on `bind`; port 0 takes a free port. Raises ListenError, which names `setting`.

    Processes that share a port share such a socket. `[::]` takes IPv4 as well.
    """
    try:
        found = socket.getaddrinfo(bind.host, bind.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # Of the addresses of a name such as localhost, take the one that every client tries.
        family, *_, address = min(found, key=lambda one: one[0] != socket.AF_INET)
        every = address[0] == "::" and socket.has_dualstack_ipv6()
        opened = socket.create_server(address, family=family, backlog=_BACKLOG, dualstack_ipv6=every)
    except (OSError, UnicodeError) as error:
        raise ListenError(f"{setting} is {bind}, {_why(error, bind)}.") from error
    opened.setblocking(False)
    return opened


@asynccontextmanager
async def listen(
    app: web.Application | web.Server,
    opened: socket.socket,
    *,
    tls: TlsFiles | None = None,
    decompress: bool = True,
    connections_max: int = CONNECTIONS_MAX,
    idle_seconds: float = IDLE_SECONDS,
    grace_seconds: float = GRACE_SECONDS,
    seconds_between_looks: float = SECONDS_BETWEEN_LOOKS,
) -> AsyncIterator[Listener]:
    """Serve `app` on a socket of `open_socket` while the context lasts; its end waits for requests to finish.

    Leaving stops accepting, ends idle connections and those whose request has not wholly arrived, gives what is being
    worked on `grace_seconds`, and closes. `decompress` lets aiohttp unpack bodies. `seconds_between_looks` is how often
    the files of `tls` are looked at for a renewed certificate. Raises ListenError where these cannot be used.
    """
    try:
        context = tls.load() if tls else None
    except TlsError as error:
        opened.close()
        raise ListenError(str(error)) from error
    _allow_open_files(connections_max + _FILES_BESIDE)
    runner = _runner(app, grace_seconds)
    await runner.setup()
    server = runner.server
    if server is None:
        raise RuntimeError("a runner has a server once it is set up")
    loop = asyncio.get_running_loop()
    options = {
        "loop": loop,
        "access_log": None,
        "keepalive_timeout": idle_seconds,
        "lingering_time": _LINGER_SECONDS,
        "max_line_size": _LINE_BYTES_MAX,
        "max_field_size": _LINE_BYTES_MAX,
        "max_headers": _HEADERS_MAX,
        "read_bufsize": _READ_BYTES,
        "auto_decompress": decompress,
    }
    url = url_of(opened, secure=context is not None)
    accepting = await loop.create_server(
        lambda: _Gate(server, connections_max, options),
        sock=opened,
        backlog=_BACKLOG,
        ssl=context,
        ssl_handshake_timeout=_HANDSHAKE_SECONDS if context else None,
    )
    watch = asyncio.create_task(keep_renewed(context, tls, seconds_between_looks)) if context and tls else None
    try:
        yield Listener(url, server)
    finally:
        if watch:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
        accepting.close()
        await runner.cleanup()


def _runner(app: web.Application | web.Server, grace_seconds: float) -> web.BaseRunner:
    if isinstance(app, web.Server):
        return web.ServerRunner(app, shutdown_timeout=grace_seconds)
    app.on_response_prepare.append(_name_server)
    return web.AppRunner(app, shutdown_timeout=grace_seconds)


async def _name_server(_request: web.Request, response: web.StreamResponse) -> None:
    # aiohttp would tell its own version and Python's.
    response.headers[hdrs.SERVER] = "cdr-service"


class _Gate(asyncio.Protocol):
    """Lets a new connection in, or tells it to come again where there are too many."""

    def __init__(self, server: web.Server, connections_max: int, options: dict[str, Any]) -> None:
        self._server = server
        self._connections_max = connections_max
        self._options = options

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's is none by its type
        if len(self._server.connections) < self._connections_max:
            connection = _Connection(self._server, **self._options)
            transport.set_protocol(connection)
            connection.connection_made(transport)
            return
        transport.write(_BUSY)
        # Closed at once, what the sender has sent meanwhile would turn our answer into a reset.
        if transport.can_write_eof():
            transport.write_eof()
        asyncio.get_running_loop().call_later(1.0, transport.abort)


class _Connection(web.RequestHandler):
    """aiohttp's connection, but for what becomes of a body that goes wrong, and of requests that are no HTTP."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        """Take bytes. What is wrong within a body is told to whoever reads it: aiohttp would let that wait on."""
        super().data_received(data)
        if self._messages and not isinstance(self._messages[-1][0], RawRequestMessage):
            self._fail_body(web.RequestPayloadError("the body is no HTTP"))

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP without a line in the log: there is no end to what the internet sends."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        if isinstance(exc, LineTooLong):
            response = problem(431, "Request Header Fields Too Large", "The URL or a header is too long.")
        else:
            response = problem(400, "Bad Request", "This is no HTTP request.")
        response.headers[hdrs.SERVER] = "cdr-service"
        response.force_close()
        return response

    def close(self) -> None:
        """Take no further request. A body that is still on its way would not be read any more: say so to its reader."""
        super().close()
        self._fail_body(ConnectionAbortedError("the port is closing"))

    def _fail_body(self, error: Exception) -> None:
        """Tell the readers of bodies that are not complete that they never will be."""
        bodies = [body for _, body in self._messages]
        if self._current_request is not None:
            bodies.append(self._current_request.content)
        for body in bodies:
            if not body.is_eof():
                body.set_exception(error)


def url_of(opened: socket.socket, *, secure: bool) -> str:
    """Return how the socket is reached from this machine, with the port that it really has."""
    host, port = opened.getsockname()[:2]
    return f"{'https' if secure else 'http'}://{Bind(host, port)}"


def _allow_open_files(wanted: int) -> None:
    """Raise the process's soft limit of open files, which is often 1024, as far as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _why(error: Exception, bind: Bind) -> str:
    """Continue "… is HOST:PORT, " with what is wrong and what to change."""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, UnicodeError | socket.gaierror):
        return f"but the host {bind.host} cannot be found: set an IP address of this machine"
    if number == errno.EADDRINUSE:
        return "where another program listens already: stop that program or set another port"
    if number == errno.EADDRNOTAVAIL:
        return f"but {bind.host} is no address of this machine: set one that is, or 0.0.0.0 for all of them"
    if number in (errno.EACCES, errno.EPERM):
        return "a port that this user may not take: set one from 1024 up, such as 8080"
    return f"where we cannot listen: {error}"
