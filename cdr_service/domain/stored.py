"""What is read of the books that a store keeps, by whoever needs more than one thing of it.

A store fulfils it. Every method may raise StoreUnavailable.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from cdr_service.domain.pages import Listing, Place
from cdr_service.domain.workspace import Key


class ThingReads(Protocol):
    """Reads of things by their keys."""

    async def things(self, deployment: str, keys: Sequence[Key]) -> list[Any]:
        """Return things in the order of their keys; None for one that does not exist."""
        ...

    async def leg_ids(self, deployment: str, calls: Sequence[str]) -> list[list[str]]:
        """Return the ids of the legs that were ever on each of the calls."""
        ...


class ListReads(ThingReads, Protocol):
    """Reads of lists, too."""

    async def places(
        self,
        deployment: str,
        listing: Listing,
        *,
        start: Place | None,
        count: int,
        oldest: int | None = None,
        newest: int | None = None,
    ) -> list[Place]:
        """Return up to `count` entries of a list, newest first, from `start` on, between two times."""
        ...
