"""The use cases: take in a document, and keep the promise of the 200.

A Call Bridge forgets a record when it gets our 200. So a document is parsed, applied, decided and committed in one
atomic step, and only then answered. Documents that wait at the same moment share one commit, which also makes a store
that syncs every write affordable. A commit that meets a change of another process is worked out anew on what that
process stored. Nothing here knows HTTP or Redis.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, Protocol

from msgspec import Struct

from cdr_service.domain.bookkeeping import Bookkeeper
from cdr_service.domain.commit import Commit, Document, Snapshot, dead_letter
from cdr_service.domain.options import Options
from cdr_service.domain.recent import RECENT
from cdr_service.domain.reception import Received, bring_in_line, is_new
from cdr_service.domain.sessions import Session
from cdr_service.domain.workspace import Workspace
from cdr_service.errors import Draining, StoreConflict, StoreUnavailable
from cdr_service.parting import RECORDS_PER_COMMIT, Task, Waiting, begun_by, parted
from cdr_service.working_out import Loads, WorkingOut, rejected

WAITING_BYTES_MAX: Final = 64 * 1024 * 1024
"""Documents that wait for the store may take so much memory, or be a single larger one; beyond it the sender is asked
to come again."""
CONFLICTS_MAX: Final = 50
"""A commit is worked out anew so often before the sender is asked to come again."""
CONFLICTS_TOGETHER: Final = 10
"""What shares a commit is taken one by one after so many conflicts: alone each rests on less, and is done sooner."""


class Store(Loads, Protocol):
    """What the use case needs of the store."""

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


class Deployment(Struct, frozen=True, kw_only=True):
    """What a deployment is set to, as the intake needs it."""

    name: str
    options: Options = Options()


class Intake:
    """Takes in the documents of one deployment. Use as an async context manager: leaving it waits for what is due."""

    def __init__(self, deployment: Deployment, store: Store, observer: Observer, clock: Callable[[], int]) -> None:
        """`clock` returns milliseconds since 1970 UTC."""
        self.deployment = deployment
        self._store = store
        self._observer = observer
        self._clock = clock
        self._working_out = WorkingOut(deployment.name, deployment.options, store, clock)
        self._queue: asyncio.Queue[Waiting] = asyncio.Queue()
        self._waiting_bytes = 0
        self._draining = False
        self._ending: dict[str, asyncio.Task[None]] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Intake"]:
        """Work while the context lasts; at its end finish what is waiting and refuse what is new."""
        worker = asyncio.create_task(self._work(), name=f"intake of {self.deployment.name}")
        try:
            yield self
        finally:
            await self.drain()
            await asyncio.gather(*self._ending.values())
            worker.cancel()
            with suppress(asyncio.CancelledError):
                await worker

    async def drain(self) -> None:
        """Refuse new documents from now on, and wait until those that came before are answered."""
        self._draining = True
        await self._queue.join()

    async def receive(self, document: Document, *, again: bool = False) -> None:
        """Take in a document; when this returns, it is committed.

        With `again`, records that were seen before are taken once more (dead letters after a fix). Raises
        StoreUnavailable where it may not be committed, and Draining when the service is about to stop: sending it
        again is safe in either case.
        """
        size = len(document.body)
        if self._waiting_bytes and self._waiting_bytes + size > WAITING_BYTES_MAX:
            raise StoreUnavailable("too many documents wait for the store")
        self._waiting_bytes += size
        try:
            done = asyncio.get_running_loop().create_future()
            await self._wait(Waiting(document=document, again=again, done=done))
        finally:
            self._waiting_bytes -= size

    async def perform(self, task: Task) -> None:
        """Change the books as a document would, in turn with the documents; errors as for `receive`.

        A task may be called several times; each time it finds the books as they are then.
        """
        await self._wait(Waiting(task=task, done=asyncio.get_running_loop().create_future()))

    async def end_some_calls(self, session: str) -> bool:
        """End some of the calls that a replaced session left open, or go on with them; return whether there are more.

        Errors as for `receive`.
        """
        more = False

        def some(keeper: Bookkeeper, workspace: Workspace, _now: int) -> None:
            nonlocal more
            more = bring_in_line(keeper, workspace, session)

        await self.perform(some)
        return more

    def is_ending_calls(self, session: str) -> bool:
        """Are the calls of a replaced session being ended, or gone on with, by this process?"""
        return session in self._ending

    def _go_on(self, commit: Commit) -> None:
        """Have the calls ended that a commit left to be ended, in turn with the documents.

        Where that is cut short, what is left is noted in the store, and is done under the lease (`upkeep`).
        """
        for thing in commit.workspace.changed.values():
            if isinstance(thing, Session) and thing.ending is not None and thing.id not in self._ending:
                self._ending[thing.id] = asyncio.create_task(self._end_calls(thing.id))

    async def _end_calls(self, session: str) -> None:
        try:
            while await self.end_some_calls(session):
                pass
        except Exception:  # noqa: BLE001, S110 - the upkeep goes on with it, and says what is wrong
            pass
        finally:
            del self._ending[session]

    async def _wait(self, waiting: Waiting) -> None:
        if self._draining:
            raise Draining("the service is about to stop")
        self._queue.put_nowait(waiting)
        await waiting.done  # nobody else waits for it, so who gives up waiting keeps nothing from being done

    async def _work(self) -> None:
        while True:
            group = [await self._queue.get()]
            records = group[0].records
            while not self._queue.empty() and records < RECORDS_PER_COMMIT:
                group.append(self._queue.get_nowait())
                records += group[-1].records
            try:
                await self._take(group)
            except StoreUnavailable as problem:
                # Those behind would wait in vain as well, one time-out after the other.
                while not self._queue.empty():
                    group.append(self._queue.get_nowait())
                self._refuse(group, problem)
            except Exception as problem:  # noqa: BLE001 - the intake must outlive whatever is wrong with one document
                self._refuse(group, StoreUnavailable(f"the intake failed ({type(problem).__name__})"))
            for _ in group:
                self._queue.task_done()

    async def _take(self, group: list[Waiting]) -> None:
        """Commit a group of documents and tell those who wait; what breaks or holds up the group is taken alone.

        Raises StoreUnavailable; who was told nothing by then is to come again.
        """
        try:
            await self._commit(group)
        except StoreUnavailable:
            raise
        except Exception as problem:  # noqa: BLE001 - whatever is wrong with us, a bridge must not be blocked by it
            if len(group) == 1:
                await self._keep_failed(group[0], problem)
                return
            for waiting in [one for one in group if not one.done.done()]:
                await self._take([waiting])

    def _refuse(self, group: list[Waiting], problem: StoreUnavailable) -> None:
        self._observer.unavailable(self.deployment.name, problem)
        for waiting in group:
            waiting.refuse(problem)

    async def _keep_failed(self, waiting: Waiting, problem: Exception) -> None:
        """Keep a document that we cannot take in, so that it can be tried again after a fix."""
        document, now = waiting.document, self._clock()
        if document is None:
            waiting.refuse(problem)
            return
        self._observer.failed(self.deployment.name, document, problem)
        letter = dead_letter(document, "failed", f"the service failed on this document ({type(problem).__name__})")
        snapshot = Snapshot()
        commit = Commit(snapshot=snapshot, workspace=Workspace(snapshot.things), received=now)
        try:
            await self._store.load(self.deployment.name, snapshot, [RECENT])
            if waiting.again or is_new(commit.workspace, letter.kind, document.bridge.encode(), document.body):
                commit.events.append(rejected(letter, now, f"{secrets.token_hex(8)}-0"))
                commit.dead_letters.append(letter)
                commit.documents.append(document)
            await self._store.commit(self.deployment.name, commit)
        except StoreUnavailable:
            raise
        except Exception as worse:  # noqa: BLE001 - nothing was kept, so nothing may be acknowledged
            self._refuse([waiting], StoreUnavailable(f"the store refused a dead letter ({type(worse).__name__})"))
        else:
            self._observer.committed(self.deployment.name, commit, [])
            waiting.accept()

    async def _commit(self, group: list[Waiting]) -> None:
        """Commit a group; a document of very many records takes several commits, in order."""
        for pieces in parted(group):
            for attempt in range(CONFLICTS_MAX):
                # What begins with a record is new, but for rare cases that the commit finds out.
                worked = await self._working_out(pieces, begun_by(pieces) if attempt == 0 else ())
                # Where nothing is written it is committed too: it checks that the store still has what we remember. The
                # marks of what was seen before may have gone in a failover, and what a task found nothing to do for
                # may have been changed by another process.
                try:
                    await self._store.commit(self.deployment.name, worked.commit)
                except StoreConflict:
                    if attempt + 1 >= CONFLICTS_TOGETHER and len(group) > 1:
                        raise
                    continue
                self._observer.committed(self.deployment.name, worked.commit, worked.received)
                self._go_on(worked.commit)
                for piece in pieces:
                    piece.waiting.new |= piece.new
                break
            else:
                raise StoreUnavailable("other processes kept changing the same calls")
            for piece in pieces:
                if piece.last:
                    piece.waiting.accept()
