"""Which rules does this Meeting Server follow? Both policies and two settings, scored against its own counts.

The server says how many meetings each user's PMP+ pays. Where the policies and settings say different numbers for a
user, that number tells them apart: an observation. One and the same state is observed once, however long it lasts, and
only where every number is certain, so nothing of it is in the settle time, and so many polls in a row said the same.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Final, Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from cdr_service.domain.bookkeeping import Bookkeeper
from cdr_service.domain.books import Books
from cdr_service.domain.calls import Call, Meeting
from cdr_service.domain.counting import NOTHING, Possible, ServerCounts, counted, possible
from cdr_service.domain.options import Options
from cdr_service.domain.policies import POLICIES
from cdr_service.domain.timeline import Standing, Timeline
from cdr_service.domain.workspace import Key, Workspace

POLICY: Final = "policy"
STICKY: Final = "join_sticky"
PER_HOLDER: Final = "pmp_calls_per_user"
SETTINGS: Final = (POLICY, STICKY, PER_HOLDER)
"""What is scored, by the names of the settings."""

TRIED_PER_HOLDER: Final = (1, 2, 3)
"""Meetings that one PMP+ may pay at a time, beside the number that is set."""
EXAMPLES_MAX: Final = 20
SEEN_MAX: Final = 2000
"""States remembered, so that each counts once."""
SURE_MARGIN: Final = 3
"""So many observations more than for any other value make it sure."""
SURE_SHARE: Final = 0.9
LIKELY_SHARE: Final = 0.6

Sureness = Literal["sure", "likely", "cannot tell"]


class Variant(NamedTuple):
    """Rules that a server may follow."""

    policy: str
    join_sticky: bool
    """Does it matter under `join` alone."""
    pmp_calls_per_user: int

    @property
    def id(self) -> str:
        """Its name, such as `join sticky 2`, or `owner 2`."""
        sticky = () if self.policy == "owner" else ("sticky" if self.join_sticky else "not-sticky",)
        return " ".join((self.policy, *sticky, str(self.pmp_calls_per_user)))


class Example(Struct, frozen=True, kw_only=True):
    """An observation that told variants apart."""

    at: int
    """Milliseconds of our clock."""
    holder: str
    meetings: tuple[str, ...]
    """Those that the holder's license pays under some of the variants."""
    theirs: int
    """How many meetings the server says that it pays."""
    predicted: dict[str, int]
    """How many it would pay, by variant."""


class Fit(Struct, frozen=True, kw_only=True):
    """How well the variants fit, over time."""

    since: int = 0
    """Of the first observation, in milliseconds of our clock; 0 where there is none."""
    observations: int = 0
    """States in which a holder's license was at stake."""
    telling: int = 0
    """Those in which the variants do not say the same."""
    unexplained: int = 0
    """Those of the telling ones that no variant explains."""
    agreements: dict[str, int] = {}
    """By variant: in how many of the telling ones the server says the same."""
    examples: tuple[Example, ...] = ()
    """The newest telling ones, the newest first."""
    seen: tuple[str, ...] = ()
    pending: dict[str, int] = {}
    """States that were seen in so many polls in a row."""


class Choice(Struct, frozen=True, kw_only=True):
    """What the evidence says of one setting."""

    setting: str
    configured: Any
    recommended: Any
    """None where the evidence does not tell."""
    candidates: list[Any]
    """The values that fit best, and alike."""
    sure: Sureness
    agreements: dict[str, int]
    """By value: in how many telling observations its best variant says what the server says."""
    reason: str


def variants(options: Options) -> list[Variant]:
    """Return the variants that are scored."""
    numbers = sorted({*TRIED_PER_HOLDER, options.pmp_calls_per_user})
    joins = [Variant("join", sticky, number) for sticky in (True, False) for number in numbers]
    return joins + [Variant("owner", True, number) for number in numbers]


def is_at_stake(meeting: Meeting) -> bool:
    """Return whether a holder's license pays, or could pay, a meeting; all others take SMP+ whatever the rules."""
    return any(standing.all_claims for standing in meeting.timeline.standings.values())


def standings(things: Mapping[Key, Any], options: Options) -> dict[Variant, dict[str, Standing]]:
    """Decide meetings anew by every variant; `things` are the meetings with all that was ever on them, and `legs`."""
    found: dict[Variant, dict[str, Standing]] = {}
    tried = variants(options)
    for sticky, number in dict.fromkeys((one.join_sticky, one.pmp_calls_per_user) for one in tried):
        other = options._replace(policy="join", join_sticky=sticky, pmp_calls_per_user=number, policies=POLICIES)
        meetings = _decided(things, other)
        for one in tried:
            if (one.join_sticky, one.pmp_calls_per_user) == (sticky, number):
                stand = {id_: meeting.timeline.standings for id_, meeting in meetings.items()}
                found[one] = {id_: by_policy.get(one.policy, Standing()) for id_, by_policy in stand.items()}
    return found


def predicted(
    things: Mapping[Key, Any], decided: Mapping[Variant, Mapping[str, Standing]], since: int, options: Options
) -> dict[Variant, list[Possible]]:
    """Return as what each meeting may count, by variant; `since` is as in `possible`."""
    calls: dict[str, list[Call]] = {}
    for thing in things.values():
        if isinstance(thing, Call):
            calls.setdefault(thing.meeting, []).append(thing)
    meetings = [thing for thing in things.values() if isinstance(thing, Meeting)]
    found: dict[Variant, list[Possible]] = {}
    for variant, by_meeting in decided.items():
        each = (possible(m, calls.get(m.id, ()), by_meeting[m.id], since, options) for m in meetings)
        found[variant] = [one for one in each if one is not None]
    return found


def observed(
    before: Fit, at: int, theirs: ServerCounts, predictions: Mapping[Variant, Sequence[Possible]], polls: int
) -> Fit:
    """Return the fit after one more poll; a state counts once it was seen in so many polls in a row."""
    pending: dict[str, int] = {}
    now = before
    known = set(before.seen)
    for example in _states(at, theirs, predictions):
        key = _key(example)
        if key in known:
            continue
        state = f"{key}{example.theirs}"
        pending[state] = before.pending.get(state, 0) + 1
        if pending[state] >= polls:
            del pending[state]
            now = _with(now, example, key)
    return replace(now, pending=pending)


def choices(fit: Fit, options: Options) -> list[Choice]:
    """Return what the evidence says of each setting."""
    left = variants(options)
    found: list[Choice] = []
    for setting in SETTINGS:
        choice = _choice(fit, setting, left, getattr(options, setting))
        found.append(choice)
        if choice.recommended is not None:
            left = [one for one in left if getattr(one, setting) == choice.recommended]
    return found


def _decided(things: Mapping[Key, Any], options: Options) -> dict[str, Meeting]:
    books = Books(options=options)
    books.things = {
        key: replace(thing, timeline=Timeline()) if isinstance(thing, Meeting) else thing
        for key, thing in things.items()
    }
    ids = [thing.id for thing in things.values() if isinstance(thing, Meeting)]

    def fold(keeper: Bookkeeper, _: Workspace) -> None:
        for id_ in ids:
            keeper.fold_again(id_)

    books.perform(fold)
    return books.meetings


def _states(at: int, theirs: ServerCounts, predictions: Mapping[Variant, Sequence[Possible]]) -> Iterator[Example]:
    """Yield for each holder what the variants and the server say, where all of it is certain."""
    bands = {variant: counted(meetings).holders for variant, meetings in predictions.items()}
    for holder in sorted({holder for by_holder in bands.values() for holder in by_holder}):
        each = {variant: by_holder.get(holder, NOTHING) for variant, by_holder in bands.items()}
        figure = theirs.personal.get(holder, Decimal())
        whole = round(figure)
        if all(band.exact for band in each.values()) and abs(figure - whole) <= theirs.tolerance:
            yield Example(
                at=at,
                holder=holder,
                meetings=tuple(sorted(_concerned(predictions.values(), holder))),
                theirs=whole,
                predicted={variant.id: band.most for variant, band in each.items()},
            )


def _concerned(predictions: Iterable[Sequence[Possible]], holder: str) -> set[str]:
    return {one.meeting for meetings in predictions for one in meetings if holder in one.payers}


def _key(example: Example) -> str:
    """Return what names a state, whatever the server says of it."""
    state = "|".join((example.holder, *example.meetings, *map(str, example.predicted.values())))
    return blake2b(state.encode(), digest_size=8).hexdigest()


def _with(fit: Fit, example: Example, key: str) -> Fit:
    """Return the fit with one more observation."""
    fit = replace(
        fit,
        since=fit.since or example.at,
        observations=fit.observations + 1,
        seen=(*fit.seen, key)[-SEEN_MAX:],
    )
    if len(set(example.predicted.values())) == 1:
        return fit
    right = [variant for variant, number in example.predicted.items() if number == example.theirs]
    names = {**fit.agreements, **example.predicted}
    agreements = {name: fit.agreements.get(name, 0) + (name in right) for name in names}
    return replace(
        fit,
        telling=fit.telling + 1,
        unexplained=fit.unexplained + (not right),
        agreements=agreements,
        examples=(example, *fit.examples)[:EXAMPLES_MAX],
    )


def _choice(fit: Fit, setting: str, left: Sequence[Variant], configured: Any) -> Choice:
    if setting == STICKY and all(one.policy == "owner" for one in left):
        reason = "under the rules of owner it does not matter who leaves"
        return Choice(
            setting=setting,
            configured=configured,
            recommended=None,
            candidates=[True, False],
            sure="cannot tell",
            agreements={},
            reason=reason,
        )
    scores: dict[Any, int] = {}
    for one in left:
        if setting != STICKY or one.policy == "join":
            value = getattr(one, setting)
            scores[value] = max(scores.get(value, 0), fit.agreements.get(one.id, 0))
    best = max(scores.values())
    candidates = [value for value, score in scores.items() if score == best]
    margin = best - max((score for score in scores.values() if score != best), default=0)
    alone = len(candidates) == 1 and best >= LIKELY_SHARE * fit.telling
    sure: Sureness = "cannot tell"
    if alone:
        sure = "sure" if margin >= SURE_MARGIN and best >= SURE_SHARE * fit.telling else "likely"
    return Choice(
        setting=setting,
        configured=configured,
        recommended=candidates[0] if alone else None,
        candidates=candidates,
        sure=sure,
        agreements={shown(value): score for value, score in scores.items()},
        reason=_reason(fit, scores, candidates, best, alone=alone),
    )


def _reason(fit: Fit, scores: Mapping[Any, int], candidates: Sequence[Any], best: int, *, alone: bool) -> str:
    if not fit.telling:
        return "nothing was seen yet that tells the rules apart"
    values = " and ".join(map(shown, candidates))
    if alone:
        others = ", ".join(f"{shown(value)} {score}" for value, score in scores.items() if value not in candidates)
        return f"{values} explains {best} of {fit.telling} telling observations ({others})"
    if len(candidates) > 1:
        return f"{values} fit alike: the meetings seen do not tell them apart"
    return f"even {values} explains only {best} of {fit.telling} telling observations"


def shown(value: Any) -> str:
    """Return a value as its setting spells it."""
    return str(value).lower()
