"""Takes into the books what no record tells: what a directory and the Meeting Server's API say of live calls.

It applies from the moment at which it was read, and yields to what records say. Each step may be repeated, and does
nothing to calls and legs that have ended.
"""

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from cdr_service.domain.calls import Call, Meeting, Viewpoint, leg_occurrences
from cdr_service.domain.directory import Directory
from cdr_service.domain.events import Event
from cdr_service.domain.identity import Identity
from cdr_service.domain.knowledge import Knowledge, advice_on
from cdr_service.domain.legs import Leg, Observed, VideoSeen
from cdr_service.domain.options import Options
from cdr_service.domain.records import OrderKey
from cdr_service.domain.settling import Settling
from cdr_service.domain.spaces import Circumstances, Learned, Release, Server, SpaceFacts
from cdr_service.domain.timeline import Occurrence
from cdr_service.domain.workspace import SERVER, Workspace


class Learner:
    """Works out what changes by what became known beside the records; the base of the `Bookkeeper`."""

    def __init__(self, workspace: Workspace, directory: Directory, options: Options, event_ids: Iterator[str]) -> None:
        self._workspace = workspace
        self._knowledge = Knowledge(directory, options)
        self._options = options
        self._view = Viewpoint(arrivals=options.claim_at == "first_leg")
        self._new_id = event_ids
        self._settling = Settling(workspace, options, event_ids)
        self.events: list[Event] = []
        """What happened, in the order in which it was found."""

    def look_up_again(self, call: str, at: OrderKey) -> None:
        """Take in what the directory and the server say by now of a live call, as noticed at that time."""
        known = self._workspace.call(call)
        if known is None or known.end is not None:
            return
        legs = self._workspace.legs_of([call])
        self._hold(known.meeting, legs)
        for leg in legs:
            if leg.ended_at is None:
                self._observe(leg, self._as_held(leg, self._knowledge.identified_again(leg)), at)
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
            self._observe(known, self._as_held(known, self._knowledge.participant(user)), at)

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

    def _put_leg(self, before: Leg, leg: Leg) -> tuple[Leg, dict[str, Call], list[Occurrence], list[Occurrence]]:
        """Put the leg into the books; return it with its calls and what happened by it, as known before and now."""
        self._workspace.put(leg, "leg", leg.id)
        known = (self._workspace.call(call) for call in leg.calls)
        calls = {call.id: call for call in known if call is not None}  # retention may have removed one
        was, now = (leg_occurrences(one, leg.id, calls, self._view) for one in (before, leg))
        if leg.ending is not None:
            for call in calls.values():
                self._leg_over(leg, call.meeting)
        by_meeting: dict[str, tuple[list[Occurrence], list[Occurrence]]] = {}
        for place, found in enumerate((was, now)):
            for occurrence in found:
                by_meeting.setdefault(calls[occurrence.call].meeting, ([], []))[place].append(occurrence)
        for meeting, (of_it_was, of_it_now) in by_meeting.items():
            # A leg that shares its presence concerns every meeting that it was in.
            if of_it_was != of_it_now or (was != now and not leg.alone):
                self._settling.changed(meeting, of_it_was, of_it_now, alone=leg.alone)
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

    def _hold(self, id_: str, legs: Iterable[Leg]) -> None:
        """Note whose PMP+ was edited since they were in, should that wait for the next call: they may come again."""
        meeting = self._workspace.meeting(id_)
        if meeting is None or self._options.owner_change_applies == "now":
            return
        edited = {one.user: one.holds_license for one in map(self._knowledge.edited, legs) if one and one.user}
        held = {**edited, **meeting.held}
        if held != meeting.held:
            self._workspace.put(replace(meeting, held=held), "meeting", id_)

    def _as_held(self, leg: Leg, identity: Identity) -> Identity:
        """Return who a leg belongs to, holding PMP+ as they did before that was edited, if they had been in before."""
        if identity.user is None or self._options.owner_change_applies == "now":
            return identity
        for call in filter(None, map(self._workspace.call, leg.calls)):
            meeting = self._workspace.meeting(call.meeting)
            if meeting is not None and identity.user in meeting.held:
                return replace(identity, holds_license=meeting.held[identity.user])
        return identity

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
