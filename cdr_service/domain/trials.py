"""Meetings decided by every rule set that a Meeting Server may follow, side by side, for its own counts to tell which.

Under each of the rules there are books of their own, which go on from poll to poll: whether a license was free when a
meeting wanted it depends on meetings that are over by now. What was before the first poll is not known, so a holder
whose license was wanted then is left out until it is not wanted by any meeting any more.
"""

from collections.abc import Collection, Iterable, Mapping
from itertools import product
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from cdr_service.domain.bookkeeping import Bookkeeper
from cdr_service.domain.books import Books
from cdr_service.domain.calls import Call, Meeting
from cdr_service.domain.counting import Possible, possible
from cdr_service.domain.options import Options
from cdr_service.domain.policies import POLICIES
from cdr_service.domain.timeline import Standing, Timeline
from cdr_service.domain.workspace import LEGS_OF, Key, Workspace

MOST_PER_HOLDER: Final = 4
"""The most meetings that one PMP+ is tried to pay at a time; it stands for more as well."""


GAP_MILLISECONDS: Final = 600_000
"""After so long without a look at the meetings, they are followed anew."""


class Variant(NamedTuple):
    """Rules that a server may follow; the fields are named as their settings."""

    policy: str
    join_sticky: bool
    """Does it matter under `join` alone."""
    pmp_calls_per_user: int
    spill_back: bool = True

    @property
    def id(self) -> str:
        """Its name, such as `join sticky 2 spill-back`, or `owner 2 no-spill-back`."""
        sticky = () if self.policy == "owner" else ("sticky" if self.join_sticky else "not-sticky",)
        spill = "spill-back" if self.spill_back else "no-spill-back"
        return " ".join((self.policy, *sticky, str(self.pmp_calls_per_user), spill))


def variants(options: Options) -> list[Variant]:
    """Return the variants that are tried: what is set among them."""
    numbers = sorted({*range(1, MOST_PER_HOLDER + 1), options.pmp_calls_per_user})
    joins = [Variant("join", *values) for values in product((True, False), numbers, (True, False))]
    return joins + [Variant("owner", True, *values) for values in product(numbers, (True, False))]


def is_at_stake(meeting: Meeting) -> bool:
    """Return whether a holder's license pays, or could pay, a meeting; all others take SMP+ whatever the rules."""
    return any(standing.all_claims for standing in meeting.timeline.standings.values())


class Trials:
    """The meetings of one deployment in which a holder's license is at stake, as each of the rules decides them."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._begin()

    def _begin(self) -> None:
        self._variants = {one: one._replace(policy="join") for one in variants(self._options)}
        self._books = {
            rules: Books(options=self._options._replace(**rules._asdict(), policies=POLICIES))
            for rules in dict.fromkeys(self._variants.values())
        }
        self._known: dict[str, dict[Key, Any]] = {}
        self.followed = 0
        """Up to where, by the records' clock in milliseconds, the meetings were followed; 0: not yet."""
        self.unknown: frozenset[str] = frozenset()
        """Holders of whom it is not known which meetings their license paid before."""

    @property
    def unfinished(self) -> set[str]:
        """Meetings that had not ended when they were last seen."""
        return {id_ for id_, things in self._known.items() if any(_goes_on(thing) for thing in things.values())}

    def reaches_back_to(self, since: int) -> int:
        """Return since when ended meetings are wanted: those of the settle time, and those since the last time."""
        return min(since, self.followed) if since - self.followed <= GAP_MILLISECONDS else since

    def follow(self, things: Mapping[Key, Any], since: int, now: int) -> None:
        """Decide anew what changed.

        `things` are all live meetings at stake, those that ended since `reaches_back_to`, and the unfinished ones, with
        all that was ever on them; times are of the records' clock.
        """
        first = self.reaches_back_to(since) > self.followed
        if first:
            self._begin()
        found = {thing.id: _of(thing, things) for thing in things.values() if isinstance(thing, Meeting)}
        changed = {id_: of for id_, of in found.items() if of != self._known.get(id_)}
        dissolved = self.unfinished - found.keys()
        over = {key for id_, of in self._known.items() if id_ not in found for key in of} - things.keys()
        for books in self._books.values():
            _update(books, changed, dissolved, over)
        self._known, self.followed = found, now
        wanted = frozenset(self._wanted())
        self.unknown = wanted if first else self.unknown & wanted

    def predictions(self, since: int) -> dict[Variant, list[Possible]]:
        """Return as what each meeting may count, by variant; `since` is as in `possible`."""
        calls = {id_: [one for one in of.values() if isinstance(one, Call)] for id_, of in self._known.items()}
        found: dict[Variant, list[Possible]] = {}
        for variant, rules in self._variants.items():
            decided = self._books[rules].meetings
            each = (
                possible(
                    decided[id_],
                    on,
                    decided[id_].timeline.standings.get(variant.policy, Standing()),
                    since,
                    self._options,
                )
                for id_, on in calls.items()
            )
            found[variant] = [one for one in each if one is not None]
        return found

    def _wanted(self) -> Iterable[str]:
        """Yield whose license a meeting has or wants now, under any of the rules."""
        for books in self._books.values():
            for meeting in books.meetings.values():
                for standing in meeting.timeline.standings.values():
                    yield from (claim.holder for claim in standing.all_claims if claim.ended is None)


def _goes_on(thing: Any) -> bool:
    return isinstance(thing, Call) and thing.end is None


def _of(meeting: Meeting, things: Mapping[Key, Any]) -> dict[Key, Any]:
    """Return a meeting with what is on it; its timeline is left out, because each of the rules has its own."""
    found: dict[Key, Any] = {("meeting", meeting.id): replace(meeting, timeline=Timeline())}
    for call in meeting.calls:
        legs = things.get((LEGS_OF, call), frozenset())
        found[LEGS_OF, call] = legs
        on = things.get(("call", call))
        recordings = on.recordings if on is not None else ()
        keys: list[Key] = [("call", call), *(("leg", leg) for leg in legs), *(("recording", one) for one in recordings)]
        found |= {key: things[key] for key in keys if key in things}
    return found


def _update(
    books: Books, changed: Mapping[str, Mapping[Key, Any]], dissolved: Collection[str], over: Collection[Key]
) -> None:
    """Put into the books what changed, and decide it; of what is over, only the claims on licenses stay."""
    for id_, things in changed.items():
        before = books.things.get(("meeting", id_))
        books.things |= things
        if before is not None:
            books.things["meeting", id_] = replace(things["meeting", id_], timeline=before.timeline)

    def fold(keeper: Bookkeeper, _: Workspace) -> None:
        for id_ in dissolved:
            keeper.fold_again(id_, instead_of=id_)
        for id_ in changed:
            keeper.fold_again(id_)

    if changed or dissolved:
        books.perform(fold)
        books.events.clear()
        books.history.clear()
    for key in over:
        books.things.pop(key, None)
