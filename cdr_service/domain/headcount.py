"""Who is in a meeting and what is recorded, counted as it happens."""

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from cdr_service.domain.identity import Identity
from cdr_service.domain.records import OrderKey
from cdr_service.domain.timeline import CallCount, Kind, Occurrence, Timeline
from cdr_service.domain.weights import Gathering

_ENTERED: Final = {Kind.JOINED: 1, Kind.LEFT: -1}
_PRESENT: Final = {Kind.ARRIVED: 1, Kind.DEPARTED: -1}
_RECORDINGS: Final = {Kind.RECORDING_STARTED: 1, Kind.RECORDING_STOPPED: -1}
_STREAMINGS: Final = {Kind.STREAMING_STARTED: 1, Kind.STREAMING_STOPPED: -1}


class NeedsWholeMeeting(Exception):  # noqa: N818 - a question to the caller, not an error
    """The decision needs everybody who is in, so the meeting has to be folded as a whole."""


class Person:
    """Somebody who is in; only a fold of the whole meeting knows them all."""

    def __init__(self, joined: OrderKey) -> None:
        self.joined = joined
        self.legs: dict[tuple[str, str], Identity] = {}
        """By call and leg."""

    def on(self, call: str) -> int:
        """Return by how many legs the person is on a call."""
        return sum(call == on for on, _ in self.legs)

    def holder(self) -> Identity | None:
        """Return who it is if the person is known to hold PMP+."""
        return next((i for i in self.legs.values() if i.holds_license and i.user), None)


class Headcount:
    """The counts of one meeting; starts from a timeline, and takes the occurrences of one record at a time."""

    def __init__(self, start: Timeline, *, whole: bool) -> None:
        """With `whole` everybody who is in is known by name, which needs all occurrences from the first."""
        self.participants = start.participants
        self.peak = start.participants_peak
        self.calls = dict(start.calls)
        self.attendance = start.attendance
        self._people: dict[str, Person] | None = {} if whole else None

    @property
    def everybody(self) -> dict[str, Person]:
        """Everybody who is in, by presence; raises NeedsWholeMeeting where they were only counted."""
        if self._people is None:
            raise NeedsWholeMeeting
        return self._people

    @property
    def occupied(self) -> bool:
        """Is a license claimed now? Open is whether that begins with a leg that still waits (setting claim_at)."""
        return self.participants > 0 or any(call.present for call in self.calls.values())

    @property
    def gathering(self) -> Gathering:
        """What the weight of the meeting depends on."""
        return Gathering(
            participants=self.participants,
            bridges=sum(call.participants > 0 for call in self.calls.values()),
            recorded=any(call.recordings or call.streamings for call in self.calls.values()),
            video=self.attendance.uses_video,
        )

    def take(self, record: Iterable[Occurrence]) -> None:
        """Count what one record caused; what it causes at once makes no peak in between."""
        touched: set[str] = set()
        for occurrence in record:
            if occurrence.call:
                self._count(occurrence)
                touched.add(occurrence.call)
        self.peak = max(self.peak, self.participants)
        self._note_video()
        for id_ in touched:
            call = self.calls.get(id_)
            if call is not None and call.participants > call.participants_peak:
                self.calls[id_] = replace(call, participants_peak=call.participants)

    def _note_video(self) -> None:
        now = self.attendance
        known = True if now.video else False if now.audio_only else now.uses_video if self.participants else None
        if known is not now.uses_video:
            self.attendance = replace(now, uses_video=known)

    def _count(self, occurrence: Occurrence) -> None:
        kind = occurrence.kind
        if kind is Kind.IDENTIFIED:
            self._identified(occurrence)
        elif kind is Kind.VIDEO_SEEN:
            self._attend(video=(occurrence.video_before, occurrence.video))
        else:
            self._count_on_call(occurrence)

    def _count_on_call(self, occurrence: Occurrence) -> None:
        entered = _ENTERED.get(occurrence.kind, 0)
        people = self._moved_in_or_out(occurrence) if entered and occurrence.presence else (0, 0)
        self.participants += people[0]
        call = self.calls.get(occurrence.call, CallCount())
        self.calls[occurrence.call] = replace(
            call,
            participants=call.participants + people[1],
            inside=call.inside + entered,
            recordings=call.recordings + _RECORDINGS.get(occurrence.kind, 0),
            streamings=call.streamings + _STREAMINGS.get(occurrence.kind, 0),
            last=max(call.last, occurrence.at),
            present=call.present + _PRESENT.get(occurrence.kind, 0),
        )

    def _moved_in_or_out(self, occurrence: Occurrence) -> tuple[int, int]:
        """Return by how much the number of people changes, in the meeting and on the call.

        Somebody who is in by several legs counts once.
        """
        joined = occurrence.kind is Kind.JOINED
        unsure = not occurrence.identity.sure
        self._attend(
            video=(None, occurrence.video) if joined else (occurrence.video, None), unsure=unsure if joined else -unsure
        )
        if self._people is None:
            return (1, 1) if joined else (-1, -1)
        person = self._people.setdefault(occurrence.presence, Person(occurrence.at))
        before = len(person.legs), person.on(occurrence.call)
        if joined:
            person.legs[occurrence.call, occurrence.leg] = occurrence.identity
        else:
            del person.legs[occurrence.call, occurrence.leg]
        if not person.legs:
            del self._people[occurrence.presence]
        after = len(person.legs), person.on(occurrence.call)
        return bool(after[0]) - bool(before[0]), bool(after[1]) - bool(before[1])

    def _identified(self, occurrence: Occurrence) -> None:
        legs, leg = self.everybody[occurrence.presence].legs, (occurrence.call, occurrence.leg)
        self._attend(unsure=legs[leg].sure - occurrence.identity.sure)
        legs[leg] = occurrence.identity

    def _attend(self, *, video: tuple[bool | None, bool | None] = (None, None), unsure: int = 0) -> None:
        """Count legs by their media, before and after, and those of whom it is not sure whose they are."""
        before, after = video
        if before is after and not unsure:
            return
        now = self.attendance
        self.attendance = replace(
            now,
            video=now.video + (after is True) - (before is True),
            audio_only=now.audio_only + (after is False) - (before is False),
            unsure=now.unsure + unsure,
        )
