"""What happened, as values: the objects of the event stream and of the log."""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from cdr_service.domain.licensing import License
from cdr_service.domain.records import OrderKey
from cdr_service.domain.timeline import Cause, Transition

EVENTS: Final = frozenset(
    {
        "call.started",
        "call.ended",
        "leg.joined",
        "leg.left",
        "license.assigned",
        "license.switched",
        "license.weight_changed",
        "license.released",
        "license.corrected",
        "policy.advice",
        "records.missing",
        "session.replaced",
        "bridges.unnamed",
        "document.rejected",
        "record.rejected",
        "directory.changed",
        "reconcile.drift",
        "reconcile.agreed",
    }
)
"""What can happen in the meetings of a deployment."""

LATE_MILLISECONDS: Final = 5000
"""A transition learned when records so much younger were already decided is late. Records of several bridges
interleave within a second or two, which nobody would call late."""

LATE_KNOWLEDGE: Final = (Cause.OWNER_RESOLVED, Cause.INITIATOR_RESOLVED, Cause.CORRECTION)
"""Causes that are no change in the meeting: something that had been true became known."""


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One thing that happened. `details` are the members that only this kind of event has."""

    event: str
    event_id: str
    record_time: int
    """Milliseconds since 1970 UTC."""
    call_bridge: str | None = None
    session: str | None = None
    meeting: str | None = None
    call: str | None = None
    leg: str | None = None
    details: dict[str, Any] = {}


class Subject(NamedTuple):
    """The meeting that an event is about."""

    meeting: str
    calls: tuple[str, ...]
    name: str | None


def timeline_changes(
    subject: Subject,
    before: Iterable[Transition],
    after: Iterable[Transition],
    horizon: OrderKey,
    new_id: Iterator[str],
    absorbed: Iterable[Transition] = (),
) -> tuple[tuple[Transition, ...], list[Event]]:
    """Return the new timeline with what was announced before, and an event for each change of it.

    `horizon` is up to where the timeline was decided before. Transitions that stand in both keep their event; new ones
    get one each; those that fell away are named by `supersedes` of the first event, which is a `license.corrected`
    where nothing else is to be said. `absorbed` fell away too: they were told of a meeting that is part of this one.
    """
    known = {_identity(transition): transition for transition in before}
    kept: list[Transition] = []
    events: list[Event] = []
    for transition in after:
        old = known.get(_identity(transition))
        if old is not None and old.same_change(transition):
            del known[_identity(transition)]
            kept.append(old)
            continue
        if old is not None and _was_told(old, transition):
            late = old.late
        else:
            # What stands in the place of another was wrong until now.
            overtaken = old is not None or transition.at.time < horizon.time - LATE_MILLISECONDS
            late = overtaken or transition.cause in LATE_KNOWLEDGE
        event = _announce(subject, replace(transition, late=late), next(new_id), instead=old is not None)
        kept.append(replace(transition, late=late, event_id=event.event_id))
        events.append(event)
    gone = [transition for transition in (*known.values(), *absorbed) if transition.event_id]
    if gone and not events:
        events.append(_correction(subject, kept, max(gone, key=lambda transition: transition.at), next(new_id)))
    if gone:
        superseded = [transition.event_id for transition in gone]
        events[0] = replace(events[0], details={**events[0].details, "supersedes": superseded})
    return tuple(kept), events


def _identity(transition: Transition) -> tuple[OrderKey, str]:
    """Return what tells two transitions of one meeting apart."""
    return transition.at, transition.after.type if transition.after else ""


def _was_told(old: Transition, new: Transition) -> bool:
    """Was what changed told before, so that only how it is told is new?

    That is so where the same was taken before and after, and where another payer took over from the same one: its
    reasons, and what it weighed, may be known better by now.
    """
    if _charges(old) == _charges(new):
        return True
    payers = _payers(old)
    return bool(payers) and payers[0] != payers[1] and payers == _payers(new)


def _charges(change: Transition) -> tuple[object, ...]:
    """Return what was taken before and after."""
    return tuple(one and one.charge for one in (change.before, change.after))


def _payers(change: Transition) -> tuple[tuple[str, str | None], ...]:
    """Return who paid before and after; nothing where nobody did."""
    before, after = change.before, change.after
    return ((before.type, before.holder), (after.type, after.holder)) if before and after else ()


def _announce(subject: Subject, change: Transition, event_id: str, *, instead: bool) -> Event:
    """Return the event that tells of a transition, or of what it really was `instead` of what had been told."""
    before, after = change.before, change.after
    if instead or change.cause in LATE_KNOWLEDGE:
        event = "license.corrected"
    elif before is None:
        event = "license.assigned"
    elif after is None:
        event = "license.released"
    elif (before.type, before.holder) != (after.type, after.holder):
        event = "license.switched"
    else:
        event = "license.weight_changed"
    return Event(
        event=event,
        event_id=event_id,
        record_time=change.at.time,
        meeting=subject.meeting,
        leg=change.leg,
        details={
            "calls": subject.calls,
            "name": subject.name,
            **_before_members(before),
            **_license_members(after),
            "rule": change.rule,
            "cause": Cause.CORRECTION if instead else change.cause,
            "user": change.user,
            "late": change.late,
            "reason": change.reason,
        },
    )


def _correction(subject: Subject, now: list[Transition], gone: Transition, event_id: str) -> Event:
    """Return the event for a timeline that lost transitions, the last of which is given, and got none instead."""
    standing = now[-1].after if now else None
    return Event(
        event="license.corrected",
        event_id=event_id,
        record_time=gone.at.time,
        meeting=subject.meeting,
        leg=gone.leg,
        details={
            "calls": subject.calls,
            "name": subject.name,
            **_before_members(gone.after),
            **_license_members(standing),
            "rule": standing and standing.rule,
            "cause": Cause.CORRECTION,
            "late": True,
            "reason": "a later record showed that what had been decided did not happen",
        },
    )


def _before_members(before: License | None) -> dict[str, Any]:
    return {"from": before and before.type, "from_holder": before and before.holder}


def _license_members(after: License | None) -> dict[str, Any]:
    return {
        "to": after and after.type,
        "holder": after and after.holder,
        "weight": after.weight if after else None,
    }
