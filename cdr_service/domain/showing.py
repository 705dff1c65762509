"""How what is known becomes what the query API shows (`views`)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec.structs import asdict, replace

from cdr_service.domain import usage
from cdr_service.domain.calls import Call, Meeting, stays_until_end
from cdr_service.domain.legs import Leg
from cdr_service.domain.licensing import License, Status
from cdr_service.domain.reconciling import Reconciliation
from cdr_service.domain.stays import LegState, Stay, state
from cdr_service.domain.timeline import CallCount, Standing, Transition
from cdr_service.domain.views import (
    CallSummary,
    CallView,
    ChargeView,
    LegView,
    LicenseView,
    MediaView,
    MeetingView,
    PersonalUse,
    ReportedView,
    SharedUse,
    StayView,
    SwitchKind,
    SwitchView,
    TransitionView,
    UsageView,
    rfc3339,
)
from cdr_service.domain.weights import SIXTHS

_NOWHERE: Final = Standing()


class Scope(NamedTuple):
    """The deployment that something is shown for, and its policies."""

    deployment: str
    policy: str
    """The one that decides."""
    policies: tuple[str, ...]
    reconciliation: Reconciliation | None = None
    """Where the comparison with the Meeting Server's own counts stands."""
    now: int = 0
    """Our clock, in milliseconds."""


class Known(NamedTuple):
    """All that a call is shown from."""

    call: Call
    meeting: Meeting
    legs: int
    """How many were ever on it."""
    complete: bool


def standing_of(meeting: Meeting, policy: str) -> Standing:
    """Return where a meeting stands under a policy; one that nobody was ever in stands nowhere."""
    return meeting.timeline.standings.get(policy, _NOWHERE)


def call_summary(scope: Scope, known: Known) -> CallSummary:
    """Return a call as lists show it."""
    call, meeting = known.call, known.meeting
    count = meeting.timeline.calls.get(call.id, CallCount())
    license_now, alternatives = _licenses(scope, meeting, ended=call.end is not None)
    return CallSummary(
        id=call.id,
        deployment=scope.deployment,
        call_bridge=call.call_bridge,
        session=call.session,
        meeting=meeting.id,
        name=call.name,
        call_type=call.call_type,
        cospace=call.cospace,
        owner_name=call.owner_name,
        owner=meeting.owner.user,
        tenant=call.tenant,
        cdr_tag=call.cdr_tag,
        state="ended" if call.end else "active",
        started_at=rfc3339(call.began),
        ended_at=rfc3339(call.end.time) if call.end else None,
        end_estimated=call.end is not None and call.ended is None,
        participants=count.participants,
        participants_peak=count.participants_peak,
        legs=known.legs,
        recording=count.recordings > 0,
        streaming=count.streamings > 0,
        complete=known.complete,
        license=license_now,
        alternatives=alternatives,
    )


def call_view(scope: Scope, known: Known, hints: Sequence[str] = ()) -> CallView:
    """Return a call, whole."""
    told = known.call.reported
    return CallView(
        **asdict(call_summary(scope, known)),
        hints=list(hints),
        reported=ReportedView(told.legs_completed, told.legs_max_active, told.duration_seconds) if told else None,
        transitions=transition_views(standing_of(known.meeting, scope.policy)),
    )


def meeting_view(scope: Scope, meeting: Meeting, calls: Iterable[Known], hints: Sequence[str] = ()) -> MeetingView:
    """Return a meeting, given those of its calls that are still kept."""
    calls = sorted(calls, key=lambda known: (known.call.began, known.call.id))
    live = any(known.call.end is None for known in calls)
    ends = [known.call for known in calls if known.call.end is not None]
    last = None if live else max(ends, key=lambda call: call.end or call.first_seen, default=None)
    counts = meeting.timeline.calls.values()
    license_now, alternatives = _licenses(scope, meeting)
    return MeetingView(
        id=meeting.id,
        deployment=scope.deployment,
        name=_first(known.call.name for known in calls),
        call_type=meeting.call_type,
        cospace=_first(known.call.cospace for known in calls),
        owner=meeting.owner.user,
        tenant=_first(known.call.tenant for known in calls),
        state="active" if live else "ended",
        started_at=rfc3339(calls[0].call.began) if calls else None,
        ended_at=rfc3339(last.end.time) if last and last.end else None,
        end_estimated=last is not None and last.ended is None,
        participants=meeting.timeline.participants,
        participants_peak=meeting.timeline.participants_peak,
        legs=sum(known.legs for known in calls),
        recording=any(count.recordings for count in counts),
        streaming=any(count.streamings for count in counts),
        complete=all(known.complete for known in calls),
        license=license_now,
        alternatives=alternatives,
        hints=list(hints),
        transitions=transition_views(standing_of(meeting, scope.policy)),
        calls=[call_summary(scope, known) for known in calls],
    )


def leg_view(leg: Leg, calls: Mapping[str, Call]) -> LegView:
    """Return a leg, given the calls that it was on."""
    stays = [stay for stay, _ in stays_until_end(leg, calls)]
    call = next((o.call for o in reversed(leg.observations) if o.call), None)
    call_is_over = call is not None and call in calls and calls[call].end is not None
    user = leg.identity_now
    return LegView(
        id=leg.id,
        call=call,
        state=LegState.ENDED if call_is_over else state(leg),
        counted=leg.counted and bool(stays),
        user=user.user,
        holds_license=user.holds_license,
        matched_by=user.matched_by,
        remote_party=leg.remote_party,
        remote_address=leg.shown_address,
        display_name=leg.shown_name,
        type=leg.leg_type,
        sub_type=leg.sub_type,
        direction=leg.direction,
        guest=bool(leg.guest),
        started_at=_time(leg.started_at),
        joined_at=rfc3339(stays[0].joined.time) if stays else None,
        left_at=_left(stays[-1]) if stays else None,
        end_reason=leg.ending.reason if leg.ending else None,
        media=_media(leg),
        stays=[StayView(stay.call, rfc3339(stay.joined.time), _left(stay)) for stay in stays],
    )


def license_view(license_now: License | None, policy: str) -> LicenseView | None:
    """Return a license as it is shown; None for none."""
    if license_now is None:
        return None
    return LicenseView(
        license_now.type,
        license_now.holder,
        license_now.weight,
        policy,
        license_now.rule,
        license_now.status,
        rfc3339(license_now.since.time),
        license_now.reason,
    )


def transition_views(standing: Standing) -> list[TransitionView]:
    """Return the transitions of a meeting under one policy."""
    return [_transition_view(seq, transition) for seq, transition in enumerate(standing.transitions, 1)]


def switch_kind(before: License, after: License) -> SwitchKind:
    """Return what a change from one license to another changed."""
    if before.type != after.type:
        return "type"
    return "holder" if before.holder != after.holder else "weight"


def switch_view(deployment: str, meeting: Meeting, name: str | None, transition: Transition) -> SwitchView:
    """Return a transition from one license to another; ValueError for any other."""
    before, after = transition.before, transition.after
    if before is None or after is None:
        raise ValueError("a switch has a license before and after")
    return SwitchView(
        deployment=deployment,
        meeting=meeting.id,
        calls=list(meeting.calls),
        name=name,
        at=rfc3339(transition.at.time),
        before=_told(before),
        after=_told(after),
        kind=switch_kind(before, after),
        cause=transition.cause,
        rule=transition.rule,
        leg=transition.leg,
        user=transition.user,
        reason=transition.reason,
        late=transition.late,
    )


def usage_view(
    scope: Scope,
    counts: Mapping[str, int],
    now: int,
    *,
    assigned: int | None,
    limits: tuple[int | None, int | None],
    hints: Sequence[str] = (),
) -> UsageView:
    """Return what is in use of a deployment's licenses at `now`; `limits` are those of PMP+ and of SMP+."""
    policy = scope.policy
    prefix, sixths = usage.holder(policy, ""), counts.get(usage.sixths(policy), 0)
    holders = sorted(name.removeprefix(prefix) for name in counts if name.startswith(prefix))
    return UsageView(
        deployment=scope.deployment,
        policy=policy,
        at=rfc3339(now),
        personal=PersonalUse(counts.get(usage.personal(policy), 0), holders, assigned, limits[0]),
        shared=SharedUse(counts.get(usage.shared(policy), 0), sixths, round(sixths / SIXTHS, 3), limits[1]),
        participants=counts.get(usage.PARTICIPANTS, 0),
        calls=counts.get(usage.CALLS, 0),
        hints=list(hints),
    )


def _licenses(
    scope: Scope, meeting: Meeting, *, ended: bool = False
) -> tuple[LicenseView | None, dict[str, LicenseView | None]]:
    """Return the license under the deciding policy and those under the others; none for a call that has ended."""
    shown = {
        policy: None if ended else license_view(standing_of(meeting, policy).license, policy)
        for policy in scope.policies
    }
    deciding = shown.pop(scope.policy, None)
    return (_reconciled(scope, meeting, deciding) if deciding else None), shown


def _reconciled(scope: Scope, meeting: Meeting, shown: LicenseView) -> LicenseView:
    """Return a license with the status that it is reconciled, where the Meeting Server's own counts agree."""
    decided = standing_of(meeting, scope.policy).license
    known = scope.reconciliation
    if decided is None or known is None or not known.vouches_for(decided.holder, decided.since.time, scope.now):
        return shown
    return replace(shown, status=Status.RECONCILED)


def _transition_view(seq: int, transition: Transition) -> TransitionView:
    return TransitionView(
        seq=seq,
        at=rfc3339(transition.at.time),
        before=_charge(transition.before),
        after=_charge(transition.after),
        cause=transition.cause,
        rule=transition.rule,
        leg=transition.leg,
        user=transition.user,
        reason=transition.reason,
        late=transition.late,
    )


def _charge(license_then: License | None) -> ChargeView | None:
    return _told(license_then) if license_then else None


def _told(license_then: License) -> ChargeView:
    return ChargeView(license_then.type, license_then.holder, license_then.weight)


def _media(leg: Leg) -> MediaView | None:
    ending = leg.ending
    if ending is None or ending.audio is None:
        return None
    return MediaView(ending.audio, bool(ending.video), bool(ending.presentation))


def _left(stay: Stay) -> str | None:
    return _time(stay.left.time) if stay.left else None


def _time(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else rfc3339(milliseconds)


def _first(values: Iterable[str | None]) -> str | None:
    return next(filter(None, values), None)
