"""Reads a page of a list that may be spread over several deployments and several listings."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from cdr_service.domain.pages import Cursor, Listing, Page, Place
from cdr_service.errors import BadRequest

T = TypeVar("T")

EXAMINED_MAX: Final = 5000
"""Entries looked at for one page. A page of a selective query may be short, or empty, and still have a next one."""

CHUNK: Final = 250
"""Entries looked at together once it shows that few of them are selected."""


def cursor_of(
    text: str | None, listings: Collection[Listing], deployments: Collection[str] | None = None
) -> Cursor | None:
    """Return the cursor that a reader gave back. Raises BadRequest for one of another listing or deployment."""
    if text is None:
        return None
    try:
        cursor = Cursor.decode(text)
    except ValueError:
        cursor = None
    known = cursor is not None and (deployments is None or cursor.deployment in deployments)
    if cursor is None or not known or cursor.listing not in listings:
        raise BadRequest("cursor", "The cursor is not one that this list gave; leave it out to begin at the start.")
    return cursor


class Entry(NamedTuple):
    """An entry of a listing of one deployment."""

    place: Place
    deployment: str


def part(
    entries: Iterable[Entry], deployments: Sequence[str], listing: Listing, limit: int | None, cursor: str | None
) -> tuple[list[Entry], str | None]:
    """Return a page of a short list that is there as a whole, by deployment and id, and the cursor of what follows.

    Without a limit the page goes to the end. Raises BadRequest.
    """
    ranks = {deployment: rank for rank, deployment in enumerate(deployments)}

    def order(deployment: str, place: Place) -> tuple[int, str]:
        return ranks[deployment], place.id

    left = sorted(entries, key=lambda entry: order(entry.deployment, entry.place))
    position = cursor_of(cursor, [listing], deployments)
    if position is not None:
        given = order(position.deployment, position.place)
        left = [entry for entry in left if order(entry.deployment, entry.place) > given]
    shown = left[:limit]
    following = Cursor(listing, *shown[-1]).encode() if len(left) > len(shown) else None
    return shown, following


Places = Callable[[str, Listing, Place | None, int], Awaitable[list[Place]]]
"""Gives up to so many places of a deployment's listing, newest first, from a place on (itself included)."""

Examine = Callable[[Listing, list[Entry]], Awaitable[list[list[T]]]]
"""Gives for each entry the items that are to be shown for it, in order; often one or none."""


class Walk(Generic[T]):
    """A walk through one or more listings, each merged over the deployments. One per page.

    Entries that are added or removed while somebody reads page after page neither hide others nor show them twice.
    """

    def __init__(
        self, deployments: Sequence[str], listings: Sequence[Listing], places: Places, examine: Examine[T]
    ) -> None:
        self._ranks = {deployment: rank for rank, deployment in enumerate(deployments)}
        self._listings = list(listings)
        self._places = places
        self._examine = examine
        self._found: list[tuple[T, Cursor]] = []
        self._examined = 0

    async def page(self, limit: int, cursor: Cursor | None) -> Page[T]:
        """Return up to `limit` items after the cursor."""
        position = cursor
        first = self._listings.index(cursor.listing) if cursor else 0
        for listing in self._listings[first:]:
            more = True
            while more and len(self._found) <= limit and self._examined < EXAMINED_MAX:
                # One beyond the page tells whether there is a next one; those at the cursor itself come again.
                wanted = limit + 1 - len(self._found) + len(self._ranks)
                entries, more = await self._entries(listing, position, max(wanted, min(self._examined, CHUNK)))
                position = await self._take(listing, entries, position)
            if len(self._found) > limit:
                return Page([item for item, _ in self._found[:limit]], self._found[limit - 1][1].encode())
            stopped = self._examined >= EXAMINED_MAX and (more or listing is not self._listings[-1])
            if stopped and position is not None:
                return Page([item for item, _ in self._found], position.encode())
            position = None
        return Page([item for item, _ in self._found])

    async def _entries(self, listing: Listing, position: Cursor | None, count: int) -> tuple[list[Entry], bool]:
        """Return the next entries over all deployments, and whether there are more."""
        start = position.place if position else None
        merged: list[Entry] = []
        more = False
        for deployment in self._ranks:
            places = await self._places(deployment, listing, start, count)
            merged += [Entry(place, deployment) for place in places]
            more = more or len(places) == count
        more = more or len(merged) > count
        merged = sorted(merged, key=self._order, reverse=True)[:count]
        if position is not None:
            reached = self._order(Entry(position.place, position.deployment))
            merged = [entry for entry in merged if self._order(entry) <= reached]
        return merged, more

    def _order(self, entry: Entry) -> tuple[Place, int]:
        """Return what sorts an entry; the larger comes first. A cursor may name a deployment that is not asked for."""
        return entry.place, -self._ranks.get(entry.deployment, len(self._ranks))

    async def _take(self, listing: Listing, entries: list[Entry], position: Cursor | None) -> Cursor | None:
        """Take in what is selected of the entries; return how far this came."""
        for entry, items in zip(entries, await self._examine(listing, entries), strict=True):
            again = position is not None and (position.place, position.deployment) == entry
            given = position.given if position and again else 0
            for number, item in enumerate(items[given:], given + 1):
                self._found.append((item, Cursor(listing, entry.place, entry.deployment, number)))
            position = Cursor(listing, entry.place, entry.deployment, max(given, len(items)))
        self._examined += len(entries)
        return position
