"""How many meetings one holder's PMP+ pays at the same time, and which meeting waits.

A PMP+ tolerates a few meetings at once (two, so that one can start while another ends; `docs/licensing.md`). A
meeting that wants a holder's license puts in a claim. Claims are served in the order in which they were wanted, and
none is taken away by a later one, so what a claim gets depends only on claims that were wanted before it. That makes
the outcome the same in whatever order records arrive.
"""

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from cdr_service.domain.records import OrderKey

_BEFORE_ALL: Final = OrderKey(0, "", 0)

KEPT_MILLISECONDS: Final = 26 * 3600 * 1000
"""Ended claims are kept so long after the newest one, for records that come late; longer than any stale call lives."""


class Claim(Struct, frozen=True, array_like=True):
    """A meeting wants (and perhaps has) one holder's license for a time."""

    holder: str
    wanted: OrderKey
    granted: OrderKey | None = None
    """From when on the license pays; None while the meeting waits for a slot."""
    ended: OrderKey | None = None


class Ledger(Struct, frozen=True, array_like=True):
    """All claims on one holder's license under one policy, by meeting."""

    claims: dict[str, tuple[Claim, ...]] = {}

    @property
    def paid(self) -> list[str]:
        """The meetings that the license pays now."""
        return [meeting for meeting, claims in self.claims.items() if any(c.granted and not c.ended for c in claims)]


class _Pays:
    """The places that one license has: from when on each is free again, or None where it is taken for good."""

    def __init__(self, limit: int, *, waits: bool) -> None:
        self._waits = waits
        self._free_from: list[OrderKey | None] = [_BEFORE_ALL] * limit

    def serve(self, claim: Claim) -> OrderKey | None:
        """Return from when on the claim is served, and take the place until the claim ends."""
        free = [at for at in self._free_from if at is not None]
        if not free:
            return None
        soonest = min(free)
        at = max(claim.wanted, soonest)
        if (claim.ended is not None and at >= claim.ended) or (at > claim.wanted and not self._waits):
            return None
        self._free_from[self._free_from.index(soonest)] = claim.ended
        return at


def grant(ledger: Ledger, meeting: str, wanted: OrderKey, limit: int, *, waits: bool = True) -> OrderKey | None:
    """Return from when on a claim of `meeting` is served, or None while it has to wait.

    `limit` is how many meetings one license pays at once; with `waits` false a claim is served at once or never.
    """
    pays = _Pays(limit, waits=waits)
    for other, claim in _in_order(ledger):
        if other != meeting and (claim.wanted, other) < (wanted, meeting):
            pays.serve(claim)
    return pays.serve(Claim("", wanted))


def misjudged(ledger: Ledger, limit: int, *, waits: bool = True) -> Iterator[tuple[str, Claim, OrderKey | None]]:
    """Yield the claims whose grant is not what the other claims now allow: meeting, claim, and the right grant."""
    pays = _Pays(limit, waits=waits)
    for meeting, claim in _in_order(ledger):
        right = pays.serve(claim)
        if right != claim.granted:
            yield meeting, claim, right


def _in_order(ledger: Ledger) -> list[tuple[str, Claim]]:
    pairs = [(meeting, claim) for meeting, claims in ledger.claims.items() for claim in claims]
    return sorted(pairs, key=lambda pair: (pair[1].wanted, pair[0]))


def with_claims(ledger: Ledger, meeting: str, claims: tuple[Claim, ...]) -> Ledger:
    """Return the ledger with all claims of one meeting replaced, and those forgotten that ended long ago."""
    entries = {other: kept for other, kept in ledger.claims.items() if other != meeting}
    if claims:
        entries[meeting] = claims
    newest = max((c.wanted.time for kept in entries.values() for c in kept), default=0)
    return Ledger(
        {
            other: kept
            for other, kept in entries.items()
            if any(c.ended is None or c.ended.time > newest - KEPT_MILLISECONDS for c in kept)
        }
    )
