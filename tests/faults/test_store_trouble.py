"""A store in trouble: 503 and nothing half done, recovery without a restart, and one line about it in the log."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest

from cdr_service.service import WAITING_BYTES_MAX
from tests.faults.processes import every_event_is_printed, stream
from tests.faults.senders import answers, status_of
from tests.faults.service import Service, eventually, service
from tests.feed import Feed, call_start, join, leave
from tests.integration.servers import StoreServer, free_port, running, store_server

DIFFERENT_SENDERS = 8


class Trouble(NamedTuple):
    """What can be wrong with a store."""

    begin: Callable[[StoreServer], object]
    end: Callable[[StoreServer], object]
    told: str
    """What the log says of it."""


def starve(store: StoreServer) -> None:
    """Let the store have no memory for another write."""
    store.ask("CONFIG", "SET", "maxmemory", "1")


TROUBLES = {
    "gone": Trouble(StoreServer.kill, StoreServer.start, "cannot be reached"),
    "stalled": Trouble(StoreServer.freeze, StoreServer.thaw, "did not answer in time"),
    "read-only": Trouble(
        lambda store: store.ask("REPLICAOF", "127.0.0.1", free_port()),
        lambda store: store.ask("REPLICAOF", "NO", "ONE"),
        "is a read-only replica",
    ),
    "out of memory": Trouble(starve, lambda store: store.ask("CONFIG", "SET", "maxmemory", "0"), "is out of memory"),
}


@asynccontextmanager
async def pushing(served: Service, *sent: bytes) -> AsyncIterator[list[asyncio.Task[int]]]:
    """Push documents at the same time; gives the tasks that return how each was answered."""
    async with aiohttp.ClientSession() as http:
        yield [asyncio.create_task(status_of(http, served.intake_url, document)) for document in sent]


def document(number: int, session: str = "s") -> bytes:
    """Return a document of a session of its own: somebody joins a call."""
    return Feed(f"{session}-{number}").document(call_start(f"call-{number}"), join(f"bob-{number}", f"call-{number}"))


@pytest.mark.parametrize("kind", TROUBLES)
async def test_a_store_in_trouble_costs_nothing_but_time(kind: str, tmp_path: Path) -> None:
    """While it lasts every document is refused with 503; then, with no restart, each is taken once and wholly.

    The outage is one line in the log however many requests it met, and its end is another. Nothing of a refused
    document is in the store, except after a stall, where it may be, wholly.
    """
    trouble = TROUBLES[kind]
    with store_server() as store, service(tmp_path, redis_url=store.url) as served:
        await served.start()
        assert await answers(served.intake_url, document(0)) == [200]
        known = await served.get("/v1/calls")
        await asyncio.to_thread(trouble.begin, store)
        refused = [document(number) for number in range(1, DIFFERENT_SENDERS)]
        for _ in range(1 if kind == "stalled" else 3):
            assert set(await answers(served.intake_url, *refused)) == {503}
        ready = await served.ready()
        assert (ready["ok"], ready["draining"]) == (False, False) or kind in ("read-only", "out of memory")
        if kind in ("read-only", "out of memory"):
            assert await served.get("/v1/calls") == known
        assert [line["reason"].partition(" is ")[0] for line in served.lines("store.restored")] == []
        await asyncio.to_thread(trouble.end, store)
        await eventually(lambda: served.lines("store.restored"), "the store is back")
        calls = {call["id"]: call["legs"] for call in (await served.get("/v1/calls"))["items"]}
        if kind != "stalled":
            assert calls == {"call-0": 1}
        assert set(calls.values()) == {1}
        assert set(await answers(served.intake_url, *refused, *refused)) == {200}
        calls = {call["id"]: call["legs"] for call in (await served.get("/v1/calls"))["items"]}
        assert calls == {f"call-{number}": 1 for number in range(DIFFERENT_SENDERS)}
        assert [bridge["records"] for bridge in (await served.get("/v1/bridges"))["items"]] == [2 * DIFFERENT_SENDERS]
        (line,) = served.lines("store.unavailable")
        assert trouble.told in line["reason"]
        assert len(served.lines("store.restored")) == 1
        await every_event_is_printed(store, [served])
        assert await served.stop() == 0


async def test_a_commit_whose_answer_is_lost_is_done_once_and_told_once(tmp_path: Path) -> None:
    """The store does the commit of a document that was refused: sent again it changes nothing, and its events are told.

    The process that committed never learned that it did, and goes on. What happened still stands on its log.
    """
    feed = Feed("s")
    with store_server() as store, service(tmp_path, redis_url=store.url) as served:
        await served.start()
        assert await answers(served.intake_url, feed.document(call_start("call"), join("bob", "call"))) == [200]
        leaving = feed.document(leave("bob"))
        store.freeze()
        # All that this document changes is remembered, so that the commit is the first command that waits.
        assert await answers(served.intake_url, leaving) == [503]
        store.thaw()
        await eventually(lambda: [event for event in stream(store) if event["event"] == "leg.left"], "it is committed")
        assert await answers(served.intake_url, leaving) == [200]
        await every_event_is_printed(store, [served])
        told = [event["event"] for event in stream(store) if "meeting" in event]
        assert told == ["call.started", "leg.joined", "license.assigned", "leg.left", "license.released"]
        assert await served.stop() == 0


async def test_a_store_that_is_down_at_the_start_is_waited_for(tmp_path: Path) -> None:
    """The service starts without its store, refuses with 503, says so once, and takes documents once the store comes.

    What is unsafe about that store is told when it is found out.
    """
    store = StoreServer(port=free_port(), appendonly="no", maxmemory_policy="allkeys-lru")
    with service(tmp_path, redis_url=store.url) as served:
        await served.start()
        assert (await served.ready())["store"] is False
        assert set(await answers(served.intake_url, *map(document, range(3)))) == {503}
        with running(store):
            await eventually(lambda: served.lines("store.restored"), "the store is there")
            assert set(await answers(served.intake_url, *map(document, range(3)))) == {200}
            ready = await served.ready()
            assert ready["ok"]
            assert ["may evict keys" in ready["unsafe"][0], "keeps no append-only file" in ready["unsafe"][1]] == [
                True
            ] * 2
            assert [line["reason"] for line in served.lines("store.unsafe")] == ready["unsafe"]
            assert await served.stop() == 0
        assert len(served.lines("store.unavailable")) == len(served.lines("store.restored")) == 1


@pytest.mark.parametrize(
    ("options", "sentences"),
    [
        ({}, []),
        ({"maxmemory_policy": "volatile-lru"}, ["may evict keys (maxmemory-policy volatile-lru)"]),
        ({"appendonly": "no"}, ["keeps no append-only file (appendonly no)"]),
        ({"appendfsync": "everysec"}, ["syncs it to disk once a second"]),
    ],
)
async def test_an_unsafe_store_is_named_at_start(options: dict[str, str], sentences: list[str], tmp_path: Path) -> None:
    """A store that may lose what it acknowledged is named in the log and in `/readyz`, which is ready all the same."""
    with store_server(**options) as store, service(tmp_path, redis_url=store.url) as served:
        await served.start()
        ready = await served.ready()
        assert ready["ok"]
        assert [line["reason"] for line in served.lines("store.unsafe")] == ready["unsafe"]
        assert len(ready["unsafe"]) == len(sentences)
        assert all(sentence in told for sentence, told in zip(sentences, ready["unsafe"], strict=True))


async def test_documents_that_wait_for_the_store_take_bounded_memory(tmp_path: Path) -> None:
    """While the store stalls, large documents wait up to a bound; those beyond it are told at once to come again."""
    size, most = 4 * 2**20, WAITING_BYTES_MAX // (4 * 2**20)
    large = [document(number, "large").replace(b"</records>", b" " * size + b"</records>") for number in range(24)]
    with store_server() as store, service(tmp_path, redis_url=store.url) as served:
        await served.start()
        assert await answers(served.intake_url, document(0)) == [200]
        before = memory(served.pid)
        store.freeze()
        async with pushing(served, *large[:12]) as first:
            await asyncio.sleep(1.0)  # so that they wait for the store, rather than to be parsed
            async with pushing(served, *large[12:]) as second:
                beyond = len(large) - most
                await eventually(lambda: sum(task.done() for task in second) >= beyond, "some are refused")
                assert not served.lines("store.unavailable"), "they are refused only once the store is given up"
                assert memory(served.pid) - before < 3 * WAITING_BYTES_MAX
                assert {task.result() for task in second if task.done()} == {503}
                store.thaw()
                assert set(await asyncio.gather(*first, *second)) <= {200, 503}
        assert set(await answers(served.intake_url, *large)) <= {200, 503}
        assert await served.stop() == 0


def memory(process_id: int) -> int:
    """Return how much memory a process has in use, in bytes."""
    status = Path(f"/proc/{process_id}/status").read_text()
    return 1024 * int(status.partition("VmRSS:")[2].split()[0])
