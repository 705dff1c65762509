"""The use cases: take in a document, and keep the promise of the 200.

A Call Bridge forgets a record when it gets our 200. So a document is parsed, applied, decided and committed in one
atomic step, and only then answered. Documents that wait at the same moment share one commit, which also makes a store
that syncs every write affordable. A commit that meets a change of another process is worked out anew on what that
process stored. Nothing here knows HTTP or Redis.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Final, Protocol

from msgspec import Struct

from cdr_service.domain.bookkeeping import Bookkeeper
from cdr_service.domain.commit import Commit, DeadLetter, Document, Snapshot
from cdr_service.domain.events import Event
from cdr_service.domain.identity import Directory
from cdr_service.domain.reception import Received, Reception
from cdr_service.domain.records import (
    CallEnd,
    CallLegEnd,
    CallLegStart,
    CallLegUpdate,
    CallStart,
    Record,
    RecordingEnd,
    RecordingStart,
    RejectedRecord,
    StreamingEnd,
    StreamingStart,
)
from cdr_service.domain.settling import Options
from cdr_service.domain.workspace import Key, NeedsLoad, Workspace
from cdr_service.errors import Draining, StoreConflict, StoreUnavailable

RECORDS_PER_COMMIT: Final = 500
WAITING_BYTES_MAX: Final = 64 * 1024 * 1024
"""Documents that wait for the store may take so much memory; beyond it the sender is asked to come again."""
CONFLICTS_MAX: Final = 50
"""A commit is worked out anew so often before the sender is asked to come again."""


class Store(Protocol):
    """What the use case needs of the store."""

    async def load(self, deployment: str, snapshot: Snapshot, keys: Iterable[Key]) -> None:
        """Add things to the snapshot; raise StoreUnavailable."""
        ...

    async def commit(self, deployment: str, commit: Commit) -> None:
        """Change everything or nothing; raise StoreConflict where something changed meanwhile, or StoreUnavailable."""
        ...


class Observer(Protocol):
    """Who is told what happened, to log and count it."""

    def committed(self, deployment: str, commit: Commit, received: Sequence[Received]) -> None:
        """Hear of a commit that is in the store."""
        ...

    def unavailable(self, deployment: str, problem: StoreUnavailable) -> None:
        """Hear that the store could not commit, and that the sender was asked to come again."""
        ...

    def failed(self, deployment: str, document: Document, problem: Exception) -> None:
        """Hear of a document that a fault of ours kept from being taken in; it becomes a dead letter."""
        ...


class Deployment(Struct, kw_only=True):
    """What a deployment is set to, as the intake needs it."""

    name: str
    options: Options
    directory: Directory


class _Waiting(Struct, kw_only=True):
    document: Document
    again: bool
    done: asyncio.Future[None]


class Intake:
    """Takes in the documents of one deployment. Use as an async context manager: leaving it waits for what is due."""

    def __init__(self, deployment: Deployment, store: Store, observer: Observer, clock: Callable[[], int]) -> None:
        """`clock` returns milliseconds since 1970 UTC."""
        self.deployment = deployment
        self._store = store
        self._observer = observer
        self._clock = clock
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._waiting_bytes = 0
        self._draining = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Intake"]:
        """Work while the context lasts; at its end finish what is waiting and refuse what is new."""
        worker = asyncio.create_task(self._work(), name=f"intake of {self.deployment.name}")
        try:
            yield self
        finally:
            self.drain()
            await self._queue.join()
            worker.cancel()
            with suppress(asyncio.CancelledError):
                await worker

    def drain(self) -> None:
        """Refuse new documents from now on."""
        self._draining = True

    async def receive(self, document: Document, *, again: bool = False) -> None:
        """Take in a document; when this returns, it is committed.

        With `again`, records that were seen before are taken once more (dead letters after a fix). Raises
        StoreUnavailable where it may not be committed, and Draining when the service is about to stop: sending it
        again is safe in either case.
        """
        if self._draining:
            raise Draining("the service is about to stop")
        size = len(document.body)
        if self._waiting_bytes + size > WAITING_BYTES_MAX:
            raise StoreUnavailable("too many documents wait for the store")
        self._waiting_bytes += size
        waiting = _Waiting(document=document, again=again, done=asyncio.get_running_loop().create_future())
        try:
            self._queue.put_nowait(waiting)
            await asyncio.shield(waiting.done)
        finally:
            self._waiting_bytes -= size

    async def _work(self) -> None:
        while True:
            group = [await self._queue.get()]
            records = _records(group[0])
            while not self._queue.empty() and records < RECORDS_PER_COMMIT:
                group.append(self._queue.get_nowait())
                records += _records(group[-1])
            await self._take(group)
            for _ in group:
                self._queue.task_done()

    async def _take(self, group: list[_Waiting]) -> None:
        """Commit a group of documents and tell those who wait; one that breaks the group is taken alone."""
        try:
            await self._commit(group)
        except StoreUnavailable as problem:
            self._refuse(group, problem)
        except Exception as problem:  # noqa: BLE001 - whatever is wrong with us, a bridge must not be blocked by it
            if len(group) == 1:
                await self._keep_failed(group[0], problem)
                return
            for waiting in group:
                await self._take([waiting])
        else:
            _accept(group)

    def _refuse(self, group: list[_Waiting], problem: StoreUnavailable) -> None:
        self._observer.unavailable(self.deployment.name, problem)
        for waiting in group:
            if not waiting.done.done():
                waiting.done.set_exception(problem)

    async def _keep_failed(self, waiting: _Waiting, problem: Exception) -> None:
        """Keep a document that we cannot take in, so that it can be tried again after a fix."""
        document, now = waiting.document, self._clock()
        self._observer.failed(self.deployment.name, document, problem)
        letter = DeadLetter(
            reason=f"the service failed on this document ({type(problem).__name__})",
            kind="failed",
            content=document.body,
            session=document.batch.session if document.batch else None,
            bridge=document.bridge,
            body=document.body,
        )
        snapshot = Snapshot()
        commit = Commit(
            snapshot=snapshot,
            workspace=Workspace(snapshot.things),
            events=[_rejected(letter, now, f"{secrets.token_hex(8)}-0")],
            dead_letters=[letter],
            documents=[document],
            received=now,
        )
        try:
            await self._store.commit(self.deployment.name, commit)
        except StoreUnavailable as unavailable:
            self._refuse([waiting], unavailable)
        except Exception as worse:  # noqa: BLE001 - nothing was kept, so nothing may be acknowledged
            self._refuse([waiting], StoreUnavailable(f"the store refused a dead letter ({type(worse).__name__})"))
        else:
            self._observer.committed(self.deployment.name, commit, [])
            _accept([waiting])

    async def _commit(self, group: list[_Waiting]) -> None:
        """Commit a group; a document of very many records takes several commits, in order."""
        for part in _parts(group):
            for _ in range(CONFLICTS_MAX):
                commit, received = await self._work_out(part)
                try:
                    await self._store.commit(self.deployment.name, commit)
                except StoreConflict:
                    continue
                self._observer.committed(self.deployment.name, commit, received)
                break
            else:
                raise StoreUnavailable("other processes kept changing the same calls")

    async def _work_out(self, part: "list[_Part]") -> tuple[Commit, list[Received]]:
        """Work out what the documents change, loading what that needs."""
        snapshot, now = Snapshot(), self._clock()
        await self._store.load(self.deployment.name, snapshot, _named(part))
        token = secrets.token_hex(8)
        while True:
            ids = (f"{token}-{number}" for number in count())
            workspace = Workspace(snapshot.things)
            try:
                events, received, letters = self._apply(workspace, part, ids, now)
            except NeedsLoad as need:
                await self._store.load(self.deployment.name, snapshot, need.keys)
                continue
            documents = [p.waiting.document for p in part if p.last]
            commit = Commit(
                snapshot=snapshot,
                workspace=workspace,
                events=events,
                dead_letters=letters,
                documents=documents,
                received=now,
            )
            return commit, received

    def _apply(
        self, workspace: Workspace, part: "list[_Part]", ids: Iterator[str], now: int
    ) -> tuple[list[Event], list[Received], list[DeadLetter]]:
        """Apply the records to the workspace."""
        keeper = Bookkeeper(workspace, self.deployment.directory, self.deployment.options, ids)
        reception = Reception(workspace, keeper, ids, now)
        received: list[Received] = []
        letters: list[DeadLetter] = []
        for piece in part:
            document = piece.waiting.document
            if document.batch is None:
                letter = DeadLetter(
                    reason=document.problem, kind="not_cdr", content=document.body, bridge=document.bridge
                )
                letters.append(letter)
                keeper.events.append(_rejected(letter, now, next(ids)))
                continue
            outcome = reception.receive(document.source, piece.records, piece.rejected, again=piece.waiting.again)
            received.append(outcome)
            for reject in outcome.rejected:
                letter = DeadLetter(
                    reason=reject.reason,
                    kind="record",
                    content=reject.content.encode(),
                    session=document.batch.session,
                    bridge=document.bridge,
                    body=document.body,
                )
                letters.append(letter)
                keeper.events.append(_rejected(letter, now, next(ids)))
        reception.finish()
        keeper.settle()
        return keeper.events, received, letters


class _Part(Struct, kw_only=True):
    """A document, or so much of a long one as goes into one commit."""

    waiting: _Waiting
    records: Sequence[Record] = ()
    rejected: Sequence[RejectedRecord] = ()
    last: bool = True


def _records(waiting: _Waiting) -> int:
    return len(waiting.document.batch.records) if waiting.document.batch else 1


def _parts(group: list[_Waiting]) -> Iterator[list[_Part]]:
    """Yield what goes into each commit: the group as a whole, or a long document in several pieces."""
    if sum(map(_records, group)) <= RECORDS_PER_COMMIT:
        yield [_whole(waiting) for waiting in group]
        return
    for waiting in group:
        batch = waiting.document.batch
        if batch is None or len(batch.records) <= RECORDS_PER_COMMIT:
            yield [_whole(waiting)]
            continue
        starts = range(0, len(batch.records), RECORDS_PER_COMMIT)
        for start in starts:
            last = start == starts[-1]
            records = batch.records[start : start + RECORDS_PER_COMMIT]
            yield [_Part(waiting=waiting, records=records, rejected=batch.rejected if last else (), last=last)]


def _whole(waiting: _Waiting) -> _Part:
    batch = waiting.document.batch
    if batch is None:
        return _Part(waiting=waiting)
    return _Part(waiting=waiting, records=batch.records, rejected=batch.rejected)


def _named(parts: Iterable[_Part]) -> set[Key]:
    """Return the keys of everything that the records name."""
    keys: set[Key] = set()
    for part in parts:
        if part.waiting.document.batch is not None:
            keys.add(("session", part.waiting.document.batch.session))
        for record in part.records:
            match record:
                case CallStart(call=call) | CallEnd(call=call):
                    keys.add(("call", call))
                case CallLegStart(leg=leg, call=named) | CallLegUpdate(leg=leg, call=named):
                    keys.add(("leg", leg))
                    if named:
                        keys.add(("call", named))
                case CallLegEnd(leg=leg):
                    keys.add(("leg", leg))
                case RecordingStart(recording=id_) | RecordingEnd(recording=id_):
                    keys.add(("recording", id_))
                case StreamingStart(streaming=id_) | StreamingEnd(streaming=id_):
                    keys.add(("recording", id_))
                case _:
                    pass
    return keys


def _rejected(letter: DeadLetter, now: int, event_id: str) -> Event:
    event = "record.rejected" if letter.kind == "record" else "document.rejected"
    return Event(
        event=event,
        event_id=event_id,
        record_time=now,
        session=letter.session,
        details={"reason": letter.reason, "kind": letter.kind, "bytes": len(letter.content)},
    )


def _accept(group: Iterable[_Waiting]) -> None:
    for waiting in group:
        if not waiting.done.done():
            waiting.done.set_result(None)
