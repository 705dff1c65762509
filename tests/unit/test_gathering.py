"""What is read in several steps stays consistent while the store changes in between."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cdr_service.domain.directory import Directory
from cdr_service.domain.filters import CallFilters, CallMatch
from cdr_service.domain.pages import Listing, Place
from cdr_service.domain.showing import Scope
from cdr_service.domain.workspace import Key
from cdr_service.reading.gathering import Gathering
from tests.feed import Feed, call_end, call_start, join
from tests.unit.books import Books

SCOPE = Scope("default", "join", ("join", "owner"))


class Shelf:
    """A twin of the store's reads over books in memory; something happens after the first read."""

    def __init__(self, books: Books, then: Callable[[], object] | None = None) -> None:
        self._books = books
        self._then = then

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
        """Return no places: nothing here asks for them."""
        raise NotImplementedError

    async def things(self, deployment: str, keys: Sequence[Key]) -> list[Any]:
        """Return things as they are before what happens."""
        assert deployment == SCOPE.deployment
        found = [self._books.things.get(key) for key in keys]
        if self._then is not None:
            self._then()
            self._then = None
        return found

    async def leg_counts(self, deployment: str, calls: Sequence[str]) -> list[int]:
        """Count legs."""
        return [len(ids) for ids in await self.leg_ids(deployment, calls)]

    async def leg_ids(self, deployment: str, calls: Sequence[str]) -> list[list[str]]:
        """Return the ids of legs."""
        assert deployment == SCOPE.deployment
        return [sorted(self._books.things.get(("legs", call), ())) for call in calls]

    def switch(self, place: Place) -> tuple[str, str, int]:
        """Return nothing: nothing here asks for it."""
        raise NotImplementedError

    async def directory(self, deployment: str) -> Directory:
        """Return nobody: who is who does not matter here."""
        assert deployment == SCOPE.deployment
        return Directory([])

    async def usage(self, deployment: str) -> Mapping[str, int]:
        """Return nothing: nothing here asks for it."""
        raise NotImplementedError

    async def unsafe(self) -> list[str]:
        """Return nothing: nothing here asks for it."""
        raise NotImplementedError


async def test_a_call_whose_meeting_is_merged_meanwhile_is_read_again() -> None:
    """Its own meeting is gone by then, so it is shown with the one that it was merged into."""
    books, feed = Books(), Feed()
    start = feed.document(call_start("c", "08:59:59", meeting="correlator"))
    books.post(feed.document(join("alice", "c", "09:00:00")))
    gathering = Gathering(Shelf(books, lambda: books.post(start)), lambda: 0)
    (loaded,) = await gathering.loaded(SCOPE, ["c"])
    assert (loaded.call.meeting, loaded.meeting.id) == ("correlator", "correlator")
    (known,) = gathering.known([loaded])
    assert (known.legs, known.complete) == (1, True)


async def test_a_call_that_is_removed_meanwhile_is_left_out() -> None:
    """Retention may remove a call and its meeting between two reads."""
    books = Books()
    books.post(Feed().document(call_start("c")))
    gathering = Gathering(Shelf(books, books.things.clear), lambda: 0)
    assert await gathering.loaded(SCOPE, ["c"]) == []


async def test_a_call_that_ended_after_the_list_was_read_is_no_live_call() -> None:
    """It stands among the ended ones by then."""
    books = Books()
    books.post(Feed().document(call_start("c"), call_end("c")))
    gathering, match = Gathering(Shelf(books), lambda: 0), CallMatch(CallFilters())
    assert await gathering.matching(SCOPE, ["c"], match, live=True) == []
    assert [known.call.id for known in await gathering.matching(SCOPE, ["c"], match, live=False)] == ["c"]
