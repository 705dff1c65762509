"""How a simulated Meeting Server counts licenses: its own few lines, shared with nothing that they test.

Which rules it follows, and how it does where nobody has documented that, is chosen. A payer once found pays until the
meeting is empty or, if licenses are not sticky, until leaving. A meeting without a payer wants the license of each
holder who is in, and of the owner; where several meetings want one that is free again, the oldest wish comes first.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Literal, NamedTuple

from cdr_service.simulator.api_live import LiveCall, LiveLeg
from cdr_service.simulator.api_model import Directory

EVERY = timedelta(minutes=5)
"""How often past usage gets an entry."""
_REMEMBERED = timedelta(minutes=1)
_CAN_BE_TWO = 2


@dataclass(frozen=True, slots=True)
class Rules:
    """What the server follows."""

    rule: Literal["join", "owner"] = "join"
    """Whether whoever joins may pay, or only the owner of the space."""
    sticky: bool = True
    """Whether somebody who left still pays."""
    per_holder: int = 2
    """Meetings that one PMP+ pays at a time."""
    spill_back: bool = True
    """Whether a meeting that found no free license gets one later; the oldest first."""


@dataclass(slots=True)
class _Meeting:
    """A meeting while it is live."""

    correlator: str
    gateway: bool
    in_space: bool
    space: str
    calls: dict[int, LiveCall] = field(default_factory=dict)
    """By the number of the bridge."""
    counted: dict[str, str | None] = field(default_factory=dict)
    """Legs that are in, and their users, in the order in which they came."""
    payer: str | None = None
    as_member: bool = False
    """Whether the payer pays for having joined."""
    wishes: dict[str, int] = field(default_factory=dict)
    """Users whose license it wants, with the number of the wish; lower ones are older."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A meeting at a moment, as far as licenses are concerned."""

    correlator: str
    payer: str | None
    """Id of the user whose PMP+ pays; None: SMP+."""
    weight_class: Literal["smpAud", "smpPtP", "smpFull"]
    participants: Mapping[int, int]
    """How many are in, by the number of each bridge that it spans."""
    recorded: frozenset[int]
    """On which bridges."""
    streamed: frozenset[int]

    @property
    def share(self) -> Fraction:
        """The part of it that each of its bridges counts."""
        return Fraction(1, len(self.participants))


class Change(NamedTuple):
    """What changed on a bridge."""

    bridge: int
    calls: Mapping[str, LiveCall]
    """All that are live there now."""
    changed: Iterable[str]
    """Ids of calls in which something changed, here and gone."""


class Licenses:
    """Who pays for which meeting, now and a little earlier."""

    def __init__(self, rules: Rules, directory: Directory) -> None:
        self.rules = rules
        self.entries: list[tuple[datetime, tuple[Counted, ...]]] = []
        """What was counted every five minutes."""
        self._directory = directory
        self._meetings: dict[str, _Meeting] = {}
        self._history: list[tuple[datetime, tuple[Counted, ...]]] = []
        self._next_entry: datetime | None = None
        self._wishes = 0

    def advance(self, now: datetime) -> None:
        """Write the entries that are due; to be called before anything changes."""
        if self._next_entry is None:
            self._next_entry = now
        while self._next_entry <= now:
            self.entries.append((self._next_entry, self.at(self._next_entry)))
            self._next_entry += EVERY

    def follow(self, changes: Iterable[Change], now: datetime) -> None:
        """See what changed in calls of bridges, and find the payers anew."""
        for bridge, calls, changed in changes:
            for call_id in changed:
                call = calls.get(call_id)
                meeting = self._meeting_of(bridge, call_id, call)
                if meeting is None:
                    continue
                if call is None:
                    del meeting.calls[bridge]
                else:
                    meeting.calls[bridge] = call
                self._see_who_is_in(meeting)
        self._meetings = {name: meeting for name, meeting in self._meetings.items() if meeting.calls}
        self._find_payers()
        self._remember(now)

    def at(self, moment: datetime) -> tuple[Counted, ...]:
        """Say what was counted at a moment of the last minute, or now."""
        place = bisect_right(self._history, moment, key=lambda entry: entry[0])
        return self._history[place - 1][1] if place else ()

    def _meeting_of(self, bridge: int, call_id: str, call: LiveCall | None) -> _Meeting | None:
        if call is None:
            hosted = ((meeting, meeting.calls.get(bridge)) for meeting in self._meetings.values())
            return next((meeting for meeting, here in hosted if here is not None and here.id == call_id), None)
        if call.correlator not in self._meetings:
            space = str(call.fields.get("coSpace", ""))
            gateway = call.fields.get("callType") == "forwarding"
            self._meetings[call.correlator] = _Meeting(call.correlator, gateway, bool(space), space)
        return self._meetings[call.correlator]

    def _see_who_is_in(self, meeting: _Meeting) -> None:
        legs = {leg.id: leg for leg in _legs(meeting) if leg.counts}
        for leg_id in meeting.counted.keys() - legs.keys():
            del meeting.counted[leg_id]
        for leg_id, leg in legs.items():
            user = self._directory.user_behind(leg.fields)
            meeting.counted[leg_id] = user.id if user else None

    def _may_pay(self, meeting: _Meeting) -> dict[str, bool]:
        """Whose license may pay, the first one first, and whether for having joined."""
        if meeting.gateway or not meeting.counted:
            return {}
        found: dict[str, bool] = {}
        if self.rules.rule == "join":
            found |= dict.fromkeys((user for user in meeting.counted.values() if user), True)
        space = self._directory.spaces.get(meeting.space)
        if space and space.owner:
            found.setdefault(space.owner, False)
        return {user: joined for user, joined in found.items() if self._directory.holds(user)}

    def _still_pays(self, meeting: _Meeting, holders: Mapping[str, bool]) -> bool:
        if not meeting.counted or not meeting.payer or not self._directory.holds(meeting.payer):
            return False
        if meeting.as_member:
            return self.rules.sticky or meeting.payer in meeting.counted.values()
        return meeting.payer in holders

    def _find_payers(self) -> None:
        used: dict[str, int] = {}
        unpaid: list[tuple[_Meeting, dict[str, bool]]] = []
        for meeting in self._meetings.values():
            holders = self._may_pay(meeting)
            if self._still_pays(meeting, holders) and meeting.payer:
                used[meeting.payer] = used.get(meeting.payer, 0) + 1
            else:
                meeting.payer = None
                unpaid.append((meeting, holders))
        oldest_new = self._wishes
        for meeting, holders in unpaid:
            meeting.wishes = {user: wish for user, wish in meeting.wishes.items() if user in holders}
            for user in holders:
                self._wishes += user not in meeting.wishes
                meeting.wishes.setdefault(user, self._wishes)
        for meeting, holders, user in self._in_line(unpaid, oldest_new):
            if meeting.payer is None and used.get(user, 0) < self.rules.per_holder:
                meeting.payer, meeting.as_member, meeting.wishes = user, holders[user], {}
                used[user] = used.get(user, 0) + 1

    def _in_line(
        self, unpaid: Iterable[tuple[_Meeting, dict[str, bool]]], oldest_new: int
    ) -> list[tuple[_Meeting, dict[str, bool], str]]:
        """Who is to be served, the oldest wish first; without spilling back only new ones are."""
        line = [(wish, meeting, holders, user) for meeting, holders in unpaid for user, wish in meeting.wishes.items()]
        line = [one for one in line if self.rules.spill_back or one[0] > oldest_new]
        return [(meeting, holders, user) for _, meeting, holders, user in sorted(line, key=lambda one: one[0])]

    def _remember(self, now: datetime) -> None:
        counted = tuple(_count(meeting) for meeting in self._meetings.values())
        self._history.append((now, counted))
        # What was true when the oldest remembered moment began is still needed to say what held in it.
        forget = bisect_right(self._history, now - _REMEMBERED, key=lambda entry: entry[0]) - 1
        del self._history[: max(forget, 0)]


def _legs(meeting: _Meeting) -> Sequence[LiveLeg]:
    return [leg for call in meeting.calls.values() for leg in call.legs.values()]


def _count(meeting: _Meeting) -> Counted:
    calls = meeting.calls
    legs = [leg for leg in _legs(meeting) if leg.counts]
    people = {leg.group for leg in legs}
    recorders = sum(len(call.recordings) + len(call.streams) for call in calls.values())
    weight_class: Literal["smpAud", "smpPtP", "smpFull"] = "smpFull"
    if not any(leg.video or leg.presentation for leg in legs):
        weight_class = "smpAud"
    elif not meeting.in_space and len(people) + recorders <= _CAN_BE_TWO:
        weight_class = "smpPtP"
    return Counted(
        meeting.correlator,
        meeting.payer,
        weight_class,
        {bridge: len({leg.group for leg in call.legs.values() if leg.counts}) for bridge, call in calls.items()},
        frozenset(bridge for bridge, call in calls.items() if call.recordings),
        frozenset(bridge for bridge, call in calls.items() if call.streams),
    )
