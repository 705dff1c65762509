"""What a meeting's license timeline is made of: occurrences go in, transitions come out (see `fold`)."""

from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from cdr_service.domain.identity import NOBODY, Identity
from cdr_service.domain.licensing import License
from cdr_service.domain.records import OrderKey
from cdr_service.domain.slots import Claim
from cdr_service.domain.spaces import Circumstances


class Kind(StrEnum):
    """What can happen in a meeting. The values order what one record causes at once: who moves joins, then leaves."""

    LEARNED = "a circumstances learned"
    IDENTIFIED = "b identified"
    JOINED = "c joined"
    ARRIVED = "d arrived"
    LEFT = "e left"
    DEPARTED = "f departed"
    RECORDING_STARTED = "g recording started"
    RECORDING_STOPPED = "h recording stopped"
    STREAMING_STARTED = "i streaming started"
    STREAMING_STOPPED = "j streaming stopped"
    VIDEO_SEEN = "k video seen"
    SLOT_FREED = "l slot freed"


class Occurrence(NamedTuple):
    """One thing that happened in a meeting. Sorting a list of them gives the order of the fold."""

    at: OrderKey
    kind: Kind
    call: str = ""
    leg: str = ""
    presence: str = ""
    """The person: legs that share it are counted once. Empty for a leg that is no participant."""
    policy: str = ""
    """Of a freed slot: the policy under which it became free."""
    identity: Identity = NOBODY
    call_ended: bool = False
    """It left or stopped because its call ended."""
    video: bool | None = None
    """Does the leg use video then? None where nobody can tell. Of one that leaves: as it was until then."""
    identity_before: Identity = NOBODY
    """Of a leg whose user became known: who it was taken for before."""
    video_before: bool | None = None
    """Of a leg whose video was seen: as it was known before."""
    circumstances: Circumstances = Circumstances()
    """What was learned."""


class Cause(StrEnum):
    """Why a license changed, as the query API and the log name it."""

    FIRST_PARTICIPANT = "first_participant"
    MEMBER_JOINED = "member_joined"
    MEMBER_LEFT = "member_left"
    OWNER_RESOLVED = "owner_resolved"
    INITIATOR_RESOLVED = "initiator_resolved"
    SLOT_FREED = "slot_freed"
    SLOT_TAKEN = "slot_taken"
    PARTICIPANT_LEFT = "participant_left"
    THIRD_PARTICIPANT = "third_participant"
    RECORDING_STARTED = "recording_started"
    RECORDING_STOPPED = "recording_stopped"
    VIDEO_STARTED = "video_started"
    VIDEO_STOPPED = "video_stopped"
    DIRECTORY_CHANGED = "directory_changed"
    POLICY_CHANGED = "policy_changed"
    CALL_ENDED = "call_ended"
    CORRECTION = "correction"


class Transition(Struct, frozen=True, array_like=True, gc=False):
    """A change of what a meeting takes. `before` and `after` are None while it takes nothing."""

    at: OrderKey
    before: License | None
    after: License | None
    cause: Cause
    rule: str | None
    leg: str | None
    user: str | None
    reason: str
    late: bool = False
    """It was learned later than it was true. Of arrival, so no part of what is derived."""
    event_id: str | None = None
    """The event that announced it. Of arrival, too."""

    def same_change(self, other: "Transition") -> bool:
        """Do both tell the same change? What arrival added does not matter."""
        return replace(self, late=False, event_id=None) == replace(other, late=False, event_id=None)


class Candidate(Struct, frozen=True, array_like=True, gc=False):
    """A holder whose license the meeting wants while none pays."""

    user: str
    legs: tuple[str, ...]
    """The legs by which the holder is in; empty for an owner, who need not be."""
    joined: OrderKey
    claim: Claim
    sure: bool = False
    """Does the Meeting Server itself say that it is the holder?"""

    @property
    def is_owner(self) -> bool:
        """Is it wanted as the owner, rather than as somebody who joined?"""
        return not self.legs


class Standing(Struct, frozen=True, array_like=True, gc=False):
    """Where a meeting stands under one policy."""

    license: License | None = None
    transitions: tuple[Transition, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    """Who could pay, while no PMP+ does."""
    claims: tuple[Claim, ...] = ()
    """Claims on holders' licenses that ended, and the one that pays now."""

    @property
    def all_claims(self) -> tuple[Claim, ...]:
        """Every claim that the meeting made, the waiting ones too."""
        return (*self.claims, *(candidate.claim for candidate in self.candidates))


class CallCount(Struct, frozen=True, array_like=True, gc=False):
    """What happened on one of the meeting's calls."""

    participants: int = 0
    participants_peak: int = 0
    inside: int = 0
    """Legs that are in, those included that are no participants."""
    recordings: int = 0
    streamings: int = 0
    last: OrderKey = OrderKey(0, "", 0)
    """The last occurrence on it."""
    present: int = 0
    """Legs that are on it, in the lobby or an IVR too; counted only where a license is claimed at the first leg."""

    @property
    def open(self) -> bool:
        """Is anything going on that the end of the call would end?"""
        return bool(self.inside or self.recordings or self.streamings or self.present)


class Attendance(Struct, frozen=True, array_like=True, gc=False):
    """How many are in a meeting now, by what its license depends on."""

    video: int = 0
    """Participants' legs that use video."""
    audio_only: int = 0
    """Participants' legs that use none."""
    unsure: int = 0
    """Participants' legs of whom the Meeting Server itself does not say whose they are."""
    uses_video: bool | None = None
    """Does anybody use video? None where that was known of nobody who was in; who is not known goes with the others."""


class Timeline(Struct, frozen=True, array_like=True, gc=False):
    """The result of the fold, stored per meeting; its size does not grow with the legs."""

    horizon: OrderKey = OrderKey(0, "", 0)
    """The last occurrence folded; what comes at or before it is late."""
    participants: int = 0
    participants_peak: int = 0
    calls: dict[str, CallCount] = {}
    standings: dict[str, Standing] = {}
    attendance: Attendance = Attendance()
    hindsight: bool = False
    """Was it decided when the meeting was over, by what the ends of its legs told of their media?"""
    undo: "Timeline | None" = None
    """How it was before the last record, if all that this one told is that a leg came in: whoever is in from the start
    of the leg on is often found in the lobby by the next record."""


def slot_freed(policy: str, holder: str, at: OrderKey) -> Occurrence:
    """Return the occurrence that a slot of the holder's license became free for the meeting under that policy."""
    return Occurrence(at, Kind.SLOT_FREED, presence=holder, policy=policy, identity=Identity(user=holder))
