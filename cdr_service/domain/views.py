"""The shapes of what the query API shows; `showing` says how each is made of what is known.

Times are RFC 3339 in UTC. Members that are not known are null rather than left out.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from cdr_service.domain.licensing import Status
from cdr_service.domain.stays import LegState
from cdr_service.domain.timeline import Cause

CallState = Literal["active", "ended"]

SwitchKind = Literal["type", "holder", "weight"]
"""What a switch changed: SMP+ to PMP+ or back; else whose PMP+ pays; else only the weight."""

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""A time, RFC 3339 in UTC."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(milliseconds: int) -> str:
    """Return a time as RFC 3339 in UTC, with milliseconds only where there are any.

    A time that no calendar has (a record may tell of a leg that lasted a million years) is shown as the year 1.
    """
    try:
        moment = _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        moment = datetime.min.replace(tzinfo=UTC)
    precision = "milliseconds" if moment.microsecond else "seconds"
    return moment.replace(tzinfo=None).isoformat(timespec=precision) + "Z"


class LicenseView(Struct, frozen=True):
    """The license that a meeting takes now."""

    type: str
    """SMP+ or PMP+."""
    holder: str | None
    """Whose PMP+ pays; null for SMP+."""
    weight: str
    """What is taken from the shared pool, an exact fraction of a license: "1", "1/6", or "0" where a PMP+ pays."""
    policy: str
    """The policy that decided."""
    rule: str
    """The rule of the policy that decided."""
    status: Status
    """How sure the decision is."""
    since: Time
    """Since when it takes this license."""
    reason: str
    """A sentence for people."""


class ChargeView(Struct, frozen=True):
    """One side of a transition."""

    type: str
    """SMP+ or PMP+."""
    holder: str | None
    """Whose PMP+ pays; null for SMP+."""
    weight: str
    """What is taken from the shared pool, as an exact fraction of a license."""


class TransitionView(Struct, frozen=True, rename={"before": "from", "after": "to"}):
    """A change of what a meeting takes."""

    seq: int
    """Counts the transitions of the meeting, from 1."""
    at: Time
    """When, by the records' clock."""
    before: ChargeView | None
    """Null where it took nothing before."""
    after: ChargeView | None
    """Null where it takes nothing any more."""
    cause: Cause
    rule: str | None
    """The rule that decides from then on; null where it takes nothing any more."""
    leg: str | None
    """The leg whose coming or going changed it."""
    user: str | None
    """The user who is on that leg, where one is known."""
    reason: str
    """A sentence for people."""
    late: bool
    """It was learned later than it was true."""


class ReportedView(Struct, frozen=True):
    """What callEnd says of its own call."""

    legs_completed: int | None
    legs_max_active: int | None
    duration_seconds: int | None


class CallSummary(Struct, frozen=True, kw_only=True):
    """A call as lists show it."""

    id: str
    deployment: str
    """As the settings name it."""
    call_bridge: str | None
    """Null where the Call Bridge does not name itself (it is not clustered)."""
    session: str
    """The session of the Call Bridge whose records told of it."""
    meeting: str
    """The meeting that it belongs to (callCorrelator); its own id where that is not known."""
    name: str | None
    """As the records tell it."""
    call_type: str | None
    """As callStart tells it, such as coSpace, adHoc or lyncConferencing."""
    cospace: str | None
    """The id of the space."""
    owner_name: str | None
    """Text that callStart shows; it decides nothing."""
    owner: str | None
    """The user who owns the space."""
    tenant: str | None
    """The tenant's id."""
    cdr_tag: str | None
    """The tag of the space."""
    state: CallState
    started_at: Time
    ended_at: Time | None
    """Null while it goes on."""
    end_estimated: bool
    """No callEnd came; `ended_at` is when it was over at the latest."""
    participants: int
    """In now, on this call."""
    participants_peak: int
    """The most at one time."""
    legs: int
    """Every leg that was ever on the call."""
    recording: bool
    """Is it recorded now?"""
    streaming: bool
    """Is it streamed now?"""
    complete: bool
    """False where records that could belong to it are known to be lost."""
    license: LicenseView | None
    """The meeting's; null while nobody is in, and once the call has ended."""
    alternatives: dict[str, LicenseView | None]
    """The license under each other policy."""


class CallView(CallSummary, frozen=True, kw_only=True):
    """A call, whole."""

    reported: ReportedView | None
    """Null before callEnd."""
    hints: list[str]
    """What to look at: why it may be on SMP+ although somebody looks licensed. Guesses, which decide nothing."""
    transitions: list[TransitionView]
    """The meeting's, the same on each of its calls."""


class MeetingView(Struct, frozen=True, kw_only=True):
    """A meeting: its calls, and the one license that they share."""

    id: str
    """Its callCorrelator; the id of its call where that is not known."""
    deployment: str
    """As the settings name it."""
    name: str | None
    """As the records tell it."""
    call_type: str | None
    """As callStart tells it, such as coSpace, adHoc or lyncConferencing."""
    cospace: str | None
    """The id of the space."""
    owner: str | None
    """The user who owns the space."""
    tenant: str | None
    """The tenant's id."""
    state: CallState
    """Active while one of its calls is."""
    started_at: Time | None
    ended_at: Time | None
    """Null while it goes on."""
    end_estimated: bool
    """No callEnd came for one of its calls."""
    participants: int
    """In now, on all its calls; somebody with several legs counts once."""
    participants_peak: int
    """The most at one time."""
    legs: int
    """Every leg that was ever on one of its calls."""
    recording: bool
    """Is it recorded now?"""
    streaming: bool
    """Is it streamed now?"""
    complete: bool
    """False where records that could belong to it are known to be lost."""
    license: LicenseView | None
    """Null while nobody is in."""
    alternatives: dict[str, LicenseView | None]
    """The license under each other policy."""
    hints: list[str]
    """What to look at: why it may be on SMP+ although somebody looks licensed. Guesses, which decide nothing."""
    transitions: list[TransitionView]
    """The earliest first."""
    calls: list[CallSummary]
    """The earliest first."""


class SwitchView(Struct, frozen=True, kw_only=True, rename={"before": "from", "after": "to"}):
    """A change from one license to another."""

    deployment: str
    """As the settings name it."""
    meeting: str
    calls: list[str]
    """The calls of the meeting."""
    name: str | None
    """As the records tell it."""
    at: Time
    """When, by the records' clock."""
    before: ChargeView
    """The license before."""
    after: ChargeView
    """The license after."""
    kind: SwitchKind
    cause: Cause
    rule: str | None
    """The rule that decides from then on."""
    leg: str | None
    """The leg whose coming or going changed it."""
    user: str | None
    """The user who is on that leg, where one is known."""
    reason: str
    """A sentence for people."""
    late: bool
    """It was learned later than it was true."""


class MediaView(Struct, frozen=True):
    """What a leg used at some time."""

    audio: bool
    video: bool
    presentation: bool


class StayView(Struct, frozen=True):
    """A time in a call."""

    call: str
    joined_at: Time
    left_at: Time | None
    """Null while it is in."""


class LegView(Struct, frozen=True, kw_only=True):
    """A call leg."""

    id: str
    call: str | None
    """The call that it is on, or was on last."""
    state: LegState
    counted: bool
    """Does it count as a participant?"""
    user: str | None
    """The user whom it was matched to."""
    holds_license: bool
    """Does this user hold PMP+?"""
    matched_by: str | None
    """How the user was found: jid, cdr_tag, sip_address or alias."""
    remote_party: str | None
    """As the records tell it."""
    remote_address: str | None
    display_name: str | None
    type: str | None
    sub_type: str | None
    direction: str | None
    guest: bool
    """The records say that it is a guest."""
    started_at: Time | None
    joined_at: Time | None
    """The start of its first stay; null where it never was in."""
    left_at: Time | None
    """The end of its last stay; null while it is in."""
    end_reason: str | None
    media: MediaView | None
    """Null before callLegEnd, which alone tells it."""
    stays: list[StayView]
    """The times in a call, the earliest first."""


class PersonalUse(Struct, frozen=True):
    """PMP+ in use."""

    meetings: int
    """Meetings that a PMP+ pays now."""
    holders: list[str]
    """Those whose license pays a meeting now."""
    assigned: int | None
    """How many users hold PMP+; null where that is not known."""
    limit: int | None
    """How many were bought; null where that is not known."""


class SharedUse(Struct, frozen=True):
    """SMP+ in use."""

    meetings: int
    """Meetings that take SMP+ now."""
    sixths: int
    """Exact, in sixths of a license."""
    licenses: float
    """The same in licenses, rounded to three decimals."""
    limit: int | None
    """How many were bought; null where that is not known."""


class UsageView(Struct, frozen=True, kw_only=True):
    """The licenses of a deployment that are in use now."""

    deployment: str
    """As the settings name it."""
    policy: str
    """The policy that decides."""
    at: Time
    """When this was so, by our clock."""
    personal: PersonalUse
    shared: SharedUse
    participants: int
    """In all calls now."""
    calls: int
    """Calls that go on."""
    hints: list[str]
    """What to look at: holders about to spill to SMP+, more PMP+ assigned than bought, another policy."""
