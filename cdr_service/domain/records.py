"""Call detail records as frozen values: the nine types that a Meeting Server sends, and room for more.

Shapes follow `docs/cdr.md`. Elements that are missing or empty on the wire are `None` here (booleans too: a missing
`deactivated` is not `false`). Values of enumerations stay text, because the sender may extend them. Elements that we
do not know are kept in `extra`, so that nothing a Call Bridge said is dropped.
"""

from typing import Any

from msgspec import Struct


class OrderKey(Struct, frozen=True, order=True, array_like=True, gc=False):
    """The place of a record among all records of a deployment; "earlier" always means smaller by this key.

    Record times are whole seconds and many records share one, so the session and the index within it decide.
    """

    time: int
    """When the record was generated, in milliseconds since 1970 UTC."""
    session: str
    number: int
    """correlatorIndex; recordIndex where a sender has none."""


class Record(Struct, frozen=True, kw_only=True, gc=False):
    """What every record carries. `type` is the name on the wire."""

    type: str
    time: int
    """When the record was generated, in milliseconds since 1970 UTC."""
    record_index: int | None = None
    """Per receiver, from 1. Continuous even where records were dropped."""
    correlator_index: int | None = None
    """Per session, from 0, the same at every receiver: with the session the key against duplicates."""
    missing: int = 0
    """numPreceedingRecordsMissing: so many records just before this one were dropped for this receiver."""
    extra: dict[str, Any] = {}
    """Elements that we do not know, as parsed."""

    def order(self, session: str) -> OrderKey:
        """Return the record's place among all records, given the session of its document."""
        index = self.correlator_index if self.correlator_index is not None else self.record_index
        return OrderKey(self.time, session, index or 0)


class CallStart(Record, frozen=True, kw_only=True):
    """A call (one conference on one Call Bridge) began."""

    call: str
    name: str | None = None
    owner_name: str | None = None
    """Display text only (scheduler, owner's name or JID): never a key."""
    call_type: str | None = None
    """coSpace, adHoc, lyncConferencing, forwarding, or what a later release sends."""
    cospace: str | None = None
    tenant: str | None = None
    cdr_tag: str | None = None
    """The space's cdrTag."""
    call_correlator: str | None = None
    """The same on all bridges of the meeting."""


class CallEnd(Record, frozen=True, kw_only=True):
    """A call ended. It repeats neither name, space nor correlator."""

    call: str
    legs_completed: int | None = None
    legs_max_active: int | None = None
    """Peak of legs on this bridge only."""
    duration_seconds: int | None = None
    endpoint_recorded: bool | None = None


class CallLegStart(Record, frozen=True, kw_only=True):
    """A call leg began; the call may not be known yet."""

    leg: str
    remote_party: str | None = None
    """SIP: the far end's address; signed-in app users: their JID."""
    remote_address: str | None = None
    local_address: str | None = None
    display_name: str | None = None
    leg_type: str | None = None
    """sip or acano (app, WebRTC, web app)."""
    sub_type: str | None = None
    lync_sub_type: str | None = None
    direction: str | None = None
    """incoming or outgoing, as seen from the Meeting Server."""
    call: str | None = None
    ivr: bool = False
    owner_id: str | None = None
    """Opaque id of a managing system; not a user."""
    sip_call_id: str | None = None
    group_id: str | None = None
    """Ties the legs of one Lync person together; the id under /participants."""
    replaces_sip_call_id: str | None = None
    cdr_tag: str | None = None
    """The user's cdrTag."""
    guest: bool | None = None
    """guestConnection."""
    recording: bool | None = None
    streaming: bool | None = None
    can_move: bool | None = None
    moved_from: str | None = None
    """movedCallLeg: the leg that this one was moved from."""
    moved_from_call_bridge: str | None = None
    confirmation_status: str | None = None


class CallLegUpdate(Record, frozen=True, kw_only=True):
    """Something about a leg changed. A snapshot of what is current, not a difference."""

    leg: str
    state: str | None = None
    """connected, or absent: not connected now, also on the way out."""
    call: str | None = None
    ivr: bool = False
    deactivated: bool | None = None
    """True: waiting in the lobby."""
    display_name: str | None = None
    remote_address: str | None = None
    can_move: bool | None = None
    confirmation_status: str | None = None
    cdr_tag: str | None = None
    owner_id: str | None = None
    sip_call_id: str | None = None
    group_id: str | None = None


class PacketStatistics(Struct, frozen=True, kw_only=True):
    """Loss of one received stream, as text: durations and densities have no documented unit."""

    loss_burst_duration: str | None = None
    loss_burst_density: str | None = None
    gap_duration: str | None = None
    gap_density: str | None = None


class Media(Struct, frozen=True, kw_only=True):
    """One direction of one medium, as told when a leg ended."""

    codec: str | None = None
    max_width: int | None = None
    """Pixels."""
    max_height: int | None = None
    """Pixels."""
    packet_statistics: PacketStatistics | None = None


class MediaUsage(Struct, frozen=True, kw_only=True):
    """mediaUsagePercentages: share of the leg's time with each medium, 0 to 100."""

    main_video_viewer: float | None = None
    main_video_contributor: float | None = None
    presentation_viewer: float | None = None
    presentation_contributor: float | None = None
    multistream_video: float | None = None


class Alarm(Struct, frozen=True, kw_only=True):
    """A quality alarm of a leg."""

    type: str | None = None
    duration_percentage: float | None = None
    """Share of the leg's time, 0 to 100."""


class CallLegEnd(Record, frozen=True, kw_only=True):
    """A leg ended. It does not name its call."""

    leg: str
    reason: str | None = None
    remote_teardown: bool | None = None
    duration_seconds: int | None = None
    """The leg's length, including the time before it was connected."""
    activated_duration: int | None = None
    """Seconds active, that is not in the lobby."""
    media_usage: MediaUsage | None = None
    alarms: tuple[Alarm, ...] = ()
    encrypted_media: bool | None = None
    unencrypted_media: bool | None = None
    rx_audio: Media | None = None
    tx_audio: Media | None = None
    rx_video: Media | None = None
    tx_video: Media | None = None
    max_screens: int | None = None
    confirmation_status: str | None = None
    cdr_tag: str | None = None
    owner_id: str | None = None
    sip_call_id: str | None = None


class RecordingStart(Record, frozen=True, kw_only=True):
    """Recording of a call began."""

    recording: str
    path: str | None = None
    recorder: str | None = None
    """recorderUrl (to 2.9) or recorderUri (3.x)."""
    call: str | None = None
    leg: str | None = None
    """The recorder's own leg."""


class RecordingEnd(Record, frozen=True, kw_only=True):
    """A recording ended; it names neither call nor leg."""

    recording: str


class StreamingStart(Record, frozen=True, kw_only=True):
    """Streaming of a call began."""

    streaming: str
    stream: str | None = None
    """streamUrl, where the stream goes (RTMP)."""
    streamer: str | None = None
    """streamerUrl (to 2.9) or streamerUri (3.x)."""
    call: str | None = None
    leg: str | None = None
    """The streamer's own leg."""


class StreamingEnd(Record, frozen=True, kw_only=True):
    """A stream ended; it names neither call nor leg."""

    streaming: str


class UnknownRecord(Record, frozen=True, kw_only=True):
    """A record of a type that we do not know; its whole content is in `extra`."""


class RejectedRecord(Struct, frozen=True, kw_only=True):
    """One record of a good document that lacks what it needs."""

    reason: str
    """One sentence."""
    content: str
    """The record as compact JSON, bounded, for the dead-letter stream."""
    type: str | None = None
    record_index: int | None = None
    correlator_index: int | None = None


class Batch(Struct, frozen=True, kw_only=True):
    """One CDR document: everything that one POST brought."""

    session: str
    """GUID of the Call Bridge's run; new after a restart. Lower case."""
    call_bridge: str | None = None
    """GUID of the Call Bridge, stable over restarts; absent where it is not clustered."""
    records: tuple[Record, ...] = ()
    rejected: tuple[RejectedRecord, ...] = ()
