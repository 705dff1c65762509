"""The event stream over HTTP: what stands on the wire, who is refused, who is dropped, and what a restart changes."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from cdr_service.domain.filters import EventFilters
from cdr_service.reading import event_stream as module
from cdr_service.reading.event_stream import EventStream
from cdr_service.store.connection import connect
from cdr_service.store.event_stream import RedisEventStream
from cdr_service.web.events import Events, frame
from cdr_service.web.parameters import read
from cdr_service.web.problems import problems
from cdr_service.web.server import listen, open_socket
from tests.integration.command import running, samples
from tests.integration.edge import LOOPBACK
from tests.integration.servers import StoreServer, free_port, store_server
from tests.integration.test_event_stream import tell

PATIENCE = 20.0


@pytest.fixture(scope="module")
def server() -> Iterator[StoreServer]:
    """Run a store for the tests of this module."""
    with store_server(unix=True) as running:
        yield running


@pytest.fixture(autouse=True)
def empty(server: StoreServer) -> None:
    """Begin with nothing in the store."""
    server.ask("FLUSHALL")


@asynccontextmanager
async def stream(server: StoreServer, **options: float) -> AsyncIterator[str]:
    """Serve the event stream of one deployment on a free port; return its URL."""
    connection = connect(server.url)
    async with EventStream(["default"], RedisEventStream(connection), lambda: 0, frame, 0.05).running() as following:
        app = web.Application(middlewares=[problems])

        async def answer(request: web.Request) -> web.StreamResponse:
            asked = read(request.query, [EventFilters])[EventFilters]
            return await Events(following, **options).stream(request, asked)

        app.add_routes([web.get("/v1/events", answer)])
        async with listen(app, open_socket(LOOPBACK, "CDR_API_BIND"), grace_seconds=5) as listener:
            yield f"{listener.url}/v1/events"
            following.end()
    await connection.close()


class Source:
    """One who reads events as the standard says."""

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content
        self.id = ""
        self.beats = 0

    async def __aiter__(self) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Give the name and the object of each event."""
        event = data = ""
        async for line in self._content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "id":
                self.id = value
            elif name == "event":
                event = value
            elif name == "data":
                data = value
            elif not name and data:
                yield event, json.loads(data)
                event = data = ""
            self.beats += not name and bool(value)

    async def take(self, count: int) -> list[str]:
        """Return the ids of so many events."""
        found: list[str] = []
        async with asyncio.timeout(PATIENCE):
            async for event, told in self:
                assert event == told["event"]
                found.append(told.get("event_id", event))
                if len(found) == count:
                    return found
        raise AssertionError(f"the stream ended after {found}")


@asynccontextmanager
async def reading(url: str, last: str = "", **parameters: str) -> AsyncIterator[Source]:
    """Read events."""
    headers = {"Last-Event-ID": last} if last else {}
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session,
        session.get(url, params=parameters, headers=headers) as response,
    ):
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-store"
        yield Source(response.content)


async def test_events_go_over_the_wire_and_on_after_a_break(server: StoreServer) -> None:
    """An event is what the store holds, with its name and its id; from that id the next ones come."""
    async with stream(server) as url:
        async with reading(url) as source:
            tell(server, "e1", "e2", "e3")
            assert await source.take(2) == ["e1", "e2"]
            last = source.id
        async with reading(url, last) as source:
            assert await source.take(1) == ["e3"]


async def test_a_heart_beat_moves_a_reader_on_who_wants_nothing_of_it(server: StoreServer) -> None:
    """Heart-beats bring no event, but an id that is past what was filtered out."""
    async with stream(server, heart_beat_seconds=0.1) as url:
        async with reading(url, types="license.*") as source:
            tell(server, "e1")
            server.ask("XTRIM", "cdr:{default}:events", "MAXLEN", "=", 1)
            entry = server.ask("XREVRANGE", "cdr:{default}:events", "+", "-")[0][0]
            reader = asyncio.create_task(source.take(1))
            async with asyncio.timeout(PATIENCE):
                while entry not in source.id:  # noqa: ASYNC110 - the reader notes ids, and tells nobody
                    await asyncio.sleep(0.02)
            assert source.beats > 1
            reader.cancel()
        tell(server, "e2", event="license.switched")
        async with reading(url, source.id, types="license.*") as again:
            assert await again.take(1) == ["e2"]


@pytest.mark.parametrize(
    ("parameters", "headers", "parameter"),
    [
        ({"type": "x"}, {}, "type"),
        ({"types": "license.*;x"}, {}, "types"),
        ({"deployment": "nowhere"}, {}, "deployment"),
        ({}, {"Last-Event-ID": "17"}, "Last-Event-ID"),
    ],
)
async def test_what_cannot_be_meant_is_refused(
    server: StoreServer, parameters: dict[str, str], headers: dict[str, str], parameter: str
) -> None:
    """A wrong filter or id is a 400 that names it, before anything is streamed."""
    async with (
        stream(server) as url,
        aiohttp.ClientSession() as session,
        session.get(url, params=parameters, headers=headers) as response,
    ):
        assert response.status == 400
        assert (await response.json(content_type=None))["parameter"] == parameter


async def test_a_reader_that_falls_behind_is_told_why(server: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stream ends with `dropped` and the reason; the id that it has by then leads on without loss."""
    monkeypatch.setattr(module, "KEPT", 20)
    big = [f"{number:04}{'x' * 60_000}" for number in range(300)]
    async with stream(server) as url:
        async with reading(url) as slow, reading(url) as quick:
            for names in (big[at : at + 10] for at in range(0, len(big), 10)):
                tell(server, *names)
                assert await quick.take(10) == names
            got: list[str] = []
            async for event, told in slow:
                got.append(told.get("event_id", event))
            assert got[-1] == "dropped"
            assert told["reason"]
            assert got[:-1] == big[: len(got) - 1]
        async with reading(url, slow.id) as again:
            assert await again.take(len(big) - len(got) + 1) == big[len(got) - 1 :]


async def test_a_reader_that_takes_nothing_is_cut(server: StoreServer) -> None:
    """One whose connection takes nothing more is cut after a while, and nothing is kept for it."""
    async with stream(server, write_seconds=0.3) as url:
        port = int(url.partition("127.0.0.1:")[2].partition("/")[0])
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(deaf, ("127.0.0.1", port))
            await loop.sock_sendall(deaf, b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            async with reading(url) as quick:
                tell(server, *("x" * 60_000 for _ in range(200)))
                await quick.take(200)
            await asyncio.sleep(1.0)  # it would be all too slow, but would get there
            with suppress(ConnectionError):
                async with asyncio.timeout(PATIENCE):
                    while await loop.sock_recv(deaf, 65_536):
                        pass


async def test_the_service_ends_while_somebody_reads(server: StoreServer) -> None:
    """A reader who waits does not keep the port from closing: its stream ends, whole."""
    async with stream(server) as url:
        task = asyncio.create_task(_read_all(url))
        await asyncio.sleep(0.2)
    assert await task == []


async def _read_all(url: str) -> list[str]:
    async with reading(url) as source:
        return [event async for event, _ in source]


async def test_over_a_restart_of_the_service(tmp_path: Path) -> None:
    """What happened while nobody read, and while the service was away, comes in order and once; a token is needed."""
    settings = {
        "CDR_DATA_DIR": str(tmp_path / "data"),
        "CDR_API_BIND": f"127.0.0.1:{free_port()}",
        "CDR_API_TOKEN": "a-token-of-the-api",
    }
    *first, last = samples("web-app-and-sip")
    url = f"http://{settings['CDR_API_BIND']}/v1/events"
    with running(tmp_path, "serve", settings=settings) as service:
        service.wait_for("service.started")
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            assert response.status == 401
        headers = {"Authorization": "Bearer a-token-of-the-api"}
        async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as response:
            for body in first:
                assert service.post(body) == 200
            source = Source(response.content)
            (started,) = await source.take(1)
            assert service.end() == 0
    with running(tmp_path, "serve", settings=settings) as service:
        assert service.post(last) == 200
        logged = [line for line in service.lines if "event_id" in line]
        headers |= {"Last-Event-ID": source.id}
        async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as response:
            got: list[str] = []
            async for event, told in Source(response.content):
                got.append(event)
                assert told["event_id"] != started
                if event == "license.released":
                    break
            assert told in logged
        assert got.count("license.assigned") == got.count("license.released") == 1
        assert got.count("leg.joined") == got.count("leg.left") == 2
