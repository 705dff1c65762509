"""The shapes of what the query API shows; `showing` says how each is made of what is known.

Times are RFC 3339 in UTC. Members that are not known are null rather than left out.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from msgspec import Struct

from cdr_service.domain.licensing import Status
from cdr_service.domain.stays import LegState
from cdr_service.domain.timeline import Cause

CallState = Literal["active", "ended"]

SwitchKind = Literal["type", "holder", "weight"]
"""What a switch changed: SMP+ to PMP+ or back; else whose PMP+ pays; else only the weight."""

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
    rule: str
    """The rule of the policy that decided."""
    status: Status
    since: str
    reason: str


class ChargeView(Struct, frozen=True):
    """One side of a transition."""

    type: str
    holder: str | None
    weight: str


class TransitionView(Struct, frozen=True, rename={"before": "from", "after": "to"}):
    """A change of what a meeting takes."""

    seq: int
    """Counts the transitions of the meeting, from 1."""
    at: str
    before: ChargeView | None
    """Null where it took nothing before."""
    after: ChargeView | None
    """Null where it takes nothing any more."""
    cause: Cause
    rule: str | None
    leg: str | None
    """The leg whose coming or going changed it."""
    user: str | None
    reason: str
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
    call_bridge: str | None
    """Null where the Call Bridge does not name itself (it is not clustered)."""
    session: str
    meeting: str
    name: str | None
    call_type: str | None
    cospace: str | None
    owner_name: str | None
    """Text that callStart shows; it decides nothing."""
    owner: str | None
    """The user who owns the space."""
    tenant: str | None
    cdr_tag: str | None
    state: CallState
    started_at: str
    ended_at: str | None
    end_estimated: bool
    """No callEnd came; `ended_at` is when it was over at the latest."""
    participants: int
    """In now, on this call."""
    participants_peak: int
    legs: int
    """Every leg that was ever on the call."""
    recording: bool
    streaming: bool
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
    """What to look at where the meeting is on SMP+ although somebody looks licensed; guesses, which decide nothing."""
    transitions: list[TransitionView]
    """The meeting's, the same on each of its calls."""


class MeetingView(Struct, frozen=True, kw_only=True):
    """A meeting: its calls, and the one license that they share."""

    id: str
    deployment: str
    name: str | None
    call_type: str | None
    cospace: str | None
    owner: str | None
    tenant: str | None
    state: CallState
    """Active while one of its calls is."""
    started_at: str | None
    ended_at: str | None
    end_estimated: bool
    participants: int
    """In now, on all its calls; somebody with several legs counts once."""
    participants_peak: int
    legs: int
    recording: bool
    streaming: bool
    complete: bool
    license: LicenseView | None
    alternatives: dict[str, LicenseView | None]
    hints: list[str]
    """What to look at where it is on SMP+ although somebody looks licensed; guesses, which decide nothing."""
    transitions: list[TransitionView]
    calls: list[CallSummary]
    """The earliest first."""


class SwitchView(Struct, frozen=True, kw_only=True, rename={"before": "from", "after": "to"}):
    """A change from one license to another."""

    deployment: str
    meeting: str
    calls: list[str]
    name: str | None
    at: str
    before: ChargeView
    after: ChargeView
    kind: SwitchKind
    cause: Cause
    rule: str | None
    leg: str | None
    user: str | None
    reason: str
    late: bool


class MediaView(Struct, frozen=True):
    """What a leg used at some time."""

    audio: bool
    video: bool
    presentation: bool


class StayView(Struct, frozen=True):
    """A time in a call."""

    call: str
    joined_at: str
    left_at: str | None


class LegView(Struct, frozen=True, kw_only=True):
    """A call leg."""

    id: str
    call: str | None
    """The call that it is on, or was on last."""
    state: LegState
    counted: bool
    """Does it count as a participant?"""
    user: str | None
    holds_license: bool
    matched_by: str | None
    """How the user was found: jid, cdr_tag, sip_address or alias."""
    remote_party: str | None
    remote_address: str | None
    display_name: str | None
    type: str | None
    sub_type: str | None
    direction: str | None
    guest: bool
    """The records say that it is a guest."""
    started_at: str | None
    joined_at: str | None
    """The start of its first stay; null where it never was in."""
    left_at: str | None
    """The end of its last stay; null while it is in."""
    end_reason: str | None
    media: MediaView | None
    """Null before callLegEnd, which alone tells it."""
    stays: list[StayView]


class PersonalUse(Struct, frozen=True):
    """PMP+ in use."""

    meetings: int
    holders: list[str]
    """Those whose license pays a meeting now."""
    assigned: int | None
    """How many users hold PMP+; null where that is not known."""
    limit: int | None


class SharedUse(Struct, frozen=True):
    """SMP+ in use."""

    meetings: int
    sixths: int
    """Exact, in sixths of a license."""
    licenses: float
    """The same in licenses, rounded to three decimals."""
    limit: int | None


class UsageView(Struct, frozen=True, kw_only=True):
    """The licenses of a deployment that are in use now."""

    deployment: str
    policy: str
    at: str
    personal: PersonalUse
    shared: SharedUse
    participants: int
    calls: int
    hints: list[str]
    """What to look at: holders about to spill to SMP+, more PMP+ assigned than bought, another policy."""


class HistoryView(Struct, frozen=True, kw_only=True):
    """The most that was in use in one step of the history, by record time."""

    deployment: str
    start: str
    personal_peak: int
    """Meetings on PMP+."""
    shared_sixths_peak: int
    """Taken from the shared pool, exact, in sixths of a license."""
    shared_licenses_peak: float
    """The same in licenses, rounded to three decimals."""
    participants_peak: int


class SharedMeetingView(Struct, frozen=True, kw_only=True):
    """A meeting that took SMP+ at one moment."""

    id: str
    name: str | None
    call_type: str | None
    cospace: str | None
    owner: str | None
    weight: str
    """What it took from the shared pool, an exact fraction of a license."""
    since: str
    """Since when it took that."""


class PeakView(Struct, frozen=True, kw_only=True):
    """The highest use of the shared pool in a span."""

    deployment: str
    policy: str
    at: str | None
    """When it was reached first; null where no SMP+ was used."""
    shared_sixths: int
    shared_licenses: float
    meetings: list[SharedMeetingView]
    """The meetings that made it, the largest first."""
