"""Calls that never end are closed, and what is over for long enough goes, with all that was kept of it."""

import re
from pathlib import Path
from typing import Any

from tests.faults.processes import stream
from tests.faults.senders import Load, answers
from tests.faults.service import eventually, service
from tests.faults.undisturbed import scenario
from tests.feed import Feed, Record, call_end, call_start, join
from tests.integration.servers import store_server

TWO_SECONDS_IN_HOURS = str(2 / 3600)
TWO_SECONDS_IN_DAYS = str(2 / 86400)
KEPT_FOR_GOOD = re.compile(
    r"cdr:\{default\}:(layout|directory|recent:letters|history:hours|counts|alive:.*|lease:.*|printers)"
)
"""What `store/keys.py` says lives for good, and what a process that runs has there."""
BOUNDED = re.compile(r"cdr:\{default\}:(events|dead|raw)")
"""Streams, which stay when they are empty."""


async def test_a_call_of_which_nothing_is_heard_is_closed_and_goes_on_with_a_later_record(tmp_path: Path) -> None:
    """A live call without a record for too long ends as estimated and gives its license back; a record undoes that."""
    feed = Feed("s", "cb")
    with service(tmp_path, stale_call_hours=TWO_SECONDS_IN_HOURS) as served:
        await served.start()
        assert await answers(
            served.intake_url, feed.document(call_start("call"), join("alice", "call", "09:07:00"))
        ) == [200]

        async def call() -> dict[str, Any]:
            return dict(await served.get("/v1/calls/call"))

        async def is_closed() -> bool:
            return (await call())["state"] == "ended"

        assert not await is_closed()
        await eventually(is_closed, "the call is closed")
        closed = await call()
        assert (closed["ended_at"], closed["end_estimated"]) == ("2024-03-12T09:07:00Z", True)
        assert closed["transitions"][-1]["to"] is None
        (used,) = (await served.get("/v1/usage"))["items"]
        assert (used["calls"], used["personal"]["meetings"], used["shared"]["meetings"]) == (0, 0, 0)
        (line,) = served.lines("call.ended")
        assert line["end_estimated"] is True
        assert await answers(served.intake_url, feed.document(join("bob", "call", "09:20:00"))) == [200]
        again = await call()
        assert (again["state"], again["ended_at"], again["end_estimated"]) == ("active", None, False)
        assert again["license"]["holder"] == "alice@example.com"
        assert await served.stop() == 0


async def test_a_call_end_that_comes_after_a_call_was_closed_takes_the_place_of_the_estimate(tmp_path: Path) -> None:
    """It is told; the license was in use until then, and nothing is in use now."""
    feed = Feed("s", "cb")
    with service(tmp_path, stale_call_hours=TWO_SECONDS_IN_HOURS) as served:
        await served.start()
        assert await answers(served.intake_url, feed.document(call_start("call"), join("alice", "call"))) == [200]
        await eventually(lambda: served.lines("call.ended"), "the call is closed")
        assert await answers(served.intake_url, feed.document(call_end("call", "10:00:00"))) == [200]
        call = await served.get("/v1/calls/call")
        assert (call["ended_at"], call["end_estimated"]) == ("2024-03-12T10:00:00Z", False)
        assert [change["at"] for change in call["transitions"]] == ["2024-03-12T09:00:00Z", "2024-03-12T10:00:00Z"]
        assert [line["end_estimated"] for line in served.lines("call.ended")] == [True, False]
        first, second = served.lines("license.released")
        assert second["supersedes"] == [first["event_id"]]
        (used,) = (await served.get("/v1/usage"))["items"]
        assert (used["calls"], used["personal"]["meetings"], used["participants"]) == (0, 0, 0)
        assert await served.stop() == 0


async def test_nothing_is_left_of_what_is_over_for_long_enough(tmp_path: Path) -> None:
    """Calls, legs, meetings, sessions, events, documents and dead letters go; only what lives for good is left."""
    loose = [
        Record("recordingEnd", "09:00:00", "<recording id='nobody-knows'/>"),
        Record("callLegEnd", "09:00:00", "<callLeg id='nobody-either'/>"),
        Record("callLegStart", "09:00:00", "<callLeg/>"),
    ]
    settings = {"retention_days": TWO_SECONDS_IN_DAYS, "raw_retention_hours": TWO_SECONDS_IN_HOURS}
    with store_server() as store, service(tmp_path, redis_url=store.url, **settings) as served:
        await served.start()
        load = Load(scenario(10), served.intake_url)
        await load.run()
        assert await answers(served.intake_url, b"no CDR", Feed("loose").document(*loose)) == [200, 200]

        def left() -> list[str]:
            return sorted(key for key in store.ask("KEYS", "*") if not KEPT_FOR_GOOD.fullmatch(key))

        assert [key for key in left() if not BOUNDED.fullmatch(key)], "it was all gone before it was looked at"
        await eventually(lambda: all(map(BOUNDED.fullmatch, left())), "all is gone")
        await eventually(lambda: not any(store.ask("XLEN", key) for key in left()), "the streams are empty")
        # What was in use when the hours that went ended; here nothing was.
        await eventually(lambda: store.ask("HKEYS", "cdr:{default}:history:hours") == ["before"], "the hours are gone")
        assert store.ask("HGET", "cdr:{default}:counts", "document_bytes") == "0"
        assert stream(store) == []
        assert (await served.get("/v1/calls", state="all"))["items"] == []
        assert (await served.get("/v1/switches", kind="all", late="all"))["items"] == []
        assert (await served.get("/v1/bridges"))["items"] == []
        assert not served.lines("upkeep.failed", "document.failed", "request.failed")
        assert await served.stop() == 0
        assert not [key for key in store.ask("KEYS", "*") if "alive" in key or "lease" in key or "printers" in key]


async def test_live_calls_outlast_retention(tmp_path: Path) -> None:
    """What is still going on is kept however short the time, with its legs and its license."""
    feed = Feed("s", "cb")
    settings = {"retention_days": TWO_SECONDS_IN_DAYS, "raw_retention_hours": TWO_SECONDS_IN_HOURS}
    with store_server() as store, service(tmp_path, redis_url=store.url, **settings) as served:
        await served.start()
        assert await answers(served.intake_url, feed.document(call_start("call"), join("alice", "call"))) == [200]
        await eventually(lambda: not store.ask("XLEN", "cdr:{default}:events"), "the events are gone")
        call = await served.get("/v1/calls/call")
        assert (call["state"], call["legs"], call["license"]["holder"]) == ("active", 1, "alice@example.com")
        assert await served.stop() == 0
