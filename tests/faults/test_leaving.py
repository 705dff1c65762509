"""SIGTERM: the service refuses what is new, finishes what is in flight, and loses nothing, also if it is told twice."""

import asyncio
import random
import signal
from contextlib import suppress
from pathlib import Path

from tests.faults.senders import Load, answers, striking
from tests.faults.service import LONG, SEED, eventually, service
from tests.faults.undisturbed import compared, scenario
from tests.feed import Feed, call_start
from tests.integration.servers import store_server

MEETINGS = 600 if LONG else 30


async def test_leaving_under_load_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Asked to end while bridges push, the service ends by itself with 0; what it did not take comes again."""
    chance = random.Random(SEED)
    with service(tmp_path) as served:
        await served.start()
        load = Load(scenario(MEETINGS), served.intake_url, seed=SEED)

        async def strike() -> None:
            assert await served.stop() == 0
            await served.start()

        times = await striking(load, 20 if LONG else 2, strike, chance)
        assert times >= (10 if LONG else 1)
        await compared("SIGTERM under load", MEETINGS, load, served, times)
        assert len(served.lines("service.stopped")) == times
        assert not served.lines("store.unavailable", "request.failed", "document.failed", "upkeep.failed")


async def test_a_second_sigterm_loses_nothing(tmp_path: Path) -> None:
    """Told to end again and again while it is about to, the service does not end sooner."""
    chance = random.Random(SEED)
    with service(tmp_path) as served:
        await served.start()
        load = Load(scenario(MEETINGS), served.intake_url, seed=SEED)

        async def strike() -> None:
            served.send(signal.SIGTERM)
            for _ in range(5):
                await asyncio.sleep(chance.uniform(0, 0.02))
                with suppress(ProcessLookupError):
                    served.send(signal.SIGTERM)
            # It is told once more when all is done and only the interpreter is left, which that may end.
            assert await asyncio.to_thread(served.ended) in (0, -signal.SIGTERM)
            await served.start()

        times = await striking(load, 20 if LONG else 2, strike, chance)
        await compared("SIGTERM again and again", MEETINGS, load, served, times)
        assert len(served.lines("service.stopped")) == times


async def test_what_is_in_flight_is_finished_and_what_is_new_refused(tmp_path: Path) -> None:
    """About to end, the service is not ready and answers 503, but a document that waits for the store is committed."""
    with store_server() as store, service(tmp_path, redis_url=store.url) as served:
        await served.start()
        store.freeze()
        in_flight = asyncio.create_task(answers(served.intake_url, Feed("a").document(call_start("a"))))
        for _ in range(2):
            await served.get("/healthz")  # once this is answered, so are documents sent before it, but for the store
        served.send(signal.SIGTERM)

        async def is_draining() -> bool:
            ready = await served.ready()
            assert not ready["ok"]
            return bool(ready["draining"])

        await eventually(is_draining, "the service is about to end")
        assert await answers(served.intake_url, Feed("b").document(call_start("b"))) == [503]
        assert not in_flight.done()
        store.thaw()
        assert await in_flight == [200]
        assert await asyncio.to_thread(served.ended) == 0
        await served.start()
        assert [call["id"] for call in (await served.get("/v1/calls"))["items"]] == ["a"]
        assert await served.stop() == 0
