"""How often nodes are asked: so many requests of each, every attempt and page counted; with what is left it goes on."""

import asyncio
from collections.abc import Iterator

import pytest

from cdr_service.cms.budget import Budget
from cdr_service.cms.errors import CmsSpent
from cdr_service.enquiries.healing import REQUESTS, Here
from cdr_service.simulator.api_model import example_directory
from cdr_service.simulator.meeting import Step
from cdr_service.simulator.people import USERS
from cdr_service.simulator.records import Record
from cdr_service.simulator.scenarios import identities
from tests.unit.clockwork import played
from tests.unit.hours import Hour
from tests.unit.test_reconciled_hour import ours

BRIDGES, CALLS, LEGS = 2, 24, 3


def begun() -> Iterator[Step]:
    """Yield what begins many calls on each bridge, with some legs each."""
    for bridge in range(BRIDGES):
        for number in range(CALLS):
            call = f"call-{bridge}-{number}"
            yield Step(0, bridge, Record("callStart", call, {"callType": "coSpace", "callCorrelator": f"m-{number}"}))
            for place in range(LEGS):
                fields = {"call": call, "remoteParty": USERS[place], "type": "acano", "direction": "incoming"}
                yield Step(0, bridge, Record("callLegStart", f"leg-{call}-{place}", fields))
                told = {"call": call, "state": "connected"}
                yield Step(0, bridge, Record("callLegUpdate", f"leg-{call}-{place}", told))


def ended() -> Iterator[Step]:
    """Yield what ends all legs, and every second call."""
    for bridge in range(BRIDGES):
        for number in range(CALLS):
            for place in range(LEGS):
                yield Step(0, bridge, Record("callLegEnd", f"leg-call-{bridge}-{number}-{place}", {}))
            if number % 2:
                yield Step(0, bridge, Record("callEnd", f"call-{bridge}-{number}", {}))


def many() -> Hour:
    """Make a cluster on which many calls are live of which no record came."""
    steps = list(begun())
    hour = Hour(identities(0, bridges=BRIDGES, cluster=True), steps, theirs=example_directory(), ours=ours())
    hour.lose(*(step.record.id for step in steps))
    for step in steps:
        hour.emit(step)
    return hour


async def mended(hour: Hour, known: bool) -> list[list[int]]:
    """Mend until nothing is wrong; return how many requests each node got in each pass."""
    made: list[list[int]] = []
    async with hour.means() as means:
        bridges = {node: bridge for bridge, node in (await means.live.bridges()).items()} if known else {}
        while means.healing.due:
            before = [len(api.requests) for api in hour.apis]
            state = await means.book.state(await means.live_calls(), 0)
            await means.healing.once(state, Here(bridges, {}, 0, hour.clock))
            made.append([len(api.requests) - count for api, count in zip(hour.apis, before, strict=True)])
            await asyncio.sleep(3)
    return made


@pytest.mark.parametrize("busy", [0.0, 0.2])
def test_no_pass_of_mending_asks_more(busy: float) -> None:
    """Lists of many pages, hundreds of calls and legs, a busy node: no pass goes beyond its budget, all is found."""
    hour = many()
    for api in hour.apis:
        api.faults.busy = busy
    made = played(mended(hour, known=True))
    assert max(count for counts in made for count in counts) == REQUESTS
    assert len(hour.books.calls) == BRIDGES * CALLS
    assert len(hour.books.legs) == BRIDGES * CALLS * LEGS
    needed = 3 * (CALLS // 10 + CALLS * LEGS // 20) + CALLS + 2 * CALLS * LEGS
    assert len(made) < 2 * needed / REQUESTS


@pytest.mark.parametrize("known", [True, False])
def test_closing_asks_no_more(known: bool) -> None:
    """What is gone is closed within the budget, by its own node where that is known, and else by all."""
    hour = many()

    async def opened_and_closed() -> list[list[int]]:
        await mended(hour, known=True)
        for step in ended():
            hour.emit(step)
        return await mended(hour, known=known)

    made = played(opened_and_closed())
    assert max(count for counts in made for count in counts) == REQUESTS
    assert sum(call.end is None for call in hour.books.calls.values()) == BRIDGES * CALLS // 2
    live = {call.id for call in hour.books.calls.values() if call.end is None}
    assert all(leg.ended_at for leg in hour.books.legs.values() if leg.calls[-1] in live)


def test_what_is_beyond_is_not_sent() -> None:
    """The budget is of each node, holds for the tasks begun within it, and ends with it."""
    hour = many()

    async def ask() -> list[int]:
        async with hour.means() as means:
            with Budget(5).spending():
                for _ in range(5):
                    await means.live.release()
                with pytest.raises(CmsSpent, match="was asked 5 times already"):
                    await means.live.release()
            before = [len(api.requests) for api in hour.apis]
            await means.live.release()
            assert [len(api.requests) for api in hour.apis] == [count + 1 for count in before]
            return before

    assert played(ask()) == [5, 5]
