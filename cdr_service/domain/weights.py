"""What a meeting takes from the shared pool while no PMP+ pays, in exact sixths of an SMP+.

The order of the tests is that of Cisco's own classes (`MPLicenseUsage`: audio only, else point-to-point, else full);
the sixths are recollected from Cisco guides and from Acano KB 390 (`docs/licensing.md`, section 4).
"""

from enum import StrEnum
from typing import Final, NamedTuple

from cdr_service.domain.options import Options
from cdr_service.domain.spaces import Circumstances

SIXTHS: Final = 6
"""A whole SMP+ license, in the unit of all weights."""


class Shape(StrEnum):
    """What kind of conference a meeting is to the Meeting Server."""

    SPACE = "a meeting in a space"
    AD_HOC = "an ad hoc call"
    GATEWAY = "a gateway or point-to-point call"
    LYNC_GATEWAY = "a gateway call into a Lync conference"
    DUAL_HOMED = "a dual-homed conference"
    DUAL_HOMED_PER_BRIDGE = "a dual-homed conference on each Call Bridge"


class Gathering(NamedTuple):
    """Who and what is in a meeting, as far as its weight depends on it."""

    participants: int = 0
    bridges: int = 1
    """On how many Call Bridges somebody is in."""
    recorded: bool = False
    """Is it recorded or streamed now?"""
    video: bool | None = None
    """Does anybody use video, or share content? None where nobody can tell."""


class Weight(NamedTuple):
    """What is taken from the pool, and why it is that much; `why` is empty for a whole license in a space."""

    sixths: int
    why: str = ""


def shape_of(call_type: str | None, known: Circumstances, options: Options) -> Shape:
    """Return what kind of conference it is, from its callType and, for Lync, from its call profile.

    Source: callType `forwarding` and `lyncConferencing` (CDR guide); `lyncConferenceMode` (Acano KB 390).
    """
    match (call_type or "").lower():
        case "forwarding":
            return Shape.GATEWAY
        case "adhoc":
            return Shape.AD_HOC
        case "lyncconferencing":
            mode = (known.space.lync_mode or options.lync_mode_if_unknown).lower()
            modes = {"dualhomecluster": Shape.DUAL_HOMED, "dualhomecallbridge": Shape.DUAL_HOMED_PER_BRIDGE}
            return modes.get(mode, Shape.LYNC_GATEWAY)
        case _:
            return Shape.SPACE


def is_gateway(shape: Shape) -> bool:
    """Is it between two far ends, with no space that somebody could own?"""
    return shape in (Shape.GATEWAY, Shape.LYNC_GATEWAY)


def weigh(shape: Shape, now: Gathering, known: Circumstances, options: Options) -> Weight:
    """Return what the meeting takes while no PMP+ pays."""
    if known.release is not None and known.release < options.sixths_from_release:
        return Weight(SIXTHS)
    if not _uses_video(now, options) and not (now.recorded and options.recording_lifts_audio_only):
        why = "nobody uses video" if now.video is False else "nobody can tell whether video is used"
        return _per_bridge(shape, now, 1, f"{why}, so a sixth is taken")
    if _may_be_point_to_point(shape, options):
        if now.recorded:
            return Weight(SIXTHS, f"{shape} that is recorded or streamed takes a whole SMP+")
        # In a Lync conference each SIP participant sits in a conference of their own, so nobody is a third.
        if now.participants > 2 and shape is not Shape.LYNC_GATEWAY:  # noqa: PLR2004 - point-to-point is two
            return Weight(SIXTHS, f"{shape} of more than two takes a whole SMP+")
        return Weight(1, f"{shape} takes a sixth of an SMP+")
    return _per_bridge(shape, now, SIXTHS, "")


def _uses_video(now: Gathering, options: Options) -> bool:
    return options.weight_when_media_unknown == "full" if now.video is None else now.video


def _may_be_point_to_point(shape: Shape, options: Options) -> bool:
    return is_gateway(shape) or (shape is Shape.AD_HOC and not options.temporary_space_is_permanent)


def _per_bridge(shape: Shape, now: Gathering, sixths: int, why: str) -> Weight:
    """Return the weight of a conference that every Call Bridge involved may hold on its own.

    Source: Acano KB 390, dualHomeCallBridge.
    """
    if shape is not Shape.DUAL_HOMED_PER_BRIDGE or now.bridges <= 1:
        return Weight(sixths, why)
    each = f"each of {now.bridges} Call Bridges holds a conference of its own"
    return Weight(sixths * now.bridges, f"{why}, and {each}" if why else each)
