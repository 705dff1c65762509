"""How documents that wait are parted into commits."""

import asyncio

from cdr_service.domain.commit import read
from cdr_service.parting import RECORDS_PER_COMMIT, Piece, Waiting, named_by, parted
from tests.feed import Feed, call_start


def waiting(*sizes: int) -> list[Waiting]:
    """Return a waiting document for each size, which is a number of records."""
    feed, loop = Feed("s"), asyncio.new_event_loop()
    bodies = [feed.document(*(call_start(f"c{n}") for n in range(size))) for size in sizes]
    found = [Waiting(document=read(body), done=loop.create_future()) for body in bodies]
    loop.close()
    return found


def sizes(pieces: list[Piece]) -> list[int]:
    """Return how many records each piece has."""
    return [len(piece.records) for piece in pieces]


def test_a_commit_takes_as_many_documents_as_fit() -> None:
    """Documents are never cut to fill a commit, and keep their order."""
    group = waiting(300, 200, 1, RECORDS_PER_COMMIT, 0)
    assert [sizes(pieces) for pieces in parted(group)] == [[300, 200], [1], [RECORDS_PER_COMMIT, 0]]
    assert [piece.waiting for pieces in parted(group) for piece in pieces] == group


def test_a_long_document_takes_several_commits() -> None:
    """Its records come whole and in order; only the last piece lets its sender go."""
    (long,) = group = waiting(1101)
    pieces = [piece for pieces in parted(group) for piece in pieces]
    assert long.batch is not None
    assert [record for piece in pieces for record in piece.records] == list(long.batch.records)
    assert all(sum(sizes(part)) <= RECORDS_PER_COMMIT for part in parted(group))
    assert [piece.first for piece in pieces] == [True, *[False] * (len(pieces) - 1)]
    assert [piece.last for piece in pieces] == [*[False] * (len(pieces) - 1), True]


def test_what_is_no_cdr_document_takes_a_commit_too() -> None:
    """It becomes a dead letter, which is committed like anything else."""
    loop = asyncio.new_event_loop()
    group = [Waiting(document=read(b"<html/>"), done=loop.create_future())]
    loop.close()
    assert [sizes(pieces) for pieces in parted(group)] == [[0]]
    assert group[0].records == 1


def test_a_commit_loads_what_its_records_name() -> None:
    """The session, and what the records of these pieces name, but not what other pieces do."""
    first, *_, last = (pieces for pieces in parted(waiting(1101)))
    assert {("session", "s"), ("call", "c0")} <= named_by(first)
    assert ("call", "c1100") in named_by(last)
    assert ("call", "c1100") not in named_by(first)
