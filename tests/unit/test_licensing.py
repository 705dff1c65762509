"""Who pays a meeting: the truth table of both policies, and the timeline of a meeting as people come and go."""

from itertools import product
from typing import Any

import pytest

from cdr_service.domain.calls import Meeting
from cdr_service.domain.identity import Identity
from cdr_service.domain.licensing import PERSONAL, SHARED, Member, Situation
from cdr_service.domain.options import Options
from cdr_service.domain.policies import POLICIES
from cdr_service.domain.records import CallEnd, CallLegEnd, CallLegStart, CallStart, OrderKey, RecordingStart
from cdr_service.domain.showing import standing_of
from cdr_service.domain.spaces import AD_HOC, SCHEDULED, Circumstances, SpaceFacts
from cdr_service.domain.weights import Gathering, shape_of
from tests.unit.books import Books, Parcel
from tests.unit.nasty import DIRECTORY, Sent, Writer, person

ALICE, BOB, CAROL = "alice@example.com", "bob@example.com", "carol@example.com"


def members(*users: str) -> tuple[Member, ...]:
    """Return holders who joined one after the other."""
    return tuple(Member(user, f"leg-of-{user}", OrderKey(place, "s", place)) for place, user in enumerate(users))


def owned_by(owner: str, *, holds: bool = False, **more: Any) -> Situation:
    """Return a situation in a space that somebody owns."""
    return Situation(known=Circumstances(SpaceFacts(Identity(owner, None, holds))), **more)


NOBODY_HOLDS = Situation()
TABLE = [
    # situation, under join: rule and holder, under owner: rule and holder
    (NOBODY_HOLDS, ("shared", None), ("shared", None)),
    (owned_by(BOB), ("shared", None), ("shared", None)),
    (owned_by(ALICE, holds=True), ("owner", ALICE), ("owner", ALICE)),
    (owned_by(ALICE, holds=True, owner_can_pay=False), ("shared", None), ("shared", None)),
    (Situation(members=members(CAROL)), ("member-joined", CAROL), ("shared", None)),
    (Situation(members=members(CAROL, ALICE)), ("member-joined", CAROL), ("shared", None)),
    (
        owned_by(ALICE, holds=True, members=members(CAROL)),
        ("member-joined", CAROL),
        ("owner", ALICE),
    ),
    (owned_by(BOB, members=members(CAROL)), ("member-joined", CAROL), ("shared", None)),
    (
        owned_by(ALICE, holds=True, members=members(ALICE)),
        ("member-joined", ALICE),
        ("owner", ALICE),
    ),
    (
        owned_by(ALICE, holds=True, owner_can_pay=False, members=members(CAROL)),
        ("member-joined", CAROL),
        ("shared", None),
    ),
]


@pytest.mark.parametrize(("situation", "join", "owner"), TABLE)
@pytest.mark.parametrize("call_type", ["coSpace", None, "aTypeOfTheFuture"])
@pytest.mark.parametrize("recorded", [False, True])
def test_who_pays(
    situation: Situation, join: tuple[str, str | None], owner: tuple[str, str | None], call_type: Any, recorded: bool
) -> None:
    """The first rule that applies decides; a PMP+ costs the pool nothing, an SMP+ is whole, recorded or not."""
    for policy, (rule_id, holder) in (("join", join), ("owner", owner)):
        rule, charge = POLICIES[policy].decide(of_type(situation, call_type, recorded=recorded))
        assert (rule.id, charge.holder) == (rule_id, holder)
        assert (charge.type, charge.sixths) == ((PERSONAL, 0) if holder else (SHARED, 6))
        assert charge.reason


@pytest.mark.parametrize(
    ("call_type", "kind", "rule", "words"),
    [
        ("coSpace", None, "owner", "owns the space"),
        ("adHoc", None, "ad-hoc-initiator", "started the ad hoc conference"),
        ("coSpace", AD_HOC, "ad-hoc-initiator", "started the ad hoc conference"),
        ("coSpace", SCHEDULED, "scheduler", "scheduled the meeting"),
    ],
)
def test_the_owner_is_named_by_the_kind_of_meeting(call_type: str, kind: str | None, rule: str, words: str) -> None:
    """Under `owner` an initiator and a scheduler reach us as the space's owner; the rule says which of them it is."""
    facts = SpaceFacts(Identity(ALICE, None, holds_license=True), kind=kind)
    found, charge = POLICIES["owner"].decide(of_type(Situation(known=Circumstances(facts)), call_type))
    assert (found.id, charge.holder) == (rule, ALICE)
    assert charge.reason == f"{ALICE}, who {words}, holds PMP+"


def of_type(situation: Situation, call_type: str | None, *, recorded: bool = False) -> Situation:
    """Return the situation in a call of that type."""
    shape = shape_of(call_type, situation.known, situation.options)
    return situation._replace(shape=shape, gathering=Gathering(recorded=recorded))


@pytest.mark.parametrize(("situation", "_join", "_owner"), TABLE)
@pytest.mark.parametrize("call_type", ["forwarding", "Forwarding", "lyncConferencing"])
def test_nobody_pays_a_gateway_call(situation: Situation, _join: object, _owner: object, call_type: str) -> None:
    """It takes a sixth of an SMP+ whoever is in it and under either policy, and a whole one while it is recorded."""
    for policy, recorded in product(POLICIES.values(), (False, True)):
        rule, charge = policy.decide(of_type(situation, call_type, recorded=recorded))
        assert (rule.id, charge.type, charge.holder) == ("gateway", SHARED, None)
        assert charge.sixths == (6 if recorded else 1)


def test_the_reason_names_what_decided() -> None:
    """A reader learns who it was, by which leg, and why a holder does not pay."""
    reasons = [POLICIES["join"].decide(situation)[1].reason for situation, _, _ in TABLE]
    assert reasons[0] == "nobody in the meeting is known to hold PMP+, and no owner of a space is known"
    assert "bob@example.com holds no PMP+" in reasons[1]
    assert "alice@example.com, who owns the space" in reasons[2]
    assert "pays as many meetings as it may" in reasons[3]
    assert reasons[4] == "carol@example.com, who holds PMP+, joined as leg leg-of-carol@example.com"


def test_policies_are_data_that_ends_with_a_rule_for_everybody() -> None:
    """Both have their id, begin with the gateway rule, end with one that always applies, and cite their sources."""
    assert {id_: policy.id for id_, policy in POLICIES.items()} == {"join": "join", "owner": "owner"}
    for policy in POLICIES.values():
        assert policy.rules[0].id == "gateway"
        assert policy.rules[-1].id == "shared"
        assert all(rule.source and rule.confidence and rule.releases and rule.text for rule in policy.rules)


class Room:
    """One meeting in which people come and go, a second after the other."""

    def __init__(self, space: str = "space-of-nobody", options: Options | None = None, **about: Any) -> None:
        self.books = Books(DIRECTORY, options)
        self.writer = Writer("s", "bridge")
        self.seconds = 0
        about = {"call_correlator": "m", "cospace": space, "call_type": "coSpace"} | about
        self.take(self.writer.write(CallStart, 0, call="c", **about))

    def take(self, sent: Sent) -> None:
        """Take a record."""
        self.books.take(Parcel(sent.source, [sent.record]))

    def come(self, who: str | None, leg: str | None = None) -> "Room":
        """Let somebody in."""
        return self.happens(CallLegStart, leg=leg or f"leg-{who}", call="c", direction="incoming", **person(who))

    def go(self, who: str | None, leg: str | None = None) -> "Room":
        """Let somebody out."""
        return self.happens(CallLegEnd, leg=leg or f"leg-{who}", reason="remoteTeardown")

    def happens(self, kind: Any, **fields: Any) -> "Room":
        """Write and take a record, a second later."""
        self.seconds += 1
        self.take(self.writer.write(kind, self.seconds, **fields))
        return self

    @property
    def meeting(self) -> Meeting:
        """The meeting as it is stored."""
        return self.books.meetings["m"]

    def told(self, policy: str = "join") -> list[tuple[str | None, str]]:
        """Return the transitions: to whom, or SMP+ with its weight, or None; and why."""
        return [
            (t.after and (t.after.holder or f"{t.after.type} {t.after.weight}"), str(t.cause))
            for t in standing_of(self.meeting, policy).transitions
        ]


FIRST, JOINED = "first_participant", "member_joined"


def test_nobody_in_takes_no_license() -> None:
    """A call that began and that nobody entered costs nothing."""
    assert Room().told() == []
    assert standing_of(Room().meeting, "join").license is None


def test_a_holder_who_joins_later_is_a_switch() -> None:
    """The first one in without PMP+ takes an SMP+; a holder who joins turns it to PMP+, with leg, user and reason."""
    room = Room().come(BOB).come(ALICE)
    assert room.told() == [("SMP+ 1", FIRST), (ALICE, JOINED)]
    assert room.told("owner") == [("SMP+ 1", FIRST)]
    switch = standing_of(room.meeting, "join").transitions[-1]
    assert (switch.leg, switch.user, switch.rule) == (f"leg-{ALICE}", ALICE, "member-joined")
    assert switch.before is not None
    assert switch.before.type == SHARED


def test_a_holder_who_is_first_pays_at_once() -> None:
    """There is no SMP+ stage."""
    assert Room().come(ALICE).come(BOB).told() == [(ALICE, FIRST)]


def test_the_owner_pays_under_both_policies_where_no_member_does() -> None:
    """Present or not; under `join` too, as long as no member who holds PMP+ came first."""
    room = Room("space-of-alice").come(BOB).come(CAROL)
    assert room.told() == room.told("owner") == [(ALICE, FIRST)]


def test_an_owner_without_a_license_pays_nothing() -> None:
    """Bob owns the space and holds no PMP+."""
    room = Room("space-of-bob").come(BOB).come(CAROL)
    assert room.told() == [("SMP+ 1", FIRST), (CAROL, JOINED)]
    assert room.told("owner") == [("SMP+ 1", FIRST)]


def test_pmp_stays_when_its_holder_leaves() -> None:
    """`join_sticky`: nothing says that it reverts."""
    assert Room().come(ALICE).come(BOB).go(ALICE).told() == [(ALICE, FIRST)]


def test_pmp_reverts_where_it_is_set_to() -> None:
    """Without `join_sticky` the next holder who is in pays, else the pool; a second leg of the payer keeps it."""
    loose = Options(join_sticky=False)
    assert Room(options=loose).come(ALICE).come(BOB).go(ALICE).told() == [(ALICE, FIRST), ("SMP+ 1", "member_left")]
    room = Room(options=loose).come(ALICE).come(BOB).come(CAROL).go(ALICE)
    assert room.told() == [(ALICE, FIRST), (CAROL, "member_left")]
    assert Room(options=loose).come(ALICE).come(ALICE, "second").come(BOB).go(ALICE).told() == [(ALICE, FIRST)]


def test_an_owner_who_pays_need_not_stay() -> None:
    """The owner's leaving changes nothing, sticky or not, because the owner need not be in."""
    for sticky in (True, False):
        room = Room("space-of-alice", Options(join_sticky=sticky)).come(ALICE).come(BOB).go(ALICE)
        assert room.told() == [(ALICE, FIRST)]
        assert standing_of(room.meeting, "owner").license is not None


def test_a_meeting_that_emptied_is_decided_anew() -> None:
    """A license is released with the last one in; who comes then is the first again."""
    room = Room().come(ALICE).go(ALICE).come(BOB, "again")
    assert room.told() == [(ALICE, FIRST), (None, "member_left"), ("SMP+ 1", FIRST)]
    room = Room().come(BOB).go(BOB)
    assert room.told() == [("SMP+ 1", FIRST), (None, "participant_left")]


def test_the_end_of_the_call_releases_once() -> None:
    """Everybody who is still in leaves with the call: one transition to nothing, whoever paid, sticky or not."""
    for sticky in (True, False):
        room = Room(options=Options(join_sticky=sticky)).come(ALICE).come(CAROL).come(BOB).happens(CallEnd, call="c")
        assert room.told() == [(ALICE, FIRST), (None, "call_ended")]


def test_a_gateway_call_gains_weight_while_it_is_recorded() -> None:
    """One sixth, a whole license while recorded, one sixth again; no holder in it pays."""
    room = Room(call_type="forwarding", cospace=None).come(ALICE).come(BOB)
    room.happens(RecordingStart, recording="r", call="c")
    assert room.told() == [("SMP+ 1/6", FIRST), ("SMP+ 1", "recording_started")]
    room.happens(CallLegStart, leg="rec", call="c", direction="incoming", recording=True)
    room.go(None, "rec").happens(CallEnd, call="c")
    assert room.told()[2:] == [(None, "call_ended")]
    assert room.told("owner") == room.told()


def test_guests_and_strangers_never_pay() -> None:
    """A guest who writes a holder's address, and a stranger who is called like one, are nobody."""
    room = Room()
    room.happens(CallLegStart, leg="g", call="c", direction="incoming", **person(ALICE), guest=True)
    stranger = {"remote_party": "alice@partner.example", "leg_type": "sip"}
    room.happens(CallLegStart, leg="p", call="c", direction="incoming", **stranger)
    assert room.told() == [("SMP+ 1", FIRST)]


def test_the_same_charge_for_another_reason_is_no_transition() -> None:
    """The rule and the reason that are shown are those of now, the time is when the charge began."""
    room = Room("space-of-alice", Options(join_sticky=False)).come(ALICE).come(BOB)
    first = standing_of(room.meeting, "join").license
    room.go(ALICE)
    now = standing_of(room.meeting, "join").license
    assert first is not None
    assert now is not None
    assert (first.rule, now.rule, now.holder, now.since) == ("member-joined", "owner", ALICE, first.since)
    assert room.told() == [(ALICE, FIRST)]
