"""What a directory knows of spaces and of the Meeting Server's users, and how the holders file goes over it."""

import pytest

from cdr_service.domain.audit import audited
from cdr_service.domain.directory import Directory, User
from cdr_service.domain.holders_file import parse_holders
from cdr_service.domain.identity import GUEST, NOBODY, Identity
from cdr_service.domain.spaces import SCHEDULED, Space, SpaceFacts

ALICE, BOB, CAROL = "alice@example.com", "bob@example.com", "carol@example.com"
SERVER = Directory(
    [
        User(ALICE, holds_license=True, id="id-alice", tags=("emp-1001",)),
        User(BOB, holds_license=False, id="id-bob", tags=("1001",)),
    ],
    spaces=[
        Space("Space-A", "Standup", ALICE.upper(), members=(BOB, ALICE)),
        Space("space-b", "Booked", BOB, scheduled=True, lync_mode="gateway"),
        Space("space-c"),
        Space("space-d", "Left behind", "gone@example.com"),
    ],
)


def leg(directory: Directory, party: str | None = None, **more: object) -> Identity:
    """Identify the leg of a signed-in app, unless told otherwise."""
    evidence = {"leg_type": "acano", "guest": None, "remote_address": None, "cdr_tag": None, "direction": None}
    return directory.identify(**{**evidence, "remote_party": party, **more})  # type: ignore[arg-type]


class TestSpaces:
    """What is known of a space by its id."""

    def test_owner_kind_and_members(self) -> None:
        """They are as the Meeting Server told, in one spelling; the owner rests on what the server itself says."""
        assert SERVER.space("SPACE-A") == SpaceFacts(Identity(ALICE, None, True, True), None, (ALICE, BOB), known=True)
        booked = SpaceFacts(Identity(BOB, None, False, True), SCHEDULED, None, "gateway", known=True)
        assert SERVER.space("space-b") == booked

    def test_no_owner(self) -> None:
        """A space without an owner is known to have none; one that is not known is not known."""
        assert SERVER.space("space-c") == SpaceFacts(known=True)
        assert SERVER.space("elsewhere") == SERVER.space(None) == SpaceFacts()

    def test_an_owner_who_is_no_user(self) -> None:
        """The address is known, and that they hold no PMP+ is not certain: the user may have come since."""
        assert SERVER.space("space-d").owner == Identity("gone@example.com")

    def test_the_holders_file_alone(self) -> None:
        """It tells the owner, and nothing rests on the Meeting Server."""
        directory = parse_holders(f"user,license,aliases,spaces\n{ALICE},PMP+,,space-a\n", format="csv")
        assert directory.space("SPACE-A") == SpaceFacts(Identity(ALICE, None, holds_license=True))
        assert not directory.from_server

    def test_kept_as_bytes(self) -> None:
        """A directory that was stored is the same, and has the same version; one without spaces is another."""
        again = Directory.decode(SERVER.encode())
        assert (again.version, again.space("space-a")) == (SERVER.version, SERVER.space("space-a"))
        assert Directory(SERVER.users.values()).version != SERVER.version

    def test_what_changed(self) -> None:
        """Where only spaces differ, these are named; a change of users or settings concerns everything."""
        users, spaces = SERVER.users.values(), dict(SERVER.spaces)
        spaces["space-b"] = Space("space-b", "Booked", ALICE)
        del spaces["space-c"]
        spaces["space-e"] = Space("space-e")
        assert Directory(users, spaces=spaces.values()).changed_spaces(SERVER) == {"space-b", "space-c", "space-e"}
        assert SERVER.changed_spaces(SERVER) == frozenset()
        assert Directory([], spaces=SERVER.spaces.values()).changed_spaces(SERVER) is None
        assert SERVER.changed_spaces(None) is None
        other = Directory(users, spaces=SERVER.spaces.values(), sip_domains=["example.com"])
        assert other.changed_spaces(SERVER) is None


class TestUsersOfTheServer:
    """Who is behind a leg, where the Meeting Server tells its users."""

    def test_sure(self) -> None:
        """A user by the JID and a guest are certain; who is only alike, or not known, is not."""
        assert leg(SERVER, ALICE) == Identity(ALICE, "jid", True, True)
        assert leg(SERVER, guest=True) == leg(SERVER, "guest12@example.com") == GUEST
        assert leg(SERVER, f"sip:{ALICE}", leg_type="sip") == Identity(ALICE, "sip_address", True)
        assert leg(SERVER, "dave@example.com") == Identity("dave@example.com", "jid")

    def test_a_tag_is_no_address(self) -> None:
        """A cdrTag names its user in the cdrTag of a leg; a phone with that number is not theirs for it."""
        assert leg(SERVER, "x", cdr_tag="1001") == Identity(BOB, "cdr_tag")
        assert leg(SERVER, "1001@example.com", leg_type="sip") == NOBODY

    def test_guests_without_the_server(self) -> None:
        """Without the Meeting Server nothing is certain."""
        assert leg(Directory([User(ALICE, holds_license=True)]), guest=True) == NOBODY

    def test_one_address_twice(self) -> None:
        """Of two users with one address, with and without PMP+, which one counts is not certain."""
        twice = Directory([User(ALICE, holds_license=held, id=f"id-{held}") for held in (True, False)])
        assert leg(twice, ALICE) == Identity(ALICE, "jid", holds_license=True)
        assert "two users with this address" in " ".join(audited(twice))


class TestOver:
    """The holders file over what the Meeting Server says."""

    def over(self, rows: str) -> Directory:
        """Put a file over the server's directory."""
        return parse_holders(f"user,license,aliases,spaces\n{rows}", format="csv").over(SERVER)

    @pytest.mark.parametrize(
        ("row", "expected"),
        [
            (f"{ALICE},,,", Identity(ALICE, "jid", False)),
            (f"{ALICE},PMP+,,", Identity(ALICE, "jid", True, True)),
            (f"{ALICE},server,1005,", Identity(ALICE, "jid", True, True)),
            (f"{BOB},PMP+,,", Identity(ALICE, "jid", True, True)),
        ],
    )
    def test_the_file_says_who_holds(self, row: str, expected: Identity) -> None:
        """A row decides for its user, unless it leaves it to the server; others stay, and what differs is not sure."""
        assert leg(self.over(row), ALICE) == expected

    def test_it_complements(self) -> None:
        """Aliases and users of the file come to those of the server, whose tags stay."""
        both = self.over(f"{ALICE},server,1005,\n{CAROL},PMP+,,\n")
        assert leg(both, "1005@example.com", leg_type="sip") == Identity(ALICE, "alias", True)
        assert leg(both, "x", cdr_tag="emp-1001").user == ALICE
        assert leg(both, CAROL) == Identity(CAROL, "jid", True)
        assert both.assigned == 2

    def test_who_owns_a_space(self) -> None:
        """The file goes first; where several of its users claim a space, the server's word holds."""
        claimed = self.over(f"{BOB},server,,space-a\n").space("space-a")
        assert (claimed.owner, claimed.known) == (Identity(BOB), True)
        both = self.over(f"{BOB},server,,space-a\n{CAROL},,,space-a\n").space("space-a")
        assert both.owner == Identity(ALICE, None, True, True)

    def test_the_same_files_give_the_same_version(self) -> None:
        """What is put together in the same way again does not count as a change."""
        assert self.over(f"{CAROL},PMP+,,\n").version == self.over(f"{CAROL},PMP+,,\n").version

    def test_settings(self) -> None:
        """The SIP domains are those of the settings, and else those of the users of both."""
        file = parse_holders(
            "user,license\ncarol@branch.example.com,PMP+\n", format="csv", sip_domains=["other.example"]
        )
        assert leg(file.over(SERVER), f"sip:{ALICE}", leg_type="sip") == NOBODY
        assert leg(self.over(f"{CAROL},,,"), ALICE, leg_type="sip").user == ALICE


class TestAudit:
    """What `check` says of a directory."""

    def test_all_is_well(self) -> None:
        """A space whose owner holds PMP+ is nothing to look at."""
        assert list(audited(Directory(SERVER.users.values(), spaces=[SERVER.spaces["space-a"]]))) == []

    def test_everything(self) -> None:
        """Each thing is a sentence that names it; without the Meeting Server only what the file itself shows."""
        rows = f"user,license,aliases,spaces\n{CAROL},PMP+,1005,space-x\n{BOB},PMP+,1005,\n"
        file = parse_holders(rows, format="csv")
        alias = f"the alias 1005 says nothing, because several users have it: {BOB}, {CAROL}."
        assert list(audited(file)) == [alias]
        assert list(audited(file.over(SERVER))) == [
            alias,
            f"the holders file names users whom the Meeting Server does not know: {CAROL}.",
            f"whether they hold PMP+ is not certain, because the holders file says otherwise: {BOB}.",
            "the holders file names spaces that are not on the Meeting Server: space-x.",
            "spaces without an owner, which no PMP+ pays unless a holder joins (join): space-c.",
            "spaces whose owner is no user of the Meeting Server: Left behind (gone@example.com).",
        ]
        assert f"spaces whose owner holds no PMP+: Booked ({BOB})." in list(audited(SERVER))

    def test_many(self) -> None:
        """Five are named, the others counted."""
        many = Directory([], spaces=[Space(f"space-{number}") for number in range(9)])
        (told,) = audited(many)
        assert told.endswith("(join): space-0, space-1, space-2, space-3, space-4 and 4 more.")
