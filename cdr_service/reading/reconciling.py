"""The use cases: does the Meeting Server count what we count, and which rules does it follow?"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from cdr_service.domain.counting import COUNTS
from cdr_service.domain.fitting import Fit
from cdr_service.domain.pages import Listing, Page, Place
from cdr_service.domain.reconciling import Reconciliation
from cdr_service.domain.reconciling_views import FitView, ReconciliationView, fit_view, reconciliation_view
from cdr_service.reading.paging import Entry, part
from cdr_service.reading.queries import Queried


class Kept(Protocol):
    """What is needed of the store. Every method may raise StoreUnavailable."""

    async def reconciliation(self, deployment: str) -> Reconciliation | None:
        """Return where the comparison stands."""
        ...

    async def fit(self, deployment: str) -> Fit | None:
        """Return how well the policies fit."""
        ...


class Reconciling:
    """Answers queries about the comparison, of the deployments whose API is set."""

    def __init__(self, deployments: Iterable[Queried], kept: Kept, clock: Callable[[], int]) -> None:
        """`clock` returns milliseconds since 1970 UTC."""
        self._deployments = {deployment.name: deployment for deployment in deployments}
        self._kept = kept
        self._clock = clock

    async def reconciliations(self, limit: int, cursor: str | None = None) -> Page[ReconciliationView]:
        """Return where the comparisons stand. Raises BadRequest."""
        names, following = self._part(limit, cursor)
        now = self._clock()
        views = [reconciliation_view(name, await self._kept.reconciliation(name), now) for name in names]
        return Page(views, following)

    async def fits(self, limit: int, cursor: str | None = None) -> Page[FitView]:
        """Return which rules the servers follow. Raises BadRequest."""
        names, following = self._part(limit, cursor)
        views = [fit_view(name, await self._kept.fit(name), self._deployments[name].options) for name in names]
        return Page(views, following)

    async def drifts(self) -> dict[tuple[str, str], float]:
        """Return by how much each count of each deployment drifts, where it was compared lately."""
        found: dict[tuple[str, str], float] = {}
        for name in self._deployments:
            known = await self._kept.reconciliation(name)
            if known is not None and known.is_fresh(self._clock()):
                found |= {(name, count): float(known.drift(count)) for count in COUNTS}
        return found

    def _part(self, limit: int, cursor: str | None) -> tuple[Sequence[str], str | None]:
        names = list(self._deployments)
        shown, following = part([Entry(Place(0, ""), name) for name in names], names, Listing.USAGE, limit, cursor)
        return [entry.deployment for entry in shown], following
