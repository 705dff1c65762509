"""What things that are over have in common, for `packing`: their MessagePack without ids, and the words of the reasons.

A dictionary is never changed, because what was packed with it can be read with nothing else. A better one is a new
entry with the next number; the old ones stay for as long as a store may hold something that was packed with them.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

_PLACE: Final = b"\x93\xcf\x00\x00\x01\xd9$"
"""The place of a record without its numbers (see `domain.records.OrderKey`)."""

_LEG: Final = (
    b"callMovedlocalTeardownremoteBusyremoteRejectedunknownDestinationcallDeactivatedclientInitiatedTeardown"
    b"\x94\xd9$\xa3jid\xc3\xc3\xa5alias\xa7cdr_tag\xabparticipant\xabsip_address\xc2\xc3\xa6avaya\xa4lync\xa4lyncsip:+"
    b"\xa4Chromium\xa6webApp\xa5acano\xb1guest\xa8outgoing\xc0\xc3\x95" + _PLACE + b"\xcd"
    b"\x92\x93\x93\xcf\x00\x00\x01\xd9$\xcd\xa1s\xd9$\x93"
    b"\x93\xcf\x00\x00\x01\xd9$\xcd\xa1c\xd9$\x93\x93\xcf\x00\x00\x01\xd9$\xcd\xa1u\xd9$\xa1l\xd9$\xa1v\xd9$\xa1i\xc0\x93"
    b"\xcc\xa1s\xc0\x93\x93\xcf\x00\x00\x01\xd9$\xcd\xa1e\xc0\xb4sip:\xb2\xc0\xb6@meet.\xa3sip\xc0\xa8incoming\xd9$\xc0"
    b"\xc0\xc0\xc2\xc2\xc0\xc2\x96\xaeremoteTeardown\xcd\x03\xcd\x03\xc3\xc3\xc2\x94\xc0\xc0\xc2\xc2\x90\xc2\x90"
    b"\xc0\xc2\xc2\xc0\xc2\xc0\x96\xaeremoteTeardown<\xc0\xc0\xc0\xc0\x94\xc0\xc0\xc2\xc2\x90\xc2\x90"
)
_CALL: Final = (
    b"\xd9)~ \xa5adHoc\xaaforwarding\xb0lyncConferencing\x93\xcf\x00\x00\x01\xd9$\xcc\xcd"
    b"\xa4\xad\xc0\xa7coSpace\xd9$\xc0\xc0\xc0\xd9$\x93\xcf\x00\x00\x01\xd9$\x93\xcf\x00\x00\x01\xd9$\xcd\x02"
    b"\xc0\x94\xc0\xc0\xcd\x05\xc0\x91\xd9$\xc3\xc0\xc0\x94\x05\x05\xcd\xc0\x90\xc3"
)
_RECORDING: Final = b"\xc3\xc2\xd9$\x93\xcf\x00\x00\x01\xd9$\xcc\x93\xcf\x00\x00\x01\xd9$\xcd"

_RARE_REASONS: Final = (
    b" that is recorded or streamed takes a whole SMP+ of more than two takes a whole SMP+"
    b"each of 2 Call Bridges holds a conference of its own, and , so a sixth is taken"
    b"; nobody can tell whether video is used"
    b", who scheduled the meeting, started the ad hoc conference"
    b" (policy auto: owner, because the Meeting Server runs )the release of the Meeting Server is not known"
    b"the PMP+ of the owner , and  holds PMP+ that pays as many meetings as it may"
    b", who is in as leg , holds PMP+, which is free to pay this meeting nowthe owner  holds no PMP+"
    b"a gateway or point-to-point call takes a sixth of an SMP+an ad hoc conference\xa7gateway"
)
_CAUSES: Final = (
    b"\xb2initiator_resolved\xabslot_taken\xb1recording_started\xb1recording_stopped\xb1policy_changed"
    b"\xb1directory_changed\xadvideo_started\xadvideo_stopped\xb1third_participant\xabcorrection\xaeowner_resolved"
    b"\xaaslot_freed\xabmember_left\xaacall_ended\xb0ad-hoc-initiator\xa9scheduler\xaareconciled"
)
_HEAD: Final = (
    b"\x92\xd9$\xd9$\x91\xd9$\x93\xcf\x00\x00\x01\xd9$\xcd\xa5adHoc\xaaforwarding\xb0lyncConferencing\xa7coSpace"
    b"\x92\x95\x94\xc0\xa3uri\xc3\xc3\xc0\xc0\xc0\xc3\xc0\x92\x95\x94\xc0\xc0\xc2\xc2\xc0\xc0\xc0\xc2\xc0\x90\xc2\x98"
    b"\x93\xcf\x00\x00\x01\xd9$\xcd\x00\x02\x82\xd9$\x97\x00\x02\x00\x00\x00\x93\xcf\x00\x00\x01\xd9$\xcd\x00\x00\x81\xd9$"
    b"\x97\x00\x02\x00\x00\x00\x93\xcf\x00\x00\x01\xd9$\xcd\x00\x82"
)
_PERSONAL: Final = (
    b"\xd9\x1d, who owns the space, holds PMP+\xa5owner\x97\xa4PMP+\x00\xa5owner\xadmember_joined\xadmember-joined\xd9$"
    b"\x97\xa4PMP+\xb1\x00\xadmember-joined\x93\xcf\x00\x00\x01\xd9$\xcd\xd9, who holds PMP+, joined as leg "
    b"\xa9confirmed\xaacall_ended\xa9confirmed\xb0participant_left\x91\x94\xb1" + _PLACE + b"\xc0" + _PLACE
)
_ONE_SIDED: Final = (
    b"\x9a\x93\xcf\x00\x00\x01\xd9$\xcd\xc0\x97\xa4SMP+\xc0\x01\xa6shared; nobody uses video, so a sixth is taken"
    b"\xd9Dno owner of a space is known; nobody uses video, so a sixth is taken"
    b"\xbethe space has no owner\xabprovisional\xa9confirmed\xb1first_participant"
)
_USUAL: Final = (
    b"\xa4join\x94\xc0\x93\x92\x9a\x93\xcf\x00\x00\x01\xd9$\xcc\xc0\x97\xa4SMP+\xc0\x06\xa6shared\x93\xcf\x00\x00\x01\xd9$\xcc"
    b"\xd9Mnobody in the meeting is known to hold PMP+, and no owner of a space is known"
    b"\xabprovisional\xb1first_participant\xa6shared\xd9$\xc0"
    b"\xd9Mnobody in the meeting is known to hold PMP+, and no owner of a space is known\xc2\xb4"
    b"\x9a\x93\xcf\x00\x00\x01\xd9$\xcd\x02\x97\xa4SMP+\xc0\x06\xa6shared\x93\xcf\x00\x00\x01\xd9$\xcd"
    b"\xd9Mnobody in the meeting is known to hold PMP+, and no owner of a space is known"
    b"\xabprovisional\xc0\xb0participant_left\xc0\xd9$\xc0\xd9Dthe last participant left (leg )\xc2\xb4\x90\x90"
    b"\xa5owner\x94\xc0\x92\x9a\x93\xcf\x00\x00\x01\xd9$\xcc\xc0\x97\xa4SMP+\xc0\x06\xa6shared\x93\xcf\x00\x00\x01\xd9$\xcc"
    b"\xbcno owner of a space is known\xabprovisional\xb1first_participant\xa6shared\xd9$\xc0"
    b"\xbcno owner of a space is known\xc2\xc0\x9a\x93\xcf\x00\x00\x01\xd9$\xcd"
    b"\x97\xa4SMP+\xc0\x06\xa6shared\x93\xcf\x00\x00\x01\xd9$\xcd\xbcno owner of a space is known"
    b"\xabprovisional\xc0\xb0participant_left\xc0\xd9$\xc0\xd9Dthe last participant left (leg )\xc2\xc0\x90\x90"
    b"\x94\x00\x00\x00\xc0\xc2\xc0"
)
_MEETING: Final = _RARE_REASONS + _CAUSES + _HEAD + _PERSONAL + _ONE_SIDED + _USUAL


class Dictionary(NamedTuple):
    """What things of a kind have in common."""

    common: bytes
    """The likeliest stands at the end, where naming it costs least."""
    head: bytes
    """What a thing begins with, up to its own id."""
    before_id: bytes = b"\xd9$"
    """What another id often follows on."""


DICTIONARIES: Final[Mapping[int, Mapping[str, Dictionary]]] = {
    1: {
        "leg": Dictionary(_LEG, b"\xdc\x00\x16\xd9$", b"\xa1s\xd9$"),
        "call": Dictionary(_CALL, b"\xdc\x00\x11\xd9$"),
        "recording": Dictionary(_RECORDING, b"\x95\xd9$"),
        "meeting": Dictionary(_MEETING, b"\x98\xd9$"),
    },
}
"""By number, then by kind of thing."""
