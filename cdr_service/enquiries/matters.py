"""Which calls and legs it matters to ask about: pure, so that nothing is asked that cannot change a license."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from cdr_service.domain.calls import Call, Meeting
from cdr_service.domain.commit import Commit
from cdr_service.domain.legs import Leg
from cdr_service.domain.licensing import SHARED
from cdr_service.domain.stays import LegState, state

FORWARDING: Final = "forwarding"
"""The call type, in lower case, that weighs the same with video and without."""
LYNC: Final = "lyncconferencing"
"""The call type, in lower case, whose weight depends on the mode of its call profile (Acano KB 390)."""


def is_lync(call: Call) -> bool:
    """Return whether the weight of a call depends on the Lync conference mode."""
    return call.call_type is not None and call.call_type.lower() == LYNC


def takes_shared(meeting: Meeting | None) -> bool:
    """Return whether a meeting takes SMP+ under one of the policies."""
    standings = meeting.timeline.standings.values() if meeting else ()
    return any(standing.license is not None and standing.license.type == SHARED for standing in standings)


def weighs_by_video(meeting: Meeting, *, recording_lifts: bool) -> bool:
    """Return whether it matters that a meeting uses video.

    `recording_lifts` is whether recording or streaming makes an audio-only meeting weigh in full.
    """
    if not takes_shared(meeting) or (meeting.call_type or "").lower() == FORWARDING:
        return False
    recorded = any(count.recordings or count.streamings for count in meeting.timeline.calls.values())
    return not (recorded and recording_lifts)


def is_unknown(leg: Leg) -> bool:
    """Is it somebody of whom the records and the directory do not tell who it is?"""
    known = leg.identity_now
    return leg.counted and not leg.guest and known.user is None and not known.sure


def is_in(leg: Leg) -> bool:
    """Is it in a call now, as a participant?"""
    return leg.counted and bool(leg.calls) and state(leg) is LegState.CONNECTED


def begun(commit: Commit) -> Iterator[Call]:
    """Yield the live calls of which a commit brought the callStart."""
    for key, thing in commit.workspace.changed.items():
        if isinstance(thing, Call) and thing.end is None and thing.started is not None:
            before = commit.workspace.before(key)
            if before is None or before.started is None:
                yield thing


def strangers(commit: Commit) -> Iterator[Leg]:
    """Yield the legs that a commit changed, of whom nobody knows who they are, in meetings that take SMP+."""
    for thing in commit.workspace.changed.values():
        if isinstance(thing, Leg) and is_in(thing) and is_unknown(thing):
            call = _now(commit, "call", thing.calls[-1])
            if call is not None and takes_shared(_now(commit, "meeting", call.meeting)):
                yield thing


def whose_video(legs: Iterable[Leg], using: Iterable[str]) -> list[Leg]:
    """Return the legs of an SMP+ meeting whose video is worth asking for, those first that had some.

    One who uses video settles what the meeting weighs, so the others need not be asked while there is one.
    """
    known = set(using)
    present = sorted((leg for leg in legs if is_in(leg)), key=lambda leg: (leg.id not in known, leg.id))
    return [leg for leg in present if leg.id in known][:1] or present


def _now(commit: Commit, *key: str) -> Any:
    return commit.workspace.changed.get(key) or commit.workspace.before(key)
