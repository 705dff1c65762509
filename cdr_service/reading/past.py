"""The use case: what the Meeting Server itself says was in use, beside our own history."""

from collections.abc import Callable
from typing import Protocol

from cdr_service.domain.filters import PastUseFilters
from cdr_service.domain.pages import Cursor, Listing, Page, Place
from cdr_service.domain.past import KEPT, PastUse, PastUseView, past_use_view
from cdr_service.reading.history import History
from cdr_service.reading.paging import cursor_of


class KeptUse(Protocol):
    """What is needed of the store. May raise StoreUnavailable."""

    async def past_use(self, deployment: str) -> list[PastUse]:
        """Return what the Meeting Server told, newest first; nothing where it is not asked."""
        ...


class Past:
    """Answers from what was told before: nobody is asked."""

    def __init__(self, history: History, kept: KeptUse, clock: Callable[[], int]) -> None:
        """`clock` returns milliseconds since 1970 UTC."""
        self._history = history
        self._kept = kept
        self._clock = clock

    async def uses(self, filters: PastUseFilters, limit: int, cursor: str | None = None) -> Page[PastUseView]:
        """Return past use, newest first. Raises BadRequest."""
        names = self._history.asked(filters.deployment)
        position = cursor_of(cursor, [Listing.PAST], names)
        since, until = max(filters.since or 0, self._clock() - KEPT), filters.until
        found = [
            (-use.at, rank, use)
            for rank, name in enumerate(names)
            for use in await self._kept.past_use(name)
            if use.at >= since and (until is None or use.at < until)
        ]
        found.sort(key=lambda one: one[:2])
        if position is not None:
            given = -position.place.time, names.index(position.deployment)
            found = [one for one in found if one[:2] > given]
        shown = found[:limit]
        views = []
        for rank, name in enumerate(names):
            own = [use for _, place, use in shown if place == rank]
            ours = await self._history.ours(name, [use.at for use in own])
            views += [(-use.at, rank, past_use_view(name, use, ours.get(use.at))) for use in own]
        views.sort(key=lambda one: one[:2])
        more = Cursor(Listing.PAST, Place(-shown[-1][0], ""), names[shown[-1][1]]) if len(found) > len(shown) else None
        return Page([view for *_, view in views], more.encode() if more else None)
