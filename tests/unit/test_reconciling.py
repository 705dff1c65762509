"""Comparing what we count with what the Meeting Server counts: bands, polls in a row, and what is named."""

from collections.abc import Iterable
from decimal import Decimal

import pytest

from cdr_service.domain.counting import Band, Possible, ServerCounts, counted, participants_band, possible
from cdr_service.domain.directory import Directory, User
from cdr_service.domain.licensing import SHARED
from cdr_service.domain.reconciling import Poll, Reconciliation, compared, not_compared
from cdr_service.domain.showing import standing_of
from tests.feed import Feed, call_end, call_start, join
from tests.unit.books import Books

ALICE = "alice@example.com"


def theirs(meetings: str, shared: str, personal: dict[str, str], participants: int = 0, calls: int = 1) -> ServerCounts:
    """Make what a server counts."""
    return ServerCounts(
        meetings=Decimal(meetings),
        shared=Decimal(shared),
        personal={user: Decimal(count) for user, count in personal.items()},
        participants=participants,
        calls=calls,
    )


def meeting(name: str, *payers: str, steady: bool = True, conferences: int = 1) -> Possible:
    """Make what a meeting may count as."""
    return Possible(name, conferences, steady, frozenset(payers), not payers)


def polled(server: ServerCounts, *meetings: Possible, at: int = 1000, participants: Band | None = None) -> Poll:
    """Make a poll."""
    return Poll(at, at - 500, server, counted(meetings), meetings, participants)


def after(polls: Iterable[Poll], *, limit: int = 2) -> tuple[Reconciliation, list[str]]:
    """Compare polls one after the other; return where it stands, and the events."""
    now, told = Reconciliation(polls=limit), []
    for poll in polls:
        now, news = compared(now, poll)
        told += [news[0]] if news else []
    return now, told


class TestBands:
    """What may be counted."""

    def test_a_settled_meeting_counts_once(self) -> None:
        """A meeting that stood still counts as one, of its payer and of nobody else."""
        ours = counted([meeting("a", ALICE), meeting("b", SHARED), meeting("c", SHARED)])
        assert (ours.meetings, ours.shared, ours.personal) == (Band(3, 3), Band(2, 2), Band(1, 1))
        assert ours.holders == {ALICE: Band(1, 1)}

    def test_a_meeting_that_switched_counts_either_way(self) -> None:
        """One that went from SMP+ to PMP+ within the settle time counts as one meeting, of either."""
        ours = counted([meeting("a", ALICE, SHARED)])
        assert (ours.meetings, ours.shared, ours.holders) == (Band(1, 1), Band(0, 1), {ALICE: Band(0, 1)})

    def test_thirds_add_up(self) -> None:
        """A call over three bridges, 0.333 on each, is one meeting; a real half is not."""
        assert not Band(1, 1).off(Decimal("0.999"), theirs("0.999", "0", {}, calls=3).tolerance)
        assert Band(1, 1).off(Decimal("0.5"), theirs("0.5", "0", {}, calls=3).tolerance) == Decimal("-0.5")

    def test_many_roundings_never_hide_a_meeting(self) -> None:
        """However many calls there are, a whole meeting more is off."""
        assert Band(3000, 3000).off(Decimal(3001), theirs("0", "0", {}, calls=9000).tolerance) == 1

    def test_conferences_of_a_gateway(self) -> None:
        """Gateway calls count once per conference with the server: as many as there are calls, or one."""
        assert counted([meeting("a", SHARED, conferences=3)]).shared == Band(1, 3)

    def test_participants(self) -> None:
        """Who came and went within the settle time may be counted or not."""
        assert participants_band([{"a": 2, "b": 1}, {"a": 3}]) == Band(2, 4)


class TestPossible:
    """What a meeting of the books may count as."""

    @pytest.fixture
    def books(self) -> Books:
        """Make books in which bob's meeting went to alice's PMP+ at 09:10, and which began at 09:00."""
        made = Books(Directory([User(ALICE, holds_license=True)]))
        made.post(Feed().document(call_start("c"), join("bob-1", "c", "09:00:00"), join("alice-1", "c", "09:10:00")))
        return made

    def of(self, books: Books, clock: str) -> Possible | None:
        """Return what the meeting may count as since then."""
        (one,) = books.meetings.values()
        hour, minute = map(int, clock.split(":"))
        since = min(call.first_seen.time for call in books.calls.values()) // 86_400_000 * 86_400_000
        moment = since + (hour * 60 + minute) * 60_000
        return possible(one, books.calls.values(), standing_of(one, "join"), moment, books.options)

    def test_settled(self, books: Books) -> None:
        """Long after the switch it is alice's; just after it, of either; before its start it need not be there."""
        assert self.of(books, "09:20") == Possible("m-c", 1, True, frozenset({ALICE}), False)
        assert self.of(books, "09:05") == Possible("m-c", 1, True, frozenset({ALICE, SHARED}), False)
        assert self.of(books, "08:50") == Possible("m-c", 1, False, frozenset({ALICE, SHARED}), False)

    def test_a_meeting_that_spreads(self, books: Books) -> None:
        """While a second bridge is new the nodes may share it each by its own mind: as less than one, or as more."""
        books.post(Feed("t", "other").document(call_start("d", "09:20:00", meeting="m-c")))
        spreading = self.of(books, "09:15")
        assert spreading is not None
        assert spreading.charged_to(ALICE) == Band(0, 2)
        settled = self.of(books, "09:25")
        assert settled is not None
        assert settled.charged_to(ALICE) == Band(1, 1)

    def test_ended(self, books: Books) -> None:
        """One that ended within the settle time may still be counted; one that ended before is none."""
        later = Feed()
        later.next_correlator = 50
        books.post(later.document(call_end("c", "09:30:00")))
        ended = self.of(books, "09:25")
        assert ended is not None
        assert ended.whole == Band(0, 1)
        assert self.of(books, "09:35") is None


class TestPolls:
    """What is told, and when."""

    def test_agreement_is_told_once(self) -> None:
        """After so many polls without a difference it is told that the counts agree, once."""
        poll = polled(theirs("1", "0", {ALICE: "1"}), meeting("a", ALICE))
        now, told = after([poll, poll, poll])
        assert (now.state, told) == ("agreed", ["reconcile.agreed"])

    def test_one_poll_is_no_drift(self) -> None:
        """A difference in a single poll is not told, and does not add up over a poll that agrees."""
        good, bad = (polled(theirs("1", count, {}), meeting("a", SHARED)) for count in ("1", "0"))
        now, told = after([good, good, bad, good, bad])
        assert (now.state, told) == ("agreed", ["reconcile.agreed"])

    def test_a_drift_is_told_with_what_explains_it(self) -> None:
        """A difference that lasts is told once, with the meetings that can explain it; then its end."""
        bad = polled(theirs("2", "1", {ALICE: "1"}), meeting("a", SHARED), meeting("b", SHARED), at=1000)
        now, told = after([bad, bad, bad])
        assert (now.state, told) == ("drift", ["reconcile.drift"])
        by_key = {one.key: one for one in now.drifts}
        assert by_key["personal", ALICE].meetings == ("a", "b")
        assert by_key["shared", None].off == -1
        assert now.drift("shared") == -1
        good = polled(theirs("2", "1", {ALICE: "1"}), meeting("a", SHARED), meeting("b", ALICE), at=2000)
        _, news = compared(compared(now, good).now, good)
        assert news is not None
        assert news[0] == "reconcile.agreed"

    def test_a_band_is_no_drift(self) -> None:
        """The server may count a meeting that nobody is in, or not."""
        empty = Possible("a", 1, False, frozenset({SHARED}), True)
        for count in ("0", "1"):
            now, told = after([polled(theirs(count, count, {}), empty)] * 3)
            assert (now.state, told) == ("agreed", ["reconcile.agreed"])
            assert now.ours is not None
            assert now.ours.unoccupied == 1

    def test_participants_that_are_not_known_yet_are_not_compared(self) -> None:
        """Right after the start it is not known who was in a settle time ago."""
        now, _ = after([polled(theirs("1", "1", {}, participants=9), meeting("a", SHARED))] * 2)
        assert now.state == "agreed"
        server = theirs("1", "1", {}, participants=9)
        now, _ = after([polled(server, meeting("a", SHARED), participants=Band(1, 2))] * 2)
        assert now.drift("participants") == 7

    def test_who_is_vouched_for(self) -> None:
        """A license is reconciled where its holder's count agrees, it stood long enough, and that was lately."""
        poll = polled(theirs("3", "1", {ALICE: "2"}), meeting("a", ALICE), meeting("b", SHARED), meeting("c", "x@y"))
        now, _ = after([poll])
        assert now.vouches_for(None, since=400, now=2000)
        assert not now.vouches_for(ALICE, since=400, now=2000)
        assert not now.vouches_for(None, since=600, now=2000)
        assert not now.vouches_for(None, since=400, now=2000 + now.fresh_for)
        assert not not_compared(now, 2000, "away").vouches_for(None, since=400, now=2000)

    def test_what_cannot_be_compared_changes_nothing(self) -> None:
        """A node that is away makes no drift; after a while nothing is said to be known any more."""
        poll = polled(theirs("1", "1", {}), meeting("a", SHARED))
        now, _ = after([poll, poll])
        assert not_compared(now, 2000, "away").state == "agreed"
        assert not_compared(now, 2000 + now.fresh_for, "away").state == "unknown"
