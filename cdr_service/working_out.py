"""Works out what documents and tasks change: loads what they need, and applies them to it."""

import secrets
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain, count
from typing import NamedTuple, Protocol

from cdr_service.domain.bookkeeping import Bookkeeper
from cdr_service.domain.commit import Commit, DeadLetter, Snapshot, dead_letter, record_letters
from cdr_service.domain.events import Event
from cdr_service.domain.options import Options
from cdr_service.domain.prefetch import behind, folded_whole
from cdr_service.domain.reception import Received, Reception, is_new
from cdr_service.domain.steps import changes
from cdr_service.domain.workspace import LEGS_OF, Key, NeedsLoad, Workspace
from cdr_service.parting import Piece, named_by


class Loads(Protocol):
    """Where things are loaded from."""

    async def load(self, deployment: str, snapshot: Snapshot, keys: Iterable[Key], new: Collection[Key] = ()) -> None:
        """Add things to the snapshot; raise StoreUnavailable. What is `new` may be taken for absent without asking."""
        ...


class Worked(NamedTuple):
    """What documents and tasks come to, ready to be committed."""

    commit: Commit
    received: list[Received]


class WorkingOut:
    """Works out what documents and tasks of one deployment change. Nothing is kept from one to the next."""

    def __init__(self, deployment: str, options: Options, store: Loads, clock: Callable[[], int]) -> None:
        """`clock` returns milliseconds since 1970 UTC."""
        self._deployment = deployment
        self._options = options
        self._store = store
        self._clock = clock

    async def __call__(self, pieces: list[Piece], new: Collection[Key] = ()) -> Worked:
        """Work out what the documents change, loading what that needs.

        What begins with a record is `new` but for rare cases: it need not be asked for, the commit finds out.
        """
        snapshot, now = Snapshot(), self._clock()
        await self._store.load(self._deployment, snapshot, named_by(pieces), new)
        whole = folded_whole(chain.from_iterable(piece.records for piece in pieces), snapshot.things)
        await self._store.load(self._deployment, snapshot, behind(snapshot.things, "leg") | whole)
        for kind in ("call", "meeting", LEGS_OF):
            await self._store.load(self._deployment, snapshot, behind(snapshot.things, kind), new)
        token = secrets.token_hex(8)
        while True:
            ids = (f"{token}-{number}" for number in count())
            workspace = Workspace(snapshot.things, now)
            try:
                commit, received = self._apply(snapshot, workspace, pieces, ids, now)
            except NeedsLoad as need:
                await self._store.load(self._deployment, snapshot, need.keys)
                continue
            return Worked(commit, received)

    def _apply(
        self, snapshot: Snapshot, workspace: Workspace, pieces: list[Piece], ids: Iterator[str], now: int
    ) -> tuple[Commit, list[Received]]:
        """Apply documents and tasks to the workspace; return what is to be committed."""
        keeper = Bookkeeper(workspace, workspace.directory(), self._options, ids)
        reception = Reception(workspace, keeper, ids, now)
        upkeep = not any(piece.waiting.document for piece in pieces)
        commit = Commit(snapshot=snapshot, workspace=workspace, events=keeper.events, received=now, upkeep=upkeep)
        received: list[Received] = []
        fresh: set[int] = set()
        for piece in pieces:
            document = piece.waiting.document
            if document is None:
                if piece.waiting.task is not None:
                    piece.waiting.task(keeper, workspace, now)
                continue
            if document.batch is None:
                piece.new = is_new(workspace, "not_cdr", document.bridge.encode(), document.body)
                letters = [dead_letter(document, "not_cdr", document.problem)] if piece.new else []
            else:
                outcome = reception.receive(document.source, piece.records, piece.rejected, again=piece.waiting.again)
                received.append(outcome)
                letters = record_letters(document, outcome.rejected, first=piece.first)
                piece.new = bool(outcome.taken or outcome.rejected)
            if piece.new:
                fresh.add(id(piece.waiting))
            if piece.last and (piece.waiting.new or id(piece.waiting) in fresh):
                commit.documents.append(document)
            for letter in letters:
                commit.dead_letters.append(letter)
                keeper.events.append(rejected(letter, now, next(ids)))
        reception.finish()
        keeper.settle()
        commit.history = changes(workspace)
        return commit, received


def rejected(letter: DeadLetter, now: int, event_id: str) -> Event:
    """Return the event that a document, or a record of one, was set aside."""
    event = "record.rejected" if letter.kind == "record" else "document.rejected"
    return Event(
        event=event,
        event_id=event_id,
        record_time=now,
        session=letter.session,
        details={"reason": letter.reason, "kind": letter.kind, "bytes": len(letter.content)},
    )
