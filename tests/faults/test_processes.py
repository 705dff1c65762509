"""Several processes on one store: the facts of one process, and every event once in the stream and on some log."""

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import IO, Any

import aiohttp

from cdr_service.simulator.scenarios import documents
from tests.faults.processes import every_event_is_printed, stream
from tests.faults.senders import Load, answers, bodies, status_of, striking
from tests.faults.service import LONG, SEED, Service, eventually, service
from tests.faults.undisturbed import compared, scenario
from tests.feed import Feed, call_start, join, leave
from tests.integration.servers import StoreServer, store_server

MEETINGS = 600 if LONG else 30


@asynccontextmanager
async def several(count: int, store: StoreServer, folder: Path) -> AsyncIterator[list[Service]]:
    """Have so many processes on one store."""
    async with AsyncExitStack() as stack:
        made = [stack.enter_context(service(folder / str(n), redis_url=store.url)) for n in range(count)]
        for one in made:
            await one.start()
        yield made


def tells_a_switch(event: dict[str, Any]) -> bool:
    """Say whether an event tells of a switch, as it happened or as it turned out to have been."""
    if event["event"] not in ("license.switched", "license.corrected") or "user" not in event:
        return False
    before, after = (event["from"], event["from_holder"]), (event["to"], event["holder"])
    return bool(before[0] and after[0] and before != after)


def assert_one_event_a_switch(events: Sequence[dict[str, Any]], switches: Sequence[dict[str, Any]]) -> None:
    """Fail unless the stream tells of each switch once; what a later event supersedes does not count."""
    assert len({event["event_id"] for event in events}) == len(events)
    superseded = {id_ for event in events for id_ in event.get("supersedes", ())}
    told = Counter(
        (event["meeting"], event["record_time"], event["from"], event["to"], event["holder"])
        for event in events
        if tells_a_switch(event) and event["event_id"] not in superseded
    )
    known = Counter(
        (switch["meeting"], switch["at"], switch["from"]["type"], switch["to"]["type"], switch["to"]["holder"])
        for switch in switches
        if switch["kind"] != "weight"
    )
    assert told == known
    assert set(known.values()) == {1}


async def test_processes_that_share_a_store_know_what_one_would(tmp_path: Path) -> None:
    """Two feeds of each bridge, each document to any of three processes: the facts of one, and one event a switch."""
    with store_server() as store:
        async with several(3, store, tmp_path) as services:
            load = Load(scenario(MEETINGS), *(one.intake_url for one in services), feeds=2, seed=SEED)
            await load.run()
            assert not load.refused
            await compared("Three processes on one store", MEETINGS, load, services[0], 0)
            switches = (await services[1].get("/v1/switches", kind="all", late="all", limit="500"))["items"]
            assert_one_event_a_switch(stream(store), switches)
            await every_event_is_printed(store, services)
            assert [await one.stop() for one in services] == [0, 0, 0]


async def test_kills_among_processes_that_share_a_store_lose_and_double_nothing(tmp_path: Path) -> None:
    """One of three processes after the other is killed: the facts are right, and what none of them printed is printed.

    Its events in the stream that it could not print any more are printed by another, once it is seen to be gone.
    """
    chance = random.Random(SEED)
    with store_server() as store:
        async with several(3, store, tmp_path) as services:
            load = Load(scenario(MEETINGS), *(one.intake_url for one in services), seed=SEED, pause=0.05)

            async def strike() -> None:
                victim = chance.choice(services)
                victim.kill()
                await victim.start()

            kills = await striking(load, 100 if LONG else 4, strike, chance)
            assert kills >= (70 if LONG else 2)
            await compared("Kills among three processes on one store", MEETINGS, load, services[0], kills)
            switches = (await services[1].get("/v1/switches", kind="all", late="all", limit="500"))["items"]
            assert_one_event_a_switch(stream(store), switches)
            await every_event_is_printed(store, services)
            assert [await one.stop() for one in services] == [0, 0, 0]


async def test_a_process_that_dies_between_commit_and_print_leaves_the_printing_to_another(tmp_path: Path) -> None:
    """A process commits, and is killed while its log takes nothing more: another prints what it committed."""
    document = next(body for body in bodies(documents(scenario(MEETINGS))) if b"callStart" in body)
    reading, writing = os.pipe()
    with (
        store_server() as store,
        service(tmp_path / "mute", redis_url=store.url) as mute,
        os.fdopen(reading, "rb") as log,
    ):
        with os.fdopen(writing, "wb") as to:
            mute.launch(stdout=to)
            await eventually(lambda: is_ready(mute), "the service takes documents")
            fill(to)
        async with aiohttp.ClientSession() as http:
            pushing = asyncio.create_task(status_of(http, mute.intake_url, document))
            await eventually(lambda: told(store), "the document is committed")
            assert not pushing.done(), "it is acknowledged though the log is stuck"
            mute.kill()
            assert await pushing == 0
            read = log.read()
            assert not [event for event in told(store) if event["event_id"].encode() in read]
            with service(tmp_path / "other", redis_url=store.url) as other:
                await other.start()
                assert await status_of(http, other.intake_url, document) == 200
                await every_event_is_printed(store, [other], told(store))
                assert [event["event"] for event in told(store)].count("call.started") == 1
                assert await other.stop() == 0


def told(store: StoreServer) -> list[dict[str, Any]]:
    """Return the events of calls."""
    return [event for event in stream(store) if "call" in event]


async def is_ready(served: Service) -> bool:
    """Say whether it takes documents."""
    try:
        return bool((await served.ready())["ok"])
    except aiohttp.ClientError:
        return False


def fill(pipe: IO[bytes]) -> None:
    """Fill a pipe, so that whoever writes to it next waits."""
    os.set_blocking(pipe.fileno(), False)
    with suppress(BlockingIOError):
        while True:
            os.write(pipe.fileno(), b"\n")
    os.set_blocking(pipe.fileno(), True)


async def test_a_full_disk_under_the_log_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    """The service starts and answers as ever, also where it has something to warn of."""
    with store_server(appendfsync="everysec") as store:
        with service(tmp_path / "mute", redis_url=store.url, intake_token="a-token") as mute:
            full = os.open("/dev/full", os.O_WRONLY)
            mute.launch(stdout=full)
            os.close(full)
            await eventually(lambda: is_ready(mute), "the service takes documents")
            ready = await mute.ready()
            assert (ready["ok"], len(ready["unsafe"])) == (True, 1)
            assert await answers(mute.intake_url, b"not CDR") == [401]
            assert await answers(f"{mute.intake_url}?token=a-token", Feed("s").document(call_start("call"))) == [200]
            assert await mute.stop() == 0
        assert "call.started" in [event["event"] for event in stream(store)]


async def test_a_log_that_cannot_be_written_holds_up_nothing_and_is_made_up_for(tmp_path: Path) -> None:
    """Documents are taken though nobody reads the log any more; what could not be printed another process prints."""
    feed = Feed("s", "cb")
    reading, writing = os.pipe()
    with store_server() as store, service(tmp_path / "mute", redis_url=store.url) as mute:
        with os.fdopen(reading, "rb"), os.fdopen(writing, "wb") as to:
            mute.launch(stdout=to)
            await eventually(lambda: is_ready(mute), "the service takes documents")
            assert await answers(mute.intake_url, feed.document(call_start("call"), join("bob", "call"))) == [200]
        printed_by_now = {event["event_id"] for event in stream(store)}
        assert await answers(mute.intake_url, feed.document(join("alice", "call", "09:10:00"))) == [200]
        assert await answers(mute.intake_url, feed.document(leave("bob"))) == [200]
        await mute.stop()
        with service(tmp_path / "other", redis_url=store.url) as other:
            await other.start()
            missing = [event for event in stream(store) if event["event_id"] not in printed_by_now]
            assert [event["event"] for event in missing] == ["leg.joined", "license.switched", "leg.left"]
            await every_event_is_printed(store, [other], missing)
            assert await other.stop() == 0
