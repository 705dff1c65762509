"""A simulated Meeting Server for tests of whole processes: its REST API in a thread of its own, its CDRs by hand."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import trustme

from cdr_service.simulator.api import PASSWORD, USERNAME, ApiServer, serving
from cdr_service.simulator.api_licenses import Rules
from cdr_service.simulator.api_model import Directory
from cdr_service.simulator.api_nodes import Deployment
from cdr_service.simulator.bridge import Bridge, Feed
from cdr_service.simulator.records import Identity, Record, Value
from tests.integration.command import Service


class MeetingServer:
    """One Call Bridge or several of a cluster, with their API over TLS."""

    def __init__(
        self, deployment: Deployment, servers: list[ApiServer], authority: Path, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.deployment = deployment
        self.directory = deployment.directory
        self.servers = servers
        self._authority = authority
        self._loop = loop
        self._feeds: dict[int, Feed] = {}

    @property
    def settings(self) -> dict[str, str]:
        """The settings by which a service reaches the API."""
        return {
            "CDR_CMS_URL": ",".join(server.url for server in self.servers),
            "CDR_CMS_USERNAME": USERNAME,
            "CDR_CMS_PASSWORD": PASSWORD,
            "CDR_CMS_CA": str(self._authority),
        }

    def asked(self, text: str) -> list[str]:
        """Return the requests so far that contain a text, of all nodes."""
        return [request for server in self.servers for request in list(server.requests) if text in request]

    def go_away(self) -> None:
        """Stop listening, on all nodes."""
        for server in self.servers:
            asyncio.run_coroutine_threadsafe(server.stop(), self._loop).result(10)

    def come_back(self) -> None:
        """Listen again, on the same ports."""
        for server in self.servers:
            asyncio.run_coroutine_threadsafe(server.start(), self._loop).result(10)

    def emit(self, type_: str, id_: str, *, node: int = 0, **fields: Value) -> None:
        """Let a node generate a record now."""

        async def emit() -> None:
            self.deployment.nodes[node].bridge.emit(Record(type_, id_, fields), datetime.now(UTC))

        asyncio.run_coroutine_threadsafe(emit(), self._loop).result(10)

    def push(self, service: Service, *, node: int = 0) -> None:
        """Push what a node generated since the last time."""
        while offered := self._feeds[node].document():
            assert service.post(offered.body) == 200
            self._feeds[node].delivered(offered)

    def lose(self, *, node: int = 0) -> None:
        """Lose what a node generated since the last time: it is never pushed."""
        while offered := self._feeds[node].document():
            self._feeds[node].delivered(offered)

    def join(self, leg: str, call: str, party: str, *, node: int = 0, **fields: Value) -> None:
        """Let somebody come in by the web app."""
        named: dict[str, Value] = {"call": call, "remoteParty": party, "type": "acano", "direction": "incoming"}
        self.emit("callLegStart", leg, node=node, **{**named, **fields})
        self.emit("callLegUpdate", leg, node=node, call=call, state="connected", deactivated=False)

    def _listen(self) -> None:
        self._feeds = {node.number: node.bridge.add_receiver() for node in self.deployment.nodes}


def server_side(authority: trustme.CA) -> ssl.SSLContext:
    """Make the context of a server on loopback."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@contextmanager
def meeting_server(
    folder: Path,
    directory: Directory,
    *,
    nodes: int = 1,
    release: str = "3.0.1",
    rules: Rules | None = None,
    clustered: bool = True,
) -> Iterator[MeetingServer]:
    """Run a simulated Meeting Server."""
    folder.mkdir(exist_ok=True)
    authority, file = trustme.CA(), folder / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    loop = asyncio.new_event_loop()
    over, ready = asyncio.Event(), threading.Event()
    made: list[MeetingServer] = []

    async def run() -> None:
        ids = [
            Identity(f"cms{n}", f"session-{n}", f"bridge-{n}" if nodes > 1 and clustered else None)
            for n in range(nodes)
        ]
        deployment = Deployment([Bridge(identity) for identity in ids], directory, release=release, rules=rules)
        async with serving(deployment, tls=server_side(authority)) as servers:
            made.append(MeetingServer(deployment, servers, file, loop))
            made[0]._listen()
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=[run()])
    thread.start()
    try:
        assert ready.wait(10)
        yield made[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(20)
        loop.close()
