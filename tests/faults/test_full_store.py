"""A store that has used up its memory: refused is what would add to it, and what makes room goes on."""

import base64
import random
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.faults.senders import answers
from tests.faults.service import Service, eventually, service
from tests.feed import Feed, call_start, join

LIMIT_MB = 4
KEPT_HOURS = 0.004
"""How long documents are kept: long enough to fill the store, short enough to wait for."""


def bulky(number: int) -> bytes:
    """Return a document that takes some 150 KB of the store, however it is packed."""
    ballast = base64.b64encode(random.Random(number).randbytes(150_000)).decode()
    small = Feed(f"s-{number}", "cb").document(call_start(f"c-{number}"), join(f"bob-{number}", f"c-{number}"))
    return small.replace(b"</records>", f"<!-- {ballast} --></records>".encode())


async def metric(served: Service, name: str) -> float:
    """Return the value of a metric without labels."""
    async with aiohttp.ClientSession() as http, http.get(f"{served.api_url}/metrics") as answer:
        families = text_string_to_metric_families(await answer.text())
    (value,) = (sample.value for family in families for sample in family.samples if sample.name == name)
    return value


async def test_a_full_store_refuses_says_so_and_recovers(tmp_path: Path) -> None:
    """503 for documents, answers for queries, and what to do in log, `/readyz` and metrics; then there is room again.

    Upkeep goes on meanwhile: documents that are older than they are kept go, and what was refused is taken, once.
    """
    kept = {"store_max_mb": str(LIMIT_MB), "raw_retention_hours": str(KEPT_HOURS)}
    with service(tmp_path, **kept) as served:
        await served.start()
        assert (await served.ready())["memory"] is None
        taken = 0
        while await answers(served.intake_url, bulky(taken)) == [200]:
            taken += 1
            assert taken < LIMIT_MB * 10, "the store takes more than it may"
        assert "full (maxmemory 4 MiB)" in str((await served.ready())["memory"])
        assert await metric(served, "cdr_store_limit_bytes") == LIMIT_MB << 20
        assert await metric(served, "cdr_store_used_bytes") > 0.9 * (LIMIT_MB << 20)
        assert len((await served.get("/v1/calls", limit="500"))["items"]) == taken
        assert (await served.get("/v1/usage/history"))["items"]
        assert "is out of memory: raise its maxmemory" in served.lines("store.unavailable")[0]["reason"]
        assert "CDR_STORE_MAX_MB" in served.lines("store.memory")[0]["reason"]

        async def has_room() -> bool:
            return await answers(served.intake_url, bulky(taken)) == [200]

        await eventually(has_room, "retention makes room")
        await eventually(lambda: served.lines("store.restored"), "the log says so")
        assert len(served.lines("store.unavailable")) == 1
        assert len((await served.get("/v1/calls", limit="500"))["items"]) == taken + 1
        assert not served.lines("upkeep.failed")
        assert await served.stop() == 0
