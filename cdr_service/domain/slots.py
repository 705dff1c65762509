"""How many meetings one holder's PMP+ pays at the same time, and which meeting waits.

A PMP+ tolerates a few meetings at once (two, so that one can start while another ends; `docs/licensing.md`). A
meeting that wants a holder's license puts in a claim. Claims are served in the order in which they were wanted, and
none is taken away by a later one, so what a claim gets depends only on claims that were wanted before it. That makes
the outcome the same in whatever order records arrive.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from cdr_service.domain.records import OrderKey

BEFORE_ALL: Final = OrderKey(0, "", 0)

KEPT_MILLISECONDS: Final = 26 * 3600 * 1000
"""A claim that ended so long before the newest is settled: it stays as it was served, whatever comes late. It is kept
while it overlaps one that is not settled, because that one may have waited for it. A claim that is dated later than our
own clock counts as one of now: a Call Bridge whose clock runs ahead settles nothing of others."""


class Claim(Struct, frozen=True, array_like=True, gc=False):
    """A meeting wants (and perhaps has) one holder's license for a time."""

    holder: str
    wanted: OrderKey
    granted: OrderKey | None = None
    """From when on the license pays; None while the meeting waits for a slot."""
    ended: OrderKey | None = None


class Ledger(Struct, frozen=True, array_like=True, gc=False):
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
        self._free_from: list[OrderKey | None] = [BEFORE_ALL] * limit

    def serve(self, claim: Claim) -> OrderKey | None:
        """Return from when on the claim is served, and take the place until the claim ends."""
        free = [at for at in self._free_from if at is not None]
        if not free:
            return None
        at = max(claim.wanted, min(free))
        too_late = not self._waits or (claim.ended is not None and at >= claim.ended)
        if at > claim.wanted and too_late:
            return None
        self.take(claim)
        return at

    def take(self, claim: Claim) -> None:
        """Take the place that is free soonest until the claim ends."""
        free = [at for at in self._free_from if at is not None]
        if free:
            self._free_from[self._free_from.index(min(free))] = claim.ended


def grant(
    ledger: Ledger,
    meeting: str,
    claim: Claim,
    before: tuple[Claim, ...],
    limit: int,
    *,
    waits: bool = True,
    now: int | None = None,
) -> OrderKey | None:
    """Return from when on a claim of `meeting` is served, or None while it has to wait.

    `before` are the earlier claims of the same meeting, as it sees them now. `limit` is how many meetings one license
    pays at once; with `waits` false a claim is served at once or never. `now` is our clock, in milliseconds, if any.
    """
    known = Ledger({**ledger.claims, meeting: (*before, claim)})
    since = min(claim.wanted, first_change(ledger.claims.get(meeting, ()), before) or claim.wanted)
    return next(right for _, served, right in _served(known, since, limit, waits=waits, now=now) if served is claim)


def first_change(was: Iterable[Claim], now: Iterable[Claim]) -> OrderKey | None:
    """Return when the first claim was wanted that only one of the two has; None where both have the same."""
    return min((claim.wanted for claim in {*was} ^ {*now}), default=None)


def misjudged(
    ledger: Ledger, limit: int, since: OrderKey = BEFORE_ALL, *, waits: bool = True, now: int | None = None
) -> Iterator[tuple[str, Claim, OrderKey | None]]:
    """Yield the claims whose grant is not what the other claims now allow: meeting, claim, and the right grant.

    `since` is when the first claim was wanted that changed; those before it are as they were.
    """
    return (found for found in _served(ledger, since, limit, waits=waits, now=now) if found[1].granted != found[2])


def _served(
    ledger: Ledger, since: OrderKey, limit: int, *, waits: bool, now: int | None
) -> Iterator[tuple[str, Claim, OrderKey | None]]:
    """Yield the claims wanted since then, in order: meeting, claim, and from when on it is served.

    Of those wanted before, only the ones matter that have not ended by then: whatever they waited for is free again. So
    a license that many meetings want is no dearer for those that are over.
    """
    pairs = [
        (claim.wanted, meeting, claim)
        for meeting, claims in ledger.claims.items()
        for claim in claims
        if claim.ended is None or claim.ended > since or claim.wanted >= since
    ]
    pays, settled = _Pays(limit, waits=waits), _settled_before((claim for _, _, claim in pairs), now)
    for wanted, meeting, claim in sorted(pairs, key=lambda pair: pair[:2]):
        right = claim.granted
        # Without waiting, who was not served at once never is, and for whom that was is not looked at any more.
        if not _is_settled(claim, settled) and (waits or wanted >= since):
            right = pays.serve(claim)
        elif right is not None:
            pays.take(claim)
        if wanted >= since:
            yield meeting, claim, right


def _settled_before(claims: Iterable[Claim], now: int | None) -> int:
    newest = max((claim.wanted.time for claim in claims), default=0)
    return (newest if now is None else min(newest, now)) - KEPT_MILLISECONDS


def _is_settled(claim: Claim, before: int) -> bool:
    return claim.ended is not None and claim.ended.time <= before


def with_claims(ledger: Ledger, meeting: str, claims: tuple[Claim, ...], now: int | None = None) -> Ledger:
    """Return the ledger with all claims of one meeting replaced, and those forgotten that decide nothing any more.

    That is looked for where the claims that were touched least lately are settled by what is put in.
    """
    entries = dict(ledger.claims)
    entries.pop(meeting, None)
    oldest = next(iter(entries.values()), ())
    if claims:
        entries[meeting] = claims
    if not all(_is_settled(claim, _settled_before(claims, now)) for claim in oldest):
        return Ledger(entries)
    settled = _settled_before((claim for kept in entries.values() for claim in kept), now)
    unsettled = [c.wanted.time for kept in entries.values() for c in kept if not _is_settled(c, settled)]
    forgotten = min([settled, *unsettled])
    return Ledger(
        {other: kept for other, kept in entries.items() if not all(_is_settled(claim, forgotten) for claim in kept)}
    )
