"""Books in memory: everything that was taken in, worked on as the service works on what a store keeps.

They answer what-if questions (`explain`) by the very code that decides real meetings, and the tests of the pure core
use them too.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple, TypeVar

from cdr_service.domain.bookkeeping import Bookkeeper, Source
from cdr_service.domain.calls import Meeting
from cdr_service.domain.directory import Directory
from cdr_service.domain.events import Event
from cdr_service.domain.options import Options
from cdr_service.domain.reception import CALLS_AT_ONCE, Received, Reception
from cdr_service.domain.records import Record, RejectedRecord
from cdr_service.domain.steps import Steps, changes
from cdr_service.domain.workspace import LEGS_OF, OPEN_IN, Key, NeedsLoad, Workspace

_INDEXES = (LEGS_OF, OPEN_IN)

T = TypeVar("T")


class Parcel(NamedTuple):
    """The records of one document, and where they came from."""

    source: Source
    records: Sequence[Record]
    rejected: Sequence[RejectedRecord] = ()

    def __repr__(self) -> str:
        """Name the records, so that a failure can be read."""
        return f"{self.source.session}{[record.order('').number for record in self.records]}"


class Books:
    """Everything that was taken in, in memory."""

    def __init__(self, directory: Directory | None = None, options: Options | None = None) -> None:
        self.directory = directory or Directory([])
        self.options = options or Options()
        self.things: dict[Key, Any] = {}
        self.events: list[Event] = []
        self.history: Steps = Counter()
        """The use over time, as the sum of what each batch changed."""
        self.loads = 0
        """How many things were loaded, ever."""
        self.now = 0
        """Our clock, in milliseconds since 1970 UTC; the caller sets it. 0 where what is played has no present."""
        self.calls_at_once = CALLS_AT_ONCE
        """Calls of a replaced session that one batch ends."""
        self._ids: Iterator[str] = map(str, count(1))

    def receive(self, *parcels: Parcel, again: bool = False) -> list[Received]:
        """Take in documents as one batch; return what became of each."""

        def received(keeper: Bookkeeper, workspace: Workspace) -> list[Received]:
            reception = Reception(workspace, keeper, self._ids, self.now, self.calls_at_once)
            found = [reception.receive(*parcel, again=again) for parcel in parcels]
            reception.finish()
            return found

        return self.perform(received)

    def perform(self, work: Callable[[Bookkeeper, Workspace], T]) -> T:
        """Do something to the books, loading what is needed as the service does; return what the work returned."""
        loaded: dict[Key, Any] = {}
        while True:
            workspace = Workspace(loaded, self.now or None)
            keeper = Bookkeeper(workspace, self.directory, self.options, self._ids)
            try:
                outcome = work(keeper, workspace)
                keeper.settle()
                history = changes(workspace)
            except NeedsLoad as need:
                self.loads += len(need.keys)
                loaded |= {key: self._stored(key) for key in need.keys}
                continue
            break
        self._write(workspace)
        self.history.update(history)
        self.events += keeper.events
        return outcome

    def of(self, kind: type[T]) -> dict[str, T]:
        """Return all things of a kind by id."""
        return {key[-1]: thing for key, thing in self.things.items() if isinstance(thing, kind)}

    @property
    def meetings(self) -> dict[str, Meeting]:
        """All meetings."""
        return self.of(Meeting)

    def _stored(self, key: Key) -> Any:
        return self.things.get(key, frozenset() if key[0] in _INDEXES else None)

    def _write(self, workspace: Workspace) -> None:
        for key, thing in workspace.changed.items():
            if key[0] == "call":
                self._write_indexes(key[1], self.things.get(key), thing)
            if thing is None:
                self.things.pop(key, None)
            else:
                self.things[key] = thing
        for call, legs in workspace.legs_added.items():
            self.things[LEGS_OF, call] = self._stored((LEGS_OF, call)) | legs

    def _write_indexes(self, id_: str, before: Any, after: Any) -> None:
        """Keep the indexes of a call: is it open, and which legs were on it."""
        if before is not None:
            self.things[OPEN_IN, before.session] = self._stored((OPEN_IN, before.session)) - {id_}
        if after is None:
            self.things.pop((LEGS_OF, id_), None)
        elif after.ended is None:
            self.things[OPEN_IN, after.session] = self._stored((OPEN_IN, after.session)) | {id_}
