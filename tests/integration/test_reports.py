"""Reports on what took licenses, from a real store that the real intake has filled."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from cdr_service.domain.filters import PeakFilters, SharedReportFilters, WhatIfFilters
from cdr_service.domain.options import Options
from cdr_service.errors import BadRequest
from cdr_service.reading.reports import Bounds, Reports
from cdr_service.store.connection import connect
from cdr_service.store.reads import RedisReads
from tests.feed import Feed, call_end, call_start, join, leave
from tests.integration.servers import StoreServer, store_server
from tests.integration.test_history import NINE, Over, over
from tests.integration.test_queries import all_pages, plain

HOUR = 3_600_000


@pytest.fixture(scope="module")
def server() -> Iterator[StoreServer]:
    """Run a store for the tests of this module."""
    with store_server(unix=True) as running:
        yield running


class Told:
    """The reports of a service, as JSON."""

    def __init__(self, use: Over, reads: RedisReads) -> None:
        self.use = use
        self._reads = reads
        self.bound(Bounds())

    def bound(self, bounds: Bounds) -> None:
        """Bound what reports may look at."""
        self.reports = Reports(self.use.history, self.use.store, self._reads, bounds)

    async def shared(self, **filters: Any) -> list[dict[str, Any]]:
        """Return the report on the shared pool."""
        return list(plain(await self.reports.shared(SharedReportFilters(**filters), 100))["items"])

    async def holders(self, **filters: Any) -> list[dict[str, Any]]:
        """Return the report on holders."""
        return list(plain(await self.reports.holders(PeakFilters(**filters), 100))["items"])

    async def what_if(self, assign: str | None, **filters: Any) -> dict[str, Any]:
        """Return what would have been, of the first deployment."""
        return dict(plain(await self.reports.what_if(WhatIfFilters(assign=assign, **filters)))["items"][0])


@pytest.fixture
async def told(server: StoreServer) -> AsyncIterator[Told]:
    """Run a service in which alice and bob hold PMP+, and have a morning of meetings."""
    server.ask("FLUSHALL")
    async with over(server.url, default=Options()) as use:
        connection = connect(server.url)
        feed = Feed()
        await use.service.post(
            feed.document(
                # carol's space: an hour on SMP+, and another of which alice pays the second half
                call_start("one", "09:00:00", name="stand-up", coSpace="space-c", callType="coSpace"),
                join("carol", "one", "09:00:00"),
                leave("carol", "10:00:00"),
                call_end("one", "10:00:00"),
                call_start("two", "10:00:00", name="stand-up", coSpace="space-c", callType="coSpace"),
                join("carol-2", "two", "10:00:00"),
                join("alice", "two", "10:30:00"),
                leave("alice", "11:00:00"),
                leave("carol-2", "11:00:00"),
                call_end("two", "11:00:00"),
                # dave's space: half an hour beside the first
                call_start("three", "09:15:00", name="review", coSpace="space-d", callType="coSpace"),
                join("dave", "three", "09:15:00"),
                join("carol-3", "three", "09:20:00"),
                leave("dave", "09:45:00"),
                leave("carol-3", "09:45:00"),
                call_end("three", "09:45:00"),
            )
        )
        yield Told(use, RedisReads(connection))
        await connection.close()


async def test_spaces_are_ranked_by_what_they_took(told: Told) -> None:
    """Each space has its meetings, their hours on SMP+, and its share of the moment at which most was in use."""
    assert [
        (row["key"], row["name"], row["meetings"], row["meeting_hours"], row["license_hours"], row["sixths_at_peak"])
        for row in await told.shared()
    ] == [("space-c", "stand-up", 2, 1.5, 1.5, 6), ("space-d", "review", 1, 0.5, 0.5, 6)]
    assert [row["share_of_peak"] for row in await told.shared()] == [0.5, 0.5]
    (kind,) = await told.shared(by="call_type")
    assert (kind["key"], kind["meetings"], kind["share_of_peak"]) == ("coSpace", 3, 1.0)
    (owner,) = await told.shared(by="owner")
    assert (owner["key"], owner["license_hours"]) == (None, 2.0)


async def test_who_was_in_is_ranked_by_what_a_license_might_save(told: Told) -> None:
    """Somebody counts from when they first came; guests and holders who pay are not among those who took SMP+."""
    rows = {row["key"]: (row["meetings"], row["meeting_hours"]) for row in await told.shared(by="user")}
    assert rows == {"carol@example.com": (3, 1.917), "dave@example.com": (1, 0.5)}
    first, *_ = await told.shared(by="user")
    assert (first["key"], first["sixths_at_peak"]) == ("carol@example.com", 6)


async def test_a_span_cuts_meetings(told: Told) -> None:
    """Of a meeting only what lies in the span counts."""
    rows = await told.shared(since=NINE + HOUR // 2, until=NINE + HOUR)
    assert [(row["key"], row["meeting_hours"]) for row in rows] == [("space-c", 0.5), ("space-d", 0.25)]
    assert await told.shared(since=NINE + 2 * HOUR) == []
    with pytest.raises(BadRequest):
        await told.shared(since=NINE, until=NINE)


async def test_holders_used_and_unused(told: Told) -> None:
    """A holder's row says how often, how long, when last; one whose license never paid says so."""
    alice, bob = await told.holders()
    assert (alice["user"], alice["meetings"], alice["meeting_hours"], alice["most_at_once"]) == (
        *("alice@example.com", 1, 0.5),
        1,
    )
    assert (alice["last_used_at"], alice["never_used"]) == ("2024-03-12T11:00:00Z", False)
    assert (bob["user"], bob["meetings"], bob["last_used_at"], bob["never_used"]) == ("bob@example.com", 0, None, True)


async def test_what_would_have_been_with_another_holder(told: Told) -> None:
    """As if carol had held PMP+: her meetings take no SMP+; with nobody assigned it is what happened."""
    same = await told.what_if(None)
    assert same["before"] == same["after"]
    assert same["meetings_changed"] == 0
    peak = await told.use.peak()
    assert (
        (same["before"]["at"], same["before"]["shared_sixths"])
        == (peak["at"], peak["shared_sixths"])
        == (*("2024-03-12T09:15:00Z", 12),)
    )
    changed = await told.what_if("Carol@example.com")
    assert changed["before"] == same["before"]
    assert changed["after"] == {
        "at": "2024-03-12T09:15:00Z",
        "shared_sixths": 6,
        "shared_licenses": 1.0,
        "shared_license_hours": 0.083,
        "personal_peak": 2,
    }
    assert (changed["meetings"], changed["meetings_changed"], changed["unknown"]) == (3, 3, ["carol@example.com"])
    assert (await told.what_if("bob@example.com"))["meetings_changed"] == 0


async def test_wrong_users_are_refused(told: Told) -> None:
    """What is no address is said to be none."""
    with pytest.raises(BadRequest, match=r"addresses such as alice@example\.com"):
        await told.what_if("carol")


async def test_too_much_is_refused(told: Told) -> None:
    """A span with more than may be looked at is refused with what to change."""
    told.bound(Bounds(2, 2, 2))
    for report in (told.shared(), told.holders(), told.what_if(None)):
        with pytest.raises(BadRequest, match="More than 2 meetings took licenses in that span: ask for a shorter one"):
            await report
    told.bound(Bounds(3, 3, 4))
    assert len(await told.shared()) == 2
    assert (await told.what_if("bob@example.com"))["meetings"] == 3
    with pytest.raises(BadRequest, match="more than 4 call legs could change"):
        await told.what_if("carol@example.com")


async def test_a_ranking_comes_in_pages(told: Told) -> None:
    """Page after page gives each row once."""
    filters = SharedReportFilters()
    pages = await all_pages(lambda cursor: told.reports.shared(filters, 1, cursor))
    assert [[row["key"] for row in plain(page)] for page in pages] == [["space-c"], ["space-d"]]
