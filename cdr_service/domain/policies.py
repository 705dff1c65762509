"""Which license a meeting takes: the rule sets as data, and the one function that decides by them.

Two rule sets exist because Cisco replaced one by the other (`docs/licensing.md`): under `join` a PMP+ holder who joins
pays, under `owner` the owner pays whoever joins; `auto` goes by the server's release. All are computed; the configured
one decides.
"""

from collections.abc import Callable, Mapping
from typing import Final

from cdr_service.domain.licensing import PERSONAL, SHARED, Charge, Policy, Rule, Situation
from cdr_service.domain.options import Options
from cdr_service.domain.spaces import AD_HOC, SCHEDULED, Circumstances, dotted
from cdr_service.domain.weights import SIXTHS, Gathering, Shape, Weight, is_gateway, weigh


def policies_of(options: Options) -> Mapping[str, Policy]:
    """Return the policies that are computed, by id: both rule sets, and `auto` where it decides."""
    if options.policies is not None:
        return options.policies
    return POLICIES if options.policy != AUTO.id else {**POLICIES, AUTO.id: AUTO}


def in_force(policy: Policy, known: Circumstances, options: Options) -> Policy:
    """Return the rule set that a policy stands for; `auto` stands for one by the server's release."""
    if policy is not AUTO:
        return policy
    if known.release is None:
        return POLICIES[options.policy_if_release_unknown]
    return POLICIES["join" if known.release < options.policy_changeover else "owner"]


def decide(policy: Policy, situation: Situation) -> tuple[Rule, Charge]:
    """Return the deciding rule and what it charges; where `auto` chose the rule set, the reason says why that one."""
    chosen = in_force(policy, situation.known, situation.options)
    rule, charge = chosen.decide(situation)
    if policy is chosen:
        return rule, charge
    release = situation.known.release
    because = f"the server runs {dotted(release)}" if release else "the server's release is not known"
    reason = f"{charge.reason} (policy auto: {chosen.id}, because {because})"
    return rule, charge._replace(reason=reason, sure=charge.sure and release is not None)


def no_payer(shape: Shape, options: Options) -> bool:
    """Can no PMP+ pay a meeting of this shape, whoever is in it?"""
    return is_gateway(shape) and not options.gateway_has_payer


def _gateway(situation: Situation) -> Charge | None:
    if not no_payer(situation.shape, situation.options):
        return None
    weight = _weight(situation)
    return Charge(
        SHARED, None, weight.sixths, weight.why or f"{situation.shape} takes an SMP+", _weight_is_sure(situation)
    )


def _member_joined(situation: Situation) -> Charge | None:
    if not situation.members:
        return None
    user, leg, _, sure = situation.members[0]
    reason = f"{user}, who holds PMP+, joined as leg {leg}"
    if user == situation.freed:
        reason = f"{user}, who is in as leg {leg}, holds PMP+, which is free to pay this meeting now"
    # Which of several holders pays is not documented.
    return Charge(PERSONAL, user, 0, reason, sure and len(situation.members) == 1)


def _owner_pays(situation: Situation, words: str) -> Charge | None:
    owner = situation.known.space.owner
    if owner.user is None or not owner.holds_license or not situation.owner_can_pay:
        return None
    freed = ", which is free to pay this meeting now" if owner.user == situation.freed else ""
    reason = f"{owner.user}, who {words}, holds PMP+{freed}"
    return Charge(PERSONAL, owner.user, 0, reason, situation.known.space.known and owner.sure)


def _owner_where_no_member(situation: Situation) -> Charge | None:
    charge = _owner_pays(situation, _OWNER_WORDS[_kind(situation)])
    return charge and charge._replace(sure=charge.sure and situation.everybody_known)


def _owner_of_kind(kind: str | None) -> Callable[[Situation], Charge | None]:
    def applies(situation: Situation) -> Charge | None:
        return _owner_pays(situation, _OWNER_WORDS[kind]) if _kind(situation) == kind else None

    return applies


_OWNER_WORDS: Final = {
    None: "owns the space",
    AD_HOC: "started the ad hoc conference",
    SCHEDULED: "scheduled the meeting",
}


def _kind(situation: Situation) -> str | None:
    return situation.known.space.kind or (AD_HOC if situation.shape is Shape.AD_HOC else None)


def _shared_for_want_of_member(situation: Situation) -> Charge:
    holders = "nobody in the meeting is known to hold PMP+"
    if situation.waiting:
        known, verb = " and ".join(situation.waiting), "holds" if len(situation.waiting) == 1 else "hold"
        holders = f"{known} {verb} PMP+ that pays as many meetings as it may"
    sure = situation.everybody_known and _owner_is_sure(situation)
    return _shared(situation, f"{holders}, and {_no_owner(situation)}", sure=sure)


def _shared_for_want_of_owner(situation: Situation) -> Charge:
    return _shared(situation, _no_owner(situation), sure=_owner_is_sure(situation))


def _owner_is_sure(situation: Situation) -> bool:
    """Is it certain that no PMP+ of an owner pays? Not while the users of the Meeting Server were not read."""
    owner = situation.known.space.owner
    return owner.user is None or owner.sure


def _shared(situation: Situation, reason: str, *, sure: bool) -> Charge:
    weight = _weight(situation)
    reason = f"{reason}; {weight.why}" if weight.why else reason
    sure = sure and situation.known.space.known and _weight_is_sure(situation)
    return Charge(SHARED, None, weight.sixths, reason, sure)


def _no_owner(situation: Situation) -> str:
    space = situation.known.space
    owner = space.owner.user
    if owner is None:
        return "the space has no owner" if space.known else "no owner of a space is known"
    if not space.owner.holds_license:
        return f"the owner {owner} holds no PMP+"
    return f"the PMP+ of the owner {owner} pays as many meetings as it may"


def _weight(situation: Situation) -> Weight:
    return weigh(situation.shape, situation.gathering, situation.known, situation.options)


def _weight_is_sure(situation: Situation) -> bool:
    """Was everything known that the weight depends on?"""
    shape, now, known, options = situation.shape, situation.gathering, situation.known, situation.options
    if shape in (Shape.LYNC_GATEWAY, Shape.DUAL_HOMED, Shape.DUAL_HOMED_PER_BRIDGE) and known.space.lync_mode is None:
        return False
    sixths = weigh(shape, now, known, options).sixths
    if known.release is None and sixths < SIXTHS:
        return False
    return all(weigh(shape, now._replace(video=video), known, options).sixths == sixths for video in _possible(now))


def _possible(now: Gathering) -> tuple[bool, ...]:
    return (True, False) if now.video is None else (now.video,)


_GATEWAY_RULE: Final = Rule(
    "gateway",
    "A gateway or point-to-point call takes a sixth of an SMP+, a whole one while recorded or streamed; no PMP+ pays.",
    "2.3 and later",
    "Acano KB 390 (licenses in dual-homed conferences)",
    "medium",
    _gateway,
)

_JOIN_SOURCE: Final = "Cisco community 2981952, quoting the 2.0 documentation"

POLICIES: Final = {
    policy.id: policy
    for policy in (
        Policy(
            "join",
            "A PMP+ holder who joins pays; else the owner; else the shared pool.",
            (
                _GATEWAY_RULE,
                Rule(
                    "member-joined",
                    "One or more members who hold PMP+ joined: the first of them pays.",
                    "2.0 to 2.2",
                    _JOIN_SOURCE,
                    "high",
                    _member_joined,
                ),
                Rule(
                    "owner",
                    "Else the owner of the space holds PMP+ and pays, present or not.",
                    "2.0 to 2.2",
                    _JOIN_SOURCE,
                    "high",
                    _owner_where_no_member,
                ),
                Rule(
                    "shared",
                    "Else an SMP+ is taken: whole, or a sixth where nobody uses video.",
                    "2.0 to 2.2",
                    _JOIN_SOURCE,
                    "high",
                    _shared_for_want_of_member,
                ),
            ),
            members_pay=True,
        ),
        Policy(
            "owner",
            "The owner pays, whoever joins; else the shared pool.",
            (
                _GATEWAY_RULE,
                Rule(
                    "owner",
                    "The owner of the space holds PMP+ and pays, present or not.",
                    "2.3 and later",
                    "Cisco community 3338713 and 4097839; Cisco TAC 212326",
                    "medium-high",
                    _owner_of_kind(None),
                ),
                Rule(
                    "ad-hoc-initiator",
                    "Else, in an ad hoc conference escalated from CUCM, the user who escalated holds PMP+ and pays.",
                    "2.3 and later",
                    "recollection of Cisco guides, unverified; Cisco community 4097839",
                    "medium",
                    _owner_of_kind(AD_HOC),
                ),
                Rule(
                    "scheduler",
                    "Else, in a conference scheduled by TMS 15.6 or later, the scheduler holds PMP+ and pays.",
                    "2.3 and later",
                    "recollection of Cisco guides, unverified; Cisco community 4097839",
                    "medium",
                    _owner_of_kind(SCHEDULED),
                ),
                Rule(
                    "shared",
                    "Else an SMP+ is taken: whole, or a sixth where nobody uses video.",
                    "2.3 and later",
                    "Cisco TAC 212326 (Apr 2020)",
                    "high",
                    _shared_for_want_of_owner,
                ),
            ),
            members_pay=False,
        ),
    )
}
"""The rule sets by id. `docs/licensing.md` and `/v1/policies` are written from this."""

AUTO: Final = Policy(
    "auto", "The rules that the server's release follows: join below 2.3, owner from 2.3.", (), members_pay=False
)
"""Stands for one of the rule sets (`in_force`); has no rules of its own."""
