"""Plays a described meeting as records into books in memory, by the code that decides real meetings."""

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from cdr_service.domain.addresses import normalize_address
from cdr_service.domain.bookkeeping import Bookkeeper, Source
from cdr_service.domain.books import Books
from cdr_service.domain.description import Description, Step
from cdr_service.domain.directory import Directory, User
from cdr_service.domain.identity import NOBODY, Identity
from cdr_service.domain.licensing import License
from cdr_service.domain.options import Options
from cdr_service.domain.policies import policies_of
from cdr_service.domain.records import (
    CallEnd,
    CallLegEnd,
    CallLegStart,
    CallStart,
    OrderKey,
    Record,
    RecordingEnd,
    RecordingStart,
    StreamingEnd,
    StreamingStart,
)
from cdr_service.domain.spaces import AD_HOC, SCHEDULED, Release, SpaceFacts
from cdr_service.domain.workspace import Workspace

MEETING: Final = "described"
SPACE: Final = "described"
STEP_MILLISECONDS: Final = 60_000
"""How far apart the steps are played."""


class Person(NamedTuple):
    """Somebody who is in."""

    named: str | None
    """As the description spells it; None for somebody unknown."""
    user: str | None
    leg: str
    call: str
    joined: int
    """The step, from 1."""
    video: bool


class Moment(NamedTuple):
    """How it stands after a step."""

    licenses: dict[str, License | None]
    """By policy."""
    people: tuple[Person, ...]
    recorded: bool
    streamed: bool


class Play(NamedTuple):
    """A described meeting, ready to be played: also as it is not described, to see what that would change."""

    description: Description
    deeds: tuple[tuple[Step, ...], ...]
    """What is done at each step."""
    holders: frozenset[str]
    options: Options

    def holds(self, user: str | None) -> bool:
        """Tell whether the user holds PMP+."""
        return user in self.holders


def user_of(named: str | None, directory: Directory) -> str | None:
    """Return which user somebody is who joins by that address; an address that nobody has is a user of its own."""
    if named is None:
        return None
    if named in directory.users:
        return named
    found = directory.identify(
        leg_type="sip", guest=False, remote_party=named, remote_address=None, cdr_tag=None, direction="incoming"
    )
    return found.user or (named if "@" in named else None)


def own_address(text: str | None) -> str | None:
    """Return a user's address in its one spelling."""
    return normalize_address(text) if text is not None else None


def release_of(description: Description) -> Release | None:
    """Return the release as numbers; what follows them, such as a build, is left out."""
    found = re.match(r"\d+(?:\.\d+)*", description.release or "")
    return tuple(map(int, found[0].split("."))) if found else None


def space_of(play: Play) -> SpaceFacts:
    """Return what the Meeting Server would say of the space.

    An initiator and a scheduler reach the server as the owner of the space, too. Of several, the first who holds PMP+
    counts, as in the rules of `owner`.
    """
    told = play.description
    named = [
        (own_address(user), kind)
        for user, kind in ((told.owner, None), (told.initiator, AD_HOC), (told.scheduler, SCHEDULED))
        if user is not None
    ]
    owner, kind = next((one for one in named if play.holds(one[0])), named[0] if named else (None, None))
    return SpaceFacts(
        Identity(owner, None, play.holds(owner), sure=True) if owner else NOBODY,
        kind,
        None if told.members is None else tuple(filter(None, map(own_address, told.members))),
        told.lync_mode,
        known=True,
    )


class _Stage:
    """The books in which a meeting is played, and who is in it."""

    def __init__(self, play: Play, directory: Directory, start: int) -> None:
        self._play = play
        self._who = directory
        users = {user_of(step.who, directory) for deeds in play.deeds for step in deeds}
        # With an id, as users of the Meeting Server: what is described is certain.
        known = [User(user, play.holds(user), id=user) for user in users if user]
        self.books = Books(Directory(known), play.options)
        self._now = start
        self._number = 0
        self._calls: dict[str, str] = {}
        self._people: list[Person] = []
        self._recorded = self._streamed = False
        release, at = release_of(play.description), self._at("")
        if release is not None:
            self.books.perform(lambda keeper, _: keeper.know_release(release, at))

    def step(self, number: int, deeds: Sequence[Step]) -> Moment:
        """Do what a step does; return how it stands."""
        for nth, step in enumerate(deeds):
            leg = f"step-{number}" if nth == 0 else f"step-{number}-{nth + 1}"
            self._do(step, number, leg)
        self._now += STEP_MILLISECONDS
        meeting = self.books.meetings.get(MEETING)
        standings = meeting.timeline.standings if meeting else {}
        policies = policies_of(self._play.options)
        licenses = {policy: standings[policy].license if policy in standings else None for policy in policies}
        return Moment(licenses, tuple(self._people), self._recorded, self._streamed)

    def _do(self, step: Step, number: int, leg: str) -> None:
        match step.does:
            case "join":
                self._joins(step, number, leg)
            case "leave":
                person = next(person for person in self._people if person.named == step.who)
                self._people.remove(person)
                self._take(person.call, CallLegEnd(type="callLegEnd", time=self._now, leg=person.leg))
            case "record" if self._recorded != step.record:
                self._recorded = bool(step.record)
                self._records(step.record is True)
            case "stream" if self._streamed != step.stream:
                self._streamed = bool(step.stream)
                self._streams(step.stream is True)
            case "video":
                self._see(step.video is True)
            case "end":
                self._people, self._recorded, self._streamed = [], False, False
                for call in self._calls.values():
                    self._take(call, CallEnd(type="callEnd", time=self._now, call=call))
            case _:
                pass

    def _joins(self, step: Step, number: int, leg: str) -> None:
        call = self._call(step.bridge if isinstance(step.bridge, str) else "")
        user = None if step.guest is True else user_of(step.who, self._who)
        video = step.video is not False
        start = CallLegStart(
            type="callLegStart",
            time=self._now,
            leg=leg,
            call=call,
            direction="incoming",
            leg_type="acano" if user or step.guest is True else "sip",
            remote_party=user or step.who,
            guest=step.guest is True,
        )

        self._take(call, start, lambda keeper, at: keeper.know_video(leg, video, at))
        self._people.append(Person(step.who, user, leg, call, number, video))

    def _see(self, video: bool) -> None:
        """Have all who are in use video from now on, or nobody."""
        at = self._at("")
        self._people = [person._replace(video=video) for person in self._people]

        def known(keeper: Bookkeeper, _: Workspace) -> None:
            for person in self._people:
                keeper.know_video(person.leg, video, at)

        self.books.perform(known)

    def _call(self, bridge: str) -> str:
        """Return the call on a Call Bridge; it begins with the first who is there."""
        if bridge not in self._calls:
            call = self._calls[bridge] = f"call-{len(self._calls) + 1}"
            call_type = self._play.description.call_type
            start = CallStart(
                type="callStart",
                time=self._now,
                call=call,
                call_type=call_type,
                cospace=SPACE if call_type in ("coSpace", "adHoc") else None,
                call_correlator=MEETING,
            )
            self._take(call, start, lambda keeper, at: keeper.know_space(call, space_of(self._play), at))
        return self._calls[bridge]

    def _records(self, starts: bool) -> None:
        call = self._call(next(iter(self._calls), ""))
        if starts:
            self._take(call, RecordingStart(type="recordingStart", time=self._now, recording="recording", call=call))
        else:
            self._take(call, RecordingEnd(type="recordingEnd", time=self._now, recording="recording"))

    def _streams(self, starts: bool) -> None:
        call = self._call(next(iter(self._calls), ""))
        if starts:
            self._take(call, StreamingStart(type="streamingStart", time=self._now, streaming="stream", call=call))
        else:
            self._take(call, StreamingEnd(type="streamingEnd", time=self._now, streaming="stream"))

    def _take(
        self, call: str, record: Record, known: Callable[[Bookkeeper, OrderKey], None] = lambda _keeper, _at: None
    ) -> None:
        """Have the books take a record of the Call Bridge that the call is on, and what is known with it."""
        at = self._at(f"session-of-{call}")
        record = replace(record, correlator_index=at.number)

        def take(keeper: Bookkeeper, _: Workspace) -> None:
            keeper.take(Source(at.session, call_bridge=f"bridge-of-{call}"), record)
            known(keeper, at)

        self.books.perform(take)

    def _at(self, session: str) -> OrderKey:
        """Return the place of the next thing that happens."""
        self._number += 1
        return OrderKey(self._now, session, self._number)


def rehearse(play: Play, directory: Directory, start: int) -> list[Moment]:
    """Play a meeting from `start` (milliseconds since 1970 UTC); return how it stands after each step."""
    stage = _Stage(play, directory, start)
    return [stage.step(number, deeds) for number, deeds in enumerate(play.deeds, 1)]
