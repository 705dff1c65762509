"""Who may come in, and what those are told who may not; what an API's problem looks like, and its health."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr
from structlog.testing import capture_logs

from cdr_service.errors import BadRequest, Draining, NotFound, StoreUnavailable
from cdr_service.settings import Bind
from cdr_service.web.api import alive, ready
from cdr_service.web.doors import Sources, api_door, is_one_of
from cdr_service.web.endpoints import routes
from cdr_service.web.health import Readiness
from cdr_service.web.intake import _RefusalLog
from cdr_service.web.problems import problems
from cdr_service.web.server import listen, open_socket
from cdr_service.web.use_cases import UseCases
from tests.integration.edge import LOOPBACK, Answer, ask, intake, request, wire

ON_BOTH_LOOPS = True
TOKEN = "t0ken"
OPEN = ("/", "/docs", "/healthz", "/readyz")


class TestTokens:
    """A token is one of those that were set, whole."""

    @pytest.mark.parametrize("given", [b"old", b"new"])
    def test_either_token_of_a_rotation_is_one(self, given: bytes) -> None:
        """Whichever place it has in the list."""
        assert is_one_of(given, (b"old", b"new"))

    @pytest.mark.parametrize("given", [b"", b"ol", b"oldnew", b"old,new", b"OLD", b"\xff"])
    def test_nothing_else_is(self, given: bytes) -> None:
        """No part, no sum, no other case."""
        assert not is_one_of(given, (b"old", b"new"))

    def test_without_tokens_nothing_is_one(self) -> None:
        """No empty list lets everybody in by itself."""
        assert not is_one_of(b"", ())


NETWORK = "192.0.2.0/24"
PROXY = "10.0.0.0/8"


class TestSources:
    """Which address a request counts as coming from."""

    @pytest.mark.parametrize(
        ("peer", "forwarded", "client"),
        [
            ("192.0.2.1", "", "192.0.2.1"),
            ("192.0.2.1", "203.0.113.9", "192.0.2.1"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", "192.0.2.7", "192.0.2.7"),
            ("10.0.0.1", "203.0.113.9, 192.0.2.7", "192.0.2.7"),
            ("10.0.0.1", "192.0.2.7, 203.0.113.9", "203.0.113.9"),
            ("10.0.0.1", "192.0.2.7,10.0.0.2 , 10.0.0.3", "192.0.2.7"),
            ("10.0.0.1", "rubbish, 192.0.2.7, 10.0.0.2", "192.0.2.7"),
            ("10.0.0.1", "192.0.2.7, rubbish, 10.0.0.2", "10.0.0.1"),
            ("10.0.0.1", "192.0.2.7, ", "10.0.0.1"),
            ("10.0.0.1", "10.0.0.9, 10.0.0.8", "10.0.0.9"),
            ("10.0.0.1", "192.0.2.7:51234", "192.0.2.7"),
            ("10.0.0.1", "[2001:db8::7]:51234", "2001:db8::7"),
            ("10.0.0.1", "2001:db8::7", "2001:db8::7"),
            ("::ffff:10.0.0.1", "::ffff:192.0.2.7", "192.0.2.7"),
            ("fe80::1%eth0", "", "fe80::1%eth0"),
            ("", "192.0.2.7", None),
        ],
    )
    def test_the_client_is_what_the_nearest_trusted_proxy_saw(
        self, peer: str, forwarded: str, client: str | None
    ) -> None:
        """The walk goes from the right over our own proxies; only a trusted peer's header counts."""
        found = Sources([ip_network(NETWORK)], [ip_network(PROXY)]).client(peer, forwarded)
        assert (str(found) if found else None) == client

    @pytest.mark.parametrize(
        ("allowed", "peer", "admitted"),
        [
            ((), "203.0.113.9", True),
            ((NETWORK,), "192.0.2.255", True),
            ((NETWORK,), "192.0.3.0", False),
            ((NETWORK,), "::ffff:192.0.2.9", True),
            (("::ffff:192.0.2.0/120",), "192.0.2.9", True),
            (("::ffff:192.0.2.0/120",), "192.0.3.9", False),
            ((NETWORK, "2001:db8::/32"), "2001:db8::1", True),
            (("::/0",), "192.0.2.9", False),
            (("0.0.0.0/0",), "2001:db8::1", False),
            ((NETWORK,), "", False),
        ],
    )
    async def test_an_address_is_let_in_by_its_network(self, allowed: Iterable[str], peer: str, admitted: bool) -> None:
        """IPv4 stays IPv4 however a socket shows it, and an address that is not known is nobody's."""
        sources = Sources(map(ip_network, allowed), ())
        assert sources.admit(FromPeer(peer)) is admitted


class FromPeer:
    """What of a request tells its source."""

    headers = web.Response().headers

    def __init__(self, remote: str) -> None:
        self.remote = remote


class TestIntakeDoor:
    """The doors of the intake over real sockets."""

    @pytest.mark.parametrize(
        ("proxies", "forwarded", "status"),
        [
            ("127.0.0.1", ("192.0.2.7",), 200),
            ("127.0.0.1", ("198.51.100.1, 192.0.2.7",), 200),
            ("127.0.0.1", ("192.0.2.7, 198.51.100.1",), 403),
            ("127.0.0.1", ("198.51.100.1", "192.0.2.7"), 200),
            ("127.0.0.1", ("192.0.2.7", "198.51.100.1"), 403),
            ("127.0.0.1", ("192.0.2.7, rubbish",), 403),
            ("127.0.0.1", (), 403),
            ("192.0.2.1", ("192.0.2.7",), 403),
        ],
    )
    async def test_forwarded_addresses(self, proxies: str, forwarded: tuple[str, ...], status: int) -> None:
        """Only what a trusted proxy says counts, also over several headers."""
        door = {"intake_allow": NETWORK, "trusted_proxies": proxies}
        raw = request().replace(
            b"\r\n\r\n", b"".join(b"\r\nX-Forwarded-For: " + f.encode() for f in forwarded) + b"\r\n\r\n", 1
        )
        async with intake(deployments={"default": door}) as edge, wire(edge.url) as line:
            await line.send(raw)
            assert (await line.answer()).status == status
            assert len(edge.twin.documents) == (status == 200)

    async def test_an_ipv4_sender_at_a_socket_for_both_families(self) -> None:
        """`[::]` takes IPv4 senders, and an IPv4 network of the allow-list fits them."""
        async with intake(bind=Bind("::", 0), deployments={"default": {"intake_allow": "127.0.0.0/8"}}) as edge:
            url = edge.url.replace("[::]", "127.0.0.1")
            assert (await ask(url)).status == 200
            assert (await ask(url.replace("127.0.0.1", "::1"))).status == 403

    async def test_a_refusal_is_logged_once(self) -> None:
        """The administrator reads of a bridge that is turned away, once and not at each attempt, and reads no token."""
        async with intake(deployments={"default": {"intake_token": TOKEN}}) as edge:
            with capture_logs() as lines:
                for _ in range(3):
                    assert (await ask(edge.url, "/cdr?token=wr0ng")).status == 401
            (line,) = lines
            assert (line["event"], line["source"], line["status"]) == ("intake.refused", "127.0.0.1", 401)
            assert "wr0ng" not in str(line)

    async def test_what_is_kept_of_refusals_is_bounded(self) -> None:
        """Senders that each invent an address cannot fill our memory."""
        refusals = _RefusalLog()
        with capture_logs():
            for number in range(5000):
                refusals.note(401, f"192.0.2.{number}")
        assert len(refusals._next) <= 1000


class Well:
    """A service in whatever health."""

    def __init__(self) -> None:
        self.readiness = Readiness(ok=True, draining=False, store=True)

    async def ready(self) -> Readiness:
        """Say it."""
        return self.readiness


class Handlers:
    """Handlers that go wrong."""

    def __init__(self) -> None:
        self.problem: Exception = NotFound()

    async def fail(self, _request: web.Request) -> web.Response:
        """Raise."""
        raise self.problem

    async def fail_late(self, request: web.Request) -> web.StreamResponse:
        """Raise in the middle of an answer."""
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        raise self.problem

    async def data(self, request: web.Request) -> web.Response:
        """Answer."""
        return web.json_response({"path": request.path})


class Api:
    """An API with doors, that listens."""

    def __init__(self, url: str, handlers: Handlers, well: Well) -> None:
        self.url = url
        self.handlers = handlers
        self.well = well

    async def ask(self, path: str = "/v1/data", **headers: str) -> Answer:
        """GET a path; underscores in the names of headers stand for hyphens."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return await ask(self.url, path, b"", method="GET", headers={"Host": "localhost", **fields})


@asynccontextmanager
async def api(token: str | None = None, bind: Bind = LOOPBACK) -> AsyncIterator[Api]:
    """Run an API on a free port of loopback as if it were bound to `bind`."""
    handlers, well = Handlers(), Well()
    app = web.Application(middlewares=[problems, api_door(SecretStr(token) if token else None, bind, OPEN)])
    app.add_routes([web.get("/v1/data", handlers.data), web.get("/", handlers.data), web.get("/docs", handlers.data)])
    app.add_routes([web.get("/v1/fail", handlers.fail), web.get("/v1/late", handlers.fail_late)])
    app.add_routes(routes([alive, ready], UseCases(None, None, None, None, None, None, well, None, None, None)))
    async with listen(app, open_socket(LOOPBACK, "CDR_API_BIND")) as listener:
        yield Api(listener.url, handlers, well)


def told(answer: Answer) -> Any:
    """Read a problem, and check its form."""
    assert answer.headers["content-type"] == "application/problem+json"
    told = json.loads(answer.body)
    assert told["status"] == answer.status
    assert told["title"]
    assert told["detail"].endswith(".")
    return told


class TestApiDoor:
    """The door of the query API."""

    @pytest.mark.parametrize("given", ["Bearer t0ken", "bearer t0ken", "Bearer  t0ken"])
    async def test_the_token_opens(self, given: str) -> None:
        """The scheme's name is written as one likes."""
        async with api(TOKEN) as door:
            assert (await door.ask(Authorization=given)).status == 200

    @pytest.mark.parametrize(
        "given", ["", "Bearer", "Bearer t0ke", "Bearer t0kent0ken", "Basic t0ken", "t0ken", "Bearer é"]
    )
    @pytest.mark.parametrize("path", ["/v1/data", "/v1/nothing", "/metrics", "/docs/", "//"])
    async def test_nothing_else_does(self, given: str, path: str) -> None:
        """Without the token no path tells whether it exists; the answer says how to bring it."""
        async with api(TOKEN) as door:
            answer = await door.ask(path, Authorization=given)
            assert answer.status == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            told(answer)

    @pytest.mark.parametrize("path", ["/", "/docs", "/healthz", "/readyz"])
    async def test_health_and_shells_need_no_token(self, path: str) -> None:
        """What holds no data is open, whatever the Host."""
        async with api(TOKEN) as door:
            assert (await door.ask(path, Host="cdr.example.com")).status == 200

    @pytest.mark.parametrize(
        "host",
        ["localhost", "LOCALHOST:1", "127.0.0.1:8081", "[::1]", "[::1]:8081", "127.0.0.9", "127.0.0.9:80"],
    )
    async def test_without_a_token_our_own_names_open(self, host: str) -> None:
        """The names of this machine and the bound address, with any port."""
        async with api(bind=Bind("127.0.0.9", 8081)) as door:
            assert (await door.ask(Host=host)).status == 200

    @pytest.mark.parametrize(
        "host", ["rebound.example.com", "rebound.example.com:8081", "localhost.example.com", "::1", ":"]
    )
    @pytest.mark.parametrize("path", ["/v1/data", "/", "/readyz"])
    async def test_without_a_token_another_name_is_misdirected(self, host: str, path: str) -> None:
        """A web page whose own name points here reads nothing."""
        async with api() as door:
            answer = await door.ask(path, Host=host)
            assert answer.status == 421
            told(answer)

    async def test_without_a_token_an_old_client_without_a_host_is_served(self) -> None:
        """HTTP/1.0 health checks send no Host; browsers always do."""
        async with api() as door, wire(door.url) as line:
            await line.send(b"GET /readyz HTTP/1.0\r\n\r\n")
            assert (await line.answer()).status == 200


class TestProblems:
    """What a handler raises becomes a problem that a program can read."""

    @pytest.mark.parametrize(
        ("problem", "status", "sentence"),
        [
            (BadRequest("limit", "The limit must be from 1 to 500."), 400, "The limit must be from 1 to 500."),
            (NotFound("There is no call of this id."), 404, "There is no call of this id."),
            (NotFound(), 404, ""),
            (web.HTTPUnsupportedMediaType(), 415, ""),
            (web.HTTPConflict(text="Somebody was faster."), 409, "Somebody was faster."),
        ],
    )
    async def test_an_error_of_the_caller(self, problem: Exception, status: int, sentence: str) -> None:
        """Its status, and a sentence that says what is wrong."""
        async with api() as door:
            door.handlers.problem = problem
            with capture_logs() as lines:
                answer = await door.ask("/v1/fail")
            assert answer.status == status
            assert sentence in told(answer)["detail"]
            assert lines == []

    async def test_a_bad_parameter_is_named(self) -> None:
        """The member `parameter` holds its name."""
        async with api() as door:
            door.handlers.problem = BadRequest("since", "It must be a time.")
            assert told(await door.ask("/v1/fail"))["parameter"] == "since"

    @pytest.mark.parametrize("problem", [StoreUnavailable("redis://secret@store gone"), Draining("")])
    async def test_the_store_is_away(self, problem: Exception) -> None:
        """503 that says when to come again, and nothing of the store."""
        async with api() as door:
            door.handlers.problem = problem
            answer = await door.ask("/v1/fail")
            assert answer.status == 503
            assert int(answer.headers["retry-after"]) > 0
            assert "secret" not in told(answer)["detail"]

    async def test_a_fault_of_ours_reveals_nothing(self) -> None:
        """500 without details, and one line in the log with all of them."""
        async with api() as door:
            door.handlers.problem = KeyError("secret")
            with capture_logs() as lines:
                answer = await door.ask("/v1/fail?token=x")
            assert answer.status == 500
            assert b"secret" not in answer.body
            told(answer)
            (line,) = lines
            assert (line["event"], line["path"], bool(line["exc_info"])) == ("request.failed", "/v1/fail", True)

    async def test_a_redirect_is_no_problem(self) -> None:
        """What aiohttp raises below 400 passes."""
        async with api() as door:
            door.handlers.problem = web.HTTPFound("/docs")
            answer = await door.ask("/v1/fail")
            assert (answer.status, answer.headers["location"]) == (302, "/docs")

    async def test_half_an_answer_is_not_taken_for_a_whole_one(self) -> None:
        """What fails after it began to answer cuts the connection, so that the reader sees that it is not all."""
        async with api() as door, wire(door.url) as line:
            door.handlers.problem = RuntimeError("late")
            with capture_logs() as lines:
                await line.send(request("/v1/late", b"", method="GET", headers={"Host": "localhost"}))
                came = await line.rest()
            assert not came.endswith(b"0\r\n\r\n")
            assert b"500" not in came
            assert [line["event"] for line in lines] == ["request.failed"]
            assert (await door.ask()).status == 200

    async def test_a_reader_that_leaves_is_no_fault(self, caplog: pytest.LogCaptureFixture) -> None:
        """Nothing is logged when the reader is gone before the answer."""
        async with api() as door:
            door.handlers.problem = ConnectionResetError("gone")
            with capture_logs() as lines:
                async with wire(door.url) as line:
                    await line.send(request("/v1/fail", b"", method="GET", headers={"Host": "localhost"}))
                    assert await line.rest() == b""
            assert lines == []
            assert caplog.records == []

    async def test_unknown_paths_and_methods(self) -> None:
        """404 and 405 are problems too, and 405 keeps `Allow`."""
        async with api() as door:
            assert told(await door.ask("/v1/nothing"))["status"] == 404
            answer = await ask(door.url, "/v1/data", b"", method="PUT", headers={"Host": "localhost"})
            assert told(answer)["status"] == 405
            assert answer.headers["allow"] == "GET,HEAD"

    async def test_the_api_does_not_say_what_it_is_made_of(self) -> None:
        """Neither an answer nor a problem names aiohttp."""
        async with api() as door:
            for path in ("/v1/data", "/v1/nothing"):
                assert (await door.ask(path)).headers["server"] == "cdr-service"


class TestHealth:
    """Alive whenever the process can answer; ready only where it can work."""

    @pytest.mark.parametrize(
        ("readiness", "status"),
        [
            (Readiness(ok=True, draining=False, store=True, unsafe=("It may evict.",)), 200),
            (Readiness(ok=False, draining=True, store=True), 503),
            (Readiness(ok=False, draining=False, store=False), 503),
        ],
    )
    async def test_both(self, readiness: Readiness, status: int) -> None:
        """`/readyz` tells all that is known; `/healthz` stays 200."""
        async with api() as door:
            door.well.readiness = readiness
            answer = await door.ask("/readyz")
            assert answer.status == status
            assert json.loads(answer.body) == {
                "ok": readiness.ok,
                "draining": readiness.draining,
                "store": readiness.store,
                "unsafe": list(readiness.unsafe),
                "memory": readiness.memory,
            }
            assert (await door.ask("/healthz")).status == 200

    async def test_alive_does_not_ask_the_store(self) -> None:
        """A store that hangs does not make the process look dead."""
        async with api() as door:

            async def hang() -> Readiness:
                await asyncio.Event().wait()
                raise AssertionError

            door.well.ready = hang
            assert (await door.ask("/healthz")).status == 200
