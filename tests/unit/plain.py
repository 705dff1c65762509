"""The license rules once more, as a plain simulation of many meetings at a time: slow, simple, and not our code.

It takes record sets in which legs start in a call and end, records are in order, and nothing else happens. It knows
the default settings and `spill_back`.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from cdr_service.domain.directory import Directory
from cdr_service.domain.records import CallEnd, CallLegEnd, CallLegStart, CallStart, OrderKey
from tests.unit.nasty import Sent

Charge = str | None
"""Whose PMP+ pays, "SMP+", or None for an empty meeting."""


@dataclass
class _Meeting:
    owner: str | None
    legs: dict[str, str | None] = field(default_factory=dict)
    """Who is in, by leg: holders by name, others None."""
    calls: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    payer: str | None = None
    told: list[tuple[OrderKey, Charge]] = field(default_factory=list)


class Plain:
    """All meetings under one policy. `licenses` says from when on each meeting was charged to whom."""

    def __init__(self, directory: Directory, policy: str, limit: int, *, waits: bool) -> None:
        self.directory = directory
        self.members_pay = policy == "join"
        self.limit = limit
        self.waits = waits
        self.meetings: dict[str, _Meeting] = {}
        self.meeting_of: dict[str, str] = {}
        self.queues: dict[str, list[str]] = defaultdict(list)
        """The meetings that wait for a holder, the first one first."""

    def take(self, sent: Iterable[Sent]) -> None:
        """Take records in order."""
        for one in sent:
            match one.record:
                case CallStart(call=call, call_correlator=meeting, cospace=space) if meeting:
                    owner = self.directory.space(space).owner.user
                    holds = owner is not None and self.directory.holds_license(owner)
                    self.meetings.setdefault(meeting, _Meeting(owner if holds else None))
                    self.meeting_of[call] = meeting
                case CallLegStart(leg=leg, call=call, remote_party=address) if call:
                    self.join(one.order, self.meeting_of[call], call, leg, address)
                    self.meeting_of[leg] = self.meeting_of[call]
                case CallLegEnd(leg=leg):
                    self.leave(one.order, self.meeting_of[leg], [leg])
                case CallEnd(call=call):
                    meeting = self.meeting_of[call]
                    self.leave(one.order, meeting, self.meetings[meeting].calls[call])

    def join(self, at: OrderKey, id_: str, call: str, leg: str, address: str | None) -> None:
        """Let somebody in."""
        meeting = self.meetings[id_]
        holder = next((user for user in self.directory.users if user in (address or "").lower()), None)
        if holder is not None and not self.directory.holds_license(holder):
            holder = None
        meeting.legs[leg] = holder
        meeting.calls[call].add(leg)
        if meeting.payer is None:
            # A holder who waits already keeps the place; else a holder who joins asks first, then the owner.
            asks = [holder] if holder and self.members_pay and id_ not in self.queues[holder] else []
            if meeting.owner and id_ not in self.queues[meeting.owner] and meeting.owner not in asks:
                asks.append(meeting.owner)
            for user in asks:
                if len(self.paid_by(user)) < self.limit:
                    self.pay(id_, user)
                    break
                self.queues[user].append(id_)
        self.tell(at, id_)

    def leave(self, at: OrderKey, id_: str, legs: Iterable[str]) -> None:
        """Let some people out."""
        meeting = self.meetings[id_]
        for leg in legs:
            meeting.legs.pop(leg, None)
        for user, queue in self.queues.items():
            if id_ in queue and user not in meeting.legs.values() and user != meeting.owner:
                queue.remove(id_)
        freed = None
        if not meeting.legs:
            freed, meeting.payer = meeting.payer, None
            self.forget(id_)
        self.tell(at, id_)
        if freed and self.waits and self.queues[freed]:
            following = self.queues[freed][0]
            self.pay(following, freed)
            self.tell(at, following)

    def pay(self, id_: str, user: str) -> None:
        """Let a holder pay a meeting, which then waits for nobody any more."""
        self.meetings[id_].payer = user
        self.forget(id_)

    def forget(self, id_: str) -> None:
        """Take a meeting out of all queues."""
        for queue in self.queues.values():
            if id_ in queue:
                queue.remove(id_)

    def paid_by(self, user: str) -> list[str]:
        """Return the meetings that a holder pays."""
        return [id_ for id_, meeting in self.meetings.items() if meeting.payer == user]

    def tell(self, at: OrderKey, id_: str) -> None:
        """Note the charge of a meeting, where it changed."""
        meeting = self.meetings[id_]
        now = (meeting.payer or "SMP+") if meeting.legs else None
        if now != (meeting.told[-1][1] if meeting.told else None):
            meeting.told.append((at, now))
