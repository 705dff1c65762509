"""Pages of lists that change while they are read."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from cdr_service.domain.pages import Cursor, Listing, Page, Place
from cdr_service.reading.paging import Entry, Walk, part


class Thing(NamedTuple):
    """An entry of the twin below."""

    deployment: str
    listing: Listing
    time: int
    id: str


DEPLOYMENTS = ("east", "west")
SECTIONS = (Listing.LIVE, Listing.ENDED)

ids = st.sampled_from("abcdefgh")
things = st.builds(
    Thing,
    deployment=st.sampled_from(DEPLOYMENTS),
    listing=st.sampled_from(SECTIONS),
    time=st.integers(0, 3),  # few times, so that many entries share one
    id=ids,
)


class Lists:
    """A twin of the store's lists, in memory."""

    def __init__(self, content: Sequence[Thing], items: Mapping[str, int] | None = None) -> None:
        self.content = set(content)
        self._items = items or {}
        """How many items an entry with that id is shown as; by default one."""
        self.asked = 0

    async def places(self, deployment: str, listing: Listing, start: Place | None, count: int) -> list[Place]:
        """Return places as the store does."""
        self.asked += 1
        here = [Place(t.time, t.id) for t in self.content if (t.deployment, t.listing) == (deployment, listing)]
        return sorted((place for place in here if start is None or place <= start), reverse=True)[:count]

    def shown_as(self, thing: Thing) -> list[tuple[Thing, int]]:
        """Return the items of an entry."""
        return [(thing, number) for number in range(self._items.get(thing.id, 1))]

    async def examine(self, listing: Listing, entries: list[Entry]) -> list[list[tuple[Thing, int]]]:
        """Return the items of entries."""
        return [self.shown_as(Thing(deployment, listing, *place)) for place, deployment in entries]

    @property
    def in_order(self) -> list[tuple[Thing, int]]:
        """All items, as they are to be given."""
        ordered = sorted(
            self.content,
            key=lambda t: (-SECTIONS.index(t.listing), Place(t.time, t.id), -DEPLOYMENTS.index(t.deployment)),
            reverse=True,
        )
        return [item for thing in ordered for item in self.shown_as(thing)]

    async def page(self, limit: int, cursor: str | None) -> Page[tuple[Thing, int]]:
        """Return one page."""
        walk = Walk(DEPLOYMENTS, SECTIONS, self.places, self.examine)
        return await walk.page(limit, Cursor.decode(cursor) if cursor else None)


@given(st.lists(things, max_size=40), st.integers(1, 6), st.dictionaries(ids, st.integers(0, 3)))
async def test_pages_together_are_the_list(content: list[Thing], limit: int, items: dict[str, int]) -> None:
    """Every item once and in order, whatever the page size; and every page is full but the last."""
    lists = Lists(content, items)
    found, cursor = [], None
    while True:
        page = await lists.page(limit, cursor)
        found += page.items
        cursor = page.next
        if cursor is None:
            break
        assert len(page.items) == limit
    assert found == lists.in_order
    assert page.items or not found


@given(st.lists(things, max_size=40), st.lists(st.tuples(st.booleans(), things), max_size=30), st.integers(1, 4))
async def test_what_comes_and_goes_hides_and_repeats_nothing(
    content: list[Thing], changes: list[tuple[bool, Thing]], limit: int
) -> None:
    """Between pages entries are added and removed; what is there all the time is given, and nothing twice."""
    lists = Lists(content)
    stayed = set(content) - {thing for _, thing in changes}
    found: list[Thing] = []
    cursor = None
    while True:
        page = await lists.page(limit, cursor)
        found += [thing for thing, _ in page.items]
        cursor = page.next
        if cursor is None:
            break
        for _ in range(3):
            if changes:
                added, thing = changes.pop()
                if added:
                    lists.content.add(thing)
                else:
                    lists.content.discard(thing)
    assert stayed <= set(found)
    assert len(found) == len(set(found))


async def test_a_page_stops_after_so_many_entries_and_goes_on_from_there() -> None:
    """Where hardly anything is selected a page is short and has a next one; together they still are the list."""
    wanted = [Thing("east", Listing.LIVE, 3, "one"), Thing("west", Listing.ENDED, 3, "one")]
    others = [Thing("east", listing, time, "none") for time in range(6000) for listing in SECTIONS]
    lists = Lists([*wanted, *others], {"none": 0})
    found, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        page = await lists.page(10, cursor)
        found += page.items
        cursor, pages = page.next, pages + 1
    assert [thing for thing, _ in found] == wanted
    assert pages == 3


async def test_a_page_that_stops_at_the_end_of_a_listing_goes_on_with_the_next() -> None:
    """Wherever the bound falls, the entries of the listing behind it are not forgotten."""
    for length in range(4950, 5010, 5):
        wanted = Thing("east", Listing.ENDED, 0, "one")
        lists = Lists([wanted, *(Thing("east", Listing.LIVE, time, "none") for time in range(length))], {"none": 0})
        found, cursor, pages = [], None, 0
        while pages == 0 or cursor:
            page = await lists.page(10, cursor)
            found += page.items
            cursor, pages = page.next, pages + 1
        assert found == [(wanted, 0)], length


async def test_few_questions_are_asked_for_a_selective_page() -> None:
    """What is looked at together grows while nothing is selected."""
    lists = Lists([Thing("east", Listing.LIVE, time, "none") for time in range(2000)], {"none": 0})
    assert (await lists.page(1, None)).items == []
    assert lists.asked < 40


async def test_a_cursor_may_name_a_deployment_that_is_not_asked_for() -> None:
    """Its place counts all the same, as when a filter is added between pages."""
    lists = Lists([Thing("west", Listing.LIVE, time, "a") for time in range(4)])
    cursor = Cursor(Listing.LIVE, Place(2, "a"), "gone", 1).encode()
    page = await lists.page(5, cursor)
    assert [thing.time for thing, _ in page.items] == [1, 0]


@given(st.text(max_size=80))
def test_a_text_that_is_no_cursor_is_refused(text: str) -> None:
    """Whatever is sent as a cursor is either one or a ValueError."""
    try:
        cursor = Cursor.decode(text)
    except ValueError:
        return
    assert Cursor.decode(cursor.encode()) == cursor


def test_a_cursor_is_text_for_a_url() -> None:
    """It needs no escaping and gives back what it was made of."""
    cursor = Cursor(Listing.ENDED, Place(1_710_234_000_000, "~/ä?"), "default", 2)
    assert cursor.encode().replace("-", "").replace("_", "").isalnum()
    assert Cursor.decode(cursor.encode()) == cursor


@given(
    st.sets(st.tuples(st.sampled_from(DEPLOYMENTS), ids)),
    st.sets(st.tuples(st.sampled_from(DEPLOYMENTS), ids)),
    st.integers(1, 3),
)
def test_a_short_list_is_given_by_deployment_and_id(
    staying: set[tuple[str, str]], going: set[tuple[str, str]], limit: int
) -> None:
    """Page by page every entry once, whatever else goes meanwhile; without a limit all at once."""
    entries = [Entry(Place(0, id_), deployment) for deployment, id_ in staying | going]
    wanted = sorted((deployment, id_) for deployment, id_ in staying)
    page, cursor = part(entries, DEPLOYMENTS, Listing.BRIDGES, limit, None)
    seen = page
    entries = [Entry(Place(0, id_), deployment) for deployment, id_ in staying]
    while cursor is not None:
        page, cursor = part(entries, DEPLOYMENTS, Listing.BRIDGES, limit, cursor)
        assert len(page) <= limit
        seen += page
    found = [(deployment, place.id) for place, deployment in seen]
    assert found == sorted(set(found))
    assert set(wanted) <= set(found)
    whole, end = part(entries, DEPLOYMENTS, Listing.BRIDGES, None, None)
    assert ([(deployment, place.id) for place, deployment in whole], end) == (wanted, None)
