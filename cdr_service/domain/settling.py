"""Settles the timelines that a batch touched: folds them, serves holders' slots, and tells what changed.

Several meetings may want the same holder's license, so folding one can change another. Claims are served in the order
in which they were wanted (`slots`), so the work always ends: a meeting is only folded again because of claims that
were wanted earlier.
"""

from collections.abc import Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from cdr_service.domain import slots
from cdr_service.domain.calls import Call, Meeting, Viewpoint, meeting_occurrences
from cdr_service.domain.events import Event, Subject, timeline_changes
from cdr_service.domain.fold import Fold, Setting
from cdr_service.domain.headcount import NeedsWholeMeeting
from cdr_service.domain.options import Options
from cdr_service.domain.policies import policies_of
from cdr_service.domain.records import OrderKey
from cdr_service.domain.slots import Claim
from cdr_service.domain.timeline import Occurrence, Standing, Timeline, Transition, slot_freed
from cdr_service.domain.workspace import Workspace


class _Pending(Struct):
    """What is to be folded into one meeting."""

    occurrences: list[Occurrence] = []
    taken_back: list[Occurrence] = []
    whole: bool = False


class Settling:
    """The meetings that a batch touched, and how they settle."""

    def __init__(self, workspace: Workspace, options: Options, event_ids: Iterator[str]) -> None:
        self._workspace = workspace
        self._options = options
        self._policies = policies_of(options)
        self._new_id = event_ids
        self._pending: dict[str, _Pending] = {}
        self._before: dict[str, Timeline] = {}
        self._absorbed: dict[str, list[Meeting]] = {}

    def changed(self, meeting: str, was: list[Occurrence], now: list[Occurrence], *, alone: bool) -> None:
        """Take in what a leg or recording did: what was known of it before, and what is known now.

        A leg that shares its presence with another (`alone` false) makes the meeting be folded as a whole.
        """
        pending = self._pending.setdefault(meeting, _Pending())
        pending.whole = pending.whole or not alone
        known, kept = {*was}, {*now}
        for occurrence in was:
            if occurrence in kept:
                continue
            (pending.occurrences.remove if occurrence in pending.occurrences else pending.taken_back.append)(occurrence)
        pending.occurrences += [occurrence for occurrence in now if occurrence not in known]

    def look_at(self, meeting: str) -> None:
        """Have the meeting looked at: one of its calls ended, and with it whatever still went on."""
        self._pending.setdefault(meeting, _Pending())

    def fold_whole(self, meeting: str) -> None:
        """Have the meeting folded as a whole."""
        self._pending.setdefault(meeting, _Pending()).whole = True

    def dissolve(self, meeting: str, into: str) -> None:
        """Take in that a call's own meeting turned out to be part of another."""
        self._pending.pop(meeting, None)
        dissolved = self._workspace.meeting(meeting)
        if dissolved is None:
            return
        self._workspace.put(None, "meeting", meeting)
        self._absorbed.setdefault(into, []).append(dissolved)
        self.fold_whole(into)

    def run(self) -> list[Event]:
        """Fold until nothing is left to do; return what changed."""
        for dissolved in (meeting for absorbed in self._absorbed.values() for meeting in absorbed):
            with self._workspace.asking_later():
                self._settle_slots(dissolved.id, dissolved.timeline, Timeline())
        while self._pending:
            id_ = min(self._pending, key=self._first)
            pending = self._pending.pop(id_)
            with self._workspace.asking_later():
                meeting = self._workspace.meeting(id_)
                if meeting is not None:  # else dissolved or forgotten, though claims of it are still in a ledger
                    self._settle_slots(id_, *self._fold(meeting, pending))
        self._workspace.ask()
        return [event for meeting in self._before for event in self._announce(meeting)]

    def _first(self, meeting: str) -> tuple[OrderKey, str]:
        occurrences = self._pending[meeting].occurrences
        return (min(o.at for o in occurrences) if occurrences else OrderKey(0, "", 0)), meeting

    def _fold(self, meeting: Meeting, pending: _Pending) -> tuple[Timeline, Timeline]:
        """Fold what is pending into a meeting; return its timeline before and after."""
        before = meeting.timeline
        self._before.setdefault(meeting.id, before)
        calls = {c.id: c for c in map(self._workspace.call, meeting.calls) if c is not None}
        setting = Setting(meeting.call_type, meeting.known, self._options, self._policies)
        slots_view = _Slots(self._workspace, self._options, meeting.id)
        hindsight = meeting.media_told and all(call.end is not None for call in calls.values())
        after = None
        if not (hindsight or before.hindsight):
            after = self._folded_on(meeting, pending, calls, setting._replace(known=meeting.known_now), slots_view)
        if after is None:
            legs = self._workspace.legs_of(calls)
            recordings = [self._workspace.recording(r) for c in calls.values() for r in c.recordings]
            view = Viewpoint(hindsight=hindsight, arrivals=self._options.claim_at == "first_leg")
            occurrences = meeting_occurrences(meeting, calls, legs, [r for r in recordings if r is not None], view)
            after = replace(Fold(Timeline(), setting, slots_view, whole=True).run(occurrences), hindsight=hindsight)
        self._workspace.put(replace(meeting, timeline=after), "meeting", meeting.id)
        return before, after

    def _folded_on(
        self, meeting: Meeting, pending: _Pending, calls: Mapping[str, Call], setting: Setting, view: "_Slots"
    ) -> Timeline | None:
        """Return the timeline with what is pending folded onto it, or None where that does not suffice."""
        before = meeting.timeline
        if pending.taken_back:
            if before.undo is None or any(o.at != before.horizon for o in pending.taken_back):
                return None
            before = before.undo
        if pending.whole or any(o.at <= before.horizon for o in pending.occurrences):
            return None
        try:
            after = Fold(before, setting, view, whole=False).run(pending.occurrences)
        except NeedsWholeMeeting:
            return None
        for call in calls.values():
            count = after.calls.get(call.id)
            if call.end and count and (count.open or count.last > call.end):
                return None  # whoever is still in leaves with the call
        return after

    def _settle_slots(self, meeting: str, before: Timeline, after: Timeline) -> None:
        """Put the meeting's claims into the ledgers of their holders, and serve who waits there."""
        for policy in self._policies:
            was, now = (_by_holder(t.standings.get(policy, Standing())) for t in (before, after))
            for holder in sorted({*was, *now}):
                if was.get(holder) == now.get(holder):
                    continue
                ledger = self._workspace.ledger(policy, holder)
                ledger = slots.with_claims(ledger, meeting, now.get(holder, ()), self._workspace.clock)
                self._workspace.put(ledger if ledger.claims else None, "slots", policy, holder)
                since = slots.first_change(was.get(holder, ()), now.get(holder, ()))
                self._serve(policy, holder, since or slots.BEFORE_ALL)

    def _serve(self, policy: str, holder: str, since: OrderKey) -> None:
        """Have the meetings folded whose claims on a holder since then are served otherwise than they assume."""
        ledger, limit = self._workspace.ledger(policy, holder), self._options.pmp_calls_per_user
        waits, now = self._options.spill_back, self._workspace.clock
        for meeting, claim, right in slots.misjudged(ledger, limit, since, waits=waits, now=now):
            pending = self._pending.setdefault(meeting, _Pending())
            if claim.granted is None and claim.ended is None and right is not None:
                pending.occurrences.append(slot_freed(policy, holder, right))
            else:
                pending.whole = True

    def _announce(self, id_: str) -> list[Event]:
        """Tell how the deciding policy's timeline changed; keep what was announced on its transitions."""
        meeting = self._workspace.meeting(id_)
        if meeting is None:
            return []
        before, policy = self._before[id_], self._options.policy
        standing = meeting.timeline.standings.get(policy, Standing())
        names = [call.name for call in map(self._workspace.call, meeting.calls) if call]
        absorbed = [dissolved.timeline for dissolved in self._absorbed.get(id_, [])]
        transitions, events = timeline_changes(
            Subject(meeting.id, meeting.calls, next(filter(None, names), None)),
            _transitions(before, policy),
            standing.transitions,
            max(timeline.horizon for timeline in (before, *absorbed)),
            self._new_id,
            [transition for timeline in absorbed for transition in _transitions(timeline, policy)],
        )
        standings = {**meeting.timeline.standings, policy: replace(standing, transitions=transitions)}
        self._workspace.put(replace(meeting, timeline=replace(meeting.timeline, standings=standings)), "meeting", id_)
        return events


class _Slots:
    """What one meeting's fold sees of the holders' ledgers."""

    def __init__(self, workspace: Workspace, options: Options, meeting: str) -> None:
        self._workspace = workspace
        self._options = options
        self._meeting = meeting

    def grant(self, policy: str, claim: Claim, before: tuple[Claim, ...]) -> OrderKey | None:
        """Return from when on the claim is served."""
        ledger, options = self._workspace.ledger(policy, claim.holder), self._options
        limit, waits, now = options.pmp_calls_per_user, options.spill_back, self._workspace.clock
        return slots.grant(ledger, self._meeting, claim, before, limit, waits=waits, now=now)


def _transitions(timeline: Timeline, policy: str) -> tuple[Transition, ...]:
    return timeline.standings.get(policy, Standing()).transitions


def _by_holder(standing: Standing) -> dict[str, tuple[Claim, ...]]:
    claims: dict[str, list[Claim]] = {}
    for claim in standing.all_claims:
        claims.setdefault(claim.holder, []).append(claim)
    return {holder: tuple(found) for holder, found in claims.items()}
