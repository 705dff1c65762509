"""The intake: where Call Bridges push, and what they are answered.

A Call Bridge forgets a record at our 200 and offers it again after anything else, for ever and before all that comes
behind. So a 200 is given only for what is committed, and whatever would never be taken in is answered 200 as well and
kept as a dead letter.

This is the busiest code of the service. It stands on aiohttp's server without its application: one handler decides by
the table of the contract, and no router, middleware or URL is between it and the socket.
"""

import asyncio
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import unquote, unquote_plus, urlsplit

import structlog
from aiohttp import hdrs, web

from cdr_service.domain.commit import Document, read
from cdr_service.domain.text import printable
from cdr_service.errors import Draining, StoreUnavailable
from cdr_service.settings import DeploymentSettings
from cdr_service.web.decoding import PLAIN, BodyTooLarge, UndecodableBody, decode
from cdr_service.web.doors import IntakeDoor
from cdr_service.web.problems import RETRY_AFTER_SECONDS

SECONDS_TO_SEND: Final = 30.0
"""How long a sender may take for a body, …"""
SLOWEST_BYTES_A_SECOND: Final = 32 * 1024
"""… and a second more for each so many bytes that came."""
HELD_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bodies that are not yet complete or not yet parsed may take so much memory, or twice the largest single one."""
INLINE_BYTES: Final = 256 * 1024
"""A larger body is parsed in a thread, so that it does not keep the others waiting."""
BRIDGE_LENGTH_MAX: Final = 128
"""Characters kept of the parameter `bridge`."""

_CACHED_TARGETS: Final = 256
_REFUSAL_LOG_SECONDS: Final = 60.0
_REFUSAL_LOG_ENTRIES: Final = 1000

# Our name alone: what we are made of is nobody's business.
_HEADERS: Final = {hdrs.SERVER: "cdr-service"}
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
SENTENCES: Final = {
    400: "The body does not arrive as its headers say.",
    401: "Unauthorized.",
    403: "Forbidden.",
    404: "There is nothing at this address.",
    405: "CDR documents are sent by POST.",
    408: "The body did not arrive in time.",
    413: "The body is larger than this receiver takes.",
    503: "Not taken in just now: send it again.",
}
"""What a refusal says, by its status."""
_EXTRA_HEADERS: Final = {405: {hdrs.ALLOW: "POST"}, 503: {hdrs.RETRY_AFTER: str(RETRY_AFTER_SECONDS)}}

_log: Any = structlog.get_logger()


class Receiver(Protocol):
    """Who takes in the documents of a deployment."""

    async def receive(self, document: Document) -> None:
        """Return when the document is committed; raise StoreUnavailable or Draining where it may not be."""
        ...


def intake_server(
    receivers: Mapping[str, Receiver],
    deployments: Mapping[str, DeploymentSettings],
    *,
    seconds_to_send: float = SECONDS_TO_SEND,
) -> web.Server:
    """Return the server of `POST /cdr` and `POST /cdr/{deployment}`, to be given to `listen`.

    `receivers` and `deployments` have the same keys, and `default` among them.
    """
    edge = _Edge({name: _Way(receivers[name], given) for name, given in deployments.items()}, seconds_to_send)
    return web.Server(edge.handle)


class _Way:
    """What a deployment has of the intake: its door, its bounds, and who takes its documents."""

    def __init__(self, receiver: Receiver, settings: DeploymentSettings) -> None:
        self.receive = receiver.receive
        self.door = IntakeDoor(settings)
        self.max_bytes = settings.intake_max_bytes


class _Target(NamedTuple):
    """What the request line says."""

    deployment: str | None
    """None where the path is not one of ours."""
    token: bytes
    bridge: str


class _Busy(Exception):  # noqa: N818 - nothing went wrong: the sender is to come again
    """Too many bytes are on their way in already."""


class _Edge:
    def __init__(self, ways: Mapping[str, _Way], seconds_to_send: float) -> None:
        self._ways = ways
        self._seconds_to_send = seconds_to_send
        self._held = 0
        self._held_max = max(HELD_BYTES_MAX, *(2 * way.max_bytes for way in ways.values()))
        self._refusals = _RefusalLog()

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answer one request, by the table of the contract and in its order."""
        deployment, token, bridge = _target(request.raw_path)
        way = self._ways.get(deployment or "")
        # A path that leads nowhere is guarded as `default`, so that without a token nobody learns which paths do.
        door = (way or self._ways["default"]).door
        if status := door.refusal(request, token):
            self._refusals.note(status, door.sources.source(request))
            return _refuse(request, status)
        if way is None:
            return _refuse(request, 404)
        if request.method != hdrs.METH_POST:
            return _refuse(request, 405)
        try:
            await way.receive(await self._document(request, way.max_bytes, bridge))
        except StoreUnavailable:
            return _refuse(request, 503)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, it is answered
            return _refuse(request, _status(error), close=True)
        return web.Response(headers=_HEADERS)

    async def _document(self, request: web.BaseRequest, limit: int, bridge: str) -> Document:
        """Read what was pushed. Raises what `_status` knows."""
        content = request.content
        # Nearly always the whole body came with the headers.
        body = content.read_nowait() if content.is_eof() else await self._gather(request, limit)
        if len(body) > limit:
            raise BodyTooLarge
        coding = request.headers.get(hdrs.CONTENT_ENCODING, "").strip().lower()
        if len(body) <= INLINE_BYTES and coding in PLAIN:
            return _parse(body, coding, limit, bridge)
        self._held += len(body)
        try:
            return await asyncio.to_thread(_parse, body, coding, limit, bridge)
        finally:
            self._held -= len(body)

    async def _gather(self, request: web.BaseRequest, limit: int) -> bytes:
        """Read a body that is still on its way, within bounds of size, time and memory."""
        declared = request.content_length
        if declared is not None and declared > limit:
            raise BodyTooLarge
        if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(_CONTINUE)
        body = bytearray()
        start = asyncio.get_running_loop().time() + self._seconds_to_send
        try:
            async with asyncio.timeout_at(start) as deadline:
                while piece := await request.content.readany():
                    body += piece
                    self._held += len(piece)
                    if len(body) > limit:
                        raise BodyTooLarge
                    if self._held > self._held_max:
                        raise _Busy
                    deadline.reschedule(start + len(body) / SLOWEST_BYTES_A_SECOND)
        finally:
            self._held -= len(body)
        return bytes(body)


def _parse(body: bytes, coding: str, limit: int, bridge: str) -> Document:
    """Unpack and parse. What cannot be unpacked is read as it came: some senders' label is wrong, not their body."""
    problem = ""
    if coding not in PLAIN:
        try:
            body = decode(body, coding, limit)
        except UndecodableBody as error:
            problem = str(error)
    try:
        document = read(body, bridge)
    except Exception as error:  # noqa: BLE001 - it would fail for ever, and the bridge would offer it for ever
        _log.error("request.failed", exc_info=error)
        problem = problem or f"The service failed on this document ({type(error).__name__})."
        return Document(body=body, bridge=bridge, batch=None, problem=problem)
    if problem and document.batch is None:
        return Document(body=body, bridge=bridge, batch=None, problem=problem)
    return document


def _status(error: Exception) -> int:
    """Return the status that answers a push which ended in this error."""
    match error:
        case BodyTooLarge():
            return 413
        case TimeoutError():
            return 408
        case web.RequestPayloadError():
            return 400
        # A sender that has left reads no answer; one that is still there was cut off because we are stopping.
        case Draining() | _Busy() | ConnectionError():
            return 503
        case _:
            _log.error("request.failed", exc_info=error)
            return 503


def _refuse(request: web.BaseRequest, status: int, *, close: bool = False) -> web.Response:
    headers = _HEADERS | _EXTRA_HEADERS.get(status, {})
    response = web.Response(status=status, text=f"{SENTENCES[status]}\n", headers=headers)
    # A sender that waits for our "100 Continue" may take this answer for a reason not to send the body.
    if close or not request.content.is_eof():
        response.force_close()
    return response


@lru_cache(_CACHED_TARGETS)
def _target(text: str) -> _Target:
    """Read a request target. A Call Bridge sends the same one each time."""
    if not text.startswith("/"):  # a proxy may send the whole URL
        try:
            parts = urlsplit(text)
        except ValueError:
            return _Target(None, b"", "")
        text = f"{parts.path}?{parts.query}"
    path, _, query = text.partition("#")[0].partition("?")
    token = bridge = ""
    for parameter in query.split("&"):
        name, _, value = parameter.partition("=")
        if name == "token":
            # No token has a space in it, so a plus is a plus, escaped or not.
            token = token or unquote(value)
        elif name == "bridge":
            bridge = bridge or unquote_plus(value)
    path = unquote(path)
    deployment = "default" if path == "/cdr" else path.removeprefix("/cdr/") if path.startswith("/cdr/") else None
    return _Target(deployment, token.encode(errors="surrogateescape"), printable(bridge.strip(), BRIDGE_LENGTH_MAX))


class _RefusalLog:
    """Tells the administrator of a bridge with a wrong token, once a minute rather than at each of its attempts."""

    def __init__(self) -> None:
        self._next: dict[tuple[int, str], float] = {}

    def note(self, status: int, source: str) -> None:
        """Log a refusal, unless the same one was logged a moment ago."""
        now = asyncio.get_running_loop().time()
        if now < self._next.get((status, source), 0.0):
            return
        if len(self._next) >= _REFUSAL_LOG_ENTRIES:
            self._next.clear()
        self._next[status, source] = now + _REFUSAL_LOG_SECONDS
        reason = "its address is not allowed" if status == web.HTTPForbidden.status_code else "wrong or missing token"
        _log.warning("intake.refused", source=source, status=status, reason=reason)
