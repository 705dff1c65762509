"""Answers to queries, from a real store that the real intake has filled."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cdr_service.domain.commit import Commit, Document, read
from cdr_service.domain.directory import Directory, User
from cdr_service.domain.filters import CallFilters, SwitchFilters
from cdr_service.domain.options import Options
from cdr_service.domain.pages import Cursor, Listing, Page, Place
from cdr_service.domain.reception import Received
from cdr_service.errors import BadRequest, NotFound, StoreUnavailable
from cdr_service.reading.queries import Queried, Queries
from cdr_service.service import Deployment, Intake
from cdr_service.store.connection import Connection, connect
from cdr_service.store.embedded import embedded_server
from cdr_service.store.reads import RedisReads
from cdr_service.store.redis_store import RedisStore, Written
from tests.feed import Feed, Record, call_end, call_start, join, leave
from tests.integration.servers import StoreServer, cluster, put_directory, store_server

SAMPLES = Path(__file__).parents[1] / "samples"
WEB_CALL = "7d6111cd-462b-441d-8742-b109ce308a93"
TWO_BRIDGES = "8bf71dd3-ee76-457e-9a88-adf342310e97"
HOLDERS = Directory(
    [User("alice@example.com", holds_license=True), User("bob@example.com", holds_license=True, aliases=("2002",))]
)


class Silent:
    """An observer that tells nobody, and lets no fault of ours pass."""

    def committed(self, deployment: str, commit: Commit, received: Sequence[Received]) -> None:
        """Say nothing."""

    def unavailable(self, deployment: str, problem: StoreUnavailable) -> None:
        """Say nothing; the sender hears of it."""

    def failed(self, deployment: str, document: Document, problem: Exception) -> None:
        """Fail the test."""
        raise AssertionError(f"{deployment}: {document}") from problem


class Service:
    """The intakes and the queries of a service, without HTTP."""

    def __init__(self, connection: Connection, deployments: Mapping[str, Options]) -> None:
        self.connection = connection
        self.now = 1_710_234_000_000
        """Our clock, 2024-03-12 09:00:00 until a test moves it."""
        written = {name: Written(policy=options.policy) for name, options in deployments.items()}
        store = RedisStore(connection, written, "test")
        self.intakes = {
            name: Intake(Deployment(name=name, options=options), store, Silent(), self.clock)
            for name, options in deployments.items()
        }
        queried = [
            Queried(name=name, options=options, assigned=lambda: HOLDERS.assigned, limit_shared=3)
            for name, options in deployments.items()
        ]
        self.queries = Queries(queried, RedisReads(connection), self.clock)

    def clock(self) -> int:
        """Return our clock."""
        return self.now

    async def post(self, *bodies: bytes, to: str = "default") -> None:
        """Have documents taken in."""
        for body in bodies:
            await self.intakes[to].receive(read(body))

    async def calls(self, **filters: Any) -> list[str]:
        """Return the ids of the calls that are selected, all on one page."""
        page = await self.queries.calls(CallFilters(**filters), 500)
        assert page.next is None
        return [call.id for call in page.items]

    async def switches(self, **filters: Any) -> list[Any]:
        """Return the switches that are selected, as their JSON; `to_` and `from_` stand for the words of Python."""
        named = {name.rstrip("_"): value for name, value in filters.items()}
        return plain(await self.queries.switches(msgspec.convert(named, SwitchFilters), 500))["items"]


@asynccontextmanager
async def service_at(url: str, **deployments: Options) -> AsyncIterator[Service]:
    """Run a service on the store at a URL, with HOLDERS as the directory of each deployment."""
    connection = connect(url)
    service = Service(connection, deployments or {"default": Options()})
    async with AsyncExitStack() as stack:
        stack.push_async_callback(connection.close)
        for name, intake in service.intakes.items():
            await put_directory(connection, name, HOLDERS, b"version1")
            await stack.enter_async_context(intake.running())
        yield service


@pytest.fixture(scope="module")
def server() -> Iterator[StoreServer]:
    """Run a store for the tests of this module."""
    with store_server(unix=True) as running:
        yield running


@pytest.fixture
async def service(server: StoreServer) -> AsyncIterator[Service]:
    """Run a service with one deployment on an empty store."""
    server.ask("FLUSHALL")
    async with service_at(server.url) as running:
        yield running


def plain(view: Any) -> Any:
    """Return what a reader of the JSON gets."""
    return msgspec.json.decode(msgspec.json.encode(view))


def sample(case: str) -> list[bytes]:
    """Return the documents of a sample, in order."""
    return [file.read_bytes() for file in sorted((SAMPLES / case).iterdir())]


async def all_pages(ask: Callable[[str | None], Awaitable[Page[Any]]]) -> list[list[Any]]:
    """Return the items of every page."""
    page = await ask(None)
    pages = [page.items]
    while page.next is not None:
        page = await ask(page.next)
        pages.append(page.items)
    return pages


async def test_the_web_app_sample_on_the_embedded_server(tmp_path: Path) -> None:
    """Call, legs, meeting and lists read as the worked flow says, while the call lives and after it."""
    async with embedded_server(tmp_path) as url, service_at(url) as service:
        *before, last = sample("web-app-and-sip")
        await service.post(*before)
        assert await service.calls() == [WEB_CALL]
        assert await service.calls(state="ended") == []
        await service.post(last)
        assert await service.calls() == []
        assert await service.calls(state="ended") == [WEB_CALL]
        call = await service.queries.call(WEB_CALL.upper())
        assert (call.state, call.started_at, call.ended_at) == ("ended", "2024-03-12T09:00:00Z", "2024-03-12T09:21:05Z")
        assert (call.participants, call.participants_peak, call.legs, call.complete) == (0, 2, 2, True)
        assert [transition.cause for transition in call.transitions] == ["first_participant", "participant_left"]
        legs = (await service.queries.legs(WEB_CALL, 100)).items
        assert [(leg.display_name, leg.left_at) for leg in legs] == [
            ("Room 12", "2024-03-12T09:20:40Z"),
            ("Web User One", "2024-03-12T09:21:05Z"),
        ]
        meeting = await service.queries.meeting(call.meeting)
        assert [summary.id for summary in meeting.calls] == [WEB_CALL]
        assert await service.queries.meeting(WEB_CALL) == meeting


async def test_the_two_bridges_sample(service: Service) -> None:
    """One meeting with two calls of two bridges, whose callEnds each say one participant."""
    *before, last = sample("two-bridges")
    await service.post(*before)
    live = (await service.queries.calls(CallFilters(state="active"), 100)).items
    assert [call.license.type if call.license else None for call in live] == ["SMP+"]
    await service.post(last)
    meeting = await service.queries.meeting(TWO_BRIDGES)
    assert (meeting.started_at, meeting.ended_at) == ("2024-03-12T10:00:03Z", "2024-03-12T10:31:00Z")
    assert (meeting.participants_peak, [call.participants_peak for call in meeting.calls]) == (2, [1, 1])
    whole = [await service.queries.call(call.id) for call in meeting.calls]
    assert [call.reported and call.reported.legs_max_active for call in whole] == [1, 1]
    assert await service.switches() == []


async def test_lists_are_newest_first_and_live_ones_before_ended_ones(service: Service) -> None:
    """Live calls by start, ended calls by end."""
    starts = [call_start(f"live{n}", f"09:0{n}:00") for n in range(3)]
    gone = [call_start(f"ended{n}", f"08:0{n}:00") for n in range(3)]
    ends = [call_end("ended0", "09:30:00"), call_end("ended1", "09:10:00"), call_end("ended2", "09:20:00")]
    await service.post(Feed().document(*starts, *gone, *ends))
    assert await service.calls() == ["live2", "live1", "live0"]
    assert await service.calls(state="ended") == ["ended0", "ended2", "ended1"]
    assert await service.calls(state="all") == ["live2", "live1", "live0", "ended0", "ended2", "ended1"]
    assert await service.calls(state="all", since=at("09:20:00")) == ["live2", "live1", "live0", "ended0", "ended2"]
    assert await service.calls(state="all", until=at("09:01:00")) == ["live0", "ended0", "ended2", "ended1"]
    assert await service.calls(state="ended", since=at("09:15:00"), until=at("08:01:00")) == ["ended0"]


def at(time: str) -> int:
    """Return a time of 12 March 2024 in milliseconds."""
    hours, minutes, seconds = map(int, time.split(":"))
    return 1_710_201_600_000 + (hours * 3600 + minutes * 60 + seconds) * 1000


async def test_pages_lose_and_repeat_nothing_while_calls_come_and_go(service: Service) -> None:
    """Hundreds of calls of the same second; between pages some end and others start."""
    feed = Feed()
    first = [f"c{number:03}" for number in range(0, 300, 2)]
    await service.post(feed.document(*map(call_start, first)))
    page = await service.queries.calls(CallFilters(), 20)
    seen = [call.id for call in page.items]
    odd = iter(range(1, 300, 2))
    while page.next:
        ending, waiting = seen[-1], [call for call in first if call < seen[-1]]
        await service.post(
            feed.document(call_end(ending), *map(call_end, waiting[-1:]), call_start(f"c{next(odd):03}"))
        )
        first = [call for call in first if call not in (ending, *waiting[-1:])]
        page = await service.queries.calls(CallFilters(), 20, page.next)
        seen += [call.id for call in page.items]
    assert len(seen) == len(set(seen))
    assert {call for call in first if call not in seen} == set()


async def test_lists_of_several_deployments_are_merged(server: StoreServer) -> None:
    """One list over all, unless the filter names one; an id is found wherever it is."""
    server.ask("FLUSHALL")
    async with service_at(server.url, east=Options(), west=Options(policy="owner")) as service:
        east, west = Feed("e"), Feed("w")
        await service.post(*(east.document(call_start(f"e{n}", f"09:0{n}:00")) for n in (1, 3, 5)), to="east")
        await service.post(*(west.document(call_start(f"w{n}", f"09:0{n}:00")) for n in (2, 3, 4)), to="west")
        await service.post(east.document(join("alice", "e1")), to="east")
        await service.post(west.document(join("alice", "w2")), to="west")
        assert await service.calls() == ["e5", "w4", "w3", "e3", "w2", "e1"]
        assert await service.calls(deployment="west") == ["w4", "w3", "w2"]
        pages = await all_pages(lambda cursor: service.queries.calls(CallFilters(), 2, cursor))
        assert [[call.id for call in page] for page in pages] == [["e5", "w4"], ["w3", "e3"], ["w2", "e1"]]
        call, other = await service.queries.call("e1"), await service.queries.call("w2")
        assert (call.deployment, other.deployment) == ("east", "west")
        assert [c.license.policy if c.license else None for c in (call, other)] == ["join", "owner"]
        assert [list(c.alternatives) for c in (call, other)] == [["owner"], ["join"]]
        assert (await service.queries.meeting("m-w2")).deployment == "west"
        assert (await service.queries.legs("w2", 1)).items[0].id == "alice"
        assert [use.deployment for use in (await service.queries.usage()).items] == ["east", "west"]
        with pytest.raises(BadRequest, match='no deployment "north"; those that exist: east, west') as refused:
            await service.queries.calls(CallFilters(deployment="north"), 10)
        assert refused.value.parameter == "deployment"


async def test_one_call_in_two_deployments_is_two_calls(server: StoreServer) -> None:
    """A Call Bridge that pushes to both is listed under both, also on pages of one."""
    server.ask("FLUSHALL")
    async with service_at(server.url, east=Options(), west=Options()) as service:
        for name in ("east", "west"):
            await service.post(Feed().document(call_start("c1"), call_start("c2")), to=name)
        pages = await all_pages(lambda cursor: service.queries.calls(CallFilters(), 1, cursor))
        assert [(call.id, call.deployment) for page in pages for call in page] == [
            ("c2", "east"),
            ("c2", "west"),
            ("c1", "east"),
            ("c1", "west"),
        ]


async def test_an_id_in_two_deployments_is_asked_for_by_its_deployment(server: StoreServer) -> None:
    """Neither of the two is shown for the other: without a deployment the answer names those to choose from."""
    server.ask("FLUSHALL")
    async with service_at(server.url, east=Options(), west=Options(policy="owner")) as service:
        for name in ("east", "west"):
            await service.post(Feed().document(call_start("c1"), join(f"bob-{name}", "c1"), join("al", "c1")), to=name)
        await service.post(Feed("w").document(call_start("c2")), to="west")
        queries = service.queries
        for ask in (queries.call("c1"), queries.legs("c1", 1), queries.meeting("m-c1"), queries.meeting("c1")):
            with pytest.raises(BadRequest, match="in several deployments: name one of east, west") as refused:
                await ask
            assert refused.value.parameter == "deployment"
        for name in ("east", "west"):
            assert (await queries.call("C1", name)).deployment == name
            assert (await queries.meeting("m-c1", name)).deployment == name
            page = await queries.legs("c1", 1, deployment=name)
            assert [leg.id for leg in page.items] == [f"bob-{name}"]
            assert [leg.id for leg in (await queries.legs("c1", 1, page.next)).items] == ["al"]
        assert (await queries.call("c2")).deployment == "west"
        with pytest.raises(NotFound, match="There is no call c2"):
            await queries.call("c2", "east")
        with pytest.raises(BadRequest, match='no deployment "north"; those that exist: east, west'):
            await queries.call("c1", "north")


async def test_usage_is_a_page(server: StoreServer) -> None:
    """Deployments in the order in which they are set, so many at a time; another list's cursor is refused."""
    server.ask("FLUSHALL")
    async with service_at(server.url, west=Options(), east=Options(), north=Options()) as service:
        pages = await all_pages(lambda cursor: service.queries.usage(2, cursor))
        assert [[use.deployment for use in page] for page in pages] == [["west", "east"], ["north"]]
        cursor = Cursor(Listing.USAGE, Place(0, ""), "south").encode()
        for wrong in (cursor, "x", Cursor(Listing.LEGS, Place(0, ""), "east").encode()):
            with pytest.raises(BadRequest, match="not one that this list gave"):
                await service.queries.usage(2, wrong)


async def test_calls_are_selected_by_what_the_index_does_not_hold(service: Service) -> None:
    """License, holder, participant, name, space, tenant and meeting, each alone."""
    await service.post(
        Feed().document(
            call_start("c1", name="Standup", coSpace="space1", tenant="t1", meeting="m1"),
            join("alice", "c1", "09:00:01"),
            call_start("c2", name="Review", coSpace="space2", meeting="m2"),
            join("carol", "c2", "09:00:02", displayName="Carol from the board"),
            call_start("c3", name="Standup too", meeting="m1"),
            call_start("c4", name="Over", meeting="m4"),
            join("bob", "c4", "09:00:03", remoteParty="bob@example.com"),
            call_end("c4", "09:10:00"),
        )
    )
    assert await service.calls(license="PMP+") == ["c3", "c1"]
    assert await service.calls(license="SMP+") == ["c2"]
    assert await service.calls(license="PMP+", state="ended") == ["c4"]
    assert await service.calls(license="none", state="all") == []
    assert await service.calls(holder="Alice@example.com", state="all") == ["c3", "c1"]
    assert await service.calls(holder="bob@example.com", state="all") == ["c4"]
    assert await service.calls(participant="carol@example.com") == ["c2"]
    assert await service.calls(participant="BOARD") == ["c2"]
    assert await service.calls(participant="2002", state="ended") == ["c4"]
    assert await service.calls(find="200", state="all") == ["c4"]
    assert await service.calls(participant="nobody@example.com", state="all") == []
    assert await service.calls(name="standup") == ["c3", "c1"]
    assert await service.calls(cospace="SPACE2") == ["c2"]
    assert await service.calls(tenant="t1") == ["c1"]
    assert await service.calls(meeting="M1", state="all") == ["c3", "c1"]
    assert await service.calls(meeting="m4", state="all") == ["c4"]
    assert await service.calls(meeting="m9", state="all") == []
    pages = await all_pages(lambda cursor: service.queries.calls(CallFilters(meeting="m1"), 1, cursor))
    assert [[call.id for call in page] for page in pages] == [["c3"], ["c1"]]


async def test_a_bridge_whose_clock_is_a_day_ahead_settles_nothing(service: Service) -> None:
    """What a lagging bridge tells of this morning still decides which of the holder's meetings waited."""
    third = Feed("third").document(
        call_start("c3", "09:02:00"), join("alice-3", "c3", "09:02:00"), leave("alice-3", "09:10:00")
    )
    second = Feed("second").document(
        call_start("c2", "09:01:00"), join("alice-2", "c2", "09:01:00"), leave("alice-2", "09:10:00")
    )
    first = Feed("first").document(
        call_start("c1", "09:00:00"), join("alice-1", "c1", "09:00:00"), leave("alice-1", "09:10:00")
    )
    ahead = Feed("ahead").document(call_start("c4", "13:00:00"), join("alice-4", "c4", "13:00:00"))
    service.now += 15 * 60 * 1000
    await service.post(third, second, ahead.replace(b"2024-03-12", b"2024-03-13"), first)
    firsts = [plain(await service.queries.call(call))["transitions"][0]["to"]["type"] for call in ("c1", "c2", "c3")]
    assert firsts == ["PMP+", "PMP+", "SMP+"]


async def test_a_selective_query_finds_the_one_call_among_many(service: Service) -> None:
    """What is selected is found at both ends of a list of many chunks."""
    starts = [call_start(f"c{n}", f"09:{n // 60:02}:{n % 60:02}") for n in range(1, 699)]
    needles = [call_start("c0", "08:00:00", name="needle"), call_start("c699", "11:00:00", name="Needle")]
    feed = Feed()
    await service.post(*(feed.document(*starts[n : n + 300]) for n in range(0, 700, 300)), feed.document(*needles))
    pages = await all_pages(lambda cursor: service.queries.calls(CallFilters(name="needle"), 10, cursor))
    assert [[call.id for call in page] for page in pages] == [["c699", "c0"]]


async def test_legs_are_pages_newest_first(service: Service) -> None:
    """Each leg once; a leg that was moved shows its stays in both calls, cut at the end of a call."""
    moved = Record("callLegUpdate", "09:05:00", "<callLeg id='bob'><state>connected</state><call>c2</call></callLeg>")
    await service.post(
        Feed().document(
            call_start("c1"),
            call_start("c2"),
            join("alice", "c1", "09:00:01"),
            join("bob", "c1", "09:00:02"),
            join("carol", "c1", "09:00:03"),
            moved,
            call_end("c1", "09:10:00"),
        )
    )
    pages = await all_pages(lambda cursor: service.queries.legs("C1", 2, cursor))
    assert [[leg.id for leg in page] for page in pages] == [["carol", "bob"], ["alice"]]
    carol, bob = pages[0]
    assert (carol.state, carol.left_at) == ("ended", "2024-03-12T09:10:00Z")
    assert (bob.call, bob.state, bob.left_at) == ("c2", "connected", None)
    assert plain(bob.stays) == [
        {"call": "c1", "joined_at": "2024-03-12T09:00:02Z", "left_at": "2024-03-12T09:05:00Z"},
        {"call": "c2", "joined_at": "2024-03-12T09:05:00Z", "left_at": None},
    ]


async def test_a_call_that_was_its_own_meeting_leads_to_the_one_it_was_merged_into(service: Service) -> None:
    """Until callStart tells the correlator the call's id is the meeting's; afterwards it still finds it."""
    feed = Feed()
    start = feed.document(call_start("c", "08:59:59", meeting="correlator"))
    await service.post(feed.document(join("alice", "c", "09:00:00")))
    alone = await service.queries.meeting("c")
    assert (alone.id, alone.participants) == ("c", 1)
    await service.post(start)
    merged = await service.queries.meeting("c")
    assert merged.id == "correlator"
    assert merged == await service.queries.meeting("correlator")
    assert (await service.queries.call("c")).meeting == "correlator"


async def test_switches_are_listed_newest_first_with_their_meeting(service: Service) -> None:
    """One per meeting and change; the filters select, and pages give each once."""
    feed = Feed()
    for number in range(4):
        time = f"09:0{number}"
        await service.post(
            feed.document(
                call_start(f"c{number}", f"{time}:00", name=f"Call {number}"),
                join(f"carol-{number}", f"c{number}", f"{time}:01"),
                join("alice-x" if number == 0 else f"bob-{number}", f"c{number}", f"{time}:30"),
                call_end(f"c{number}", f"{time}:50"),
            )
        )
    found = await service.switches()
    assert [(switch["name"], switch["at"], switch["calls"]) for switch in found] == [
        (f"Call {number}", f"2024-03-12T09:0{number}:30Z", [f"c{number}"]) for number in (3, 2, 1, 0)
    ]
    assert found[3]["meeting"] == "m-c0"
    assert (found[3]["from"]["type"], found[3]["to"]) == (
        "SMP+",
        {"type": "PMP+", "holder": "alice@example.com", "weight": "0"},
    )
    assert (found[3]["kind"], found[3]["cause"], found[3]["late"]) == ("type", "member_joined", False)
    assert [s["name"] for s in await service.switches(holder="alice@example.com")] == ["Call 0"]
    assert [s["name"] for s in await service.switches(meeting="M-C2")] == ["Call 2"]
    assert [s["name"] for s in await service.switches(since=at("09:02:00"))] == ["Call 3", "Call 2"]
    assert [s["name"] for s in await service.switches(until=at("09:01:30"))] == ["Call 0"]
    assert await service.switches(from_="PMP+") == []
    assert len(await service.switches(to="PMP+", cause="member_joined")) == 4
    assert await service.switches(kind="weight") == []
    pages = await all_pages(lambda cursor: service.queries.switches(SwitchFilters(), 3, cursor))
    assert [[switch.name for switch in page] for page in pages] == [["Call 3", "Call 2", "Call 1"], ["Call 0"]]


async def test_a_switch_that_was_learned_late_is_listed_when_asked_for(service: Service) -> None:
    """A join that comes long after younger records is late, and its switch with it."""
    feed = Feed()
    body = feed.document(call_start("c"), join("carol", "c", "09:00:01"))
    late = feed.document(join("alice", "c", "09:01:00"))
    await service.post(body, feed.document(join("dave", "c", "09:20:00")), late)
    assert await service.switches() == []
    assert [switch["at"] for switch in await service.switches(late="true")] == ["2024-03-12T09:01:00Z"]
    assert len(await service.switches(late="all")) == 1


async def test_usage_is_what_is_in_use_now(service: Service) -> None:
    """Meetings by license, holders, sixths of the pool, people and calls."""
    await service.post(
        Feed().document(
            call_start("c1", meeting="m1"),
            join("alice", "c1"),
            call_start("c2", meeting="m2"),
            join("carol", "c2"),
            join("dave", "c2"),
            call_start("c3", callType="forwarding"),
            join("erin", "c3"),
            call_start("c4"),
            join("bob", "c4"),
            call_end("c4", "09:10:00"),
        )
    )
    service.now = at("09:15:00")
    assert plain(await service.queries.usage()) == {
        "items": [
            {
                "deployment": "default",
                "policy": "join",
                "at": "2024-03-12T09:15:00Z",
                "personal": {"meetings": 1, "holders": ["alice@example.com"], "assigned": 2, "limit": None},
                "shared": {"meetings": 2, "sixths": 7, "licenses": 1.167, "limit": 3},
                "participants": 4,
                "calls": 3,
                "hints": [],
            }
        ],
        "next": None,
    }


async def test_calls_that_records_may_be_missing_of_are_marked(service: Service) -> None:
    """A hole in the numbers marks the calls of its time once it has settled, and is healed by the records."""
    feed = Feed()
    await service.post(feed.document(call_start("before", "08:00:00"), call_end("before", "08:30:00")))
    await service.post(feed.document(call_start("c", "09:00:00")))
    lost = feed.document(join("alice", "c", "09:01:00"))
    await service.post(feed.document(join("bob", "c", "09:02:00")))
    assert (await service.queries.call("c")).complete
    service.now += 61_000
    assert not (await service.queries.call("c")).complete
    assert not (await service.queries.meeting("m-c")).complete
    assert [call.complete for call in (await service.queries.calls(CallFilters(state="all"), 9)).items] == [False, True]
    await service.post(lost)
    assert (await service.queries.call("c")).complete


async def test_what_is_not_there_and_what_cannot_be_understood(service: Service) -> None:
    """An unknown id is NotFound, a cursor of another list or of nobody is BadRequest."""
    await service.post(Feed().document(call_start("c"), join("alice", "c"), leave("alice")))
    for asked in (service.queries.call("x"), service.queries.legs("x", 1), service.queries.meeting("x")):
        with pytest.raises(NotFound, match="x, or it is no longer kept"):
            await asked
    ended = await service.queries.calls(CallFilters(state="ended"), 1)
    assert (ended.items, ended.next) == ([], None)
    legs = (await all_pages(lambda cursor: service.queries.legs("c", 1, cursor)))[0]
    assert [leg.id for leg in legs] == ["alice"]
    for cursor in ("", "nonsense", "ä", "gA"):
        with pytest.raises(BadRequest, match="leave it out") as refused:
            await service.queries.calls(CallFilters(), 1, cursor)
        assert refused.value.parameter == "cursor"


async def test_a_cursor_of_another_list_is_refused(service: Service) -> None:
    """The places of live calls mean nothing among ended ones."""
    await service.post(Feed().document(call_start("c1"), call_start("c2")))
    page = await service.queries.calls(CallFilters(), 1)
    for asked in (
        service.queries.calls(CallFilters(state="ended"), 1, page.next),
        service.queries.legs("c1", 1, page.next),
    ):
        with pytest.raises(BadRequest):
            await asked


async def test_ready_says_what_is_unsafe_and_fails_without_the_store() -> None:
    """A store that keeps no append-only file is named; one that is gone is unavailable."""
    with store_server(unix=True, appendonly="no") as server:
        async with service_at(server.url) as service:
            assert any("appendonly" in sentence for sentence in await service.queries.ready())
            await asyncio.to_thread(server.kill)
            with pytest.raises(StoreUnavailable):
                await service.queries.ready()
            with pytest.raises(StoreUnavailable):
                await service.queries.calls(CallFilters(), 1)


async def test_the_same_answers_from_a_cluster() -> None:
    """Deployments on different nodes of a real cluster are read as from a single server."""
    with cluster() as nodes:
        async with service_at(nodes.url, east=Options(), west=Options()) as service:
            assert nodes.master_of("cdr:{east}:live") is not nodes.master_of("cdr:{west}:live")
            for name in ("east", "west"):
                records = [call_start(name, meeting="m"), join("carol", name), join("alice", name, "09:00:05")]
                await service.post(Feed(name).document(*records), to=name)
            assert await service.calls(participant="alice@example.com") == ["west", "east"]
            assert [switch["deployment"] for switch in await service.switches()] == ["west", "east"]
            assert [leg.id for leg in (await service.queries.legs("west", 9)).items] == ["alice", "carol"]
            assert [use.participants for use in (await service.queries.usage()).items] == [2, 2]
