"""When a leg is in which call, and what else a leg's records tell, whatever the order in which they arrive."""

from itertools import permutations
from typing import Any

import pytest

from cdr_service.domain.legs import Leg, observe_end, observe_start, observe_update
from cdr_service.domain.records import (
    CallLegEnd,
    CallLegStart,
    CallLegUpdate,
    Media,
    MediaUsage,
    Record,
)
from cdr_service.domain.stays import UNANSWERED, LegState, state, stays
from tests.unit.nasty import EPOCH, Writer

START, UPDATE, END = CallLegStart, CallLegUpdate, CallLegEnd
IN = {"state": "connected", "call": "c", "deactivated": False}
LOBBY = {"state": "connected", "call": "c", "deactivated": True}
IVR = {"state": "connected", "ivr": True}

Told = tuple[type[Record], int, dict[str, Any]]


def incoming(seconds: int = 0, **fields: Any) -> Told:
    """Return the start of an incoming leg."""
    return START, seconds, {"direction": "incoming", **fields}


def outgoing(seconds: int = 0, **fields: Any) -> Told:
    """Return the start of an outgoing leg."""
    return START, seconds, {"direction": "outgoing", "call": "c", **fields}


def update(seconds: int, **fields: Any) -> Told:
    """Return an update."""
    return UPDATE, seconds, fields


def end(seconds: int, reason: str = "remoteTeardown", **fields: Any) -> Told:
    """Return the end of a leg."""
    return END, seconds, {"reason": reason, **fields}


def written(*told: Told) -> list[Record]:
    """Return records, numbered in the order given."""
    writer = Writer("s")
    return [writer.write(kind, seconds, leg="leg", **fields).record for kind, seconds, fields in told]


def leg_of(records: list[Record]) -> Leg:
    """Return the leg after records in the order given."""
    leg = Leg("leg")
    for record in records:
        match record:
            case CallLegStart():
                leg = observe_start(leg, record, record.order("s"))
            case CallLegUpdate():
                leg = observe_update(leg, record, record.order("s"))
            case CallLegEnd():
                leg = observe_end(leg, record, record.order("s"))
    return leg


def spans(leg: Leg) -> list[tuple[str, int, int | None]]:
    """Return the stays in seconds from the beginning."""
    return [
        (stay.call, stay.joined.time // 1000 - EPOCH, stay.left.time // 1000 - EPOCH if stay.left else None)
        for stay in stays(leg)
    ]


CASES: dict[str, tuple[list[Told], list[tuple[str, int, int | None]], LegState]] = {
    "an incoming leg that names its call is in from its start": (
        [incoming(1, call="c")],
        [("c", 1, None)],
        LegState.CONNECTED,
    ),
    "one that does not is in from the update that does": (
        [incoming(1), update(4, **IN)],
        [("c", 4, None)],
        LegState.CONNECTED,
    ),
    "a leg that nobody put into a call is in none": ([incoming(1)], [], LegState.RINGING),
    "nor is one that gave up in an IVR": (
        [incoming(1, ivr=True), update(2, **IVR), end(9, "ivrTimeout", duration_seconds=8)],
        [],
        LegState.ENDED,
    ),
    "from the IVR into the call": (
        [incoming(1, ivr=True), update(2, **IVR), update(8, **IN)],
        [("c", 8, None)],
        LegState.CONNECTED,
    ),
    "the lobby takes back what the start said": ([incoming(1, call="c"), update(1, **LOBBY)], [], LegState.LOBBY),
    "so does an IVR": ([incoming(1, call="c"), update(1, **IVR)], [], LegState.IVR),
    "from the lobby into the call": (
        [incoming(1, call="c"), update(1, **LOBBY), update(7, **IN), end(9)],
        [("c", 7, 9)],
        LegState.ENDED,
    ),
    "an update without state does not confirm, so the lobby still takes back": (
        [incoming(1, call="c"), update(2, call="c"), update(3, **LOBBY)],
        [],
        LegState.LOBBY,
    ),
    "who was in and is sent to the lobby leaves, and may come again": (
        [incoming(1, call="c"), update(1, **IN), update(5, **LOBBY), update(8, **IN), end(9)],
        [("c", 1, 5), ("c", 8, 9)],
        LegState.ENDED,
    ),
    "who was connected and never left the lobby was never in": (
        [incoming(1, call="c"), update(1, **LOBBY), end(9, activated_duration=0, duration_seconds=8)],
        [],
        LegState.ENDED,
    ),
    "an update without state on the way out changes nothing": (
        [incoming(1, call="c"), update(1, **IN), update(9, call="c", deactivated=False), end(9)],
        [("c", 1, 9)],
        LegState.ENDED,
    ),
    "nor does one that says nothing": (
        [incoming(1, call="c"), update(1, **IN), update(9), end(9)],
        [("c", 1, 9)],
        LegState.ENDED,
    ),
    "an outgoing leg rings": ([outgoing(1)], [], LegState.RINGING),
    "until it is connected": ([outgoing(1), update(6, **IN)], [("c", 6, None)], LegState.CONNECTED),
    "an update that does not say connected leaves it ringing": (
        [outgoing(1), update(2, call="c")],
        [],
        LegState.RINGING,
    ),
    "a call-out that nobody answered never counts": (
        [outgoing(1), end(31, "ringingTimeout", duration_seconds=30)],
        [],
        LegState.ENDED,
    ),
    "one without updates that was answered counts for its active time": (
        [outgoing(1), end(31, duration_seconds=30, activated_duration=20)],
        [("c", 11, 31)],
        LegState.ENDED,
    ),
    "or for its whole time where that is not told": (
        [outgoing(1), end(31, duration_seconds=30)],
        [("c", 1, 31)],
        LegState.ENDED,
    ),
    "an active time of nothing is no stay": (
        [outgoing(1), end(31, duration_seconds=30, activated_duration=0)],
        [],
        LegState.ENDED,
    ),
    "an outgoing leg that was seen ringing and no more was never in": (
        [outgoing(1), update(2, call="c"), end(31, duration_seconds=30)],
        [],
        LegState.ENDED,
    ),
    "a lost start is no loss once an update says connected": (
        [update(5, **IN), end(9, duration_seconds=8)],
        [("c", 5, 9)],
        LegState.ENDED,
    ),
    "with the start lost, an update without state puts nobody in": ([update(5, call="c")], [], LegState.RINGING),
    "an end alone tells of no call": ([end(9, duration_seconds=8)], [], LegState.ENDED),
    "moved to another call on the same bridge": (
        [incoming(1, call="c"), update(1, **IN), update(5, **{**IN, "call": "d"}), end(9)],
        [("c", 1, 5), ("d", 5, 9)],
        LegState.ENDED,
    ),
    "moved into the lobby of another call": (
        [incoming(1, call="c"), update(1, **IN), update(5, **{**LOBBY, "call": "d"}), update(7, **{**IN, "call": "d"})],
        [("c", 1, 5), ("d", 7, None)],
        LegState.CONNECTED,
    ),
    "moved before it was connected": (
        [incoming(1, call="c"), update(5, **{**IN, "call": "d"})],
        [("c", 1, 5), ("d", 5, None)],
        LegState.CONNECTED,
    ),
    "what comes after the end in order tells nothing": (
        [incoming(1, call="c"), end(5), update(6, **IN)],
        [("c", 1, 5)],
        LegState.ENDED,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_when_a_leg_is_in(case: str) -> None:
    """The contract's rule, case by case; the same in whatever order the records arrive."""
    told, expected, expected_state = CASES[case]
    records = written(*told)
    legs = [leg_of(list(order)) for order in permutations(records)]
    assert spans(legs[0]) == expected
    assert state(legs[0]) == expected_state
    assert all(leg == legs[0] for leg in legs)


@pytest.mark.parametrize("reason", sorted(UNANSWERED))
def test_reasons_that_mean_that_nobody_answered(reason: str) -> None:
    """A call-out that ended for such a reason counts nobody; what the leg's time says does not matter."""
    assert spans(leg_of(written(outgoing(1), end(31, reason, duration_seconds=30)))) == []


def test_a_record_that_comes_twice_changes_nothing() -> None:
    """The same record is one observation."""
    records = written(incoming(1, call="c"), update(1, **IN), end(9))
    assert leg_of([*records, *records]) == leg_of(records)


def test_the_newest_update_says_what_is_current() -> None:
    """Name and address are those of the latest update, or of the start where it leaves them out."""
    records = written(
        incoming(1, display_name="Alice", remote_address="a@example.com", group_id="g"),
        update(2, display_name="Alice A.", cdr_tag="1001"),
        update(3, remote_address="b@example.com"),
    )
    for order in permutations(records):
        leg = leg_of(list(order))
        assert (leg.shown_name, leg.shown_address, leg.user_tag) == ("Alice", "b@example.com", None)
        assert leg.group_id == "g"


@pytest.mark.parametrize(
    ("told", "counted"),
    [
        ({}, True),
        ({"recording": True}, False),
        ({"streaming": True}, False),
        ({"sub_type": "distributionLink"}, False),
        ({"sub_type": "LYNCDISTRIBUTION"}, False),
        ({"sub_type": "lync"}, True),
        ({"sub_type": "webApp"}, True),
    ],
)
def test_who_counts_as_a_participant(told: dict[str, Any], counted: bool) -> None:
    """Recorders, streamers and links between bridges do not, in whatever case the subType is written."""
    assert leg_of(written(incoming(1, call="c", **told))).counted is counted


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([incoming(3, call="c")], 3),
        ([end(9, duration_seconds=8)], 1),
        ([update(5, **IN), end(9, duration_seconds=8)], 1),
        ([update(5, **IN), end(9, duration_seconds=2)], 5),
        ([update(5, **IN)], 5),
        ([], None),
    ],
)
def test_a_lost_start_is_reconstructed(records: list[Told], expected: int | None) -> None:
    """Without its start a leg began its duration before its end, but not after it was first seen."""
    began = leg_of(written(*records)).started_at
    assert (began // 1000 - EPOCH if began is not None else None) == expected


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, (None, None, None)),
        ({"rx_audio": Media(codec="opus")}, (True, False, False)),
        ({"tx_audio": Media(codec="opus"), "rx_video": Media(codec="h264")}, (True, True, False)),
        ({"media_usage": MediaUsage(main_video_viewer=98.9)}, (False, True, False)),
        ({"media_usage": MediaUsage(main_video_viewer=0.0, presentation_viewer=1.0)}, (False, False, True)),
        ({"rx_audio": Media(), "media_usage": MediaUsage(main_video_contributor=0.0)}, (True, False, False)),
    ],
)
def test_media_are_told_by_the_end(told: dict[str, Any], expected: tuple[bool | None, ...]) -> None:
    """Percentages above zero and streams in either direction; nothing told is nothing known."""
    ending = leg_of(written(incoming(1, call="c"), end(9, **told))).ending
    assert ending is not None
    assert (ending.audio, ending.video, ending.presentation) == expected


def test_what_makes_a_leg_share_a_presence() -> None:
    """Moved legs and Lync legs do; whatever decides with which others is told by `ties`, and changes with it."""
    assert leg_of(written(incoming(1, call="c"))).alone
    moved = leg_of(written(incoming(1, call="c", moved_from="other")))
    lync = leg_of(written(incoming(1, call="c", sub_type="Lync", group_id="g")))
    assert not moved.alone
    assert not lync.alone
    assert len({moved.ties, lync.ties, ()}) == 3
    in_another_call = leg_of(written(incoming(1, call="c", moved_from="other"), update(2, **{**IN, "call": "d"})))
    assert in_another_call.ties != moved.ties
