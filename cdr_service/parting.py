"""What waits for the intake, and how it is parted into commits.

A commit takes as many waiting documents as fit, and no more records than the store works on in one go without keeping
others waiting; a document of more records takes several, in order.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from msgspec import Struct

from cdr_service.domain.bookkeeping import Bookkeeper
from cdr_service.domain.commit import Document
from cdr_service.domain.prefetch import begun, folded_whole, named
from cdr_service.domain.records import Batch, Record, RejectedRecord
from cdr_service.domain.workspace import DIRECTORY, SERVER, Key, Workspace

RECORDS_PER_COMMIT: Final = 500
"""So that one commit never keeps the store from others for long."""

TASK_RECORDS: Final = 50
"""A task may change as much as so many records do."""

Task = Callable[[Bookkeeper, Workspace, int], None]
"""A change of the books that no document brings: given the keeper, the workspace and our clock in milliseconds."""


class Waiting(Struct, kw_only=True):
    """A document or a task, and who waits for it."""

    document: Document | None = None
    task: Task | None = None
    again: bool = False
    new: bool = False
    """Was something of it committed that was not seen before?"""
    done: asyncio.Future[None]

    @property
    def batch(self) -> Batch | None:
        """What the document holds; None for a task, and for what is no CDR document."""
        return self.document.batch if self.document else None

    @property
    def records(self) -> int:
        """How many records a commit has of it, those that were rejected among them, or as how many it counts."""
        if self.batch is None:
            return TASK_RECORDS if self.task is not None else 1
        return len(self.batch.records) + len(self.batch.rejected)

    def accept(self) -> None:
        """Tell who waits that it is committed."""
        if not self.done.done():
            self.done.set_result(None)

    def refuse(self, problem: Exception) -> None:
        """Tell who waits that it is not committed."""
        if not self.done.done():
            self.done.set_exception(problem)


class Piece(Struct, kw_only=True):
    """A document, or so much of a long one as goes into one commit."""

    waiting: Waiting
    records: Sequence[Record] = ()
    rejected: Sequence[RejectedRecord] = ()
    first: bool = True
    last: bool = True
    new: bool = False
    """Is something in it that was not seen before? So it was when it was last worked out."""


def parted(group: Iterable[Waiting]) -> Iterator[list[Piece]]:
    """Yield what goes into each commit: as many documents as fit, and a long document in several pieces."""
    pieces: list[Piece] = []
    records = 0
    for piece in (piece for waiting in group for piece in _cut(waiting)):
        size = len(piece.records) + len(piece.rejected) or piece.waiting.records
        if pieces and records + size > RECORDS_PER_COMMIT:
            yield pieces
            pieces, records = [], 0
        pieces.append(piece)
        records += size
    if pieces:
        yield pieces


def _cut(waiting: Waiting) -> Iterator[Piece]:
    """Yield a document as a whole, or a long one so much at a time as fits into a commit."""
    batch = waiting.batch
    if batch is None or waiting.records <= RECORDS_PER_COMMIT:
        records, rejected = (batch.records, batch.rejected) if batch else ((), ())
        yield Piece(waiting=waiting, records=records, rejected=rejected)
        return
    count = max(len(batch.records), len(batch.rejected))
    for start in range(0, count, RECORDS_PER_COMMIT // 2):
        end = start + RECORDS_PER_COMMIT // 2
        yield Piece(
            waiting=waiting,
            records=batch.records[start:end],
            rejected=batch.rejected[start:end],
            first=start == 0,
            last=end >= count,
        )


def named_by(pieces: Iterable[Piece]) -> set[Key]:
    """Return the keys of everything that the records name."""
    keys: set[Key] = {DIRECTORY, SERVER}
    for piece in pieces:
        document = piece.waiting.document
        if document is not None and document.batch is not None:
            source = document.source
            keys |= {("session", source.session), ("bridge", source.bridge)}
        keys |= folded_whole(piece.records, {})
        for record in piece.records:
            keys |= named(record)
    return keys


def begun_by(pieces: Iterable[Piece]) -> set[Key]:
    """Return the keys of everything that begins with the records."""
    return {key for piece in pieces for record in piece.records for key in begun(record)}
