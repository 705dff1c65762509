"""Which rules does this Meeting Server follow? Both policies and three settings, scored against its own counts.

The server says how many meetings each user's PMP+ pays. Where the policies and settings say different numbers for a
user, that number tells them apart: an observation. One and the same state is observed once, however long it lasts, and
only where every number is certain, so nothing of it is in the settle time, and so many polls in a row said the same.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from cdr_service.domain.counting import NOTHING, Possible, ServerCounts, counted
from cdr_service.domain.options import Options
from cdr_service.domain.trials import Variant, variants

POLICY: Final = "policy"
STICKY: Final = "join_sticky"
PER_HOLDER: Final = "pmp_calls_per_user"
SPILL_BACK: Final = "spill_back"
SETTINGS: Final = (POLICY, STICKY, PER_HOLDER, SPILL_BACK)
"""What is scored, by the names of the settings."""

EXAMPLES_MAX: Final = 20
SEEN_MAX: Final = 2000
"""States remembered, so that each counts once."""
SURE_MARGIN: Final = 3
"""So many observations more than for any other value make it sure."""
SURE_SHARE: Final = 0.9
LIKELY_SHARE: Final = 0.6

Sureness = Literal["sure", "likely", "cannot tell"]


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
    """Those in which some of the variants, or all, say otherwise than the server."""
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


def observed(
    before: Fit,
    at: int,
    theirs: ServerCounts,
    predictions: Mapping[Variant, Sequence[Possible]],
    polls: int,
    unknown: Collection[str] = (),
) -> Fit:
    """Return the fit after one more poll; a state counts once it was seen in so many polls in a row.

    `unknown` are holders of whom the predictions are not certain.
    """
    pending: dict[str, int] = {}
    now = before
    known = set(before.seen)
    for example in _states(at, theirs, predictions):
        key = _key(example)
        if key in known or example.holder in unknown:
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
    right = [variant for variant, number in example.predicted.items() if number == example.theirs]
    if len(right) == len(example.predicted):
        return fit
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
    scored = [one for one in left if setting != STICKY or one.policy == "join"]
    scores: dict[Any, int] = {}
    for one in scored:
        value = getattr(one, setting)
        scores[value] = max(scores.get(value, 0), fit.agreements.get(one.id, 0))
    best = max(scores.values(), default=0)
    candidates = [value for value, score in scores.items() if score == best]
    margin = best - max((score for score in scores.values() if score != best), default=0)
    applies = len(scored) == len(left)
    alone = applies and len(candidates) == 1 and best >= LIKELY_SHARE * fit.telling
    sure: Sureness = "cannot tell"
    if alone:
        sure = "sure" if margin >= SURE_MARGIN and best >= SURE_SHARE * fit.telling else "likely"
    return Choice(
        setting=setting,
        configured=configured,
        recommended=candidates[0] if alone else None,
        candidates=candidates if applies else [True, False],
        sure=sure,
        agreements={shown(value): score for value, score in scores.items()},
        reason=_reason(fit, setting, scores, alone=alone) if applies else _not_join(fit, scored),
    )


def _not_join(fit: Fit, scored: Sequence[Variant]) -> str:
    """Say why nothing is said of a setting that matters under `join` alone."""
    if not scored:
        return "under the policy owner it does not matter who leaves"
    if not fit.telling:
        return _NOTHING_SEEN
    return "it matters under the policy join alone, and the meetings seen do not tell whether the server follows that"


_NOTHING_SEEN: Final = "nothing was seen yet that tells the rules apart"


def _reason(fit: Fit, setting: str, scores: Mapping[Any, int], *, alone: bool) -> str:
    if not fit.telling:
        return _NOTHING_SEEN
    best = max(scores.values())
    named = {value: f"{shown(value)} or more" if _is_most(setting, value, scores) else shown(value) for value in scores}
    *others_best, last = (named[value] for value, score in scores.items() if score == best)
    values = f"{', '.join(others_best)} and {last}" if others_best else last
    if alone:
        others = ", ".join(f"{named[value]}: {score}" for value, score in scores.items() if score != best)
        return f"{values} explains {best} of {fit.telling} telling observations ({others})"
    if best < LIKELY_SHARE * fit.telling:
        return f"even {values} explains only {best} of {fit.telling} telling observations"
    return f"{values} fit alike: the meetings seen do not tell them apart"


def _is_most(setting: str, value: Any, scores: Mapping[Any, int]) -> bool:
    """Return whether the value stands for all numbers above as well."""
    return setting == PER_HOLDER and value == max(scores)


def shown(value: Any) -> str:
    """Return a value as its setting spells it."""
    return str(value).lower()
