"""A twin of service and store for tests of the pure core: things in a dictionary, and batches as the service does."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, NamedTuple

from cdr_service.domain.bookkeeping import Bookkeeper, Source
from cdr_service.domain.calls import Call, Meeting
from cdr_service.domain.directory import Directory
from cdr_service.domain.documents import parse
from cdr_service.domain.events import Event
from cdr_service.domain.legs import Leg
from cdr_service.domain.options import Options
from cdr_service.domain.reception import Received, Reception
from cdr_service.domain.records import OrderKey, Record, RejectedRecord
from cdr_service.domain.sessions import Bridge, Session
from cdr_service.domain.slots import Ledger
from cdr_service.domain.usage import contribution
from cdr_service.domain.workspace import LEGS_OF, OPEN_IN, Key, NeedsLoad, Workspace

_INDEXES = (LEGS_OF, OPEN_IN)


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
        self.received: list[Received] = []
        """What became of each document."""
        self.loads = 0
        """How many things were loaded, ever."""
        self.now = 0
        """Our clock, milliseconds; the test sets it."""
        self._ids = map(str, count(1))

    def post(self, *bodies: bytes | str, bridge: str = "", again: bool = False) -> list[Event]:
        """Take in documents as one batch; return what happened."""
        batches = [parse(body.encode() if isinstance(body, str) else body) for body in bodies]
        return self.take(
            *(
                Parcel(Source(batch.session, batch.call_bridge, bridge), batch.records, batch.rejected)
                for batch in batches
            ),
            again=again,
        )

    def take(self, *parcels: Parcel, again: bool = False) -> list[Event]:
        """Take in documents as one batch; return what happened."""

        def receive(keeper: Bookkeeper, workspace: Workspace) -> list[Received]:
            reception = Reception(workspace, keeper, self._ids, self.now)
            received = [reception.receive(*parcel, again=again) for parcel in parcels]
            reception.finish()
            return received

        return self._perform(receive)

    def change_directory(self, directory: Directory, at: OrderKey) -> list[Event]:
        """Go by another directory from now on, and look up again who is in live calls; return what happened."""
        self.directory = directory

        def look_up(keeper: Bookkeeper, _workspace: Workspace) -> list[Received]:
            for call in self.calls:
                keeper.look_up_again(call, at)
            return []

        return self._perform(look_up)

    def _perform(self, work: Callable[[Bookkeeper, Workspace], list[Received]]) -> list[Event]:
        """Do something to the books, loading what is needed as the service does; return what happened."""
        loaded: dict[Key, Any] = {}
        while True:
            workspace = Workspace(loaded)
            keeper = Bookkeeper(workspace, self.directory, self.options, self._ids)
            try:
                received = work(keeper, workspace)
                keeper.settle()
            except NeedsLoad as need:
                self.loads += len(need.keys)
                loaded |= {key: self._stored(key) for key in need.keys}
                continue
            break
        self._write(workspace)
        self.received += received
        self.events += keeper.events
        return keeper.events

    def _stored(self, key: Key) -> Any:
        return self.things.get(key, frozenset() if key[0] in _INDEXES else None)

    def _write(self, workspace: Workspace) -> None:
        for key, thing in workspace.changed.items():
            if isinstance(thing, Call):
                index = (OPEN_IN, thing.session)
                self.things[index] = self._stored(index) - {thing.id} | ({thing.id} if thing.ended is None else set())
            if thing is None:
                self.things.pop(key, None)
            else:
                self.things[key] = thing
        for call, legs in workspace.legs_added.items():
            self.things[LEGS_OF, call] = self._stored((LEGS_OF, call)) | legs

    def of(self, kind: type) -> dict[str, Any]:
        """Return all things of a kind by id."""
        return {key[-1]: thing for key, thing in self.things.items() if isinstance(thing, kind)}

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
    def sessions(self) -> dict[str, Session]:
        """All sessions."""
        return self.of(Session)

    @property
    def bridges(self) -> dict[str, Bridge]:
        """All Call Bridges."""
        return self.of(Bridge)

    @property
    def ledgers(self) -> dict[Key, Ledger]:
        """All ledgers by policy and holder."""
        return {key[1:]: thing for key, thing in self.things.items() if isinstance(thing, Ledger)}

    @property
    def usage(self) -> Counter[str]:
        """What is in use now; nothing is named that is not."""
        total: Counter[str] = Counter()
        for thing in self.things.values():
            total += contribution(thing)
        return total
