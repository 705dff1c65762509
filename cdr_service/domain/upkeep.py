"""Changes of the books that no record brings: calls that never end, losses that are certain by now, and retention.

Each function is a task for the intake, which runs it in turn with the documents and commits what it changes.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from cdr_service.domain.bookkeeping import Bookkeeper
from cdr_service.domain.calls import STALE, Call, Meeting, Recording
from cdr_service.domain.events import Event
from cdr_service.domain.legs import Leg
from cdr_service.domain.records import OrderKey
from cdr_service.domain.sessions import Bridge, Gap, Session
from cdr_service.domain.workspace import Thing, Workspace


def close_stale(keeper: Bookkeeper, workspace: Workspace, call: str) -> None:
    """End a live call from which nothing was heard for too long: at the last that is known of it, as an estimate."""
    known = workspace.call(call)
    if known is None or known.end is not None:
        return
    meeting = workspace.meeting(known.meeting)
    count = meeting.timeline.calls.get(call) if meeting else None
    last = max(known.first_seen.time, known.began, count.last.time if count else 0)
    keeper.estimate_end(known, OrderKey(last, STALE, 0))


def close_silent(keeper: Bookkeeper, workspace: Workspace, call: str, since: int) -> None:
    """Close a stale call, unless a record of it came after all."""
    if workspace.silent_since(call, since):
        close_stale(keeper, workspace, call)


def unconcluded(session: Session, settled_before: int) -> list[Gap]:
    """Return what is lost of a session and was not told yet: gaps noticed before that moment, and not filled since."""
    told = {loss.number for loss in session.told if not loss.feed}
    unnumbered = [loss for loss in session.told if loss.feed]
    owed = session.owed.last if session.owed else -1
    return [
        gap
        for gap in session.gaps()
        if session.settled <= gap.noticed < settled_before
        and gap.last + 1 not in told
        and gap.last > owed
        and not any(loss.concerns(gap) for loss in unnumbered)
    ]


def conclude_losses(keeper: Bookkeeper, workspace: Workspace, session: str, settled_before: int, event_id: str) -> None:
    """Say which records of a session are lost: gaps noticed before that moment, which no feed has filled since."""
    known = workspace.get(Session, "session", session)
    lost = unconcluded(known, settled_before) if known else []
    if known is None or not lost:
        return
    workspace.put(replace(known, settled=settled_before), "session", session)
    keeper.events.append(
        Event(
            event="records.missing",
            event_id=event_id,
            record_time=lost[-1].before,
            call_bridge=known.bridge or None,
            session=session,
            details={
                "missing": sum(gap.missing for gap in lost),
                "reason": "there is a gap in the records of the session, and no feed has filled it in time",
            },
        )
    )


def forget_call(workspace: Workspace, call: str) -> None:
    """Remove an ended call with its legs and recordings, and its meeting once all calls of that are removed.

    Not while a call goes on that shares a leg or the meeting with it: what is decided there still rests on it.
    """
    known = workspace.call(call)
    if known is None or known.end is None:
        return
    legs = workspace.legs_of([call])
    meeting = workspace.meeting(known.meeting)
    beside = {other for leg in legs for other in leg.calls} | {*(meeting.calls if meeting else ())}
    workspace.need(("call", other) for other in beside)
    if any(other is not None and other.end is None for other in map(workspace.call, sorted(beside))):
        return
    for leg in legs:
        if all(other == call or workspace.call(other) is None for other in leg.calls):
            workspace.put(None, "leg", leg.id)
    workspace.need(("recording", recording) for recording in known.recordings)
    for recording in known.recordings:
        workspace.put(None, "recording", recording)
    workspace.put(None, "call", call)
    if meeting is None:
        return
    calls = tuple(other for other in meeting.calls if other != call)
    workspace.put(replace(meeting, calls=calls) if calls else None, "meeting", meeting.id)
    _forget_ledgers(workspace, meeting, legs)


def _forget_ledgers(workspace: Workspace, meeting: Meeting, legs: Iterable[Leg]) -> None:
    """Remove the ledgers of holders whose license no meeting that is left wants.

    These are the holders whose license the meeting wanted, and those of whom that turned out not to be so.
    """
    standings = meeting.timeline.standings
    known = meeting.owners
    known += [identity for leg in legs for identity in (leg.identity, *(one.identity for one in leg.observed))]
    holders = {identity.user for identity in known if identity.user and identity.holds_license}
    holders |= {claim.holder for standing in standings.values() for claim in standing.all_claims}
    ledgers = [(policy, holder) for policy in standings for holder in sorted(holders)]
    workspace.need(("slots", *ledger) for ledger in ledgers)
    for ledger in ledgers:
        wanting = workspace.ledger(*ledger).claims
        workspace.need(("meeting", other) for other in wanting)
        if not any(map(workspace.meeting, wanting)):
            workspace.put(None, "slots", *ledger)


def forget_session(workspace: Workspace, session: str) -> None:
    """Remove what is known of a session, its marks too, and its Call Bridge once that has no other."""
    known = workspace.get(Session, "session", session)
    if known is None:
        return
    workspace.put(None, "session", session)
    bridge = workspace.get(Bridge, "bridge", known.bridge)
    if bridge is not None:
        left = tuple(other for other in bridge.sessions if other != session)
        workspace.put(replace(bridge, sessions=left) if left else None, "bridge", bridge.id)


def is_loose(thing: Leg | Recording | None) -> bool:
    """Is it on no call?

    So is the leg of a scanner or of somebody who gave up in an IVR, and a recording of which only the end reached us.
    """
    if isinstance(thing, Recording):
        return thing.call is None
    return thing is not None and not thing.calls


def is_over(thing: Thing) -> bool:
    """Is it over, as far as is known? Then only a late record, or somebody who comes back, changes it any more."""
    match thing:
        case Call():
            return thing.end is not None
        case Leg():
            return thing.ending is not None
        case Recording():
            return thing.ended is not None
        case Meeting(timeline=timeline):
            return bool(timeline.calls) and not any(count.open for count in timeline.calls.values())
        case _:
            return False


def forget_loose(workspace: Workspace, name: str) -> None:
    """Remove a leg or a recording, named as `kind:id`, that is on no call."""
    kind, _, id_ = name.partition(":")
    known = workspace.leg(id_) if kind == "leg" else workspace.recording(id_)
    if is_loose(known):
        workspace.put(None, kind, id_)
