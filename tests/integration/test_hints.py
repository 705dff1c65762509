"""Hints and explained meetings as the API gives them, by what is in a real store."""

from collections.abc import AsyncIterator, Iterator

import pytest

from cdr_service.domain.description import Description, Step
from cdr_service.domain.directory import Directory, User
from cdr_service.domain.options import Options
from cdr_service.errors import BadRequest
from cdr_service.reading.explaining import Explaining
from cdr_service.reading.queries import Queried
from cdr_service.store.reads import RedisReads
from tests.feed import Feed, call_end, call_start, join, leave
from tests.integration.servers import StoreServer, put_directory, store_server
from tests.integration.test_queries import Service, service_at

BOB = "bob@example.com"


@pytest.fixture(scope="module")
def server() -> Iterator[StoreServer]:
    """Run a store for the tests of this module."""
    with store_server(unix=True) as running:
        yield running


@pytest.fixture
async def service(server: StoreServer) -> AsyncIterator[Service]:
    """Run a service with one deployment on an empty store; alice and bob hold PMP+."""
    server.ask("FLUSHALL")
    async with service_at(server.url) as running:
        yield running


async def test_a_call_and_its_meeting_tell_what_to_look_at(service: Service) -> None:
    """A call on SMP+ that a known address is in, as it seems, says so while it lives; its meeting says the same."""
    stranger = join("s", "c", type="sip", remoteParty="alice@partner.example")
    await service.post(Feed().document(call_start("c", ownerName="bob"), stranger))
    call = await service.queries.call("c")
    assert [hint.partition(",")[0] for hint in call.hints] == [
        'The call names "bob" as its owner (ownerName)',
        "alice@partner.example is in and matches nobody",
    ]
    assert (await service.queries.meeting("m-c")).hints == call.hints
    await service.post(Feed("later").document(join("alice", "c", "09:01:00")))
    assert (await service.queries.call("c")).hints == []
    await service.post(Feed("end").document(leave("s"), leave("alice"), call_end("c")))
    assert (await service.queries.call("c")).hints == []


async def test_usage_tells_who_is_about_to_spill(service: Service) -> None:
    """A holder who pays two meetings is named with the deployment's usage."""
    (item,) = (await service.queries.usage()).items
    assert item.hints == []
    for call in "ab":
        await service.post(Feed(call).document(call_start(call), join(f"alice-{call}", call)))
    (item,) = (await service.queries.usage()).items
    assert [hint.partition(",")[0] for hint in item.hints] == ["alice@example.com pays 2 meetings"]


async def test_explaining_goes_by_the_stored_directory(service: Service, server: StoreServer) -> None:
    """Who holds PMP+ is what the deployment knows; a directory that changes counts from the next question on."""
    connection = service.connection
    reads = RedisReads(connection)
    explaining = Explaining([Queried(name="default", options=Options())], reads, service.clock)
    asked = Description(steps=[Step(join=BOB)])
    (item,) = (await explaining.explain(asked)).items
    assert item.licenses["join"] is not None
    assert item.licenses["join"].holder == BOB
    assert await reads.directory("default") is await reads.directory("default")
    await put_directory(connection, "default", Directory([User(BOB, holds_license=False)]), b"version2")
    (item,) = (await explaining.explain(asked)).items
    assert item.licenses["join"] is not None
    assert item.licenses["join"].type == "SMP+"
    server.ask("FLUSHALL")
    assert (await reads.directory("default")).users == {}


async def test_what_cannot_be_explained_is_refused_by_its_key(service: Service) -> None:
    """A deployment that is not there, and who leaves without being in, are named."""
    explaining = Explaining([Queried(name="default", options=Options())], RedisReads(service.connection), service.clock)
    with pytest.raises(BadRequest) as refused:
        await explaining.explain(Description(steps=[Step(join=BOB)], deployment="other"))
    assert refused.value.parameter == "deployment"
    with pytest.raises(BadRequest) as refused:
        await explaining.explain(Description(steps=[Step(leave=BOB)]))
    assert refused.value.parameter == "steps[0].leave"
