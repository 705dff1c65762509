"""The intake answers by the contract's table, in its order of checks, over real sockets."""

import asyncio
import gzip
import tracemalloc
import zlib
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdr_service.domain import commit
from cdr_service.errors import Draining, StoreUnavailable
from cdr_service.web.decoding import BodyTooLarge, UndecodableBody, decode
from cdr_service.web.intake import INLINE_BYTES
from tests.integration.edge import DOCUMENT, Edge, Wire, ask, intake, request, wire

ON_BOTH_LOOPS = True
GZIP = {"Content-Encoding": "gzip"}
CHUNKED = {"Content-Length": "", "Transfer-Encoding": "chunked"}
LARGE = DOCUMENT + b" " * INLINE_BYTES


def chunked(*pieces: bytes) -> bytes:
    """Write a body in chunks, with the last one that ends it."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


async def still_works(edge: Edge) -> None:
    """Check that the intake takes a good document after whatever happened to it."""
    before = len(edge.twin.documents)
    answer = await ask(edge.url)
    assert answer.status == 200
    assert len(edge.twin.documents) == before + 1


@pytest.mark.parametrize(
    ("path", "deployment"),
    [("/cdr", "default"), ("/cdr/default", "default"), ("/cdr/lab", "lab"), ("/cdr/%6cab", "lab")],
)
async def test_a_push_reaches_its_deployment(path: str, deployment: str) -> None:
    """Each path gives the document, byte for byte, to the deployment that it names, and to no other."""
    async with intake(deployments={"lab": {}}) as edge:
        answer = await ask(edge.url, f"{path}?bridge=core-1&verbose=1")
        assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")
        taken = {name: twin.bodies for name, twin in edge.twins.items()}
        assert taken == {"default": [], "lab": [], deployment: [DOCUMENT]}
        (document,) = edge.twins[deployment].documents
        assert document.bridge == "core-1"
        assert document.batch is not None
        assert len(document.batch.records) == 1


async def test_the_200_comes_after_the_commit() -> None:
    """Nothing is answered while the document is not yet committed."""
    async with intake() as edge, wire(edge.url) as line:
        edge.twin.gate = asyncio.Event()
        await line.send(request())
        await edge.twin.entered.wait()
        answer = asyncio.create_task(line.answer())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not answer.done()
        edge.twin.gate.set()
        assert (await answer).status == 200


@pytest.mark.parametrize(
    ("query", "bridge"),
    [
        ("bridge=east+1%2F2", "east 1/2"),
        ("bridge=%C3%A9", "é"),
        ("bridge=%1b%5B2J", "\\x1b[2J"),
        ("bridge=%ff", "\ufffd"),
        ("bridge=a&bridge=b", "a"),
        ("bridge=" + "x" * 500, "x" * 127 + "…"),
        ("bridge", ""),
        ("&&=&=x", ""),
    ],
)
async def test_the_bridge_parameter_is_bounded_and_harmless(query: str, bridge: str) -> None:
    """`bridge` is text of at most 128 characters that can do nothing in a terminal."""
    async with intake() as edge:
        assert (await ask(edge.url, f"/cdr?{query}")).status == 200
        assert edge.twin.documents[0].bridge == bridge


async def test_raw_bytes_in_the_request_line_become_text() -> None:
    """Bytes that are no UTF-8 in the query reach nobody as something that cannot be stored."""
    async with intake() as edge, wire(edge.url) as line:
        await line.send(request("/cdr?bridge=QQ").replace(b"QQ", b"\xff\xfe"))
        answer = await line.answer()
        assert answer.status in (200, 400)
        for document in edge.twin.documents:
            document.bridge.encode()


@pytest.mark.parametrize(
    "body",
    [b"", b"   ", b"not XML", b"<calls/>", b"<!DOCTYPE records [<!ENTITY a 'b'>]><records session='1'>&a;</records>"],
)
async def test_what_is_no_cdr_document_is_taken_with_its_reason(body: bytes) -> None:
    """A body that is no CDR document is answered 200 and handed on with the reason, or it would come for ever."""
    async with intake() as edge:
        assert (await ask(edge.url, body=body)).status == 200
        (document,) = edge.twin.documents
        assert (document.body, document.batch) == (body, None)
        assert document.problem


async def test_a_request_without_any_length_has_an_empty_body() -> None:
    """Neither Content-Length nor chunks means no body, and no waiting for one."""
    async with intake() as edge:
        assert (await ask(edge.url, body=b"", headers={"Content-Length": ""})).status == 200
        assert edge.twin.bodies == [b""]


@pytest.mark.parametrize("content_type", ["text/xml", "application/json", "multipart/form-data", "x", "a/b; charset=q"])
async def test_any_content_type_will_do(content_type: str) -> None:
    """What a sender says of the type does not matter."""
    async with intake() as edge:
        assert (await ask(edge.url, headers={"Content-Type": content_type})).status == 200
        assert edge.twin.bodies == [DOCUMENT]


class TestOrderOfChecks:
    """403, then 401, then 404, then 405, then 413."""

    @pytest.mark.parametrize("target", ["/cdr", "/", "/v1/calls", "/cdr/nowhere", "/cdr?token=t0ken"])
    @pytest.mark.parametrize("method", ["POST", "GET", "PUT"])
    async def test_the_source_comes_first(self, target: str, method: str) -> None:
        """A source that is not allowed gets the same 403 for every path and method, with the right token or without."""
        door = {"intake_allow": "192.0.2.0/24", "intake_token": "t0ken"}
        async with intake(deployments={"default": door}) as edge:
            answer = await ask(edge.url, target, method=method)
            assert (answer.status, answer.body) == (403, b"Forbidden.\n")
            assert edge.twin.documents == []

    @pytest.mark.parametrize(
        "target", ["/cdr", "/", "/cdr/nowhere", "/cdr?token=", "/cdr?token=t0ke", "/?token=t0ken2"]
    )
    @pytest.mark.parametrize("method", ["POST", "GET", "OPTIONS"])
    async def test_then_the_token(self, target: str, method: str) -> None:
        """A wrong or missing token gets the same 401 for every path and method."""
        async with intake(deployments={"default": {"intake_token": "t0ken"}}) as edge:
            answer = await ask(edge.url, target, method=method)
            assert (answer.status, answer.body) == (401, b"Unauthorized.\n")
            assert edge.twin.documents == []

    @pytest.mark.parametrize(
        "target", ["/", "/cdr/", "/CDR", "//cdr", "/cdr/nowhere", "/cdr/default/x", "/cdr%2Fdefault2"]
    )
    async def test_then_the_path(self, target: str) -> None:
        """Any other path is 404, whatever the method and however large the body."""
        async with intake(deployments={"default": {"intake_token": "t0ken", "intake_max_bytes": 10}}) as edge:
            for method in ("POST", "GET"):
                assert (await ask(edge.url, f"{target}?token=t0ken", method=method)).status == 404
            assert edge.twin.documents == []

    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
    async def test_then_the_method(self, method: str) -> None:
        """Any other method is 405 and says that POST is allowed."""
        async with intake(deployments={"default": {"intake_max_bytes": 10}}) as edge:
            answer = await ask(edge.url, method=method)
            assert (answer.status, answer.headers["allow"]) == (405, "POST")
            assert edge.twin.documents == []

    async def test_each_deployment_has_its_own_door(self) -> None:
        """The token of one deployment does not open another; a path that leads nowhere has the door of `default`."""
        deployments = {"default": {"intake_token": "first"}, "lab": {"intake_token": "second"}}
        async with intake(deployments=deployments) as edge:
            statuses = {
                target: (await ask(edge.url, target)).status
                for target in (
                    "/cdr?token=first",
                    "/cdr?token=second",
                    "/cdr/lab?token=first",
                    "/cdr/lab?token=second",
                    "/cdr/nowhere?token=first",
                    "/cdr/nowhere?token=second",
                )
            }
            assert list(statuses.values()) == [200, 401, 401, 200, 404, 401]


class TestTokens:
    """What a token in a receiver URL may look like."""

    @pytest.mark.parametrize("given", ["a+b/c=", "a%2Bb%2Fc%3D", "new&bridge=b", "new&token=wrong"])
    async def test_a_token_is_found_however_it_is_written(self, given: str) -> None:
        """Both tokens of a rotation open the door, escaped or as they are: a plus, as base64 has it, is no space."""
        async with intake(deployments={"default": {"intake_token": "a+b/c=,new"}}) as edge:
            assert (await ask(edge.url, f"/cdr?x=1&token={given}")).status == 200

    @pytest.mark.parametrize("given", ["a+b/c", "a b/c=", "old,new", "%C3%A9", "%ff", "wrong&token=new"])
    async def test_anything_else_is_refused(self, given: str) -> None:
        """What only resembles a token, or is no text at all, is 401."""
        async with intake(deployments={"default": {"intake_token": "a+b/c=,new"}}) as edge:
            assert (await ask(edge.url, f"/cdr?token={given}".replace(" ", "%20"))).status == 401


async def test_the_answers_do_not_say_what_we_are_made_of() -> None:
    """No answer names aiohttp or Python."""
    async with intake(deployments={"default": {"intake_token": "t0ken"}}) as edge:
        for raw in (request(), request("/cdr?token=t0ken"), request("/?token=t0ken"), b"\x16\x03\x01\x00 junk\r\n\r\n"):
            async with wire(edge.url) as line:
                await line.send(raw)
                answer = await line.answer()
                assert answer.headers["server"] == "cdr-service"
                assert b"aiohttp" not in answer.body


@pytest.mark.parametrize("problem", [StoreUnavailable("gone"), Draining("leaving"), RuntimeError("a fault of ours")])
async def test_what_is_not_committed_is_503(problem: Exception) -> None:
    """Where a document may not be committed, for whatever reason, the sender is asked to come again."""
    async with intake() as edge:
        edge.twin.problem = problem
        answer = await ask(edge.url)
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
        assert str(problem).encode() not in answer.body
        edge.twin.problem = None
        await still_works(edge)


async def test_a_document_that_we_fail_on_does_not_block_the_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in our parser makes a dead letter, not an endless circle."""

    def broken(body: bytes, bridge: str = "") -> commit.Document:
        raise RecursionError(bridge, len(body))

    monkeypatch.setattr("cdr_service.web.intake.read", broken)
    async with intake() as edge:
        assert (await ask(edge.url)).status == 200
        (document,) = edge.twin.documents
        assert (document.body, document.batch) == (DOCUMENT, None)
        assert "RecursionError" in document.problem


class TestSize:
    """8 MiB or what was set, also after decompression; nothing of a larger body is kept."""

    async def test_a_body_of_just_the_limit_is_taken(self) -> None:
        """The limit itself is allowed, in one piece, in chunks and packed."""
        limit = len(DOCUMENT)
        async with intake(deployments={"default": {"intake_max_bytes": limit}}) as edge, wire(edge.url) as line:
            for body, headers in (
                (DOCUMENT, {}),
                (chunked(DOCUMENT[:100], DOCUMENT[100:]), CHUNKED),
                (gzip.compress(DOCUMENT), GZIP),
            ):
                await line.send(request(body=body, headers=headers))
                assert (await line.answer()).status == 200
            assert edge.twin.bodies == [DOCUMENT] * 3

    @pytest.mark.parametrize(
        ("body", "headers"),
        [
            (DOCUMENT + b" ", {}),
            (chunked(DOCUMENT, b" "), CHUNKED),
            (gzip.compress(DOCUMENT + b" "), GZIP),
            (gzip.compress(DOCUMENT) + gzip.compress(b" "), GZIP),
            (zlib.compress(DOCUMENT + b" "), {"Content-Encoding": "deflate"}),
            (chunked(gzip.compress(DOCUMENT + b" ")), GZIP | CHUNKED),
        ],
    )
    @pytest.mark.parametrize("pieces", [1, 7])
    async def test_one_byte_more_is_413(self, body: bytes, headers: dict[str, str], pieces: int) -> None:
        """A larger body is refused and nothing of it is stored, however it is sent."""
        async with intake(deployments={"default": {"intake_max_bytes": len(DOCUMENT)}}) as edge:
            async with wire(edge.url) as line:
                raw = request(body=body, headers=headers)
                step = -(-len(raw) // pieces)
                await line.send(*(raw[at : at + step] for at in range(0, len(raw), step)))
                assert (await line.answer()).status == 413
            assert edge.twin.documents == []

    async def test_a_declared_size_is_refused_before_the_body_is_sent(self) -> None:
        """A Content-Length above the limit gets its 413 without a byte of the body."""
        async with intake() as edge, wire(edge.url) as line:
            await line.send(request(body=b"", headers={"Content-Length": str(8 * 2**20 + 1)}))
            answer = await line.answer()
            assert (answer.status, answer.headers["connection"]) == (413, "close")

    async def test_chunks_without_end_are_refused_in_the_middle(self) -> None:
        """A body in chunks is 413 as soon as it is above the limit, not when it ends."""
        async with intake(deployments={"default": {"intake_max_bytes": 1000}}) as edge, wire(edge.url) as line:
            await line.send(request(headers=CHUNKED, body=b"1000\r\n" + b" " * 0x1000))
            assert (await line.answer()).status == 413
            assert edge.twin.documents == []

    async def test_a_sender_of_too_much_hears_the_413(self) -> None:
        """A sender that writes all of a body above the limit before it listens still gets the answer."""
        async with intake() as edge:
            async with wire(edge.url) as line:
                await line.send(request(body=b" " * (9 * 2**20)))
                assert (await line.answer()).status == 413
            assert edge.twin.documents == []
            await still_works(edge)

    async def test_eight_mebibytes_are_taken_whole(self) -> None:
        """The default limit of 8 MiB lets a document of that size in, unchanged."""
        body = DOCUMENT + b" " * (8 * 2**20 - len(DOCUMENT))
        async with intake() as edge:
            assert (await ask(edge.url, body=body)).status == 200
            assert edge.twin.bodies == [body]

    async def test_a_bomb_is_cut_off_early(self) -> None:
        """A few kilobytes that unpack to a gigabyte cost no more memory than the limit, and are 413."""
        bomb = gzip.compress(gzip.compress(b"\0" * 2**20) * 1000)
        packer = zlib.compressobj(wbits=31)
        bomb = b"".join(packer.compress(b"\0" * 2**20) for _ in range(1024)) + packer.flush()
        assert len(bomb) < 2 * 2**20
        async with intake() as edge:
            tracemalloc.start()
            try:
                answer = await ask(edge.url, body=bomb, headers=GZIP)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert answer.status == 413
            assert peak < 48 * 2**20
            assert edge.twin.documents == []
            await still_works(edge)

    async def test_bodies_on_their_way_share_a_bound(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where many half-sent bodies fill the memory set aside for them, the next one is asked to come again."""
        monkeypatch.setattr("cdr_service.web.intake.HELD_BYTES_MAX", 3000)
        half = request(body=b" " * 1000, headers={"Content-Length": "1001"})
        async with intake(deployments={"default": {"intake_max_bytes": 1500}}) as edge:
            async with wire(edge.url) as one, wire(edge.url) as two, wire(edge.url) as three, wire(edge.url) as four:
                lines = (one, two, three, four)
                for line in lines:
                    await line.send(half)
                done, waiting = await asyncio.wait(
                    [asyncio.create_task(line.answer()) for line in lines], return_when=asyncio.FIRST_COMPLETED
                )
                assert [task.result().status for task in done] == [503]
                for task in waiting:
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task
            assert edge.twin.documents == []
            # What was held is given back: by now many times the bound has come in.
            async with wire(edge.url) as line:
                for _ in range(10):
                    await line.send(half)
                    await asyncio.sleep(0.01)
                    await line.send(b" ")
                    assert (await line.answer()).status == 200


class TestEncodings:
    """gzip and deflate are unpacked; what is labelled wrongly is read as it is, else kept as a dead letter."""

    raw_deflate = zlib.compressobj(wbits=-15)
    raw_deflated = raw_deflate.compress(DOCUMENT) + raw_deflate.flush()

    @pytest.mark.parametrize(
        ("coding", "body"),
        [
            ("gzip", gzip.compress(DOCUMENT)),
            ("GZIP", gzip.compress(DOCUMENT)),
            ("x-gzip", gzip.compress(DOCUMENT)),
            ("gzip", gzip.compress(DOCUMENT[:50]) + gzip.compress(b"") + gzip.compress(DOCUMENT[50:])),
            ("deflate", zlib.compress(DOCUMENT)),
            ("deflate", raw_deflated),
            ("identity", DOCUMENT),
            ("gzip", DOCUMENT),
            ("utf-8", DOCUMENT),
        ],
    )
    @pytest.mark.parametrize("in_chunks", [False, True])
    async def test_a_good_document_is_read(self, coding: str, body: bytes, in_chunks: bool) -> None:
        """Whatever the packing, the same document comes out."""
        headers = {"Content-Encoding": coding} | (CHUNKED if in_chunks else {})
        async with intake() as edge:
            answer = await ask(edge.url, body=chunked(body[:9], body[9:]) if in_chunks else body, headers=headers)
            assert answer.status == 200
            (document,) = edge.twin.documents
            assert document.body == DOCUMENT
            assert document.batch is not None

    @pytest.mark.parametrize(
        ("coding", "body", "reason"),
        [
            ("gzip", gzip.compress(DOCUMENT)[:-9], "ends too early"),
            ("gzip", gzip.compress(DOCUMENT)[:40] + b"\xff" * 40, "is not the gzip"),
            ("gzip", gzip.compress(DOCUMENT) + b"rubbish", "is not the gzip"),
            ("gzip", gzip.compress(b"") * 2000, "gzip members"),
            ("gzip", b"rubbish", "is not the gzip"),
            ("deflate", b"\x78rubbish", "is not the deflate"),
            ("br", b"\x8b\x03\x80rubbish", "none of gzip"),
            ("gzip, gzip", gzip.compress(gzip.compress(DOCUMENT)), "none of gzip"),
        ],
    )
    async def test_what_cannot_be_unpacked_is_kept_as_it_came(self, coding: str, body: bytes, reason: str) -> None:
        """A body that its encoding does not describe is answered 200 and handed on unchanged with the reason."""
        async with intake() as edge:
            assert (await ask(edge.url, body=body, headers={"Content-Encoding": coding})).status == 200
            (document,) = edge.twin.documents
            assert (document.body, document.batch) == (body, None)
            assert reason in document.problem

    @settings(max_examples=200, deadline=None)
    @given(parts=st.lists(st.binary(max_size=300), max_size=4), limit=st.integers(0, 800), cut=st.integers(0, 40))
    def test_decode_gives_all_or_says_why_not(self, parts: list[bytes], limit: int, cut: int) -> None:
        """Members are joined; above the limit is BodyTooLarge; what was cut short is never taken for whole."""
        packed, whole = b"".join(map(gzip.compress, parts)), b"".join(parts)
        if len(whole) > limit:
            with pytest.raises(BodyTooLarge):
                decode(packed, "gzip", limit)
        else:
            assert decode(packed, "gzip", limit) == whole
            # Cut within its last member, a gzip body is no gzip body.
            if parts and 0 < cut < len(gzip.compress(parts[-1])):
                with pytest.raises(UndecodableBody):
                    decode(packed[:-cut], "gzip", limit)


class TestOnTheWire:
    """What client libraries hide."""

    async def test_many_small_chunks(self) -> None:
        """A body that comes byte by byte, each in its own chunk, is one document."""
        async with intake() as edge, wire(edge.url) as line:
            await line.send(request(body=b"", headers=CHUNKED), *(b"1\r\n%c\r\n" % byte for byte in DOCUMENT))
            await line.send(b"0\r\nX-Trailer: 1\r\n\r\n")
            assert (await line.answer()).status == 200
            assert edge.twin.bodies == [DOCUMENT]

    async def test_headers_and_body_byte_by_byte(self) -> None:
        """Where the packets are cut does not matter."""
        async with intake() as edge, wire(edge.url) as line:
            await line.send(*(bytes([byte]) for byte in request()))
            assert (await line.answer()).status == 200
            assert edge.twin.bodies == [DOCUMENT]

    async def test_keep_alive_and_pipelining(self) -> None:
        """Requests sent at once on one connection are answered in order, each by its own outcome."""
        async with intake() as edge, wire(edge.url) as line:
            await line.send(
                request() + request(method="GET") + request(body=LARGE) + request("/x") + request(body=b"x")
            )
            assert [(await line.answer()).status for _ in range(5)] == [200, 405, 200, 404, 200]
            assert edge.twin.bodies == [DOCUMENT, LARGE, b"x"]

    async def test_http_1_0(self) -> None:
        """An HTTP/1.0 sender is answered, and its connection closed as it expects."""
        async with intake() as edge, wire(edge.url) as line:
            await line.send(request().replace(b"HTTP/1.1", b"HTTP/1.0"))
            assert (await line.answer()).status == 200
            assert await line.rest() == b""

    async def test_the_whole_url_as_a_target(self) -> None:
        """A proxy may send the whole URL in the request line."""
        async with intake(deployments={"default": {"intake_token": "t0ken"}}) as edge:
            assert (await ask(edge.url, "http://cdr.example.com/cdr?token=t0ken")).status == 200
            assert (await ask(edge.url, "http://[broken/cdr?token=t0ken")).status in (400, 401)
            await_ok = await ask(edge.url, "/cdr?token=t0ken")
            assert await_ok.status == 200

    async def test_expect_continue(self) -> None:
        """A sender that waits for "100 Continue" gets it, then the 200."""
        async with intake() as edge, wire(edge.url) as line:
            await line.send(request(body=b"", headers={"Content-Length": "573", "Expect": "100-continue"}))
            assert (await line.answer()).status == 100
            await line.send(DOCUMENT.ljust(573))
            assert (await line.answer()).status == 200
            assert edge.twin.bodies == [DOCUMENT.ljust(573)]

    @pytest.mark.parametrize(
        ("target", "headers", "status"),
        [("/cdr", {}, 401), ("/cdr?token=t0ken", {"Content-Length": "9999999"}, 413), ("/x?token=t0ken", {}, 404)],
    )
    async def test_expect_continue_is_refused_at_once(self, target: str, headers: dict[str, str], status: int) -> None:
        """A sender that would be refused is told so instead of "100 Continue", and need not send the body."""
        async with intake(deployments={"default": {"intake_token": "t0ken"}}) as edge, wire(edge.url) as line:
            fields = {"Content-Length": "500", "Expect": "100-continue", **headers}
            await line.send(request(target, b"", headers=fields))
            answer = await line.answer()
            assert (answer.status, answer.headers["connection"]) == (status, "close")

    @pytest.mark.parametrize(
        "cut",
        [
            request()[:-1],
            request(headers=CHUNKED, body=chunked(DOCUMENT)[:-5]),
            request(headers=CHUNKED, body=b"%x\r\n%b" % (len(DOCUMENT), DOCUMENT)),
            request(headers=GZIP, body=gzip.compress(DOCUMENT))[:-1],
            request()[:60],
        ],
    )
    @pytest.mark.parametrize("how", ["close", "abort", "half-close"])
    async def test_a_body_cut_off_stores_nothing(self, cut: bytes, how: str) -> None:
        """A sender whose connection ends before its body does has pushed nothing."""
        async with intake() as edge:
            async with wire(edge.url) as line:
                await line.send(cut)
                await asyncio.sleep(0.01)
                if how == "half-close":
                    line.writer.write_eof()
                    await line.rest()
                elif how == "close":
                    line.writer.close()
            await still_works(edge)
            assert edge.twin.bodies == [DOCUMENT]

    async def test_a_sender_that_leaves_before_the_200(self) -> None:
        """A document that came whole is taken, also when nobody waits for the answer any more."""
        async with intake() as edge:
            edge.twin.gate = asyncio.Event()
            async with wire(edge.url) as line:
                await line.send(request())
                await edge.twin.entered.wait()
            await asyncio.sleep(0.01)
            edge.twin.gate.set()
            assert (await ask(edge.url, body=b"next")).status == 200
            assert edge.twin.bodies == [DOCUMENT, b"next"]

    @pytest.mark.parametrize("broken", [b"zz\r\n", b"-1\r\n", b"5\r\nabcdefgh\r\n", b"fffffffffffffffff\r\n"])
    async def test_a_broken_chunk_stores_nothing(self, broken: bytes) -> None:
        """Chunks that do not follow the protocol end the connection, and nothing is stored."""
        async with intake() as edge, wire(edge.url) as line:
            await line.send(request(headers=CHUNKED, body=b"1\r\n \r\n"), broken)
            assert (await line.answer()).status == 400
            await line.rest()
            assert edge.twin.documents == []
            await still_works(edge)

    async def test_a_slow_sender_is_let_go(self) -> None:
        """A body that does not arrive in time is 408, and its connection is closed."""
        async with intake(seconds_to_send=0.05) as edge, wire(edge.url) as line:
            await line.send(request()[:-1])
            answer = await line.answer()
            assert (answer.status, answer.headers["connection"]) == (408, "close")
            assert edge.twin.documents == []

    async def test_a_steady_sender_is_given_time(self) -> None:
        """What arrives extends the time: a large body over a thin line comes through."""
        async with intake(seconds_to_send=0.2) as edge, wire(edge.url) as line:
            body = DOCUMENT.ljust(2**20)
            raw = request(body=body)
            for at in range(0, len(raw), 2**17):
                await line.send(raw[at : at + 2**17])
                await asyncio.sleep(0.06)
            assert (await line.answer()).status == 200
            assert edge.twin.bodies == [body]


async def exchange(line: Wire, raw: bytes) -> bytes:
    """Send bytes, end, and read whatever comes."""
    await line.send(raw)
    with suppress(OSError):
        line.writer.write_eof()
    return await line.rest()


bodies = st.one_of(
    st.binary(max_size=400),
    st.text(alphabet="<>&;\"'/!?[]-ACDTrecords \n", max_size=200).map(str.encode),
    st.tuples(st.integers(0, len(DOCUMENT)), st.binary(max_size=8)).map(lambda cut: DOCUMENT[: cut[0]] + cut[1]),
)
codings = st.sampled_from(["", "gzip", "deflate", "x-gzip", "br", "identity"])


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(pushes=st.lists(st.tuples(bodies, codings, st.booleans()), min_size=1, max_size=12))
async def test_any_body_is_taken(pushes: list[tuple[bytes, str, bool]]) -> None:
    """Whatever bytes are pushed within the limit, under whatever label: 200, and one document each, in order."""
    async with intake() as edge, wire(edge.url) as line:
        for body, coding, packed in pushes:
            sent = gzip.compress(body) if packed else body
            await line.send(request(body=sent, headers={"Content-Encoding": coding}))
            assert (await line.answer()).status == 200
            assert edge.twin.bodies[-1] in (body, sent) or coding == "deflate"
        assert len(edge.twin.documents) == len(pushes)


heads: Any = st.one_of(
    st.binary(max_size=200),
    st.text(alphabet="POSTGET /cdr?token=bridge&%:[]@#*\\\t\xff\u20ac", max_size=80).map(
        lambda text: text.encode() + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
    ),
    st.text(alphabet="/cdr?token=bridge&%2F:[]@#*\\;\xff", max_size=60).map(
        lambda text: b"POST /" + text.encode("latin-1") + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
    ),
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    "Host",
                    "Content-Length",
                    "Transfer-Encoding",
                    "Expect",
                    "Upgrade",
                    "X-Forwarded-For",
                    "Connection",
                    "Content-Encoding",
                ]
            ),
            st.text(max_size=20),
        ),
        max_size=5,
    ).map(
        lambda fields: (
            b"POST /cdr HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields).encode() + b"\r\n"
        )
    ),
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(raw=heads)
async def test_any_bytes_on_the_wire_leave_the_intake_working(raw: bytes) -> None:
    """Whatever comes instead of a request, without the token nothing is stored, and the next sender is served."""
    door = {"intake_token": "t0ken", "intake_allow": "127.0.0.1", "trusted_proxies": "127.0.0.1"}
    async with intake(deployments={"default": door}) as edge:
        async with wire(edge.url) as line:
            async with asyncio.timeout(20):
                answer = await exchange(line, raw)
            assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")) or b"token=t0ken" in raw
        assert edge.twin.documents == []
        assert (await ask(edge.url, "/cdr?token=t0ken")).status == 200
