"""The wire format as data: per record type the names on the wire, the field and how the value is read.

A name with `@` is an attribute. Several names in one string are spellings of one element, the preferred first. What
the fields mean and how certain each is stands in `docs/cdr.md`.
"""

from typing import NamedTuple

from cdr_service.domain.elements import (
    Converter,
    Row,
    boolean,
    decimal,
    group,
    guid,
    main_role,
    moment,
    present,
    repeated,
    table,
    text,
    whole,
)
from cdr_service.domain.records import (
    Alarm,
    CallEnd,
    CallLegEnd,
    CallLegStart,
    CallLegUpdate,
    CallStart,
    Media,
    MediaUsage,
    PacketStatistics,
    Record,
    RecordingEnd,
    RecordingStart,
    StreamingEnd,
    StreamingStart,
)


class Kind(NamedTuple):
    """A record type."""

    record: type[Record]
    element: str
    """The element that carries the content of the record."""
    key: str
    """The field with the element's id, without which the record says nothing."""
    convert: Converter
    """Reads the element's value into a dict of fields."""


def _kind(record: type[Record], element: str, key: str, *rows: Row) -> Kind:
    return Kind(record, element, key, group(dict, ("@id", key, guid), *rows))


DOCUMENT = table(
    ("@session", "session", guid),
    ("@callBridge", "call_bridge", guid),
)
"""Attributes of `<records>`."""

ENVELOPE = table(
    ("@type", "type", text),
    ("@time", "time", moment),
    ("@recordIndex", "record_index", whole),
    ("@correlatorIndex", "correlator_index", whole),
    # The wire misspells it; should a release correct that, a loss must not go unseen.
    ("@numPreceedingRecordsMissing @numPrecedingRecordsMissing", "missing", whole),
)
"""Attributes of `<record>`."""

_packet_statistics = group(
    PacketStatistics,
    (
        "packetLossBursts",
        "",
        group(dict, ("duration", "loss_burst_duration", text), ("density", "loss_burst_density", text)),
    ),
    ("packetGap", "", group(dict, ("duration", "gap_duration", text), ("density", "gap_density", text))),
)
_media = group(
    Media,
    ("codec", "codec", text),
    ("maxSizeWidth", "max_width", whole),
    ("maxSizeHeight", "max_height", whole),
    ("packetStatistics", "packet_statistics", _packet_statistics),
)
_media_usage = group(
    MediaUsage,
    ("mainVideoViewer", "main_video_viewer", decimal),
    ("mainVideoContributor", "main_video_contributor", decimal),
    ("presentationViewer", "presentation_viewer", decimal),
    ("presentationContributor", "presentation_contributor", decimal),
    ("multistreamVideo", "multistream_video", decimal),
)
_alarm = group(Alarm, ("@type", "type", text), ("@durationPercentage", "duration_percentage", decimal))

KINDS: dict[str, Kind] = {
    "callStart": _kind(
        CallStart,
        "call",
        "call",
        ("name", "name", text),
        ("ownerName", "owner_name", text),
        ("callType", "call_type", text),
        ("coSpace", "cospace", guid),
        ("tenant", "tenant", guid),
        ("cdrTag", "cdr_tag", text),
        ("callCorrelator", "call_correlator", guid),
    ),
    "callEnd": _kind(
        CallEnd,
        "call",
        "call",
        ("callLegsCompleted", "legs_completed", whole),
        ("callLegsMaxActive", "legs_max_active", whole),
        ("durationSeconds", "duration_seconds", whole),
        ("endpointRecorded", "endpoint_recorded", boolean),
    ),
    "callLegStart": _kind(
        CallLegStart,
        "callLeg",
        "leg",
        ("remoteParty", "remote_party", text),
        ("remoteAddress", "remote_address", text),
        ("localAddress", "local_address", text),
        ("displayName", "display_name", text),
        ("type", "leg_type", text),
        ("subType", "sub_type", text),
        ("lyncSubType", "lync_sub_type", text),
        ("direction", "direction", text),
        ("call", "call", guid),
        ("ivr", "ivr", present),
        ("ownerId", "owner_id", text),
        ("sipCallId", "sip_call_id", text),
        ("groupId", "group_id", guid),
        ("replacesSipCallId", "replaces_sip_call_id", text),
        ("cdrTag", "cdr_tag", text),
        ("guestConnection", "guest", boolean),
        ("recording", "recording", boolean),
        ("streaming", "streaming", boolean),
        ("canMove callMove", "can_move", boolean),
        ("movedCallLeg", "moved_from", guid),
        ("movedCallLegCallBridge", "moved_from_call_bridge", guid),
        ("confirmationStatus", "confirmation_status", text),
    ),
    "callLegUpdate": _kind(
        CallLegUpdate,
        "callLeg",
        "leg",
        ("state", "state", text),
        ("call", "call", guid),
        ("ivr", "ivr", present),
        ("deactivated", "deactivated", boolean),
        ("displayName", "display_name", text),
        ("remoteAddress", "remote_address", text),
        ("canMove callMove", "can_move", boolean),
        ("confirmationStatus", "confirmation_status", text),
        ("cdrTag", "cdr_tag", text),
        ("ownerId", "owner_id", text),
        ("sipCallId", "sip_call_id", text),
        ("groupId", "group_id", guid),
    ),
    "callLegEnd": _kind(
        CallLegEnd,
        "callLeg",
        "leg",
        ("reason", "reason", text),
        ("remoteTeardown", "remote_teardown", boolean),
        ("durationSeconds", "duration_seconds", whole),
        ("activatedDuration activeDuration", "activated_duration", whole),
        ("mediaUsagePercentages", "media_usage", _media_usage),
        ("alarm", "alarms", repeated(_alarm)),
        ("encryptedMedia", "encrypted_media", boolean),
        ("unencryptedMedia", "unencrypted_media", boolean),
        ("rxAudio", "rx_audio", _media),
        ("txAudio", "tx_audio", _media),
        ("rxVideo", "rx_video", main_role(_media)),
        ("txVideo", "tx_video", main_role(_media)),
        ("maxScreens", "max_screens", whole),
        ("confirmationStatus", "confirmation_status", text),
        ("cdrTag", "cdr_tag", text),
        ("ownerId", "owner_id", text),
        ("sipCallId", "sip_call_id", text),
    ),
    "recordingStart": _kind(
        RecordingStart,
        "recording",
        "recording",
        ("path", "path", text),
        ("recorderUri recorderUrl", "recorder", text),
        ("call", "call", guid),
        ("callLeg", "leg", guid),
    ),
    "recordingEnd": _kind(RecordingEnd, "recording", "recording"),
    "streamingStart": _kind(
        StreamingStart,
        "streaming",
        "streaming",
        ("streamUrl", "stream", text),
        ("streamerUri streamerUrl", "streamer", text),
        ("call", "call", guid),
        ("callLeg", "leg", guid),
    ),
    "streamingEnd": _kind(StreamingEnd, "streaming", "streaming"),
}
"""The nine record types by their name on the wire."""
