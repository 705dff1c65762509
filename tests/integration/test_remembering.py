"""What a process remembers of the store, and what it takes for new without asking, is checked by every commit."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cdr_service.domain.calls import Call
from cdr_service.domain.commit import Commit, Snapshot, read
from cdr_service.domain.workspace import LEGS_OF, Workspace
from cdr_service.errors import StoreConflict
from cdr_service.repair.watching import Watch
from cdr_service.service import Deployment, Intake
from cdr_service.store.connection import Connection, connect
from cdr_service.store.reads import RedisReads
from cdr_service.store.redis_store import RedisStore, Written
from tests.feed import Feed, call_start, join, leave
from tests.integration.servers import StoreServer, store_server


@pytest.fixture(scope="module")
def server() -> Iterator[StoreServer]:
    """Run a store for these tests."""
    with store_server() as started:
        yield started


@pytest.fixture
async def connection(server: StoreServer) -> AsyncIterator[Connection]:
    """Connect to an empty store."""
    server.ask("FLUSHALL")
    opened = connect(server.url)
    yield opened
    await opened.close()


class CountedConflicts(RedisStore):
    """A store that counts the commits which met a change of another process, and what was asked for."""

    conflicts = 0
    asked = 0

    async def commit(self, deployment: str, commit: Commit) -> None:
        """Commit."""
        try:
            await super().commit(deployment, commit)
        except StoreConflict:
            self.conflicts += 1
            raise

    async def _read(self, deployment: str, snapshot: Snapshot, keys: Any) -> None:
        self.asked += len(keys)
        await super()._read(deployment, snapshot, keys)


def process(connection: Connection, name: str) -> CountedConflicts:
    """Return the store as another process sees it that remembers nothing yet."""
    return CountedConflicts(connection, {"default": Written()}, name)


@asynccontextmanager
async def intake(store: RedisStore) -> AsyncIterator[Intake]:
    """Take in documents by a store."""
    async with Intake(Deployment(name="default"), store, Watch(), lambda: 1).running() as started:
        yield started


async def test_what_a_process_takes_for_new_is_looked_up_where_it_is_not(connection: Connection) -> None:
    """A callStart of a meeting, and a callLegStart of a leg, of which another process has told already."""
    one, two = process(connection, "one"), process(connection, "two")
    feed, other = Feed("a", "cb-a"), Feed("b", "cb-b")
    async with intake(one) as first:
        await first.receive(read(feed.document(call_start("c", meeting="m"), join("alice", "c"))))
    async with intake(two) as second:
        await second.receive(read(other.document(call_start("d", meeting="m"), join("bob", "d"))))
        await second.receive(read(feed.document(join("alice", "c", "09:05:00", displayName="Alice"))))
    reads = RedisReads(connection)
    meeting, leg = await reads.things("default", [("meeting", "m"), ("leg", "alice")])
    assert sorted(meeting.calls) == ["c", "d"]
    assert meeting.timeline.participants == 2
    assert len(leg.observations) == 2, "what was known of the leg is kept"
    assert (one.conflicts, two.conflicts) == (0, 2)


async def test_a_meeting_that_one_process_follows_is_never_asked_for(connection: Connection) -> None:
    """From its first record to its last, once the session is known; the end of the call needs all legs."""
    store, feed = process(connection, "one"), Feed()
    async with intake(store) as first:
        await first.receive(read(feed.document()))
        await first.receive(read(feed.document(call_start("before"))))
        known = store.asked
        for record in (call_start("c"), join("alice", "c"), join("bob", "c"), leave("alice"), leave("bob")):
            await first.receive(read(feed.document(record)))
    assert (store.asked - known, store.conflicts) == (0, 0)


async def test_a_commit_finds_legs_that_another_process_put_on_a_call(connection: Connection) -> None:
    """Though the call itself did not change: so many members as were read must be there still."""
    store, feed = process(connection, "one"), Feed()
    async with intake(store) as first:
        await first.receive(read(feed.document(call_start("c"), join("alice", "c"))))
    other = process(connection, "two")

    async def end_with_all_legs() -> None:
        snapshot = Snapshot()
        await store.load("default", snapshot, [("call", "c"), (LEGS_OF, "c")])
        await store.load("default", snapshot, [("leg", leg) for leg in snapshot.things[LEGS_OF, "c"]])
        workspace = Workspace(snapshot.things)
        workspace.legs_of(["c"])
        call = workspace.call("c")
        assert isinstance(call, Call)
        workspace.put(call, "call", "c")
        await store.commit("default", Commit(snapshot=snapshot, workspace=workspace, received=1))

    await end_with_all_legs()
    async with intake(other) as second:
        await second.receive(read(feed.document(join("bob", "c", direction="outgoing"))))
    with pytest.raises(StoreConflict):
        await end_with_all_legs()
    await end_with_all_legs()
