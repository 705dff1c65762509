"""What must be done beside the intake, once among all processes: directory, calls that never end, history, retention.

Each deployment has one lease for it; the process that has the lease does the work, in small steps and in turn with
the documents, so that the intake is never held up.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

import structlog

from cdr_service.domain.addresses import fold_case
from cdr_service.domain.bookkeeping import Bookkeeper
from cdr_service.domain.directory import Directory
from cdr_service.domain.events import Event
from cdr_service.domain.records import OrderKey
from cdr_service.domain.upkeep import (
    close_silent,
    conclude_losses,
    forget_call,
    forget_loose,
    forget_session,
    unconcluded,
)
from cdr_service.domain.workspace import DIRECTORY, Workspace
from cdr_service.errors import Draining, StoreUnavailable
from cdr_service.parting import Task
from cdr_service.reporting import Reporter
from cdr_service.service import Intake
from cdr_service.store.upkeep import Upkeep

ROUND_SECONDS: Final = 2.0
LEASE_SECONDS: Final = 10
LIFE_SECONDS: Final = 15
TASKS_AT_ONCE: Final = 10
"""Changes that the upkeep puts into the intake's queue at a time; they share a commit, between documents."""
COMPARE_SECONDS: Final = 10
"""How often a process without the lease compares its directory with the one by which all decide."""
DIFFERS: Final = (
    "This process's holders file is not the one by which all processes on the store decide: give all the same file "
    "(CDR_HOLDERS), else users change whenever another process takes over the upkeep."
)
SETTLE_SECONDS: Final = 60
"""A gap in a session's records that no feed has filled for so long is a loss."""
LOOSE_HOURS: Final = 24
"""Legs that never got a call are kept aside so long at most (as Mividas Core does, `docs/cdr.md`)."""
ASK_LATER_SECONDS: Final = 600
"""A silent call that the Meeting Server still has is asked for again after so long, or the time after which a call is
stale where that is shorter."""
_HOUR: Final = 3_600_000
_DAY: Final = 24 * _HOUR


class Spans(NamedTuple):
    """How long things are kept; see the settings of the same names."""

    retention_days: float = 90
    stale_call_hours: float = 24
    raw_retention_hours: float = 24
    raw_max_bytes: int = 256 * 1024 * 1024


By = tuple[str, str, tuple[int, ...] | None]
"""By what live calls are looked up: the directory as stored, its version, the release."""


class _Due(NamedTuple):
    """What live calls are to be looked up by, and the spaces that this concerns where it is not all of them."""

    by: By
    spaces: frozenset[str] | None = None


class Informant(Protocol):
    """Who knows what no record tells."""

    async def directory(self) -> Directory | None:
        """Return the directory by its sources; None while they cannot be read, or where there are none."""
        ...

    def lead(self, *, leading: bool) -> None:
        """Hear whether this process has the lease, and so is the one that reads from the Meeting Server."""
        ...

    @property
    def release(self) -> tuple[int, ...] | None:
        """Which release the Meeting Server runs; None while that is not known."""
        ...

    def lives(self, call: str) -> bool | None:
        """Say whether the Meeting Server still has a call; None while that is not known, to be asked for again."""
        ...


class Caretaker:
    """Looks after one deployment, as long as this process has the lease for it."""

    def __init__(
        self,
        intake: Intake,
        upkeep: Upkeep,
        reporter: Reporter,
        informant: Informant,
        spans: Spans,
    ) -> None:
        self._intake = intake
        self._upkeep = upkeep
        self._reporter = reporter
        self._informant = informant
        self._spans = spans
        self._log = structlog.get_logger().bind(deployment=intake.deployment.name)
        self._looked_up: By | None = None
        """By what all live calls were looked up."""
        self._compared = 0.0
        self._differing: tuple[str, str] | None = None
        self._told_differing: tuple[str, str] | None = None
        self._held = 0.0
        self.assigned: int | None = None
        """How many users hold PMP+; None where no holders are known."""

    async def run(self) -> None:
        """Look after the deployment until cancelled."""
        while True:
            try:
                await self.round()
                self._reporter.available(self._intake.deployment.name, room=await self._upkeep.has_room())
            except StoreUnavailable as problem:
                self._reporter.unavailable(self._intake.deployment.name, problem)
            except Draining:
                return
            except Exception:  # noqa: BLE001 - tomorrow's upkeep must not fall with today's
                self._log.exception("upkeep.failed")
            await asyncio.sleep(ROUND_SECONDS)

    async def begin(self) -> None:
        """Do what the first document needs: all decide by the newest directory. What else is due is done beside."""
        await self._lead()

    async def round(self) -> None:
        """Do what is due now, in a store that has our layout: another release may have brought it up meanwhile."""
        directory, due = await self._lead()
        if due is None:
            await self._compare(directory)
            return
        await self._look_up(due)
        await self._print_for_the_dead()
        await self._end_calls()
        now = time.time_ns() // 1_000_000
        await self._conclude(now)
        await self._close_silent(now)
        await self._retain(now)
        await self._upkeep.settle_history(now)

    async def _hold(self) -> bool:
        """Say that this process lives; return whether it has the lease."""
        self._held = time.monotonic()
        await self._upkeep.show_life(LIFE_SECONDS)
        return await self._upkeep.lease("upkeep", LEASE_SECONDS)

    async def _is_held(self) -> bool:
        """Return whether this process still has the lease, which it prolongs where that is due."""
        return time.monotonic() - self._held <= ROUND_SECONDS or await self._hold()

    async def _lead(self) -> tuple[Directory | None, "_Due | None"]:
        """Make the newest directory the one that all decide by, where this process has the lease; return what is due.

        Nothing is due where another process has it.
        """
        await self._upkeep.check_layout()
        directory = await self._informant.directory()
        leading = await self._hold()
        self._informant.lead(leading=leading)
        due = await self._follow(directory) if leading else None
        self.assigned = await self._upkeep.assigned()
        return directory, due

    async def _follow(self, directory: Directory | None) -> "_Due":
        """Put the directory and the release into the store where they changed; return what is due by it.

        What is stored is looked at again only where it was written since; it may be large.
        """
        release = self._informant.release
        stamp = await self._upkeep.directory_stamp()
        version = directory.version if directory else ""
        if (stamp, version, release) == self._looked_up:
            return _Due(self._looked_up)
        changed: frozenset[str] | None = None
        if directory is not None:
            stored = await self._upkeep.directory()
            if stored is None or stored.version != version:
                await self._intake.perform(_directory_changed(directory))
                if self._looked_up and self._looked_up[0] == stamp and self._looked_up[2] == release:
                    changed = directory.changed_spaces(stored)
                stamp = await self._upkeep.directory_stamp()
            await self._upkeep.put_assigned(directory.assigned)
        if release is not None:
            at = _this_moment()
            await self._intake.perform(lambda keeper, _workspace, _now: keeper.know_release(release, at))
        return _Due((stamp, version, release), changed)

    async def _look_up(self, due: "_Due") -> None:
        """Decide live calls anew where the directory or the release changed since that was last done, by whomever."""
        if due.by == self._looked_up or not (due.by[1] or due.by[2]):
            return
        told = json.dumps(due.by)
        if self._looked_up is None and await self._upkeep.looked_up() == told:
            self._looked_up = due.by
            return
        at, spaces = _this_moment(), due.spaces

        def look_up(keeper: Bookkeeper, workspace: Workspace, call: str) -> None:
            known = workspace.call(call)
            # Temporary spaces come and go all the time, and concern nobody but the calls in them.
            if spaces is None or (known is not None and fold_case(known.cospace or "") in spaces):
                keeper.look_up_again(call, at)

        if await self._each(await self._upkeep.live_calls(), look_up):
            self._looked_up = due.by
            await self._upkeep.put_looked_up(told)

    async def _close_silent(self, now: int) -> None:
        """Close the calls of which nothing was heard for too long, unless the Meeting Server still has them."""
        stale = _ms(self._spans.stale_call_hours, _HOUR)
        since = now - stale
        gone = []
        for call in await self._upkeep.silent_calls(since):
            lives = self._informant.lives(call)
            if lives:
                await self._upkeep.ask_later(call, since + min(stale, ASK_LATER_SECONDS * 1000))
            elif lives is False:
                gone.append(call)
        await self._each(gone, lambda keeper, books, call: close_silent(keeper, books, call, since))

    async def _compare(self, directory: Directory | None) -> None:
        """Say, once, that our directory is not the one by which all decide, which is that of whoever has the lease.

        Not at once: a file that is replaced for all processes is not read by all at the same moment.
        """
        if directory is None or time.monotonic() - self._compared < COMPARE_SECONDS:
            return
        self._compared = time.monotonic()
        stored = await self._upkeep.directory()
        differing = (directory.version, stored.version) if stored and stored.version != directory.version else None
        if differing and differing == self._differing and differing != self._told_differing:
            self._told_differing = differing
            self._log.warning("directory.differs", reason=DIFFERS)
        self._differing = differing

    async def _print_for_the_dead(self) -> None:
        async for printer, events in self._upkeep.unprinted():
            for told in events:
                self._reporter.print(told)
            await self._upkeep.forget_printer(printer)

    async def _end_calls(self) -> None:
        """Go on with what a process that died, or could not reach the store, left of ending calls."""
        for session in await self._upkeep.ending_sessions():
            if not self._intake.is_ending_calls(session) and await self._is_held():
                await self._intake.end_some_calls(session)  # the intake goes on from there by itself

    async def _conclude(self, now: int) -> None:
        settled = now - SETTLE_SECONDS * 1000

        def conclude(keeper: Bookkeeper, workspace: Workspace, session: str) -> None:
            conclude_losses(keeper, workspace, session, settled, f"{secrets.token_hex(8)}-0")

        # A session changes with each document of its bridge. A look at it from within the intake would hold up the
        # documents that share the commit, again and again where another process takes in those of that bridge.
        sessions = await self._upkeep.recent_sessions(settled - _HOUR)
        await self._each([one.id for one in sessions if unconcluded(one, settled)], conclude)

    async def _retain(self, now: int) -> None:
        kept = now - _ms(self._spans.retention_days, _DAY)
        await self._each(await self._upkeep.expired_calls(kept), lambda _, books, call: forget_call(books, call))
        loose = await self._upkeep.loose_things(max(kept, now - LOOSE_HOURS * _HOUR))
        await self._each(loose, lambda _, books, name: forget_loose(books, name))
        expired = await self._upkeep.expired_sessions(kept)
        await self._each(expired, lambda _, books, session: forget_session(books, session))
        await self._upkeep.forget_history(kept)
        while await self._upkeep.trim(
            events_since=kept,
            dead_since=kept,
            documents_since=now - _ms(self._spans.raw_retention_hours, _HOUR),
            most_bytes=self._spans.raw_max_bytes,
        ):
            pass  # chunk by chunk, with the intake in between
        for stream, entries in (await self._upkeep.newly_dropped()).items():
            self._log.warning(f"{stream}.dropped", entries=entries, reason="there were more than the setting allows")

    async def _each(self, ids: list[str], change: Callable[[Bookkeeper, Workspace, str], None]) -> bool:
        """Change the books for each id, some in each commit, in turn with the documents.

        Stops where the lease is lost; returns whether all is done.
        """
        for first in range(0, len(ids), TASKS_AT_ONCE):
            if not await self._is_held():
                return False
            some = ids[first : first + TASKS_AT_ONCE]
            await asyncio.gather(*(self._intake.perform(_task(change, id_)) for id_ in some))
        return True


def _task(change: Callable[[Bookkeeper, Workspace, str], None], id_: str) -> Task:
    def task(keeper: Bookkeeper, workspace: Workspace, _now: int) -> None:
        change(keeper, workspace, id_)

    return task


def _directory_changed(directory: Directory) -> Task:
    """Return the task that makes this the directory by which all decide, and tells of it."""
    event_id = f"{secrets.token_hex(8)}-0"
    details = {"users": len(directory.users), "assigned": directory.assigned, "spaces": len(directory.spaces)}

    def task(keeper: Bookkeeper, workspace: Workspace, now: int) -> None:
        workspace.put(directory, *DIRECTORY)
        keeper.events.append(Event(event="directory.changed", event_id=event_id, record_time=now, details=details))

    return task


def _this_moment() -> OrderKey:
    return OrderKey(time.time_ns() // 1_000_000, "", 0)


def _ms(count: float, unit: int) -> int:
    return int(count * unit)
