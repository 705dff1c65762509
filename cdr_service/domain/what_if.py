"""Recorded history decided anew, as if certain users had held PMP+ all along.

Meetings are folded again by the code that decides real ones (`books`), from their recorded legs with other licenses.
Only those are that could change: whoever involves one of these users, and whatever wants a license that such a meeting
wants, and so on, because each may give a slot to the next.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from cdr_service.domain.bookkeeping import Bookkeeper
from cdr_service.domain.books import Books
from cdr_service.domain.calls import Call, Meeting, Recording
from cdr_service.domain.directory import Directory, User
from cdr_service.domain.history import span_of
from cdr_service.domain.identity import Identity
from cdr_service.domain.knowledge import identified_by
from cdr_service.domain.legs import Leg
from cdr_service.domain.options import Options
from cdr_service.domain.policies import policies_of
from cdr_service.domain.spaces import Circumstances
from cdr_service.domain.timeline import Timeline
from cdr_service.domain.workspace import LEGS_OF, Key, Workspace


class Look(NamedTuple):
    """How a meeting would have been with other holders, before anything is decided."""

    changed: bool
    """Would somebody in it have held a license who did not?"""
    wanted: frozenset[str]
    """Whose licenses it could want."""


class AsIf:
    """The world with some users holding PMP+ who may hold none."""

    def __init__(self, users: Iterable[str], directory: Directory) -> None:
        """`users` are addresses as `normalize_address` spells them."""
        self._users = frozenset(users)
        self.unknown = sorted(self._users - directory.users.keys())
        """Those whom the directory does not know: they are found by their own address alone."""
        self._added = Directory([User(address, holds_license=True) for address in self.unknown])

    def leg(self, leg: Leg) -> Leg:
        """Return the leg as it would have been."""
        observed = tuple(replace(one, identity=self._identity(leg, one.identity)) for one in leg.observed)
        return replace(leg, identity=self._identity(leg, leg.identity), observed=observed)

    def meeting(self, meeting: Meeting) -> Meeting:
        """Return the meeting as it would have been, not decided yet."""
        learned = tuple(replace(one, known=self._known(one.known)) for one in meeting.learned)
        return replace(meeting, known=self._known(meeting.known), learned=learned, timeline=Timeline())

    def look(self, meeting: Meeting, legs: Iterable[Leg]) -> "Look":
        """Return what would have been otherwise about a meeting."""
        before = list(meeting.owners)
        after = list(map(self._holding, before))
        for leg in legs:
            known = [leg.identity, *(one.identity for one in leg.observed)]
            before += known
            after += [self._identity(leg, identity) for identity in known]
        wanted = frozenset(identity.user for identity in after if identity.user and identity.holds_license)
        return Look(before != after, wanted)

    def _identity(self, leg: Leg, identity: Identity) -> Identity:
        if identity.user is None and self.unknown:
            found = identified_by(self._added, leg)
            return found if found.user else identity
        return self._holding(identity)

    def _holding(self, identity: Identity) -> Identity:
        held = identity.holds_license or identity.user not in self._users
        return identity if held else replace(identity, holds_license=True)

    def _known(self, known: Circumstances) -> Circumstances:
        return replace(known, space=replace(known.space, owner=self._holding(known.space.owner)))


def drawn_in(wanted: Mapping[str, frozenset[str]], first: Iterable[str]) -> set[str]:
    """Return the meetings that could change with the first ones, given whose licenses each could want."""
    of_holder: defaultdict[str, set[str]] = defaultdict(set)
    for meeting, holders in wanted.items():
        for holder in holders:
            of_holder[holder].add(meeting)
    found = left = set(first)
    while left:
        holders = frozenset[str]().union(*(wanted[meeting] for meeting in left))
        left = {meeting for holder in holders for meeting in of_holder.pop(holder, ())} - found
        found = found | left
    return found


class Recorded(Struct):
    """Recorded meetings, with everything that they are decided from."""

    meetings: dict[str, Meeting] = {}
    calls: dict[str, Call] = {}
    legs: dict[str, Leg] = {}
    legs_of: dict[str, frozenset[str]] = {}
    """By call."""
    recordings: dict[str, Recording] = {}

    def legs_on(self, meeting: Meeting) -> list[Leg]:
        """Return the legs that are known of a meeting."""
        return [self.legs[leg] for call in meeting.calls for leg in sorted(self.legs_of.get(call, ()))]


def decided_anew(recorded: Recorded, as_if: AsIf, policy: str, options: Options) -> dict[str, Meeting]:
    """Return the meetings as they would have been decided under one policy."""
    books = Books(options=options._replace(policies={policy: policies_of(options)[policy]}))
    things: dict[Key, Any] = {("meeting", id_): as_if.meeting(one) for id_, one in recorded.meetings.items()}
    things |= {("call", id_): call for id_, call in recorded.calls.items()}
    things |= {("leg", id_): as_if.leg(leg) for id_, leg in recorded.legs.items()}
    things |= {("recording", id_): one for id_, one in recorded.recordings.items()}
    things |= {(LEGS_OF, call): legs for call, legs in recorded.legs_of.items()}
    books.things = things
    # In the order in which they began, so that each holder's slots are given as they would have been.
    spans = {id_: span_of(meeting) for id_, meeting in recorded.meetings.items()}
    for id_ in sorted(spans, key=lambda id_: (spans[id_] or (0, None))[0]):
        books.perform(_folding(id_))
    return books.meetings


def _folding(meeting: str) -> Callable[[Bookkeeper, Workspace], None]:
    def fold(keeper: Bookkeeper, _workspace: Workspace) -> None:
        keeper.fold_again(meeting)

    return fold
