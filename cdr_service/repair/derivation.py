"""Takes the kept documents in again, in the order in which they were received, on a store in memory."""

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, NamedTuple, Protocol

from cdr_service.domain.calls import Meeting
from cdr_service.domain.commit import Commit, Document, Snapshot, read
from cdr_service.domain.directory import Directory
from cdr_service.domain.options import Options
from cdr_service.domain.records import OrderKey
from cdr_service.domain.sessions import Session
from cdr_service.domain.workspace import DIRECTORY, LEGS_OF, OPEN_IN, Key
from cdr_service.repair.watching import Watch
from cdr_service.service import Deployment, Intake, Store

COMMITS_AT_ONCE: Final = 50


class KeptDocument(NamedTuple):
    """A document as it was received."""

    id: str
    """Of its commit; those of one commit have the same."""
    body: bytes
    bridge: str
    received: int
    """When, in milliseconds of our clock."""


class Documents(Protocol):
    """The kept documents. May raise StoreUnavailable."""

    async def documents(self, deployment: str, after: str | None, count: int) -> list[KeptDocument]:
        """Return the documents of up to `count` commits that were received after that entry, oldest first."""
        ...


class MemoryStore:
    """A store in memory: one of its own, or a copy that lies over another, which stays as it is."""

    def __init__(self, beneath: Store | None = None) -> None:
        self._beneath = beneath
        self.things: dict[Key, Any] = {}
        """What was committed here, and the index of the legs of each call."""
        self.heard: dict[str, int] = {}
        """When a record of each call was last received."""

    async def load(self, deployment: str, snapshot: Snapshot, keys: Iterable[Key], new: Collection[Key] = ()) -> None:
        """Add things to the snapshot; raise StoreUnavailable where the store beneath does."""
        missing = []
        for key in keys:
            if key in self.things:
                snapshot.things[key] = self.things[key]
            elif self._beneath is None:
                snapshot.things[key] = frozenset() if key[0] in (LEGS_OF, OPEN_IN) else None
            else:
                missing.append(key)
        if missing and self._beneath is not None:
            await self._beneath.load(deployment, snapshot, missing, new)

    async def commit(self, deployment: str, commit: Commit) -> None:  # noqa: ARG002 - there is one
        """Remember the changed things. Which calls are open is not: what ends without a record is not derived here."""
        self.things |= commit.workspace.changed
        for call, legs in commit.workspace.legs_added.items():
            known = commit.snapshot.things.get((LEGS_OF, call)) or self.things.get((LEGS_OF, call), frozenset())
            self.things[LEGS_OF, call] = known | legs
        self.heard |= dict.fromkeys(commit.workspace.heard, commit.received)


class Derivation:
    """The facts that the kept documents tell, which go on with those that come meanwhile."""

    def __init__(self, documents: Documents, deployment: str, directory: Directory) -> None:
        self.store = MemoryStore()
        self.store.things[DIRECTORY] = directory
        self.documents = 0
        """How many were taken in."""
        self.first: int | None = None
        """When the oldest was received, in milliseconds of our clock."""
        self.time = 0
        """When the newest was."""
        self._documents = documents
        self._last: str | None = None
        self._watch = Watch()
        # No policy: licenses are decided in the real books.
        alone = Deployment(name=deployment, options=Options(policies={}))
        self.intake = Intake(alone, self.store, self._watch, lambda: self.time)

    @property
    def failed(self) -> int:
        """How many documents could not be taken in through a fault of ours."""
        return len(self._watch.problems)

    async def go_on(self, progress: Callable[[int], None] = lambda _: None) -> bool:
        """Take in what was received since; return whether there was anything."""
        before = self._last
        while found := await self._documents.documents(self.intake.deployment.name, self._last, COMMITS_AT_ONCE):
            for kept in found:
                document = self._read(kept)
                self._last, self.time = kept.id, kept.received
                self.first = kept.received if self.first is None else self.first
                if document is not None:
                    await self.intake.receive(document)
            self.documents += len(found)
            progress(self.documents)
        return before != self._last

    def _read(self, kept: KeptDocument) -> Document | None:
        try:
            document = read(kept.body, kept.bridge)
        except Exception as problem:  # noqa: BLE001 - as at the intake: it is our fault, and must not stop the others
            self._watch.problems.append(problem)
            return None
        return document if document.batch is not None else None

    def seen(self, at: OrderKey) -> bool:
        """Return whether a record was among the documents."""
        session = self.store.things.get(("session", at.session))
        return isinstance(session, Session) and any(session.has(feed, at.number) for feed in session.seen)

    def meetings(self) -> list[tuple[str, ...]]:
        """Return the calls of each meeting, the earliest meeting first."""
        things = self.store.things
        found = [
            (min(things["call", call].first_seen for call in thing.calls), thing.calls)
            for thing in things.values()
            if isinstance(thing, Meeting)
        ]
        return [calls for _, calls in sorted(found)]
