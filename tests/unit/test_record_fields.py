"""Every field of every record type: how it is written on the wire and what it is read as."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdr_service.domain.documents import parse
from cdr_service.domain.elements import moment
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
from cdr_service.domain.tables import KINDS

ODD = Path(__file__).parents[1] / "samples" / "odd"


def read(kind: str, content: str) -> Any:
    """Read one record of a kind with all attributes."""
    body = (
        f'<records session="s"><record type="{kind}" time="2024-03-12T09:00:00Z" recordIndex="9" correlatorIndex="8"'
        f' numPreceedingRecordsMissing="7">{content}</record></records>'
    )
    (record,) = parse(body.encode()).records
    return record


def odd(name: str) -> tuple[Any, ...]:
    """Return the records of a sample of the folder odd."""
    return parse((ODD / f"{name}.xml").read_bytes()).records


# Wire name: (text on the wire, field, value read). Every element that is text, a number or a boolean.
SIMPLE: dict[type[Record], dict[str, tuple[str, str, object]]] = {
    CallStart: {
        "name": ("Team standup", "name", "Team standup"),
        "ownerName": ("Alice Example", "owner_name", "Alice Example"),
        "callType": ("coSpace", "call_type", "coSpace"),
        "coSpace": ("97015761-60D6-4229", "cospace", "97015761-60d6-4229"),
        "tenant": ("7ACF2A7C", "tenant", "7acf2a7c"),
        "cdrTag": ("Space-7", "cdr_tag", "Space-7"),
        "callCorrelator": ("9B46730E", "call_correlator", "9b46730e"),
    },
    CallEnd: {
        "callLegsCompleted": ("3", "legs_completed", 3),
        "callLegsMaxActive": ("2", "legs_max_active", 2),
        "durationSeconds": ("1265", "duration_seconds", 1265),
        "endpointRecorded": ("true", "endpoint_recorded", True),
    },
    CallLegStart: {
        "remoteParty": ("alice@example.com", "remote_party", "alice@example.com"),
        "remoteAddress": ("alice@example.com:5061", "remote_address", "alice@example.com:5061"),
        "localAddress": ("Standup@meet.example.com", "local_address", "Standup@meet.example.com"),
        "displayName": ("Alice", "display_name", "Alice"),
        "type": ("sip", "leg_type", "sip"),
        "subType": ("lync", "sub_type", "lync"),
        "lyncSubType": ("audioVideo", "lync_sub_type", "audioVideo"),
        "direction": ("incoming", "direction", "incoming"),
        "call": ("7D6111CD", "call", "7d6111cd"),
        "ivr": ("", "ivr", True),
        "ownerId": ("Manager-1", "owner_id", "Manager-1"),
        "sipCallId": ("9558E595@192.0.2.1", "sip_call_id", "9558E595@192.0.2.1"),
        "groupId": ("4DDA32F4", "group_id", "4dda32f4"),
        "replacesSipCallId": ("ABC", "replaces_sip_call_id", "ABC"),
        "cdrTag": ("Emp-1001", "cdr_tag", "Emp-1001"),
        "guestConnection": ("false", "guest", False),
        "recording": ("true", "recording", True),
        "streaming": ("true", "streaming", True),
        "canMove": ("true", "can_move", True),
        "movedCallLeg": ("06832D8E", "moved_from", "06832d8e"),
        "movedCallLegCallBridge": ("85039A39", "moved_from_call_bridge", "85039a39"),
        "confirmationStatus": ("notRequired", "confirmation_status", "notRequired"),
    },
    CallLegUpdate: {
        "state": ("connected", "state", "connected"),
        "call": ("7D6111CD", "call", "7d6111cd"),
        "ivr": ("", "ivr", True),
        "deactivated": ("false", "deactivated", False),
        "displayName": ("Alice", "display_name", "Alice"),
        "remoteAddress": ("alice@example.com", "remote_address", "alice@example.com"),
        "canMove": ("false", "can_move", False),
        "confirmationStatus": ("rejected", "confirmation_status", "rejected"),
        "cdrTag": ("Emp-1001", "cdr_tag", "Emp-1001"),
        "ownerId": ("Manager-1", "owner_id", "Manager-1"),
        "sipCallId": ("9558E595", "sip_call_id", "9558E595"),
        "groupId": ("4DDA32F4", "group_id", "4dda32f4"),
    },
    CallLegEnd: {
        "reason": ("confirmationTimeOut", "reason", "confirmationTimeOut"),
        "remoteTeardown": ("true", "remote_teardown", True),
        "durationSeconds": ("98", "duration_seconds", 98),
        "activatedDuration": ("37", "activated_duration", 37),
        "encryptedMedia": ("true", "encrypted_media", True),
        "unencryptedMedia": ("true", "unencrypted_media", True),
        "maxScreens": ("2", "max_screens", 2),
        "confirmationStatus": ("rejected", "confirmation_status", "rejected"),
        "cdrTag": ("Emp-1001", "cdr_tag", "Emp-1001"),
        "ownerId": ("Manager-1", "owner_id", "Manager-1"),
        "sipCallId": ("9558E595", "sip_call_id", "9558E595"),
    },
    RecordingStart: {
        "path": ("spaces/97015761/20240312090000+0000", "path", "spaces/97015761/20240312090000+0000"),
        "recorderUrl": ("http://recorder.example.com", "recorder", "http://recorder.example.com"),
        "call": ("7D6111CD", "call", "7d6111cd"),
        "callLeg": ("D144E20C", "leg", "d144e20c"),
    },
    RecordingEnd: {},
    StreamingStart: {
        "streamUrl": ("rtmp://stream.example.com/live/Key", "stream", "rtmp://stream.example.com/live/Key"),
        "streamerUrl": ("http://streamer.example.com", "streamer", "http://streamer.example.com"),
        "call": ("7D6111CD", "call", "7d6111cd"),
        "callLeg": ("D144E20C", "leg", "d144e20c"),
    },
    StreamingEnd: {},
}

STATISTICS_XML = (
    "<packetStatistics><packetLossBursts><duration>1.5</duration><density>0.25</density></packetLossBursts>"
    "<packetGap><duration>30</duration><density>0.01</density></packetGap></packetStatistics>"
)
STATISTICS = PacketStatistics(
    loss_burst_duration="1.5", loss_burst_density="0.25", gap_duration="30", gap_density="0.01"
)
SIZE_XML = "<maxSizeWidth>1920</maxSizeWidth><maxSizeHeight>1080</maxSizeHeight>"
USAGE_XML = (
    "<mainVideoViewer>98.9</mainVideoViewer><mainVideoContributor>97</mainVideoContributor>"
    "<presentationViewer>12.5</presentationViewer><presentationContributor>0.0</presentationContributor>"
    "<multistreamVideo>3.1</multistreamVideo>"
)

# Elements with content of their own: (XML, field, value read).
NESTED: dict[type[Record], list[tuple[str, str, object]]] = {
    CallLegEnd: [
        (
            f"<mediaUsagePercentages>{USAGE_XML}</mediaUsagePercentages>",
            "media_usage",
            MediaUsage(
                main_video_viewer=98.9,
                main_video_contributor=97.0,
                presentation_viewer=12.5,
                presentation_contributor=0.0,
                multistream_video=3.1,
            ),
        ),
        (
            '<alarm type="packetLoss" durationPercentage="0.3"/><alarm type="excessiveJitter"/>',
            "alarms",
            (Alarm(type="packetLoss", duration_percentage=0.3), Alarm(type="excessiveJitter")),
        ),
        (
            f"<rxAudio><codec>g722</codec>{STATISTICS_XML}</rxAudio>",
            "rx_audio",
            Media(codec="g722", packet_statistics=STATISTICS),
        ),
        ("<txAudio><codec>opus</codec></txAudio>", "tx_audio", Media(codec="opus")),
        (
            f"<rxVideo><codec>h264</codec>{SIZE_XML}{STATISTICS_XML}</rxVideo>",
            "rx_video",
            Media(codec="h264", max_width=1920, max_height=1080, packet_statistics=STATISTICS),
        ),
        (
            f"<txVideo><codec>vp8</codec>{SIZE_XML}</txVideo>",
            "tx_video",
            Media(codec="vp8", max_width=1920, max_height=1080),
        ),
    ],
}


@pytest.mark.parametrize("name", KINDS)
def test_every_field_is_read(name: str) -> None:
    """A record with everything that its type can say is read into all fields of its type, with nothing left over."""
    kind = KINDS[name]
    simple, nested = SIMPLE[kind.record], NESTED.get(kind.record, [])
    written = "".join(f"<{wire}>{text}</{wire}>" for wire, (text, _, _) in simple.items())
    written += "".join(xml for xml, _, _ in nested)
    record = read(name, f'<{kind.element} id="D144E20C-9922">{written}</{kind.element}>')
    expected = {field: value for _, field, value in [*simple.values(), *nested]}
    assert record == kind.record(
        type=name,
        time=1710234000000,
        record_index=9,
        correlator_index=8,
        missing=7,
        **{kind.key: "d144e20c-9922"},
        **expected,
    )
    base = set(Record.__struct_fields__)
    assert {kind.key, *expected} == set(kind.record.__struct_fields__) - base


def test_element_order_and_letter_case_do_not_matter() -> None:
    """Elements are read in any order and any letter case of their names."""
    given_names = "<call>7d61</call><SUBTYPE>webApp</SUBTYPE><type>acano</type>"
    record = read("callLegStart", f'<callLeg id="1">{given_names}</callLeg>')
    assert (record.call, record.sub_type, record.leg_type, record.extra) == ("7d61", "webApp", "acano", {})


def test_other_spellings_are_read() -> None:
    """Spellings on which the sources disagree fill the same field; where both come the documented one wins."""
    link, web, fallback, both, *rest = odd("spellings")
    assert (link.sub_type, link.group_id) == ("lyncdistribution", "4dda32f4-f804-4864-b6a9-349932fee3b4")
    assert (link.sip_call_id, link.can_move) == ("9558E595@example.com", True)
    assert web.sub_type == "webApp"
    assert (fallback.activated_duration, fallback.media_usage.multistream_video) == (12, 50.5)
    assert (both.activated_duration, both.extra) == (13, {"activeDuration": "12"})
    assert [record.recorder for record in rest[:2]] == ["http://recorder.example.com:8443", "recorder@example.com"]
    assert [record.streamer for record in rest[2:]] == ["http://streamer.example.com:8443", "streamer@example.com"]


def test_empty_elements_are_none() -> None:
    """Empty elements are None like missing ones, booleans and groups too; only an empty ivr says yes."""
    start, leg, end = odd("empty-elements")
    envelope = {"time": 1710234000000}
    assert start == CallStart(type="callStart", record_index=1, correlator_index=0, call=start.call, **envelope)
    assert leg == CallLegStart(
        type="callLegStart", record_index=2, correlator_index=1, leg=leg.leg, ivr=True, **envelope
    )
    assert end == CallLegEnd(type="callLegEnd", record_index=3, correlator_index=2, leg=leg.leg, **envelope)


def test_values_that_cannot_be_read_are_none_and_kept() -> None:
    """Booleans, whole and decimal numbers that do not parse are None and stand in extra as they were sent."""
    (end,) = odd("bad-values")
    assert (end.remote_teardown, end.duration_seconds, end.activated_duration, end.max_screens) == (None,) * 4
    assert end.media_usage == MediaUsage(presentation_viewer=1.5)
    assert end.alarms == (Alarm(type="packetLoss"),)
    assert end.extra == {
        "remoteTeardown": "yes",
        "durationSeconds": "1_000",
        "activatedDuration": "-5",
        "maxScreens": "two",
        "mediaUsagePercentages": {"mainVideoViewer": "98,9", "mainVideoContributor": "nan"},
        "alarm": [{"@durationPercentage": "some"}],
    }


@pytest.mark.parametrize("text", ["+1", "1.0", "1e3", "٣", "²", "9007199254740993", "9" * 5000, "0x1", "1 2"])
def test_only_plain_digits_are_whole_numbers(text: str) -> None:
    """Signs, fractions, other scripts' digits and numbers above 2**53 are no whole numbers."""
    record = read("callEnd", f'<call id="1"><durationSeconds>{text}</durationSeconds></call>')
    assert (record.duration_seconds, record.extra) == (None, {"durationSeconds": text})


def test_of_repeated_elements_the_first_that_says_something_is_read() -> None:
    """Where text is repeated the first is read; video is the one without a role or with the role main."""
    both, only_presentation, start = odd("repeated-elements")
    assert both.reason == "callEnded"
    assert (both.rx_video.codec, both.tx_video.codec) == ("h264", "vp8")
    assert [alarm.type for alarm in both.alarms] == ["packetLoss", "excessiveJitter"]
    assert both.extra == {
        "reason": ["error"],
        "rxVideo": [{"@role": "presentation", "codec": "h263"}],
        "txVideo": [{"@role": "presentation", "codec": "h261"}],
    }
    assert only_presentation.rx_video is None
    assert only_presentation.extra == {"rxVideo": {"@role": "presentation", "codec": "h264"}}
    assert (start.name, start.extra) == ("First", {"call": [{"@id": "second"}]})


def test_elements_where_text_was_expected_are_kept() -> None:
    """Own text of an element is read; what is nested in it, and text beside elements, is kept."""
    start, in_ivr, not_in_ivr = odd("nested-text")
    assert (start.name, start.owner_name, start.call_type) == ("Team up", None, "coSpace")
    assert start.extra == {
        "name": {"@lang": "en", "b": "stand"},
        "ownerName": {"first": "Alice"},
        "#text": "stray",
    }
    assert (in_ivr.ivr, in_ivr.extra) == (True, {"ivr": {"menu": "1"}})
    assert not_in_ivr.ivr is False


@pytest.mark.parametrize("kind", [MediaUsage, Media, PacketStatistics, Alarm])
def test_unknown_elements_in_groups_are_kept(kind: type) -> None:
    """What we do not know inside a group is kept under the group's name, and the group counts as present."""
    name, field = {
        MediaUsage: ("mediaUsagePercentages", "media_usage"),
        Media: ("rxAudio", "rx_audio"),
        PacketStatistics: ("rxAudio", "rx_audio"),
        Alarm: ("alarm", "alarms"),
    }[kind]
    inside = "<packetStatistics><new>1</new></packetStatistics>" if kind is PacketStatistics else "<new>1</new>"
    left: Any = {"packetStatistics": {"new": "1"}} if kind is PacketStatistics else {"new": "1"}
    record = read("callLegEnd", f'<callLeg id="1"><{name}>{inside}</{name}></callLeg>')
    assert record.extra == {name: [left] if kind is Alarm else left}
    assert getattr(record, field)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.9999Z", 999),
        ("1970-01-01T00:00:00.123456789012Z", 123),
        ("1970-01-01t00:00:01.5z", 1500),
        ("1970-01-01 01:30:00+01:30", 0),
        ("1969-12-31T19:00:00-05:00", 0),
        ("1969-12-31T23:59:59-00:00", -1000),
        ("2016-12-31T23:59:60Z", 1483228800000),
        ("2016-12-31T23:59:60.250+00:00", 1483228800250),
    ],
)
def test_rfc_3339_times(text: str, milliseconds: int) -> None:
    """Offsets, fractions, either letter case and leap seconds are read, as milliseconds since 1970 UTC."""
    assert moment(text) == (milliseconds, None)


@pytest.mark.parametrize(
    "text",
    [
        "2024-03-12T09:00Z",
        "20240312T090000Z",
        "2024-W11-2T09:00:00Z",
        "2024-03-12T09:00:00+0100",
        "2024-03-12T09:00:00,5Z",
        "2024-03-12T24:00:00Z",
        "2024-03-12T09:61:00Z",
        "2024-03-12T09:00:61Z",
        "2024-03-12T09:00:00+24:00",
        "0000-03-12T09:00:00Z",
        "٢٠٢٤-03-12T09:00:00Z",
        "2024-03-12T09:00:00Z and more",
    ],
)
def test_other_forms_are_no_times(text: str) -> None:
    """Other forms of ISO 8601, impossible times and digits of other scripts are not read."""
    assert moment(text) == (None, text)


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30)),  # noqa: DTZ001 - the zone is drawn apart
    st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
def test_any_time_is_read_to_the_millisecond(local: datetime, zone: timezone) -> None:
    """Whatever the offset and the fraction, the time is read exactly, cut to milliseconds."""
    time = local.replace(tzinfo=zone)
    expected = (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert moment(time.isoformat()) == (expected, None)
