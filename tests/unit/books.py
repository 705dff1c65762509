"""A twin of the store for tests of the pure core: things in a dictionary, batches applied as the service does."""

from collections.abc import Iterable
from itertools import count
from typing import Any

from cdr_service.domain.bookkeeping import Bookkeeper, Source
from cdr_service.domain.calls import Call, Meeting
from cdr_service.domain.documents import parse
from cdr_service.domain.events import Event
from cdr_service.domain.identity import Directory
from cdr_service.domain.legs import Leg
from cdr_service.domain.records import Record
from cdr_service.domain.settling import Options
from cdr_service.domain.slots import Ledger
from cdr_service.domain.workspace import LEGS_OF, Key, NeedsLoad, Workspace


class Books:
    """Everything that was taken in, in memory."""

    def __init__(self, directory: Directory | None = None, options: Options | None = None) -> None:
        self.directory = directory or Directory([])
        self.options = options or Options()
        self.things: dict[Key, Any] = {}
        self.events: list[Event] = []
        self.loads = 0
        self._ids = map(str, count(1))

    def post(self, body: bytes | str) -> list[Event]:
        """Take in a document."""
        batch = parse(body.encode() if isinstance(body, str) else body)
        source = Source(batch.session, batch.call_bridge)
        return self.take((source, record) for record in batch.records)

    def take(self, records: Iterable[tuple[Source, Record]]) -> list[Event]:
        """Take in records as one batch, loading what is needed as the service does; return what happened."""
        records = list(records)
        loaded: dict[Key, Any] = {}
        while True:
            workspace = Workspace(loaded)
            keeper = Bookkeeper(workspace, self.directory, self.options, self._ids)
            try:
                for source, record in records:
                    keeper.take(source, record)
                keeper.settle()
            except NeedsLoad as need:
                self.loads += len(need.keys)
                empty = frozenset[str]()
                loaded |= {key: self.things.get(key, empty if key[0] == LEGS_OF else None) for key in need.keys}
                continue
            break
        for key, thing in workspace.changed.items():
            self.things[key] = thing
            if thing is None:
                del self.things[key]
        for call, legs in workspace.legs_added.items():
            self.things[LEGS_OF, call] = self.things.get((LEGS_OF, call), frozenset()) | legs
        self.events += keeper.events
        return keeper.events

    def of(self, kind: type, *, only: str | None = None) -> dict[str, Any]:
        """Return all things of a kind by id."""
        found = {key[-1]: thing for key, thing in self.things.items() if isinstance(thing, kind)}
        return {only: found[only]} if only else found

    @property
    def calls(self) -> dict[str, Call]:
        """All calls."""
        return self.of(Call)

    @property
    def legs(self) -> dict[str, Leg]:
        """All legs."""
        return self.of(Leg)

    @property
    def meetings(self) -> dict[str, Meeting]:
        """All meetings."""
        return self.of(Meeting)

    @property
    def ledgers(self) -> dict[Key, Ledger]:
        """All ledgers by policy and holder."""
        return {key[1:]: thing for key, thing in self.things.items() if isinstance(thing, Ledger)}
