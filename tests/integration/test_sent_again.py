"""What is sent again though it was taken in: kept once, set aside once, and bounded."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdr_service.domain.recent import REMEMBERED
from cdr_service.domain.upkeep import forget_session
from cdr_service.service import Deployment, Intake
from cdr_service.store.collection import RedisCollection
from cdr_service.store.connection import connect
from cdr_service.store.keys import Keys
from cdr_service.store.layout import LAYOUT
from cdr_service.store.redis_store import RedisStore, Written
from cdr_service.store.upkeep import Upkeep
from tests.feed import Feed, call_start, join
from tests.integration.command import Service, running
from tests.integration.servers import StoreServer, eventually, free_port, store_server
from tests.integration.test_dead_letters import GARBAGE, Watch, faulty, read

RAW = "cdr:{default}:raw"
DEAD = "cdr:{default}:dead"


@pytest.fixture
def store() -> Iterator[StoreServer]:
    """Run a store."""
    with store_server() as started:
        yield started


@pytest.fixture
def service(tmp_path: Path, store: StoreServer) -> Iterator[Service]:
    """Run a service on it."""
    with running(tmp_path, "serve", settings={"CDR_REDIS_URL": store.url}) as started:
        assert started.intake_url
        yield started


def test_what_is_no_document_is_set_aside_once(service: Service, store: StoreServer) -> None:
    """Sent again because the answer was lost, it makes no second letter; something else does."""
    for body in (GARBAGE, GARBAGE, b"", b"", GARBAGE):
        assert service.post(body) == 200
    assert (store.ask("XLEN", DEAD), store.ask("XLEN", RAW)) == (2, 2)
    assert service.post(GARBAGE, "?bridge=cms1") == 200
    assert store.ask("XLEN", DEAD) == 3
    eventually(lambda: len(service.events("document.rejected")) == 3, "each is told once")


def test_a_record_without_a_number_is_set_aside_once(service: Service, store: StoreServer) -> None:
    """Also where it comes in another document the second time, beside records that are taken."""
    feed = Feed()
    bad = b"<record type='callStart' time='2024-03-12T09:00:00Z'><call id='x'/></record></records>"
    for call in "cd":
        assert service.post(feed.document(call_start(call)).replace(b"</records>", bad)) == 200
    (letter,) = service.get("/v1/dead-letters")["items"]
    assert letter["reason"] == "The record has neither a correlatorIndex nor a recordIndex."
    assert sorted(call["id"] for call in service.get("/v1/calls")["items"]) == ["c", "d"]
    assert store.ask("XLEN", RAW) == 2


async def test_a_document_that_we_fail_on_is_set_aside_once(store: StoreServer) -> None:
    """Sent again, it is the same letter; a third one is another."""
    connection, watch = connect(store.url), Watch()
    bodies = [Feed(name).document(call_start(name), join("alice", name)) for name in "cd"]
    deployment = Deployment(name="default", options=faulty())
    redis_store = RedisStore(connection, {"default": Written()}, "one")
    async with Intake(deployment, redis_store, watch, lambda: 1).running() as intake:
        for body in (bodies[0], bodies[0], bodies[1]):
            await intake.receive(read(body))
    await connection.close()
    assert len(watch.problems) == 3
    assert (store.ask("XLEN", DEAD), store.ask("XLEN", RAW)) == (2, 2)


def test_a_long_document_is_kept_once(service: Service, store: StoreServer) -> None:
    """One of more records than a commit takes; sent again it changes nothing. With one more record it is kept."""
    feed = Feed()
    long = feed.document(*(call_start(f"c{number}") for number in range(1200)))
    for _ in range(3):
        assert service.post(long) == 200
        assert store.ask("XLEN", RAW) == 1
    more = feed.document(call_start("one-more"))
    last = more[more.index(b"<record ") : more.index(b"</records>")]
    assert service.post(long.replace(b"</records>", last + b"</records>")) == 200
    assert store.ask("XLEN", RAW) == 2
    assert service.get("/v1/bridges")["items"][0]["records"] == 1201


def test_each_call_bridge_is_told_with_its_duplicates(tmp_path: Path, store: StoreServer) -> None:
    """Records of each that came again are counted beside the intake, and those of the last seconds when it ends."""
    named = {"one": Feed("s-1", "one"), "two": Feed("s-2", "two")}
    bodies = {name: feed.document(call_start(name), join("alice", name)) for name, feed in named.items()}

    def counts(service: Service) -> dict[str, int]:
        return {bridge["call_bridge"]: bridge["duplicates"] for bridge in service.get("/v1/bridges")["items"]}

    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    settings = {"CDR_REDIS_URL": store.url}
    with running(first, "serve", settings=settings) as service:
        assert [service.post(body) for body in bodies.values()] == [200, 200]
        assert counts(service) == {"one": 0, "two": 0}
        assert [service.post(bodies["one"]) for _ in range(3)] == [200] * 3
        eventually(lambda: counts(service) == {"one": 6, "two": 0}, "the counts are written now and then")
        assert service.post(bodies["two"]) == 200
        assert service.end() == 0
    with running(second, "serve", settings=settings) as service:
        assert counts(service) == {"one": 6, "two": 2}
        assert service.post(named["one"].document(call_start("new"))) == 200
        assert counts(service) == {"one": 6, "two": 2}


async def test_counts_of_duplicates_go_with_their_call_bridge(store: StoreServer) -> None:
    """Retention removes them with it, and none are added to one that is gone."""
    connection = connect(store.url)
    redis_store, reads = RedisStore(connection, {"default": Written()}, "one"), RedisCollection(connection)
    async with Intake(Deployment(name="default"), redis_store, Watch(), lambda: 1).running() as intake:
        await intake.receive(read(Feed("s", "bridge").document(call_start("c"))))
        await reads.note_duplicates("default", {"bridge": 3, "unknown": 2})
        assert await reads.duplicates("default", ["bridge", "unknown"]) == {"bridge": 3, "unknown": 0}
        await intake.perform(lambda _, books, _now: forget_session(books, "s"))
        assert not store.ask("EXISTS", Keys("default").duplicates)
        await reads.note_duplicates("default", {"bridge": 3})
        assert not store.ask("EXISTS", Keys("default").duplicates)
    await connection.close()


def test_what_is_remembered_of_letters_is_bounded(service: Service, store: StoreServer) -> None:
    """The digests of the last few are kept; what comes again long after is set aside again."""
    for number in range(REMEMBERED + 1):
        assert service.post(b"<no%d/>" % number) == 200
    assert store.ask("STRLEN", "cdr:{default}:recent:letters") < 20 * REMEMBERED
    assert service.post(b"<no0/>") == 200
    assert store.ask("XLEN", DEAD) == REMEMBERED + 2


def test_dead_letters_are_bounded_by_bytes_too(tmp_path: Path, store: StoreServer) -> None:
    """The oldest go once they take more than CDR_RAW_MAX_MB, which is told."""
    chance = random.Random(1)
    settings = {"CDR_REDIS_URL": store.url, "CDR_RAW_MAX_MB": "1"}
    with running(tmp_path, "serve", settings=settings) as service:
        for _ in range(60):
            assert service.post(b"<no>" + chance.randbytes(30_000).hex().encode()) == 200
        eventually(lambda: store.ask("MEMORY USAGE", DEAD, "SAMPLES", 0) <= 2**20, "the oldest go")
        assert 10 < store.ask("XLEN", DEAD) < 60
        assert service.wait_for("dead_letters.dropped")["entries"] > 0


def test_a_store_of_a_newer_release_that_was_away_at_the_start_is_left_alone(tmp_path: Path) -> None:
    """Nothing is taken into it: the sender is asked to come again, and the log says why."""
    store = StoreServer(port=free_port())
    with running(tmp_path, "serve", settings={"CDR_REDIS_URL": store.url}) as service:
        assert service.post(Feed().document(call_start("c"))) == 503
        with store_server(port=store.port) as newer:
            newer.ask("SET", "cdr:{default}:layout", LAYOUT + 1)

            def is_named() -> bool:
                assert service.post(Feed().document(call_start("c"))) == 503
                return any("newer release" in reason for reason in reasons(service))

            eventually(is_named, "the log says that a newer release wrote the store")
            assert newer.ask("KEYS", "*") == ["cdr:{default}:layout"]
            newer.ask("DEL", "cdr:{default}:layout")
            eventually(lambda: service.post(Feed().document(call_start("c"))) == 200, "the store is taken")
            assert newer.ask("GET", "cdr:{default}:layout") == str(LAYOUT)


def reasons(service: Service) -> list[str]:
    """Return why the store was unavailable, as the log says."""
    return [line["reason"] for line in service.events("store.unavailable")]


async def test_events_of_a_process_that_died_early_are_found_without_reading_all(store: StoreServer) -> None:
    """Killed before its second commit, a process printed nothing for sure; only what is since its first is read."""
    connection, watch = connect(store.url), Watch()
    deployment = Deployment(name="default")
    for process, count in (("long-lived", 1500), ("dead", 1)):
        redis_store = RedisStore(connection, {"default": Written()}, process)
        await Upkeep(connection, "default", process).show_life(60)
        async with Intake(deployment, redis_store, watch, lambda: 1).running() as intake:
            for number in range(count):
                await intake.receive(read(Feed(f"{process}-{number}").document(call_start(f"{process}-{number}"))))
    store.ask("DEL", "cdr:{default}:alive:dead")

    def reads() -> Any:
        return json.loads(store.info("commandstats").get("cmdstat_xrevrange", "calls=0").partition(",")[0][6:])

    before = reads()
    found = [(printer, events) async for printer, events in Upkeep(connection, "default", "other").unprinted()]
    await connection.close()
    ((printer, events),) = found
    assert printer.name == "dead.0"
    assert [event["call"] for event in events] == ["dead-0"]
    assert reads() == before + 1
