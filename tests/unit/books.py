"""The books in memory with what tests want beside: documents as bytes, what became of them, and all things by kind."""

from collections import Counter
from collections.abc import Callable

from cdr_service.domain import books
from cdr_service.domain.bookkeeping import Bookkeeper, Source
from cdr_service.domain.books import Parcel
from cdr_service.domain.calls import Call
from cdr_service.domain.directory import Directory
from cdr_service.domain.documents import parse
from cdr_service.domain.events import Event
from cdr_service.domain.legs import Leg
from cdr_service.domain.options import Options
from cdr_service.domain.reception import Received, bring_in_line
from cdr_service.domain.records import OrderKey
from cdr_service.domain.sessions import Bridge, Session
from cdr_service.domain.slots import Ledger
from cdr_service.domain.usage import contribution, differences
from cdr_service.domain.workspace import Key, Workspace

__all__ = ["Books", "Parcel"]


class Books(books.Books):
    """Everything that a test took in."""

    def __init__(self, directory: Directory | None = None, options: Options | None = None) -> None:
        super().__init__(directory, options)
        self.received: list[Received] = []
        """What became of each document."""
        self.counters: Counter[str] = Counter()
        """What is in use now, as the store counts it: by what each batch changes."""

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
        told = len(self.events)
        self.received += self.receive(*parcels, again=again)
        return self.events[told:]

    def change_directory(self, directory: Directory, at: OrderKey) -> list[Event]:
        """Go by another directory from now on, and look up again who is in live calls; return what happened."""
        self.directory = directory
        return self.learn(lambda keeper: self.look_up_again(keeper, at))

    def look_up_again(self, keeper: Bookkeeper, at: OrderKey) -> None:
        """Look up all calls again."""
        for call in self.calls:
            keeper.look_up_again(call, at)

    def learn(self, what: Callable[[Bookkeeper], None]) -> list[Event]:
        """Take in what no record told; return what happened."""
        return self.happened(lambda keeper, _: what(keeper))

    def bring_in_line(self, session: str) -> list[Event]:
        """End some more of the calls that a replaced session left open; return what happened."""
        return self.happened(lambda keeper, books: bring_in_line(keeper, books, session, self.calls_at_once))

    def happened(self, work: Callable[[Bookkeeper, Workspace], object]) -> list[Event]:
        """Change the books otherwise than by a document; return what happened."""
        told = len(self.events)
        self.perform(work)
        return self.events[told:]

    def _write(self, workspace: Workspace) -> None:
        self.counters.update(differences((self.things.get(key), thing) for key, thing in workspace.changed.items()))
        super()._write(workspace)

    @property
    def ending(self) -> list[str]:
        """The sessions whose calls are not all ended, or gone on with, after they were replaced."""
        return [session.id for session in self.sessions.values() if session.ending is not None]

    @property
    def calls(self) -> dict[str, Call]:
        """All calls."""
        return self.of(Call)

    @property
    def legs(self) -> dict[str, Leg]:
        """All legs."""
        return self.of(Leg)

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
