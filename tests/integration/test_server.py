"""A port: where it listens, what a connection may cost, TLS with a certificate that is renewed, and an orderly end."""

import asyncio
import errno
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from structlog.testing import capture_logs

from cdr_service.errors import Draining
from cdr_service.settings import Bind, DeploymentSettings
from cdr_service.web.intake import intake_server
from cdr_service.web.server import ListenError, _why, listen, open_socket
from cdr_service.web.tls import TlsFiles
from tests.integration.edge import DOCUMENT, LOOPBACK, Twin, Wire, ask, intake, request, wire

ON_BOTH_LOOPS = True


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for something to become true."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    pytest.fail(f"never: {what}")


class TestAddresses:
    """Where a port listens, and the sentence where it cannot."""

    @pytest.mark.parametrize(
        ("host", "start"),
        [
            ("127.0.0.1", "http://127.0.0.1:"),
            ("localhost", "http://127.0.0.1:"),
            ("::1", "http://[::1]:"),
            ("::", "http://[::]:"),
            ("0.0.0.0", "http://0.0.0.0:"),
        ],
    )
    async def test_a_free_port_is_told_by_the_url(self, host: str, start: str) -> None:
        """Port 0 takes a free port, and the URL holds it."""
        async with intake(bind=Bind(host, 0)) as edge:
            assert edge.url.startswith(start)
            assert int(edge.url.removeprefix(start)) > 0
            assert (await ask(edge.url)).status == 200

    def test_an_address_in_use(self) -> None:
        """The sentence names the setting and the address, and says what to do."""
        with open_socket(LOOPBACK, "CDR_INTAKE_BIND") as first:
            port = first.getsockname()[1]
            with pytest.raises(ListenError) as error:
                open_socket(Bind("127.0.0.1", port), "CDR_API_BIND")
        assert str(error.value) == (
            f"CDR_API_BIND is 127.0.0.1:{port}, where another program listens already: "
            "stop that program or set another port."
        )

    @pytest.mark.parametrize(
        ("bind", "sentence"),
        [
            (Bind("192.0.2.1", 8080), "but 192.0.2.1 is no address of this machine"),
            (Bind("a" * 64, 8080), "cannot be found: set an IP address of this machine."),
        ],
    )
    def test_an_address_that_is_not_ours(self, bind: Bind, sentence: str) -> None:
        """One sentence that says what to change."""
        with pytest.raises(ListenError) as error:
            open_socket(bind, "CDR_INTAKE_BIND")
        assert str(error.value).startswith(f"CDR_INTAKE_BIND is {bind}, ")
        assert sentence in str(error.value)

    def test_a_privileged_port(self) -> None:
        """The sentence for a port that needs root says which ports do not. As root it could not be provoked."""
        assert "may not take: set one from 1024 up" in _why(PermissionError(errno.EACCES, "no"), Bind("127.0.0.1", 80))

    async def test_a_port_is_free_again_at_once(self) -> None:
        """What listened can listen again on the same port as soon as it has ended, though connections were open."""
        async with intake() as edge, wire(edge.url) as line:
            await line.send(request())
            assert (await line.answer()).status == 200
        port = int(edge.url.rpartition(":")[2])
        async with intake(bind=Bind("127.0.0.1", port)) as again:
            assert (await ask(again.url)).status == 200

    async def test_processes_can_share_a_port(self) -> None:
        """A socket that is opened once can be served by several; when one ends, the others go on."""
        with open_socket(LOOPBACK, "CDR_INTAKE_BIND") as opened:
            twin = Twin()
            settings = {"default": DeploymentSettings()}
            async with listen(intake_server({"default": twin}, settings), opened.dup()) as staying:
                async with listen(intake_server({"default": twin}, settings), opened.dup()):
                    for _ in range(4):
                        assert (await ask(staying.url)).status == 200
                assert (await ask(staying.url)).status == 200
            assert len(twin.documents) == 5


class TestBounds:
    """What a connection may cost."""

    async def test_connections_are_limited(self) -> None:
        """Who comes when there are too many is told to come again, and is let in when there is room."""
        async with intake(connections_max=2) as edge, AsyncExitStack() as stack:
            lines = [await stack.enter_async_context(wire(edge.url)) for _ in range(2)]
            for line in lines:
                await line.send(request())
                assert (await line.answer()).status == 200
            for _ in range(3):
                answer = await ask(edge.url)
                assert (answer.status, answer.headers["connection"]) == (503, "close")
                assert int(answer.headers["retry-after"]) > 0
            assert edge.twin.bodies == [DOCUMENT] * 2
            await lines[0].send(request())
            assert (await lines[0].answer()).status == 200
            lines[1].writer.transport.abort()
            await asyncio.sleep(0.05)
            assert (await ask(edge.url)).status == 200

    async def test_a_burst_of_connections_is_limited(self) -> None:
        """Connections that come at the same moment are counted one by one."""
        async with intake(connections_max=5) as edge, AsyncExitStack() as stack:
            edge.twin.gate = asyncio.Event()
            lines = [await stack.enter_async_context(wire(edge.url)) for _ in range(20)]
            for line in lines:
                await line.send(request())
            answers = [asyncio.create_task(line.answer()) for line in lines]
            await until(lambda: sum(answer.done() for answer in answers) == 15, "15 are refused")
            edge.twin.gate.set()
            assert sorted([(await answer).status for answer in answers]) == [200] * 5 + [503] * 15

    @pytest.mark.parametrize("sent", [b"", b"POST /cdr HTTP/1.1\r\nHost: a\r\nX-Slow: "])
    async def test_a_connection_without_a_request_is_closed(self, sent: bytes) -> None:
        """Whoever sends nothing, or a header a byte at a time without end, is let go."""
        async with intake(idle_seconds=0.1) as edge, wire(edge.url) as line:
            await line.send(sent)
            closed = asyncio.create_task(line.rest())
            while sent and not closed.done():
                try:
                    await line.send(b"x")
                except OSError:
                    break
                await asyncio.sleep(0.01)
            assert await closed == b""
            assert edge.twin.documents == []

    @pytest.mark.parametrize(
        ("raw", "status"),
        [
            (request("/cdr?" + "x" * 9000), 431),
            (request(headers={"X-Long": "x" * 9000}), 431),
            (request(headers={f"X-{number}": "x" for number in range(100)}), 400),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100, 400),
            (b"EHLO mail.example.com\r\n\r\n", 400),
            (b"POST /cdr HTTP/1.1\r\n\r\n", 400),
            (b"POST /cdr HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
            (b"POST /cdr HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ],
    )
    async def test_what_is_no_request_is_refused_without_a_log_line(
        self, raw: bytes, status: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Long, many or broken headers end the connection with a problem and not a line in the log."""
        async with intake() as edge:
            with capture_logs() as lines:
                async with wire(edge.url) as line:
                    await line.send(raw)
                    answer = await line.answer()
                    assert json.loads(answer.body)["status"] == answer.status == status
                    assert await line.rest() == b""
            assert (lines, caplog.records) == ([], [])
            assert edge.twin.documents == []
            assert (await ask(edge.url)).status == 200

    async def test_packets_are_not_held_back(self) -> None:
        """TCP_NODELAY is set on what the port accepts: an answer does not wait for the sender's acknowledgement."""
        async with intake() as edge, wire(edge.url) as line:
            await line.send(request())
            await line.answer()
            # The accepted side of our own connection, found among this process's sockets by its peer.
            mine = line.writer.get_extra_info("sockname")
            found = []
            for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
                try:
                    with socket.socket(fileno=os.dup(int(name))) as one:
                        if one.getpeername() == mine:
                            found.append(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
                except OSError:
                    continue
            assert found == [1]


class TestEnd:
    """Leaving: nothing new, what is in flight finishes, and no one waits for those who do not come to an end."""

    @asynccontextmanager
    async def _working(
        self, grace_seconds: float = 10.0
    ) -> AsyncIterator[tuple[Twin, Wire, Wire, "asyncio.Task[None]"]]:
        """Run an intake with a request in flight and an idle connection; give a task that ends it when awaited."""
        opened = open_socket(LOOPBACK, "CDR_INTAKE_BIND")
        twin, leave = Twin(gate=asyncio.Event()), asyncio.Event()
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def serve() -> None:
            server = intake_server({"default": twin}, {"default": DeploymentSettings()})
            async with listen(server, opened, decompress=False, grace_seconds=grace_seconds) as listener:
                ready.set_result(listener.url)
                await leave.wait()

        serving = asyncio.create_task(serve())
        url = await ready
        async with wire(url) as busy, wire(url) as idle:
            await busy.send(request())
            await twin.entered.wait()
            leave.set()
            await until(lambda: opened.fileno() < 0 or not _accepts(url), "the port takes no more connections")
            yield twin, busy, idle, serving
            await serving

    async def test_what_is_in_flight_finishes(self) -> None:
        """A document that is being committed gets its 200; an idle connection is closed meanwhile."""
        async with self._working() as (twin, busy, idle, serving):
            assert await idle.rest() == b"" or serving.done()
            assert not serving.done()
            twin.gate.set()
            assert (await busy.answer()).status == 200
            assert await busy.rest() == b""
            await serving
            assert twin.bodies == [DOCUMENT]

    async def test_a_drained_intake_says_so(self) -> None:
        """A document that is refused because the service stops gets its 503, and the connection is closed."""
        async with self._working() as (twin, busy, _, serving):
            twin.problem = Draining("leaving")
            twin.gate.set()
            assert (await busy.answer()).status == 503
            await serving
            assert twin.documents == []

    async def test_what_never_ends_is_cut_off(self) -> None:
        """A commit that hangs does not keep the service from stopping; its sender gets no 200."""
        async with self._working(grace_seconds=0.1) as (twin, busy, _, serving):
            await serving
            assert not (await busy.rest()).startswith(b"HTTP/1.1 200")
            assert twin.documents == []

    async def test_half_a_body_is_not_waited_for(self) -> None:
        """A sender in the middle of a body is told to come again, and the service stops without waiting for it."""
        async with AsyncExitStack() as stack:
            edge = await stack.enter_async_context(intake())
            line = Wire(*await asyncio.open_connection("127.0.0.1", int(edge.url.rpartition(":")[2])))
            await line.send(request()[:-1])
            await asyncio.sleep(0.02)
            leaving = asyncio.create_task(stack.pop_all().aclose())
            assert (await line.answer()).status == 503
            line.writer.transport.abort()
            await leaving
            assert edge.twin.documents == []


def _accepts(url: str) -> bool:
    try:
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.fixture
def authority() -> trustme.CA:
    """Make an authority that everybody here trusts."""
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> TlsFiles:
    """Write a certificate for 127.0.0.1 and its key."""
    found = TlsFiles(tmp_path / "cert.pem", tmp_path / "key.pem")
    write(found, authority.issue_cert("127.0.0.1"))
    return found


def write(files: TlsFiles, made: trustme.LeafCert) -> None:
    """Put a certificate and its key into files."""
    files.certificate.write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
    files.key.write_bytes(made.private_key_pem.bytes())


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """Make a client's context."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def shown(url: str, authority: trustme.CA) -> bytes:
    """Say which certificate a port shows."""
    async with wire(url, trusting(authority)) as line:
        return line.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)


class TestTls:
    """TLS 1.2 or newer; a renewed certificate is used without a restart."""

    async def test_a_push_over_tls(self, files: TlsFiles, authority: trustme.CA) -> None:
        """The URL says https, and a client that checks the certificate is content."""
        async with intake(tls=files) as edge, wire(edge.url, trusting(authority)) as line:
            assert edge.url.startswith("https://127.0.0.1:")
            for _ in range(2):
                await line.send(request())
                assert (await line.answer()).status == 200
            large = DOCUMENT.ljust(2**20)
            await line.send(request(body=large))
            assert (await line.answer()).status == 200
            assert edge.twin.bodies == [DOCUMENT, DOCUMENT, large]

    @pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
    @pytest.mark.parametrize(
        ("version", "good"),
        [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)],
    )
    async def test_versions(self, files: TlsFiles, authority: trustme.CA, version: ssl.TLSVersion, good: bool) -> None:
        """1.1 is refused, 1.2 and 1.3 are not."""
        context = trusting(authority)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = version
        async with intake(tls=files) as edge:
            try:
                async with wire(edge.url, context) as line:
                    await line.send(request())
                    assert (await line.answer()).status == 200
            except (ssl.SSLError, ConnectionError):
                assert not good
            else:
                assert good

    async def test_what_speaks_no_tls_gets_nothing(
        self, files: TlsFiles, authority: trustme.CA, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Plain HTTP on a TLS port ends the connection, without a line in the log, and the port works on."""
        async with intake(tls=files) as edge:
            async with wire(edge.url) as line:
                await line.send(request())
                assert b"HTTP" not in await line.rest()
            assert caplog.records == []
            async with wire(edge.url, trusting(authority)) as line:
                await line.send(request())
                assert (await line.answer()).status == 200

    async def test_too_many_over_tls(self, files: TlsFiles, authority: trustme.CA) -> None:
        """The limit of connections is told over TLS as well."""
        context = trusting(authority)
        async with intake(tls=files, connections_max=1) as edge, wire(edge.url, context) as line:
            await line.send(request())
            assert (await line.answer()).status == 200
            async with wire(edge.url, context) as second:
                assert (await second.answer()).status == 503

    async def test_a_renewed_certificate_is_used(self, files: TlsFiles, authority: trustme.CA) -> None:
        """New files are used for new connections, and open ones go on."""
        async with intake(tls=files, seconds_between_looks=0.01) as edge, wire(edge.url, trusting(authority)) as line:
            old = await shown(edge.url, authority)
            write(files, authority.issue_cert("127.0.0.1"))
            for _ in range(500):
                if await shown(edge.url, authority) != old:
                    break
                await asyncio.sleep(0.01)
            else:
                pytest.fail("the new certificate was never shown")
            await line.send(request())
            assert (await line.answer()).status == 200

    @pytest.mark.parametrize("broken", ["other key", "other certificate", "no certificate", "gone", "half"])
    async def test_a_broken_renewal_leaves_the_old(self, files: TlsFiles, authority: trustme.CA, broken: str) -> None:
        """A pair that cannot be used is logged once and changes nothing; the next good one is used."""
        async with intake(tls=files, seconds_between_looks=0.01) as edge:
            old = await shown(edge.url, authority)
            with capture_logs() as lines:
                match broken:
                    case "other key":
                        files.key.write_bytes(authority.issue_cert("127.0.0.1").private_key_pem.bytes())
                    case "other certificate":
                        files.certificate.write_bytes(authority.issue_cert("127.0.0.1").cert_chain_pems[0].bytes())
                    case "no certificate":
                        files.certificate.write_text("soon")
                    case "gone":
                        files.key.unlink()
                    case "half":
                        files.certificate.write_bytes(files.certificate.read_bytes()[:200])
                if broken != "gone":
                    await until(lambda: lines, "the broken pair is logged")
                await asyncio.sleep(0.05)
                assert await shown(edge.url, authority) == old
                assert [line["event"] for line in lines] == ([] if broken == "gone" else ["tls.rejected"])
                write(files, authority.issue_cert("127.0.0.1"))
                await until(lambda: any(line["event"] == "tls.renewed" for line in lines), "the good pair is used")
            assert await shown(edge.url, authority) != old

    @pytest.mark.parametrize("broken", ["other key", "no certificate", "gone", "password"])
    async def test_files_that_cannot_be_used_at_the_start(
        self, files: TlsFiles, authority: trustme.CA, broken: str
    ) -> None:
        """One sentence that names the files; a key with a password is no reason to ask on the terminal."""
        match broken:
            case "other key":
                files.key.write_bytes(authority.issue_cert("127.0.0.1").private_key_pem.bytes())
            case "no certificate":
                files.certificate.write_text("soon")
            case "gone":
                files.key.unlink()
            case "password":
                key = load_pem_private_key(files.key.read_bytes(), None)
                locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"s3cret"))
                files.key.write_bytes(locked)
        with pytest.raises(ListenError) as error:
            async with intake(tls=files):
                pytest.fail("it listens")
        sentence = str(error.value)
        assert str(files.certificate) in sentence
        assert str(files.key) in sentence
        assert sentence.endswith(".")
        assert ("password" in sentence) is (broken == "password")
