"""What runs once among all processes: handed over when its process dies or stalls, and never in the intake's way."""

import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cdr_service.domain.reception import CALLS_AT_ONCE
from cdr_service.upkeep import LEASE_SECONDS
from tests.faults.fleets import Touched, overheard
from tests.faults.processes import every_event_is_printed, stream
from tests.faults.senders import answers
from tests.faults.service import LONG, Service, eventually, service
from tests.feed import Feed, call_end, call_start, join
from tests.integration.servers import StoreServer, store_server

LEASE = "cdr:{default}:lease:upkeep"
SILENT_SECONDS = 8
"""How long the tests of the lease wait before a call is stale: longer than they take to end a process."""


@asynccontextmanager
async def two(store: StoreServer, folder: Path, **settings: str) -> AsyncIterator[tuple[Service, Service]]:
    """Have two processes on a store, of which the first has the lease."""
    with (
        service(folder / "first", redis_url=store.url, **settings) as first,
        service(folder / "second", redis_url=store.url, **settings) as second,
    ):
        await first.start()
        holder = store.ask("GET", LEASE)
        await second.start()
        assert store.ask("GET", LEASE) == holder
        yield first, second


def told(store: StoreServer, event: str) -> list[dict[str, Any]]:
    """Return the events of a name."""
    return [one for one in stream(store) if one["event"] == event]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_the_upkeep_of_a_process_that_is_gone_is_taken_over_and_nothing_runs_twice(
    tmp_path: Path, how: signal.Signals
) -> None:
    """Killed, or stalled and back later: once the lease has run out another process takes it and closes each call once.

    The directory is set once, and one that comes back finds that the lease is another's.
    """
    with store_server() as store:
        async with two(store, tmp_path, stale_call_hours=str(SILENT_SECONDS / 3600)) as (first, second):
            holder = store.ask("GET", LEASE)
            calls = [f"call-{number}" for number in range(30)]
            sent = (Feed(f"s-{call}", call).document(call_start(call), join(f"alice-{call}", call)) for call in calls)
            assert set(await answers(second.intake_url, *sent)) == {200}
            first.send(how)
            assert 0 < store.ask("PTTL", LEASE) <= LEASE_SECONDS * 1000
            assert not told(store, "call.ended")
            await eventually(lambda: store.ask("GET", LEASE) not in (None, holder), "the lease is taken over")
            await eventually(lambda: len(told(store, "call.ended")) >= len(calls), "the calls are closed")
            taker = store.ask("GET", LEASE)
            if how is signal.SIGKILL:
                first.ended()
                await first.start()
            else:
                first.send(signal.SIGCONT)
                await first.ready()
            assert await answers(first.intake_url, Feed("late").document(call_start("late"))) == [200]
            await eventually(lambda: len(told(store, "call.ended")) > len(calls), "a later call is closed")
            assert store.ask("GET", LEASE) == taker
            assert Counter(one["call"] for one in told(store, "call.ended")) == Counter([*calls, "late"])
            assert len(told(store, "directory.changed")) == 1
            await every_event_is_printed(store, [first, second])
            assert not first.lines("upkeep.failed") + second.lines("upkeep.failed")
            assert [await one.stop() for one in (first, second)] == [0, 0]


async def test_processes_with_different_holders_files_decide_alike_and_say_so(tmp_path: Path) -> None:
    """All decide by the file of the process that has the lease; the other warns, once, and its file counts after it."""
    only_bob = tmp_path / "other.csv"
    only_bob.write_text("user,license\nalice@example.com,\nbob@example.com,PMP+\n")
    feed = Feed("s", "cb")
    with (
        store_server() as store,
        service(tmp_path / "first", redis_url=store.url) as first,
        service(tmp_path / "second", redis_url=store.url, holders=str(only_bob)) as second,
    ):
        await first.start()
        await second.start()
        sent = feed.document(call_start("call"), join("alice", "call"), join("bob", "call"))
        assert await answers(second.intake_url, sent) == [200]
        assert (await second.get("/v1/calls/call"))["license"]["holder"] == "alice@example.com"
        await eventually(lambda: second.lines("directory.differs"), "the other says that its file differs")
        first.kill()

        async def is_bobs() -> bool:
            return (await second.get("/v1/calls/call"))["license"]["holder"] == "bob@example.com"

        await eventually(is_bobs, "the file of the process that took over counts")
        assert len(second.lines("directory.differs")) == 1
        assert len(told(store, "directory.changed")) == 2
        assert await second.stop() == 0


def removed_calls(script: Touched) -> int:
    """Return how many calls a script removed."""
    return sum(name == "DEL" and ":call:" in key for name, key in script.used)


def takes_a_document(script: Touched) -> bool:
    """Return whether a script took in a document."""
    return any(name == "XADD" and key.endswith(":raw") for name, key in script.used)


async def test_retention_of_thousands_of_calls_lets_documents_in_between(tmp_path: Path) -> None:
    """It removes a few calls at a time, and documents are committed and answered in between until all are gone."""
    count = 10_000 if LONG else 2000
    feed, later = Feed("s", "cb"), Feed("t", "cb-2")
    with store_server() as store:
        with service(tmp_path / "before", redis_url=store.url) as loading:
            await loading.start()
            for first in range(0, count, 100):
                ids = [f"c{number}" for number in range(first, first + 100)]
                records = [record for id_ in ids for record in (call_start(id_), call_end(id_))]
                assert await answers(loading.intake_url, feed.document(*records)) == [200]
            assert await loading.stop() == 0
        with service(tmp_path / "after", redis_url=store.url, retention_days=str(1 / 86400)) as served:
            with overheard(store) as scripts:
                await served.start()
                pushed = 0
                while store.ask("ZCARD", "cdr:{default}:expiring"):
                    assert await answers(served.intake_url, later.document(call_start(f"d{pushed}"))) == [200]
                    pushed += 1
            removing = [place for place, script in enumerate(scripts) if removed_calls(script)]
            assert sum(removed_calls(scripts[place]) for place in removing) == count
            assert max(removed_calls(scripts[place]) for place in removing) <= 10
            between = scripts[removing[0] : removing[-1]]
            assert sum(map(takes_a_document, between)) >= 10
            assert not served.lines("upkeep.failed")
            assert await served.stop() == 0


async def test_a_restart_with_thousands_of_open_calls_ends_them_in_steps_through_a_kill(tmp_path: Path) -> None:
    """A Call Bridge begins a new session; the service is killed half-way: each call ends once, few in each commit."""
    count = 5000
    old, new = Feed("old", "cb"), Feed("new", "cb")
    with store_server() as store, service(tmp_path, redis_url=store.url) as served:
        await served.start()
        for first in range(0, count, 250):
            records = [call_start(f"c{number}") for number in range(first, first + 250)]
            assert await answers(served.intake_url, old.document(*records)) == [200]
        assert await answers(served.intake_url, new.document(call_start("new-call", "09:10:00"))) == [200]
        (replaced,) = told(store, "session.replaced")
        assert len(replaced["calls"]) + replaced["more_calls"] == count

        def ended() -> int:
            return int(store.ask("ZCARD", "cdr:{default}:ended"))

        await eventually(lambda: ended() > CALLS_AT_ONCE, "calls are ended")
        served.kill()
        assert CALLS_AT_ONCE <= ended() < count
        assert store.ask("SMEMBERS", "cdr:{default}:ending") == ["old"]
        await served.start()
        await eventually(lambda: ended() == count, "all calls are ended")
        ends = told(store, "call.ended")
        assert Counter(one["call"] for one in ends) == Counter(f"c{number}" for number in range(count))
        assert {one["record_time"] for one in ends} == {"2024-03-12T09:10:00Z"}
        assert max(Counter(one["event_id"].partition("-")[0] for one in ends).values()) <= CALLS_AT_ONCE
        await eventually(lambda: not store.ask("EXISTS", "cdr:{default}:ending"), "nothing is left to be ended")
        (used,) = (await served.get("/v1/usage"))["items"]
        assert used["calls"] == 1
        assert [call["id"] for call in (await served.get("/v1/calls"))["items"]] == ["new-call"]
        assert await served.stop() == 0
