"""Calls, recordings and meetings: what the records said of them, and what they were made of.

A call is one conference on one Call Bridge. A meeting is all calls that share a callCorrelator, however many bridges
it spans; the license belongs to it. A call known only from its legs is its own meeting, under its own id, until a
callStart tells the correlator.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from cdr_service.domain.identity import Identity
from cdr_service.domain.legs import MOVED, Leg
from cdr_service.domain.records import CallStart, OrderKey
from cdr_service.domain.spaces import Circumstances, Learned
from cdr_service.domain.stays import Stay, arrivals, stays, video_at
from cdr_service.domain.timeline import Kind, Occurrence, Timeline

STALE: Final = "~"
"""Stands for the session in the estimated end of a call from which nothing was heard; sorts after every session."""
OBSERVED: Final = ""
"""Stands for the session of what was read from the Meeting Server's lists rather than told by a record; no Call Bridge
has it, and it sorts before every session."""


class Reported(Struct, frozen=True, array_like=True, gc=False):
    """What callEnd says of its own call. Legs are counted per bridge, and may include recorders and links."""

    legs_completed: int | None = None
    legs_max_active: int | None = None
    duration_seconds: int | None = None
    endpoint_recorded: bool | None = None


class Call(Struct, frozen=True, array_like=True, gc=False):
    """All that is known of one call."""

    id: str
    session: str
    first_seen: OrderKey
    """The first record that named it."""
    call_bridge: str | None = None
    name: str | None = None
    owner_name: str | None = None
    call_type: str | None = None
    cospace: str | None = None
    tenant: str | None = None
    cdr_tag: str | None = None
    correlator: str | None = None
    started: OrderKey | None = None
    """Its callStart; None while that is not known."""
    ended: OrderKey | None = None
    """Its callEnd."""
    end_estimated: OrderKey | None = None
    """Why no callEnd is to be expected any more: its session was replaced, or nothing was heard for too long."""
    reported: Reported | None = None
    recordings: tuple[str, ...] = ()
    """Ids of its recordings and streams."""
    complete: bool = True
    """False once records that could belong to it are known to be lost."""

    @property
    def meeting(self) -> str:
        """The id of the meeting that it belongs to."""
        return self.correlator or self.id

    @property
    def end(self) -> OrderKey | None:
        """When it ended, as reported or else as estimated."""
        return self.ended or self.end_estimated

    def place_of_estimate(self, at: OrderKey) -> OrderKey:
        """Return the place of an estimated end at that moment, which no other call has."""
        return replace(at, session=f"{at.session} {self.id}")

    @property
    def is_stale(self) -> bool:
        """Was it closed because nothing was heard of it for too long?"""
        at = self.end_estimated
        return at is not None and at == self.place_of_estimate(replace(at, session=STALE))

    @property
    def began(self) -> int:
        """When it started, in milliseconds since 1970 UTC: its callStart, else the first that was seen of it."""
        return (self.started or self.first_seen).time


class Recording(Struct, frozen=True, array_like=True, gc=False):
    """A recording or a stream. Its end names neither call nor leg, so it is remembered by its own id."""

    id: str
    streaming: bool
    call: str | None = None
    started: OrderKey | None = None
    ended: OrderKey | None = None


class Meeting(Struct, frozen=True, array_like=True, gc=False):
    """All calls of one correlator and the timeline that they share."""

    id: str
    calls: tuple[str, ...] = ()
    """In the order in which they became known."""
    described: OrderKey | None = None
    """The earliest callStart of its calls, which says what kind of meeting it is."""
    call_type: str | None = None
    known: Circumstances = Circumstances()
    """What was known beside the records when the meeting became known."""
    learned: tuple[Learned, ...] = ()
    """Later knowledge, from when it was noticed."""
    media_told: bool = False
    """Did a leg turn out to have used other media than is counted while the meeting goes on?"""
    timeline: Timeline = Timeline()
    held: dict[str, bool] = {}
    """Whether they held PMP+ when they were in, of users of whom that was edited since: it stays so for the meeting,
    where `owner_change_applies` says so."""

    @property
    def known_now(self) -> Circumstances:
        """What is known beside the records by now."""
        return self.learned[-1].known if self.learned else self.known

    @property
    def owner(self) -> Identity:
        """The owner of the space by the newest that is known."""
        return self.known_now.space.owner

    @property
    def owners(self) -> list[Identity]:
        """Everybody who was known as the owner at some time."""
        return [known.space.owner for known in (self.known, *(learned.known for learned in self.learned))]


def identity_at(leg: Leg, at: OrderKey) -> Identity:
    """Return who the leg belonged to by what was known at that time."""
    known = leg.identity
    for observed in leg.observed:
        if observed.since <= at:
            known = observed.identity
    return known


def presences(legs: Iterable[Leg]) -> dict[str, str]:
    """Return for each leg of one meeting the presence that it belongs to.

    The legs of a Lync person share a groupId; a leg that was moved inside the meeting goes on with the presence of
    the leg that it was moved from.
    """
    by_id = {leg.id: leg for leg in legs}
    found: dict[str, str] = {}
    for leg in by_id.values():
        first, path = leg, {leg.id}
        while first.moved_from in by_id and first.moved_from not in path:
            first = by_id[first.moved_from]
            path.add(first.id)
        found[leg.id] = (first.group_id if first.is_lync else None) or first.id
    return found


def stays_until_end(leg: Leg, calls: Mapping[str, Call]) -> Iterator[tuple[Stay, bool]]:
    """Yield when the leg was in which of the calls, and whether the end of the call ended that.

    A leg whose callLegEnd was lost leaves with its call.
    """
    return _until_end(stays(leg), calls)


def _until_end(found: Iterable[Stay], calls: Mapping[str, Call]) -> Iterator[tuple[Stay, bool]]:
    for stay in found:
        call = calls.get(stay.call)
        if call is None:
            continue
        call_ended = call.end is not None and (stay.left is None or stay.left > call.end)
        left = call.end if call_ended else stay.left
        if left is None or left > stay.joined:
            yield (replace(stay, left=left) if call_ended else stay), call_ended


def _moved_away(leg: Leg, calls: Mapping[str, Call]) -> OrderKey | None:
    """Return when the leg left the calls, if it did so because it was moved."""
    if leg.ending is None or leg.ending.reason != MOVED:
        return None
    ends = [stay.left for stay, call_ended in stays_until_end(leg, calls) if call_ended or stay.left == leg.ended_at]
    return ends[-1] if ends else None


class Viewpoint(NamedTuple):
    """How a leg is looked at."""

    since: OrderKey | None = None
    """When the leg that it was moved from left: somebody who is moved inside a meeting is in without a break."""
    hindsight: bool = False
    """Is the meeting over, so that media told at the end of a leg count for the whole of it?"""
    arrivals: bool = False
    """Is told when it arrived in the lobby or an IVR, too?"""


PLAIN: Final = Viewpoint()


def leg_occurrences(leg: Leg, presence: str, calls: Mapping[str, Call], view: Viewpoint = PLAIN) -> list[Occurrence]:
    """Return what happened in a meeting through one leg; `calls` are the calls of the meeting.

    Recorder and streamer legs count as a recording.
    """
    presence = presence if leg.counted else ""
    all_stays = stays(leg)
    found: list[Occurrence] = []
    for stay, call_ended in _until_end(all_stays, calls):
        # Only the first stay of a leg goes on from the one that it was moved from; later ones are comings of its own.
        goes_on = view.since is not None and stay.joined == all_stays[0].joined
        if goes_on and view.since and view.since < stay.joined:
            stay = replace(stay, joined=view.since)  # noqa: PLW2901 - the same stay, begun earlier
        found += _stay_occurrences(leg, presence, stay, call_ended, hindsight=view.hindsight)
    if view.arrivals and presence:
        for stay, call_ended in _until_end(arrivals(leg), calls):
            place = (stay.call, leg.id, presence)
            found.append(Occurrence(stay.joined, Kind.ARRIVED, *place))
            if stay.left is not None:
                found.append(Occurrence(stay.left, Kind.DEPARTED, *place, call_ended=call_ended))
    return found


def _stay_occurrences(
    leg: Leg, presence: str, stay: Stay, call_ended: bool, *, hindsight: bool
) -> Iterator[Occurrence]:
    """Yield what happened through one stay of a leg."""
    joined, left = stay.joined, stay.left
    place = (stay.call, leg.id, presence, "")

    def video(at: OrderKey) -> bool | None:
        return video_at(leg, at, hindsight=hindsight) if presence else None

    before = video(joined)
    yield Occurrence(joined, Kind.JOINED, *place, identity_at(leg, joined), video=before)
    if presence:
        known = identity_at(leg, joined)
        for observed in leg.observed:
            if observed.since > joined and (left is None or observed.since < left):
                yield Occurrence(observed.since, Kind.IDENTIFIED, *place, observed.identity, identity_before=known)
                known = observed.identity
        for seen in leg.video_seen:
            if seen.since > joined and (left is None or seen.since < left) and video(seen.since) != before:
                now = video(seen.since)
                yield Occurrence(seen.since, Kind.VIDEO_SEEN, *place, video=now, video_before=before)
                before = now
    if left is not None:
        yield Occurrence(left, Kind.LEFT, *place, identity_at(leg, left), call_ended, video=before)
    if leg.recorder or leg.streamer:
        started = Kind.RECORDING_STARTED if leg.recorder else Kind.STREAMING_STARTED
        stopped = Kind.RECORDING_STOPPED if leg.recorder else Kind.STREAMING_STOPPED
        yield Occurrence(joined, started, stay.call, leg.id)
        if left is not None:
            yield Occurrence(left, stopped, stay.call, leg.id)


def recording_occurrences(recording: Recording, calls: Mapping[str, Call]) -> list[Occurrence]:
    """Return when a recording or stream began and ended in a meeting; it ends with its call at the latest."""
    call = calls.get(recording.call or "")
    if call is None or recording.started is None:
        return []
    ends = [at for at in (recording.ended, call.end) if at is not None]
    ended = min(ends) if ends else None
    if ended is not None and ended <= recording.started:
        return []
    started = Kind.STREAMING_STARTED if recording.streaming else Kind.RECORDING_STARTED
    stopped = Kind.STREAMING_STOPPED if recording.streaming else Kind.RECORDING_STOPPED
    found = [Occurrence(recording.started, started, call.id)]
    if ended is not None:
        found.append(Occurrence(ended, stopped, call.id))
    return found


def meeting_occurrences(
    meeting: Meeting,
    calls: Mapping[str, Call],
    legs: Iterable[Leg],
    recordings: Iterable[Recording],
    view: Viewpoint = PLAIN,
) -> list[Occurrence]:
    """Return everything that happened in a meeting, given its calls and all that was ever on them."""
    legs = list(legs)
    presence_of = presences(legs)
    moved_away = {leg.id: _moved_away(leg, calls) for leg in legs if leg.linked}
    found = [Occurrence(learned.since, Kind.LEARNED, circumstances=learned.known) for learned in meeting.learned]
    for leg in legs:
        since = moved_away.get(leg.moved_from or "")
        found += leg_occurrences(leg, presence_of[leg.id], calls, view._replace(since=since))
    for recording in recordings:
        found += recording_occurrences(recording, calls)
    return found


def with_start(call: Call, session: str, call_bridge: str | None, record: CallStart, at: OrderKey) -> Call:
    """Return the call with what a callStart says. Of several the earliest counts, in whatever order they come.

    A correlator that is known stays, because a call does not change its meeting.
    """
    if call.started is not None and call.started < at:
        return replace(call, correlator=call.correlator or record.call_correlator)
    return replace(
        call,
        session=session,
        call_bridge=call_bridge,
        first_seen=min(at, call.first_seen),
        started=at,
        name=record.name,
        owner_name=record.owner_name,
        call_type=record.call_type,
        cospace=record.cospace,
        tenant=record.tenant,
        cdr_tag=record.cdr_tag,
        correlator=call.correlator or record.call_correlator,
    )
