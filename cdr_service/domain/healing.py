"""Mends the books by what the Meeting Server's own lists say: what it has and we do not, and the reverse.

What is read there is an observation like that of a record, made at the moment of reading, in a session of no name. So
it stands in its place among the records whenever these come: an earlier callStart describes the call from then on, an
earlier callLegEnd ends the leg earlier. Each task may be repeated, and does nothing where a record came meanwhile.
"""

from typing import Final

from msgspec.structs import replace

from cdr_service.domain.bookkeeping import Bookkeeper
from cdr_service.domain.calls import STALE
from cdr_service.domain.events import Event
from cdr_service.domain.found import FoundCall, FoundLeg
from cdr_service.domain.records import OrderKey
from cdr_service.domain.sessions import Gap, Session
from cdr_service.domain.workspace import Workspace

UNTOLD: Final = (
    "the Meeting Server has generated records that did not reach us in time; what they tell is read from its API"
)


def open_call(keeper: Bookkeeper, found: FoundCall, at: OrderKey) -> None:
    """Take in a call that the server has, as found at that time, unless its callStart came."""
    keeper.find_call(found, at)


def open_leg(keeper: Bookkeeper, workspace: Workspace, found: FoundLeg, at: OrderKey) -> None:
    """Take in a leg that the server has on a call that we know, unless a record of it came."""
    known, call = workspace.leg(found.id), workspace.call(found.call)
    if call is None or call.end is not None or (known is not None and (known.ended_at or found.call in known.calls)):
        return
    keeper.find_leg(found, at)
    if found.identified:
        keeper.know_user(found.id, found.user, at)
    if found.video is not None and found.connected:
        keeper.know_video(found.id, found.video, at)


def close_leg(keeper: Bookkeeper, workspace: Workspace, leg: str, at: OrderKey) -> None:
    """End a leg that the server no longer has, at that time at the latest."""
    known = workspace.leg(leg)
    if known is not None and known.ended_at is None:
        keeper.lose_leg(leg, at)


def close_call(keeper: Bookkeeper, workspace: Workspace, call: str, at: int) -> None:
    """End a call that the server no longer has, at that time at the latest; a record of it would reopen it."""
    known = workspace.call(call)
    if known is not None and known.end is None:
        keeper.estimate_end(known, OrderKey(max(at, known.began), STALE, 0))


def note_behind(keeper: Bookkeeper, workspace: Workspace, session: str, owed: Gap, event_id: str) -> None:
    """Take in that the server numbered records of a session that have not reached us, and say so."""
    known = workspace.get(Session, "session", session)
    if known is None or known.unnumbered or known.latest_number >= owed.last:
        return
    if known.owed is not None and known.owed.last >= owed.last:
        return
    first = max(owed.first, known.latest_number + 1, known.owed.last + 1 if known.owed else 0)
    workspace.put(replace(known, owed=owed), "session", session)
    keeper.events.append(
        Event(
            event="records.missing",
            event_id=event_id,
            record_time=owed.before,
            call_bridge=known.bridge or None,
            session=session,
            details={"missing": owed.last - first + 1, "reason": UNTOLD},
        )
    )
