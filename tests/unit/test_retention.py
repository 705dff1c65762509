"""Retention: what goes together, and what waits for something that goes on."""

from msgspec.structs import replace

from cdr_service.domain.records import CallEnd, CallLegStart, CallLegUpdate, CallStart
from cdr_service.domain.upkeep import forget_call
from tests.unit.books import Books, Parcel
from tests.unit.nasty import DIRECTORIES, DIRECTORY, Writer, person


def books_of(writer: Writer) -> Books:
    """Return books that have taken in what was written."""
    books = Books(DIRECTORY)
    for one in writer.sent:
        books.take(Parcel(one.source, [one.record]))
    return books


def forget(books: Books, call: str) -> None:
    """Remove a call, as retention does."""
    books.perform(lambda _, workspace: forget_call(workspace, call))


def test_a_call_stays_while_another_of_its_meeting_goes_on() -> None:
    """The meeting's license may still be decided anew, and that rests on everybody who was ever in."""
    writer = Writer("s", "bridge")
    for call in ("over", "going-on"):
        writer.write(CallStart, 0, call=call, call_correlator="m")
        alice = person("alice@example.com")
        writer.write(CallLegStart, 1, leg=f"l-{call}", call=call, direction="incoming", **alice)
    writer.write(CallEnd, 2, call="over")
    books = books_of(writer)
    forget(books, "over")
    assert {*books.calls} == {"over", "going-on"}
    end = writer.write(CallEnd, 9, call="going-on")
    books.take(Parcel(end.source, [end.record]))
    for call in ("over", "going-on"):
        forget(books, call)
    assert not {key: thing for key, thing in books.things.items() if thing and key[0] not in ("session", "bridge")}


def test_a_call_stays_while_a_leg_that_it_had_goes_on_elsewhere() -> None:
    """Whatever comes of the leg, or of who it belongs to, concerns both calls."""
    writer = Writer("s", "bridge")
    writer.write(CallStart, 0, call="first", call_correlator="m")
    writer.write(CallLegStart, 1, leg="l", call="first", direction="incoming", **person("bob@example.com"))
    writer.write(CallStart, 2, call="second", call_correlator="n")
    writer.write(CallLegUpdate, 3, leg="l", call="second", state="connected")
    writer.write(CallEnd, 4, call="first")
    books = books_of(writer)
    forget(books, "first")
    assert {*books.calls} == {"first", "second"}
    update = writer.write(CallLegUpdate, 5, leg="l", call="second", state="connected")
    books.take(Parcel(update.source, [update.record]))
    assert books.calls["first"].end is not None
    books.change_directory(DIRECTORIES[1], replace(update.order, time=update.order.time + 1))
    assert books.usage["join:holder:bob@example.com"] == 1
