"""The object that tells of an event: what stands in the event stream and, the same, on a log line."""

from datetime import UTC, datetime
from typing import Any, Final

from cdr_service.domain.events import Event

WARNINGS: Final = frozenset(
    {
        "reconcile.drift",
        "records.missing",
        "session.replaced",
        "bridges.unnamed",
        "document.rejected",
        "record.rejected",
    }
)
"""Events that an operator should look at."""


def rfc3339(milliseconds: int) -> str:
    """Return a time in UTC as text; whole seconds where it is one."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds" if milliseconds % 1000 else "seconds").replace("+00:00", "Z")


def announcement(event: Event, deployment: str, now: int) -> dict[str, Any]:
    """Return the object of an event that is told at `now` (milliseconds). Members that do not apply are left out."""
    about = {
        "deployment": deployment,
        "call_bridge": event.call_bridge,
        "session": event.session,
        "meeting": event.meeting,
        "call": event.call,
        "leg": event.leg,
    }
    return {
        "event": event.event,
        "timestamp": rfc3339(now),
        "level": "warning" if event.event in WARNINGS else "info",
        "event_id": event.event_id,
        "record_time": rfc3339(event.record_time),
        **{name: value for name, value in about.items() if value is not None},
        **event.details,
    }
