"""What is live on one simulated Call Bridge now, followed by the records that it generates.

Records tell nothing of media: whoever calls by a number has audio only here, everybody else has video, and a test may
say otherwise. A record may also be wrong about the lobby: a leg that starts in a call is in, until the update that
comes right behind it says that it waits. Such a leg counts once something else was heard, or a second has passed.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cdr_service.simulator.records import NumberedRecord, Record, Value

_LINKS = {"distributionLink", "lyncDistribution"}
_SOON = timedelta(seconds=1)


@dataclass(slots=True)
class LiveLeg:
    """A call leg."""

    id: str
    since: datetime
    fields: dict[str, Value] = field(default_factory=dict)
    """All that CDRs said of it, newest values."""
    call: str | None = None
    connected: bool = False
    deactivated: bool = False
    """In the lobby."""
    assumed: bool = False
    """In by its start alone, and no update came yet."""
    video: bool = True
    presentation: bool = False

    @property
    def group(self) -> str:
        """The participant's id."""
        return str(self.fields.get("groupId", self.id))

    @property
    def is_person(self) -> bool:
        """False for recorders, streamers and links between bridges."""
        automatic = self.fields.get("recording") or self.fields.get("streaming")
        return not automatic and self.fields.get("subType") not in _LINKS

    @property
    def counts(self) -> bool:
        """Whether somebody is in the call by this leg."""
        return self.is_person and self.connected and not self.deactivated and not self.assumed


@dataclass(slots=True)
class LiveCall:
    """A call."""

    id: str
    since: datetime
    fields: dict[str, Value]
    legs: dict[str, LiveLeg] = field(default_factory=dict)
    most_legs: int = 0
    recordings: set[str] = field(default_factory=set)
    streams: set[str] = field(default_factory=set)

    @property
    def correlator(self) -> str:
        """Which meeting it belongs to."""
        return str(self.fields.get("callCorrelator", self.id))

    def participants(self) -> dict[str, list[LiveLeg]]:
        """Who is in it or in its lobby: the legs of each."""
        found: dict[str, list[LiveLeg]] = {}
        for leg in self.legs.values():
            if leg.is_person:
                found.setdefault(leg.group, []).append(leg)
        return found


@dataclass(slots=True)
class LiveState:
    """All calls and legs of a bridge."""

    calls: dict[str, LiveCall] = field(default_factory=dict)
    legs: dict[str, LiveLeg] = field(default_factory=dict)
    legs_completed: int = 0
    legs_most: int = 0
    _assumed: LiveLeg | None = None

    def apply(self, numbered: NumberedRecord) -> set[str]:
        """Follow a record; return the ids of the calls, here and gone, in which something changed."""
        record, now = numbered.record, numbered.time
        changed = set() if self._assumed and self._assumed.id == record.id else self._believe()
        match record.type:
            case "callStart":
                self.calls[record.id] = LiveCall(record.id, now, dict(record.fields))
                changed.add(record.id)
            case "callEnd":
                self.calls.pop(record.id, None)
                changed.add(record.id)
            case "callLegStart" | "callLegUpdate" | "callLegEnd":
                changed |= self._follow_leg(record, now)
            case _:
                changed |= self._follow_recording(record)
        return changed

    def settle(self, now: datetime) -> set[str]:
        """Believe what was said long enough ago; return the ids of calls in which that changed something."""
        return self._believe() if self._assumed and now - self._assumed.since >= _SOON else set()

    def _believe(self) -> set[str]:
        leg, self._assumed = self._assumed, None
        if leg is None:
            return set()
        leg.assumed = False
        return {leg.call} if leg.call else set()

    def _follow_leg(self, record: Record, now: datetime) -> set[str]:
        leg = self.legs.setdefault(record.id, LiveLeg(record.id, now))
        self.legs_most = max(self.legs_most, len(self.legs))
        before = leg.call
        if record.type == "callLegEnd":
            self._move(leg, None)
            del self.legs[leg.id]
            self.legs_completed += 1
            return {before} if before else set()
        leg.fields |= record.fields
        call = record.fields.get("call")
        self._move(leg, call if isinstance(call, str) else None)
        if record.type == "callLegStart":
            leg.video = not str(leg.fields.get("remoteParty", "")).startswith("+")
            leg.connected = leg.assumed = leg.call is not None and leg.fields.get("direction") == "incoming"
            self._assumed = leg if leg.assumed else self._assumed
        else:
            leg.connected = "state" in record.fields
            leg.deactivated = record.fields.get("deactivated") is True
            leg.assumed = False
            self._assumed = None if self._assumed is leg else self._assumed
        return {call for call in (before, leg.call) if call}

    def _move(self, leg: LiveLeg, call_id: str | None) -> None:
        """Put a leg into a call, or out of the one where it is."""
        if leg.call in self.calls:
            self.calls[leg.call].legs.pop(leg.id, None)
        leg.call = call_id
        if call_id in self.calls:
            call = self.calls[call_id]
            call.legs[leg.id] = leg
            call.most_legs = max(call.most_legs, len(call.legs))

    def _follow_recording(self, record: Record) -> set[str]:
        if record.type.endswith("End"):
            ended = [call for call in self.calls.values() if record.id in call.recordings | call.streams]
            for call in ended:
                call.recordings.discard(record.id)
                call.streams.discard(record.id)
            return {call.id for call in ended}
        begun = self.calls.get(str(record.fields.get("call")))
        if begun is None:
            return set()
        (begun.recordings if record.type == "recordingStart" else begun.streams).add(record.id)
        return {begun.id}
