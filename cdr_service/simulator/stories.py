"""Who meets whom, when and by which way: plans of meetings, drawn at random.

Two rules keep the known answers exact. Everything decisive in a meeting has a second of its own, because records of
several bridges that share a second have no true order. And somebody (the anchor) stays to the end, because a meeting
that nobody is in would end, and whoever comes later would begin another one.
"""

import random
from collections.abc import Callable
from typing import Literal, NamedTuple

from cdr_service.simulator.meeting import Leg, Person, Phase, Plan, Stage
from cdr_service.simulator.people import People, Space

Way = Literal["direct", "lobby", "lobby again", "ivr", "call-out"]
"""How somebody gets in."""

_STAGES: dict[Way, tuple[Stage, ...]] = {
    "direct": ("in",),
    "lobby": ("lobby", "in"),
    "lobby again": ("in", "lobby", "in"),
    "ivr": ("ivr", "in"),
    "call-out": ("ringing", "in"),
}
_MARGIN = 30
"""Seconds, so many that one of them is surely free."""
_APP_WAYS: tuple[Way, ...] = ("direct", "direct", "direct", "direct", "lobby", "lobby", "lobby again")
_SIP_WAYS: tuple[Way, ...] = ("direct", "direct", "direct", "direct", "lobby", "ivr", "call-out")


class Cast:
    """What a story is told with: chance, people, one space after the other, and the seconds that nobody used yet."""

    def __init__(
        self,
        at: int,
        *,
        chance: random.Random,
        new_id: Callable[[], str],
        people: People,
        new_space: Callable[[], Space],
        bridges: tuple[int, ...],
    ) -> None:
        self.at = at
        self.chance = chance
        self.new_id = new_id
        self.people = people
        self.new_space = new_space
        self.bridges = bridges
        """The bridges that the meeting may span; the first one is its home."""
        self._used = {at}

    def happens(self, share: float) -> bool:
        """Draw whether something happens that happens in this share of all cases, 0 to 1."""
        return self.chance.random() < share

    def second(self, low: int, high: int) -> int:
        """Draw a second of the scenario that nothing else in this meeting happens in."""
        second = self.chance.choice([second for second in range(low, high + 1) if second not in self._used])
        self._used.add(second)
        return second

    def comes(self, person: Person, arrive: int, leave: int, *, way: Way | None = None) -> Leg:
        """Plan somebody's leg, by some way if none is given; there are at least 60 s between coming and leaving."""
        by = way or self._way_of(person)
        # Nobody lets it ring, or stays in an IVR, for long; a lobby is another matter.
        latest = arrive + 45 if by in {"ivr", "call-out"} else leave - 10
        moments = [arrive, *sorted(self.second(arrive + 1, latest) for _ in _STAGES[by][1:])]
        phases = [*map(Phase, moments, _STAGES[by]), Phase(leave, "end")]
        bridge = self.bridges[0] if self.happens(0.6) else self.chance.choice(self.bridges)
        return Leg(self.new_id(), bridge, person, phases, outgoing=by == "call-out")

    def _way_of(self, person: Person) -> Way:
        if person.kind == "lync":
            return "direct"
        return self.chance.choice(_APP_WAYS if person.kind in {"app", "guest"} else _SIP_WAYS)

    def meet(self, story: str, legs: list[Leg], call_type: str = "coSpace") -> Plan:
        """Make a plan of its legs, in a space unless the call is of another type."""
        if call_type != "coSpace":
            return Plan(story, self.new_id(), call_type, "Ad hoc" if call_type == "adHoc" else "Call", legs)
        space = self.new_space()
        return Plan(story, self.new_id(), call_type, space.name, legs, space.details)


def gathering(cast: Cast, story: str) -> list[Plan]:
    """Tell of some people who meet, of whom none, one or two hold a license."""
    length = cast.chance.randint(240, 1500)
    soon, half, late = cast.at + 110, cast.at + length // 2, (cast.at + length, cast.at + length + 180)
    holders = {"no holder": 0, "two holders": 2}.get(story, 1)
    people = [cast.people.user(), *(cast.people.holder() for _ in range(holders))]
    if story == "holder first":
        people.reverse()
    if len(people) == 1:
        people.append(cast.people.user())
    arrivals = [cast.at, *sorted(cast.second(cast.at + 10, soon) for _ in people[1:])]
    # Whoever is first leaves early at times; then the next one stays to the end.
    anchor = 1 if cast.happens(0.3) and story != "holder waits" else 0
    legs = []
    for number, (person, arrive) in enumerate(zip(people, arrivals, strict=True)):
        earliest = late[0] if number == anchor else max(arrive, arrivals[1]) + 60
        waits = story == "holder waits" and number == 1
        legs.append(cast.comes(person, arrive, cast.second(earliest, late[1]), way="lobby" if waits else "direct"))
    for _ in range(cast.chance.choice((0, 1, 1, 2, 3, 5))):
        arrive = cast.second(cast.at + 1, half)
        legs.append(cast.comes(cast.people.anybody(), arrive, cast.second(arrive + 60, late[1])))
    staying = legs[anchor]
    legs += [extra for leg in legs for extra in _lync_sharing(cast, leg)]
    legs += [*_moved(cast, legs, staying), *_unanswered(cast, staying), *_recorded(cast, staying)]
    return [cast.meet(story, legs, "adHoc" if cast.happens(0.1) else "coSpace")]


def _lync_sharing(cast: Cast, leg: Leg) -> list[Leg]:
    """Let somebody on Lync share an application: a second leg of the same person."""
    if leg.person.kind != "lync":
        return []
    leg.group, leg.lync = leg.id, "audioVideo"
    (arrive, _), (leave, _) = leg.phases
    begin = cast.second(int(arrive) + 1, int(leave) - 30)
    phases = [Phase(begin, "in"), Phase(cast.second(begin + 1, int(leave) - 1), "end")]
    return [Leg(cast.new_id(), leg.bridge, leg.person, phases, group=leg.id, lync="applicationSharing")]


def _moved(cast: Cast, legs: list[Leg], staying: Leg) -> list[Leg]:
    """Move somebody to another bridge of the cluster while the anchor is in."""
    movable = [leg for leg in legs if leg is not staying and _direct(leg) and leg.group is None]
    if len(cast.bridges) == 1 or not movable or not cast.happens(0.4):
        return []
    leg = cast.chance.choice(movable)
    (arrive, _), (leave, _) = leg.phases
    earliest, latest = max(arrive, staying.phases[0].at) + 1, min(leave, staying.phases[-1].at) - 1
    if latest - earliest < _MARGIN:
        return []
    at = cast.second(int(earliest), int(latest))
    other = cast.chance.choice([bridge for bridge in cast.bridges if bridge != leg.bridge])
    leg.phases[-1], leg.reason = Phase(at, "end"), "callMoved"
    return [Leg(cast.new_id(), other, leg.person, [Phase(at, "in"), Phase(leave, "end")], moved_from=leg)]


def _direct(leg: Leg) -> bool:
    return [phase.stage for phase in leg.phases] == ["in", "end"]


def _unanswered(cast: Cast, staying: Leg) -> list[Leg]:
    """Call out to somebody who does not answer."""
    if not cast.happens(0.25):
        return []
    at = cast.second(int(staying.phases[0].at) + 1, int(staying.phases[-1].at) - 40)
    reason = cast.chance.choice(("ringingTimeout", "remoteBusy", "remoteRejected"))
    phases = [Phase(at, "ringing"), Phase(cast.second(at + 1, at + 35), "end")]
    return [Leg(cast.new_id(), staying.bridge, cast.people.anybody_on_sip(), phases, outgoing=True, reason=reason)]


def _recorded(cast: Cast, staying: Leg) -> list[Leg]:
    """Record or stream the call of the anchor, who is in by then; perhaps beyond its end, which ends it too."""
    if not cast.happens(0.3):
        return []
    role: Literal["recording", "streaming"] = cast.chance.choice(("recording", "recording", "streaming"))
    machine = Person("recorder.example.com" if role == "recording" else "streamer.example.com", "", "sip")
    at = cast.second(int(staying.phases[0].at) + 1, int(staying.phases[-1].at) - 40)
    phases = [Phase(at, "in"), Phase(cast.second(at + 30, at + 900), "end")]
    return [Leg(cast.new_id(), staying.bridge, machine, phases, outgoing=True, role=role, reason="localTeardown")]


def refill(cast: Cast, story: str) -> list[Plan]:
    """Tell of a call that goes on with nobody in it: the holder leaves while somebody waits in the lobby."""
    cast.bridges = cast.bridges[:1]
    arrive, leave = cast.second(cast.at + 10, cast.at + 40), cast.second(cast.at + 70, cast.at + 100)
    first = cast.comes(cast.people.holder(), cast.at, leave, way="direct")
    begin, end = cast.second(leave + 5, leave + 60), cast.second(leave + 120, leave + 600)
    phases = [Phase(arrive, "lobby"), Phase(begin, "in"), Phase(end, "end")]
    return [cast.meet(story, [first, Leg(cast.new_id(), first.bridge, cast.people.user(), phases)])]


def terse(cast: Cast, story: str) -> list[Plan]:
    """Tell a short story of a sender that writes callStart, callLegStart, callLegEnd and callEnd only."""
    cast.bridges = cast.bridges[:1]
    end = cast.at + 600
    arrive = cast.second(cast.at + 5, cast.at + 200)
    legs = [
        cast.comes(cast.people.user(), cast.at, cast.second(end, end + 60), way="direct"),
        cast.comes(cast.people.holder(), arrive, cast.second(arrive + 60, end), way="direct"),
    ]
    plan = cast.meet(story, legs)
    plan.terse = True
    return [plan]


def gateway(cast: Cast, story: str) -> list[Plan]:
    """Tell of a point-to-point call through the server, by a holder whose license does not pay it."""
    cast.bridges = cast.bridges[:1]
    end = cast.at + cast.chance.randint(90, 900)
    ringing, answered = cast.second(cast.at + 1, cast.at + 1), cast.second(cast.at + 2, cast.at + 20)
    caller = cast.comes(cast.people.holder(), cast.at, cast.second(end, end + 20), way="direct")
    phases = [Phase(ringing, "ringing"), Phase(answered, "in"), Phase(cast.second(end, end + 20), "end")]
    callee = Leg(cast.new_id(), caller.bridge, cast.people.anybody_on_sip(), phases, outgoing=True)
    return [cast.meet(story, [caller, callee], "forwarding")]


def moved_on(cast: Cast, story: str) -> list[Plan]:
    """Tell of somebody who is moved from one meeting to another: a leaving there and a joining here."""
    cast.bridges = cast.bridges[:1]
    end = cast.at + 600
    arrive, at = cast.second(cast.at + 5, cast.at + 60), cast.second(cast.at + 200, cast.at + 400)
    moving = cast.comes(cast.people.user(), arrive, at, way="direct")
    moving.reason = "callMoved"
    there = cast.comes(cast.people.user(), cast.at, cast.second(end, end + 60), way="direct")
    begin = cast.second(cast.at + 70, cast.at + 150)
    here = cast.comes(cast.people.holder(), begin, cast.second(end, end + 60), way="direct")
    phases = [Phase(at, "in"), Phase(cast.second(at + 30, end), "end")]
    moved = Leg(cast.new_id(), moving.bridge, moving.person, phases, moved_from=moving)
    return [cast.meet(story, [there, moving]), cast.meet(story, [here, moved])]


def nobody(cast: Cast, story: str) -> list[Plan]:
    """Tell of callers who get into no meeting: a scanner, and somebody who gives up in the IVR."""
    scanner = Person("100@192.0.2.7", "", "sip")
    scan = [Phase(cast.at, "ringing"), Phase(cast.second(cast.at + 1, cast.at + 3), "end")]
    lost = [Phase(cast.second(cast.at + 5, cast.at + 9), "ivr"), Phase(cast.second(cast.at + 30, cast.at + 90), "end")]
    legs = [
        Leg(cast.new_id(), cast.bridges[0], scanner, scan, reason="unknownDestination"),
        Leg(cast.new_id(), cast.bridges[0], cast.people.anybody_on_sip(), lost, reason="ivrTimeout"),
    ]
    return [Plan(story, cast.new_id(), "", "", legs)]


class Story(NamedTuple):
    """A story to tell."""

    weight: int
    """How often it is told, beside the others."""
    holders: int
    """How many free holders it needs."""
    tell: Callable[[Cast, str], list[Plan]]


STORIES = {
    "holder later": Story(38, 1, gathering),
    "holder first": Story(14, 1, gathering),
    "holder waits": Story(8, 1, gathering),
    "two holders": Story(7, 2, gathering),
    "no holder": Story(15, 0, gathering),
    "refill": Story(5, 1, refill),
    "terse": Story(4, 1, terse),
    "gateway": Story(4, 1, gateway),
    "moved on": Story(3, 1, moved_on),
    "nobody": Story(2, 0, nobody),
}
