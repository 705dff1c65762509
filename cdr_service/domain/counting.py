"""What the Meeting Server counts, and what we count in the same words, to be compared.

The server's figures trail what happened by some ten seconds (Cisco community 3338713), those of several nodes are read
one after the other, and whether it counts calls that nobody is in is not documented. So what we count is no number but
a band: a meeting that changed within the settle time counts as it was and as it is, and one that nobody is in may count
or not. Whole meetings are compared and never sixths, which are not in the server's weighted figures.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Final, NamedTuple

from msgspec import Struct

from cdr_service.domain.calls import Call, Meeting
from cdr_service.domain.licensing import SHARED, License
from cdr_service.domain.options import Options
from cdr_service.domain.timeline import Standing
from cdr_service.domain.weights import Shape, shape_of

MEETINGS: Final = "meetings"
PERSONAL: Final = "personal"
SHARED_COUNT: Final = "shared"
PARTICIPANTS: Final = "participants"
COUNTS: Final = (MEETINGS, PERSONAL, SHARED_COUNT, PARTICIPANTS)
"""What is compared, as `cdr_reconcile_drift` names it."""

PER_CONFERENCE: Final = frozenset({Shape.GATEWAY, Shape.LYNC_GATEWAY, Shape.DUAL_HOMED_PER_BRIDGE})
"""Meetings of these shapes count once per conference and not per callCorrelator (Acano KB 390)."""

_TOLERANCE: Final = Decimal("0.01")
_ROUNDING: Final = Decimal("0.001")
"""Weighted values have three decimals, so a call over three bridges sums up to 0.999."""
_TOLERANCE_MAX: Final = Decimal("0.45")


class ServerCounts(Struct, frozen=True, kw_only=True):
    """What a deployment's nodes count now, summed up over all of them."""

    meetings: Decimal
    """Weighted: a call over several bridges counts once."""
    shared: Decimal
    """Meetings that take SMP+, whole ones."""
    personal: dict[str, Decimal]
    """Meetings by the address of the user whose PMP+ pays."""
    participants: int
    calls: int
    """Not weighted, so one for each bridge that a meeting spans."""

    @property
    def tolerance(self) -> Decimal:
        """How far a weighted sum may be from a whole number by rounding alone."""
        return min(_TOLERANCE + _ROUNDING * self.calls, _TOLERANCE_MAX)


class Band(NamedTuple):
    """What may be counted: both ends included."""

    fewest: int
    most: int

    @property
    def exact(self) -> bool:
        """Is there one possibility only?"""
        return self.fewest == self.most

    def off(self, theirs: Decimal | int, tolerance: Decimal = Decimal()) -> Decimal:
        """Return by how much a figure is above (or below, negative) the band; 0 where it is in it."""
        figure = Decimal(theirs)
        if figure > self.most + tolerance:
            return figure - self.most
        return figure - self.fewest if figure < self.fewest - tolerance else Decimal()

    def __add__(self, other: object) -> "Band":
        """Return the band of both together."""
        if not isinstance(other, Band):
            return NotImplemented
        return Band(self.fewest + other.fewest, self.most + other.most)


NOTHING: Final = Band(0, 0)


class Possible(NamedTuple):
    """As what one meeting may count for a server that is a little behind."""

    meeting: str
    conferences: int
    """As how many conferences at most."""
    steady: bool
    """Was it there, with somebody in it, all the time?"""
    payers: frozenset[str]
    """Users whose PMP+ may pay, and SHARED where it may take SMP+."""
    unoccupied: bool
    """Does it go on with nobody in it?"""

    @property
    def whole(self) -> Band:
        """As how many meetings it may count."""
        return Band(int(self.steady), self.conferences)

    def charged_to(self, payer: str) -> Band:
        """As how many meetings that this payer pays it may count."""
        if payer not in self.payers:
            return NOTHING
        return self.whole if len(self.payers) == 1 else Band(0, self.conferences)


class OurCounts(NamedTuple):
    """What we count, in the server's words."""

    meetings: Band
    shared: Band
    personal: Band
    holders: Mapping[str, Band]
    unoccupied: int
    """Meetings that go on, and in which nobody is counted: the server may count them, and that is no drift."""


def possible(
    meeting: Meeting, calls: Iterable[Call], standing: Standing, since: int, options: Options
) -> Possible | None:
    """Return as what a meeting may count, given its calls; None where it was over by then.

    `since` is the beginning of the settle time, in milliseconds of the records' clock.
    """
    here = [call for call in calls if call.end is None or call.end.time >= since]
    if not here:
        return None
    charges = list(_charges(standing, since))
    payers = {_payer(charge) for charge in charges if charge is not None}
    if None in charges:
        payers |= _payers_of_nobody(meeting, standing)
    # While it spreads to another bridge, or draws back from one, the nodes do not agree how they share it.
    same_bridges = all(call.end is None and call.began < since for call in here)
    shape = shape_of(meeting.call_type, meeting.known_now, options)
    return Possible(
        meeting.id,
        1 if same_bridges and shape not in PER_CONFERENCE else len(here),
        same_bridges and None not in charges,
        frozenset(payers),
        meeting.timeline.participants == 0 and any(call.end is None for call in here),
    )


def counted(meetings: Collection[Possible]) -> OurCounts:
    """Return what meetings count as together."""
    holders: dict[str, Band] = {}
    for meeting in meetings:
        for payer in meeting.payers - {SHARED}:
            holders[payer] = holders.get(payer, NOTHING) + meeting.charged_to(payer)
    return OurCounts(
        _sum(meeting.whole for meeting in meetings),
        _sum(meeting.charged_to(SHARED) for meeting in meetings),
        _sum(map(_personal, meetings)),
        holders,
        sum(meeting.unoccupied for meeting in meetings),
    )


def participants_band(seen: Collection[Mapping[str, int]]) -> Band:
    """Return how many may be counted as in, given how many were in each meeting at some moments."""
    meetings = {meeting for moment in seen for meeting in moment}
    counts = [[moment.get(meeting, 0) for moment in seen] for meeting in meetings]
    return Band(sum(map(min, counts)), sum(map(max, counts)))


def _charges(standing: Standing, since: int) -> Iterator[License | None]:
    yield standing.license
    for transition in reversed(standing.transitions):
        if transition.at.time < since:
            return
        yield transition.before
        yield transition.after


def _payer(charge: License) -> str:
    return charge.holder or SHARED


def _payers_of_nobody(meeting: Meeting, standing: Standing) -> set[str]:
    """Return who may pay a meeting that nobody is in: the pool, its owner, and who paid until everybody had left."""
    found = {SHARED}
    if meeting.owner.user and meeting.owner.holds_license:
        found.add(meeting.owner.user)
    if standing.transitions and (last := standing.transitions[-1].before):
        found.add(_payer(last))
    return found


def _personal(meeting: Possible) -> Band:
    if meeting.payers == {SHARED}:
        return NOTHING
    return Band(0, meeting.conferences) if SHARED in meeting.payers else meeting.whole


def _sum(bands: Iterable[Band]) -> Band:
    total = NOTHING
    for band in bands:
        total += band
    return total
