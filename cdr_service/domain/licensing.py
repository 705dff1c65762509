"""What a license is, and what a rule that decides on one may look at and says. The rules themselves are `policies`.

A rule set is data: an ordered list of rules, of which the first that applies wins. Every decision says which rule it
was, why, and how sure it is.
"""

from collections.abc import Callable
from enum import StrEnum
from fractions import Fraction
from typing import Final, NamedTuple

from msgspec import Struct

from cdr_service.domain.options import Options
from cdr_service.domain.records import OrderKey
from cdr_service.domain.spaces import Circumstances
from cdr_service.domain.weights import SIXTHS, Gathering, Shape

SHARED: Final = "SMP+"
PERSONAL: Final = "PMP+"


class Status(StrEnum):
    """How sure a decision is."""

    PROVISIONAL = "provisional"
    """From CDRs and what is known of users so far."""
    CONFIRMED = "confirmed"
    """Every input that the rule needs was known."""
    RECONCILED = "reconciled"
    """The Meeting Server's own counts agree. Said when it is read; no rule decides it."""


class License(Struct, frozen=True, array_like=True, gc=False):
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
        return other is not None and self.charge == other.charge

    @property
    def charge(self) -> tuple[str, str | None, int]:
        """What is taken, from whom, and how much."""
        return self.type, self.holder, self.sixths

    @property
    def weight(self) -> str:
        """The share of the pool as exact text: "1", "1/6" or "0"."""
        return str(Fraction(self.sixths, SIXTHS))


class Member(NamedTuple):
    """A PMP+ holder who is in the meeting."""

    user: str
    leg: str
    joined: OrderKey
    sure: bool = False
    """Does the Meeting Server itself say who it is?"""


class Situation(NamedTuple):
    """Everything that a rule may look at. Somebody is in the meeting; an empty one takes no license."""

    shape: Shape = Shape.SPACE
    known: Circumstances = Circumstances()
    members: tuple[Member, ...] = ()
    """PMP+ holders in the meeting who can pay, in the order in which they joined."""
    waiting: tuple[str, ...] = ()
    """PMP+ holders in the meeting whose license pays as many meetings as it may."""
    owner_can_pay: bool = True
    """False while the owner's PMP+ already pays as many meetings as it may."""
    freed: str | None = None
    """The holder whose license began to pay one meeting less just now."""
    everybody_known: bool = False
    """Does the Meeting Server itself say of everybody in the meeting who it is?"""
    gathering: Gathering = Gathering()
    options: Options = Options()


class Charge(NamedTuple):
    """What a rule says: who pays how much, why, and whether all that it rests on was known."""

    type: str
    holder: str | None
    sixths: int
    reason: str
    sure: bool = False

    @property
    def status(self) -> Status:
        """How sure it is, in the words of the query API."""
        return Status.CONFIRMED if self.sure else Status.PROVISIONAL


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
