"""What is known of the space that a call takes place in, and of the release that the Meeting Server runs."""

from typing import Final

from msgspec import Struct

from cdr_service.domain.identity import NOBODY, Identity
from cdr_service.domain.records import OrderKey

AD_HOC: Final = "ad-hoc"
"""A conference that CUCM escalated from a call: its initiator reaches us as the owner of a temporary space."""
SCHEDULED: Final = "scheduled"
"""A conference that TMS scheduled: its scheduler reaches us as the owner of a space."""

Release = tuple[int, ...]
"""A release of the Meeting Server as numbers: (2, 9, 1)."""


class Space(Struct, frozen=True, array_like=True, gc=False):
    """A space of the Meeting Server, as the directory has it."""

    id: str
    name: str | None = None
    owner: str | None = None
    """The owner's own address (JID); None where the space has no owner."""
    scheduled: bool = False
    """Has a meetingScheduler (2.2). Its text decides nothing, but only what schedules meetings sets it."""
    members: tuple[str, ...] | None = None
    """Addresses of the users who are members; None where it was not asked for."""
    lync_mode: str | None = None
    """lyncConferenceMode of the call profile that holds for the space (2.3)."""


def dotted(release: Release) -> str:
    """Return a release as people write it: 2.9.1."""
    return ".".join(map(str, release))


class SpaceFacts(Struct, frozen=True, array_like=True, gc=False):
    """What is known of the space of a call."""

    owner: Identity = NOBODY
    kind: str | None = None
    """AD_HOC or SCHEDULED, where that is known."""
    members: tuple[str, ...] | None = None
    """Addresses of users who are members of the space; None where that is not known or not asked for."""
    lync_mode: str | None = None
    """lyncConferenceMode of the call profile: gateway, dualHomeCluster or dualHomeCallBridge."""
    known: bool = False
    """Was it read from the Meeting Server, rather than only from a holders file?"""


class Circumstances(Struct, frozen=True, array_like=True, gc=False):
    """What decides a meeting's license and is told by no record of it."""

    space: SpaceFacts = SpaceFacts()
    release: Release | None = None
    """What the Meeting Server runs; None where that is not known."""


class Learned(Struct, frozen=True, array_like=True, gc=False):
    """Circumstances as they are known from a moment on."""

    since: OrderKey
    known: Circumstances


class Server(Struct, frozen=True, array_like=True, gc=False):
    """What the Meeting Server of a deployment says of itself."""

    release: Release | None = None
