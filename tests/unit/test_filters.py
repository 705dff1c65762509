"""Which calls and which changes of license a query selects."""

from typing import Any

import msgspec
import pytest

from cdr_service.domain.calls import Call, Meeting
from cdr_service.domain.directory import Directory, User
from cdr_service.domain.filters import CallFilters, CallMatch, SwitchFilters, SwitchMatch, license_of
from cdr_service.domain.identity import GUEST, NOBODY, Identity
from cdr_service.domain.legs import Current, Leg
from cdr_service.domain.licensing import License
from cdr_service.domain.records import OrderKey
from cdr_service.domain.spaces import Circumstances, SpaceFacts
from cdr_service.domain.timeline import Cause, Standing, Timeline, Transition


def at(time: int) -> OrderKey:
    """Return a moment."""
    return OrderKey(time, "s", time)


SHARED = License("SMP+", None, 6, "shared", at(0), "")
SIXTH = License("SMP+", None, 1, "gateway", at(0), "")
ALICE = License("PMP+", "alice@example.com", 0, "member-joined", at(0), "")
BOB = License("PMP+", "bob@example.com", 0, "member-joined", at(0), "")


def change(time: int, before: License | None, after: License | None, *, late: bool = False) -> Transition:
    """Return a transition."""
    return Transition(at(time), before, after, Cause.MEMBER_JOINED, None, None, None, "", late=late)


def call(**facts: Any) -> Call:
    """Return a call that began at 100."""
    return Call("c", "s", at(100), **{"started": at(100), **facts})


NOBODY_KNOWN = Directory([])
KNOWN = Directory(
    [
        User("alice@example.com", True, ("1001", "+1(555)100-1", "sip:alice@video.example.com"), tags=("emp-1001",)),
        User("bob@example.com", False, ("1002", "shared")),
        User("carol@example.com", False, ("shared",)),
    ]
)
ALICES_NAMES = (
    "alice@example.com",
    "1001",
    "1 555 1001",
    "alice@video.example.com",
    "EMP-1001",
    "sip:1001@pbx.example.com",
)


def selected(leg: Leg, participant: str, directory: Directory = NOBODY_KNOWN) -> bool:
    """Is a call with this leg selected by a participant?"""
    return CallMatch(CallFilters(participant=participant)).participants([leg], directory)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, True),
        ({"name": "STAND"}, True),
        ({"name": "sit"}, False),
        ({"tenant": "T1"}, True),
        ({"tenant": "t2"}, False),
        ({"cospace": "Space"}, True),
        ({"cospace": "spac"}, False),
        ({"meeting": "M"}, True),
        ({"meeting": "c"}, False),
    ],
)
def test_a_call_is_selected_by_what_it_tells(filters: dict[str, str], expected: bool) -> None:
    """A name by a part of it, ids as a whole; letter case does not matter."""
    known = call(name="Team Standup", tenant="t1", cospace="space", correlator="m")
    assert CallMatch(CallFilters(**filters)).call(known) is expected


@pytest.mark.parametrize(
    ("ended", "since", "until", "expected"),
    [
        (None, 500, None, True),
        (None, None, 100, False),
        (None, None, 101, True),
        (200, 200, None, True),
        (200, 201, None, False),
        (200, 120, 130, True),
        (200, 0, 100, False),
    ],
)
def test_a_call_is_selected_that_overlaps_the_span(
    ended: int | None, since: int | None, until: int | None, expected: bool
) -> None:
    """A span holds its first moment and not its last; a live call has no end."""
    known = call(ended=None if ended is None else at(ended))
    assert CallMatch(CallFilters(since=since, until=until)).call(known) is expected


def test_an_ended_call_counts_by_its_last_license() -> None:
    """What the meeting took before the call began, or after it ended, is not the call's."""
    standing = Standing(
        None,
        (
            change(10, None, BOB),
            change(50, BOB, None),
            change(110, None, SHARED),
            change(150, SHARED, ALICE),
            change(300, ALICE, None),
            change(310, None, BOB),
        ),
    )
    assert license_of(call(ended=at(105)), standing) is None
    assert license_of(call(ended=at(120)), standing) is SHARED
    assert license_of(call(ended=at(150)), standing) is ALICE
    assert license_of(call(ended=at(305)), standing) is ALICE
    assert license_of(call(ended=at(320)), standing) is BOB
    running = Standing(ALICE, (change(10, None, ALICE),))
    assert license_of(call(ended=at(150)), running) is ALICE
    assert license_of(call(), running) is ALICE
    assert license_of(call(), standing) is None


def test_a_call_is_selected_by_its_license_and_by_who_pays_or_paid() -> None:
    """`none` selects calls without a license; a holder is found by any spelling of the address."""
    standing = Standing(SHARED, (change(10, None, ALICE), change(150, ALICE, SHARED)))
    meeting = Meeting("c", ("c",), timeline=Timeline(standings={"join": standing, "owner": Standing()}))

    def by(policy: str = "join", **filters: Any) -> bool:
        return CallMatch(CallFilters(**filters)).meeting(call(), meeting, policy)

    assert by(license="SMP+")
    assert not by(license="PMP+")
    assert by("owner", license="none")
    assert by(holder="sip:Alice@Example.com")
    assert by(holder="alice@example.com", license="SMP+")
    assert not by(holder="bob@example.com")
    assert not by("owner", holder="alice@example.com")


def test_a_call_is_selected_by_a_participant() -> None:
    """By user, address, number or a part of the display name; what is no participant never."""
    user = Identity("alice@example.com", "alias", holds_license=True)
    leg = Leg(
        "l",
        remote_party="1001@pbx.example.com",
        remote_address="sip:+49301001@trunk.example.com",
        display_name="Old name",
        current=Current(at(1), display_name="Board Room", remote_address="room@example.com"),
        identity=user,
    )
    for text in ("Alice@example.com", "1001", "1001@pbx.example.com", "+49 30 1001", "room@example.com", "board"):
        assert selected(leg, text), text
    for text in ("bob@example.com", "100", "1001@example.com", "Old name"):
        assert not selected(leg, text), text
    assert not selected(msgspec.structs.replace(leg, recorder=True), "1001")


@pytest.mark.parametrize("name", ALICES_NAMES)
@pytest.mark.parametrize(
    "leg",
    [
        Leg("l", remote_party="alice@example.com", leg_type="acano", identity=Identity("alice@example.com", "jid")),
        Leg("l", remote_party="1001@pbx.example.com", identity=Identity("alice@example.com", "alias")),
        Leg("l", remote_party="15551001@pbx.example.com", leg_type="sip"),
        Leg("l", remote_party="phone@10.0.0.1", leg_type="sip", cdr_tag="emp-1001"),
    ],
    ids=["app", "alias", "unknown then", "by tag"],
)
def test_a_person_is_found_by_every_name_that_the_directory_knows(leg: Leg, name: str) -> None:
    """By whichever of them they take part, also where the directory learned of it only after the call."""
    assert selected(leg, name, KNOWN)
    assert not selected(leg, "bob@example.com", KNOWN)
    assert not selected(leg, "1002", KNOWN)


def test_who_was_known_otherwise_is_not_found_by_another_persons_names() -> None:
    """What was known while the call went on stands; guests are nobody; a name of two users names neither."""
    app = Leg("l", remote_party="1001@pbx.example.com", leg_type="sip", display_name="Phone")
    assert not selected(msgspec.structs.replace(app, identity=Identity("bob@example.com", "alias")), "emp-1001", KNOWN)
    assert not selected(msgspec.structs.replace(app, identity=GUEST), "alice@example.com", KNOWN)
    assert not selected(Leg("l", identity=Identity("bob@example.com", "jid")), "shared", KNOWN)
    assert not selected(Leg("l", remote_party="1001@partner.example", identity=NOBODY), "alice@example.com", KNOWN)


@pytest.mark.parametrize("text", ["1001", "1555100", "(555)100", "@video", "emp-"])
def test_a_call_is_found_by_a_part_of_any_name_of_its_people(text: str) -> None:
    """Of those who are in, of the owner and of who pays or paid."""
    leg = Leg("l", identity=Identity("alice@example.com", "jid"))
    nobody, paid = Meeting("m", ("c",)), Standing(SHARED, (change(10, None, ALICE),))
    holders = Meeting("m", ("c",), timeline=Timeline(standings={"join": paid}))
    owners = Meeting("m", ("c",), known=Circumstances(SpaceFacts(Identity("alice@example.com"))))
    match = CallMatch(CallFilters(find=text))
    assert match.found(call(), nobody, "join", [leg], KNOWN)
    assert match.found(call(), holders, "join", [], KNOWN)
    assert match.found(call(), owners, "join", [], KNOWN)
    assert not match.found(call(), nobody, "join", [Leg("l", identity=Identity("bob@example.com"))], KNOWN)


@pytest.mark.parametrize(
    ("filters", "times"),
    [
        ({}, [2, 5]),
        ({"kind": "holder"}, [3]),
        ({"kind": "weight"}, [4]),
        ({"kind": "all"}, [2, 3, 4, 5]),
        ({"late": "true"}, [6]),
        ({"late": "all"}, [2, 5, 6]),
        ({"from": "SMP+"}, [2]),
        ({"to": "SMP+"}, [5]),
        ({"cause": "member_joined"}, [2, 5]),
        ({"cause": "call_ended"}, []),
        ({"holder": "BOB@example.com", "kind": "all"}, [3, 5]),
        ({"since": 3}, [5]),
        ({"until": 5}, [2]),
    ],
)
def test_switches_are_selected(filters: dict[str, Any], times: list[int]) -> None:
    """By default SMP+ to PMP+ and back, told in time; the first license and the last end are no switches."""
    transitions = [
        change(1, None, SHARED),
        change(2, SHARED, ALICE),
        change(3, ALICE, BOB),
        change(4, SIXTH, SHARED),
        change(5, BOB, SHARED),
        change(6, SHARED, ALICE, late=True),
        change(7, ALICE, None),
    ]
    match = SwitchMatch(msgspec.convert(filters, SwitchFilters))
    assert [t.at.time for t in transitions if match.transition(t)] == times


def test_switches_are_selected_by_meeting() -> None:
    """By the whole id, whatever its letter case."""
    match = SwitchMatch(SwitchFilters(meeting="M1"))
    assert match.meeting("m1")
    assert not match.meeting("m")
    assert SwitchMatch(SwitchFilters()).meeting("m")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("standup", True),
        ("  ALICE ", True),
        ("carol", True),
        ("Robert", True),
        ("1001", True),
        ("bob@ex", True),
        ("Space-1", True),
        ("pace-1", False),
        ("Meeting-1", True),
        ("recorder", False),
        ("erin", False),
        ("", True),
    ],
)
def test_a_call_is_found_by_what_people_call_it(text: str, expected: bool) -> None:
    """One text finds a name, an owner, a holder, a person or a number by a part of it, and an id as a whole."""
    known = call(name="Team Standup", cospace="space-1", owner_name="Carol's space", correlator="meeting-1")
    standing = Standing(SHARED, (change(10, None, ALICE), change(150, ALICE, SHARED)))
    meeting = Meeting("meeting-1", ("c",), timeline=Timeline(standings={"join": standing}))
    bob = Leg("l", remote_party="1001@pbx.example.com", display_name="Robert", remote_address="bob@example.com")
    recorder = Leg("r", remote_party="recorder@example.com", recorder=True)
    assert not recorder.counted
    match = CallMatch(CallFilters(find=text))
    assert match.found(known, meeting, "join", [bob, recorder], NOBODY_KNOWN) is expected
    assert match.asks_for_participants is bool(text)
