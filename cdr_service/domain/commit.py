"""What a document becomes on its way into the store: the values that pass between the service and its store."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from msgspec import Struct

from cdr_service.domain.announcements import announcement
from cdr_service.domain.bookkeeping import Source
from cdr_service.domain.documents import NotACdrDocument, parse
from cdr_service.domain.events import Event
from cdr_service.domain.records import Batch, RejectedRecord
from cdr_service.domain.steps import Step
from cdr_service.domain.workspace import Key, Workspace


class Snapshot:
    """Stored things as they were when they were loaded, with the versions that a commit checks."""

    def __init__(self) -> None:
        self.things: dict[Key, Any] = {}
        self.versions: dict[Key, bytes] = {}


class DeadLetter(Struct, frozen=True, kw_only=True):
    """A document, or one record of it, that could not be taken in; kept to be looked at and tried again."""

    reason: str
    kind: str
    """not_cdr (the whole document), record (one record of a good one), or failed (our own fault)."""
    content: bytes
    """The document's body, or the record as JSON."""
    session: str | None = None
    bridge: str = ""
    body: bytes = b""
    """The whole document that the record came in, so that it can be tried again; only in the first letter of it."""
    document: str = ""
    """What the letters of one document have in common: a digest of its body."""


class Document(Struct, frozen=True, kw_only=True):
    """One POST body, parsed."""

    body: bytes
    bridge: str
    """The `bridge` parameter of the receiver URL; empty where there is none."""
    batch: Batch | None
    problem: str = ""
    """Why it is no CDR document, where `batch` is None."""

    @property
    def source(self) -> Source:
        """Where its records came from."""
        if self.batch is None:
            raise ValueError("a document that was not understood has no source")
        return Source(self.batch.session, self.batch.call_bridge, self.bridge)


class Commit(Struct, kw_only=True):
    """Everything that changes together or not at all."""

    snapshot: Snapshot
    workspace: Workspace
    received: int
    """When, in milliseconds of our clock."""
    history: Mapping[Step, int] = {}
    """By how much the use over time changes, and where."""
    events: list[Event] = []
    dead_letters: list[DeadLetter] = []
    documents: list[Document] = []
    upkeep: bool = False
    """Does it bring no document? What looks after the books goes on while the store is full."""
    printed: bool = False
    """Are its events, and all before them, on the log?"""
    told: list[dict[str, Any]] = []
    """What `announcements` returned."""

    def announcements(self, deployment: str) -> list[dict[str, Any]]:
        """Return the objects that tell of its events, once they are all there: for the event stream and the log."""
        if len(self.told) < len(self.events):
            self.told = [announcement(event, deployment, self.received) for event in self.events]
        return self.told


def read(body: bytes, bridge: str = "") -> Document:
    """Return the document in a POST body; one that is no CDR document says why."""
    try:
        return Document(body=body, bridge=bridge, batch=parse(body))
    except NotACdrDocument as problem:
        return Document(body=body, bridge=bridge, batch=None, problem=str(problem))


def dead_letter(document: Document, kind: str, reason: str) -> DeadLetter:
    """Return the letter that sets a whole document aside."""
    return DeadLetter(
        reason=reason,
        kind=kind,
        content=document.body,
        session=document.batch.session if document.batch else None,
        bridge=document.bridge,
        body=document.body,
    )


def record_letters(document: Document, rejected: Sequence[RejectedRecord], *, first: bool) -> list[DeadLetter]:
    """Return the letters that set records of a document aside; the `first` letter of it has its body."""
    digest = blake2b(document.body, digest_size=16).hexdigest() if rejected else ""
    return [
        DeadLetter(
            reason=reject.reason,
            kind="record",
            content=reject.content.encode(),
            session=document.batch.session if document.batch else None,
            bridge=document.bridge,
            body=document.body if first and number == 0 else b"",
            document=digest,
        )
        for number, reject in enumerate(rejected)
    ]
