"""The event stream, followed from a real store: nothing lost or repeated, and said so where that cannot be had."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Self

import msgspec
import pytest

from cdr_service.domain.event_stream import START, EventFilter, decode_points
from cdr_service.errors import StoreUnavailable
from cdr_service.reading import event_stream as module
from cdr_service.reading.event_stream import Behind, Ended, EventStream, Reader
from cdr_service.store.connection import connect
from cdr_service.store.event_stream import RedisEventStream
from cdr_service.store.keys import Keys
from tests.integration.servers import StoreServer, cluster, store_server

ALL = EventFilter()
PATIENCE = 20.0
Given = tuple[str, str, str]
"""What a reader was given of an event: the id, the event, its event_id."""


@pytest.fixture(scope="module")
def server() -> Iterator[StoreServer]:
    """Run a store for the tests of this module."""
    with store_server(unix=True) as running:
        yield running


@pytest.fixture(autouse=True)
def empty(server: StoreServer) -> None:
    """Begin with nothing in the store."""
    server.ask("FLUSHALL")


def tell(server: StoreServer, *names: str, to: str = "default", entry: str = "*", event: str = "call.started") -> None:
    """Add events to a stream as a commit does."""
    for name in names:
        told = msgspec.json.encode({"event": event, "event_id": name, "call": name})
        server.ask("XADD", Keys(to).events, entry, "e", told, "p", "test")


def render(id_: str, event: str, told: bytes) -> bytes:
    """Return what is easily read again."""
    return msgspec.json.encode((id_, event, msgspec.json.decode(told).get("event_id", ""))) + b"\n"


@asynccontextmanager
async def following(server: StoreServer, *deployments: str, poll_seconds: float = 0.05) -> AsyncIterator[EventStream]:
    """Follow the streams of deployments, as one process does."""
    connection = connect(server.url)
    reads = RedisEventStream(connection)
    try:
        async with EventStream(deployments or ["default"], reads, lambda: 0, render, poll_seconds).running() as one:
            yield one
    finally:
        await connection.close()


def read(rendered: bytes) -> list[Given]:
    """Return what was given."""
    return [tuple(msgspec.json.decode(line)) for line in rendered.splitlines()]


class Follower:
    """Somebody who follows, and notes what was given."""

    def __init__(self, following: EventStream, wanted: EventFilter = ALL, after: str | None = None) -> None:
        self._reading = following.reader(wanted, decode_points(after) if after else None)
        self.given: list[Given] = []

    async def __aenter__(self) -> Self:
        self.reader: Reader = await self._reading.__aenter__()
        async for rendered in self.reader.catch_up():
            self.given += read(rendered)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._reading.__aexit__(None, None, None)

    @property
    def names(self) -> list[str]:
        """What was given so far, `reset` for that event."""
        return [name or event for _, event, name in self.given]

    async def until(self, last: str) -> list[str]:
        """Read until something was given; return all that was given so far."""
        while last not in self.names:
            new = await self.reader.news(PATIENCE)
            assert new, f"only {self.names[-5:]} within {PATIENCE} seconds"
            self.given += read(new)
        return self.names


def numbered(first: int, last: int) -> list[str]:
    """Return names of events."""
    return [f"e{number}" for number in range(first, last + 1)]


async def test_what_happens_from_now_on(server: StoreServer) -> None:
    """A reader without an id gets what happens after it came, in order, and nothing from before."""
    tell(server, "old")
    async with following(server) as one, Follower(one) as reader:
        tell(server, *numbered(1, 20))
        assert await reader.until("e20") == numbered(1, 20)


async def test_events_that_come_while_the_end_is_looked_for(server: StoreServer) -> None:
    """Between the looks at a stream that seems empty an event may come: it is neither lost nor taken for a loss."""
    connection = connect(server.url)
    reads = RedisEventStream(connection)
    facts = reads._facts
    told = iter(numbered(1, 3))

    async def slow_facts(deployment: str) -> dict[str, str]:
        for name in itertools.islice(told, 1):
            tell(server, name)
        return await facts(deployment)

    reads._facts = slow_facts  # type: ignore[method-assign]
    point = await reads.end("default")
    tell(server, "e2", "e3")
    piece = await reads.after("default", point, 100)
    assert (len(piece.entries), piece.lost) == (2, False)
    server.ask("FLUSHALL")
    piece = await reads.after("default", START, 100)
    assert not piece.lost
    rest = await reads.after("default", piece.end, 100)
    assert (len(piece.entries) + len(rest.entries), rest.lost) == (1, False)
    await connection.close()


async def test_it_goes_on_from_every_event(server: StoreServer) -> None:
    """From the id of each event, exactly those after it come, in the same order and with the same ids."""
    async with following(server) as one, Follower(one) as first:
        start = first.reader.id
        tell(server, *numbered(1, 12))
        await first.until("e12")
        for number, (id_, _, _) in enumerate(first.given, 1):
            async with Follower(one, after=id_) as again:
                assert again.given == first.given[number:]
        async with Follower(one, after=start) as again:
            assert again.given == first.given


async def test_readers_who_leave_and_come_again_at_random(server: StoreServer) -> None:
    """Over two processes and two deployments, readers who break off anywhere get every event once."""
    chance = random.Random(20260105)
    async with following(server, "default", "other") as one, following(server, "default", "other") as two:
        async with Follower(one) as first:
            at = first.reader.id
        got: list[str] = []
        told = 0
        for _ in range(60):
            for _ in range(chance.randrange(6)):
                told += 1
                tell(server, f"e{told}", to=chance.choice(["default", "other"]))
            async with Follower(chance.choice([one, two]), after=at) as reader:
                if chance.random() < 0.5:
                    told += 1
                    tell(server, f"e{told}", to=chance.choice(["default", "other"]))
                    await reader.until(f"e{told}")
                # It broke off after any of them.
                kept = reader.given[: chance.randrange(len(reader.given) + 1)]
                got += [name for _, _, name in kept]
                at = kept[-1][0] if kept else at
        async with Follower(one, after=at) as reader:
            got += reader.names
        assert sorted(got) == sorted(numbered(1, told))


async def test_a_process_that_is_behind_repeats_nothing(server: StoreServer) -> None:
    """A reader whose id is newer than what this process has read gets what comes after its id, once."""
    async with (
        following(server) as ahead,
        following(server, poll_seconds=2.0) as behind,
        Follower(ahead) as first,
        Follower(behind) as other,
    ):
        await asyncio.sleep(0.1)
        tell(server, "e1", "e2", "e3")
        await first.until("e3")
        async with Follower(behind, after=first.given[1][0]) as again:
            assert again.names == ["e3"]
            tell(server, "e4")
            assert await again.until("e4") == ["e3", "e4"]
            assert await other.until("e4") == ["e1", "e2", "e3", "e4"]
            assert again.given[-1][0] == other.given[-1][0]


async def test_a_trimmed_stream_is_said(server: StoreServer) -> None:
    """Where events after the id are gone, `reset` comes first, then what is left; the old id stands until then."""
    async with following(server) as one, Follower(one) as first:
        tell(server, *numbered(1, 6))
        await first.until("e6")
        server.ask("XTRIM", Keys("default").events, "MAXLEN", "=", 2)
        id_ = first.given[1][0]
        async with Follower(one, after=id_) as again:
            assert again.names == ["reset", "e5", "e6"]
            assert again.given[0][0] == id_
        async with Follower(one, after=first.given[4][0]) as again:
            assert again.names == ["e6"]


async def test_a_stream_that_age_emptied_is_no_loss(server: StoreServer) -> None:
    """A reader who had everything gets no `reset` when retention has removed all of it, unless more came and went."""
    async with following(server) as one, Follower(one) as first:
        tell(server, "e1")
        await first.until("e1")
        id_ = first.given[0][0]
        server.ask("XTRIM", Keys("default").events, "MAXLEN", "=", 0)
        async with Follower(one, after=id_) as again:
            assert again.names == []
        tell(server, "e2")
        server.ask("XTRIM", Keys("default").events, "MAXLEN", "=", 0)
        async with Follower(one, after=id_) as again:
            assert again.names == ["reset"]


async def test_a_stream_from_its_beginning(server: StoreServer) -> None:
    """A reader who came before the first event gets it; where the first ones are gone since, that is said."""
    async with following(server) as one:
        async with Follower(one) as first:
            id_ = first.reader.id
        tell(server, "e1", "e2")
        async with Follower(one, after=id_) as again:
            assert again.names == ["e1", "e2"]
        server.ask("XTRIM", Keys("default").events, "MAXLEN", "=", 1)
        async with Follower(one, after=id_) as again:
            assert again.names == ["reset", "e2"]


@pytest.mark.parametrize("entry", ["1000-0", "5000-0", "9000-0"])
async def test_an_older_copy_of_the_stream(server: StoreServer, entry: str) -> None:
    """Where a store took over that lacks the last events, all who read on are told, and then get what is new.

    Its clock may be behind or ahead, and may give a new event the very name of one that was lost.
    """
    tell(server, "e1", entry="500-0")
    async with following(server) as one, Follower(one) as live:
        tell(server, "lost", entry="5000-0")
        await live.until("lost")
        id_ = live.given[-1][0]
        server.ask("FLUSHALL")
        tell(server, "e1", entry="500-0")
        tell(server, "new", entry=entry)
        await live.until("reset")
        tell(server, "later", entry="9500-0")
        assert (await live.until("later"))[:2] == ["lost", "reset"]
        assert live.names.count("later") == 1
        async with Follower(one, after=id_) as again:
            assert again.names[0] == "reset"
            assert again.names[-1] == "later" or entry == "1000-0"


async def test_a_deployment_of_which_the_id_knows_nothing(server: StoreServer) -> None:
    """Where a deployment was added since the id was given, that is said: nobody knows what was missed there."""
    async with following(server, "default") as one, Follower(one) as first:
        id_ = first.reader.id
    tell(server, "e1")
    async with following(server, "default", "other") as two, Follower(two, after=id_) as again:
        assert again.names == ["reset", "e1"]
        assert set(decode_points(again.reader.id)) == {"default", "other"}


async def test_filters_share_one_reading(server: StoreServer) -> None:
    """Each reader gets what it wants; ids go on past what it does not want."""
    async with (
        following(server) as one,
        Follower(one, EventFilter.of("license.*", None, None)) as licenses,
        Follower(one, EventFilter.of(None, None, "e2")) as call,
        Follower(one) as everything,
    ):
        tell(server, "e1", "e2")
        tell(server, "e3", event="license.switched")
        await everything.until("e3")
        assert await licenses.until("e3") == ["e3"]
        assert await call.until("e2") == ["e2"]
        assert await call.reader.news(0.0) == b""
        assert call.reader.id == everything.given[-1][0]


async def test_a_slow_reader_is_dropped_and_loses_nothing(server: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not come along is dropped; from the id that it has it gets all the rest, once."""
    monkeypatch.setattr(module, "KEPT", 10)
    async with following(server) as one, Follower(one) as quick, Follower(one) as slow:
        tell(server, "e1")
        await slow.until("e1")
        for number in range(2, 40):
            tell(server, f"e{number}")
            await quick.until(f"e{number}")
        with pytest.raises(Behind):
            await slow.reader.news(PATIENCE)
        assert quick.names == numbered(1, 39)
        async with Follower(one, after=slow.given[-1][0]) as again:
            assert again.names == numbered(2, 39)


async def test_many_readers_cost_one_reading(server: StoreServer) -> None:
    """A thousand readers make no more reads of the store than one, and none are made when all have left."""
    async with following(server) as one:
        async with Follower(one) as first:
            tell(server, "e1")
            await first.until("e1")
            readers = [Follower(one) for _ in range(1000)]
            for reader in readers:
                await reader.__aenter__()
            before = reads(server)
            tell(server, "e2")
            assert {tuple(await reader.until("e2")) for reader in readers} == {("e2",)}
            assert reads(server) - before < 500
            for reader in readers:
                await reader.__aexit__()
        await asyncio.sleep(2 * 0.05)
        before = reads(server)
        await asyncio.sleep(3 * 0.05)
        assert reads(server) == before


def reads(server: StoreServer) -> int:
    """Return how often the stream was read so far."""
    told = server.info("commandstats").get("cmdstat_xrange", "calls=0,")
    return int(told.partition("calls=")[2].partition(",")[0])


async def test_the_store_goes_and_comes_back(server: StoreServer) -> None:
    """Readers wait while the store does not answer, and then get what happened, without a `reset`."""
    async with following(server) as one, Follower(one) as reader:
        tell(server, "e1")
        await reader.until("e1")
        server.kill()
        assert await reader.reader.news(0.5) == b""
        server.start()
        tell(server, "e2")
        assert await reader.until("e2") == ["e1", "e2"]


async def test_a_reader_who_comes_while_the_store_is_away(server: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told so, rather than given an empty stream."""
    monkeypatch.setattr(module, "READY_SECONDS", 0.5)
    server.kill()
    try:
        async with following(server) as one:
            with pytest.raises(StoreUnavailable):
                await Follower(one).__aenter__()
    finally:
        server.start()


async def test_on_a_cluster_over_a_failover() -> None:
    """Deployments on different nodes are followed as one; where a node's replica takes over, readers go on."""
    with cluster() as nodes:
        for name in ("default", "other"):
            tell(nodes.master_of(Keys(name).events), f"old-{name}", to=name)
        connection = connect(nodes.url)
        reads = RedisEventStream(connection)
        async with (
            EventStream(["default", "other"], reads, lambda: 0, render, 0.05).running() as one,
            Follower(one) as all_,
        ):
            tell(nodes.master_of(Keys("default").events), "e1")
            await all_.until("e1")
            tell(nodes.master_of(Keys("other").events), "e2", to="other")
            assert await all_.until("e2") == ["e1", "e2"]
            old = nodes.master_of(Keys("default").events)
            old.wait_for_replica()
            old.kill()
            new = nodes.wait_for_failover(old, Keys("default").events)
            tell(new, "e3")
            assert await all_.until("e3") == ["e1", "e2", "e3"]
            async with Follower(one, after=all_.given[0][0]) as again:
                assert sorted(again.names) == ["e2", "e3"]
        await connection.close()


async def test_there_is_an_end_of_readers(server: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes when there are too many is told to come later; who leaves makes room."""
    monkeypatch.setattr(module, "READERS_MAX", 1)
    async with following(server) as one:
        async with Follower(one):
            with pytest.raises(StoreUnavailable):
                await Follower(one).__aenter__()
        async with Follower(one):
            pass


async def test_the_end_of_the_service(server: StoreServer) -> None:
    """Who waits for news when the service stops hears of it at once."""
    async with following(server) as one, Follower(one) as reader:
        waiting = asyncio.create_task(reader.reader.news(PATIENCE))
        await asyncio.sleep(0)
        one.end()
        with pytest.raises(Ended):
            await waiting
