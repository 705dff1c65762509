"""Takes records into the books: the one place where a record changes calls, legs, meetings and licenses.

Use: construct a `Bookkeeper` on a workspace, `take` every record that was not seen before, then `settle` once. What
changed is then in the workspace, and what happened in `events`. Nothing here depends on the order of the records: legs
and calls keep what each record said, and `settle` folds the timelines of the meetings that were touched.
"""

from itertools import repeat
from typing import Any, NamedTuple

from msgspec.structs import replace

from cdr_service.domain.calls import (
    OBSERVED,
    Call,
    Meeting,
    Recording,
    Reported,
    recording_occurrences,
    with_start,
)
from cdr_service.domain.found import FoundCall, FoundLeg, observe_gone, with_found, with_found_leg
from cdr_service.domain.learning import Learner
from cdr_service.domain.legs import Leg, observe_end, observe_start, observe_update
from cdr_service.domain.records import (
    CallEnd,
    CallLegEnd,
    CallLegStart,
    CallLegUpdate,
    CallStart,
    OrderKey,
    Record,
    RecordingEnd,
    RecordingStart,
    StreamingEnd,
    StreamingStart,
)
from cdr_service.domain.spaces import Circumstances
from cdr_service.domain.timeline import Kind, Occurrence


class Source(NamedTuple):
    """Where a record came from."""

    session: str
    call_bridge: str | None = None
    """As the document names it."""
    feed: str = ""
    """The `bridge` parameter of the receiver URL, for a bridge that does not name itself."""

    @property
    def bridge(self) -> str:
        """What tells the Call Bridge apart from others; empty where nothing does."""
        return self.call_bridge or self.feed


class Bookkeeper(Learner):
    """Works out what a batch of records changes. One per attempt; it does no I/O and reads no clock."""

    _revives = True
    """Does a record go on with a call that was closed because nothing was heard of it?"""

    def take(self, source: Source, record: Record) -> None:  # noqa: C901, PLR0912 - one case a record type
        """Take one record into the books."""
        at = record.order(source.session)
        match record:
            case CallStart():
                self._call_started(source, record, at)
            case CallEnd():
                self._call_ended(source, record, at)
            case CallLegStart():
                if record.moved_from:
                    self._leg_changed(source, replace(self._leg(record.moved_from), linked=True), at)
                leg = observe_start(self._leg(record.leg), record, at, self._options.link_leg_subtypes)
                self._leg_changed(source, leg, at)
            case CallLegUpdate():
                self._leg_changed(source, observe_update(self._leg(record.leg), record, at), at)
            case CallLegEnd():
                self._leg_changed(source, observe_end(self._leg(record.leg), record, at), at)
            case RecordingStart(recording=id_):
                self._recording_started(source, self._recording(id_, False), record.call, at)
                if record.leg:
                    self._leg_changed(source, replace(self._leg(record.leg), recorder=True), at)
            case StreamingStart(streaming=id_):
                self._recording_started(source, self._recording(id_, True), record.call, at)
                if record.leg:
                    self._leg_changed(source, replace(self._leg(record.leg), streamer=True), at)
            case RecordingEnd(recording=id_):
                self._recording_ended(source, self._recording(id_, False), at)
            case StreamingEnd(streaming=id_):
                self._recording_ended(source, self._recording(id_, True), at)
            case _:
                pass  # a type that we do not know is kept with the document and counted

    def take_again(self, source: Source, record: Record) -> None:
        """Take a record that may have been taken before; one that changes nothing is no sign that its calls live."""
        aside = Bookkeeper(self._workspace.aside(), self._knowledge.directory, self._options, repeat(""))
        aside._revives = False
        aside.take(source, record)
        if aside._workspace.changes_anything:
            self.take(source, record)

    def fold_again(self, meeting: str, instead_of: str | None = None) -> None:
        """Fold a meeting whose facts were put into the workspace as a whole; another may turn out to be part of it."""
        if instead_of is not None:
            self._settling.dissolve(instead_of, meeting)
        self._settling.fold_whole(meeting)

    def estimate_end(self, call: Call, at: OrderKey | None) -> None:
        """End a call that gets no callEnd any more, or take that back (None). A callEnd that came stands.

        Calls that end at one moment do so one after the other: what becomes free by them has to come in an order.
        """
        at = at and call.place_of_estimate(at)
        if call.ended is not None or call.end_estimated == at:
            return
        now = replace(call, end_estimated=at)
        self._workspace.put(now, "call", call.id)
        self._settling.fold_whole(call.meeting)
        if at is not None and call.end is None:
            self._tell("call.ended", now, at, end_estimated=True)

    def reopen(self, call: Call, at: OrderKey) -> None:
        """Go on with a call whose end was an estimate: what came shows that it lives, or lived on, at that place."""
        if call.ended is None and call.end_estimated is not None:
            self.estimate_end(call, None)
            self._tell("call.started", self._known_call(call.id), at, reopened=True)

    def find_call(self, found: FoundCall, at: OrderKey) -> None:
        """Take in a call from the Meeting Server's list, as found at that time; what a callStart told stands."""
        self._workspace.heard.add(found.id)
        known = self._revived(self._workspace.call(found.id), at)
        if known is not None and (known.started is not None or known.end is not None or known.correlator is not None):
            return
        first_seen = min(at, replace(at, time=found.began))
        before = known or Call(found.id, found.session, first_seen, found.call_bridge, complete=False)
        call = with_found(before, found)
        self._workspace.put(call, "call", call.id)
        absorbed = None
        if known is not None and known.meeting != call.meeting:
            absorbed = self._workspace.meeting(known.meeting)
            self._settling.dissolve(known.meeting, call.meeting)
        self._join_meeting(call, absorbed)
        meeting = self._workspace.meeting(call.meeting)
        if meeting is not None and meeting.described is None and meeting.call_type is None and call.call_type:
            self._workspace.put(replace(meeting, call_type=call.call_type), "meeting", meeting.id)
            self._settling.fold_whole(meeting.id)
        if known is None:
            self._tell("call.started", call, at, found=True)

    def find_leg(self, found: FoundLeg, at: OrderKey) -> None:
        """Take in a leg from the Meeting Server's list, as found at that time."""
        leg = with_found_leg(self._leg(found.id), found, at, self._options.link_leg_subtypes)
        self._leg_changed(Source(OBSERVED), leg, at)

    def lose_leg(self, leg: str, at: OrderKey) -> None:
        """Take in that the Meeting Server no longer has a leg, as seen at that time."""
        self._leg_changed(Source(OBSERVED), observe_gone(self._leg(leg), at), at)

    def _leg(self, leg: str) -> Leg:
        return self._workspace.leg(leg) or Leg(leg)

    def _recording(self, recording: str, streaming: bool) -> Recording:
        return self._workspace.recording(recording) or Recording(recording, streaming)

    def _known_call(self, call: str) -> Call:
        found = self._workspace.call(call)
        if found is None:
            raise LookupError(f"call {call} is named by a leg but was never noted")
        return found

    def _noted_call(self, source: Source, call: str, at: OrderKey, *, ends: bool = False) -> Call:
        """Return the call; note it where this is the first record that names it. One that `ends` is not reopened."""
        self._workspace.heard.add(call)
        known = self._workspace.call(call) if ends else self._revived(self._workspace.call(call), at)
        if known is not None:
            observed = known.session == OBSERVED
            if observed and source.session != OBSERVED:
                known = replace(known, session=source.session, call_bridge=source.call_bridge or known.call_bridge)
                self._workspace.put(known, "call", call)
            if at >= known.first_seen:
                return known
            # Without its callStart, a call is of the bridge that its first record came from.
            bridge = known.call_bridge if known.started or (observed and not source.bridge) else source.bridge or None
            known = replace(known, first_seen=at, call_bridge=bridge)
            self._workspace.put(known, "call", call)
            return known
        known = Call(call, source.session, at, source.bridge or None)
        self._workspace.put(known, "call", call)
        self._join_meeting(known)
        self._tell("call.started", known, at)
        return known

    def _revived(self, call: Call | None, at: OrderKey) -> Call | None:
        """Go on with a call that was closed because nothing was heard of it."""
        if call is None or not call.is_stale or not self._revives:
            return call
        self.reopen(call, at)
        return self._known_call(call.id)

    def _join_meeting(self, call: Call, absorbed: Meeting | None = None) -> None:
        """Put the call among the calls of its meeting, with what it, and the one that it was of before, tell of it."""
        before = self._workspace.meeting(call.meeting) or Meeting(call.meeting)
        meeting = before
        if absorbed is not None:
            learned = sorted((*absorbed.learned, *meeting.learned), key=lambda learned: learned.since)
            media_told, held = meeting.media_told or absorbed.media_told, {**absorbed.held, **meeting.held}
            meeting = replace(meeting, learned=tuple(learned), media_told=media_told, held=held)
        if call.id not in meeting.calls:
            meeting = replace(meeting, calls=(*meeting.calls, call.id))
        if call.started and (meeting.described is None or call.started < meeting.described):
            meeting = replace(meeting, described=call.started, call_type=call.call_type)
        meeting = replace(meeting, known=self._known_at_first(before, call))
        if meeting == before:
            return
        self._workspace.put(meeting, "meeting", meeting.id)
        decided = (before.call_type, before.known, before.learned) != (
            meeting.call_type,
            meeting.known,
            meeting.learned,
        )
        # Media told at the end of a leg count only while all calls of the meeting are over.
        if before.timeline.hindsight or (before.timeline.standings and decided):
            self._settling.fold_whole(meeting.id)

    def _known_at_first(self, meeting: Meeting, call: Call) -> Circumstances:
        """Return what is known of a meeting beside its records, before anything was learned later."""
        space, release = meeting.known.space, meeting.known.release
        if not (space.known or space.owner.user):
            space = self._knowledge.space(call.cospace)
        return Circumstances(space, release if meeting.calls else self._workspace.server().release)

    def _call_started(self, source: Source, record: CallStart, at: OrderKey) -> None:
        self._workspace.heard.add(record.call)
        known = self._revived(self._workspace.call(record.call), at)
        before = known or Call(record.call, source.session, at, source.bridge or None)
        call = with_start(before, source.session, source.bridge or None, record, at)
        self._workspace.put(call, "call", call.id)
        absorbed = None
        if known is not None and known.meeting != call.meeting:
            absorbed = self._workspace.meeting(known.meeting)
            self._settling.dissolve(known.meeting, call.meeting)
        self._join_meeting(call, absorbed)
        if known is None:
            self._tell("call.started", call, at)

    def _call_ended(self, source: Source, record: CallEnd, at: OrderKey) -> None:
        known = self._noted_call(source, record.call, at, ends=True)
        if known.ended is not None and known.ended <= at:
            return
        reported = Reported(
            record.legs_completed, record.legs_max_active, record.duration_seconds, record.endpoint_recorded
        )
        call = replace(known, ended=at, end_estimated=None, reported=reported)
        self._workspace.put(call, "call", call.id)
        if known.end is None:
            self._settling.look_at(call.meeting)
        elif known.end != call.end:
            self._settling.fold_whole(call.meeting)
        if known.ended is None:
            details: dict[str, Any] = {"end_estimated": False} if known.end_estimated else {}
            self._tell("call.ended", call, at, **details, duration_seconds=record.duration_seconds)

    def _leg_changed(self, source: Source, leg: Leg, at: OrderKey) -> None:
        """Store the leg, and hand what this changed in its meetings to the fold."""
        before = self._leg(leg.id)
        known = {*before.calls}
        for call, named_at in leg.named_at.items():
            self._noted_call(source, call, max(at, named_at))
            if call not in known:
                self._workspace.add_leg(call, leg.id)
        leg = self._knowledge.identified(before, leg)
        identity = self._as_held(leg, leg.identity_now)
        if identity != leg.identity_now:
            leg = replace(leg, identity=identity, observed=())
        self._tell_of_leg(*self._put_leg(before, leg))

    def _tell_of_leg(self, leg: Leg, calls: dict[str, Call], was: list[Occurrence], now: list[Occurrence]) -> None:
        """Tell of joins and leaves that were not told before."""
        told = {(o.kind, o.at) for o in was}
        for occurrence in now:
            if (occurrence.kind, occurrence.at) in told or occurrence.kind not in (Kind.JOINED, Kind.LEFT):
                continue
            joined = occurrence.kind is Kind.JOINED
            self._tell(
                "leg.joined" if joined else "leg.left",
                calls[occurrence.call],
                occurrence.at,
                leg=leg.id,
                user=occurrence.identity.user,
                matched_by=occurrence.identity.matched_by,
                holds_license=occurrence.identity.holds_license,
                remote_party=leg.remote_party,
                display_name=leg.shown_name,
                counted=leg.counted,
                **({} if joined else {"end_reason": leg.ending and leg.ending.reason}),
            )

    def _recording_started(self, source: Source, recording: Recording, call: str | None, at: OrderKey) -> None:
        if call is not None:
            known = self._noted_call(source, call, at)
            if recording.id not in known.recordings:
                self._workspace.put(replace(known, recordings=(*known.recordings, recording.id)), "call", call)
        self._recording_changed(replace(recording, call=call, started=min(at, recording.started or at)))

    def _recording_ended(self, source: Source, recording: Recording, at: OrderKey) -> None:
        if recording.call is not None:
            self._noted_call(source, recording.call, max(at, self._known_call(recording.call).first_seen))
        self._recording_changed(replace(recording, ended=min(at, recording.ended or at)))

    def _recording_changed(self, recording: Recording) -> None:
        before = self._workspace.recording(recording.id)
        self._workspace.put(recording, "recording", recording.id)
        if recording.call is None:
            return
        call = self._known_call(recording.call)
        calls = {call.id: call}
        was = recording_occurrences(before, calls) if before else []
        now = recording_occurrences(recording, calls)
        if was != now:
            self._settling.changed(call.meeting, was, now, alone=True)
