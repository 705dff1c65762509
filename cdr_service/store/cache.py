"""What a process remembers of the store, so that a record of a live meeting needs no read.

It may be out of date when other processes write, which is harmless: a commit checks the version of everything that it
rests on, and what turned out stale is forgotten and read anew. A meeting is forgotten once it is over, so what is
remembered grows with what is live and not with what has been.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, Final

from cdr_service.domain.calls import Call
from cdr_service.domain.workspace import LEGS_OF, Key, Workspace

THINGS_MAX: Final = 50_000
"""Things remembered per deployment, some 100 MB; the least recently used go first."""


class Cache:
    """Things with their versions, bounded."""

    def __init__(self, most: int = THINGS_MAX) -> None:
        self._things: OrderedDict[Key, tuple[Any, bytes]] = OrderedDict()
        self._most = most

    def get(self, key: Key) -> tuple[Any, bytes] | None:
        """Return the thing and its version, or None where it is not remembered."""
        found = self._things.get(key)
        if found is not None:
            self._things.move_to_end(key)
        return found

    def put(self, key: Key, thing: tuple[Any, bytes]) -> None:
        """Remember a thing with its version."""
        self._things[key] = thing
        self._things.move_to_end(key)
        if len(self._things) > self._most:
            self._things.popitem(last=False)

    def forget(self, keys: Iterable[Key]) -> None:
        """Forget things that may be out of date."""
        for key in keys:
            self._things.pop(key, None)


def done_with(workspace: Workspace) -> Iterator[Key]:
    """Yield what belongs to meetings that are over by what was worked out: only a late record asks for it any more."""
    changed = workspace.changed.values()
    for id_ in {call.meeting for call in changed if isinstance(call, Call) and call.end is not None}:
        meeting = workspace.now(("meeting", id_))
        calls = [workspace.now(("call", call)) for call in meeting.calls] if meeting is not None else []
        if any(call is None or call.end is None for call in calls):
            continue
        yield ("meeting", id_)
        for call in calls:
            yield from (("call", call.id), ("meeting", call.id), (LEGS_OF, call.id))
            yield from (("recording", recording) for recording in call.recordings)
            legs = (workspace.before((LEGS_OF, call.id)) or (), workspace.legs_added.get(call.id, ()))
            yield from (("leg", leg) for some in legs for leg in some)
