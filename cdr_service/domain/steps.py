"""The steps of use over time: what a commit changes in the history of licenses and participants.

Use over record time is a sum over meetings, and changes only in *steps*: at that moment, so many more or fewer. When
the books change, the history changes by the steps of the meetings as they are now, less those of the meetings as they
were. So a late record repairs what it changes, in any order, and a record that comes in order adds a step or two
however large the meeting is. What is over within the same moment leaves no trace: record times are whole seconds.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from cdr_service.domain import usage
from cdr_service.domain.calls import Call, Meeting, meeting_occurrences, stays_until_end
from cdr_service.domain.legs import Leg
from cdr_service.domain.licensing import PERSONAL, License
from cdr_service.domain.timeline import Kind, Occurrence, Standing
from cdr_service.domain.workspace import LEGS_OF, Workspace


class Step(NamedTuple):
    """A place in the history where something changes."""

    time: int
    """Milliseconds since 1970 UTC."""
    series: str
    """What changes, by the names of `usage`: participants; per policy the meetings on PMP+ and the sixths of SMP+."""


Steps = Counter[Step]
"""By how much each changes."""


def license_steps(meeting: Meeting) -> Steps:
    """Return the steps of what a meeting takes under each policy."""
    steps: Steps = Counter()
    for policy, standing in meeting.timeline.standings.items():
        before = (0, 0)
        for transition in standing.transitions:
            now = _taken(transition.after)
            steps[Step(transition.at.time, usage.personal(policy))] += now[0] - before[0]
            steps[Step(transition.at.time, usage.sixths(policy))] += now[1] - before[1]
            before = now
    return steps


def participant_steps(occurrences: Iterable[Occurrence]) -> Steps:
    """Return the steps of how many people are in; somebody who is in by several legs counts once."""
    inside: Counter[str] = Counter()
    steps: Steps = Counter()
    for occurrence in sorted(o for o in occurrences if o.presence and o.kind in (Kind.JOINED, Kind.LEFT)):
        was_in = inside[occurrence.presence] > 0
        inside[occurrence.presence] += 1 if occurrence.kind is Kind.JOINED else -1
        change = (inside[occurrence.presence] > 0) - was_in
        steps[Step(occurrence.at.time, usage.PARTICIPANTS)] += change
    return steps


def changes(workspace: Workspace) -> Mapping[Step, int]:
    """Return by how much the history changes with what was changed in the workspace.

    What retention removes stays in the history. May raise NeedsLoad.
    """
    meetings = dict(_changed_meetings(workspace))
    steps: Steps = Counter()
    for before, after in meetings.values():
        if _standings(before) != _standings(after):
            steps.update(license_steps(after) if after else {})
            steps.subtract(license_steps(before) if before else {})
    legs = list(_changed_legs(workspace))
    whole = _counted_whole(workspace, legs, meetings, steps)
    for moved in legs:
        moved.add_to(steps, whole)
    return {step: change for step, change in steps.items() if change}


class _Time(NamedTuple):
    """A time that a leg was in a call, in milliseconds; `left` is None while it lasts."""

    call: str
    joined: int
    left: int | None


class _Moved(NamedTuple):
    """A leg that changed: when it was in which of its calls, by what is known before and now."""

    before: list[_Time]
    after: list[_Time]
    calls_before: Mapping[str, Call]
    calls_after: Mapping[str, Call]

    def add_to(self, steps: Steps, but: set[str]) -> None:
        """Add by how much it changes the number of people, but for some meetings."""
        for sign, times, calls in ((1, self.after, self.calls_after), (-1, self.before, self.calls_before)):
            for time in times:
                if calls[time.call].meeting in but:
                    continue
                steps[Step(time.joined, usage.PARTICIPANTS)] += sign
                if time.left is not None:
                    steps[Step(time.left, usage.PARTICIPANTS)] -= sign


def _times(leg: Leg, calls: Mapping[str, Call]) -> list[_Time]:
    if not leg.counted:
        return []
    return [
        _Time(stay.call, stay.joined.time, stay.left.time if stay.left else None)
        for stay, _ in stays_until_end(leg, calls)
    ]


def _changed_meetings(workspace: Workspace) -> Iterator[tuple[str, tuple[Meeting | None, Meeting | None]]]:
    for id_ in [key[1] for key in workspace.changed if key[0] == "meeting"]:
        before, after = workspace.before(("meeting", id_)), workspace.meeting(id_)
        # A meeting that turned out to be part of another leaves its calls behind; else retention removed it.
        forgotten = before is not None and after is None and not any(_remains(workspace, call) for call in before.calls)
        if before != after and not forgotten:
            yield id_, (before, after)


def _changed_legs(workspace: Workspace) -> Iterator[_Moved]:
    """Yield the legs that changed when they are in, or that share their presence with others."""
    for id_ in [key[1] for key in workspace.changed if key[0] == "leg"]:
        before, after = workspace.before(("leg", id_)) or Leg(id_), workspace.leg(id_)
        if after is None or before == after:
            continue
        workspace.need(("call", call) for call in {*before.calls, *after.calls})
        calls = _calls_before(workspace, before.calls), _calls_now(workspace, after.calls)
        moved = _Moved(_times(before, calls[0]), _times(after, calls[1]), *calls)
        if not (before.alone and after.alone) or moved.before != moved.after:
            yield moved


def _counted_whole(
    workspace: Workspace,
    legs: Iterable[_Moved],
    meetings: Mapping[str, tuple[Meeting | None, Meeting | None]],
    steps: Steps,
) -> set[str]:
    """Add the steps of participants of meetings that have all their legs at hand; return these meetings.

    A meeting that was folded as a whole has them. In any other the legs that changed are each a person of their own,
    and nobody else is concerned.
    """
    calls = (call for moved in legs for known in (moved.calls_before, moved.calls_after) for call in known.values())
    of_legs = {call.meeting for call in calls}
    workspace.need(("meeting", meeting) for meeting in of_legs)
    whole: set[str] = set()
    for id_ in sorted(of_legs | meetings.keys()):
        before, after = workspace.before(("meeting", id_)), workspace.meeting(id_)
        if all(_is_at_hand(workspace, call) for meeting in (before, after) if meeting for call in meeting.calls):
            whole.add(id_)
            if after is not None:
                now = _calls_now(workspace, after.calls), workspace.legs_of(after.calls)
                steps.update(participant_steps(meeting_occurrences(after, *now, [])))
            if before is not None:
                known = _calls_before(workspace, before.calls)
                remaining = [leg for leg in workspace.legs_before(known) if workspace.leg(leg.id) is not None]
                steps.subtract(participant_steps(meeting_occurrences(before, known, remaining, [])))
    return whole


def _is_at_hand(workspace: Workspace, call: str) -> bool:
    """Are all legs known that were ever on the call?"""
    is_new = workspace.is_loaded("call", call) and workspace.before(("call", call)) is None
    return is_new or workspace.is_loaded(LEGS_OF, call)


def _calls_now(workspace: Workspace, calls: Iterable[str]) -> dict[str, Call]:
    return {call.id: call for call in map(workspace.call, calls) if call is not None}


def _calls_before(workspace: Workspace, calls: Iterable[str]) -> dict[str, Call]:
    """Return calls as they were loaded, without those that retention removes now."""
    kept = {id_: workspace.before(("call", id_)) for id_ in calls if _remains(workspace, id_)}
    return {id_: call for id_, call in kept.items() if call is not None}


def _remains(workspace: Workspace, call: str) -> bool:
    return workspace.changed.get(("call", call), workspace.before(("call", call))) is not None


def _taken(license_then: License | None) -> tuple[int, int]:
    """Return how many meetings on PMP+ and how many sixths of SMP+ a license stands for."""
    if license_then is None:
        return 0, 0
    return (1, 0) if license_then.type == PERSONAL else (0, license_then.sixths)


def _standings(meeting: Meeting | None) -> Mapping[str, Standing]:
    return meeting.timeline.standings if meeting else {}
