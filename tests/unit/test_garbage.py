"""What a process remembers of the store by the ten thousands is nothing that the garbage collector goes through."""

import gc
from collections.abc import Iterator
from enum import Enum
from typing import Any

import msgspec

from cdr_service.domain.bookkeeping import Source
from cdr_service.domain.calls import Call, Meeting, Recording
from cdr_service.domain.documents import parse
from cdr_service.domain.legs import Leg
from cdr_service.simulator.scenarios import documents, generate
from tests.unit.books import Books, Parcel
from tests.unit.nasty import DIRECTORY


def parts(thing: Any) -> Iterator[Any]:
    """Yield a stored thing and all that it is made of."""
    yield thing
    if isinstance(thing, msgspec.Struct):
        thing = msgspec.structs.astuple(thing)
    if isinstance(thing, dict):
        thing = tuple(thing.values())
    if isinstance(thing, tuple):
        for part in thing:
            yield from parts(part)


def test_nothing_that_is_remembered_is_tracked() -> None:
    """Else a look for garbage takes the longer the more is remembered, and records pay for it.

    A structure that is stored is `gc=False`, and no tuple type of its own; what a record made is tracked no more after
    the first look.
    """
    books = Books(DIRECTORY)
    for document in documents(generate(1, meetings=30, bridges=2)):
        batch = parse(document.body)
        books.receive(Parcel(Source(batch.session), batch.records))
    gc.collect()
    things = [thing for kind in (Call, Leg, Meeting, Recording) for thing in books.of(kind).values()]
    assert len(things) > 100
    tracked = {type(part) for thing in things for part in parts(thing) if gc.is_tracked(part)}
    assert [kind for kind in tracked if not issubclass(kind, Enum)] == []
