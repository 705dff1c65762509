"""Does what we count agree with what the Meeting Server itself counts? Compared poll by poll, told only when it lasts.

A difference is a drift once it was there in so many polls in a row; a single one may be a record that is on its way.
What cannot be compared changes nothing.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from cdr_service.domain.counting import (
    MEETINGS,
    PARTICIPANTS,
    PERSONAL,
    SHARED_COUNT,
    Band,
    OurCounts,
    Possible,
    ServerCounts,
)
from cdr_service.domain.licensing import SHARED

NAMED_MAX: Final = 20
"""So many meetings are named that can explain a difference."""
FRESH_POLLS: Final = 6
"""What was found counts for so many intervals; then nobody has compared lately."""

State = Literal["agreed", "drift", "unknown"]


class Difference(Struct, frozen=True, kw_only=True):
    """A count that is not ours."""

    count: str
    """meetings, personal, shared or participants."""
    holder: str | None = None
    """Of `personal`: whose license."""
    theirs: Decimal
    fewest: int
    most: int
    off: Decimal
    """By how much theirs is above the most, or (negative) below the fewest, that it may be by what we know."""
    since: int
    """When it was first seen, in milliseconds of our clock."""
    polls: int = 1
    """In how many polls in a row it was seen."""
    meetings: tuple[str, ...] = ()
    """Meetings that can explain it, where we know any."""
    explanation: str = ""

    @property
    def key(self) -> tuple[str, str | None]:
        """What tells it apart from other differences."""
        return self.count, self.holder


class Reconciliation(Struct, frozen=True, kw_only=True):
    """Where the comparison of a deployment stands."""

    state: State = "unknown"
    since: int = 0
    """Since when the state is so."""
    polled: int = 0
    """When the server was last asked, in milliseconds of our clock."""
    compared: int = 0
    """When its counts were last compared; 0: never."""
    settled: int = 0
    """Up to where, by the records' clock, that covers what happened."""
    reason: str | None = None
    """Why the last poll could not be compared; None where it was."""
    theirs: ServerCounts | None = None
    ours: OurCounts | None = None
    participants: Band | None = None
    differences: tuple[Difference, ...] = ()
    """All that differed in the last poll that was compared."""
    agreeing: int = 0
    """Polls in a row without any difference."""
    polls: int = 2
    """In how many polls in a row a difference is seen before it is a drift."""
    fresh_for: int = 60_000
    """So long, in milliseconds, what was found counts."""

    @property
    def drifts(self) -> tuple[Difference, ...]:
        """The differences that have lasted."""
        return tuple(one for one in self.differences if one.polls >= self.polls)

    def drift(self, count: str) -> Decimal:
        """Return by how much a count drifts; 0 where it agrees, or differs only since the last poll."""
        return max((one.off for one in self.drifts if one.count == count), key=abs, default=Decimal())

    def is_fresh(self, now: int) -> bool:
        """Was compared lately?"""
        return self.compared > 0 and now - self.compared <= self.fresh_for

    def vouches_for(self, holder: str | None, since: int, now: int) -> bool:
        """Say whether the server agrees about a license that is taken since then, of a holder or (None) of the pool.

        The deployment's counts have to agree, and for a PMP+ its holder's.
        """
        if self.reason or not self.is_fresh(now) or since > self.settled:
            return False
        concerned = {(MEETINGS, None), (SHARED_COUNT, None), (PERSONAL, holder)}
        return not any(one.key in concerned for one in self.differences)


class Poll(NamedTuple):
    """One comparison to be made."""

    at: int
    """Milliseconds of our clock."""
    settled: int
    """Where the settle time began, by the records' clock."""
    theirs: ServerCounts
    ours: OurCounts
    meetings: Collection[Possible]
    participants: Band | None = None
    """None where the settle time is not covered yet."""


class Found(NamedTuple):
    """What a poll came to."""

    now: Reconciliation
    told: tuple[str, dict[str, Any]] | None
    """An event and its details, where there is something new to tell."""


def not_compared(before: Reconciliation, at: int, reason: str) -> Reconciliation:
    """Return where it stands after a poll that could not be compared."""
    now = replace(before, polled=at, reason=reason)
    if before.state != "unknown" and not before.is_fresh(at):
        now = replace(now, state="unknown", since=at)
    return now


def compared(before: Reconciliation, poll: Poll) -> Found:
    """Return where it stands after a poll, and what is new about it."""
    known = {one.key: one for one in before.differences}
    differences = tuple(_lasting(one, known.get(one.key)) for one in differing(poll))
    now = replace(
        before,
        polled=poll.at,
        compared=poll.at,
        settled=poll.settled,
        reason=None,
        theirs=poll.theirs,
        ours=poll.ours,
        participants=poll.participants,
        differences=differences,
        agreeing=0 if differences else before.agreeing + 1,
    )
    state: State = before.state
    if now.drifts:
        state = "drift"
    elif now.agreeing >= before.polls:
        state = "agreed"
    if state != before.state:
        now = replace(now, state=state, since=poll.at)
    return Found(now, _news(before, now))


def differing(poll: Poll) -> Iterator[Difference]:
    """Yield what differs in one poll."""
    theirs, ours, tolerance = poll.theirs, poll.ours, poll.theirs.tolerance
    yield from _differs(poll, MEETINGS, None, theirs.meetings, ours.meetings, tolerance)
    yield from _differs(poll, SHARED_COUNT, None, theirs.shared, ours.shared, tolerance)
    for holder in sorted({*theirs.personal, *ours.holders}):
        figure, band = theirs.personal.get(holder, Decimal()), ours.holders.get(holder, Band(0, 0))
        yield from _differs(poll, PERSONAL, holder, figure, band, tolerance)
    if poll.participants is not None:
        yield from _differs(poll, PARTICIPANTS, None, Decimal(theirs.participants), poll.participants, Decimal())


def _differs(
    poll: Poll, count: str, holder: str | None, theirs: Decimal, band: Band, tolerance: Decimal
) -> Iterator[Difference]:
    off = band.off(theirs, tolerance)
    if off:
        meetings = tuple(sorted(_explaining(poll.meetings, count, holder, above=off > 0)))
        yield Difference(
            count=count,
            holder=holder,
            theirs=theirs,
            fewest=band.fewest,
            most=band.most,
            off=off,
            since=poll.at,
            meetings=meetings[:NAMED_MAX],
            explanation=_explanation(count, holder, above=off > 0),
        )


def _explaining(meetings: Iterable[Possible], count: str, holder: str | None, *, above: bool) -> Iterator[str]:
    """Yield the meetings that may count otherwise with the server than with us."""
    payer = holder or SHARED
    for meeting in meetings:
        pays = payer in meeting.payers
        if (not above) if count in (MEETINGS, PARTICIPANTS) else (pays != above):
            yield meeting.meeting


_EXPLANATIONS: Final[Mapping[tuple[str, bool], str]] = {
    (MEETINGS, True): "the server has a meeting of which no record reached us; it is looked for in its lists",
    (MEETINGS, False): "a meeting ended of which the end did not reach us; it is looked for in the server's lists",
    (SHARED_COUNT, True): (
        "the server takes SMP+ for a meeting that we put down to a PMP+ (then `personal` says whose), or has a meeting "
        "that is unknown to us"
    ),
    (SHARED_COUNT, False): (
        "the server puts a meeting down to a PMP+ for which we take SMP+ (then `personal` says whose), or it has ended"
    ),
    (PERSONAL, True): (
        "the server puts more meetings down to {holder} than we do: it follows other rules (/v1/policies/fit), or "
        "knows of an owner, a participant or a license that we do not know"
    ),
    (PERSONAL, False): (
        "we put more meetings down to {holder} than the server does: it follows other rules (/v1/policies/fit), or "
        "does not take {holder} for the owner, for a participant or for a holder"
    ),
    (PARTICIPANTS, True): "somebody is in of whom no record reached us; they are looked for in the server's lists",
    (PARTICIPANTS, False): "somebody left whose leaving did not reach us; the server's lists tell who is in",
}


def _explanation(count: str, holder: str | None, *, above: bool) -> str:
    return _EXPLANATIONS[count, above].format(holder=holder)


def _lasting(now: Difference, before: Difference | None) -> Difference:
    """Return a difference with since when it lasts; one that turned round is a new one."""
    if before is None or (before.off > 0) != (now.off > 0):
        return now
    return replace(now, since=before.since, polls=before.polls + 1)


def _news(before: Reconciliation, now: Reconciliation) -> tuple[str, dict[str, Any]] | None:
    told = {one.key for one in before.drifts}
    new = [one for one in now.drifts if one.key not in told]
    if new:
        return "reconcile.drift", {"differences": [as_told(one) for one in now.drifts], "reason": sentence(new[0])}
    if now.state == "agreed" != before.state:
        counts = _figures(now)
        return "reconcile.agreed", {"counts": counts, "reason": "the Meeting Server counts what we count"}
    return None


def as_told(one: Difference) -> dict[str, Any]:
    """Return a difference as events tell it."""
    return {
        "count": one.count,
        "holder": one.holder,
        "theirs": float(one.theirs),
        "ours": one.fewest if one.fewest == one.most else [one.fewest, one.most],
        "meetings": list(one.meetings),
        "explanation": one.explanation,
    }


def sentence(one: Difference) -> str:
    """Return a difference as one sentence."""
    ours = str(one.fewest) if one.fewest == one.most else f"{one.fewest} to {one.most}"
    of = f" of {one.holder}" if one.holder else ""
    return f"{one.count}{of}: the Meeting Server counts {one.theirs.normalize():f}, we count {ours}; {one.explanation}"


def _figures(now: Reconciliation) -> dict[str, float]:
    if now.theirs is None:
        return {}
    personal = sum(now.theirs.personal.values(), Decimal())
    return {
        MEETINGS: float(now.theirs.meetings),
        PERSONAL: float(personal),
        SHARED_COUNT: float(now.theirs.shared),
        PARTICIPANTS: now.theirs.participants,
    }
