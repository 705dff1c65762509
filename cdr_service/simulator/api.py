"""The REST API of a simulated Meeting Server over real HTTP: basic authentication, TLS, pages, errors, CDR receivers.

Each Call Bridge has a port of its own. What is told is in `api_paths`, what may go wrong with it in `api_faults`.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from hmac import compare_digest
from http import HTTPStatus
from typing import Final, NamedTuple
from uuid import uuid4

from aiohttp import encode_basic_auth, hdrs, web

from cdr_service.simulator.api_faults import Faults
from cdr_service.simulator.api_nodes import MOST_RECEIVERS, ApiNode, Deployment
from cdr_service.simulator.api_paths import look_up
from cdr_service.simulator.api_views import COLLECTIONS, Many, NotThere, One
from cdr_service.simulator.records import Value, element

USERNAME: Final = "api"
PASSWORD: Final = "example-password"  # noqa: S105 - of a server that exists for a test or a demonstration
PAGES: Final = {"users": 20, "callLegs": 20, "participants": 20, "MPLicenseUsage": 20}
"""The most entries that a list gives at a time, whatever is asked for; all others give ten."""
OTHER_PAGES: Final = 10
REMEMBERED: Final = 10_000
"""How many requests each server remembers."""

_RECEIVERS = "system/cdrReceivers"


class Asked(NamedTuple):
    """A request."""

    method: str
    path: str
    """Below `/api/v1/`."""
    query: Mapping[str, str] = {}
    authorization: str = ""
    form: Mapping[str, str] = {}


class Told(NamedTuple):
    """An answer."""

    status: int = HTTPStatus.OK
    body: str = ""
    headers: Mapping[str, str] = {}


class ApiServer:
    """Serves the REST API of one Call Bridge, between `start` and `stop`."""

    def __init__(
        self,
        node: ApiNode,
        *,
        username: str = USERNAME,
        password: str = PASSWORD,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.node = node
        self.faults = Faults(seed=node.number)
        self.requests: deque[str] = deque(maxlen=REMEMBERED)
        """Method and path of what was asked lately, refused or not."""
        self.most_at_once = 0
        """How many requests were under way at a time, at most."""
        self.url = ""
        self._credentials = encode_basic_auth(username, password)
        self._tls = tls
        self._host = host
        self._port = port
        self._under_way = 0
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen; after a stop, on the same port again."""
        app = web.Application()
        app.router.add_route("*", "/api/v1/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port, ssl_context=self._tls, reuse_address=True).start()
        self._port = self._runner.addresses[0][1]
        self.url = f"{'https' if self._tls else 'http'}://{self._host}:{self._port}"

    async def stop(self) -> None:
        """Stop listening: connections are refused from now on."""
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.Request) -> web.Response:
        form = await request.post() if request.method != hdrs.METH_GET else {}
        told = await self.answer(
            Asked(
                request.method,
                request.match_info["path"],
                request.query,
                request.headers.get(hdrs.AUTHORIZATION, ""),
                {name: str(value) for name, value in form.items()},
            )
        )
        if told is None:
            if request.transport:
                request.transport.abort()
            return web.Response()
        answer = web.Response(status=told.status, text=told.body, content_type="text/xml", headers=told.headers)
        answer.force_close()
        return answer

    async def answer(self, asked: Asked) -> Told | None:
        """Answer a request; None where the connection is cut instead."""
        query = "&".join(f"{name}={value}" for name, value in asked.query.items())
        self.requests.append(f"{asked.method} /{asked.path}{'?' if query else ''}{query}")
        self._under_way += 1
        self.most_at_once = max(self.most_at_once, self._under_way)
        try:
            await asyncio.sleep(self.faults.slow)
            return None if self.faults.broken else self._told(asked)
        finally:
            self._under_way -= 1

    def _told(self, asked: Asked) -> Told:
        if not compare_digest(asked.authorization.encode(errors="surrogateescape"), self._credentials.encode()):
            return Told(401, headers={hdrs.WWW_AUTHENTICATE: 'Basic realm="api"'})
        if self.faults.forbidden:
            return Told(403)
        if self.faults.is_busy():
            return Told(self.faults.busy_status)
        path = asked.path.rstrip("/")
        try:
            if asked.method == hdrs.METH_GET:
                return self._read(look_up(self.node, path, asked.query), asked.query)
            return self._write(asked, path)
        except NotThere as reason:
            return self._failure(400 if self.faults.gone_as_400 else 404, str(reason))

    def _read(self, found: One | Many, query: Mapping[str, str]) -> Told:
        if isinstance(found, One):
            return self._xml(found.name, self.faults.written(found.fields))
        entries = found.entries
        total = len(entries)
        if found.name != "cdrReceivers":
            offset, limit = _number(query.get("offset"), 0), _number(query.get("limit"), total)
            entries = entries[offset : offset + min(limit, PAGES.get(found.name, OTHER_PAGES))]
        if self.faults.bare_lists and found.name in COLLECTIONS:
            entries = [{"@id": entry["@id"]} for entry in entries]
        attributes = {**found.attributes, **({} if self.faults.no_total else {"@total": str(total)})}
        name, item = self.faults.list_names(found.name, found.item)
        return self._xml(name, {**attributes, item: [self.faults.written(entry) for entry in entries]})

    def _write(self, asked: Asked, path: str) -> Told:
        receivers = self.node.receivers
        given = asked.form.get(self.faults.receiver_field)
        if asked.method == hdrs.METH_POST and path == _RECEIVERS:
            if len(receivers) >= MOST_RECEIVERS:
                return self._failure(400, "tooManyCdrReceivers")
            receiver = str(uuid4())
            receivers[receiver] = given or None
            tail = "/" if self.faults.strange else ""
            return Told(headers={hdrs.LOCATION: f"/api/v1/{_RECEIVERS}/{receiver}{tail}"})
        folder, _, receiver = path.lower().rpartition("/")
        if folder != _RECEIVERS.lower():
            return self._failure(400, "invalidOperation")
        if receiver not in receivers:
            raise NotThere("cdrReceiverDoesNotExist")
        match asked.method:
            case hdrs.METH_PUT:
                if given is not None:
                    receivers[receiver] = given or None
            case hdrs.METH_DELETE:
                del receivers[receiver]
            case _:
                return self._failure(400, "invalidOperation")
        return Told()

    def _failure(self, status: int, code: str) -> Told:
        return Told(status) if self.faults.no_reason else self._xml("failureDetails", {code: None}, status)

    def _xml(self, name: str, content: Value, status: int = HTTPStatus.OK) -> Told:
        declaration = "" if self.faults.strange else '<?xml version="1.0"?>\n'
        return Told(status, f"{declaration}{element(name, content)}\n")


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else otherwise


@asynccontextmanager
async def serving(
    deployment: Deployment, *, tls: ssl.SSLContext | None = None, port: int = 0
) -> AsyncIterator[list[ApiServer]]:
    """Serve the REST API of all nodes of a deployment on loopback, with USERNAME and PASSWORD.

    They take the ports from `port` on, or free ones. Raises OSError where one is taken.
    """
    servers = [ApiServer(node, tls=tls, port=port and port + node.number) for node in deployment.nodes]
    try:
        for server in servers:
            await server.start()
        yield servers
    finally:
        for server in servers:
            await server.stop()
