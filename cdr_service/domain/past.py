"""Past use of licenses as the Meeting Server itself tells it, beside ours."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from msgspec import Struct

from cdr_service.domain.history import HOUR, MINUTE
from cdr_service.domain.views import Time, rfc3339
from cdr_service.domain.weights import SIXTHS

EVERY: Final = 5 * MINUTE
"""Servers write an entry every five minutes (published sample); those of several nodes are not at the same second."""
KEPT: Final = 72 * HOUR
"""So long is kept what they tell, in milliseconds."""
NEAR: Final = 0.05
"""Licenses that are no difference: theirs have two decimals."""
TRAILS: Final = 2 * MINUTE
"""What the server tells may have been true so long before."""


class PastUse(Struct, frozen=True, array_like=True):
    """What was in use at a moment, on all nodes."""

    at: int
    """Milliseconds since 1970 UTC; of the last of the nodes' entries."""
    personal: Decimal
    full: Decimal
    audio: Decimal
    point_to_point: Decimal

    @property
    def shared_licenses(self) -> float:
        """SMP+ taken, an audio-only or point-to-point call a sixth each (inference, `docs/licensing.md`)."""
        return float(self.full) + float(self.audio + self.point_to_point) / SIXTHS


class PastUseView(Struct, frozen=True, kw_only=True):
    """What the Meeting Server says was in use at a moment, and what we say."""

    deployment: str
    at: Time
    """When; all its nodes tell of it."""
    personal: float
    """PMP+ in use, as the server counts them."""
    our_personal: int | None
    """Meetings on PMP+ at that moment by our history; null where that is not kept."""
    shared_licenses: float
    """SMP+ in use: `full`, and a sixth of an audio-only or point-to-point call."""
    our_shared_licenses: float | None
    """The same by our history."""
    full: float
    """Calls on SMP+ that are neither of the next two; the server counts one that spans nodes in parts."""
    audio: float
    """Audio-only calls on SMP+."""
    point_to_point: float
    """Point-to-point calls on SMP+ that are not audio-only."""
    differs: bool
    """Is one of the server's figures outside of what ours were in the two minutes until then?"""


class Ours(NamedTuple):
    """What we say was in use from so long before a moment as the server trails, until that moment."""

    personal: Sequence[int]
    """Every number of meetings on PMP+, in order."""
    sixths: Sequence[int]
    """Every number of sixths from the shared pool, in order."""


def merged(known: Iterable[PastUse], told: Iterable[PastUse], now: int) -> list[PastUse]:
    """Return what was known and what is told now, newest first; what is told again stands for what was known."""
    by_slot = {use.at // EVERY: use for use in (*known, *told) if use.at >= now - KEPT}
    return [by_slot[slot] for slot in sorted(by_slot, reverse=True)]


def past_use_view(deployment: str, use: PastUse, ours: Ours | None) -> PastUseView:
    """Return a moment with theirs and ours."""
    licenses = [round(sixths / SIXTHS, 3) for sixths in ours.sixths] if ours else []
    near = ours is None or (_near(float(use.personal), ours.personal) and _near(use.shared_licenses, licenses))
    return PastUseView(
        deployment=deployment,
        at=rfc3339(use.at),
        personal=float(use.personal),
        our_personal=ours.personal[-1] if ours else None,
        shared_licenses=round(use.shared_licenses, 3),
        our_shared_licenses=licenses[-1] if ours else None,
        full=float(use.full),
        audio=float(use.audio),
        point_to_point=float(use.point_to_point),
        differs=not near,
    )


def _near(theirs: float, ours: Sequence[float]) -> bool:
    return min(ours) - NEAR <= theirs <= max(ours) + NEAR
