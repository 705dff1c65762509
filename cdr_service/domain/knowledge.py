"""What is known beside the records: by whom a leg is, of the space of a call, of the server; and what that changes.

Records tell neither who holds PMP+ nor who owns a space. A directory does, and the Meeting Server's API does for single
legs and calls. What is read from there holds from the moment at which it was read.
"""

from typing import Final, NamedTuple

from msgspec.structs import replace

from cdr_service.domain.directory import Directory
from cdr_service.domain.identity import GUEST, Identity
from cdr_service.domain.legs import Leg
from cdr_service.domain.options import Options
from cdr_service.domain.spaces import Release, SpaceFacts, dotted

PARTICIPANT: Final = "participant"
"""How a leg was matched of which the Meeting Server itself names the user (`userJid` of its participant)."""


class Knowledge:
    """What a directory says, and how it goes together with what was known before."""

    def __init__(self, directory: Directory, options: Options) -> None:
        self.directory = directory
        self._options = options
        self.space = directory.space

    def participant(self, user: str | None) -> Identity:
        """Return who a participant is of whom the Meeting Server named the user, or said that they are none."""
        if user is None:
            return GUEST
        found = self.directory.user(user)
        known = self.directory.users.get(found.user or "")
        # Who is behind the leg is certain. That they hold PMP+, or do not, is not while they are in doubt or unread.
        sure = not known.doubt if known is not None else self.directory.from_server
        return Identity(user, PARTICIPANT, found.holds_license, sure)

    def identified(self, before: Leg, leg: Leg) -> Leg:
        """Return the leg with the user that it belongs to, decided anew where what decides it has changed."""
        if (before.observations and evidence(before) == evidence(leg)) or leg.identity_now.matched_by == PARTICIPANT:
            return leg
        identity = self._identify(leg)
        return leg if identity == leg.identity_now else replace(leg, identity=identity, observed=())

    def identified_again(self, leg: Leg) -> Identity:
        """Return who a live leg belongs to by the directory of now."""
        before = leg.identity_now
        named = before.user if before.matched_by == PARTICIPANT else None
        now = self.participant(named) if named else self._identify(leg)
        if now.user is None and before == GUEST:
            return before
        if self._options.owner_change_applies == "next_call" and before.user == now.user:
            return replace(now, holds_license=before.holds_license)
        return now

    def edited(self, leg: Leg) -> Identity | None:
        """Return whom a leg belongs to, where the directory of now says otherwise whether they hold PMP+."""
        known = leg.identity_now
        return known if known.holds_license != self.directory.holds_license(known.user) else None

    def space_now(self, before: SpaceFacts, facts: SpaceFacts) -> SpaceFacts:
        """Return what is known of the space of a live call, given what is said of it now.

        The directory need not have a temporary space that was read when its call began, and knows no call profile.
        """
        if before.known and not facts.known and facts.owner.user is None:
            return before
        now = replace(facts, lync_mode=facts.lync_mode or before.lync_mode, kind=facts.kind or before.kind)
        if self._options.owner_change_applies == "next_call" and (before.known or before.owner.user):
            return replace(now, owner=before.owner)
        return now

    def tells_media(self, leg: Leg) -> bool:
        """Return whether the end of the leg tells other media than it is counted with while the meeting goes on."""
        told = leg.ending.uses_video if leg.ending else None
        if told is None:
            return False
        return not told or bool(leg.video_seen) or self._options.weight_when_media_unknown == "sixth"

    def _identify(self, leg: Leg) -> Identity:
        return identified_by(self.directory, leg)


def user_of(leg: Leg, directory: Directory) -> str | None:
    """Return the user behind a leg: whom it was found to be of while it went on, else whom the directory names now."""
    known = leg.identity_now
    return known.user if known.user or known.sure else identified_by(directory, leg).user


def identified_by(directory: Directory, leg: Leg) -> Identity:
    """Return who a leg belongs to by what its records say and by this directory."""
    leg_type, guest, remote_party, remote_address, cdr_tag, direction = evidence(leg)
    return directory.identify(
        leg_type=leg_type,
        guest=guest,
        remote_party=remote_party,
        remote_address=remote_address,
        cdr_tag=cdr_tag,
        direction=direction,
    )


def evidence(leg: Leg) -> tuple[str | None, bool | None, str | None, str | None, str | None, str | None]:
    """Return what decides which user a leg belongs to."""
    return leg.leg_type, leg.guest, leg.remote_party, leg.shown_address, leg.user_tag, leg.direction


class Advice(NamedTuple):
    """That another policy seems to be the server's."""

    release: str
    policy: str
    advised: str
    reason: str


def advice_on(release: Release | None, options: Options) -> Advice | None:
    """Return what to say where `join` decides and the server's release points to `owner`; the user decides.

    Source: the owner rules are in the guides since 2.3 or about then (`docs/licensing.md`, section 3).
    """
    if release is None or options.policy != "join" or release < options.policy_changeover:
        return None
    reason = (
        f"the Meeting Server runs {dotted(release)}, and from {dotted(options.policy_changeover)} on the rules of "
        "owner are presumed to hold; CDR_POLICY is join"
    )
    return Advice(dotted(release), "join", "owner", reason)
