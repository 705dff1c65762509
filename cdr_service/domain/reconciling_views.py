"""How the comparison with the Meeting Server's own counts is shown, and which rules these speak for."""

from typing import Any

from msgspec import Struct

from cdr_service.domain.counting import COUNTS, MEETINGS, PARTICIPANTS, PERSONAL, SHARED_COUNT, Band
from cdr_service.domain.fitting import Example, Fit, Sureness, choices, shown
from cdr_service.domain.options import Options
from cdr_service.domain.reconciling import Difference, Reconciliation, State
from cdr_service.domain.views import Time, rfc3339


class CountView(Struct, frozen=True):
    """One count, theirs and ours."""

    count: str
    """meetings, personal, shared (whole meetings, no sixths) or participants."""
    theirs: float
    """What the Meeting Server counts, summed over its Call Bridges."""
    fewest: int | None
    """What we count at least; null where that is not known yet."""
    most: int | None
    """What we count at most. The server trails, and may count meetings that nobody is in: what lies between is no
    drift."""


class DifferenceView(Struct, frozen=True, kw_only=True):
    """A count that differs."""

    count: str
    """meetings, personal, shared or participants."""
    holder: str | None
    """Of personal: whose license."""
    theirs: float
    fewest: int
    most: int
    since: Time
    polls: int
    """In how many polls in a row it was seen."""
    drift: bool
    """Has it lasted for as many polls as the settings ask for?"""
    meetings: list[str]
    """Meetings that can explain it."""
    explanation: str
    """What it may come from, in words."""


class ReconciliationView(Struct, frozen=True, kw_only=True):
    """Where the comparison of a deployment with the Meeting Server's own counts stands."""

    deployment: str
    state: State
    """agreed, drift, or unknown where nothing was compared lately."""
    since: Time | None
    """Since when it is so."""
    polled_at: Time | None
    """When the server was last asked."""
    compared_at: Time | None
    """When the counts were last compared."""
    reason: str | None
    """Why the last poll could not be compared; null where it was."""
    unoccupied: int | None
    """Meetings that go on with nobody in them: the server may count them, and that is no drift."""
    counts: list[CountView]
    differences: list[DifferenceView]


class ChoiceView(Struct, frozen=True, kw_only=True):
    """What the evidence says of one setting."""

    setting: str
    """policy, join_sticky, pmp_calls_per_user or spill_back."""
    configured: str
    recommended: str | None
    """Null where the evidence does not tell."""
    candidates: list[str]
    """The values that fit best, and alike."""
    sure: Sureness
    """sure, likely or cannot tell."""
    agreements: dict[str, int]
    """By value: in how many telling observations it says what the server says."""
    reason: str
    """A sentence for people."""


class ExampleView(Struct, frozen=True, kw_only=True):
    """An observation that tells the rules apart."""

    at: Time
    holder: str
    meetings: list[str]
    """Those that the holder's license pays under some of the rules."""
    theirs: int
    """How many meetings the Meeting Server says that it pays."""
    predicted: dict[str, int]
    """How many it would pay, by policy and settings, such as `join sticky 2 spill-back`."""


class FitView(Struct, frozen=True, kw_only=True):
    """Which rules a deployment's Meeting Server follows, by its own counts."""

    deployment: str
    since: Time | None
    """Of the first observation; null where there is none."""
    observations: int
    """States in which a holder's license was at stake, each counted once however long it lasted."""
    telling: int
    """Those of them in which some of the rules, or all, say otherwise than the server."""
    unexplained: int
    """Telling ones that none of the rules explains."""
    agreements: dict[str, int]
    """By policy and settings, such as `join sticky 2 spill-back`: in how many telling observations the server says the
    same."""
    choices: list[ChoiceView]
    examples: list[ExampleView]
    """The newest telling ones, the newest first."""


def reconciliation_view(deployment: str, known: Reconciliation | None, now: int) -> ReconciliationView:
    """Return how the comparison stands."""
    known = known or Reconciliation()
    return ReconciliationView(
        deployment=deployment,
        state=known.state if known.is_fresh(now) else "unknown",
        since=_time(known.since),
        polled_at=_time(known.polled),
        compared_at=_time(known.compared),
        reason=known.reason,
        unoccupied=known.ours.unoccupied if known.ours else None,
        counts=_counts(known),
        differences=[_difference(one, known.polls) for one in known.differences],
    )


def fit_view(deployment: str, fit: Fit | None, options: Options) -> FitView:
    """Return which rules the evidence speaks for."""
    fit = fit or Fit()
    return FitView(
        deployment=deployment,
        since=_time(fit.since),
        observations=fit.observations,
        telling=fit.telling,
        unexplained=fit.unexplained,
        agreements=fit.agreements,
        choices=[
            ChoiceView(
                setting=one.setting,
                configured=shown(one.configured),
                recommended=_text(one.recommended),
                candidates=[shown(value) for value in one.candidates],
                sure=one.sure,
                agreements=one.agreements,
                reason=one.reason,
            )
            for one in choices(fit, options)
        ],
        examples=[_example(one) for one in fit.examples],
    )


def _counts(known: Reconciliation) -> list[CountView]:
    theirs, ours = known.theirs, known.ours
    if theirs is None or ours is None:
        return []
    figures: dict[str, tuple[float, Band | None]] = {
        MEETINGS: (float(theirs.meetings), ours.meetings),
        PERSONAL: (float(sum(theirs.personal.values())), ours.personal),
        SHARED_COUNT: (float(theirs.shared), ours.shared),
        PARTICIPANTS: (theirs.participants, known.participants),
    }
    return [CountView(count, figure, *(band or (None, None))) for count in COUNTS for figure, band in [figures[count]]]


def _difference(one: Difference, polls: int) -> DifferenceView:
    return DifferenceView(
        count=one.count,
        holder=one.holder,
        theirs=float(one.theirs),
        fewest=one.fewest,
        most=one.most,
        since=rfc3339(one.since),
        polls=one.polls,
        drift=one.polls >= polls,
        meetings=list(one.meetings),
        explanation=one.explanation,
    )


def _example(one: Example) -> ExampleView:
    return ExampleView(
        at=rfc3339(one.at),
        holder=one.holder,
        meetings=list(one.meetings),
        theirs=one.theirs,
        predicted=one.predicted,
    )


def _time(milliseconds: int) -> str | None:
    return rfc3339(milliseconds) if milliseconds else None


def _text(value: Any) -> str | None:
    return None if value is None else shown(value)
