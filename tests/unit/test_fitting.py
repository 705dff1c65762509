"""Which rules a server follows, found from its counts: what tells, what does not, and how sure that is."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import pytest

from cdr_service.domain.counting import ServerCounts
from cdr_service.domain.directory import Directory, User
from cdr_service.domain.fitting import Choice, Fit, choices, observed
from cdr_service.domain.options import Options
from cdr_service.domain.trials import Trials, is_at_stake, variants
from cdr_service.domain.workspace import Key
from tests.feed import Feed, call_end, call_start, join, leave
from tests.unit.books import Books

ALICE, BOB, CAROL = (f"{name}@example.com" for name in ("alice", "bob", "carol"))
LATER = 2_000_000_000_000
"""A time long after everything, so that all is settled."""


def directory() -> Directory:
    """Make alice and carol, who hold PMP+, bob who does not, and a space of bob's."""
    return Directory([User(ALICE, True), User(CAROL, True), User(BOB, False, spaces=("space-b",))])


class Server:
    """A server that follows rules of its own, and what the service finds of it."""

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self.books = Books(directory(), self.options)
        self.feed = Feed()
        self.fit = Fit()
        self.trials = Trials(self.options)
        self.moment = 10**12
        self.trials.follow({}, self.moment, self.moment)

    def happens(self, *records: Any) -> None:
        """Let records be generated."""
        self.books.post(self.feed.document(*records))

    def things(self) -> dict[Key, Any]:
        """Return what is known of meetings in which a license is at stake, and that go on or were not seen to end."""
        live = {call.meeting for call in self.books.calls.values() if call.end is None} | self.trials.unfinished
        at_stake = {m.id for m in self.books.meetings.values() if is_at_stake(m) and m.id in live}
        return {key: thing for key, thing in self.books.things.items() if key[0] != "meeting" or key[1] in at_stake}

    def follow(self) -> None:
        """Decide what happened by all rules."""
        self.moment += 1
        self.trials.follow(self.things(), self.moment - 1, self.moment)

    def says(self, *, polls: int = 2, at: int = 1, since: int = LATER, **personal: int) -> None:
        """Let the server say how many meetings each user's license pays, in so many polls."""
        counts = {f"{user}@example.com": Decimal(count) for user, count in personal.items()}
        total = Decimal(len(self.books.meetings))
        theirs = ServerCounts(
            meetings=total, shared=total - sum(counts.values()), personal=counts, participants=0, calls=1
        )
        for _ in range(polls):
            self.follow()
            self.fit = observed(self.fit, at, theirs, self.trials.predictions(since), 2, self.trials.unknown)

    def chosen(self) -> Mapping[str, Choice]:
        """Return what the evidence says, by setting."""
        return {one.setting: one for one in choices(self.fit, self.options)}


def meetings(names: str) -> Iterator[Any]:
    """Yield the beginnings of meetings in bob's space, in each of which bob is."""
    for name in names:
        yield call_start(name, cospace="space-b")
        yield join(f"bob-{name}", name)


@pytest.fixture
def server() -> Server:
    """Make a server with one meeting in a space of bob's, which carol joined."""
    made = Server()
    made.happens(*meetings("a"), join("carol-a", "a", "09:01:00"))
    return made


def test_join_or_owner(server: Server) -> None:
    """A holder who joined a space of somebody without a license pays under join, and not under owner."""
    server.says(carol=1)
    assert (server.fit.observations, server.fit.telling) == (1, 1)
    chosen = server.chosen()["policy"]
    assert (chosen.recommended, chosen.sure) == ("join", "likely")
    assert chosen.agreements == {"join": 1, "owner": 0}


def test_owner(server: Server) -> None:
    """Where the server does not say so, it follows owner; who leaves does not matter then."""
    server.says()
    assert server.chosen()["policy"].recommended == "owner"
    assert server.chosen()["join_sticky"].recommended is None


def test_a_state_counts_once_and_only_after_so_many_polls(server: Server) -> None:
    """One poll is none; two in a row are one observation, and two hundred are no more."""
    server.says(polls=1, carol=1)
    assert server.fit.observations == 0
    server.says(polls=1)
    assert server.fit.observations == 0
    server.says(polls=20, carol=1)
    assert server.fit.observations == 1


@pytest.mark.parametrize(("count", "sticky"), [(1, True), (0, False)])
def test_sticky(server: Server, count: int, *, sticky: bool) -> None:
    """Once she left, she pays on if licenses are sticky, and else not."""
    server.says(carol=1)
    server.happens(leave("carol-a", "09:10:00"))
    server.says(carol=count)
    chosen = server.chosen()
    assert chosen["policy"].recommended == "join"
    assert chosen["join_sticky"].recommended is sticky


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_meetings_per_holder(server: Server, count: int) -> None:
    """How many of four meetings of hers the server puts down to her is how many a license pays at a time."""
    server.happens(*meetings("bcd"), *(join(f"carol-{name}", name, "09:02:00") for name in "bcd"))
    server.says(carol=count)
    chosen = server.chosen()["pmp_calls_per_user"]
    assert chosen.recommended == count
    assert ("4 or more explains" in chosen.reason) is (count == 4)


def test_two_meetings_rule_out_one(server: Server) -> None:
    """If she pays two, it is not one; whether it is two or more cannot be told."""
    server.happens(*meetings("b"), join("carol-b", "b", "09:02:00"))
    server.says(carol=2)
    chosen = server.chosen()["pmp_calls_per_user"]
    assert (chosen.recommended, chosen.candidates, chosen.sure) == (None, [2, 3, 4], "cannot tell")


@pytest.mark.parametrize(("count", "spills_back"), [(2, True), (1, False)])
def test_spill_back(server: Server, count: int, *, spills_back: bool) -> None:
    """Whether a meeting that found no free license takes one that becomes free is what the server counts then."""
    server.happens(*meetings("bc"), join("carol-b", "b", "09:02:00"), join("carol-c", "c", "09:03:00"))
    server.says(carol=2)
    assert server.chosen()["spill_back"].sure == "cannot tell"
    server.happens(leave("bob-a", "09:10:00"), leave("carol-a", "09:10:01"), call_end("a", "09:10:02"))
    for _ in range(3):
        server.follow()  # it is over long since, and no longer read
    server.happens(join("dave-c", "c", "09:12:00"))
    server.says(carol=count)
    assert server.chosen()["pmp_calls_per_user"].recommended == 2
    assert server.chosen()["spill_back"].recommended is spills_back


def test_who_was_full_before_the_first_look_is_left_out(server: Server) -> None:
    """Whose license was wanted when nobody looked yet, of them nothing is said until no meeting wants it any more."""
    server.trials = Trials(server.options)
    server.says(carol=1)
    assert server.fit.observations == 0
    server.happens(leave("bob-a", "09:10:00"), leave("carol-a", "09:10:01"), call_end("a", "09:10:02"))
    server.follow()
    server.happens(*meetings("b"), join("carol-b", "b", "09:20:00"))
    server.says(carol=1)
    assert server.fit.observations == 1


def test_a_meeting_that_is_part_of_another(server: Server) -> None:
    """A call known from its legs alone takes its claims with it into the meeting that it turns out to belong to."""
    server.happens(join("carol-x", "x", "09:04:00"))
    server.follow()
    assert set(server.trials.unfinished) == {"m-a", "x"}
    server.happens(call_start("x", "09:00:30", meeting="m-a"))
    server.says(carol=1)
    assert set(server.trials.unfinished) == {"m-a"}
    assert server.fit.examples[0].predicted["join sticky 2 spill-back"] == 1


def test_what_does_not_tell() -> None:
    """A holder in her own space tells nothing: all rules say that she pays."""
    server = Server()
    server.books.directory = Directory([User(ALICE, True, spaces=("space-b",))])
    server.happens(*meetings("a"), join("alice-a", "a", "09:01:00"))
    server.says(alice=1)
    assert (server.fit.observations, server.fit.telling) == (1, 0)
    assert {one.sure for one in server.chosen().values()} == {"cannot tell"}


def test_three_make_it_sure(server: Server) -> None:
    """Three observations more for one value than for any other make it sure, if they explain all that was seen."""
    server.says(carol=1)
    server.happens(*meetings("b"), join("alice-b", "b", "09:02:00"))
    server.says(carol=1, alice=1)
    server.happens(*meetings("c"), join("alice-c", "c", "09:03:00"))
    server.says(carol=1, alice=2)
    assert server.chosen()["policy"].sure == "sure"


def test_what_no_rule_explains(server: Server) -> None:
    """A count that none of the rules says is told as unexplained, and recommends nothing."""
    server.says(carol=7)
    assert (server.fit.telling, server.fit.unexplained) == (1, 1)
    assert server.chosen()["policy"].recommended is None


def test_what_no_rule_explains_though_all_say_the_same() -> None:
    """Where all rules say alike, and the server otherwise, that is told as well."""
    server = Server()
    server.books.directory = Directory([User(ALICE, True, spaces=("space-b",))])
    server.happens(*meetings("a"), join("alice-a", "a", "09:01:00"))
    server.says()
    assert (server.fit.telling, server.fit.unexplained) == (1, 1)
    assert {one.recommended for one in server.chosen().values()} == {None}


def test_what_is_not_settled_is_not_observed(server: Server) -> None:
    """What changed within the settle time is no observation: it may count either way."""
    server.says(polls=5, since=0, carol=1)
    assert server.fit.observations == 0


def test_sticky_says_nothing_while_it_may_be_owner(server: Server) -> None:
    """Who leaves matters under join alone, so while owner is not ruled out nothing is said of it."""
    chosen = server.chosen()["join_sticky"]
    assert (chosen.recommended, chosen.sure) == (None, "cannot tell")


def test_variants_have_names_of_their_own() -> None:
    """Nothing is scored twice, and what is set is among them."""
    tried = variants(Options(pmp_calls_per_user=7, spill_back=False))
    assert len({one.id for one in tried}) == len(tried)
    assert ("owner", 7, False) in {(one.policy, one.pmp_calls_per_user, one.spill_back) for one in tried}
