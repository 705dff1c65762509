"""Call Bridges that restart, lose records, or do not say who they are: what is over ends, what is lost is said."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.faults.senders import answers
from tests.faults.service import LONG, Service, eventually, service
from tests.feed import Feed, Record, call_end, call_start, join, leave


class Served:
    """A service to which documents are told one after the other."""

    def __init__(self, served: Service) -> None:
        self.service = served

    async def take(self, feed: Feed, *records: Record, bridge: str = "") -> None:
        """Push a document of a feed."""
        url = self.service.intake_url + (f"?bridge={bridge}" if bridge else "")
        assert await answers(url, feed.document(*records)) == [200]

    async def call(self, call: str) -> dict[str, Any]:
        """Return a call."""
        return dict(await self.service.get(f"/v1/calls/{call}"))

    async def bridges(self) -> list[dict[str, Any]]:
        """Return the Call Bridges."""
        return list((await self.service.get("/v1/bridges"))["items"])

    async def in_use(self) -> tuple[int, list[str], int]:
        """Return how many meetings are on SMP+, whose PMP+ is in use, and how many calls are live."""
        (used,) = (await self.service.get("/v1/usage"))["items"]
        return used["shared"]["meetings"], used["personal"]["holders"], used["calls"]


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Served]:
    """Run a service."""
    with service(folder) as served:
        await served.start()
        yield Served(served)
        assert await served.stop() == 0


def ended(call: dict[str, Any]) -> tuple[str | None, bool]:
    """Return when a call ended, and whether that is an estimate."""
    return call["ended_at"], call["end_estimated"]


LIVE = (None, False)


async def test_a_restart_of_a_bridge_ends_what_it_left_open(tmp_path: Path) -> None:
    """A newer session ends the calls of the old one and gives their licenses back; a later record of it undoes that."""
    old, new = Feed("old", "cb"), Feed("new", "cb")
    async with serving(tmp_path) as served:
        await served.take(old, call_start("first"), join("alice", "first"))
        await served.take(old, call_start("second", "09:01:00"), join("bob", "second", "09:01:00"))
        assert await served.in_use() == (1, ["alice@example.com"], 2)
        await served.take(new, call_start("third", "09:10:00"), join("dave", "third", "09:10:00"))
        for call in ("first", "second"):
            assert ended(await served.call(call)) == ("2024-03-12T09:10:00Z", True)
        assert (await served.call("first"))["transitions"][-1]["to"] is None
        assert await served.in_use() == (1, [], 1)
        (line,) = served.service.lines("session.replaced")
        assert (line["call_bridge"], line["session"], line["replaced_session"]) == ("cb", "new", "old")
        assert sorted(line["calls"]) == ["first", "second"]
        assert {one["meeting"] for one in served.service.lines("license.released")} == {"m-first", "m-second"}
        await served.take(old, join("frank", "first", "09:20:00"))
        assert ended(await served.call("first")) == ended(await served.call("second")) == LIVE
        assert await served.in_use() == (2, ["alice@example.com"], 3)
        reopened = [line["call"] for line in served.service.lines("call.started") if line.get("reopened")]
        assert reopened == ["first", "second"]
        (bridge,) = await served.bridges()
        assert (bridge["sessions"], bridge["warning"]) == (2, None)


async def test_the_old_session_of_a_lagging_feed_does_not_look_new(tmp_path: Path) -> None:
    """An old session that arrives after the new one ends nothing; its own open calls end where the new one began."""
    old, new = Feed("old", "cb"), Feed("new", "cb")
    async with serving(tmp_path) as served:
        await served.take(new, call_start("new-call", "09:10:00"), join("alice", "new-call", "09:10:00"))
        await served.take(old, call_start("old-call"), join("carol", "old-call"))
        await served.take(old, call_start("over", "09:02:00"), join("bob", "over", "09:02:00"))
        await served.take(old, leave("bob", "09:03:00"), call_end("over", "09:03:00"))
        assert ended(await served.call("new-call")) == LIVE
        assert ended(await served.call("old-call")) == ("2024-03-12T09:10:00Z", True)
        assert ended(await served.call("over")) == ("2024-03-12T09:03:00Z", False)
        assert await served.in_use() == (0, ["alice@example.com"], 1)
        assert (await served.bridges())[0]["session"] == "new"
        assert {line["session"] for line in served.service.lines("session.replaced")} == {"new"}


async def test_bridges_that_do_not_name_themselves_end_nothing_of_each_other(tmp_path: Path) -> None:
    """Two sessions that interleave without a name go on side by side; a warning says what to set, on the log once."""
    one, other = Feed("one"), Feed("other")
    async with serving(tmp_path) as served:
        await served.take(one, call_start("a"), join("alice", "a"))
        await served.take(other, call_start("b", "09:01:00"), join("bob", "b", "09:01:00"))
        await served.take(one, join("dave", "a", "09:02:00"))
        await served.take(other, join("frank", "b", "09:03:00"))
        await served.take(other, call_start("c", "09:30:00"), join("carol", "c", "09:30:00"))
        for call in ("a", "b", "c"):
            assert ended(await served.call(call)) == LIVE
        assert await served.in_use() == (1, ["alice@example.com", "carol@example.com"], 3)
        (bridge,) = await served.bridges()
        assert bridge["call_bridge"] is None
        assert "?bridge=" in bridge["warning"]
        (line,) = served.service.lines("bridges.unnamed")
        assert (line["level"], line["reason"]) == ("warning", bridge["warning"])


async def test_the_bridge_parameter_tells_bridges_apart(tmp_path: Path) -> None:
    """Named in the receiver's URL, a silent bridge is ended by no other, a restart ends only its own calls."""
    one, other, again = Feed("one"), Feed("other"), Feed("again")
    async with serving(tmp_path) as served:
        await served.take(one, call_start("a"), join("alice", "a"), bridge="cms1")
        await served.take(other, call_start("b", "09:30:00"), join("bob", "b", "09:30:00"), bridge="cms2")
        assert not served.service.lines("session.replaced")
        assert ended(await served.call("a")) == ended(await served.call("b")) == LIVE
        await served.take(again, call_start("c", "09:40:00"), bridge="cms2")
        assert ended(await served.call("a")) == LIVE
        assert ended(await served.call("b")) == ("2024-03-12T09:40:00Z", True)
        named = {bridge["call_bridge"]: (bridge["session"], bridge["warning"]) for bridge in await served.bridges()}
        assert named == {"cms1": ("one", None), "cms2": ("again", None)}


async def test_a_loss_that_the_bridge_tells_of_is_said_and_heals(tmp_path: Path) -> None:
    """Calls that the lost records may belong to are not complete, until a second feed brings those records."""
    first, second = Feed("s", "cb"), Feed("s", "cb")
    async with serving(tmp_path) as served:
        await served.take(first, call_start("before"), join("bob", "before"), leave("bob", "09:05:00"))
        await served.take(first, call_end("before", "09:05:00"))
        await served.take(first, call_start("during", "09:06:00"), join("alice", "during", "09:06:00"))
        first.next_correlator += 2
        lossy = join("dave", "during", "09:20:00")._replace(missing=2)
        await served.take(first, lossy, call_start("after", "09:21:00"), join("frank", "after", "09:21:00"))
        complete = {call: (await served.call(call))["complete"] for call in ("before", "during", "after")}
        assert complete == {"before": True, "during": False, "after": True}
        assert [(bridge["missing"], bridge["records"]) for bridge in await served.bridges()] == [(2, 9)]
        (line,) = served.service.lines("records.missing")
        assert (line["missing"], line["call_bridge"], line["session"]) == (2, "cb", "s")
        assert 'cdr_records_missing_total{call_bridge="cb",deployment="default"} 2.0' in await metrics(served.service)
        second.next_correlator = 6
        await served.take(second, join("heidi", "during", "09:10:00"), leave("heidi", "09:15:00"))
        assert (await served.call("during"))["complete"]
        assert [(bridge["missing"], bridge["records"]) for bridge in await served.bridges()] == [(0, 11)]
        assert (await served.call("during"))["legs"] == 3


@pytest.mark.skipif(not LONG, reason="it waits a minute for the other feed")
async def test_a_gap_that_no_feed_fills_is_a_loss(tmp_path: Path) -> None:
    """A hole in correlatorIndex is a loss once no feed filled it for a while, though the bridge told of none."""
    first, second = Feed("s", "cb"), Feed("s", "cb")
    async with serving(tmp_path) as served:
        await served.take(first, call_start("call"), join("alice", "call"))
        first.next_correlator += 1
        await served.take(first, join("dave", "call", "09:20:00"))
        assert (await served.call("call"))["complete"]
        await eventually(lambda: served.service.lines("records.missing"), "the loss is told", seconds=100)
        assert not (await served.call("call"))["complete"]
        assert [bridge["missing"] for bridge in await served.bridges()] == [1]
        second.next_correlator = 2
        await served.take(second, join("heidi", "call", "09:10:00"))
        assert (await served.call("call"))["complete"]
        assert [bridge["missing"] for bridge in await served.bridges()] == [0]


async def metrics(served: Service) -> str:
    """Return the metrics page."""
    async with aiohttp.ClientSession() as http, http.get(f"{served.api_url}/metrics") as answer:
        return await answer.text()
