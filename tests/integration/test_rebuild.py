"""Rebuild: what the kept documents say, compared with what is kept, and put right, on a real store."""

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import redis
from msgspec.structs import replace

from cdr_service.domain.bookkeeping import Bookkeeper
from cdr_service.domain.calls import Call, Meeting
from cdr_service.domain.commit import Commit, Snapshot, read
from cdr_service.domain.directory import Directory, User
from cdr_service.domain.options import Options
from cdr_service.domain.upkeep import close_stale, forget_call
from cdr_service.domain.workspace import KINDS, Key, Workspace
from cdr_service.repair.derivation import Derivation
from cdr_service.repair.rebuild import Rebuild, Report
from cdr_service.repair.watching import Watch
from cdr_service.service import Deployment, Intake
from cdr_service.simulator.people import HOLDERS
from cdr_service.simulator.scenarios import documents, generate
from cdr_service.store.codec import PACKED_DOCUMENTS, decode
from cdr_service.store.connection import Connection, connect
from cdr_service.store.embedded import running_server
from cdr_service.store.history import RedisHistory
from cdr_service.store.kept import RedisKept
from cdr_service.store.keys import Keys
from cdr_service.store.redis_store import RedisStore, Written
from cdr_service.store.writes import DOCUMENT_BYTES
from tests.feed import Feed, call_end, call_start, join, leave
from tests.integration.command import Service, run, running, samples
from tests.integration.servers import StoreServer, eventually, put_directory, store_server
from tests.unit.facts import timeline

KEYS = Keys("default")
ALICE = Directory([User("alice@example.com", holds_license=True)])
NOBODY = Directory([User("alice@example.com", holds_license=False)])
Task = Callable[[Bookkeeper, Workspace, int], None]


def holding(*users: str) -> Directory:
    """Return a directory of these PMP+ holders, in which everybody else is known too."""
    return Directory([User(user, holds_license=user in users) for user in {*HOLDERS, *users}])


class World:
    """A store, what is set, and what comes in."""

    def __init__(self, server: StoreServer, connection: Connection) -> None:
        self.server = server
        self.connection = connection
        self.options = Options()
        self.now = 1_710_234_000_000
        """Our clock, 2024-03-12 09:00:00 until a test moves it."""
        self._versions = count(10_000_000)
        self._client = redis.Redis(unix_socket_path=f"{server.folder}/socket", protocol=2, retry=None)
        self._client.response_callbacks.clear()

    def store(self) -> RedisStore:
        """Return the store, with nothing remembered of it."""
        return RedisStore(self.connection, {"default": Written(policy=self.options.policy)}, "test")

    def intake(self) -> Intake:
        """Return an intake that is not running yet."""
        deployment = Deployment(name="default", options=self.options)
        return Intake(deployment, self.store(), Watch(), lambda: self.now)

    async def know(self, directory: Directory) -> None:
        """Make this the directory by which the service decides."""
        await put_directory(self.connection, "default", directory, str(next(self._versions)).encode())

    async def post(self, *bodies: bytes) -> None:
        """Have documents taken in."""
        async with self.intake().running() as intake:
            for body in bodies:
                await intake.receive(read(body))

    async def perform(self, task: Task) -> None:
        """Change the books."""
        async with self.intake().running() as intake:
            await intake.perform(task)

    async def rebuild(
        self,
        holders: Directory | None = None,
        *,
        policy: str | None = None,
        write: bool = False,
        kept_since: int = 0,
        known: Directory = ALICE,
    ) -> Report:
        """Derive all anew, as the command does."""
        derivation = Derivation(RedisKept(self.connection), "default", holders or known)
        options = self.options._replace(policy=policy or self.options.policy)
        rebuild = Rebuild(
            derivation,
            self.store,
            options,
            decided_by=self.options.policy,
            known_anew=holders is not None,
            kept_since=kept_since,
        )
        async with derivation.intake.running():
            await derivation.go_on()
            report = await rebuild.compare()
            if write:
                async with self.intake().running() as intake:
                    await rebuild.write(report, intake)
        return report

    async def history(self) -> dict[int, Any]:
        """Return the steps of the use over time, by hour."""
        found = await RedisHistory(self.connection).recorded("default", 2**62)
        return {hour: steps for hour, steps in found.steps.items() if steps}

    def ask(self, *command: Any) -> Any:
        """Send one command; the answer is bytes."""
        return self._client.execute_command(*command)

    def close(self) -> None:
        """Close the connection of `ask`."""
        self._client.close()

    def everything(self) -> dict[bytes, bytes]:
        """Return all that is in the store."""
        return {key: self.ask("DUMP", key) for key in self.ask("KEYS", "*")}

    def things(self) -> dict[Key, Any]:
        """Return every stored thing."""
        found = {}
        for name in self.ask("KEYS", f"{KEYS.prefix}*"):
            key = tuple(name.decode().removeprefix(KEYS.prefix).split(":"))
            if key[0] in KINDS and len(key) > 1:
                found[key] = decode(key, self.ask("GET", name))[0]
        return found

    def meeting(self, id_: str) -> Meeting:
        """Return a meeting."""
        meeting: Meeting = self.things()["meeting", id_]
        return meeting

    def licenses(self, meeting: str, policy: str = "join") -> list[str | None]:
        """Return whose license a meeting took, change by change: a holder, SMP+ or nothing."""
        changes = self.meeting(meeting).timeline.standings[policy].transitions
        return [change.after and (change.after.holder or change.after.type) for change in changes]

    def events(self, *names: str) -> list[dict[str, Any]]:
        """Return the events of some kinds, oldest first."""
        told = [json.loads(fields[1]) for _, fields in self.ask("XRANGE", KEYS.events, "-", "+")]
        return [event for event in told if event["event"] in names]

    def forget_documents(self, oldest: int) -> None:
        """Have the oldest of the kept documents go, as they do after their time."""
        for entry, _ in self.ask("XRANGE", KEYS.documents, "-", "+", "COUNT", oldest):
            self.ask("XDEL", KEYS.documents, entry)


class Interrupted:
    """A store before whose first load something happens."""

    def __init__(self, store: RedisStore, happens: Callable[[], Awaitable[None]]) -> None:
        self.interruptions = 0
        self._store = store
        self._happens = happens

    async def load(self, deployment: str, snapshot: Snapshot, keys: Iterable[Key], new: Collection[Key] = ()) -> None:
        """Load, after what happens."""
        if not self.interruptions:
            self.interruptions += 1
            await self._happens()
        await self._store.load(deployment, snapshot, keys, new)

    async def commit(self, deployment: str, commit: Commit) -> None:
        """Commit."""
        await self._store.commit(deployment, commit)


@pytest.fixture(scope="module")
def server() -> Iterator[StoreServer]:
    """Run a store for the tests of this module."""
    with store_server(unix=True) as started:
        yield started


@pytest.fixture
async def world(server: StoreServer) -> AsyncIterator[World]:
    """Give an empty store where alice@example.com is known to hold PMP+."""
    server.ask("FLUSHALL")
    async with AsyncExitStack() as stack:
        connection = connect(server.url)
        stack.push_async_callback(connection.close)
        made = World(server, connection)
        stack.callback(made.close)
        await made.know(ALICE)
        yield made


def facts(world: World) -> dict[Key, Any]:
    """Return what is derived from records: everything but what arrival decides, and the sessions."""
    found: dict[Key, Any] = {}
    for key, thing in world.things().items():
        match thing:
            case Meeting():
                calls = tuple(sorted(thing.calls))
                found[key] = replace(thing, calls=calls, timeline=timeline(thing.timeline))
            case Call():
                found[key] = replace(thing, recordings=tuple(sorted(thing.recordings)))
            case _ if key[0] in ("leg", "recording"):
                found[key] = thing
            case _:
                pass
    return found


def simulated(seed: int, meetings: int = 15) -> list[bytes]:
    """Return the documents of some simulated meetings, out of order for every second seed."""
    scenario = generate(seed, bridges=2, cluster=seed % 3 == 0, meetings=meetings)
    bodies = [document.body for document in documents(scenario)]
    if seed % 2:
        random.Random(seed).shuffle(bodies)
    return bodies


def lose(leg: str) -> Task:
    """Return what a fault might have done: a leg that nobody saw join."""

    def task(keeper: Bookkeeper, workspace: Workspace, _now: int) -> None:
        known = workspace.leg(leg)
        assert known is not None
        meeting = workspace.call(known.calls[0])
        assert meeting is not None
        workspace.put(replace(known, direction="outgoing"), "leg", leg)
        keeper.fold_again(meeting.meeting)

    return task


class TestCompared:
    """What differs is said, and nothing else; the store is only read."""

    @pytest.mark.parametrize("seed", range(4))
    @pytest.mark.parametrize("policy", ["join", "owner"])
    async def test_nothing_differs_where_nothing_is_wrong(self, world: World, seed: int, policy: str) -> None:
        """After any meetings, in whatever order they came, all lie inside and none differs; nothing is written."""
        world.options = Options(policy=policy)
        known = holding(*HOLDERS)
        await world.know(known)
        await world.post(*simulated(seed))
        before = world.everything()
        report = await world.rebuild(known=known)
        assert report.differences == []
        assert (report.different, report.outside, report.settled, report.overtaken, report.failed) == (0, 0, 0, 0, 0)
        assert report.same == sum(isinstance(thing, Meeting) for thing in world.things().values()) > 10
        assert world.everything() == before

    async def test_a_fault_is_said(self, world: World) -> None:
        """Which meeting, leg and change of the license it is, before and after."""
        feed = Feed()
        await world.post(
            feed.document(call_start("c", name="weekly"), join("bob", "c")),
            feed.document(join("alice", "c", "09:05:00")),
        )
        await world.perform(lose("alice"))
        assert world.licenses("m-c") == ["SMP+"]
        report = await world.rebuild()
        assert (report.documents, report.same, report.different) == (2, 0, 1)
        told = [difference.sentence for difference in report.differences]
        assert "leg alice: direction was outgoing, and is now incoming." in told
        assert any(
            "meeting m-c: license under join at 2024-03-12T09:05:00Z is now 1 SMP+ to PMP+ of alice" in one
            for one in told
        )
        assert {difference.meeting for difference in report.differences} == {"m-c"}
        assert world.licenses("m-c") == ["SMP+"]

    async def test_who_was_known_stays_known(self, world: World) -> None:
        """Holders that became known later change nothing of what was decided by what was known then."""
        feed = Feed()
        await world.know(NOBODY)
        await world.post(feed.document(call_start("c"), join("alice", "c"), call_end("c")))
        await world.know(ALICE)
        assert (await world.rebuild()).differences == []

    async def test_under_another_policy(self, world: World) -> None:
        """The license under the one is compared with that under the other."""
        await world.post(Feed().document(call_start("c"), join("alice", "c")))
        told = [difference.sentence for difference in (await world.rebuild(policy="owner")).differences]
        assert " ".join(told) == (
            "meeting m-c: license under owner (before: under join) at 2024-03-12T09:00:00Z was nothing to PMP+ of"
            " alice@example.com (first_participant, rule member-joined, leg alice), and is now nothing to 1 SMP+"
            " (first_participant, rule shared, leg alice)."
        )

    async def test_what_a_late_feed_brings_while_it_reads(self, world: World) -> None:
        """Documents that come between the reading and the comparing are read too, and make no difference."""
        feed = Feed()
        bodies = [feed.document(call_start(f"c{n}"), join(f"alice-{n}", f"c{n}")) for n in range(20)]
        ends = [feed.document(call_end(f"c{n}")) for n in range(20)]
        await world.post(*bodies)
        derivation = Derivation(RedisKept(world.connection), "default", ALICE)
        rebuild = Rebuild(derivation, world.store, world.options, decided_by="join", known_anew=False, kept_since=0)
        async with derivation.intake.running():
            await derivation.go_on()
            await world.post(*ends)
            report = await rebuild.compare()
        assert (report.same, report.differences) == (20, [])

    async def test_a_call_that_was_closed_without_a_record(self, world: World) -> None:
        """No record tells that nothing was heard of a call, so the documents do not speak against it."""
        await world.post(Feed().document(call_start("c"), join("alice", "c")))
        await world.perform(lambda keeper, workspace, _: close_stale(keeper, workspace, "c"))
        assert world.things()["call", "c"].end_estimated is not None
        assert (await world.rebuild()).differences == []

    async def test_a_session_that_was_replaced(self, world: World) -> None:
        """Calls that a restart ended stay ended."""
        old, new = Feed("old", "b"), Feed("new", "b")
        await world.post(old.document(call_start("c"), join("alice", "c")), new.document(call_start("d", "09:10:00")))
        assert world.things()["call", "c"].end_estimated is not None
        assert (await world.rebuild()).differences == []

    async def test_sessions_that_only_seem_to_replace_each_other(self, world: World) -> None:
        """That two sessions once ran at the same time stays known when the documents of that time are gone."""
        first, second, third = Feed("first"), Feed("second"), Feed("third")
        await world.post(
            first.document(call_start("a", "09:00:00")),
            second.document(call_start("b", "09:01:00")),
            first.document(call_end("a", "09:02:00")),
            second.document(call_start("c", "09:10:00"), join("alice", "c", "09:10:00")),
            third.document(call_start("d", "09:20:00")),
        )
        assert world.things()["call", "c"].end is None
        world.forget_documents(3)
        report = await world.rebuild()
        assert (report.same, report.differences) == (2, [])


class TestOutside:
    """What does not lie wholly inside the kept documents is left alone."""

    async def test_a_call_that_began_before_the_documents(self, world: World) -> None:
        """It is counted, and neither compared nor changed, even where it is wrong."""
        feed = Feed()
        await world.post(
            feed.document(call_start("c"), join("bob", "c")),
            feed.document(join("alice", "c", "09:05:00")),
            feed.document(call_start("d", "09:06:00"), join("alice-2", "d", "09:06:00")),
        )
        await world.perform(lose("alice"))
        world.forget_documents(1)
        before = world.everything()
        report = await world.rebuild(write=True)
        assert (report.same, report.different, report.outside, report.written) == (1, 0, 1, 0)
        assert world.everything() == before

    async def test_a_leg_that_came_before_its_call(self, world: World) -> None:
        """A callStart among the documents is not enough: a record that came before it may be gone."""
        feed = Feed()
        late = feed.document(call_start("c"))
        await world.post(feed.document(join("alice", "c", "09:05:00")), late)
        world.forget_documents(1)
        report = await world.rebuild(write=True)
        assert (report.outside, report.written, world.licenses("m-c")) == (1, 0, ["alice@example.com"])

    async def test_a_call_without_a_start(self, world: World) -> None:
        """A call known only from its legs may have begun at any time."""
        await world.post(Feed().document(join("alice", "c")))
        assert (await world.rebuild()).outside == 1

    async def test_a_waiting_meeting_whose_rivals_are_outside(self, world: World) -> None:
        """The ledgers know who pays whom: a license in use by a meeting that began earlier does not seem free."""
        feed = Feed()
        bodies = [
            feed.document(call_start(f"c{n}", f"09:0{n}:00"), join(f"alice-{n}", f"c{n}", f"09:0{n}:00"))
            for n in range(3)
        ]
        await world.post(*bodies, feed.document(call_end("c2", "10:00:00")))
        assert world.licenses("m-c2") == ["SMP+", None]
        world.forget_documents(2)
        report = await world.rebuild()
        assert (report.same, report.outside, report.differences) == (1, 0, [])

    async def test_a_wait_that_no_ledger_remembers(self, world: World) -> None:
        """Whoever waited so long ago that the rivals are forgotten is not compared, and that is said."""
        feed = Feed()
        ends = [call_end("c0", "09:30:00"), call_end("c1", "09:31:00"), call_end("c2", "09:32:00")]
        starts = [
            record
            for n in range(3)
            for record in (call_start(f"c{n}", f"09:0{n}:00"), join(f"alice-{n}", f"c{n}", f"09:0{n}:00"))
        ]
        await world.post(feed.document(*starts, *ends))
        later = Feed("later").document(call_start("d"), join("alice-3", "d"), call_end("d"))
        await world.post(later.replace(b"2024-03-12", b"2024-03-15"))
        assert world.licenses("m-c2")[0] == "SMP+"
        report = await world.rebuild(write=True)
        assert (report.same, report.settled, report.differences, report.written) == (3, 1, [], 0)

    async def test_what_retention_removed_stays_removed(self, world: World) -> None:
        """A call that is gone after its time does not come back with its documents."""
        await world.post(Feed().document(call_start("c"), join("alice", "c"), call_end("c")))
        await world.perform(lambda _, workspace, __: forget_call(workspace, "c"))
        report = await world.rebuild(write=True, kept_since=world.now + 1)
        assert (report.outside, report.written) == (1, 0)
        assert ("call", "c") not in world.things()
        assert (await world.rebuild(kept_since=world.now)).different == 1

    async def test_a_leg_in_two_meetings(self, world: World) -> None:
        """Meetings that share a leg are one: where one of them lies outside, the other is left alone too."""
        feed = Feed()
        await world.post(
            feed.document(call_start("c"), join("bob", "c")),
            feed.document(call_start("d"), join("alice", "d")),
            feed.document(join("alice", "c", "09:10:00")),
        )
        assert world.things()["leg", "alice"].calls == ("d", "c")
        world.forget_documents(1)
        assert (await world.rebuild()).outside == 2


class TestWritten:
    """What is put right, and what is told of it."""

    async def test_a_fault_is_put_right_and_told(self, world: World) -> None:
        """The license is as the documents say, an event tells it, and no other call changed by a byte."""
        feed = Feed()
        await world.post(
            feed.document(call_start("c"), join("bob", "c"), call_start("d"), join("dan", "d")),
            feed.document(join("alice", "c", "09:05:00"), leave("bob", "09:07:00")),
        )
        whole = facts(world)
        await world.perform(lose("alice"))
        others = {key: value for key, value in world.everything().items() if b":d" in key or b"m-d" in key}
        report = await world.rebuild(write=True)
        assert (report.different, report.written) == (1, 1)
        assert facts(world) == whole
        assert others
        assert {key: world.everything()[key] for key in others} == others
        switched = world.events("license.switched")
        assert [(event["to"], event["late"]) for event in switched] == [("PMP+", False), ("PMP+", True)]
        assert (await world.rebuild()).differences == []

    async def test_a_call_in_the_wrong_meeting(self, world: World) -> None:
        """It goes to the meeting that its callStart names, and the one that it made up is no more."""
        feed = Feed()
        for n, user in enumerate(("bob", "alice")):
            start = call_start(f"c{n}", f"09:0{n}:00", meeting="m", name="weekly")
            await world.post(feed.document(start, join(user, f"c{n}", f"09:0{n}:00")))
        whole = facts(world)

        def part(keeper: Bookkeeper, workspace: Workspace, _now: int) -> None:
            call, meeting = workspace.call("c1"), workspace.meeting("m")
            assert call is not None
            assert meeting is not None
            workspace.put(replace(call, correlator=None), "call", "c1")
            workspace.put(replace(meeting, calls=("c0",)), "meeting", "m")
            workspace.put(Meeting("c1", ("c1",), call.started), "meeting", "c1")
            keeper.fold_again("m")
            keeper.fold_again("c1")

        await world.perform(part)
        assert (world.licenses("m"), world.licenses("c1")) == (["SMP+"], ["alice@example.com"])
        report = await world.rebuild(write=True)
        assert "call c1 (weekly): meeting was c1, and is now m." in [one.sentence for one in report.differences]
        assert facts(world) == whole
        assert (await world.rebuild()).differences == []

    @pytest.mark.parametrize("seed", range(6))
    async def test_other_holders_as_if_they_had_held_all_along(self, world: World, seed: int) -> None:
        """Put right under other holders, the books are those that these documents give under them from the start."""
        before, after = holding(*HOLDERS[::2]), holding(*HOLDERS[1::2])
        bodies = simulated(seed)
        await world.know(before)
        await world.post(*bodies)
        report = await world.rebuild(after, write=True)
        assert report.different > 0
        assert report.written >= report.different
        rebuilt = facts(world)
        usage, history = world.ask("HGETALL", KEYS.usage), await world.history()
        world.ask("FLUSHALL")
        await world.know(after)
        await world.post(*bodies)
        assert rebuilt == facts(world)
        assert sorted(usage) == sorted(world.ask("HGETALL", KEYS.usage))
        assert history == await world.history()

    async def test_never_more_than_the_license_pays(self, world: World) -> None:
        """Three meetings that want a license which pays two: the dry run and the written books say the same third."""
        feed = Feed()
        await world.know(NOBODY)
        for n in range(3):
            await world.post(
                feed.document(call_start(f"c{n}", f"09:0{n}:00"), join(f"alice-{n}", f"c{n}", f"09:0{n}:00"))
            )
        dry = await world.rebuild(ALICE)
        written = await world.rebuild(ALICE, write=True)
        assert dry.differences == written.differences
        assert [world.licenses(f"m-c{n}")[-1] for n in range(3)] == ["alice@example.com", "alice@example.com", "SMP+"]

    async def test_a_meeting_outside_gets_the_slot_that_became_free(self, world: World) -> None:
        """Who waits for a license of which it shows that it was not in use is served, as after a late record."""
        feed = Feed()
        for n in range(3):
            await world.post(
                feed.document(call_start(f"c{n}", f"09:0{n}:00"), join(f"alice-{n}", f"c{n}", f"09:0{n}:00"))
            )
        assert world.licenses("m-c2")[-1] == "SMP+"
        world.ask("XDEL", KEYS.documents, world.ask("XRANGE", KEYS.documents, "-", "+")[2][0])
        told = [one.meeting for one in (await world.rebuild(NOBODY, write=True)).differences]
        assert "m-c2" in told
        assert world.licenses("m-c2")[-1] == "alice@example.com"

    async def test_a_policy_that_was_set_later(self, world: World) -> None:
        """What was decided under it all along is told and listed once it decides."""
        feed = Feed()
        bodies = [feed.document(call_start("c"), join("bob", "c")), feed.document(join("alice", "c", "09:05:00"))]
        world.options = Options(policy="owner")
        await world.post(*bodies)
        assert world.ask("ZCARD", KEYS.switches) == 0
        world.options = Options(policy="join")
        report = await world.rebuild(write=True)
        assert [one.sentence for one in report.differences] == [
            "meeting m-c: number of changes under join that no event tells was 2, and is now 0."
        ]
        assert [event["to"] for event in world.events("license.switched")] == ["PMP+"]
        assert world.ask("ZCARD", KEYS.switches) == 1
        assert (await world.rebuild()).differences == []

    async def test_a_record_that_comes_just_before_the_commit(self, world: World) -> None:
        """The facts that were derived before it came are not put in place; it is read, and then they are."""
        feed = Feed()
        await world.post(
            feed.document(call_start("c"), join("bob", "c")), feed.document(join("alice", "c", "09:05:00"))
        )
        await world.perform(lose("alice"))
        late = feed.document(leave("bob", "09:30:00"), join("dan", "c", "09:31:00"))
        derivation = Derivation(RedisKept(world.connection), "default", ALICE)
        rebuild = Rebuild(derivation, world.store, world.options, decided_by="join", known_anew=False, kept_since=0)
        async with derivation.intake.running():
            await derivation.go_on()
            report = await rebuild.compare()
            deployment = Deployment(name="default", options=world.options)
            store = Interrupted(world.store(), lambda: world.post(late))
            async with Intake(deployment, store, Watch(), lambda: world.now).running() as intake:
                await rebuild.write(report, intake)
        assert (report.written, report.overtaken, store.interruptions) == (1, 0, 1)
        assert [leg for leg in ("alice", "bob", "dan") if not world.things()["leg", leg].ended_at] == ["alice", "dan"]
        assert (await world.rebuild()).differences == []

    async def test_while_documents_come_in_nothing_is_lost(self, world: World) -> None:
        """Put right again and again while a feed goes on, the books lack no record of it in the end."""
        bodies = simulated(4, meetings=30)
        before, after = holding(*HOLDERS[::2]), holding(*HOLDERS[1::2])
        await world.know(before)
        sending = asyncio.create_task(world.post(*bodies))
        rounds = 0
        while not sending.done():
            report = await world.rebuild(after, write=True)
            rounds += bool(report.written)
        await sending
        assert rounds > 1
        await world.rebuild(after, write=True)
        assert (await world.rebuild(after)).differences == []
        rebuilt = facts(world)
        world.ask("FLUSHALL")
        await world.know(after)
        await world.post(*bodies)
        assert rebuilt == facts(world)


class TestBounds:
    """The received documents are kept within their bounds, and what is gone is left alone."""

    @staticmethod
    def sizes(home: Path) -> tuple[list[int], int]:
        """Return the compressed sizes of the kept documents, and the count of their bytes, from a running service."""
        url = running_server(home / ".local" / "share" / "cdr-service")
        assert url is not None
        with redis.Redis(unix_socket_path=url.removeprefix("unix://"), protocol=2, retry=None) as client:
            client.response_callbacks.clear()
            entries = client.execute_command("XRANGE", KEYS.documents, "-", "+")
            counted = client.execute_command("HGET", KEYS.counts, DOCUMENT_BYTES)
        return [len(fields[fields.index(PACKED_DOCUMENTS) + 1]) for _, fields in entries], int(counted or 0)

    def test_by_size(self, tmp_path: Path) -> None:
        """The oldest go once they take more than CDR_RAW_MAX_MB together, and the count stays right."""
        chance = random.Random(1)
        with running(tmp_path, "serve", settings={"CDR_RAW_MAX_MB": "1"}) as service:
            feed = Feed()
            for number in range(40):
                name = chance.randbytes(30_000).hex()
                assert service.post(feed.document(call_start(f"c{number}", name=name))) == 200

            def trimmed() -> list[int] | None:
                sizes, counted = self.sizes(tmp_path)
                # Between the two readings the oldest may have gone.
                return sizes if counted == sum(sizes) <= 2**20 else None

            sizes = eventually(trimmed, "the oldest go, and the count stays right")
            assert 20 < len(sizes) < 40
            assert sum(sizes) + sizes[0] > 2**20
            told = run(tmp_path, "rebuild")
            assert f"default: {len(sizes)} kept documents" in told.stdout
            assert f"meetings as the documents say: {len(sizes)}" in told.stdout

    def test_by_age(self, tmp_path: Path) -> None:
        """They go after CDR_RAW_RETENTION_HOURS, and a call whose documents are gone is no difference."""
        with running(tmp_path, "serve", settings={"CDR_RAW_RETENTION_HOURS": "0.0001"}) as service:
            assert service.post(Feed().document(call_start("c"), join("alice", "c"))) == 200
            eventually(lambda: self.sizes(tmp_path) == ([], 0), "the document goes")
            assert [call["id"] for call in service.get("/v1/calls")["items"]] == ["c"]
            told = run(tmp_path, "rebuild", "--write")
            assert (told.stdout, told.stderr) == ("default: 0 kept documents.\n", "")
            assert [call["id"] for call in service.get("/v1/calls")["items"]] == ["c"]


class TestCommand:
    """`cdr-service rebuild`, beside a service that runs and without one."""

    @pytest.fixture
    def service(self, tmp_path: Path) -> Iterator[Service]:
        """Run a service whose holders file has nobody, and give it a meeting that would have switched."""
        holders = tmp_path / "nobody.csv"
        holders.write_text("user,license\nalice@example.com,\n")
        with running(tmp_path, "serve", settings={"CDR_HOLDERS": str(holders)}) as started:
            for body in samples("switch"):
                assert started.post(body) == 200
            yield started

    def test_beside_a_service(self, service: Service, tmp_path: Path) -> None:
        """It says what differs, then puts it right; the API shows it, and the service's log has the switch once."""
        holders = tmp_path / "holders.csv"
        holders.write_text("user,license\nalice@example.com,PMP+\n")
        assert service.get("/v1/switches?late=all")["items"] == []
        dry = run(tmp_path, "rebuild", "--holders", str(holders))
        assert (dry.returncode, dry.stderr) == (0, "")
        assert re.search(r"^default: \d+ kept documents, received from \S+ to \S+\.$", dry.stdout, re.MULTILINE)
        assert "meetings that differ: 1" in dry.stdout
        assert "SMP+ to PMP+ of alice@example.com (member_joined, rule member-joined, leg" in dry.stdout
        assert dry.stdout.splitlines()[-1] == "Nothing was changed; --write puts it right."
        assert service.get("/v1/switches?late=all")["items"] == []
        told = run(tmp_path, "rebuild", "--holders", str(holders), "--write", "--json")
        (report,) = json.loads(told.stdout)["items"]
        assert (report["different"], report["written"]) == (1, 1)
        assert {"meeting", "subject", "field", "before", "after"} == report["differences"][0].keys()
        (switch,) = service.get("/v1/switches?late=all")["items"]
        assert (switch["from"]["type"], switch["to"]["holder"]) == ("SMP+", "alice@example.com")
        line = service.wait_for("license.switched")
        assert (line["to"], line["holder"], line["late"]) == ("PMP+", "alice@example.com", True)
        again = run(tmp_path, "rebuild")
        assert "meetings as the documents say: 1" in again.stdout
        assert service.status("/readyz") == 200
        assert len(service.events("license.switched")) == 1

    def test_without_a_service(self, service: Service, tmp_path: Path) -> None:
        """The embedded store is started for the command, and the next service prints what happened through it."""
        holders = tmp_path / "holders.csv"
        holders.write_text("user,license\nalice@example.com,PMP+\n")
        assert service.end() == 0
        told = run(tmp_path, "rebuild", "--holders", str(holders), "--write")
        assert (told.returncode, told.stderr) == (0, "")
        assert "meetings put right: 1" in told.stdout
        with running(tmp_path, "serve") as started:
            assert started.wait_for("license.switched")["holder"] == "alice@example.com"

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (("--deployment", "branch"), "There is no deployment branch; those that exist: default."),
            (("--policy", "owner", "--write"), "--write needs the policy that the service decides by, which is join."),
            (("--holders", "/nowhere.csv"), "--holders names /nowhere.csv, which cannot be used: No such file"),
            (("--policy", "first"), "'first' is not one of 'join', 'owner'"),
        ],
    )
    def test_a_wrong_command_line(self, tmp_path: Path, arguments: tuple[str, ...], sentence: str) -> None:
        """One sentence says what to change, and nothing is started."""
        told = run(tmp_path, "rebuild", *arguments)
        assert told.returncode == 2
        assert sentence in " ".join(told.stderr.split())
        assert list(tmp_path.iterdir()) == []

    def test_a_store_that_does_not_answer(self, tmp_path: Path) -> None:
        """It ends with 1 and the store's sentence."""
        told = run(tmp_path, "rebuild", CDR_REDIS_URL="redis://127.0.0.1:1")
        assert (told.returncode, told.stdout) == (1, "")
        assert "redis://127.0.0.1:1 cannot be reached" in told.stderr
