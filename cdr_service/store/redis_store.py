"""The store of the intake: loads things, and commits everything or nothing in one round trip."""

import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple

from cdr_service.domain.commit import Commit, Snapshot
from cdr_service.domain.workspace import HEARD, LEGS_OF, Key, Workspace
from cdr_service.errors import StoreConflict, StoreUnavailable
from cdr_service.store.always import COMMIT, COMMIT_ALWAYS
from cdr_service.store.cache import Cache, done_with
from cdr_service.store.codec import ABSENT, VERSION_BYTES, decode
from cdr_service.store.connection import Connection
from cdr_service.store.keys import INDEXES, Keys
from cdr_service.store.layout import Layouts
from cdr_service.store.writes import Bounds, checked, commands

LAYOUT_PLACE: Final = b"1"
"""Of the layout's key among those of a commit: it is checked first."""


class Written(NamedTuple):
    """What the writing for a deployment depends on."""

    policy: str = "join"
    """The policy that decides: its switches are listed."""
    bounds: Bounds = Bounds()


class RedisStore:
    """Things, indexes and streams of all deployments in a Redis-compatible store."""

    def __init__(
        self,
        connection: Connection,
        deployments: Mapping[str, Written],
        process: str,
        printed: Mapping[str, str] | None = None,
    ) -> None:
        """`process` is a name that no other process has.

        `printed` is for a process that prints no events: by deployment, the newest event at its start. Once it is
        gone, another process prints what it committed, as for one that died.
        """
        self.connection = connection
        self.process = process
        self._deployments = deployments
        self._prints = printed is None
        self._printed = dict(printed or {})
        self._told: dict[str, Commit] = {}
        self._generations: dict[str, int] = {}
        self._caches: dict[str, Cache] = {}
        self.layouts = Layouts(connection, process)

    def _cache(self, deployment: str) -> Cache:
        return self._caches.setdefault(deployment, Cache())

    def generation(self, deployment: str) -> int:
        """Return how often it stayed open whether a commit happened.

        What such a commit told, if it did happen, this process cannot print; so it goes on under another name, and
        the events of the old one are printed as those of a process that died.
        """
        return self._generations.get(deployment, 0)

    async def load(self, deployment: str, snapshot: Snapshot, keys: Iterable[Key], new: Collection[Key] = ()) -> None:
        """Add things to the snapshot, from what this process remembers or from the store; raise StoreUnavailable.

        What is likely `new` and is not remembered is taken for absent without asking. A commit checks that it is.
        """
        await self.layouts.settle(deployment)
        cache = self._cache(deployment)
        missing: list[Key] = []
        for key in keys:
            found = cache.get(key)
            if found is not None:
                snapshot.things[key], snapshot.versions[key] = found
            elif key in new:
                snapshot.things[key], snapshot.versions[key] = None, ABSENT
            else:
                missing.append(key)
        if missing:
            await self._read(deployment, snapshot, missing)

    async def _read(self, deployment: str, snapshot: Snapshot, keys: list[Key]) -> None:
        """Add things to the snapshot as they are in the store, and remember what a commit can check."""
        cache, names = self._cache(deployment), Keys(deployment)
        requests = [names.read(key) for key in keys]
        try:
            if any(key[0] == "session" for key in keys):
                answers = await self._load_replicated(names, requests)
            else:
                answers = await self.connection.pipeline(requests)
        except StoreUnavailable:
            self._forget(deployment)
            raise
        for key, answer in zip(keys, answers, strict=True):
            if key[0] in INDEXES:
                snapshot.things[key] = members = frozenset(member.decode() for member in answer)
                if key[0] == LEGS_OF:
                    cache.put(key, (members, ABSENT))
            elif key[0] == HEARD:
                snapshot.things[key] = None if answer is None else int(float(answer))
            else:
                snapshot.things[key], snapshot.versions[key] = thing = decode(key, answer)
                cache.put(key, thing)

    def _forget(self, deployment: str) -> None:
        """Rely on nothing that was known of the store: the one that comes back may be another one."""
        self._caches.pop(deployment, None)
        self.layouts.doubt(deployment)

    async def _load_replicated(self, names: Keys, requests: list[tuple[Any, ...]]) -> list[Any]:
        """Load what the replicas have too, where the URL asks for replicas.

        By the marks of a session a record is known to be a duplicate, which is acknowledged without a commit. The marks
        may come from a commit that no replica has: one of ours that was refused for that, or another process's that
        still waits. Something is written behind the reads, because replicas can be waited for after a write only.
        """
        if not self.connection.replicas:
            return await self.connection.pipeline(requests)
        return (await self.connection.replicated(names.fence, [*requests, ("SET", names.fence, "")]))[:-1]

    async def commit(self, deployment: str, commit: Commit) -> None:
        """Change everything or nothing; raise StoreConflict or StoreUnavailable."""
        version, names = os.urandom(VERSION_BYTES), Keys(deployment)
        printer = f"{self.process}.{self.generation(deployment)}"
        work = _Work()
        work.check(names.layout, self.layouts.current)
        things = list(checked(commit))
        for key in things:
            if key[0] == LEGS_OF:
                work.check_members(names.thing(key), len(commit.snapshot.things[key]))
            else:
                work.check(names.thing(key), commit.snapshot.versions.get(key, ABSENT))
        written = self._deployments[deployment]
        for command in commands(names, commit, version, written.policy, written.bounds, printer):
            work.command(*command)
        printed = ""
        if commit.events:
            # The events of the commit before this one are on the log, unless that could not be written.
            before = self._told.get(deployment)
            if before is not None and before.printed and self._prints:
                self._printed[deployment] = before.events[-1].event_id
            printed = self._printed.get(deployment, f"-{commit.events[0].event_id}")
            work.command("HSET", names.printers, printer, printed)
        script = COMMIT_ALWAYS if commit.upkeep else COMMIT
        try:
            conflicts = await self.connection.script(script, work.keys, work.arguments, replicated=True)
        except BaseException:
            # Whether it happened is not known, so nothing that was remembered may be relied on.
            self._forget(deployment)
            self._generations[deployment] = self.generation(deployment) + 1
            raise
        if conflicts:
            raise self._conflict(deployment, conflicts, things)
        if commit.events:
            self._told[deployment] = commit
            self._printed[deployment] = printed
        _remember(self._cache(deployment), commit.workspace, version)

    def _conflict(self, deployment: str, conflicts: list[bytes], things: Iterable[Key]) -> StoreConflict:
        """Forget what may be out of date; return what is to be raised."""
        self._cache(deployment).forget(things)
        if LAYOUT_PLACE in conflicts:
            self.layouts.doubt(deployment)
        return StoreConflict(f"{len(conflicts)} things were changed by another process")


def _remember(cache: Cache, workspace: Workspace, version: bytes) -> None:
    """Remember what a commit changed, and of calls that it began or that are remembered, which legs are on them."""
    for key, thing in workspace.changed.items():
        if thing != workspace.before(key):
            cache.put(key, (thing, version if thing is not None else ABSENT))
            if key[0] == "call" and (thing is None or workspace.before(key) is None):
                cache.put((LEGS_OF, key[1]), (frozenset(), ABSENT))
    for call, legs in workspace.legs_added.items():
        known = cache.get((LEGS_OF, call))
        if known is not None:
            cache.put((LEGS_OF, call), (known[0] | legs, ABSENT))
    cache.forget(done_with(workspace))


class _Work:
    """The arguments of the commit script, with every key named once."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._checks: list[int | bytes] = []
        self._indexes: list[int] = []
        self._commands: list[Any] = []

    @property
    def keys(self) -> list[str]:
        return list(self._places)

    @property
    def arguments(self) -> list[Any]:
        checks, indexes = self._checks, self._indexes
        return [len(checks) // 2, *checks, len(indexes) // 2, *indexes, *self._commands]

    def _place(self, key: str) -> int:
        return self._places.setdefault(key, len(self._places) + 1)

    def check(self, key: str, version: bytes) -> None:
        self._checks += (self._place(key), version)

    def check_members(self, key: str, count: int) -> None:
        self._indexes += (self._place(key), count)

    def command(self, name: str, key: str, *arguments: Any) -> None:
        self._commands += (len(arguments) + 2, name, self._place(key), *arguments)
