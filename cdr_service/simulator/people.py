"""Who may come to a meeting, and the spaces that people meet in."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cdr_service.simulator.meeting import Person
from cdr_service.simulator.records import Value

HOLDERS = tuple(f"{name}@example.com" for name in ("alice", "carol", "erin", "grace", "kim", "niaj", "quinn", "walter"))
"""Users who have a PMP+ license, unless told otherwise."""
USERS = tuple(
    f"{name}@example.com"
    for name in ("bob", "dave", "frank", "heidi", "ivan", "judy", "mike", "olivia", "peggy", "rupert", "sybil", "trent")
)
"""Users who have none."""
NAMES = ("Team standup", "Project review", "techsupport", "Planning", "Sales weekly", "All hands", "Design review")
HOSTILE_NAMES = (
    'R&D <b>"2026"</b>',
    '=HYPERLINK("http://example.com")',
    "\u202etxt.exe",
    "\x1b[31mred\x07",
    "]]><!-- {braces} -->",
    "a\nb\tc",
    "\ud800",
    "会議 \N{BUSTS IN SILHOUETTE}",
)
"""Names that try to break out of XML, a terminal, a spreadsheet, a web page or a key."""


class People:
    """Draws the people of one meeting; no user comes twice."""

    def __init__(
        self, chance: random.Random, holders: Sequence[str], free: Sequence[str], *, hostile: bool = False
    ) -> None:
        """Choose from all holders and those of them who are in no meeting now."""
        self.chosen: list[str] = []
        """The holders who were drawn."""
        self._chance = chance
        self._hostile = hostile
        self._holders = holders
        self._free = chance.sample(free, len(free))
        self._without = [user for user in USERS if user not in holders]
        chance.shuffle(self._without)

    def holder(self) -> Person:
        """Draw a holder who is free."""
        self.chosen.append(self._free.pop())
        return self._user(self.chosen[-1])

    def user(self) -> Person:
        """Draw a user without a license."""
        return self._user(self._somebody())

    def anybody(self) -> Person:
        """Draw somebody without a license: a user, a guest, a room, a phone, a stranger, somebody on Lync."""
        kind = self._chance.choices(("user", "guest", "lync", "sip"), (50, 15, 5, 30))[0]
        if kind == "user":
            return self.user()
        if kind == "guest":
            # A guest may type whatever they like, a holder's address too.
            typed = ("Visitor", *self._holders[:1], *(HOSTILE_NAMES if self._hostile else ()))
            return Person(f"guest{self._number()}@example.com", self._chance.choice(typed), "guest")
        if kind == "lync":
            address = self._somebody()
            return Person(address, _first_name(address), "lync", address)
        return self.anybody_on_sip()

    def anybody_on_sip(self) -> Person:
        """Draw a room, a phone or a stranger: no user, whatever their address looks like."""
        kind = self._chance.choice(("room", "phone", "stranger"))
        if kind == "room":
            number = self._number()
            return Person(f"room{number}@example.com", f"Room {number}", "sip")
        if kind == "phone":
            return Person(f"+1555{self._number()}@partner.example.net", "", "phone")
        alike = self._chance.choice((*self._holders, *USERS)).partition("@")[0]
        return Person(f"{alike}@partner.example.net", alike.title(), "sip")

    def _user(self, address: str) -> Person:
        name = _first_name(address)
        if self._chance.choice(("app", "app", "sip")) == "app":
            return Person(address, name, "app", address, f"tag-{name.lower()}")
        spellings = (address, address.upper(), f"sip:{address}", f"sip:{address}:5061;transport=tls")
        return Person(self._chance.choice(spellings), name, "sip", address)

    def _somebody(self) -> str:
        return self._without.pop() if self._without else f"user{self._number()}@example.com"

    def _number(self) -> int:
        return self._chance.randint(1000, 9999)


@dataclass(slots=True, eq=False)
class Space:
    """A space (coSpace), in which one meeting takes place at a time."""

    name: str
    details: Mapping[str, Value]
    """What callStart says of it, beside the name."""
    busy_until: float = -1.0
    """Seconds from the start of the scenario."""


@dataclass(slots=True)
class Spaces:
    """All spaces of a deployment; there are always enough."""

    chance: random.Random
    new_id: Callable[[], str]
    hostile: bool = False
    _all: list[Space] = field(default_factory=list)

    def take(self, at: float) -> Space:
        """Return a space in which nobody meets at a moment."""
        free = [space for space in self._all if space.busy_until < at]
        if len(self._all) < len(NAMES) or not free:
            free = [self._make(len(self._all))]
            self._all += free
        space = self.chance.choice(free)
        space.busy_until = at
        return space

    def _make(self, number: int) -> Space:
        name = f"{NAMES[number % len(NAMES)]} {number // len(NAMES) or ''}".rstrip()
        # An owner's name may be missing, empty, or some text; only its text, never a key.
        owners: tuple[dict[str, Value], ...] = ({}, {"ownerName": None}, {"ownerName": "Sybil"})
        details = {**owners[number % len(owners)], "coSpace": self.new_id()}
        return Space(self.chance.choice(HOSTILE_NAMES) if self.hostile else name, details)


def _first_name(address: str) -> str:
    return address.partition("@")[0].title()
