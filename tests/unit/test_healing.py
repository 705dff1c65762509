"""What the Meeting Server's lists show goes into the books, and yields to records that come later."""

from collections.abc import Callable

import pytest

from cdr_service.domain.bookkeeping import Bookkeeper
from cdr_service.domain.calls import OBSERVED
from cdr_service.domain.completeness import complete, known_losses
from cdr_service.domain.directory import Directory, User
from cdr_service.domain.found import FoundCall, FoundLeg
from cdr_service.domain.healing import close_call, close_leg, note_behind, open_call, open_leg
from cdr_service.domain.records import OrderKey
from cdr_service.domain.sessions import Gap
from cdr_service.domain.showing import standing_of
from cdr_service.domain.workspace import Workspace
from tests.feed import Feed, call_end, call_start, join, leave
from tests.unit.books import Books

ALICE = "alice@example.com"
NINE = 1_710_234_000_000
"""09:00 on 12 March 2024, as the feed counts time, in milliseconds."""
FOUND = FoundCall("c", NINE, name="Standup", call_type="coSpace", cospace="space", correlator="m-c")
LEG = FoundLeg("alice-1", "c", connected=True, remote_party=ALICE, leg_type="acano", direction="incoming")


def at(minutes: int, thing: str = "") -> OrderKey:
    """Return the place of something found so long after nine."""
    return OrderKey(NINE + minutes * 60_000, f"{OBSERVED} {thing}", 0)


@pytest.fixture
def books() -> Books:
    """Make books that know of alice, who holds PMP+, and of no call."""
    return Books(Directory([User(ALICE, holds_license=True)]))


def find(books: Books, minutes: int = 5, leg: FoundLeg = LEG) -> None:
    """Find the call and a leg on it."""
    books.perform(lambda keeper, _: open_call(keeper, FOUND, at(minutes, "c")))
    books.perform(lambda keeper, workspace: open_leg(keeper, workspace, leg, at(minutes, leg.id)))


def switches(books: Books) -> list[tuple[int, str | None, str | None]]:
    """Return when the meeting took which license, in minutes after nine."""
    (meeting,) = books.meetings.values()
    return [
        ((one.at.time - NINE) // 60_000, one.before and one.before.type, one.after and one.after.type)
        for one in standing_of(meeting, "join").transitions
    ]


def test_a_found_call(books: Books) -> None:
    """It is live in its meeting, not complete, and takes a license from the moment at which it was found."""
    find(books)
    (call,) = books.calls.values()
    assert (call.name, call.correlator, call.complete, call.began) == ("Standup", "m-c", False, NINE)
    assert switches(books) == [(5, None, "PMP+")]
    assert [event.event for event in books.events[:2]] == ["call.started", "leg.joined"]


def test_finding_again_changes_nothing(books: Books) -> None:
    """Another pass, or another process, may find the same."""
    find(books)
    things, events = dict(books.things), len(books.events)
    find(books, 7)
    assert (books.things, len(books.events)) == (things, events)


def test_records_that_come_later_take_over(books: Books) -> None:
    """The late records of what was found give the timeline that they give without it."""
    find(books)
    feed = Feed()
    body = feed.document(call_start("c"), join("bob-1", "c", "09:01:00"), join("alice-1", "c", "09:02:00"))
    books.post(body)
    books.post(feed.document(leave("alice-1", "09:30:00"), call_end("c")))
    assert switches(books) == [(1, None, "SMP+"), (2, "SMP+", "PMP+"), (60, "PMP+", None)]
    (call,) = books.calls.values()
    assert (call.session, call.ended is not None) == ("s", True)


def test_a_record_names_the_session_of_a_found_call(books: Books) -> None:
    """The first record of a leg on it says of which session the call is, so that it ends with that one."""
    find(books)
    books.post(Feed("s", "cb").document(join("bob-1", "c", "09:06:00")))
    (call,) = books.calls.values()
    assert (call.session, call.call_bridge) == ("s", "cb")
    assert switches(books) == [(5, None, "PMP+")]


def test_a_call_known_from_its_legs_gets_its_meeting(books: Books) -> None:
    """Where the callStart was lost, the server's list says of which meeting the call is."""
    books.post(Feed().document(join("alice-1", "c", "09:01:00")))
    books.perform(lambda keeper, _: open_call(keeper, FOUND, at(5, "c")))
    assert list(books.meetings) == ["m-c"]
    assert switches(books) == [(1, None, "PMP+")]


def test_who_waits_is_not_in(books: Books) -> None:
    """A leg in the lobby is known and takes no license."""
    find(books, leg=LEG._replace(lobby=True))
    assert list(books.legs) == ["alice-1"]
    assert switches(books) == []


def test_a_lost_leaving(books: Books) -> None:
    """A leg that the server no longer has has left; its callLegEnd, should it come, says since when."""
    feed = Feed()
    books.post(feed.document(call_start("c"), join("alice-1", "c")))
    books.perform(lambda keeper, workspace: close_leg(keeper, workspace, "alice-1", at(20, "alice-1")))
    assert switches(books) == [(0, None, "PMP+"), (20, "PMP+", None)]
    books.post(feed.document(leave("alice-1", "09:10:00")))
    assert switches(books) == [(0, None, "PMP+"), (10, "PMP+", None)]


def test_a_lost_end(books: Books) -> None:
    """A call that the server no longer has is over, as an estimate; its callEnd, should it come, stands."""
    feed = Feed()
    books.post(feed.document(call_start("c"), join("alice-1", "c")))
    books.perform(lambda keeper, workspace: close_call(keeper, workspace, "c", at(20).time))
    (call,) = books.calls.values()
    assert (call.ended, call.end_estimated is not None) == (None, True)
    assert switches(books)[-1] == (20, "PMP+", None)
    books.post(feed.document(call_end("c", "09:15:00")))
    assert switches(books)[-1] == (15, "PMP+", None)


def test_a_call_that_was_closed_and_goes_on(books: Books) -> None:
    """A record of a call that was closed reopens it."""
    feed = Feed()
    books.post(feed.document(call_start("c"), join("alice-1", "c")))
    books.perform(lambda keeper, workspace: close_call(keeper, workspace, "c", at(20).time))
    books.post(feed.document(join("bob-1", "c", "09:25:00")))
    assert switches(books) == [(0, None, "PMP+")]
    assert [event.event for event in books.events if event.details.get("reopened")] == ["call.started"]


class TestLostAtTheEnd:
    """Records that the server generated last and that never came."""

    @pytest.fixture
    def behind(self, books: Books) -> Callable[[int], None]:
        """Let the server say, at 09:30, that its next record has a number; two came."""
        books.post(Feed().document(call_start("c"), join("alice-1", "c")))

        def note(upcoming: int) -> None:
            gap = Gap(2, upcoming - 1, NINE, NINE + 1_800_000, 1)

            def work(keeper: Bookkeeper, workspace: Workspace) -> None:
                note_behind(keeper, workspace, "s", gap, "event-1")

            books.perform(work)

        return note

    def missing(self, books: Books) -> int:
        """Return how many records are known to be lost."""
        return sum(gap.missing for gap in known_losses(books.sessions["s"], 100_000))

    def test_it_is_lost(self, books: Books, behind: Callable[[int], None]) -> None:
        """Calls that they may belong to are not complete, and it is told how many, once."""
        behind(5)
        behind(5)
        assert self.missing(books) == 3
        assert not complete(books.calls["c"], known_losses(books.sessions["s"], 100_000))
        told = [event for event in books.events if event.event == "records.missing"]
        assert [event.details["missing"] for event in told] == [3]

    def test_it_came_after_all(self, books: Books, behind: Callable[[int], None]) -> None:
        """What comes is lost no more; more that is lost later is told by itself."""
        behind(5)
        feed = Feed()
        feed.next_correlator = 2
        books.post(feed.document(join("bob-1", "c"), join("carol-1", "c"), leave("bob-1")))
        assert self.missing(books) == 0
        assert complete(books.calls["c"], known_losses(books.sessions["s"], 100_000))
        behind(7)
        assert self.missing(books) == 2

    def test_nothing_is_lost(self, books: Books, behind: Callable[[int], None]) -> None:
        """A server that restarted counts from nought: that says nothing of the session before."""
        behind(1)
        assert self.missing(books) == 0
