"""What a process remembers of the store: what is live, however much there was before it."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cdr_service.domain.commit import read
from cdr_service.metrics import Metrics
from cdr_service.reporting import Reporter
from cdr_service.service import Deployment, Intake
from cdr_service.simulator.scenarios import documents, generate
from cdr_service.store.connection import connect
from cdr_service.store.redis_store import RedisStore, Written
from tests.feed import Feed, call_end, call_start, join, leave
from tests.integration.servers import store_server


@asynccontextmanager
async def intake() -> AsyncIterator[tuple[Intake, RedisStore]]:
    """Run an intake on an empty store."""
    with store_server() as server:
        connection = connect(server.url)
        store = RedisStore(connection, {"default": Written()}, "one")
        made = Intake(Deployment(name="default"), store, Reporter(Metrics(["default"])), lambda: 1)
        try:
            async with made.running() as one:
                yield one, store
        finally:
            await connection.close()


def remembered(store: RedisStore) -> Counter[str]:
    """Return how many things of each kind a process remembers."""
    return Counter(key[0] for key in store._cache("default")._things)


async def test_a_meeting_is_forgotten_when_it_is_over() -> None:
    """So memory does not grow with what has been; what is on no call stays until there is too much of it."""
    async with intake() as (one, store):
        most = 0
        for document in documents(generate(4, meetings=60, bridges=3, cluster=True)):
            await one.receive(read(document.body))
            most = max(most, remembered(store)["leg"])
        left = remembered(store)
    assert {kind: left[kind] for kind in ("call", "meeting", "recording")} == {"call": 0, "meeting": 0, "recording": 0}
    assert most > 50
    assert left["leg"] < 10


async def test_what_goes_on_is_remembered() -> None:
    """A meeting on two Call Bridges is over when both of its calls are, and not before."""
    a, b = Feed("a"), Feed("b")
    async with intake() as (one, store):
        await one.receive(read(a.document(call_start("c", meeting="m"), join("alice-1", "c"))))
        await one.receive(read(b.document(call_start("d", meeting="m"), join("bob-1", "d"))))
        await one.receive(read(a.document(leave("alice-1"), call_end("c"))))
        whole = remembered(store)
        assert {kind: whole[kind] for kind in ("call", "meeting", "leg")} == {"call": 2, "meeting": 1, "leg": 2}
        await one.receive(read(b.document(leave("bob-1"), call_end("d"))))
        assert not {"call", "meeting", "leg", "legs"} & remembered(store).keys()
