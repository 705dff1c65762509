"""What a batch of records is worked out on: the stored things that it needs, and the changes to them.

The domain does no I/O. It asks a workspace for what it needs; where that is not loaded yet, `NeedsLoad` names it, and
the caller loads it and starts over. Most batches name all they need in their records, so they start over at most once.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from cdr_service.domain.calls import Call, Meeting, Recording
from cdr_service.domain.directory import Directory
from cdr_service.domain.legs import Leg
from cdr_service.domain.recent import RECENT, Recent
from cdr_service.domain.sessions import Bridge, Session
from cdr_service.domain.slots import Ledger
from cdr_service.domain.spaces import Server

Key = tuple[str, ...]
"""The name of a stored thing: its kind, then its id."""

Thing = Call | Leg | Meeting | Recording | Ledger | Session | Bridge | Recent | Directory | Server

T = TypeVar("T", Call, Leg, Meeting, Recording, Ledger, Session, Bridge, Recent, Directory, Server)

KINDS: Mapping[str, type[Thing]] = {
    "call": Call,
    "leg": Leg,
    "meeting": Meeting,
    "recording": Recording,
    "slots": Ledger,
    "session": Session,
    "bridge": Bridge,
    "server": Server,
    RECENT[0]: Recent,
}
"""What is stored, by the first part of its key. The rest: an id; for slots, the policy and the holder."""

DIRECTORY: Final[Key] = ("directory",)
"""The directory by which all processes decide."""

SERVER: Final[Key] = ("server",)
"""What the Meeting Server says of itself."""

LEGS_OF: Final = "legs"
"""The kind of the index that names every leg that was ever on a call."""

OPEN_IN: Final = "open"
"""The kind of the index that names the calls of a session without a callEnd."""

HEARD: Final = "heard"
"""The kind of what tells when a record of a live call was last received (our clock, milliseconds)."""


_NO_DIRECTORY: Final = Directory([])
_NO_SERVER: Final = Server()


class NeedsLoad(Exception):  # noqa: N818 - a question to the caller, not an error
    """These keys have to be loaded before the work can be done."""

    def __init__(self, keys: Iterable[Key]) -> None:
        super().__init__()
        self.keys = tuple(keys)


class Workspace:
    """Loaded things and the changes made to them. A thing that does not exist is loaded as None."""

    def __init__(self, loaded: Mapping[Key, Any], clock: int | None = None) -> None:
        """Work on what is loaded, which stays as it is: things by key, and sets of leg ids by ("legs", call).

        `clock` is what ours says, in milliseconds; None where what is worked on has no present.
        """
        self.clock = clock
        self._loaded = loaded
        self.read: set[Key] = set()
        """What the outcome rests on."""
        self.changed: dict[Key, Thing | None] = {}
        self.legs_added: dict[str, set[str]] = {}
        self.heard: set[str] = set()
        """Calls of which a record was taken."""
        self._missing: set[Key] = set()

    def get(self, kind: type[T], *key: str) -> T | None:
        """Return the thing as it is now, or None where there is none."""
        if key in self.changed:
            thing = self.changed[key]
        elif key in self._loaded:
            self.read.add(key)
            thing = self._loaded[key]
        else:
            raise NeedsLoad([key])
        if thing is not None and not isinstance(thing, kind):
            raise TypeError(f"{key} holds a {type(thing).__name__}, not a {kind.__name__}")
        return thing

    @contextmanager
    def asking_later(self) -> Iterator[None]:
        """Put off asking for what is not loaded until `ask`, so that one load serves many independent steps."""
        try:
            yield
        except NeedsLoad as need:
            self._missing.update(need.keys)

    def ask(self) -> None:
        """Ask for everything that was put off; what was worked out without it counts for nothing."""
        if self._missing:
            raise NeedsLoad(self._missing)

    def aside(self) -> "Workspace":
        """Return a workspace on what is known here by now, to see what something would change; it changes nothing."""
        aside = Workspace({**self._loaded, **self.changed}, self.clock)
        aside.read = self.read
        return aside

    @property
    def changes_anything(self) -> bool:
        """Is anything other than it was loaded?"""
        return any(thing != self.before(key) for key, thing in self.changed.items())

    def before(self, key: Key) -> Any:
        """Return the thing as it was loaded."""
        return self._loaded.get(key)

    def now(self, key: Key) -> Any:
        """Return the thing as it is now, where it was loaded or changed; None else."""
        return self.changed[key] if key in self.changed else self._loaded.get(key)

    def is_loaded(self, *key: str) -> bool:
        """Was the thing or index loaded?"""
        return key in self._loaded

    def legs_before(self, calls: Iterable[str]) -> list[Leg]:
        """Return every leg that had been on one of the calls, as it was loaded; the calls' indexes must be loaded."""
        ids = sorted(set().union(*(self._loaded.get((LEGS_OF, call), ()) for call in calls)))
        return [leg for leg in (self.before(("leg", id_)) for id_ in ids) if leg is not None]

    def put(self, thing: Thing | None, *key: str) -> None:
        """Change a thing; None removes it."""
        self.changed[key] = thing

    def need(self, keys: Iterable[Key]) -> None:
        """Ask for several things at once."""
        missing = [key for key in keys if key not in self.changed and key not in self._loaded]
        if missing:
            raise NeedsLoad(missing)

    def directory(self) -> Directory:
        """Return the directory; an empty one where none was ever stored."""
        return self.get(Directory, *DIRECTORY) or _NO_DIRECTORY

    def server(self) -> Server:
        """Return what the Meeting Server says of itself; nothing where it was never asked."""
        return self.get(Server, *SERVER) or _NO_SERVER

    def call(self, call: str) -> Call | None:
        """Return a call by its id."""
        return self.get(Call, "call", call)

    def leg(self, leg: str) -> Leg | None:
        """Return a leg by its id."""
        return self.get(Leg, "leg", leg)

    def meeting(self, meeting: str) -> Meeting | None:
        """Return a meeting by its id."""
        return self.get(Meeting, "meeting", meeting)

    def recording(self, recording: str) -> Recording | None:
        """Return a recording or stream by its id."""
        return self.get(Recording, "recording", recording)

    def ledger(self, policy: str, holder: str) -> Ledger:
        """Return the claims on a holder's license under a policy."""
        return self.get(Ledger, "slots", policy, holder) or Ledger()

    def add_leg(self, call: str, leg: str) -> None:
        """Note that the leg was on the call."""
        self.legs_added.setdefault(call, set()).add(leg)

    def legs_of(self, calls: Iterable[str]) -> list[Leg]:
        """Return every leg that was ever on one of the calls."""
        calls = list(calls)
        stored = [call for call in calls if self._loaded.get(("call", call)) is not None]
        indexes = [(LEGS_OF, call) for call in stored]
        self.need(indexes)
        self.read.update(indexes)
        known = [self._loaded[index] for index in indexes]
        ids = sorted(set().union(*known, *(self.legs_added.get(call, ()) for call in calls)))
        self.need(("leg", leg) for leg in ids)
        return [leg for leg in map(self.leg, ids) if leg is not None]

    def silent_since(self, call: str, moment: int) -> bool:
        """Was no record of a live call received since then (our clock, milliseconds)?"""
        self.need([(HEARD, call)])
        heard = self._loaded[HEARD, call]
        return call not in self.heard and (heard is None or heard < moment)

    def open_calls(self, session: str, after: str = "") -> list[str]:
        """Return the ids of the calls of a session that have no callEnd, those greater than `after`, in order."""
        self.need([(OPEN_IN, session)])
        ids = set(self._loaded[OPEN_IN, session])
        for thing in self.changed.values():
            if isinstance(thing, Call) and thing.session == session:
                (ids.discard if thing.ended else ids.add)(thing.id)
        return sorted(id_ for id_ in ids if id_ > after)
