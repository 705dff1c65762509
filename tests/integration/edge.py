"""Both ends of the HTTP edge for tests: a receiver of documents, a raw socket that hides nothing, ports to try."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from cdr_service.domain.commit import Document
from cdr_service.settings import Bind, DeploymentSettings
from cdr_service.web.intake import intake_server
from cdr_service.web.server import listen, open_socket

LOOPBACK = Bind("127.0.0.1", 0)
DOCUMENT = b"""<?xml version="1.0"?>
<records session="5c9ec02b-c4f3-4a15-9a21-3e3a0d3b6f10">
 <record type="callStart" time="2026-01-05T09:00:00Z" recordIndex="1" correlatorIndex="0">
  <call id="7d2a3c8e-8f57-4d5e-9a56-4a8a5a0f1d01"><name>techsupport</name></call>
 </record>
</records>"""


@dataclass
class Twin:
    """Takes documents as the service's intake does, and has its bad days."""

    documents: list[Document] = field(default_factory=list)
    problem: Exception | None = None
    """Raised instead of taking a document."""
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    """A document has come."""
    gate: asyncio.Event | None = None
    """Each document waits for it, as for a slow store."""

    async def receive(self, document: Document) -> None:
        """Take a document."""
        self.entered.set()
        if self.gate:
            await self.gate.wait()
        if self.problem:
            raise self.problem
        self.documents.append(document)

    @property
    def bodies(self) -> list[bytes]:
        """What was taken."""
        return [document.body for document in self.documents]


@dataclass
class Answer:
    """A response as it came over the wire."""

    status: int
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes


class Wire:
    """A connection on which bytes are sent as they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes) -> None:
        """Send each piece in a packet of its own, as far as that can be had."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def answer(self, *, head: bool = False) -> Answer:
        """Read one response. Fails the test where the connection ends first."""
        try:
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        except asyncio.IncompleteReadError as cut:
            raise AssertionError(f"no answer, but {cut.partial!r} and the end") from cut
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:-2])}
        length = 0 if head else int(headers.get("content-length", 0))
        return Answer(int(lines[0].split()[1]), headers, await self.reader.readexactly(length))

    async def rest(self) -> bytes:
        """Read until the other side closes."""
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b""


@asynccontextmanager
async def wire(url: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Wire]:
    """Connect to the host and port of a URL."""
    host, _, port = url.rpartition("//")[2].partition("/")[0].rpartition(":")
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=tls)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


def request(
    target: str = "/cdr", body: bytes = DOCUMENT, *, method: str = "POST", headers: Mapping[str, str] | None = None
) -> bytes:
    """Return the bytes of a request with a Content-Length, unless `headers` say otherwise."""
    fields = {"Host": "cdr.example.com", "Content-Length": str(len(body)), **(headers or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode() + body


async def ask(url: str, *args: Any, **keywords: Any) -> Answer:
    """Send one request on a connection of its own."""
    async with wire(url) as line:
        await line.send(request(*args, **keywords))
        return await line.answer(head=keywords.get("method") == "HEAD")


@dataclass
class Edge:
    """An intake that listens."""

    url: str
    twins: dict[str, Twin]

    @property
    def twin(self) -> Twin:
        """Who takes the documents of the deployment `default`."""
        return self.twins["default"]


@asynccontextmanager
async def intake(
    *,
    deployments: Mapping[str, Mapping[str, Any]] | None = None,
    seconds_to_send: float = 30.0,
    bind: Bind = LOOPBACK,
    **options: Any,
) -> AsyncIterator[Edge]:
    """Run an intake on a free port; `deployments` are the settings of each by name, `options` are those of `listen`."""
    settings = {name: DeploymentSettings(**given) for name, given in {"default": {}, **(deployments or {})}.items()}
    twins = {name: Twin() for name in settings}
    server = intake_server(twins, settings, seconds_to_send=seconds_to_send)
    opened = open_socket(bind, "CDR_INTAKE_BIND")
    async with listen(server, opened, decompress=False, **options) as listener:
        yield Edge(listener.url, twins)
