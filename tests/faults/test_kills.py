"""SIGKILL of the service and of the store under load: what was answered with 200 is there, and once."""

import asyncio
import os
import random
import signal
from contextlib import suppress
from pathlib import Path

import redis

from tests.faults.senders import Load, striking
from tests.faults.service import LONG, SEED, Service, service
from tests.faults.undisturbed import compared, scenario
from tests.integration.servers import store_server

MEETINGS = 600 if LONG else 30


async def test_kills_of_the_service_lose_and_double_nothing(tmp_path: Path) -> None:
    """The service, its embedded store, or both are killed at random; restarted, every record is there once."""
    chance = random.Random(SEED)
    with service(tmp_path) as served:
        await served.start()
        load = Load(scenario(MEETINGS), served.intake_url, seed=SEED)

        async def strike() -> None:
            victim = chance.choice(("service", "store", "both"))
            if victim != "service":
                kill_embedded_store(served)
            if victim != "store":
                served.kill()
                await served.start()

        kills = await striking(load, 150 if LONG else 5, strike, chance)
        assert kills >= (100 if LONG else 2)
        await compared("Kills of the service with the embedded store", MEETINGS, load, served, kills)
        assert await served.stop() == 0


def kill_embedded_store(served: Service) -> None:
    """SIGKILL the server that the service started for itself."""
    at = served.data_dir / "run" / "store.sock"
    # It may be on its way up from the last time.
    with suppress(redis.RedisError, ProcessLookupError), redis.Redis(unix_socket_path=str(at), socket_timeout=2) as one:
        os.kill(one.info("server")["process_id"], signal.SIGKILL)


async def test_kills_of_the_store_lose_and_double_nothing(tmp_path: Path) -> None:
    """A store that syncs before it answers is killed at random; the service goes on by itself, all is there once."""
    chance = random.Random(SEED)
    with store_server() as store, service(tmp_path, redis_url=store.url) as served:
        await served.start()
        load = Load(scenario(MEETINGS), served.intake_url, seed=SEED)

        async def strike() -> None:
            store.kill()
            await asyncio.sleep(chance.uniform(0, 0.1))
            await asyncio.to_thread(store.start)

        kills = await striking(load, 200 if LONG else 8, strike, chance)
        assert kills >= (150 if LONG else 3)
        await compared("Kills of the store with appendfsync always", MEETINGS, load, served, kills)
        assert served.starts == 1
        assert await served.stop() == 0
