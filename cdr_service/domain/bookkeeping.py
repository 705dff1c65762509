"""Takes records into the books: the one place where a record changes calls, legs, meetings and licenses.

Use: construct a `Bookkeeper` on a workspace, `take` every record that was not seen before, then `settle` once. What
changed is then in the workspace, and what happened in `events`. Nothing here depends on the order of the records: legs
and calls keep what each record said, and `settle` folds the timelines of the meetings that were touched.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from cdr_service.domain.calls import (
    Call,
    Meeting,
    Recording,
    Reported,
    Viewpoint,
    leg_occurrences,
    recording_occurrences,
    with_start,
)
from cdr_service.domain.directory import Directory
from cdr_service.domain.events import Event
from cdr_service.domain.identity import Identity
from cdr_service.domain.knowledge import Knowledge, advice_on
from cdr_service.domain.legs import Leg, Observed, VideoSeen, observe_end, observe_start, observe_update
from cdr_service.domain.options import Options
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
from cdr_service.domain.settling import Settling
from cdr_service.domain.spaces import Circumstances, Learned, Release, Server, SpaceFacts
from cdr_service.domain.timeline import Kind, Occurrence
from cdr_service.domain.workspace import SERVER, Workspace

STALE: Final = "~"
"""Stands for the session in the estimated end of a call from which nothing was heard; sorts after every session."""


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


class Bookkeeper:
    """Works out what a batch of records changes. One per attempt; it does no I/O and reads no clock."""

    def __init__(self, workspace: Workspace, directory: Directory, options: Options, event_ids: Iterator[str]) -> None:
        self._workspace = workspace
        self._knowledge = Knowledge(directory, options)
        self._options = options
        self._view = Viewpoint(arrivals=options.claim_at == "first_leg")
        self._new_id = event_ids
        self._settling = Settling(workspace, options, event_ids)
        self.events: list[Event] = []
        """What happened, in the order in which it was found."""

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

    def look_up_again(self, call: str, at: OrderKey) -> None:
        """Take in what the directory and the server say by now of a live call, as noticed at that time."""
        known = self._workspace.call(call)
        if known is None or known.end is not None:
            return
        for leg in self._workspace.legs_of([call]):
            if leg.ended_at is None:
                self._observe(leg, self._knowledge.identified_again(leg), at)
        meeting = self._workspace.meeting(known.meeting)
        if meeting is not None:
            space = meeting.known_now.space
            if known.cospace is not None:
                space = self._knowledge.space_now(space, self._knowledge.space(known.cospace))
            self._learn(meeting, Circumstances(space, self._workspace.server().release), at)

    def know_space(self, call: str, facts: SpaceFacts, at: OrderKey) -> None:
        """Take in what the Meeting Server says of the space of a live call, as read at that time."""
        known = self._workspace.call(call)
        meeting = self._workspace.meeting(known.meeting) if known and known.end is None else None
        if meeting is not None:
            now = meeting.known_now
            self._learn(meeting, replace(now, space=self._knowledge.space_now(now.space, facts)), at)

    def know_user(self, leg: str, user: str | None, at: OrderKey) -> None:
        """Take in which user the Meeting Server says is behind a live leg, None for no user, as read at that time."""
        known = self._workspace.leg(leg)
        if known is not None and known.ended_at is None:
            self._observe(known, self._knowledge.participant(user), at)

    def know_video(self, leg: str, video: bool, at: OrderKey) -> None:
        """Take in whether the Meeting Server says that a live leg uses video, as read at that time."""
        known = self._workspace.leg(leg)
        if known is None or known.ended_at is not None or (known.video_seen and known.video_seen[-1].video == video):
            return
        seen = (*(before for before in known.video_seen if before.since < at), VideoSeen(at, video))
        self._put_leg(known, replace(known, video_seen=seen))

    def know_release(self, release: Release, at: OrderKey) -> None:
        """Take in which release the Meeting Server runs; live calls take it in by `look_up_again`.

        Under `join`, a release that points to `owner` is told once.
        """
        if self._workspace.server().release == release:
            return
        self._workspace.put(Server(release), *SERVER)
        advice = advice_on(release, self._options)
        if advice is not None:
            event = Event(
                event="policy.advice", event_id=next(self._new_id), record_time=at.time, details=advice._asdict()
            )
            self.events.append(event)

    def settle(self) -> None:
        """Fold what was touched and tell what that changed."""
        self.events += self._settling.run()

    def fold_again(self, meeting: str, instead_of: str | None = None) -> None:
        """Fold a meeting whose facts were put into the workspace as a whole; another may turn out to be part of it."""
        if instead_of is not None:
            self._settling.dissolve(instead_of, meeting)
        self._settling.fold_whole(meeting)

    def estimate_end(self, call: Call, at: OrderKey | None) -> None:
        """End a call that gets no callEnd any more, or take that back (None). A callEnd that came stands."""
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
            if at >= known.first_seen:
                return known
            known = replace(known, first_seen=at)
            self._workspace.put(known, "call", call)
            return known
        known = Call(call, source.session, at, source.call_bridge)
        self._workspace.put(known, "call", call)
        self._join_meeting(known)
        self._tell("call.started", known, at)
        return known

    def _revived(self, call: Call | None, at: OrderKey) -> Call | None:
        """Go on with a call that was closed because nothing was heard of it."""
        if call is None or call.end_estimated is None or call.end_estimated.session != STALE:
            return call
        self.reopen(call, at)
        return self._known_call(call.id)

    def _join_meeting(self, call: Call, absorbed: Meeting | None = None) -> None:
        """Put the call among the calls of its meeting, with what it, and the one that it was of before, tell of it."""
        before = self._workspace.meeting(call.meeting) or Meeting(call.meeting)
        meeting = before
        if absorbed is not None:
            learned = sorted((*absorbed.learned, *meeting.learned), key=lambda learned: learned.since)
            meeting = replace(meeting, learned=tuple(learned), media_told=meeting.media_told or absorbed.media_told)
        if call.id not in meeting.calls:
            meeting = replace(meeting, calls=(*meeting.calls, call.id))
        if call.started and (meeting.described is None or call.started < meeting.described):
            meeting = replace(meeting, described=call.started, call_type=call.call_type)
        if meeting.known.space.owner.user is None:
            space = self._knowledge.space(call.cospace)
            meeting = replace(meeting, known=Circumstances(space, self._workspace.server().release))
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

    def _call_started(self, source: Source, record: CallStart, at: OrderKey) -> None:
        self._workspace.heard.add(record.call)
        known = self._revived(self._workspace.call(record.call), at)
        before = known or Call(record.call, source.session, at, source.call_bridge)
        call = with_start(before, source.session, source.call_bridge, record, at)
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
        for call in leg.calls:
            self._noted_call(source, call, max(at, leg.named_at(call)))
            if call not in before.calls:
                self._workspace.add_leg(call, leg.id)
        self._tell_of_leg(*self._put_leg(before, self._knowledge.identified(before, leg)))

    def _put_leg(self, before: Leg, leg: Leg) -> tuple[Leg, dict[str, Call], list[Occurrence], list[Occurrence]]:
        """Put the leg into the books; return it with its calls and what happened by it, as known before and now."""
        self._workspace.put(leg, "leg", leg.id)
        known = (self._workspace.call(call) for call in leg.calls)
        calls = {call.id: call for call in known if call is not None}  # retention may have removed one
        was, now = (leg_occurrences(one, leg.id, calls, self._view) for one in (before, leg))
        if leg.ending is not None:
            for call in calls.values():
                self._leg_over(leg, call.meeting)
        for meeting in {calls[o.call].meeting for o in {*was, *now} if was != now}:
            of_meeting = ([o for o in found if calls[o.call].meeting == meeting] for found in (was, now))
            self._settling.changed(meeting, *of_meeting, alone=leg.alone)
        if before.ties != leg.ties:
            for call in calls.values():
                self._settling.fold_whole(call.meeting)
        return leg, calls, was, now

    def _leg_over(self, leg: Leg, id_: str) -> None:
        """Note whether a leg of the meeting turned out to have used other media; once all is over, that counts."""
        meeting = self._workspace.meeting(id_)
        if meeting is not None and not meeting.media_told and self._knowledge.tells_media(leg):
            self._workspace.put(replace(meeting, media_told=True), "meeting", id_)
        self._settling.look_at(id_)

    def _observe(self, leg: Leg, identity: Identity, at: OrderKey) -> None:
        """Take in who a leg belongs to from now on."""
        if identity != leg.identity_now:
            # Our clock may have been set back.
            observed = (*(before for before in leg.observed if before.since < at), Observed(at, identity))
            self._put_leg(leg, replace(leg, observed=observed))

    def _learn(self, meeting: Meeting, known: Circumstances, at: OrderKey) -> None:
        """Take in what is known of a meeting from now on."""
        if known == meeting.known_now:
            return
        learned = (*(before for before in meeting.learned if before.since < at), Learned(at, known))
        self._workspace.put(replace(meeting, learned=learned), "meeting", meeting.id)
        self._settling.fold_whole(meeting.id)

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

    def _tell(self, event: str, call: Call, at: OrderKey, *, leg: str | None = None, **details: object) -> None:
        if event.startswith("call."):
            details = {"name": call.name, "call_type": call.call_type, "cospace": call.cospace, **details}
        self.events.append(
            Event(
                event=event,
                event_id=next(self._new_id),
                record_time=at.time,
                call_bridge=call.call_bridge,
                session=call.session,
                meeting=call.meeting,
                call=call.id,
                leg=leg,
                details=details,
            )
        )
