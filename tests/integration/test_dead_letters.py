"""Dead letters: kept with their reason, bounded, listed, and taken in after a fix."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from msgspec.structs import replace

from cdr_service.domain.commit import Document, read
from cdr_service.domain.licensing import Charge, Situation
from cdr_service.domain.options import Options
from cdr_service.domain.policies import POLICIES
from cdr_service.domain.records import RejectedRecord
from cdr_service.domain.text import UNSAFE
from cdr_service.repair.letters import Retried, try_again
from cdr_service.repair.watching import Watch
from cdr_service.service import Deployment, Intake
from cdr_service.store.connection import Connection, connect
from cdr_service.store.embedded import embedded_server, running_server
from cdr_service.store.kept import RedisKept
from cdr_service.store.redis_store import RedisStore, Written
from tests.feed import Feed, call_start, join
from tests.integration.command import SAMPLES, Service, run, running
from tests.integration.servers import eventually

GARBAGE = b"<html>no records</html>"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Run a service with the embedded store."""
    with running(tmp_path, "serve") as started:
        assert started.intake_url
        yield started


def data_dir(home: Path) -> Path:
    """Return where a service with this home keeps its data."""
    return home / ".local" / "share" / "cdr-service"


@asynccontextmanager
async def older_release(url: str, options: Options | None = None) -> AsyncIterator[tuple[Intake, Watch, Connection]]:
    """Work on a store as a release did that had a fault."""
    connection, watch = connect(url), Watch()
    try:
        store = RedisStore(connection, {"default": Written()}, "older")
        deployment = Deployment(name="default", options=options or Options())
        # By the real clock: a call of which nothing was heard for long is closed by the service meanwhile.
        async with Intake(deployment, store, watch, lambda: time.time_ns() // 1_000_000).running() as intake:
            yield intake, watch, connection
    finally:
        await connection.close()


async def receive(url: str, *documents: Document, options: Options | None = None) -> None:
    """Have an older release take in documents, as it read them."""
    async with older_release(url, options) as (intake, _, __):
        for document in documents:
            await intake.receive(document)


def not_understood(body: bytes) -> Document:
    """Return a document that an older release could not read."""
    return Document(body=body, bridge="", batch=None, problem="The dialect is unknown.")


def with_rejected(body: bytes, *types: str) -> Document:
    """Return a document as a release read it that refused records of some types."""
    document = read(body)
    assert document.batch is not None
    records = document.batch.records
    rejected = tuple(
        RejectedRecord(
            reason=f"A {record.type} is not liked.",
            content=json.dumps({"@type": record.type}),
            type=record.type,
            correlator_index=record.correlator_index,
        )
        for record in records
        if record.type in types
    )
    kept = tuple(record for record in records if record.type not in types)
    return replace(document, batch=replace(document.batch, records=kept, rejected=rejected))


def faulty() -> Options:
    """Return options with a rule that fails on every meeting."""

    def fail(_: Situation) -> Charge | None:
        raise KeyError("no such rule")

    policy = POLICIES["join"]
    rules = tuple(rule._replace(applies=fail) for rule in policy.rules[1:])
    return Options(policies={"join": policy._replace(rules=(policy.rules[0], *rules))})


class TestListed:
    """What could not be taken in is kept, bounded, with its reason."""

    def test_reason_and_content_are_listed(self, service: Service) -> None:
        """Newest first, over pages, each with why it was set aside and what it was."""
        assert service.post(GARBAGE) == 200
        bad = Feed().document(call_start("c")).replace(b'time="2024-03-12T09:00:00Z"', b'time="yesterday"')
        assert service.post(bad, "?bridge=cms1") == 200
        first = service.get("/v1/dead-letters?limit=1")
        (record,) = first["items"]
        assert (record["kind"], record["session"], record["bridge"]) == ("record", "s", "cms1")
        assert (
            record["reason"]
            == "The record's time is missing, is not RFC 3339, or lies outside the years 1 to 9999 in UTC."
        )
        assert json.loads(record["content"])["@time"] == "yesterday"
        (whole,) = service.get(f"/v1/dead-letters?limit=1&cursor={first['next']}")["items"]
        assert (whole["kind"], whole["reason"]) == ("not_cdr", "The root element is <html>, not <records>.")
        assert whole["content"] == GARBAGE.decode()
        assert [line["reason"] for line in service.events("document.rejected")] == [whole["reason"]]

    def test_what_came_in_does_nothing_to_a_terminal(self, service: Service) -> None:
        """Whoever reads answers as they come sees escapes, and whoever reads them as JSON the text that came."""
        nasty = "x\u202e\x9b31m\x7f"
        assert service.post(f"<html>{nasty}</html>".encode()) == 200
        assert service.post(Feed(f"s{nasty}", f"bridge{nasty}").document(call_start("c"))) == 200
        for path in ("/v1/dead-letters", "/v1/calls", "/v1/bridges", "/metrics", f"/v1/calls/{quote(nasty)}"):
            answer = service.raw(path)
            assert "u202e" in answer
            assert not UNSAFE.search(answer.replace("\n", "")), path
        (letter,) = service.get("/v1/dead-letters")["items"]
        assert letter["content"] == f"<html>{nasty}</html>"

    def test_times_that_utc_cannot_write_down(self, service: Service) -> None:
        """Each of them sets its own record aside, with a 200; the others of the document are applied and shown."""
        assert service.post((SAMPLES / "odd" / "edges-of-time.xml").read_bytes()) == 200
        letters = service.get("/v1/dead-letters")["items"]
        assert [letter["kind"] for letter in letters] == ["record"] * 3
        assert {json.loads(letter["content"])["@time"] for letter in letters} == {
            "9999-12-31T23:59:60Z",
            "9999-12-31T23:59:59-12:00",
            "0001-01-01T00:00:00+14:00",
        }
        calls = service.get("/v1/calls")["items"]
        assert [call["started_at"] for call in calls] == [
            "9999-12-31T23:59:59Z",
            "2024-03-12T09:00:00Z",
            "0001-01-01T00:00:00Z",
        ]
        assert [service.get(f"/v1/calls/{call['id']}")["started_at"] for call in calls] == [
            call["started_at"] for call in calls
        ]

    def test_the_oldest_go_first(self, tmp_path: Path) -> None:
        """No more than CDR_DEAD_LETTER_MAX are kept, however many come."""
        with running(tmp_path, "serve", settings={"CDR_DEAD_LETTER_MAX": "7"}) as service:
            for number in range(150):
                assert service.post(b"<no%d/>" % number) == 200
                if number % 10 == 9:
                    listed = [letter["content"] for letter in service.get("/v1/dead-letters?limit=500")["items"]]
                    assert listed == [f"<no{kept}/>" for kept in range(number, number - 7, -1)]
            dropped: list[int] = []
            while sum(dropped) < 143:  # the log tells all that went, in one line or in several
                service.wait_for("dead_letters.dropped")
                dropped = [line["entries"] for line in service.events("dead_letters.dropped")]
            assert sum(dropped) == 143


class TestTriedAgain:
    """`replay --dead-letters` on the store of a service that runs."""

    async def test_documents_that_are_understood_now(self, service: Service, tmp_path: Path) -> None:
        """They are taken in and their letters go; the service's log tells of each call. Twice is once."""
        url = running_server(data_dir(tmp_path))
        assert url is not None
        feed = Feed()
        bodies = [feed.document(call_start(call), join(f"alice-{call}", call)) for call in "cd"]
        await receive(url, *map(not_understood, bodies))
        assert service.get("/v1/calls")["items"] == []
        for sentence in ("2 dead letters were taken in, 0 stay.", "0 dead letters were taken in, 0 stay."):
            told = run(tmp_path, "replay", "--dead-letters")
            assert (told.returncode, told.stdout.strip(), told.stderr) == (0, sentence, "")
        assert sorted(call["id"] for call in service.get("/v1/calls")["items"]) == ["c", "d"]
        assert service.get("/v1/dead-letters")["items"] == []
        eventually(lambda: len(service.events("license.assigned")) >= 2, "the service prints what happened")
        assert [line["call"] for line in service.events("call.started")] == ["c", "d"]

    async def test_records_that_are_understood_now(self, service: Service, tmp_path: Path) -> None:
        """They are taken in past the marks, though their numbers were marked as seen; no record counts twice."""
        url = running_server(data_dir(tmp_path))
        assert url is not None
        body = Feed().document(call_start("c"), join("alice", "c"), join("bob", "c"))
        await receive(url, with_rejected(body, "callLegStart"))
        assert service.post(body) == 200
        assert service.get("/v1/calls")["items"][0]["participants"] == 0
        assert [one["reason"] for one in service.get("/v1/dead-letters")["items"]] == [
            "A callLegStart is not liked."
        ] * 2
        told = run(tmp_path, "replay", "--dead-letters")
        assert told.stdout.strip() == "2 dead letters were taken in, 0 stay."
        (call,) = service.get("/v1/calls")["items"]
        assert (call["participants"], call["legs"]) == (2, 2)
        (bridge,) = service.get("/v1/bridges")["items"]
        assert bridge["records"] == 1
        assert len(service.events("call.started")) <= 1

    def test_what_is_still_bad_stays(self, service: Service, tmp_path: Path) -> None:
        """It is counted by its reason of now, and that is no failure. What is bad beside it stays as well."""
        for body in (GARBAGE, GARBAGE + b" ", b"", b"<records/>"):
            assert service.post(body) == 200
        two = Feed().document(call_start("c"), join("alice", "c")).replace(b"<callLeg id='alice'>", b"<callLeg>")
        assert service.post(two) == 200
        before = service.get("/v1/dead-letters")["items"]
        for _ in range(2):
            told = run(tmp_path, "replay", "--dead-letters")
            assert told.returncode == 0
            assert told.stdout.splitlines() == [
                "0 dead letters were taken in, 5 stay.",
                "  2: The root element is <html>, not <records>.",
                "  1: The body is empty.",
                "  1: The <records> element has no session.",
                "  1: A callLegStart record needs a <callLeg> element with an id.",
            ]
        assert service.get("/v1/dead-letters")["items"] == before

    def test_a_wrong_command_line(self, tmp_path: Path) -> None:
        """It takes no files and no target, and says so."""
        for arguments in (("file.xml",), ("--target", "http://127.0.0.1:1/cdr"), ("--keep-sessions",)):
            told = run(tmp_path, "replay", "--dead-letters", *arguments)
            assert told.returncode == 2
            assert "--dead-letters works on the settings' store" in told.stderr

    def test_a_store_that_does_not_answer(self, tmp_path: Path) -> None:
        """It ends with 1 and the store's sentence."""
        told = run(tmp_path, "replay", "--dead-letters", CDR_REDIS_URL="redis://127.0.0.1:1")
        assert (told.returncode, told.stdout) == (1, "")
        assert "redis://127.0.0.1:1 cannot be reached" in told.stderr


class TestEmbedded:
    """The embedded store without a service."""

    @pytest.fixture
    async def url(self, tmp_path: Path) -> AsyncIterator[str]:
        """Run a store of our own."""
        async with embedded_server(tmp_path / "data") as url:
            yield url

    async def test_without_a_service(self, tmp_path: Path) -> None:
        """The store is started for the length of the command; a service then shows the call, and prints its events."""
        async with embedded_server(data_dir(tmp_path)) as url:
            await receive(url, not_understood(Feed().document(call_start("c"), join("alice", "c"))))
        told = run(tmp_path, "replay", "--dead-letters")
        assert (told.returncode, told.stdout.strip()) == (0, "1 dead letters were taken in, 0 stay.")
        with running(tmp_path, "serve") as service:
            assert service.wait_for("call.started")["call"] == "c"
            assert [call["id"] for call in service.get("/v1/calls")["items"]] == ["c"]

    async def test_in_a_folder_with_a_long_name(self, tmp_path: Path) -> None:
        """The socket of a running service is found too where its path would be too long for the data folder."""
        deep = tmp_path / ("long" * 25)
        async with embedded_server(deep) as url:
            assert not url.startswith(f"unix://{deep}")
            assert running_server(deep) == url
        assert running_server(deep) is None
        assert running_server(tmp_path / "nowhere") is None

    async def retried(self, url: str, options: Options | None = None) -> tuple[Retried, list[Any]]:
        """Try the dead letters again; return what came of it, and the letters that are left, newest first."""
        async with older_release(url, options) as (intake, watch, connection):
            kept = RedisKept(connection)
            retried = await try_again(intake, kept, watch)
            left, after = [], None
            newest = await kept.newest_letter("default")
            while newest and (letter := await kept.letter("default", after, newest)):
                left.append(letter)
                after = letter.id
        return retried, left

    async def test_a_fault_of_ours(self, url: str) -> None:
        """A document that the service failed on stays one letter while the fault lasts, and then is taken in."""
        body = Feed().document(call_start("c"), join("alice", "c"))
        await receive(url, read(body), options=faulty())
        for _ in range(2):
            retried, left = await self.retried(url, faulty())
            assert retried == Retried(stay={"The service failed on this document (KeyError).": 1})
            assert [(letter.kind, letter.body) for letter in left] == [("failed", body)]
        retried, left = await self.retried(url)
        assert (retried, left) == (Retried(taken=1), [])

    async def test_one_document_is_taken_in_once(self, url: str) -> None:
        """Many bad records of one document have a letter each; all go, and the document is kept but once more."""
        body = Feed().document(call_start("c"), *(join(f"alice-{number}", "c") for number in range(20)))
        await receive(url, with_rejected(body, "callLegStart"))
        retried, left = await self.retried(url)
        assert (retried, left) == (Retried(taken=20), [])
        async with older_release(url) as (_, __, connection):
            assert len(await RedisKept(connection).documents("default", None, 100)) == 2

    async def test_records_that_are_bad_beside_it(self, url: str) -> None:
        """A record without a number is not set aside again when another of its document is taken in."""
        body = Feed().document(call_start("c"), join("alice", "c")).replace(b"</records>", b"<stray/></records>")
        document = with_rejected(body, "callLegStart")
        stray = read(body).batch.rejected
        assert len(stray) == 1
        await receive(url, replace(document, batch=replace(document.batch, rejected=document.batch.rejected + stray)))
        retried, left = await self.retried(url)
        assert retried == Retried(taken=1, stay={"An element beside the records is not a <record>.": 1})
        assert [letter.reason for letter in left] == ["An element beside the records is not a <record>."]
