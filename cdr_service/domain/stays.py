"""When a leg was in which call, and what it did there, read from what the records said of it.

When is a leg in? An incoming leg whose start names its call is in from then on. An update that finds it in the lobby
or an IVR before it was ever connected takes that back. An outgoing leg is in once an update says `connected`; one
that never was told connected is judged at its end, so that a call-out nobody answered never counts. Back in the
lobby means out. A callLegUpdate without `state` changes nothing: it is normal on the way out (`docs/cdr.md`).
"""

from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from cdr_service.domain.legs import Leg, Seen
from cdr_service.domain.records import OrderKey

UNANSWERED: Final = frozenset(
    {
        "callDeactivated",
        "confirmationTimeOut",
        "dnsFailure",
        "encryptionRequired",
        "error",
        "incorrectPasscode",
        "ivrTimeout",
        "ivrUnknownCall",
        "participantLimitReached",
        "remoteBusy",
        "remoteRejected",
        "ringingTimeout",
        "tenantParticipantLimitReached",
        "timeout",
        "unknownDestination",
    }
)
"""Reasons that end a leg before anybody was reached (reason codes of the CDR guide)."""


class LegState(StrEnum):
    """Where a leg is now, as the query API names it."""

    RINGING = "ringing"
    IVR = "ivr"
    LOBBY = "lobby"
    CONNECTED = "connected"
    ENDED = "ended"


class Stay(Struct, frozen=True, array_like=True, gc=False):
    """A time in a call. `left` is None while it lasts."""

    call: str
    joined: OrderKey
    left: OrderKey | None = None


def stays(leg: Leg) -> tuple[Stay, ...]:
    """Return when the leg was in which call, by the rule at the head of this module."""
    found: list[Stay] = []
    call: str | None = None
    since: OrderKey | None = None
    confirmed = False
    for observation in leg.observations:
        at, seen = observation.at, observation.seen
        moved = observation.call is not None and observation.call != call
        if since is not None and call is not None and (moved or seen in (Seen.ENDED, Seen.LOBBY, Seen.IVR)):
            if confirmed or seen not in (Seen.LOBBY, Seen.IVR):
                found.append(Stay(call, since, at))
            since, was_in = None, True
        else:
            was_in = since is not None
        call = observation.call or call
        if seen is Seen.ENDED:
            break
        if seen is Seen.CONNECTED:
            confirmed = confirmed or call is not None
            joins = call is not None
        elif seen is Seen.STARTED:
            joins = call is not None and leg.direction != "outgoing"
        else:
            joins = seen is Seen.NOT_CONNECTED and was_in
        if joins and since is None:
            since = at
    if since is not None and call is not None:
        found.append(Stay(call, since))
    if not found and call is not None:
        found.extend(_judged_at_end(leg, call))
    return tuple(found)


def arrivals(leg: Leg) -> tuple[Stay, ...]:
    """Return when the leg was on which call, also while it waited in the lobby or an IVR.

    A leg that the server calls out to arrives when it is connected.
    """
    found: list[Stay] = []
    here: Stay | None = None
    for observation in leg.observations:
        moved = observation.call is not None and here is not None and observation.call != here.call
        if here is not None and (moved or observation.seen is Seen.ENDED):
            found.append(replace(here, left=observation.at))
            here = None
        if observation.seen is Seen.ENDED:
            break
        reached = leg.direction != "outgoing" or observation.seen is Seen.CONNECTED or bool(found)
        if here is None and observation.call is not None and reached:
            here = Stay(observation.call, observation.at)
    return (*found, here) if here is not None else tuple(found)


def video_at(leg: Leg, at: OrderKey, *, hindsight: bool) -> bool | None:
    """Return whether the leg used video then; None where nobody can tell.

    What its callLegEnd says counts only in `hindsight`, for the whole of the leg: that it used no video stands, that
    it used some is what is known where the Meeting Server was not asked.
    """
    told = leg.ending.uses_video if hindsight and leg.ending else None
    if told is False:
        return False
    for seen in leg.video_seen:
        if seen.since <= at:
            told = seen.video
    return told


def _judged_at_end(leg: Leg, call: str) -> tuple[Stay, ...]:
    """Return the stay of a leg that no record said to be in, judged by what its end says."""
    ended, ending = leg.ended_at, leg.ending
    if ended is None or ending is None:
        return ()
    seconds = ending.activated_seconds
    if seconds is None and not any(o.seen in (Seen.NOT_CONNECTED, Seen.LOBBY, Seen.IVR) for o in leg.observations):
        seconds = 0 if ending.reason in UNANSWERED else ending.duration_seconds
    if not seconds:
        return ()
    return (Stay(call, replace(ended, time=ended.time - seconds * 1000), ended),)


def state(leg: Leg) -> LegState:
    """Return where the leg is now."""
    now = LegState.RINGING
    for observation in leg.observations:
        match observation.seen:
            case Seen.ENDED:
                return LegState.ENDED
            case Seen.LOBBY:
                now = LegState.LOBBY
            case Seen.IVR | Seen.STARTED_IN_IVR:
                now = LegState.IVR
            case Seen.CONNECTED:
                now = LegState.CONNECTED
            case Seen.STARTED if observation.call and leg.direction != "outgoing":
                now = LegState.CONNECTED
            case _:
                pass
    return now
