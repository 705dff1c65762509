"""Why a license changed, in the words of the query API."""

from typing import Final, NamedTuple

from cdr_service.domain.knowledge import PARTICIPANT
from cdr_service.domain.licensing import License
from cdr_service.domain.spaces import AD_HOC, Circumstances
from cdr_service.domain.timeline import Cause, Kind, Occurrence
from cdr_service.domain.weights import Gathering, Shape

_CAUSES: Final = {
    Kind.RECORDING_STARTED: Cause.RECORDING_STARTED,
    Kind.RECORDING_STOPPED: Cause.RECORDING_STOPPED,
    Kind.STREAMING_STARTED: Cause.RECORDING_STARTED,
    Kind.STREAMING_STOPPED: Cause.RECORDING_STOPPED,
    Kind.SLOT_FREED: Cause.SLOT_FREED,
}


class Scene(NamedTuple):
    """What everybody in a meeting shares, after a record."""

    known: Circumstances
    shape: Shape
    gathering: Gathering


def cause_of(
    occurrence: Occurrence, scenes: tuple[Scene, Scene], licenses: tuple[License, License], *, rules_changed: bool
) -> Cause:
    """Return why a license that stood changed: `scenes` and `licenses` are those before and after."""
    if occurrence.kind is Kind.LEARNED:
        return Cause.POLICY_CHANGED if rules_changed else _cause_of_learning(*scenes)
    if occurrence.kind is Kind.IDENTIFIED:
        return _cause_of_identity(occurrence)
    return _CAUSES.get(occurrence.kind) or _cause_of_change(occurrence, scenes, licenses)


def _cause_of_change(occurrence: Occurrence, scenes: tuple[Scene, Scene], licenses: tuple[License, License]) -> Cause:
    """Return why somebody who came or went, or video, changed a license."""
    if was_learned_late(occurrence):
        return Cause.CORRECTION
    if occurrence.call_ended:
        return Cause.CALL_ENDED
    left = occurrence.kind in (Kind.LEFT, Kind.DEPARTED)
    before, after = licenses
    if (before.type, before.holder) == (after.type, after.holder):
        return _cause_of_weight(*scenes, left=left)
    return Cause.MEMBER_LEFT if left else Cause.MEMBER_JOINED


def was_learned_late(occurrence: Occurrence) -> bool:
    """Return whether a leg turned out to have used no video all along, which is no change in the meeting."""
    return occurrence.kind is Kind.VIDEO_SEEN and occurrence.video_before is None and occurrence.video is False


def _cause_of_identity(occurrence: Occurrence) -> Cause:
    """Return why it changed a license that a leg turned out to be somebody's, or that somebody's PMP+ changed."""
    if occurrence.identity.matched_by == PARTICIPANT and occurrence.identity.user != occurrence.identity_before.user:
        return Cause.MEMBER_JOINED
    # The first reading of the server's users tells what was true all along.
    first = occurrence.identity.sure and not occurrence.identity_before.sure
    return Cause.CORRECTION if first else Cause.DIRECTORY_CHANGED


def _cause_of_learning(before: Scene, now: Scene) -> Cause:
    """Return why something that was learned beside the records changed a license."""
    was, is_now = before.known.space, now.known.space
    # Its owner may be read before the users are, by whose profiles the owner holds PMP+ or not.
    if (is_now.known and not was.known) or (is_now.owner.sure and not was.owner.sure):
        return Cause.INITIATOR_RESOLVED if is_now.kind == AD_HOC else Cause.OWNER_RESOLVED
    return Cause.DIRECTORY_CHANGED


def _cause_of_weight(before: Scene, now: Scene, *, left: bool) -> Cause:
    """Return why a meeting on SMP+ takes more or less of it."""
    was, is_now = before.gathering.video, now.gathering.video
    if was is not is_now:
        if was is None and not is_now:
            return Cause.CORRECTION
        return Cause.VIDEO_STARTED if is_now else Cause.VIDEO_STOPPED
    if left:
        return Cause.PARTICIPANT_LEFT
    # Where each Call Bridge holds a conference of its own, somebody was the first on one more of them.
    per_bridge = now.shape is Shape.DUAL_HOMED_PER_BRIDGE
    return Cause.FIRST_PARTICIPANT if per_bridge else Cause.THIRD_PARTICIPANT
