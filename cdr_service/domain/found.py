"""Calls and legs as the Meeting Server's own lists show them, and how that goes into what is known of them.

It fills what no record has told; a callStart or callLegStart that comes later says everything anew.
"""

from collections.abc import Collection
from typing import NamedTuple

from msgspec.structs import replace

from cdr_service.domain.calls import OBSERVED, Call
from cdr_service.domain.legs import Leg, Observation, Seen, observe
from cdr_service.domain.records import OrderKey


class FoundCall(NamedTuple):
    """A live call, as the Meeting Server describes it."""

    id: str
    began: int
    """When, as far as that is told, in milliseconds of the records' clock."""
    session: str = OBSERVED
    """The session of its Call Bridge, where one is known."""
    call_bridge: str | None = None
    name: str | None = None
    call_type: str | None = None
    cospace: str | None = None
    correlator: str | None = None
    tenant: str | None = None
    owner_name: str | None = None


class FoundLeg(NamedTuple):
    """A live leg, as the Meeting Server describes it."""

    id: str
    call: str
    connected: bool
    lobby: bool = False
    remote_party: str | None = None
    display_name: str | None = None
    leg_type: str | None = None
    sub_type: str | None = None
    direction: str | None = None
    group: str | None = None
    recorder: bool = False
    streamer: bool = False
    moved_from: str | None = None
    video: bool | None = None
    """None where nothing is told of media."""
    user: str | None = None
    """The user's address."""
    identified: bool = False
    """Did the server say who it is, be it nobody?"""


def with_found(call: Call, found: FoundCall) -> Call:
    """Return a call of which no callStart came with what was found of it."""
    return replace(
        call,
        call_bridge=call.call_bridge or found.call_bridge,
        name=found.name,
        owner_name=found.owner_name,
        call_type=found.call_type,
        cospace=found.cospace,
        tenant=found.tenant,
        correlator=found.correlator,
        complete=False,
    )


def with_found_leg(leg: Leg, found: FoundLeg, at: OrderKey, link_sub_types: Collection[str]) -> Leg:
    """Return a leg with where it was found, and with what no callLegStart told of it."""
    seen = Seen.LOBBY if found.lobby else Seen.CONNECTED if found.connected else Seen.NOT_CONNECTED
    observed = observe(leg, Observation(at, seen, found.call))
    if any(one.seen in (Seen.STARTED, Seen.STARTED_IN_IVR) for one in leg.observations):
        return observed
    return replace(
        observed,
        remote_party=found.remote_party,
        display_name=found.display_name,
        leg_type=found.leg_type,
        sub_type=found.sub_type,
        direction=found.direction,
        group=found.group,
        recorder=leg.recorder or found.recorder,
        streamer=leg.streamer or found.streamer,
        link=(found.sub_type or "").lower() in {sub_type.lower() for sub_type in link_sub_types},
        moved_from=found.moved_from,
    )


def observe_gone(leg: Leg, at: OrderKey) -> Leg:
    """Return a leg that is no longer there; its callLegEnd, should it come, says since when."""
    return observe(leg, Observation(at, Seen.ENDED))
