"""The event stream over HTTP, as server-sent events (WHATWG HTML, section 9.2).

Own lines rather than a library, because a frame is made once for all readers who want the same, and because a
heart-beat carries an id: so a reader whose filters match nothing for a month still goes on where it was.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import structlog
from aiohttp import web

from cdr_service.domain.event_stream import EventFilter, Points, decode_points
from cdr_service.domain.filters import EventFilters
from cdr_service.errors import BadRequest
from cdr_service.reading.event_stream import Behind, Ended, EventStream, Reader

HEART_BEAT_SECONDS: Final = 15.0
WRITE_SECONDS: Final = 30.0
"""How long a reader may take nothing before its connection is cut."""
RETRY_MILLISECONDS: Final = 2000
"""How long a reader should wait before it comes again."""
LAST_EVENT_ID: Final = "Last-Event-ID"
DROPPED: Final = "dropped"
"""The event that tells a reader why it is dropped."""
BEHIND: Final = "it takes events more slowly than they happen"
_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold events back until its buffer is full
}

_log: Any = structlog.get_logger()


def frame(id_: str, event: str, told: bytes) -> bytes:
    """Return an event as it goes over the wire. JSON has no line breaks of its own."""
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (id_.encode(), event.encode(), told)


class Events:
    """Answers those who follow the event stream."""

    def __init__(
        self,
        stream: EventStream,
        heart_beat_seconds: float = HEART_BEAT_SECONDS,
        write_seconds: float = WRITE_SECONDS,
    ) -> None:
        self._stream = stream
        self._heart_beat_seconds = heart_beat_seconds
        self._write_seconds = write_seconds

    async def stream(self, request: web.Request, asked: EventFilters) -> web.StreamResponse:
        """Answer with events until one of both leaves. Raises BadRequest and StoreUnavailable before it begins."""
        wanted = _filter(asked, self._stream.deployments)
        after = _after(request)
        response = web.StreamResponse(headers=_HEADERS)
        async with self._stream.reader(wanted, after) as reader:
            await response.prepare(request)
            try:
                await self._write(response, b"retry: %d\n%b" % (RETRY_MILLISECONDS, _beat(reader)))
                async for rendered in reader.catch_up():
                    await self._write(response, rendered)
                while True:
                    await self._write(response, await reader.news(self._heart_beat_seconds) or _beat(reader))
            except Behind:
                _log.info("reader.dropped", reason=BEHIND, remote=request.remote)
                await self._write(response, _dropped(BEHIND))
            except TimeoutError:
                _log.info(
                    "reader.dropped",
                    reason=f"it took nothing for {self._write_seconds:g} seconds",
                    remote=request.remote,
                )
                if request.transport is not None:
                    request.transport.abort()
            except Ended:
                pass  # it comes again, to another process or to the next one here
        return response

    async def _write(self, response: web.StreamResponse, rendered: bytes) -> None:
        async with asyncio.timeout(self._write_seconds):
            await response.write(rendered)


def _beat(reader: Reader) -> bytes:
    """Return a frame without data, which no reader takes for an event, but whose id it keeps."""
    return b": all is well\nid: %b\n\n" % reader.id.encode()


def _dropped(reason: str) -> bytes:
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    told = {"event": DROPPED, "timestamp": now, "level": "warning", "reason": reason}
    return b"event: %b\ndata: %b\n\n" % (DROPPED.encode(), msgspec.json.encode(told))


def _filter(asked: EventFilters, deployments: Sequence[str]) -> EventFilter:
    if asked.deployment is not None and asked.deployment not in deployments:
        names = ", ".join(deployments)
        raise BadRequest("deployment", f'There is no deployment "{asked.deployment}"; those that exist: {names}.')
    try:
        return EventFilter.of(asked.types, asked.deployment, asked.call)
    except ValueError as error:
        raise BadRequest("types", str(error)) from None


def _after(request: web.Request) -> Points | None:
    text = request.headers.get(LAST_EVENT_ID)
    if not text:
        return None
    try:
        return decode_points(text)
    except ValueError:
        raise BadRequest(LAST_EVENT_ID, "Last-Event-ID must be the id of an event that this stream gave.") from None
