"""Is everything known of a call, or are records lost that could belong to it?"""

from typing import Final

from cdr_service.domain.calls import Call
from cdr_service.domain.sessions import Gap, Session

SETTLE_MILLISECONDS: Final = 60_000
"""A gap in the numbers seen counts as a loss once no feed filled it for so long. Our choice: feeds of one Call Bridge
usually run seconds apart, and one that lags more heals the mark when it brings the records."""


def known_losses(session: Session | None, now: int, settle: int = SETTLE_MILLISECONDS) -> tuple[Gap, ...]:
    """Return what a session is known to have lost, at `now` in milliseconds of our clock."""
    return tuple(session.losses(now - settle)) if session else ()


def complete(call: Call, losses: tuple[Gap, ...]) -> bool:
    """Return whether none of the losses of its session can concern the call.

    A lost record was generated between the records around the gap. A call whose callStart is not known may have begun
    at any time before it was first seen, and one without a callEnd goes on.
    """
    began = call.first_seen.time if call.started else None
    ended = call.ended.time if call.ended else None
    return call.complete and not any(
        (ended is None or gap.after <= ended) and (began is None or gap.before >= began) for gap in losses
    )
