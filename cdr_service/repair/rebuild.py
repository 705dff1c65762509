"""Derives anew, from the kept documents, every meeting that lies wholly inside them; says what differs; puts it right.

The documents are taken in again in the order in which they were received, by the intake that takes in everything, on a
store in memory. That gives facts: calls, legs, recordings. Timelines are not taken over from there, because the ledgers
in memory know only these documents: a license that seems free may have been in use by a meeting that began before
them. So the facts are put in place of the kept ones in the real books, and each meeting is folded whole there, as
after a late record. Without `write`, the same is done on a copy that lies over the store, and the store is only read.

What lies inside: a meeting all of whose records, as the books know them, are among the kept documents, the callStarts
of all its calls with them. Nothing that the books know can be lost by putting it right, also while the service goes on
receiving. Meetings that share a leg or a call are put right together, in one commit. No other call is touched; another
meeting changes only where it wants the license of the same holder, as it would by any record.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from msgspec import Struct

from cdr_service.domain.announcements import rfc3339
from cdr_service.domain.bookkeeping import Bookkeeper
from cdr_service.domain.calls import Call, Meeting
from cdr_service.domain.commit import Snapshot
from cdr_service.domain.differences import Difference, Policies, differences, untold
from cdr_service.domain.options import Options
from cdr_service.domain.restating import (
    NOTHING,
    Facts,
    Overtaken,
    lie_inside,
    restate,
    settled_waits,
)
from cdr_service.domain.slots import Ledger
from cdr_service.domain.workspace import LEGS_OF, Workspace
from cdr_service.parting import Task
from cdr_service.repair.derivation import Derivation, MemoryStore
from cdr_service.repair.watching import Watch
from cdr_service.service import Deployment, Intake, Store

ATTEMPTS: Final = 5
"""A meeting that goes on is tried so often."""


class Report(Struct, kw_only=True):
    """What came of deriving one deployment anew. The counts are of meetings."""

    deployment: str
    documents: int
    received_from: str | None
    """When the oldest document was received; None where there is none."""
    received_until: str | None
    failed: int
    """Documents that could not be taken in through a fault of ours."""
    same: int = 0
    different: int = 0
    outside: int = 0
    """They lie only partly inside the documents, or retention has removed them."""
    settled: int = 0
    """They waited for a license so long ago that it is no longer known for whom."""
    overtaken: int = 0
    """They changed while they were looked at."""
    written: int = 0
    differences: list[Difference] = []


class _Group(NamedTuple):
    """Meetings that are derived together."""

    calls: frozenset[str]
    kept: Facts
    derived: Facts
    """NOTHING where it does not lie inside the documents."""


class Rebuild:
    """One deployment derived anew. Use: `compare`, then perhaps `write`."""

    def __init__(
        self,
        derivation: Derivation,
        fresh: Callable[[], Store],
        options: Options,
        *,
        decided_by: str,
        known_anew: bool,
        kept_since: int,
    ) -> None:
        """`fresh` gives the real store with nothing remembered of it.

        `options.policy` is the one that decides now, `decided_by` that of the books. With `known_anew`, who is behind a
        leg is decided by the derivation's directory. Calls last heard of before `kept_since` are beyond retention.
        """
        self._derivation = derivation
        self._fresh = fresh
        self._options = options
        self._policies = Policies(decided_by, options.policy)
        self._known_anew = known_anew
        self._kept_since = kept_since
        self._different: list[frozenset[str]] = []

    async def compare(self) -> Report:
        """Derive everything anew on a copy, and return what differs. Raises StoreUnavailable."""
        derivation, name = self._derivation, self._derivation.intake.deployment.name
        report = Report(
            deployment=name,
            documents=derivation.documents,
            received_from=None if derivation.first is None else rfc3339(derivation.first),
            received_until=None if derivation.first is None else rfc3339(derivation.time),
            failed=derivation.failed,
        )
        copy = MemoryStore(self._fresh())
        groups: list[_Group] = []
        done: set[str] = set()
        trial = Intake(Deployment(name=name, options=self._options), copy, Watch(), lambda: derivation.time)
        async with trial.running():
            for calls in derivation.meetings():
                if done & set(calls):
                    continue
                group = await self._group(calls)
                done |= group.calls
                if await self._tried(group, trial, copy, report):
                    groups.append(group)
        for group in groups:
            await self._judge(group, copy, report)
        report.differences += await self._others(copy, {call for group in groups for call in group.calls})
        return report

    async def write(self, report: Report, intake: Intake) -> None:
        """Put right what differs, one commit for each group of meetings. Raises StoreUnavailable."""
        for calls in self._different:
            for _ in range(ATTEMPTS):
                group = await self._group(calls)
                if group.derived is NOTHING:
                    report.overtaken += 1
                    break
                try:
                    await intake.perform(self._task(group))
                except Overtaken:
                    await self._derivation.go_on()
                else:
                    report.written += len(group.derived.meetings)
                    break
            else:
                report.overtaken += 1

    async def _group(self, calls: Iterable[str]) -> _Group:
        """Return all that belongs to some calls, as it is kept and as it is derived."""
        name, derivation = self._derivation.intake.deployment.name, self._derivation
        for _ in range(ATTEMPTS):
            kept, derived = await gathered(name, (self._fresh(), derivation.store), calls)
            of = frozenset({*kept.calls, *derived.calls})
            removed = derived.calls.keys() - kept.calls.keys()
            if any(derivation.store.heard[call] < self._kept_since for call in removed):
                break
            if lie_inside(kept, derived, derivation.seen):
                return _Group(of, kept, derived)
            if not await derivation.go_on():
                break
        return _Group(of, kept, NOTHING)

    async def _tried(self, group: _Group, trial: Intake, copy: MemoryStore, report: Report) -> bool:
        """Put a group in place on the copy; return whether that could be done."""
        meetings = len(group.kept.meetings) or 1
        if group.derived is NOTHING:
            report.outside += meetings
            return False
        if await self._waited(group.kept.meetings.values(), copy):
            report.settled += meetings
            return False
        try:
            await trial.perform(self._task(group))
        except Overtaken:
            report.overtaken += meetings
            return False
        return True

    async def _judge(self, group: _Group, copy: MemoryStore, report: Report) -> None:
        """Note what differs between what is kept and what is on the copy once everything is in place there."""
        name = self._derivation.intake.deployment.name
        (anew,) = await gathered(name, (copy,), group.calls)
        found = differences(group.kept, anew, self._policies)
        if self._policies.before == self._policies.after:
            found += untold(group.kept, self._policies.after)
        changed = {one.meeting for one in found}
        report.different += len(changed)
        report.same += len(anew.meetings.keys() - changed)
        report.differences += found
        if found:
            self._different.append(group.calls)

    async def _others(self, copy: MemoryStore, calls: set[str]) -> list[Difference]:
        """Return how meetings change that only want the same holders' licenses."""
        changed = [
            thing for thing in copy.things.values() if isinstance(thing, Meeting) and not calls & set(thing.calls)
        ]
        if not changed:
            return []
        snapshot = Snapshot()
        keys = [("meeting", meeting.id) for meeting in changed]
        await self._fresh().load(self._derivation.intake.deployment.name, snapshot, keys)
        found: list[Difference] = []
        for meeting in changed:
            kept = snapshot.things["meeting", meeting.id]
            before, after = (NOTHING._replace(meetings={one.id: one}) for one in (kept or meeting, meeting))
            found += differences(before, after, Policies(self._policies.after, self._policies.after))
        return found

    async def _waited(self, meetings: Iterable[Meeting], copy: MemoryStore) -> bool:
        snapshot = Snapshot()
        meetings = list(meetings)
        keys = {
            ("slots", policy, claim.holder)
            for meeting in meetings
            for policy, standing in meeting.timeline.standings.items()
            for claim in standing.all_claims
        }
        await copy.load(self._derivation.intake.deployment.name, snapshot, keys)

        def ledger(policy: str, holder: str) -> Ledger:
            return snapshot.things["slots", policy, holder] or Ledger()

        return any(settled_waits(meeting, ledger) for meeting in meetings)

    def _task(self, group: _Group) -> Task:
        def task(keeper: Bookkeeper, workspace: Workspace, _now: int) -> None:
            restate(
                *(keeper, workspace, group.derived, self._derivation.seen),
                policy=self._options.policy,
                known_anew=self._known_anew,
            )

        return task


async def gathered(deployment: str, stores: Sequence[Store], calls: Iterable[str]) -> tuple[Facts, ...]:
    """Return from each store what is known of some calls, and of all calls that share a meeting or a leg with them."""
    ids = set(calls)
    while True:
        legs = {leg for store in stores for leg in await _legs_on(deployment, store, ids)}
        found = [await _facts(deployment, store, ids, legs) for store in stores]
        wider = {call for facts in found for meeting in facts.meetings.values() for call in meeting.calls}
        wider |= {call for facts in found for leg in facts.legs.values() for call in leg.calls}
        if wider <= ids:
            return tuple(found)
        ids |= wider


async def _legs_on(deployment: str, store: Store, calls: Iterable[str]) -> set[str]:
    snapshot = Snapshot()
    await store.load(deployment, snapshot, [(LEGS_OF, call) for call in calls])
    return set().union(*snapshot.things.values())


async def _facts(deployment: str, store: Store, ids: Iterable[str], legs: Iterable[str]) -> Facts:
    snapshot = Snapshot()

    async def things(kind: str, wanted: Iterable[str]) -> dict[str, Any]:
        keys = [(kind, id_) for id_ in sorted(set(wanted))]
        await store.load(deployment, snapshot, keys)
        return {key[1]: snapshot.things[key] for key in keys if snapshot.things[key] is not None}

    calls: dict[str, Call] = await things("call", ids)
    return Facts(
        calls,
        await things("leg", legs),
        await things("recording", (id_ for call in calls.values() for id_ in call.recordings)),
        await things("meeting", (call.meeting for call in calls.values())),
    )
