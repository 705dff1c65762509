"""Identity: one spelling for every address, the directory of users, the holders file."""

import re
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdr_service.domain.addresses import normalize_address
from cdr_service.domain.directory import Directory, User
from cdr_service.domain.holders_file import HoldersFileError, parse_holders
from cdr_service.domain.identity import NOBODY, Identity

ALICE = User(
    "alice@example.com",
    holds_license=True,
    aliases=("1001", "+1 (555) 100-1", "sip:alice@video.example.com", "emp-1001"),
    spaces=("97015761-60d6-4229-b9d8-9f99607b2556",),
)
BOB = User("bob@example.com", holds_license=False, aliases=("1002", "shared-tag", "2000"))
CAROL = User("carol@example.com", holds_license=True, aliases=("shared-tag", "2000"))
DIRECTORY = Directory([ALICE, BOB, CAROL])

# Text that is made of the parts of addresses finds the corners that text of any letters would miss for years.
ADDRESS_PARTS = st.lists(
    st.sampled_from(
        [
            *(
                "sip:",
                "SIPS:",
                "tel:",
                "alice",
                "Bob",
                "1001",
                "+1",
                "@",
                "@",
                "example.com",
                "10.0.0.1",
                "[2001:DB8::1]",
            ),
            *('<>";:?/%[]().- \t\x00\u3000\u037e\uff20\u2488'),
            *("%40", "%25", "%3b", "%E9", ":5060", ";phone-context=", "straße", "Σ", "é", "e\u0301", "xn--", "."),
        ]
    )
    | st.text(max_size=3),
    max_size=12,
).map("".join)
MAYBE_ADDRESS = st.none() | ADDRESS_PARTS
USERS = st.lists(
    st.builds(
        User,
        address=ADDRESS_PARTS,
        holds_license=st.booleans(),
        aliases=st.lists(ADDRESS_PARTS, max_size=3).map(tuple),
        spaces=st.lists(st.text(max_size=3), max_size=2).map(tuple),
    ),
    max_size=5,
)


def identify(directory: Directory = DIRECTORY, **leg: Any) -> Identity:
    """Identify a leg of which only some fields are told."""
    fields = ("leg_type", "guest", "remote_party", "remote_address", "cdr_tag", "direction")
    return directory.identify(**{**dict.fromkeys(fields), **leg})


def sip(remote_party: str | None, directory: Directory = DIRECTORY, **leg: Any) -> tuple[str | None, str | None]:
    """Return user and evidence of a SIP leg."""
    found = identify(directory, leg_type="sip", remote_party=remote_party, **leg)
    return found.user, found.matched_by


# Addresses


@pytest.mark.parametrize(
    "text",
    [
        "alice@example.com",
        "  Alice@EXAMPLE.com\n",
        "sip:alice@example.com",
        "SIPS:alice@example.com:5061",
        "sip:alice@example.com:5060;transport=tls;lr?subject=x",
        "sip:alice:secret@example.com",
        '"Alice" <sip:alice@example.com>;tag=1',
        '"Alice \\"<the> first\\"" <sip:alice@example.com:5060>',
        "Alice <alice@example.com>",
        "<sip:alice@example.com",
        "sip:%61lic%65@example.com",
        "alice@example.com.",
        "alice@example.com/laptop",
        "sip:alice@example.com;opaque=user:epid:abc;gruu",
    ],
)
def test_spellings_of_an_address_are_one(text: str) -> None:
    """Case, scheme, port, password, parameters, headers, display form, escapes and JID resource do not matter."""
    assert normalize_address(text) == "alice@example.com"


@pytest.mark.parametrize(
    "text",
    ["15551001", "+15551001", "+1 (555) 100-1", "tel:+1-555-100-1", "sip:1.555.1001", "<tel:+15551001;ext=2>"],
)
def test_spellings_of_a_number_are_one(text: str) -> None:
    """The international plus, visual separators and scheme of a number do not matter."""
    assert normalize_address(text) == "15551001"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+1 (555) 100-1@10.1.2.3:5060", "15551001@10.1.2.3"),
        ("sip:1001;phone-context=example.com@10.1.2.3", "1001@10.1.2.3"),
        ("tel:1001;phone-context=partner.example", "1001@partner.example"),
        ("sip:alice@[2001:DB8:0:0::1]:5060", "alice@[2001:db8::1]"),
        ("alice@2001:db8::1", "alice@[2001:db8::1]"),
        ("alice@[fe80::1%25eth0]", "alice@[fe80::1]"),
        ("alice@MÜNCHEN.example", "alice@xn--mnchen-3ya.example"),
        ("alice@xn--mnchen-3ya.example", "alice@xn--mnchen-3ya.example"),
        ("ΑΛΊΚΗΣ@example.com", "αλίκησ@example.com"),
        ("e\u0301va@example.com", "éva@example.com"),
        ("%C3%89va@example.com", "éva@example.com"),
        ("10.1.2.3", "10.1.2.3"),
        ("10.1.2.3:5060", "10.1.2.3"),
        ("cms-b.example.com", "cms-b.example.com"),
        ("room.12@example.com", "room.12@example.com"),
    ],
)
def test_the_parts_of_an_address_are_spelled_one_way(text: str, expected: str) -> None:
    """Hosts come as IDNA or compressed IPv6 without port, users folded and composed; an IP address is no number."""
    assert normalize_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "sip:",
        "@example.com",
        "alice@",
        "alice@exa mple.com",
        "alice@example.com@partner.example",
        "<sip:alice@example.com> <sip:bob@partner.example>",
        "alice@example.com, bob@example.com",
        "2001:db8::1",
        "[2001:db8::1]",
        "%E9va@example.com",
        "1001;phone-context=+1555",
        "alice@" + "a." * 600 + "com",
    ],
)
def test_what_has_no_single_reading_is_no_address(text: str) -> None:
    """Empty parts, two hosts, two addresses, bare IPv6, escapes that are not UTF-8 and endless hosts give None."""
    assert normalize_address(text) is None


def test_an_escaped_separator_stays_part_of_the_user() -> None:
    """A percent-encoded @ does not become the @ before the host, so nobody can bring our domain along in a name."""
    assert normalize_address("sip:alice%40example.com@partner.example") == "alice%40example.com@partner.example"
    assert normalize_address("sip:alice%40example.com") == "alice%40example.com"
    assert normalize_address("alice@partner.example\uff20example.com") is None


@given(ADDRESS_PARTS)
def test_a_spelled_address_is_spelled_the_same_again(text: str) -> None:
    """Normalizing is idempotent, and leaves at most one @."""
    once = normalize_address(text)
    if once is not None:
        assert normalize_address(once) == once
        assert once.count("@") <= 1
        assert once == once.strip() != ""


# Identify


def test_a_signed_in_app_leg_is_its_jid() -> None:
    """The remoteParty of an app leg that is no guest is the user's JID, whatever its case."""
    found = identify(leg_type="acano", remote_party="Alice@Example.com")
    assert found == Identity("alice@example.com", "jid", holds_license=True)
    assert identify(leg_type="acano", guest=False, remote_party="bob@example.com").holds_license is False


def test_an_app_leg_is_not_matched_like_a_sip_leg() -> None:
    """Addresses and numbers are evidence for SIP legs only; what an app leg names is its own user, known or not."""
    assert identify(leg_type="acano", remote_party="1001", remote_address="alice@example.com") == NOBODY
    for party in ("1001@example.com", "alice@video.example.com"):
        assert identify(leg_type="acano", remote_party=party, remote_address="alice@example.com") == Identity(
            party, "jid"
        )


@pytest.mark.parametrize("leg_type", ["acano", "sip", None])
def test_a_guest_is_nobody(leg_type: str | None) -> None:
    """A guestConnection rules out every match, also one by JID or tag."""
    leg: dict[str, Any] = {
        "remote_party": "alice@example.com",
        "remote_address": "alice@example.com",
        "cdr_tag": "emp-1001",
    }
    assert identify(leg_type=leg_type, guest=True, **leg) == NOBODY


def test_a_throw_away_guest_id_is_nobody_unless_a_user_has_it() -> None:
    """An app leg with an id such as guest123@example.com is a guest, also with a tag; a user of that name is not."""
    leg: dict[str, Any] = {"leg_type": "acano", "remote_party": "guest123@example.com", "cdr_tag": "emp-1001"}
    assert identify(**leg) == NOBODY
    real = Directory([ALICE, User("guest123@example.com", holds_license=True)])
    assert identify(real, **leg) == Identity("guest123@example.com", "jid", holds_license=True)
    named_alike = {**leg, "remote_party": "guestroom@example.com"}
    assert identify(**named_alike).user == "alice@example.com"


def test_a_tag_of_one_user_is_that_user() -> None:
    """A cdrTag is compared as text, ignoring case and outer space, for app and SIP legs alike, from any host."""
    assert identify(leg_type="acano", cdr_tag=" EMP-1001 ") == Identity("alice@example.com", "cdr_tag", True)
    assert sip("x@partner.example", cdr_tag="emp-1001") == ("alice@example.com", "cdr_tag")


def test_a_shared_tag_says_nothing() -> None:
    """A cdrTag of two users matches neither, and weaker evidence still counts."""
    assert sip("x@partner.example", cdr_tag="shared-tag") == (None, None)
    assert sip("bob@example.com", cdr_tag="shared-tag") == ("bob@example.com", "sip_address")


def test_better_evidence_goes_first() -> None:
    """JID before tag before address before number; within one kind remoteParty before remoteAddress."""
    assert identify(leg_type="acano", remote_party="bob@example.com", cdr_tag="emp-1001").user == "bob@example.com"
    assert sip("bob@example.com", cdr_tag="emp-1001") == ("alice@example.com", "cdr_tag")
    assert sip("1001@example.com", remote_address="bob@example.com") == ("bob@example.com", "sip_address")
    assert sip("1001", remote_address="bob@example.com") == ("bob@example.com", "sip_address")
    assert sip("1001@example.com", remote_address="1002@example.com") == ("alice@example.com", "alias")
    assert sip("carol@example.com", remote_address="bob@example.com") == ("carol@example.com", "sip_address")


@pytest.mark.parametrize(
    ("party", "matched_by"),
    [
        ('"Alice" <sip:ALICE@example.com:5060;transport=tls>', "sip_address"),
        ("sip:alice@video.example.com", "alias"),
        ("1001@example.com", "alias"),
        ("1001@cucm.lab.example.com", "alias"),
        ("sip:1001@10.1.2.3:5060", "alias"),
        ("1001@[2001:db8::1]", "alias"),
        ("1001", "alias"),
        ("tel:+15551001", "alias"),
        ("15551001@example.com", "alias"),
    ],
)
def test_a_sip_leg_of_ours_is_matched(party: str, matched_by: str) -> None:
    """Own address, URI alias, and number at our domains, their subdomains, an IP address or no host at all."""
    assert sip(party) == ("alice@example.com", matched_by)
    assert sip(None, remote_address=party) == ("alice@example.com", matched_by)
    assert identify(remote_party=party).matched_by == matched_by, "a sender that tells no type is taken as SIP"


@pytest.mark.parametrize(
    "party",
    [
        "1001@partner.example",
        "1001@example.com.partner.example",
        "1001@notexample.com",
        "alice@partner.example",
        "alice@cucm.example.com",
        "alice",
        "alice%40example.com@partner.example",
        "alice@example.com@partner.example",
        '"alice@example.com" <sip:mallory@partner.example>',
        "tel:1001;phone-context=partner.example",
        "9991001",
        "",
    ],
)
def test_a_stranger_is_nobody(party: str) -> None:
    """A foreign host, a host that only looks like ours, and a name that is no alias match nobody."""
    assert sip(party, remote_address=party) == (None, None)


def test_a_bare_ip_address_is_no_directory_number() -> None:
    """The groups of an IP address that is all a leg tells are not read as a number."""
    directory = Directory([User("alice@example.com", holds_license=True, aliases=("10123", "2001"))])
    for party in ("10.1.2.3", "2001:db8::1", "[2001:db8::1]:5060"):
        assert sip(party, directory) == (None, None)


def test_an_alias_of_two_users_is_nobodys() -> None:
    """An alias that two users claim matches neither; one that a user lists twice is theirs."""
    assert sip("2000@example.com") == (None, None)
    twice = Directory([User("alice@example.com", holds_license=True, aliases=("+1-001", "1001", "sip:1001"))])
    assert sip("1001@example.com", twice) == ("alice@example.com", "alias")


def test_an_own_address_beats_somebody_elses_alias() -> None:
    """Listing another user's address as an alias does not take it over."""
    directory = Directory([ALICE, User("bob@example.com", holds_license=False, aliases=("alice@example.com",))])
    assert sip("alice@example.com", directory) == ("alice@example.com", "sip_address")


def test_the_given_sip_domains_are_the_only_ones() -> None:
    """Given domains and their subdomains count instead of the users' own; IP hosts and bare numbers still do."""
    directory = Directory([ALICE], sip_domains=["*.Video.example.com", "phones.example.net"])
    assert sip("alice@example.com", directory) == (None, None)
    assert sip("1001@example.com", directory) == (None, None)
    assert sip("alice@video.example.com", directory) == ("alice@example.com", "alias")
    assert sip("1001@a.phones.example.net", directory) == ("alice@example.com", "alias")
    assert sip("1001@10.1.2.3", directory) == ("alice@example.com", "alias")
    assert sip("1001", directory) == ("alice@example.com", "alias")
    assert identify(directory, leg_type="acano", remote_party="alice@example.com").matched_by == "jid"


def test_an_alias_outside_our_domains_needs_its_domain_told() -> None:
    """A whole URI as alias matches only when its host is among the SIP domains."""
    alice = User("alice@example.com", holds_license=True, aliases=("alice@mobile.example.net",))
    assert sip("alice@mobile.example.net", Directory([alice])) == (None, None)
    told = Directory([alice], sip_domains=["example.com", "example.net"])
    assert sip("alice@mobile.example.net", told) == ("alice@example.com", "alias")


def test_sip_matching_can_be_off() -> None:
    """With sip_user_match off, SIP legs are matched by tag only; app legs as ever."""
    directory = Directory([ALICE], sip_user_match="off")
    assert sip("alice@example.com", directory) == (None, None)
    assert sip("1001", directory) == (None, None)
    assert sip("1001", directory, cdr_tag="emp-1001") == ("alice@example.com", "cdr_tag")
    assert identify(directory, leg_type="acano", remote_party="alice@example.com").matched_by == "jid"


def test_wrong_settings_are_refused_in_one_sentence() -> None:
    """A SIP domain that is no host and an unknown match mode say what to write."""
    with pytest.raises(
        ValueError, match=r'^The SIP domain "exa mple" is no host name; write one such as example.com\.$'
    ):
        Directory([], sip_domains=["exa mple"])
    with pytest.raises(ValueError, match=r'^sip_user_match is "on"; write "uri" or "off"\.$'):
        Directory([], sip_user_match="on")


@given(
    users=USERS,
    leg_type=st.sampled_from(["acano", "sip", "ACANO", "h323", "", None]),
    guest=st.sampled_from([True, False, None]),
    remote_party=MAYBE_ADDRESS,
    remote_address=MAYBE_ADDRESS,
    cdr_tag=MAYBE_ADDRESS,
)
def test_identify_never_raises(users: list[User], **leg: Any) -> None:
    """Whatever a leg says, the answer is a user with the license that the directory knows of, or nobody."""
    directory = Directory(users)
    found = identify(directory, **leg)
    if found.user is None:
        assert found == NOBODY
    else:
        assert found.holds_license == directory.holds_license(found.user)
        assert found.user in directory.users or found.matched_by == "jid"
        assert found.matched_by in {"jid", "cdr_tag", "sip_address", "alias"}
        assert leg["guest"] is not True


# The directory


def test_a_directory_counts_and_answers_for_its_users() -> None:
    """Licenses, owners and the number of holders are look-ups; unknown and absent keys are no error."""
    assert DIRECTORY.assigned == 2
    assert set(DIRECTORY.users) == {"alice@example.com", "bob@example.com", "carol@example.com"}
    assert DIRECTORY.holds_license("alice@example.com")
    assert DIRECTORY.holds_license("sip:Alice@Example.com")
    assert not DIRECTORY.holds_license("bob@example.com")
    assert not DIRECTORY.holds_license("dave@example.com")
    assert not DIRECTORY.holds_license(None)
    assert DIRECTORY.space("97015761-60D6-4229-B9D8-9F99607B2556").owner.user == "alice@example.com"
    assert DIRECTORY.space("unknown").owner.user is None
    assert DIRECTORY.space(None).owner.user is None


def test_a_space_that_two_users_claim_has_no_known_owner() -> None:
    """Two owners of one space are none."""
    rows = [User(f"{name}@example.com", holds_license=True, spaces=("s",)) for name in ("alice", "bob")]
    assert Directory(rows).space("s").owner.user is None


def test_blank_aliases_and_spaces_are_none() -> None:
    """An empty cdrTag or space id of a user is no value, so legs and calls that have none do not match it."""
    directory = Directory([User("alice@example.com", holds_license=True, aliases=("", " "), spaces=("", "\t"))])
    assert directory.users["alice@example.com"] == User("alice@example.com", holds_license=True)
    assert sip(" ", directory, cdr_tag=" ") == (None, None)
    assert directory.space(" ").owner.user is None


def test_rows_of_one_address_are_one_user() -> None:
    """Two rows whose addresses differ in spelling only are joined, whatever their order."""
    rows = [
        User("Alice@example.com", holds_license=False, aliases=("1001",)),
        User("alice@example.com", holds_license=True, spaces=("S",)),
    ]
    joined = User("alice@example.com", holds_license=True, aliases=("1001",), spaces=("s",))
    assert Directory(rows).users == Directory(rows[::-1]).users == {"alice@example.com": joined}


@given(users=USERS, shuffle=st.randoms())
def test_the_version_does_not_depend_on_the_order_of_rows(users: list[User], shuffle: Any) -> None:
    """Equal content has an equal version, in whatever order it came."""
    rows = list(users)
    shuffle.shuffle(rows)
    assert Directory(rows).version == Directory(users).version


@pytest.mark.parametrize(
    "other",
    [
        Directory([ALICE, BOB]),
        Directory([ALICE, BOB, msgspec.structs.replace(CAROL, holds_license=False)]),
        Directory([ALICE, BOB, msgspec.structs.replace(CAROL, aliases=())]),
        Directory([ALICE, BOB, msgspec.structs.replace(CAROL, spaces=("s",))]),
        Directory([ALICE, BOB, CAROL], sip_domains=["example.net"]),
        Directory([ALICE, BOB, CAROL], sip_user_match="off"),
    ],
)
def test_the_version_tells_what_could_change_a_decision(other: Directory) -> None:
    """Users, licenses, aliases, spaces, domains and the match mode are all in the version."""
    assert other.version != DIRECTORY.version


@example(users=[User("alice@sip:\u037e", holds_license=True)], sip_domains=[], sip_user_match="uri")
@given(
    users=USERS,
    sip_domains=st.lists(st.sampled_from(["example.com", "Example.NET.", "*.a.example", ""])),
    sip_user_match=st.sampled_from(["uri", "off"]),
)
def test_what_is_encoded_decodes_to_the_same(users: list[User], sip_domains: list[str], sip_user_match: str) -> None:
    """A decoded directory has the users, the version and the bytes of the one that was encoded."""
    directory = Directory(users, sip_domains=sip_domains, sip_user_match=sip_user_match)
    decoded = Directory.decode(directory.encode())
    assert decoded.users == directory.users
    assert decoded.version == directory.version
    assert decoded.encode() == directory.encode()


def test_a_decoded_directory_decides_alike() -> None:
    """Domains and match mode travel with the users."""
    for sip_user_match, expected in (("uri", "alias"), ("off", None)):
        directory = Directory([ALICE], sip_domains=["example.net"], sip_user_match=sip_user_match)
        decoded = Directory.decode(directory.encode())
        assert sip("1001@example.net", decoded)[1] == expected
        assert sip("1001@example.com", decoded)[1] is None


def test_bytes_of_something_else_are_refused() -> None:
    """Decoding what no directory wrote is an error, not an empty directory."""
    with pytest.raises(msgspec.DecodeError):
        Directory.decode(b"\x93\x01\x02\x03")


# The holders file

CSV = """user,license,aliases,spaces
alice@example.com,PMP+,1001 emp-1001,SPACE-1 space-2
bob@example.com,,,
"""


def test_a_csv_file_is_read() -> None:
    """One user a row, aliases as given, spaces in lower case."""
    directory = parse_holders(CSV, format="csv")
    assert directory.users == {
        "alice@example.com": User("alice@example.com", True, ("1001", "emp-1001"), ("space-1", "space-2")),
        "bob@example.com": User("bob@example.com", holds_license=False),
    }


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + CSV,
        CSV.replace("\n", "\r\n"),
        CSV.rstrip("\n"),
        "# made by hand\n\n" + CSV.replace("\nbob", '\n  # a comment, "with a quote\n\n,,,\nbob'),
        CSV.replace("user,license", "USER, License ").replace("PMP+", " pmp+ "),
        CSV.replace("\n", ",,\n"),
        CSV.replace("bob@example.com,,,", "bob@example.com"),
        CSV.replace("alice@example.com", '"sip:Alice@Example.com"'),
        "spaces,aliases,license,user\nspace-2 SPACE-1,emp-1001  1001,PMP+,alice@example.com\n,,,bob@example.com\n",
    ],
)
def test_the_csv_form_may_vary(text: str) -> None:
    """BOM, CRLF, comments, blank and short rows, trailing commas, quotes, letter case and column order are free."""
    assert parse_holders(text, format="csv").version == parse_holders(CSV, format="csv").version


def test_aliases_and_spaces_may_be_left_out() -> None:
    """The columns user and license are enough, and a header alone is a directory without users."""
    assert parse_holders("user,license\nalice@example.com,PMP+\n", format="csv").assigned == 1
    assert not parse_holders("license,user\n", format="csv").users


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Line 1: the file is empty; begin it with user,license,aliases,spaces."),
        (
            "# list\nuser,licence,tel\n",
            "Line 2: the columns must be user,license,aliases,spaces (unknown: 'licence', 'tel'; missing: 'license').",
        ),
        ("user,license,user\n", "Line 1: the columns must be user,license,aliases,spaces (twice: 'user')."),
        (
            "user,license\n\nalice@example.com,SMP+\n",
            'Line 3: the license is "SMP+"; write PMP+ or leave it empty.',
        ),
        ("user,license\nalice,PMP+\n", 'Line 2: the user is "alice"; write an address as alice@example.com.'),
        ("user,license\n,PMP+\n", 'Line 2: the user is ""; write an address as alice@example.com.'),
        (
            "user,license\nalice@example.com,\n# x\nsip:ALICE@example.com,PMP+\n",
            "Line 4: alice@example.com is there already (Line 2); keep one.",
        ),
        (
            "user,license\na@b.example,PMP+,x\n",
            "Line 2: there are more fields than columns; put quotes around a comma.",
        ),
        (
            'user,license\na@b.example,PMP+\n"c@d.example,PMP+\n',
            "Line 4: the quotes do not match (unexpected end of data).",
        ),
    ],
)
def test_a_wrong_csv_file_is_refused_by_line(text: str, message: str) -> None:
    """Each mistake is one sentence that names the line and what is wrong there."""
    with pytest.raises(HoldersFileError, match=f"^{re.escape(message)}$"):
        parse_holders(text, format="csv")


TOML = """
[[users]]
user = "alice@example.com"
license = "PMP+"
aliases = ["1001", "emp-1001"]
spaces = ["SPACE-1", "space-2"]

[[users]]
user = "bob@example.com"
"""


def test_a_toml_file_says_the_same_as_a_csv_file() -> None:
    """Both forms of one list are one directory; BOM and CRLF do not matter; an empty list is written out."""
    version = parse_holders(CSV, format="csv").version
    for text in (TOML, "\ufeff" + TOML.replace("\n", "\r\n")):
        assert parse_holders(text, format="toml").version == version
    assert not parse_holders("users = []", format="toml").users


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The file has no [[users]]; write one for each user, or users = [] for none."),
        ("[[user]]\n", "The file may hold [[users]] only; take out 'user'."),
        ("[[users]\n", "The file is not TOML: .*line 1.*"),
        ('\n[[users]]\nuser = "alice"\n', "Line 2: the user is .*"),
        (
            TOML + '[[users]]\nuser = "BOB@example.com"\n',
            r"Line 10: bob@example.com is there already \(Line 8\).*",
        ),
        ('[[users]]\nuser = "a@b.example"\nlicense = "yes"\n', 'Line 1: the license is "yes"; .*'),
        ('[[users]]\nlicense = "PMP+"\n', "Line 1: .*`user`; a user has user, license, aliases, spaces, .*"),
        ('[[users]]\nuser = "a@b.example"\nlicence = "PMP+"\n', "Line 1: .*`licence`; .*"),
        ('users = [{user = "a@b.example", aliases = [1001]}]', "Entry 1 of users: .*; .* with every value in quotes."),
        ('[[users]]\nuser = """\n[[users]]"""\n', "Entry 1 of users: .*"),
        ("users = [1]", "Entry 1 of users: .*"),
    ],
)
def test_a_wrong_toml_file_is_refused_by_line(text: str, message: str) -> None:
    """Each mistake is one sentence that names the line, or the entry where the list stands on one line."""
    pattern = message if ".*" in message or "\\" in message else re.escape(message)
    with pytest.raises(HoldersFileError, match=f"^{pattern}$"):
        parse_holders(text, format="toml")


def test_domains_and_match_mode_reach_the_directory() -> None:
    """A holders file is read with the deployment's SIP settings."""
    settings: dict[str, Any] = {"sip_domains": ["example.net"], "sip_user_match": "off"}
    expected = Directory(parse_holders(CSV, format="csv").users.values(), **settings)
    assert parse_holders(CSV, format="csv", **settings).version == expected.version


def test_the_documented_examples_say_the_same() -> None:
    """The CSV and TOML examples of docs/holders.md are files that we read, and match as the page says."""
    page = (Path(__file__).parents[2] / "docs" / "holders.md").read_text(encoding="utf-8")
    formats: tuple[Literal["csv", "toml"], ...] = ("csv", "toml")
    for form in formats:
        example = re.search(rf"```{form}\n(.*?)```", page, re.DOTALL)
        assert example is not None
        directory = parse_holders(example[1], format=form)
        assert directory.assigned == 2
        assert sip("+1 (555) 100-1@10.1.2.3", directory) == ("alice@example.com", "alias")
        assert sip("1001@partner.example", directory) == (None, None)
        assert directory.space("97015761-60d6-4229-b9d8-9f99607b2556").owner.user == "alice@example.com"
