"""Call legs: what the records said of one.

A leg keeps what each of its records observed, in record order, and everything else is derived from that: when it was in
which call by `stays`. So records may arrive in any order, and a repeated one changes nothing.
"""

from collections.abc import Collection
from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from cdr_service.domain.identity import NOBODY, Identity
from cdr_service.domain.options import LINK_SUB_TYPES
from cdr_service.domain.records import CallLegEnd, CallLegStart, CallLegUpdate, OrderKey

MOVED: Final = "callMoved"
"""Reason of a leg that was moved away; its successor names it in movedCallLeg."""


class Seen(StrEnum):
    """What one record observed of a leg."""

    STARTED = "s"
    STARTED_IN_IVR = "i"
    CONNECTED = "c"
    LOBBY = "l"
    IVR = "v"
    NOT_CONNECTED = "u"
    ENDED = "e"


class Observation(Struct, frozen=True, array_like=True, gc=False):
    """One record about a leg, reduced to what decides where the leg was."""

    at: OrderKey
    seen: Seen
    call: str | None = None


class Current(Struct, frozen=True, array_like=True, gc=False):
    """What the latest update said; an update is a snapshot of everything current."""

    at: OrderKey
    display_name: str | None = None
    remote_address: str | None = None
    cdr_tag: str | None = None
    group: str | None = None


class Ending(Struct, frozen=True, array_like=True, gc=False):
    """What callLegEnd said."""

    reason: str | None = None
    duration_seconds: int | None = None
    activated_seconds: int | None = None
    audio: bool | None = None
    video: bool | None = None
    presentation: bool | None = None

    @property
    def uses_video(self) -> bool | None:
        """Did the leg use video, or share content? None where nothing is said of media.

        Whether content alone makes a call a video call is open; it is taken as one (`docs/licensing.md`).
        """
        return None if self.audio is None else bool(self.video or self.presentation)


class VideoSeen(Struct, frozen=True, array_like=True, gc=False):
    """What the Meeting Server said of a leg's video, from a moment on."""

    since: OrderKey
    video: bool


class Observed(Struct, frozen=True, array_like=True, gc=False):
    """Who the leg belongs to, as the directory told from a moment on."""

    since: OrderKey
    identity: Identity


class Leg(Struct, frozen=True, array_like=True, gc=False):
    """All that is known of one call leg. Derived facts are functions of it; nothing here depends on arrival."""

    id: str
    observations: tuple[Observation, ...] = ()
    remote_party: str | None = None
    remote_address: str | None = None
    local_address: str | None = None
    display_name: str | None = None
    leg_type: str | None = None
    sub_type: str | None = None
    direction: str | None = None
    group: str | None = None
    cdr_tag: str | None = None
    guest: bool | None = None
    recorder: bool = False
    streamer: bool = False
    moved_from: str | None = None
    linked: bool = False
    """Another leg was moved from this one, so both may be one presence."""
    current: Current | None = None
    ending: Ending | None = None
    identity: Identity = NOBODY
    """Who it belongs to, by the directory as it was when the leg became known."""
    observed: tuple[Observed, ...] = ()
    """Later changes of the directory that concern this leg, from when they were noticed."""
    link: bool = False
    """Does it link two Call Bridges?"""
    video_seen: tuple[VideoSeen, ...] = ()

    @property
    def counted(self) -> bool:
        """Does it count as a participant? Recorders, streamers and links between bridges do not."""
        return not (self.recorder or self.streamer or self.link)

    @property
    def alone(self) -> bool:
        """Is it a presence of its own, that is neither moved nor one of several legs of a Lync person?"""
        return not self.linked and self.moved_from is None and not self.is_lync

    @property
    def ties(self) -> tuple[object, ...]:
        """What decides of which presence it is, where it is none of its own. A change changes its meetings."""
        if self.alone:
            return ()
        moved = self.linked and self.ending is not None and self.ending.reason == MOVED
        return moved, self.linked, self.moved_from, self.is_lync and self.group_id, self.calls

    @property
    def is_lync(self) -> bool:
        """Lync and Skype people may have two or three legs that share one groupId."""
        return is_lync(self.sub_type)

    @property
    def shown_name(self) -> str | None:
        """The current display name."""
        return (self.current and self.current.display_name) or self.display_name

    @property
    def shown_address(self) -> str | None:
        """The current remote address."""
        return (self.current and self.current.remote_address) or self.remote_address

    @property
    def group_id(self) -> str | None:
        """The groupId, from whichever record told it."""
        return self.group or (self.current.group if self.current else None)

    @property
    def user_tag(self) -> str | None:
        """The user's cdrTag, from whichever record told it."""
        return self.cdr_tag or (self.current.cdr_tag if self.current else None)

    @property
    def identity_now(self) -> Identity:
        """Who it belongs to by the newest that is known."""
        return self.observed[-1].identity if self.observed else self.identity

    @property
    def calls(self) -> tuple[str, ...]:
        """Every call that it was ever said to be on, in order."""
        return tuple(self.named_at)

    @property
    def named_at(self) -> dict[str, OrderKey]:
        """When the leg was first said to be on each of these calls, in order."""
        named: dict[str, OrderKey] = {}
        for observation in self.observations:
            if observation.call:
                named.setdefault(observation.call, observation.at)
        return named

    @property
    def ended_at(self) -> OrderKey | None:
        """When callLegEnd was generated."""
        return next((o.at for o in self.observations if o.seen is Seen.ENDED), None)

    @property
    def started_at(self) -> int | None:
        """When it started (milliseconds): its start record; else its end less its duration; else the first it was seen.

        A lost callLegStart is reconstructed as Mividas Core does (`docs/cdr.md`).
        """
        if not self.observations:
            return None
        first = self.observations[0]
        if first.seen not in (Seen.STARTED, Seen.STARTED_IN_IVR):
            ended = self.ended_at
            if ended and self.ending and self.ending.duration_seconds is not None:
                return min(first.at.time, ended.time - self.ending.duration_seconds * 1000)
        return first.at.time


def is_lync(sub_type: str | None) -> bool:
    """Is this the subType of a Lync or Skype person's leg?"""
    return sub_type is not None and sub_type.lower() == "lync"


def observe_start(
    leg: Leg, record: CallLegStart, at: OrderKey, link_sub_types: Collection[str] = LINK_SUB_TYPES
) -> Leg:
    """Return the leg with what its callLegStart says; `link_sub_types` mark a link between two Call Bridges.

    A recordingStart may have told before that it is the recorder's leg.
    """
    seen = Seen.STARTED_IN_IVR if record.ivr else Seen.STARTED
    return replace(
        observe(leg, Observation(at, seen, record.call)),
        remote_party=record.remote_party,
        remote_address=record.remote_address,
        local_address=record.local_address,
        display_name=record.display_name,
        leg_type=record.leg_type,
        sub_type=record.sub_type,
        direction=record.direction,
        group=record.group_id,
        cdr_tag=record.cdr_tag,
        guest=record.guest,
        recorder=leg.recorder or bool(record.recording),
        streamer=leg.streamer or bool(record.streaming),
        link=(record.sub_type or "").lower() in {sub_type.lower() for sub_type in link_sub_types},
        moved_from=record.moved_from,
    )


def observe_update(leg: Leg, record: CallLegUpdate, at: OrderKey) -> Leg:
    """Return the leg with what a callLegUpdate says."""
    if record.deactivated:
        seen = Seen.LOBBY
    elif record.ivr:
        seen = Seen.IVR
    elif record.state == "connected":
        seen = Seen.CONNECTED
    else:
        seen = Seen.NOT_CONNECTED
    current = leg.current
    if current is None or current.at < at:
        current = Current(at, record.display_name, record.remote_address, record.cdr_tag, record.group_id)
    return replace(observe(leg, Observation(at, seen, record.call)), current=current)


def observe_end(leg: Leg, record: CallLegEnd, at: OrderKey) -> Leg:
    """Return the leg with what its callLegEnd says. Media are told only here (an audio-only leg omits video)."""
    usage = record.media_usage
    shares = (usage.main_video_viewer, usage.main_video_contributor) if usage else ()
    video = bool(record.rx_video or record.tx_video or any(shares))
    audio = bool(record.rx_audio or record.tx_audio)
    presentation = bool(usage and (usage.presentation_viewer or usage.presentation_contributor))
    known = audio or video or presentation
    ending = Ending(
        record.reason,
        record.duration_seconds,
        record.activated_duration,
        audio if known else None,
        video if known else None,
        presentation if known else None,
    )
    return replace(observe(leg, Observation(at, Seen.ENDED)), ending=ending)


def observe(leg: Leg, observation: Observation) -> Leg:
    """Return the leg with one more observation in its place; the same one twice stays one."""
    observations = leg.observations
    if not observations or observations[-1].at < observation.at:
        return replace(leg, observations=(*observations, observation))
    others = [o for o in observations if o.at != observation.at]
    return replace(leg, observations=tuple(sorted([*others, observation], key=lambda o: o.at)))
