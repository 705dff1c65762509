"""Hints: the likely cause where a license is not the one that might be expected."""

from collections.abc import Iterable
from typing import Any

import pytest

from cdr_service.domain.directory import Directory, User
from cdr_service.domain.hints import Around, meeting_hints, usage_hints
from cdr_service.domain.identity import Identity
from cdr_service.domain.options import Options
from cdr_service.domain.records import OrderKey
from cdr_service.domain.spaces import AD_HOC, SpaceFacts
from tests.feed import Feed, Record, call_end, call_start, join, leave
from tests.unit.books import Books

UNKNOWN: dict[str, Any] = {"release": None, "assigned": None, "limit_personal": None}
ALICE, BOB, CAROL = "alice@example.com", "bob@example.com", "carol@example.com"
DIRECTORY = Directory(
    [
        User(ALICE, holds_license=True, aliases=("441001", "emp-1001"), spaces=("one", "two", "three")),
        User(BOB, holds_license=False, spaces=("bobs",)),
        User(CAROL, holds_license=True),
    ]
)


def space(name: str, call: str = "x", time: str = "09:00:00", **elements: str) -> Record:
    """Return the start of a call in a space."""
    return call_start(call, time, call, callType="coSpace", coSpace=name, **elements)


def sip(leg: str, address: str, call: str = "x", **elements: str) -> Record:
    """Return somebody who dials in from that address."""
    return join(leg, call, type="sip", remoteParty=address, **elements)


def hints(records: Iterable[Record], *, policy: str = "join", directory: Directory = DIRECTORY) -> list[str]:
    """Return the hints of the meeting x after the records."""
    books = Books(directory)
    books.post(Feed().document(*records))
    meeting = books.meetings["x"]
    calls = [books.calls[call] for call in meeting.calls]
    return meeting_hints(meeting, calls, books.legs.values(), Around(directory, Options(policy=policy)))


def test_a_meeting_that_looks_as_it_should_has_no_hints() -> None:
    """Nothing is said of a meeting on PMP+, of strangers in nobody's space, or of an empty meeting."""
    assert (
        hints([space("none", ownerName="Alice Example"), join("carol", "x"), sip("s", "alice@partner.example")]) == []
    )
    assert hints([space("none"), sip("s", "dave@partner.example"), sip("t", "1001")]) == []
    assert hints([space("bobs"), join("bob", "x"), leave("bob")]) == []


def test_an_owner_whose_profile_has_no_license() -> None:
    """The owner is known and holds nothing: the import's user profile is the place to look."""
    (told,) = hints([space("bobs"), join("bob", "x")])
    assert told.startswith(f"The owner {BOB} is a known user without PMP+")
    assert "hasLicense" in told


def test_an_owner_of_whom_it_is_not_certain() -> None:
    """Where the Meeting Server leaves open whether the owner holds PMP+, the reason is said."""
    doubtful = Directory(
        [User(BOB, holds_license=False, id="id-bob", doubt="a profile does not say", spaces=("bobs",))]
    )
    (told,) = hints([space("bobs"), join("bob", "x")], directory=doubtful)
    assert "without PMP+, though that is not certain (a profile does not say): if one" in told


@pytest.mark.parametrize("policy", ["join", "owner"])
def test_an_owner_whose_license_has_no_free_place(policy: str) -> None:
    """The owner holds PMP+, which pays two other meetings."""
    busy = [
        record
        for call, own in (("a", "two"), ("b", "three"))
        for record in (space(own, call, "08:00:00"), join(f"bob-{call}", call, "08:00:01"))
    ]
    records = [*busy, space("one"), join("bob", "x")]
    (told,) = hints(records, policy=policy)
    assert told.startswith(f"{ALICE}, who owns the space, holds PMP+, but that pays as many meetings as it may (2)")
    assert hints([*records, leave("bob-a", "09:10:00"), call_end("a", "09:10:00")], policy=policy) == []


def test_a_holder_who_is_in_but_has_no_free_place() -> None:
    """A holder joined, whose license pays two other meetings; under `owner` that is no cause."""
    busy = [
        record for call in "ab" for record in (space("none", call, "08:00:00"), join(f"carol-{call}", call, "08:00:01"))
    ]
    records = [*busy, space("none"), join("carol", "x")]
    assert hints(records)[0].startswith(f"{CAROL}, who is in, holds PMP+, but that pays as many")
    assert hints(records, policy="owner") == []


@pytest.mark.parametrize("text", ["alice@example.com", "Alice", "emp-1001", "sip:alice@example.com"])
def test_a_text_that_names_a_holder(text: str) -> None:
    """The space has no owner, but ownerName names a holder by address, name or tag."""
    (told,) = hints([space("none", ownerName=text), join("bob", "x")])
    assert told.startswith(f'The call names "{text}" as its owner (ownerName), and {ALICE} holds PMP+')
    assert "ownerJid" in told


@pytest.mark.parametrize("text", ["bob@example.com", "Bob", "Alice Example", "dave@example.com"])
def test_a_text_that_names_no_holder(text: str) -> None:
    """A user without a license, and whoever is not known, is no hint; nor is a text beside a known owner."""
    assert hints([space("none", ownerName=text), join("bob", "x")]) == []
    assert len(hints([space("bobs", ownerName="alice@example.com"), join("bob", "x")])) == 1


@pytest.mark.parametrize(
    "address", ["alice@partner.example", "sip:carol@video.partner.example", "0044441001", "441001@x.example"]
)
def test_an_address_that_looks_like_a_holders(address: str) -> None:
    """The same name at another domain, and a number with more in front, may be the holder's; only `join` asks."""
    records = [space("none"), sip("s", address)]
    (told,) = hints(records)
    assert "is in and matches nobody, but looks like" in told
    assert (CAROL if "carol" in address else ALICE) in told
    assert "CDR_SIP_DOMAINS" in told
    assert hints(records, policy="owner") == []


def test_who_is_gone_or_known_looks_like_nobody() -> None:
    """Guests, who has left, and matched users give no hint; one address is said once."""
    stranger = "alice@partner.example"
    assert hints([space("none"), join("bob", "x"), sip("g", stranger, guestConnection="true")]) == []
    assert hints([space("none"), join("bob", "x"), sip("s", stranger), leave("s", "09:01:00")]) == []
    assert len(hints([space("none"), sip("s", stranger), sip("t", stranger)])) == 1


def test_a_name_that_two_holders_have_means_neither() -> None:
    """Where two holders have the name at different domains, nothing is said."""
    twins = Directory([User(ALICE, holds_license=True), User("alice@example.org", holds_license=True)])
    records = [space("none", ownerName="alice"), sip("s", "alice@partner.example")]
    assert hints(records, directory=twins) == []


def test_a_license_that_is_not_certain() -> None:
    """Who pays is two users of the Meeting Server, with and without PMP+."""
    twice = Directory([User(ALICE, holds_license=True, id="1"), User(ALICE, holds_license=False, id="2")])
    (told,) = hints([space("none"), join("alice", "x")], directory=twice)
    assert told.startswith(f"{ALICE} pays, but whether the Meeting Server takes that user for a holder is not certain")
    assert "there are two users with this address" in told


def test_an_initiator_who_is_no_known_user() -> None:
    """A CUCM user whom the Meeting Server did not import cannot pay, and is named as what they are."""
    books = Books(DIRECTORY)
    books.post(Feed().document(space("none"), join("bob", "x")))
    facts = SpaceFacts(Identity("dave@example.com"), AD_HOC, known=True)
    at = OrderKey(books.meetings["x"].timeline.horizon.time + 1000, "", 0)
    books.perform(lambda keeper, _: keeper.know_space("x", facts, at))
    (told,) = meeting_hints(books.meetings["x"], books.calls.values(), [], Around(DIRECTORY, Options()))
    assert told.startswith("The initiator of the ad hoc conference dave@example.com is no known user")


def test_an_initiator_whom_nobody_handed_over() -> None:
    """Under `owner`, a holder who was the first in an ad hoc conference without an owner looks like its initiator."""
    started = [call_start("x", meeting="x", callType="adHoc"), join("alice", "x"), join("bob", "x", "09:01:00")]
    (told,) = hints(started, policy="owner")
    assert told.startswith(f"{ALICE}, who was the first in this ad hoc conference, holds PMP+, but nobody is known")
    assert "objectGUID" in told
    begun = [call_start("x", meeting="x", callType="adHoc"), join("bob", "x"), join("alice", "x", "09:01:00")]
    assert hints(begun, policy="owner") == []
    assert hints([space("none"), join("alice", "x")], policy="owner") == []


def test_a_gateway_call_has_no_hints() -> None:
    """No PMP+ can pay it, so nobody is to be looked at."""
    assert hints([call_start("x", meeting="x", callType="forwarding"), sip("s", "alice@partner.example")]) == []


@pytest.mark.parametrize(
    ("release", "policy", "told"), [((2, 9), "join", 1), ((2, 2), "join", 0), ((2, 9), "owner", 0)]
)
def test_a_release_that_points_to_the_other_policy(release: tuple[int, ...], policy: str, told: int) -> None:
    """Only `join` on a release from which `owner` is presumed is worth a word."""
    found = usage_hints({}, Options(policy=policy), **{**UNKNOWN, "release": release})
    assert len(found) == told
    assert all("runs 2.9, where the policy owner is presumed" in hint for hint in found)


def test_a_holder_about_to_spill_is_named() -> None:
    """Who pays as many meetings as one PMP+ may is warned of; who pays fewer is not; many are counted."""
    counts = {f"join:holder:{ALICE}": 2, f"join:holder:{CAROL}": 1, f"owner:holder:{CAROL}": 2, "join:personal": 3}
    (told,) = usage_hints(counts, Options(), **UNKNOWN)
    assert told.startswith(f"{ALICE} pays 2 meetings, as many as one PMP+ may")
    many = {f"join:holder:u{number:02}@example.com": 2 for number in range(15)}
    assert usage_hints(many, Options(), **UNKNOWN)[-1] == "So do 5 more holders."


@pytest.mark.parametrize(("assigned", "limit", "told"), [(3, 2, 1), (2, 2, 0), (3, None, 0), (None, 2, 0)])
def test_more_licenses_than_were_bought(assigned: int | None, limit: int | None, told: int) -> None:
    """More users hold PMP+ than were bought; where either is not known, nothing is said."""
    found = usage_hints({}, Options(), **{**UNKNOWN, "assigned": assigned, "limit_personal": limit})
    assert len(found) == told
    assert all(hint.startswith("3 users hold PMP+, but 2 were bought") for hint in found)
