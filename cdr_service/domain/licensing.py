"""Which license a meeting takes: the rule sets as data, and the one function that decides by them.

Two rule sets exist because Cisco replaced one by the other (`docs/licensing.md`): under `join` a PMP+ holder who joins
pays, under `owner` the owner pays whoever joins. Both are always computed; the configured one decides. The first rule
that applies wins, and every decision says which rule it was and why.
"""

from collections.abc import Callable
from enum import StrEnum
from fractions import Fraction
from typing import Final, NamedTuple

from msgspec import Struct

from cdr_service.domain.records import OrderKey

SHARED: Final = "SMP+"
PERSONAL: Final = "PMP+"
SIXTHS: Final = 6
"""A whole SMP+ license, in the unit of all weights."""

GATEWAY_CALL_TYPES: Final = ("forwarding", "lyncconferencing")
"""callTypes, in lower case, of calls between two far ends that no space holds."""


class Status(StrEnum):
    """How sure a decision is."""

    PROVISIONAL = "provisional"
    """From CDRs and what is known of users so far."""
    CONFIRMED = "confirmed"
    """Every input that the rule needs was known."""


class License(Struct, frozen=True, array_like=True):
    """What a meeting takes at one time, and why."""

    type: str
    """SMP+ or PMP+."""
    holder: str | None
    """Whose PMP+ it is; None for SMP+."""
    sixths: int
    """Taken from the shared pool, in sixths of a license; 0 where a PMP+ pays."""
    rule: str
    since: OrderKey
    reason: str
    status: Status = Status.PROVISIONAL

    def same_charge(self, other: "License | None") -> bool:
        """Is the same taken from the same payer? Only a change of that is a transition."""
        return other is not None and (self.type, self.holder, self.sixths) == (other.type, other.holder, other.sixths)

    @property
    def weight(self) -> str:
        """The share of the pool as exact text: "1", "1/6" or "0"."""
        return str(Fraction(self.sixths, SIXTHS))


class Member(NamedTuple):
    """A PMP+ holder who is in the meeting."""

    user: str
    leg: str
    joined: OrderKey


class Situation(NamedTuple):
    """Everything that a rule may look at. Somebody is in the meeting; an empty one takes no license."""

    call_type: str | None = None
    owner: str | None = None
    owner_holds_license: bool = False
    members: tuple[Member, ...] = ()
    """PMP+ holders in the meeting who could pay, in the order in which they joined."""
    owner_can_pay: bool = True
    """False while the owner's PMP+ already pays as many meetings as it may."""
    recorded: bool = False
    """Is it recorded or streamed now?"""


class Charge(NamedTuple):
    """What a rule says: who pays how much, and why."""

    type: str
    holder: str | None
    sixths: int
    reason: str


class Rule(NamedTuple):
    """One line of a policy. `applies` returns the charge, or None where the rule does not fit."""

    id: str
    text: str
    releases: str
    source: str
    confidence: str
    applies: Callable[[Situation], Charge | None]


class Policy(NamedTuple):
    """An ordered list of rules; the first that applies decides."""

    id: str
    text: str
    rules: tuple[Rule, ...]
    members_pay: bool
    """May somebody who joins pay?"""

    def decide(self, situation: Situation) -> tuple[Rule, Charge]:
        """Return the deciding rule and what it charges."""
        for rule in self.rules:
            charge = rule.applies(situation)
            if charge is not None:
                return rule, charge
        raise LookupError(f"policy {self.id} has no rule for {situation}")  # the last rule of a policy always applies


def _gateway(situation: Situation) -> Charge | None:
    if (situation.call_type or "").lower() not in GATEWAY_CALL_TYPES:
        return None
    kind = f"a gateway or point-to-point call ({situation.call_type})"
    if situation.recorded:
        return Charge(SHARED, None, SIXTHS, f"{kind} that is recorded or streamed takes a whole SMP+")
    return Charge(SHARED, None, 1, f"{kind} takes a sixth of an SMP+")


def _member_joined(situation: Situation) -> Charge | None:
    if not situation.members:
        return None
    user, leg, _ = situation.members[0]
    return Charge(PERSONAL, user, 0, f"{user}, who holds PMP+, joined as leg {leg}")


def _owner(situation: Situation) -> Charge | None:
    if not (situation.owner and situation.owner_holds_license and situation.owner_can_pay):
        return None
    return Charge(PERSONAL, situation.owner, 0, f"{situation.owner}, who owns the space, holds PMP+")


def _shared_for_want_of_member(situation: Situation) -> Charge:
    return Charge(SHARED, None, SIXTHS, f"nobody in the meeting is known to hold PMP+, and {_no_owner(situation)}")


def _shared_for_want_of_owner(situation: Situation) -> Charge:
    return Charge(SHARED, None, SIXTHS, _no_owner(situation))


def _no_owner(situation: Situation) -> str:
    if situation.owner is None:
        return "no owner of a space is known"
    if not situation.owner_holds_license:
        return f"the owner {situation.owner} holds no PMP+"
    return f"the PMP+ of the owner {situation.owner} pays as many meetings as it may"


_GATEWAY_RULE: Final = Rule(
    "gateway",
    "A gateway or point-to-point call takes a sixth of an SMP+, a whole one while recorded or streamed; no PMP+ pays.",
    "2.3 and later",
    "Acano KB 390 (licenses in dual-homed conferences)",
    "medium",
    _gateway,
)

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
                    "Cisco community 2981952, quoting the 2.0 documentation",
                    "high",
                    _member_joined,
                ),
                Rule(
                    "owner",
                    "Else the owner of the space holds PMP+ and pays, present or not.",
                    "2.0 to 2.2",
                    "Cisco community 2981952, quoting the 2.0 documentation",
                    "high",
                    _owner,
                ),
                Rule(
                    "shared",
                    "Else an SMP+ is taken, whole whatever the number of participants.",
                    "2.0 to 2.2",
                    "Cisco community 2981952, quoting the 2.0 documentation",
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
                    _owner,
                ),
                Rule(
                    "shared",
                    "Else an SMP+ is taken.",
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
"""The policies by id. `docs/licensing.md` and `/v1/policies` are written from this."""
