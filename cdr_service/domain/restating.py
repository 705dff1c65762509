"""Facts that were derived anew from the kept documents, put in place of those in the books.

Only what the documents hold whole is put in place: every record that the kept facts rest on must be among those that
the new ones were derived from, so that nothing can be lost by it. What no record tells stays as it is kept: which
calls are over because their session was replaced or nothing was heard of them (that rests on more than these
documents), and who was known at the time to be behind a leg.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple, TypeVar

from msgspec.structs import replace

from cdr_service.domain.bookkeeping import Bookkeeper
from cdr_service.domain.calls import Call, Meeting, Recording
from cdr_service.domain.knowledge import evidence
from cdr_service.domain.legs import Leg
from cdr_service.domain.records import OrderKey
from cdr_service.domain.slots import KEPT_MILLISECONDS, Ledger
from cdr_service.domain.timeline import Timeline
from cdr_service.domain.workspace import Workspace

T = TypeVar("T", Call, Leg, Recording, Meeting)

Seen = Callable[[OrderKey], bool]
"""Is the record at this place among those of the kept documents?"""


class Facts(NamedTuple):
    """All that is known of some calls: they share their meetings and legs with no other call."""

    calls: Mapping[str, Call]
    legs: Mapping[str, Leg]
    recordings: Mapping[str, Recording]
    meetings: Mapping[str, Meeting]

    def records(self) -> Iterator[OrderKey]:
        """Yield the places of the records that they rest on."""
        for call in self.calls.values():
            yield from filter(None, (call.first_seen, call.started, call.ended))
        for leg in self.legs.values():
            yield from (observation.at for observation in leg.observations)
        for recording in self.recordings.values():
            yield from filter(None, (recording.started, recording.ended))


NOTHING: Final = Facts({}, {}, {}, {})


class Overtaken(Exception):  # noqa: N818 - nothing is wrong: the documents have to be read on
    """The books hold more than the documents that the facts were derived from."""


def lie_inside(kept: Facts, derived: Facts, seen: Seen) -> bool:
    """Return whether the kept facts lie wholly inside the documents that the others were derived from."""
    together = {call for meeting in kept.meetings.values() for call in meeting.calls} <= derived.calls.keys()
    known = all(before.keys() <= after.keys() for before, after in zip(kept[:3], derived[:3], strict=True))
    started = all(call.started is not None for call in derived.calls.values())
    return together and known and started and all(map(seen, kept.records()))


def restate(
    keeper: Bookkeeper, workspace: Workspace, derived: Facts, seen: Seen, *, policy: str, known_anew: bool
) -> None:
    """Put derived facts in place of those in the books, and have their meetings folded whole.

    The fold asks the ledgers for slots and tells what it changes, as it does after a record, so only meetings that
    want the same holder's license can change with them. `policy` is the deciding one: what was decided under it
    before it was set is told now. Raises Overtaken, with the workspace left as it was.
    """
    kept = _in_books(workspace, derived)
    if not lie_inside(kept, derived, seen):
        raise Overtaken
    facts = _with_what_no_record_tells(kept, derived, known_anew=known_anew)
    for call in facts.calls.values():
        before = workspace.call(call.id)
        _put(workspace, before, call, "call")
        if before is not None and before.meeting not in facts.meetings:
            keeper.fold_again(call.meeting, instead_of=before.meeting)
    for leg in facts.legs.values():
        known = workspace.leg(leg.id)
        for on in leg.calls:
            if known is None or on not in known.calls:
                workspace.add_leg(on, leg.id)
        _put(workspace, known, leg, "leg")
    for recording in facts.recordings.values():
        _put(workspace, workspace.recording(recording.id), recording, "recording")
    for meeting in facts.meetings.values():
        folded = workspace.meeting(meeting.id) or Meeting(meeting.id)
        _put(workspace, folded, replace(meeting, timeline=_as_told(folded.timeline, policy)), "meeting")
        keeper.fold_again(meeting.id)


def settled_waits(meeting: Meeting, ledger: Callable[[str, str], Ledger]) -> bool:
    """Return whether the meeting waited for a holder's license so long ago that the ledger no longer tells for whom.

    Folded anew it might seem to have been served at once. `ledger` gives the claims by policy and holder.
    """
    return any(
        claim.ended.time <= _newest(ledger(policy, claim.holder)) - KEPT_MILLISECONDS
        for policy, standing in meeting.timeline.standings.items()
        for claim in standing.all_claims
        if claim.ended is not None and (claim.granted is None or claim.granted > claim.wanted)
    )


def _in_books(workspace: Workspace, facts: Facts) -> Facts:
    """Return what the books hold of these facts."""
    workspace.need(
        (kind, id_)
        for kind, things in zip(("call", "leg", "recording", "meeting"), facts, strict=True)
        for id_ in things
    )
    calls = _by_id(map(workspace.call, facts.calls))
    recordings = {*facts.recordings, *(id_ for call in calls.values() for id_ in call.recordings)}
    return Facts(
        calls,
        _by_id([*workspace.legs_of(facts.calls), *map(workspace.leg, facts.legs)]),
        _by_id(map(workspace.recording, recordings)),
        _by_id(map(workspace.meeting, {*facts.meetings, *(call.meeting for call in calls.values())})),
    )


def _with_what_no_record_tells(kept: Facts, derived: Facts, *, known_anew: bool) -> Facts:
    """Return the facts that are to be put in place of the kept ones.

    Who is behind a leg and who owns a space stays as it was known, unless `known_anew` or what decides it has changed.
    """

    def call(new: Call) -> Call:
        old = kept.calls.get(new.id, new)
        return replace(new, end_estimated=None if new.ended or old is new else old.end_estimated, complete=old.complete)

    def leg(new: Leg) -> Leg:
        old = kept.legs.get(new.id)
        if old is None:
            return new
        new = replace(new, linked=new.linked or old.linked)  # by a leg of another meeting, perhaps
        if known_anew or evidence(old) != evidence(new):
            return new
        return replace(new, identity=old.identity, observed=old.observed)

    def meeting(new: Meeting) -> Meeting:
        old = kept.meetings.get(new.id)
        if old is None:
            return new
        calls = tuple(dict.fromkeys([*(call for call in old.calls if call in new.calls), *new.calls]))
        if known_anew:
            return replace(new, calls=calls)
        return replace(new, calls=calls, known=old.known, learned=old.learned, held=old.held)

    return Facts(
        _each(call, derived.calls), _each(leg, derived.legs), derived.recordings, _each(meeting, derived.meetings)
    )


def _newest(ledger: Ledger) -> int:
    return max((claim.wanted.time for claims in ledger.claims.values() for claim in claims), default=0)


def _as_told(timeline: Timeline, policy: str) -> Timeline:
    """Return the timeline with only those changes under the policy that were announced."""
    standing = timeline.standings.get(policy)
    if standing is None:
        return timeline
    told = tuple(change for change in standing.transitions if change.event_id is not None)
    return replace(timeline, standings={**timeline.standings, policy: replace(standing, transitions=told)})


def _each(change: Callable[[T], T], things: Mapping[str, T]) -> dict[str, T]:
    return {id_: change(thing) for id_, thing in things.items()}


def _by_id(things: Iterable[T | None]) -> dict[str, T]:
    return {thing.id: thing for thing in things if thing is not None}


def _put(workspace: Workspace, before: T | None, thing: T, kind: str) -> None:
    if before != thing:
        workspace.put(thing, kind, thing.id)
