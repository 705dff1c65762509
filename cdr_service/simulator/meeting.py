"""One meeting, played: from who comes when and by which way to the records that the Call Bridges write about it.

A planned leg is a list of phases. The script walks through the phases of all legs in the order of time and writes what
each Call Bridge would write: a call on a bridge begins with the first leg that enters it there and ends with the last.
The order of records within a second follows `docs/cdr.md`, section 6.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from cdr_service.simulator.records import Identity, Record, Value

Stage = Literal["ringing", "ivr", "lobby", "in", "end"]


class Phase(NamedTuple):
    """From when on a leg is in which stage."""

    at: float
    """Seconds from the start of the scenario."""
    stage: Stage


@dataclass(frozen=True, slots=True)
class Person:
    """Who is behind a leg: an app user, a guest, a room system, a phone."""

    address: str
    """What remoteParty says."""
    name: str
    kind: Literal["app", "guest", "sip", "phone", "lync"]
    user: str | None = None
    """The user's own address, where Cisco's matching can find it: never for guests and strangers."""
    tag: str | None = None
    """The user's cdrTag."""


@dataclass(slots=True)
class Leg:
    """A planned call leg."""

    id: str
    bridge: int
    person: Person
    phases: list[Phase]
    outgoing: bool = False
    role: Literal["recording", "streaming", "link"] | None = None
    """What an automatic leg is for; such legs end with their call at the latest."""
    group: str | None = None
    """The groupId, where it is not the leg's own."""
    lync: Literal["audioVideo", "applicationSharing"] | None = None
    moved_from: "Leg | None" = None
    reason: str = "remoteTeardown"

    @property
    def app(self) -> bool:
        """True for a leg of the app or the web app, signed in or not."""
        return self.person.kind in {"app", "guest"}


@dataclass(slots=True)
class Plan:
    """A planned meeting."""

    story: str
    correlator: str
    call_type: str
    name: str
    legs: list[Leg]
    details: Mapping[str, Value] = field(default_factory=dict)
    """Further elements of callStart: coSpace, ownerName, tenant, cdrTag."""
    terse: bool = False
    """True for a sender that writes starts and ends only, no updates."""


class Step(NamedTuple):
    """A record, and when which bridge generates it."""

    offset: float
    """Seconds from the start of the scenario."""
    bridge: int
    record: Record


@dataclass(slots=True)
class Call:
    """A call while and after it is played."""

    id: str
    bridge: int
    started: float
    open: list[Leg] = field(default_factory=list)
    completed: int = 0
    most: int = 0


@dataclass(slots=True)
class Script:
    """Plays a plan. After `run`, `steps` and `calls` say what came of it."""

    plan: Plan
    bridges: Sequence[Identity]
    new_id: Callable[[], str]
    steps: list[Step] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    _live: dict[int, Call] = field(default_factory=dict)
    _begun: dict[str, float] = field(default_factory=dict)
    _recordings: dict[str, str] = field(default_factory=dict)
    links: list[tuple[Leg, Call, Call]] = field(default_factory=list)
    """Legs between bridges: the leg, the call that it is on, the call that it leads to."""

    def run(self) -> None:
        """Write all steps, in order."""
        moments = [(phase, leg) for leg in self.plan.legs for phase in leg.phases]
        for phase, leg in sorted(moments, key=lambda moment: moment[0].at):
            if phase.stage == "end":
                self._leave(leg, phase.at)
            else:
                self._enter(leg, phase)

    def _enter(self, leg: Leg, phase: Phase) -> None:
        begins = leg.id not in self._begun
        knows_call = phase.stage in {"lobby", "in"}
        if begins:
            self._begun[leg.id] = phase.at
            named = leg.outgoing or (knows_call and (leg.app or self.plan.terse))
            call = self._attach(leg, phase.at) if named else None
            self._write(phase.at, leg.bridge, "callLegStart", leg.id, _start(leg, call, self.bridges, phase.stage))
        if knows_call:
            self._update(leg, phase.at, {"state": "connected", "call": self._attach(leg, phase.at).id}, phase.stage)
        elif phase.stage == "ivr":
            self._update(leg, phase.at, {"state": "connected", "ivr": None}, phase.stage)
        if begins and leg.role in {"recording", "streaming"}:
            self._recording_starts(leg, phase.at)

    def _update(self, leg: Leg, at: float, fields: dict[str, Value], stage: Stage) -> None:
        if self.plan.terse:
            return
        if "call" in fields:
            fields["deactivated"] = stage == "lobby"
        fields |= _identification(leg) | {"displayName": leg.person.name}
        if not leg.app and stage != "ivr":
            fields["remoteAddress"] = leg.person.address
        self._write(at, leg.bridge, "callLegUpdate", leg.id, fields)

    def _attach(self, leg: Leg, at: float) -> Call:
        """Put a leg into its bridge's call; the first one begins the call there."""
        call = self._live.get(leg.bridge)
        if call is None:
            call = Call(self.new_id(), leg.bridge, at)
            self.calls.append(call)
            others = list(self._live.values())
            self._live[leg.bridge] = call
            plan = self.plan
            details = {"name": plan.name, **plan.details, "callType": plan.call_type, "callCorrelator": plan.correlator}
            self._write(at, leg.bridge, "callStart", call.id, details)
            for other in others:
                self._link(call, other, at)
        if leg not in call.open:
            call.open.append(leg)
            call.most = max(call.most, len(call.open))
        return call

    def _link(self, new: Call, old: Call, at: float) -> None:
        for here, there, outgoing in ((new, old, True), (old, new, False)):
            peer = Person(f"{self.bridges[there.bridge].name}.example.com", "", "sip")
            leg = Leg(self.new_id(), here.bridge, peer, [], outgoing=outgoing, role="link")
            self.links.append((leg, here, there))
            here.open.append(leg)
            here.most = max(here.most, len(here.open))
            self._begun[leg.id] = at
            self._write(at, here.bridge, "callLegStart", leg.id, _start(leg, here, self.bridges, "in"))
            self._update(leg, at, {"state": "connected", "call": here.id}, "in")

    def _leave(self, leg: Leg, at: float) -> None:
        call = self._live.get(leg.bridge)
        attached = call is not None and leg in call.open
        if leg.role and not attached:
            return  # its call ended before, and took it along
        if leg.role in {"recording", "streaming"}:
            self._write(at, leg.bridge, f"{leg.role}End", self._recordings[leg.id], {})
        if attached and leg.app and call and not self.plan.terse:
            # On the way out the state is gone while the call is still named.
            fields = {"call": call.id, "deactivated": leg.phases[-2].stage == "lobby", **_identification(leg)}
            self._write(at, leg.bridge, "callLegUpdate", leg.id, fields)
        self._write(at, leg.bridge, "callLegEnd", leg.id, _end(leg, int(self._begun[leg.id]), int(at)))
        if call and attached:
            call.open.remove(leg)
            call.completed += 1
            if all(other.role for other in call.open):
                self._end_call(call, at)

    def _end_call(self, call: Call, at: float) -> None:
        for leg in [leg for leg in call.open if leg.role != "link"]:
            self._write(at, leg.bridge, f"{leg.role}End", self._recordings[leg.id], {})
            self._end_automatic(leg, call, at)
        for leg, here, there in self.links:
            if (call is here or call is there) and leg in here.open:
                self._end_automatic(leg, here, at)
        del self._live[call.bridge]
        fields: dict[str, Value] = {
            "callLegsCompleted": call.completed,
            "callLegsMaxActive": call.most,
            "durationSeconds": int(at) - int(call.started),
        }
        self._write(at, call.bridge, "callEnd", call.id, fields)

    def _end_automatic(self, leg: Leg, call: Call, at: float) -> None:
        call.open.remove(leg)
        call.completed += 1
        self._write(at, leg.bridge, "callLegEnd", leg.id, _end(leg, int(self._begun[leg.id]), int(at)))

    def _recording_starts(self, leg: Leg, at: float) -> None:
        recording = self._recordings[leg.id] = self.new_id()
        fields: dict[str, Value] = {"call": self._live[leg.bridge].id, "callLeg": leg.id}
        if leg.role == "recording":
            fields = {"path": f"spaces/{recording}", "recorderUrl": f"https://{leg.person.address}", **fields}
        else:
            stream = {"streamUrl": "rtmp://stream.example.com/live", "streamerUrl": f"https://{leg.person.address}"}
            fields = {**stream, **fields}
        self._write(at, leg.bridge, f"{leg.role}Start", recording, fields)

    def _write(self, at: float, bridge: int, record_type: str, subject: str, fields: Mapping[str, Value]) -> None:
        self.steps.append(Step(at, bridge, Record(record_type, subject, fields)))


def _identification(leg: Leg) -> dict[str, Value]:
    fields: dict[str, Value] = {"groupId": leg.group or leg.id}
    if not leg.app:
        fields["sipCallId"] = f"{leg.id[:8]}@sip.example.com"
    if leg.person.tag:
        fields["cdrTag"] = leg.person.tag
    return fields


def _start(leg: Leg, call: Call | None, bridges: Sequence[Identity], stage: Stage) -> dict[str, Value]:
    fields: dict[str, Value] = {"remoteParty": leg.person.address, "displayName": leg.person.name}
    if not leg.app and not leg.outgoing:
        fields["localAddress"] = "ivr@meet.example.com" if stage == "ivr" else "space@meet.example.com"
    fields["type"] = "acano" if leg.app else "sip"
    sub_type = "webApp" if leg.app else "distributionLink" if leg.role == "link" else "lync" if leg.lync else None
    if sub_type:
        fields["subType"] = sub_type
    if leg.lync:
        fields["lyncSubType"] = leg.lync
    fields["direction"] = "outgoing" if leg.outgoing else "incoming"
    if call:
        fields["call"] = call.id
    if stage == "ivr":
        fields["ivr"] = None
    fields |= _identification(leg)
    if leg.person.kind == "guest":
        fields["guestConnection"] = True
    if leg.role in {"recording", "streaming"}:
        fields[leg.role] = True
    if leg.moved_from:
        fields["movedCallLeg"] = leg.moved_from.id
        if (bridge := bridges[leg.moved_from.bridge].call_bridge) is not None:
            fields["movedCallLegCallBridge"] = bridge
    return fields


def _end(leg: Leg, begun: int, at: int) -> dict[str, Value]:
    fields: dict[str, Value] = {
        "reason": leg.reason,
        "remoteTeardown": leg.reason == "remoteTeardown",
        "durationSeconds": at - begun,
    }
    if leg.role:
        return fields | {"activatedDuration": at - begun}
    stages = [phase.stage for phase in leg.phases]
    if "in" not in stages:
        return fields
    fields["activatedDuration"] = sum(end - start for start, end in stays(leg))
    fields["encryptedMedia"] = True
    fields |= {"rxAudio": _audio(leg), "txAudio": _audio(leg)}
    if leg.person.kind != "phone":
        fields["mediaUsagePercentages"] = {"mainVideoViewer": "98.9", "mainVideoContributor": "97.4"}
        fields["alarm"] = {"@type": "packetLoss", "@durationPercentage": "0.3"}
        fields |= {"rxVideo": _VIDEO, "txVideo": _VIDEO}
    return fields


_VIDEO: Value = {"codec": "h264", "maxSizeWidth": 1280, "maxSizeHeight": 720}


def _audio(leg: Leg) -> Value:
    return {"codec": {"phone": "g711u", "sip": "g722"}.get(leg.person.kind, "opus")}


def stays(leg: Leg) -> list[tuple[int, int]]:
    """When a planned leg is in the meeting: pairs of whole seconds from the start of the scenario."""
    pairs = zip(leg.phases, leg.phases[1:], strict=False)
    return [(int(phase.at), int(following.at)) for phase, following in pairs if phase.stage == "in"]
