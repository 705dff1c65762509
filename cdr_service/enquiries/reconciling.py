"""Compares, where this process has the lease, what we count with what the Meeting Server itself counts.

Each poll reads the counts of all nodes at the same time, waits a little for records that were on their way then, and
compares. It is beside the intake: it reads the store as a query does, and what it changes goes through the intake's
queue. While nodes give no answer, polls come less often.
"""

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import structlog
from msgspec.structs import replace

from cdr_service.cms.budget import Budget
from cdr_service.cms.counts import CountsReader
from cdr_service.cms.live import BRIDGES_SECONDS, Live
from cdr_service.cms.objects import Status
from cdr_service.domain.bookkeeping import Bookkeeper
from cdr_service.domain.counting import MEETINGS, Possible, ServerCounts, counted, possible
from cdr_service.domain.events import Event
from cdr_service.domain.fitting import Fit, observed
from cdr_service.domain.healing import note_behind
from cdr_service.domain.options import Options
from cdr_service.domain.receivers import NodeHealth
from cdr_service.domain.reconciling import FRESH_POLLS, Poll, Reconciliation, compared, not_compared
from cdr_service.domain.sessions import Session
from cdr_service.domain.showing import standing_of
from cdr_service.domain.trials import Trials, is_at_stake
from cdr_service.domain.workspace import Workspace
from cdr_service.enquiries.clock import milliseconds
from cdr_service.enquiries.healing import Healing, Here
from cdr_service.enquiries.state import CHUNK, Bookreader, State
from cdr_service.enquiries.watching import Behind, Watch
from cdr_service.errors import Draining, StoreUnavailable
from cdr_service.parting import Task

ARRIVE_SECONDS: Final = 3.0
"""So long a poll waits for records that were generated before it."""
LOOK_SECONDS: Final = 0.5
LONGEST_PAUSE: Final = 300.0
"""Between two polls of nodes that do not answer, in seconds."""
HEALTH_SECONDS: Final = 60.0
"""How often the nodes are asked whether they push to us."""
POLL_REQUESTS: Final = 100
"""Of a poll, to each node: it takes three and, at times, some more; pages of holders are what could be many."""
LOOK_AGAIN_SECONDS: Final = 300.0
"""So often the lists are read again while a difference lasts of which they do not tell the cause."""
HEAL_PAUSE: Final = 3.0
"""Between two passes of mending, in seconds."""


class Pacing(NamedTuple):
    """How often is asked; see the settings `reconcile_…`. Seconds."""

    interval: float = 10
    settle: float = 20
    polls: int = 2


class Kept(Protocol):
    """Where what was found is kept. Every method may raise StoreUnavailable."""

    async def reconciliation(self, deployment: str) -> Reconciliation | None:
        """Return where the comparison stands."""
        ...

    async def fit(self, deployment: str) -> Fit | None:
        """Return how well the policies fit."""
        ...

    async def keep_reconciliation(self, deployment: str, now: Reconciliation) -> None:
        """Keep where the comparison stands."""
        ...

    async def keep_nodes(self, deployment: str, nodes: Sequence[NodeHealth]) -> None:
        """Keep how it stands with the nodes."""
        ...

    async def keep_fit(self, deployment: str, fit: Fit) -> None:
        """Keep how well the policies fit."""
        ...


class Means(NamedTuple):
    """By what a reconciler works."""

    nodes: Sequence[str]
    """Of the Meeting Server."""
    live: Live
    counts: CountsReader
    book: Bookreader
    kept: Kept
    healing: Healing
    live_calls: Callable[[], Awaitable[list[str]]]
    """Returns the ids of all live calls."""
    perform: Callable[[Task], Awaitable[None]]
    """The intake's."""
    health: Callable[[Mapping[str, str]], Awaitable[list[NodeHealth]]]
    """Asks all nodes whether they push to us, given which Call Bridge each is."""
    clock: Callable[[], int] = milliseconds
    """Ours, in milliseconds since 1970 UTC."""


class Reconciler:
    """The comparison of one deployment."""

    def __init__(self, deployment: str, means: Means, options: Options, pacing: Pacing) -> None:
        self._deployment = deployment
        self._means = means
        self._options = options
        self._pacing = pacing
        self._watch = Watch()
        self._bridges: dict[str, str] = {}
        self._bridges_read: float | None = None
        self._health_read: float | None = None
        self._reasons: set[tuple[str, str | None]] = set()
        self._looked: float | None = None
        self._trials = Trials(options)
        self._log = structlog.get_logger().bind(deployment=deployment)

    async def run(self, leads: asyncio.Event) -> None:
        """Poll while `leads` is set, until cancelled."""
        failed = 0
        while True:
            if not leads.is_set():
                self._means.book.forget()
                self._means.healing.forget()
                self._watch = Watch()
            await leads.wait()
            try:
                failed = 0 if await self.once(leads) else failed + 1
            except (StoreUnavailable, Draining):
                pass  # the caretaker says so
            except Exception:  # noqa: BLE001 - the next poll must not fall with this one
                self._log.exception("upkeep.failed")
            pause = min(self._pacing.interval * 2.0**failed, max(LONGEST_PAUSE, self._pacing.interval))
            if self._means.healing.due and not failed:
                pause = min(pause, HEAL_PAUSE)
            # Several services that ask one Meeting Server shall not do so at the same moments.
            await asyncio.sleep(pause * random.uniform(0.9, 1.1))  # noqa: S311 - guards nothing

    async def once(self, leads: asyncio.Event) -> bool:
        """Poll, compare, mend and score once; return whether the nodes answered."""
        means, name = self._means, self._deployment
        with Budget(POLL_REQUESTS).spending():
            await self._look_at_nodes()
            reading = await means.counts.read()
        now = self._means.clock()
        before = replace(
            await means.kept.reconciliation(name) or Reconciliation(),
            polls=self._pacing.polls,
            fresh_for=int(self._pacing.interval * 1000 * FRESH_POLLS),
        )
        if reading.counts is None:
            await means.kept.keep_reconciliation(name, not_compared(before, now, reading.reason or "no answer"))
            return False
        means.healing.due |= self._watch.restarted(reading.statuses)
        behind, sessions = await self._arrived(reading.statuses)
        await self._note_lost(behind)
        on_the_way = sum(one.gap.missing for one in behind if not one.is_lost(self._means.clock()))
        moment = self._moment(reading.statuses, now)
        back = int((self._pacing.settle + reading.took) * 1000)
        since = moment - back
        state = await means.book.state(await means.live_calls(), self._trials.reaches_back_to(since))
        if on_the_way:
            reason = f"{on_the_way} records that the Meeting Server has generated are on their way"
            after = not_compared(before, now, reason)
        else:
            after = await self._compare(before, await self._poll(reading.counts, state, since, back), leads)
        if not leads.is_set():
            return True
        await means.kept.keep_reconciliation(name, after)
        await self._mend(after, state, sessions, self._offset(reading.statuses, now), behind)
        followed = await self._follow(state, since, moment)
        if followed and after.reason is None and not any(one.count == MEETINGS for one in after.differences):
            await self._score(reading.counts, since)
        return True

    async def _poll(self, theirs: ServerCounts, state: State, since: int, back: int) -> Poll:
        """Return what is compared: what changed since then (`back` milliseconds ago) may count either way."""
        meetings = await self._possible(state, since)
        now = self._means.clock()
        band = self._means.book.participants(state, now, back)
        if band is not None and band.off(theirs.participants) > 0:
            band = band._replace(most=band.most + await self._means.book.waiting(state))
        return Poll(now, since, theirs, counted(meetings), meetings, band)

    async def _compare(self, before: Reconciliation, poll: Poll, leads: asyncio.Event) -> Reconciliation:
        found = compared(before, poll)
        if found.told is not None and leads.is_set():
            await self._tell(*found.told, at=poll.at)
        return found.now

    async def _possible(self, state: State, since: int) -> list[Possible]:
        found: list[Possible] = []
        for number, meeting in enumerate(state.meetings.values(), 1):
            standing = standing_of(meeting, self._options.policy)
            one = possible(meeting, state.of(meeting), standing, since, self._options)
            found += [] if one is None else [one]
            if number % CHUNK == 0:
                await asyncio.sleep(0)
        return found

    async def _learn_bridges(self) -> None:
        """Read which node is which Call Bridge, now and then."""
        now = asyncio.get_running_loop().time()
        if self._bridges_read is None or now - self._bridges_read > BRIDGES_SECONDS:
            self._bridges_read = now
            found = await self._means.live.bridges()
            self._bridges = {node: bridge for bridge, node in found.items()} or self._bridges

    async def _look_at_nodes(self) -> None:
        """Ask now and then whether the nodes push to us."""
        await self._learn_bridges()
        now = asyncio.get_running_loop().time()
        if self._health_read is None or now - self._health_read > HEALTH_SECONDS:
            self._health_read = now
            await self._means.kept.keep_nodes(self._deployment, await self._means.health(self._bridges))

    async def _arrived(self, statuses: Mapping[str, Status]) -> tuple[list[Behind], dict[str, Session]]:
        """Wait a little until what was generated by then has come; return what has not."""
        until = asyncio.get_running_loop().time() + ARRIVE_SECONDS
        while True:
            sessions = await self._means.book.newest_sessions()
            behind = self._watch.behind(self._pairs(statuses, sessions), self._means.clock())
            pending = [one for one in behind if not one.is_lost(self._means.clock())]
            if not pending or asyncio.get_running_loop().time() > until:
                return behind, sessions
            await asyncio.sleep(LOOK_SECONDS)

    def _pairs(
        self, statuses: Mapping[str, Status], sessions: Mapping[str, Session]
    ) -> dict[str, tuple[Status, Session]]:
        """Return for each node its status and the newest session of its Call Bridge, where both are known."""
        named = self._named(sessions)
        known = {node: sessions.get(named[node]) for node in statuses if node in named}
        return {node: (statuses[node], session) for node, session in known.items() if session is not None}

    def _named(self, sessions: Mapping[str, Session]) -> Mapping[str, str]:
        """Return the Call Bridges by node. Where only one is asked, and only one pushes, it is that."""
        if not self._bridges and len(self._means.nodes) == 1 and len(sessions) <= 1:
            return {self._means.nodes[0]: next(iter(sessions), "")}
        return self._bridges

    async def _note_lost(self, behind: list[Behind]) -> None:
        for one in behind:
            if one.is_lost(self._means.clock()):
                event_id = f"{secrets.token_hex(8)}-0"
                await self._means.perform(_noting(one, event_id))

    async def _mend(
        self, after: Reconciliation, state: State, sessions: Mapping[str, Session], offset: int, behind: list[Behind]
    ) -> None:
        """Look for what is wrong where there is a reason, and again now and then while that lasts."""
        overdue = self._means.clock() - int(self._pacing.settle * 1000)
        reasons: set[tuple[str, str | None]] = {("session", session.id) for session in sessions.values()}
        reasons |= {one.key for one in after.drifts}
        reasons |= {("late", one.session) for one in behind if one.since <= overdue}
        lasts = any(what != "session" for what, _ in reasons)
        healing, now = self._means.healing, asyncio.get_running_loop().time()
        if not reasons <= self._reasons or (lasts and now - (self._looked or 0.0) > LOOK_AGAIN_SECONDS):
            healing.due = True
        self._reasons = reasons
        if healing.due:
            self._looked = now
            await healing.once(state, Here(self._named(sessions), sessions, offset, self._means.clock))

    async def _follow(self, state: State, since: int, moment: int) -> bool:
        """Decide by all rules what changed; return False where too much is live for that."""
        at_stake = [meeting for meeting in state.meetings.values() if is_at_stake(meeting)]
        others = self._trials.unfinished.difference(meeting.id for meeting in at_stake)
        things = await self._means.book.whole([*at_stake, *await self._means.book.meetings(sorted(others))])
        if things is None:
            return False
        # It may be a thousand legs, many times over.
        await asyncio.to_thread(self._trials.follow, things, since, moment)
        return True

    async def _score(self, theirs: ServerCounts, since: int) -> None:
        """Score the rules by this poll."""
        before = await self._means.kept.fit(self._deployment) or Fit()
        predictions, unknown = self._trials.predictions(since), self._trials.unknown
        now = observed(before, self._means.clock(), theirs, predictions, self._pacing.polls, unknown)
        if now != before:
            await self._means.kept.keep_fit(self._deployment, now)

    async def _tell(self, event: str, details: dict[str, Any], at: int) -> None:
        told = Event(event=event, event_id=f"{secrets.token_hex(8)}-0", record_time=at, details=details)

        def tell(keeper: Bookkeeper, _workspace: Workspace, _now: int) -> None:
            keeper.events.append(told)

        await self._means.perform(tell)

    @staticmethod
    def _moment(statuses: Mapping[str, Status], now: int) -> int:
        """Return when the counts were read, by the clock of the records."""
        return min((status.cdr_time for status in statuses.values() if status.cdr_time is not None), default=now)

    @staticmethod
    def _offset(statuses: Mapping[str, Status], now: int) -> int:
        """Return by how many milliseconds the nodes' clocks are ahead of ours; they are told in whole seconds."""
        ahead = [status.cdr_time - now for status in statuses.values() if status.cdr_time is not None]
        offset = min(ahead, key=abs, default=0)
        return offset if abs(offset) > 2000 else 0  # noqa: PLR2004


def _noting(behind: Behind, event_id: str) -> Task:
    def note(keeper: Bookkeeper, workspace: Workspace, _now: int) -> None:
        note_behind(keeper, workspace, behind.session, behind.gap, event_id)

    return note
