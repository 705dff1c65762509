"""The use over time, from a real store that the real intake has filled."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import pytest

from cdr_service.domain.filters import HistoryFilters, PeakFilters
from cdr_service.domain.options import Options
from cdr_service.domain.upkeep import forget_call
from cdr_service.errors import BadRequest
from cdr_service.reading.history import History
from cdr_service.reading.queries import Queried
from cdr_service.store.connection import Connection, Script, connect
from cdr_service.store.history import SETTLE, RedisHistory
from cdr_service.store.keys import Keys
from cdr_service.store.reads import RedisReads
from tests.feed import Feed, call_end, call_start, join, leave
from tests.integration.servers import StoreServer, store_server
from tests.integration.test_queries import Service, all_pages, plain, service_at

DAY = 86_400_000
NINE = 1_710_234_000_000
"""2024-03-12 09:00:00, where the tests begin."""


class Over(NamedTuple):
    """A service, and what its history is."""

    service: Service
    store: RedisHistory
    history: History

    async def steps(self, *, limit: int = 500, **filters: Any) -> list[dict[str, Any]]:
        """Return the steps of the history as JSON, all on one page."""
        page = await self.history.steps(HistoryFilters(**filters), limit)
        assert page.next is None
        return list(plain(page)["items"])

    async def peaks(self, name: str, **filters: Any) -> dict[str, Any]:
        """Return one member of each step by its time of day, where it is not 0."""
        return {step["start"][11:16]: step[name] for step in await self.steps(**filters) if step[name]}

    async def peak(self, **filters: Any) -> dict[str, Any]:
        """Return the peak as JSON."""
        return dict(plain(await self.history.peak(PeakFilters(**filters))))


@pytest.fixture(scope="module")
def server() -> Iterator[StoreServer]:
    """Run a store for the tests of this module."""
    with store_server(unix=True) as running:
        yield running


@asynccontextmanager
async def over(url: str, **deployments: Options) -> AsyncIterator[Over]:
    """Run a service with its history on the store at a URL; its clock says 12:00."""
    options = deployments or {"default": Options()}
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(service_at(url, **options))
        connection = connect(url)
        stack.push_async_callback(connection.close)
        service.now = NINE + 3 * 3_600_000
        queried = [Queried(name=name, options=one) for name, one in options.items()]
        store = RedisHistory(connection)
        yield Over(service, store, History(queried, store, RedisReads(connection), service.clock))


@pytest.fixture
async def use(server: StoreServer) -> AsyncIterator[Over]:
    """Run a service with one deployment on an empty store."""
    server.ask("FLUSHALL")
    async with over(server.url) as running:
        yield running


async def two_meetings(use: Over, *, to: str = "default") -> Feed:
    """Have two meetings: carol alone from 9:00 to 9:30 and dave with alice, who holds PMP+, from 9:10 to 9:50."""
    feed = Feed(session=f"s-{to}")
    await use.service.post(
        feed.document(
            call_start("one", "09:00:00", name="stand-up", coSpace="space-1", callType="coSpace"),
            join("carol", "one", "09:00:00"),
            call_start("two", "09:10:00", name="review"),
            join("dave", "two", "09:10:00"),
            join("alice", "two", "09:15:30"),
            leave("carol", "09:30:00"),
            call_end("one", "09:30:00"),
            leave("alice", "09:40:00"),
            leave("dave", "09:50:00"),
            call_end("two", "09:50:00"),
        ),
        to=to,
    )
    return feed


async def test_each_minute_has_its_exact_peak(use: Over) -> None:
    """Sixths, meetings on PMP+ and people of each minute are what the records say, a switch in mid-minute included."""
    await two_meetings(use)
    sixths = await use.peaks("shared_sixths_peak", step="1m", until=NINE + 3_600_000)
    assert sixths == {f"09:{minute:02}": 12 if 10 <= minute <= 15 else 6 for minute in range(30)}
    personal = await use.peaks("personal_peak", step="1m", until=NINE + 3_600_000)
    assert personal == {f"09:{minute:02}": 1 for minute in range(15, 50)}
    people = await use.peaks("participants_peak", step="5m", until=NINE + 3_600_000)
    assert people == {
        **{f"09:{minute:02}": 1 for minute in range(0, 10, 5)},
        "09:10": 2,
        **{f"09:{minute:02}": 3 for minute in range(15, 30, 5)},
        **{f"09:{minute:02}": 2 for minute in range(30, 40, 5)},
        **{f"09:{minute:02}": 1 for minute in range(40, 50, 5)},
    }


async def test_hours_and_days_are_the_highest_of_their_minutes(use: Over) -> None:
    """A step of an hour or a day shows the highest minute in it; the newest comes first, and goes up to now."""
    await two_meetings(use)
    hours = await use.steps(step="1h")
    assert [(hour["start"], hour["shared_sixths_peak"]) for hour in hours] == [
        ("2024-03-12T12:00:00Z", 0),
        ("2024-03-12T11:00:00Z", 0),
        ("2024-03-12T10:00:00Z", 0),
        ("2024-03-12T09:00:00Z", 12),
    ]
    assert await use.steps(step="1d") == [
        {
            "deployment": "default",
            "start": "2024-03-12T00:00:00Z",
            "personal_peak": 1,
            "shared_sixths_peak": 12,
            "shared_licenses_peak": 2.0,
            "participants_peak": 3,
        }
    ]


async def test_the_peak_names_its_moment_and_its_meetings(use: Over) -> None:
    """The highest shared use is found with the moment at which it began and the meetings that made it."""
    await two_meetings(use)
    peak = await use.peak()
    meetings = peak.pop("meetings")
    assert peak == {
        "deployment": "default",
        "policy": "join",
        "at": "2024-03-12T09:10:00Z",
        "shared_sixths": 12,
        "shared_licenses": 2.0,
        "others": [],
    }
    assert [(one["id"], one["name"], one["weight"], one["since"][11:]) for one in meetings] == [
        ("m-one", "stand-up", "1", "09:00:00Z"),
        ("m-two", "review", "1", "09:10:00Z"),
    ]
    later = await use.peak(since=NINE + 20 * 60_000)
    assert (later["at"], later["shared_sixths"]) == ("2024-03-12T09:20:00Z", 6)
    assert [one["id"] for one in later["meetings"]] == ["m-one"]
    nothing = await use.peak(since=NINE + 3_600_000)
    assert (nothing["at"], nothing["shared_sixths"], nothing["meetings"]) == (None, 0, [])


async def test_settling_changes_nothing_and_a_late_record_repairs_it(use: Over) -> None:
    """Hours that are over are packed; a record that comes late changes just the minutes that it is about."""
    feed = await two_meetings(use)
    before = await use.steps(step="1m", until=NINE + 3_600_000)
    await use.store.settle("default", use.service.now)
    assert await use.steps(step="1m", until=NINE + 3_600_000) == before
    assert await use.peak(until=NINE + 3_600_000) == await use.peak()
    # Somebody was in the first meeting all along.
    await use.service.post(feed.document(join("erin", "one", "09:05:00"), leave("erin", "09:20:00")))
    after = await use.steps(step="1m", until=NINE + 3_600_000)
    changed = [one["start"][11:16] for one, other in zip(after, before, strict=True) if one != other]
    assert sorted(changed) == [f"09:{minute:02}" for minute in range(5, 20)]
    await use.store.settle("default", use.service.now)
    assert await use.steps(step="1m", until=NINE + 3_600_000) == after


async def test_an_hour_that_is_still_being_filled_is_left_alone(server: StoreServer, use: Over) -> None:
    """A backlog goes on with it, so it would be summed up over and over. It is once nothing new came for a round."""
    feed = await two_meetings(use)
    fresh_hours = Keys("default").history_fresh
    fresh = await use.store.settle("default", use.service.now, {})
    await use.service.post(feed.document(join("erin", "one", "09:05:00"), leave("erin", "09:20:00")))
    changed = await use.store.settle("default", use.service.now, fresh)
    assert (fresh.keys(), server.ask("HLEN", fresh_hours)) == (changed.keys(), 1)
    await use.store.settle("default", use.service.now, changed)
    assert server.ask("HLEN", fresh_hours) == 0


async def test_a_late_holder_takes_the_sixths_back_across_hours(use: Over) -> None:
    """A holder's join that comes hours late makes the meeting PMP+ from then on, also where hours are settled."""
    feed = Feed()
    begin = feed.document(call_start("long", "09:00:00"), join("carol", "long", "09:00:00"))
    late = feed.document(join("alice", "long", "09:30:00"))
    end = feed.document(leave("alice", "11:30:00"), leave("carol", "11:30:00"), call_end("long", "11:30:00"))
    await use.service.post(begin)
    await use.store.settle("default", use.service.now)
    assert await use.peaks("shared_sixths_peak") == {"12:00": 6, "11:00": 6, "10:00": 6, "09:00": 6}
    await use.service.post(end, late)
    assert await use.peaks("shared_sixths_peak") == {"09:00": 6}
    assert await use.peaks("personal_peak") == {"11:00": 1, "10:00": 1, "09:00": 1}
    await use.store.settle("default", use.service.now)
    assert await use.peaks("personal_peak") == {"11:00": 1, "10:00": 1, "09:00": 1}


class Interrupted:
    """A connection on which something happens just before an hour is put in place."""

    def __init__(self, connection: Connection, meanwhile: Callable[[], Awaitable[None]]) -> None:
        self._connection = connection
        self._meanwhile = meanwhile

    async def execute(self, *command: Any) -> Any:
        """Pass the command on."""
        return await self._connection.execute(*command)

    async def script(self, script: Script, keys: Sequence[Any], args: Sequence[Any]) -> Any:
        """Pass the script on, late."""
        if script is SETTLE:
            await self._meanwhile()
        return await self._connection.script(script, keys, args)


async def test_what_comes_while_an_hour_is_settled_is_not_lost(server: StoreServer, use: Over) -> None:
    """Steps that come between the summing up of an hour and its putting in place keep it fresh, and count."""
    feed = await two_meetings(use)
    late = [join("erin", "one", "09:05:00"), leave("erin", "09:20:00")]

    async def post() -> None:
        if late:
            await use.service.post(feed.document(late.pop(0)))

    connection = connect(server.url)
    settling = RedisHistory(Interrupted(connection, post))
    for left in (1, 0):
        await settling.settle("default", use.service.now)
        assert len(late) == left
        people = await use.peaks("participants_peak", step="1m", until=NINE + 300_000)
        assert people["09:04"] == 1
        last = await use.steps(step="1m", since=NINE + 300_000, until=NINE + 360_000)
        assert [step["participants_peak"] for step in last] == [2]
    await settling.settle("default", use.service.now)
    await connection.close()
    people = await use.peaks("participants_peak", step="1m", until=NINE + 3_600_000)
    assert [people[f"09:{minute:02}"] for minute in (4, 5, 19, 20, 50 - 1)] == [1, 2, 4, 3, 1]


async def test_retention_keeps_what_still_goes_on(use: Over) -> None:
    """Hours beyond retention are gone, calls with them, and a meeting that began in them still counts after them."""
    feed = await two_meetings(use)
    await use.service.post(feed.document(call_start("long", "09:45:00"), join("frank", "long", "09:45:00")))
    await use.store.settle("default", use.service.now)
    before = await use.steps(step="1h", since=NINE + 3_600_000)
    intake = use.service.intakes["default"]
    for call in ("one", "two"):
        await intake.perform(lambda _, books, __, call=call: forget_call(books, call))
    assert await use.peaks("shared_sixths_peak") == {"12:00": 6, "11:00": 6, "10:00": 6, "09:00": 12}
    await use.store.forget("default", use.service.now)
    assert len(await use.steps(step="1h")) == 4
    await use.store.forget("default", use.service.now + 1)
    assert await use.steps(step="1h") == before
    await use.service.post(feed.document(join("grace", "long", "10:30:00")))
    after = await use.steps(step="1h")
    assert [step["shared_sixths_peak"] for step in after] == [6, 6, 6]
    assert [step["participants_peak"] for step in after] == [2, 2, 2]
    assert [step["participants_peak"] for step in before] == [1, 1, 1]


async def test_pages_are_the_whole_once(server: StoreServer) -> None:
    """Page after page gives every step of every deployment once, newest first."""
    server.ask("FLUSHALL")
    async with over(server.url, default=Options(), branch=Options(policy="owner")) as use:
        for name in ("default", "branch"):
            await two_meetings(use, to=name)
        whole = await use.steps(step="5m", until=NINE + 1_800_000)
        assert len(whole) == 12
        filters = HistoryFilters(step="5m", until=NINE + 1_800_000)
        for limit in (1, 3, 5):
            pages = await all_pages(lambda cursor, n=limit: use.history.steps(filters, n, cursor))
            assert [step for page in pages for step in plain(page)] == whole
        branch = await use.steps(step="1h", until=NINE + 3_600_000, deployment="branch")
        assert [(step["deployment"], step["shared_sixths_peak"]) for step in branch] == [("branch", 12)]
        other = await use.steps(step="1h", until=NINE + 3_600_000, deployment="branch", policy="join")
        assert [step["personal_peak"] for step in other] == [1]
        assert (await use.peak())["deployment"] == "default"
        with pytest.raises(BadRequest):
            await use.steps(policy="no-such")


async def test_each_deployment_has_a_peak_of_its_own(server: StoreServer) -> None:
    """The highest comes first, the others after it, each with its moment and meetings; one that never was, too."""
    server.ask("FLUSHALL")
    async with over(server.url, default=Options(), branch=Options(), idle=Options(policy="owner")) as use:
        lone = Feed("lone").document(call_start("c", "09:20:00"), join("carol-c", "c", "09:20:00"))
        await use.service.post(lone)
        await two_meetings(use, to="branch")
        peak = await use.peak()
        assert (peak["deployment"], peak["at"], peak["shared_sixths"]) == ("branch", "2024-03-12T09:10:00Z", 12)
        assert [one["id"] for one in peak["meetings"]] == ["m-one", "m-two"]
        lower, never = peak["others"]
        assert (lower["deployment"], lower["at"], lower["shared_sixths"]) == ("default", "2024-03-12T09:20:00Z", 6)
        assert [one["id"] for one in lower["meetings"]] == ["m-c"]
        assert (never["deployment"], never["policy"], never["at"], never["meetings"]) == ("idle", "owner", None, [])
        alone = await use.peak(deployment="default")
        assert alone == {**lower, "others": []}
        steps = await use.steps(step="1h", since=NINE, until=NINE + 3_600_000)
        assert [(step["deployment"], step["shared_sixths_peak"]) for step in steps] == [("default", 6), ("branch", 12)]


async def test_nothing_is_told_before_anything_happened(use: Over) -> None:
    """An empty history has no steps and no peak."""
    assert await use.steps() == []
    assert (await use.peak())["at"] is None
