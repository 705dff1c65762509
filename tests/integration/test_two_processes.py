"""Two processes on one store: what the one looks after is what the other took in."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count

import pytest

from cdr_service.domain.commit import Commit, read
from cdr_service.enquiries.informant import HoldersOnly
from cdr_service.errors import StoreConflict
from cdr_service.holders import HoldersFile
from cdr_service.metrics import Metrics
from cdr_service.parting import Task
from cdr_service.reporting import Reporter
from cdr_service.service import Deployment, Intake
from cdr_service.settings import DeploymentSettings
from cdr_service.store.connection import connect
from cdr_service.store.redis_store import RedisStore, Written
from cdr_service.store.upkeep import Upkeep
from cdr_service.upkeep import SETTLE_SECONDS, Caretaker, Spans
from tests.faults.processes import stream
from tests.feed import Feed, call_start, join
from tests.integration.servers import StoreServer, store_server

LATER = (SETTLE_SECONDS + 1) * 1000


@pytest.fixture
def store() -> Iterator[StoreServer]:
    """Run a store."""
    with store_server() as started:
        yield started


class Process(Intake):
    """The intake and the upkeep of one process; counts what takes a turn among the documents."""

    turns = 0
    caretaker: Caretaker

    async def perform(self, task: Task) -> None:
        """Count a task and do it."""
        self.turns += 1
        await super().perform(task)


@asynccontextmanager
async def process(store: StoreServer, name: str) -> AsyncIterator[Process]:
    """Have a process on the store, whose clock stands at the first millisecond."""
    connection, deployment = connect(store.url), Deployment(name="default")
    reporter, upkeep = Reporter(Metrics(["default"])), Upkeep(connection, "default", name)
    made = Process(deployment, RedisStore(connection, {"default": Written()}, name), reporter, lambda: 1)
    holders = HoldersFile(DeploymentSettings(), "CDR_HOLDERS")
    made.caretaker = Caretaker(made, upkeep, reporter, HoldersOnly(holders), Spans())
    async with made.running():
        yield made
    await connection.close()


class Slow(RedisStore):
    """A store in which another process is quicker than any commit of more than one document."""

    async def commit(self, deployment: str, commit: Commit) -> None:
        """Commit, or meet a change."""
        if len(commit.documents) > 1:
            raise StoreConflict("something was changed by another process")
        await super().commit(deployment, commit)


async def test_documents_that_cannot_be_committed_together_are_taken_one_by_one(store: StoreServer) -> None:
    """Where other processes change what a large commit rests on, its documents are not refused."""
    connection = connect(store.url)
    slow = Slow(connection, {"default": Written()}, "one")
    documents = [read(Feed(f"s{number}").document(call_start(f"c{number}"))) for number in range(5)]
    async with Intake(Deployment(name="default"), slow, Reporter(Metrics(["default"])), lambda: 1).running() as intake:
        await asyncio.gather(*(intake.receive(document) for document in documents))
    await connection.close()
    assert store.ask("ZCARD", "cdr:{default}:live") == store.ask("XLEN", "cdr:{default}:raw") == 5


def missing(store: StoreServer) -> list[int]:
    """Return how many records each event says are missing."""
    return [event["missing"] for event in stream(store) if event["event"] == "records.missing"]


async def test_a_loss_is_told_by_the_process_that_looks_after_it_though_another_took_the_records(
    store: StoreServer,
) -> None:
    """What the one remembers of the session is older than the gap; the loss is told all the same, and once."""
    feed = Feed("s", "cb")
    async with process(store, "one") as one, process(store, "two") as two:
        await one.receive(read(feed.document(call_start("call"))))
        feed.next_correlator += 3
        await two.receive(read(feed.document(join("alice", "call"))))
        for _ in range(2):
            await one.caretaker._conclude(LATER)
            assert missing(store) == [3]


async def test_sessions_that_lack_nothing_take_no_turn_among_the_documents(store: StoreServer) -> None:
    """Looked at within a commit, a session that another process goes on changing would refuse that commit for ever."""
    feeds, calls = [Feed(f"s{number}", f"cb{number}") for number in range(12)], count()
    async with process(store, "one") as one, process(store, "two") as two:
        for feed in feeds:
            await two.receive(read(feed.document(call_start(f"c{next(calls)}"))))
        await one.caretaker._conclude(LATER)
        assert one.turns == 0
        feeds[0].next_correlator += 1
        await two.receive(read(feeds[0].document(call_start("late"))))
        await one.caretaker._conclude(LATER)
        assert (one.turns, missing(store)) == (1, [1])
