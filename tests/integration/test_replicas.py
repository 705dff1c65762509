"""`replicas=N` in the store's URL: a write counts once so many replicas have it."""

import asyncio
from collections.abc import Iterator

import pytest

from cdr_service.errors import StoreUnavailable
from cdr_service.store.connection import Script
from tests.integration.servers import (
    Cluster,
    SentinelPair,
    StoreServer,
    cluster,
    eventually,
    sentinel_pair,
    store_server,
)
from tests.integration.test_connection import COUNT, KEY, connected, endpoint, recovered

TOO_FEW = r" has too few replicas that took the write in time\.$"


@pytest.fixture(scope="module", params=["sentinel", "cluster"])
def store(request: pytest.FixtureRequest) -> Iterator[SentinelPair | Cluster]:
    """Run one store of each form, for tests that leave it whole."""
    make = {"sentinel": sentinel_pair, "cluster": cluster}[request.param]
    with make() as made:
        yield made


def master_and_replica(store: SentinelPair | Cluster) -> tuple[StoreServer, StoreServer]:
    """Find the two servers that have KEY."""
    master = store.master_of(KEY) if isinstance(store, Cluster) else store.master
    port = master.info("replication")["slave0"].partition("port=")[2].partition(",")[0]
    return master, next(server for server in store.servers if server.port == int(port))


async def test_a_write_that_returned_is_at_the_replica(store: SentinelPair | Cluster) -> None:
    """After commands or a script that are to be replicated, the replica's state is the master's, with no wait."""
    master, replica = master_and_replica(store)
    async with connected(f"{store.url}?replicas=1") as connection:
        for number in range(20):
            key = f"{KEY}:{number}"
            assert await connection.replicated(key, [("GET", key), ("SET", key, "1")]) == [None, b"OK"]
            assert replica.ask("DBSIZE") == master.ask("DBSIZE")
            assert await connection.script(COUNT, [f"{key}:other"], [1], replicated=True) == 1
            assert replica.ask("DBSIZE") == master.ask("DBSIZE")


async def test_a_replica_that_lags_makes_a_write_unavailable_until_it_follows(store: SentinelPair | Cluster) -> None:
    """The write stays written; the next one that the replica takes counts. Without `replicas` nothing waits."""
    _, replica = master_and_replica(store)
    async with connected(f"{store.url}?replicas=1") as connection, connected(store.url) as careless:
        await connection.execute("DEL", KEY)
        replica.freeze()
        try:
            assert await careless.script(COUNT, [KEY], [1], replicated=True) == 1
            for attempt in (
                lambda: connection.script(COUNT, [KEY], [1], replicated=True),
                lambda: connection.replicated(KEY, [("INCR", KEY)]),
            ):
                with pytest.raises(StoreUnavailable, match=TOO_FEW):
                    await attempt()
        finally:
            replica.thaw()
        assert await recovered(lambda: connection.replicated(KEY, [("GET", KEY), ("SET", KEY, "1")])) == [b"3", b"OK"]


async def test_more_replicas_than_there_are_make_every_write_unavailable(store: SentinelPair | Cluster) -> None:
    """A number that the store cannot reach is not taken for less, while reads and other writes go on."""
    async with connected(f"{store.url}?replicas=2") as connection:
        with pytest.raises(StoreUnavailable, match=TOO_FEW):
            await connection.script(COUNT, [KEY], [1], replicated=True)
        assert await connection.execute("SET", KEY, "1") == b"OK"


async def test_replicated_writes_find_a_master_that_was_replaced_in_good_order() -> None:
    """Where the old master lives on as a replica of the new one, it is left after one refusal at most.

    A command that it passes on to the new master must not be answered for by its own replicas.
    """
    with cluster() as nodes:
        old, new = master_and_replica(nodes)
        async with connected(f"{nodes.url}?replicas=1") as connection:
            assert await connection.script(COUNT, [KEY], [1], replicated=True) == 1
            new.ask("CLUSTER", "FAILOVER")
            await asyncio.to_thread(nodes.wait_for_failover, old, KEY)
            await asyncio.to_thread(
                eventually, lambda: "state=online" in new.info("replication").get("slave0", ""), "the old one follows"
            )
            with pytest.raises(StoreUnavailable, match=r" has these keys at another node now\.$"):
                await connection.script(COUNT, [KEY], [1], replicated=True)
            assert await connection.script(COUNT, [KEY], [1], replicated=True) == 2


@pytest.mark.parametrize(("option", "reason"), [("?replicas=1", TOO_FEW), ("", r" has too few replicas to accept")])
async def test_a_master_without_replicas_is_asked_for_anew(option: str, reason: str) -> None:
    """They may follow another master, so every connection to this one is given up, as with one that is read-only."""
    with store_server() as old, sentinel_pair() as others:
        if not option:
            old.ask("CONFIG", "SET", "min-replicas-to-write", "1")
        async with endpoint(old) as way, connected(f"{way.url}{option}") as connection:
            await asyncio.gather(*(connection.execute("GET", KEY) for _ in range(10)))
            way.server = others.master
            with pytest.raises(StoreUnavailable, match=reason):
                await connection.script(Script(COUNT.text), [KEY], [1], replicated=True)
            answers = await asyncio.gather(*(connection.script(COUNT, [KEY], [1], replicated=True) for _ in range(10)))
            assert sorted(answers) == list(range(1, 11))
