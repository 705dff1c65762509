"""What records do to calls, legs, meetings and licenses, and what is told of it.

The quirks are those of `docs/cdr.md`, section 6, by their numbers.
"""

import sys
from itertools import permutations
from typing import Any

import pytest

from cdr_service.domain.bookkeeping import Source
from cdr_service.domain.calls import Call
from cdr_service.domain.directory import Directory, User
from cdr_service.domain.events import LATE_MILLISECONDS, Event
from cdr_service.domain.licensing import SHARED
from cdr_service.domain.options import Options
from cdr_service.domain.records import (
    CallEnd,
    CallLegEnd,
    CallLegStart,
    CallLegUpdate,
    CallStart,
    Record,
    RecordingEnd,
    RecordingStart,
    StreamingEnd,
    StreamingStart,
    UnknownRecord,
)
from cdr_service.domain.showing import standing_of
from cdr_service.domain.stays import LegState, state, stays
from tests.unit.books import Books, Parcel
from tests.unit.facts import differences, facts
from tests.unit.nasty import DIRECTORY, EPOCH, Sent, Writer, in_order, person

ALICE, BOB, CAROL = "alice@example.com", "bob@example.com", "carol@example.com"
SPACE = {"call_type": "coSpace", "cospace": "space-of-nobody", "name": "Standup"}


class Cluster:
    """Two Call Bridges of one cluster, and the books that their records go into."""

    def __init__(self, directory: Directory = DIRECTORY, options: Options | None = None) -> None:
        self.books = Books(directory, options)
        self.bridges = {"a": Writer("session-a", "bridge-a"), "b": Writer("session-b", "bridge-b")}

    def start(self, seconds: int, call: str = "c", *, bridge: str = "a", **fields: Any) -> Sent:
        """Write a callStart."""
        about = {"call_correlator": "m", **SPACE, **fields}
        return self.bridges[bridge].write(CallStart, seconds, call=call, **about)

    def join(self, seconds: int, leg: str, call: str | None = "c", *, bridge: str = "a", **fields: Any) -> Sent:
        """Write the callLegStart of an app user named like the leg (up to a hyphen)."""
        who = person(f"{leg.partition('-')[0]}@example.com")
        about = {"direction": "incoming", "call": call, **who, **fields}
        return self.bridges[bridge].write(CallLegStart, seconds, leg=leg, **about)

    def update(self, seconds: int, leg: str, *, bridge: str = "a", **fields: Any) -> Sent:
        """Write a callLegUpdate."""
        return self.bridges[bridge].write(CallLegUpdate, seconds, leg=leg, **fields)

    def leave(self, seconds: int, leg: str, *, bridge: str = "a", reason: str = "remoteTeardown") -> Sent:
        """Write a callLegEnd."""
        return self.bridges[bridge].write(CallLegEnd, seconds, leg=leg, reason=reason)

    def end(self, seconds: int, call: str = "c", *, bridge: str = "a", **fields: Any) -> Sent:
        """Write a callEnd."""
        return self.bridges[bridge].write(CallEnd, seconds, call=call, **fields)

    def write(self, seconds: int, kind: type[Record], **fields: Any) -> Sent:
        """Write another record on bridge a."""
        return self.bridges["a"].write(kind, seconds, **fields)

    def take(self, *sent: Sent) -> list[Event]:
        """Take records, each in a document of its own; return what happened."""
        return [event for one in sent for event in self.books.take(Parcel(one.source, [one.record]))]

    def licenses(self, meeting: str = "m", policy: str = "join") -> list[tuple[int, str | None]]:
        """Return when (in seconds) the meeting's license changed, and to whom."""
        return [
            (t.at.time // 1000 - EPOCH, t.after and (t.after.holder or t.after.type))
            for t in standing_of(self.books.meetings[meeting], policy).transitions
        ]

    def peaks(self, meeting: str = "m") -> tuple[int, dict[str, int]]:
        """Return the peak of people in the meeting and on each of its calls."""
        timeline = self.books.meetings[meeting].timeline
        return timeline.participants_peak, {call: count.participants_peak for call, count in timeline.calls.items()}


IN = {"state": "connected", "call": "c", "deactivated": False}


def taken(sent: list[Sent]) -> dict[str, Any]:
    """Return the facts after records in the order given."""
    books = Books(DIRECTORY)
    for one in sent:
        books.take(Parcel(one.source, [one.record]))
    return facts(books)


# The quirks of the wire


def test_quirk_1_a_first_sip_leg_starts_before_its_call() -> None:
    """Start without a call, callStart, update with the call: any order of the three is the same meeting."""
    cluster = Cluster()
    sent = [
        cluster.join(0, "alice", None, leg_type="sip", sub_type=None),
        cluster.start(0),
        cluster.update(0, "alice", **IN),
        cluster.leave(9, "alice"),
    ]
    expected = taken(sent)
    assert set(expected["meetings"]) == {"m"}
    for order in permutations(sent):
        assert differences(taken(list(order)), expected) == []
    cluster.take(*sent)
    assert cluster.licenses() == [(0, ALICE), (9, None)]


def test_quirk_1_a_first_app_leg_starts_after_its_call() -> None:
    """callStart, start with the call, update: in from the start; the update adds nothing."""
    cluster = Cluster()
    events = cluster.take(cluster.start(0), cluster.join(0, "alice"), cluster.update(0, "alice", **IN))
    assert [event.event for event in events] == ["call.started", "leg.joined", "license.assigned"]


def test_quirk_2_a_leg_that_never_gets_a_call_makes_no_meeting() -> None:
    """Scanners and those who give up in the IVR are legs, and nothing else."""
    cluster = Cluster()
    events = cluster.take(
        cluster.join(0, "x", None),
        cluster.leave(1, "x", reason="unknownDestination"),
        cluster.join(0, "y", None, ivr=True),
        cluster.update(0, "y", state="connected", ivr=True),
        cluster.leave(40, "y", reason="ivrTimeout"),
    )
    assert events == []
    assert (cluster.books.calls, cluster.books.meetings, set(cluster.books.legs)) == ({}, {}, {"x", "y"})
    assert not cluster.books.usage


def test_quirk_3_an_update_without_state_on_the_way_out_is_no_leaving() -> None:
    """The leg is in until its end, and is told to leave once."""
    cluster = Cluster()
    cluster.take(cluster.start(0), cluster.join(0, "alice"), cluster.update(0, "alice", **IN))
    assert cluster.take(cluster.update(9, "alice", call="c", deactivated=False)) == []
    assert state(cluster.books.legs["alice"]) is LegState.CONNECTED
    events = cluster.take(cluster.leave(9, "alice"))
    assert [event.event for event in events] == ["leg.left", "license.released"]


def test_quirk_4_leg_end_and_call_end_may_share_a_document() -> None:
    """Each record is decided on its own: the last one out releases, the callEnd finds nobody."""
    cluster = Cluster()
    cluster.take(cluster.start(0), cluster.join(0, "alice"))
    leaving, ending = cluster.leave(9, "alice"), cluster.end(9)
    events = cluster.books.take(Parcel(leaving.source, [leaving.record, ending.record]))
    assert [event.event for event in events] == ["leg.left", "call.ended", "license.released"]
    last = standing_of(cluster.books.meetings["m"], "join").transitions[-1]
    assert (last.cause, last.leg, last.at) == ("member_left", "alice", leaving.order)


def test_quirk_5_a_lost_leg_start_is_made_up_for_by_the_update() -> None:
    """The leg is in once an update says connected; who it is, only its tag can tell."""
    cluster = Cluster()
    cluster.take(cluster.start(0), cluster.update(3, "alice", **IN, cdr_tag="1001"))
    assert cluster.licenses() == [(3, ALICE)]
    assert cluster.books.legs["alice"].identity.matched_by == "cdr_tag"


def test_quirk_5_a_lost_leg_end_ends_with_its_call() -> None:
    """Whoever is in leaves at callEnd: the people, the recorder and the recording."""
    cluster = Cluster()
    cluster.take(
        cluster.start(0),
        cluster.join(1, "alice"),
        cluster.join(2, "rec", recording=True),
        cluster.write(2, RecordingStart, recording="r", call="c", leg="rec"),
    )
    assert cluster.books.meetings["m"].timeline.calls["c"].recordings == 2
    cluster.take(cluster.end(9))
    assert cluster.licenses() == [(1, ALICE), (9, None)]
    count = cluster.books.meetings["m"].timeline.calls["c"]
    assert (count.participants, count.inside, count.recordings) == (0, 0, 0)
    assert not cluster.books.usage
    assert cluster.take(cluster.leave(12, "alice"), cluster.write(12, RecordingEnd, recording="r")) == []
    assert cluster.licenses() == [(1, ALICE), (9, None)]


def test_quirk_6_parallel_workers_may_turn_records_around() -> None:
    """The order is that of (time, session, correlatorIndex), whichever came first."""
    cluster = Cluster()
    sent = [cluster.start(0), cluster.join(0, "bob"), cluster.join(0, "carol"), cluster.join(0, "alice")]
    for order in permutations(sent):
        assert differences(taken(list(order)), taken(sent)) == []


def test_quirk_8_a_meeting_on_two_bridges_is_charged_once() -> None:
    """Two calls with one correlator are one meeting; links between the bridges are nobody."""
    cluster = Cluster()
    link = {"sub_type": "distributionLink", "remote_party": "cms-b.example.com", "leg_type": "sip"}
    cluster.take(
        cluster.start(0),
        cluster.join(0, "bob"),
        cluster.start(5, "d", bridge="b"),
        cluster.join(5, "link-1", "d", bridge="b", **link),
        cluster.join(5, "link-2", "c", **link, direction="outgoing"),
        cluster.update(5, "link-2", **IN),
        cluster.join(5, "alice", "d", bridge="b"),
    )
    assert set(cluster.books.meetings["m"].calls) == {"c", "d"}
    assert cluster.licenses() == [(0, SHARED), (5, ALICE)]
    assert cluster.books.usage == {
        "calls": 2,
        "participants": 2,
        "join:personal": 1,
        f"join:holder:{ALICE}": 1,
        "owner:shared": 1,
        "owner:sixths": 6,
    }
    cluster.take(cluster.leave(8, "bob"), cluster.leave(8, "link-2"), cluster.end(8))
    assert cluster.licenses()[-1] == (5, ALICE)
    cluster.take(cluster.leave(9, "alice", bridge="b"), cluster.end(9, "d", bridge="b"))
    assert cluster.licenses()[-1] == (9, None)
    assert cluster.peaks() == (2, {"c": 1, "d": 1})


MOVES = {
    "old leg ends first": (7, 8),
    "both within a second": (7, 7),
    "new leg comes first": (8, 7),
}


@pytest.mark.parametrize("times", MOVES.values(), ids=MOVES)
def test_quirk_9_a_move_inside_a_meeting_is_one_presence(times: tuple[int, int]) -> None:
    """Alone in the meeting and moved to the other bridge, whose call ends the old one: nobody left, nothing changed."""
    left, came = times
    cluster = Cluster()
    sent = [
        cluster.start(0),
        cluster.join(0, "alice-1"),
        cluster.leave(left, "alice-1", reason="callMoved"),
        cluster.end(left),
        cluster.start(came, "d", bridge="b"),
        cluster.join(came, "alice-2", "d", bridge="b", moved_from="alice-1"),
        cluster.update(came, "alice-2", state="connected", call="d", bridge="b"),
        cluster.leave(20, "alice-2", bridge="b"),
        cluster.end(20, "d", bridge="b"),
    ]
    cluster.take(*in_order(sent))
    assert cluster.licenses() == [(0, ALICE), (20, None)]
    assert cluster.peaks() == (1, {"c": 1, "d": 1})
    assert not cluster.books.usage
    for order in (sent, sent[::-1], sent[4:] + sent[:4]):
        assert differences(taken(order), facts(cluster.books)) == []


def test_quirk_9_who_was_in_the_lobby_before_a_move_keeps_each_stay() -> None:
    """Only the last stay goes on in the new leg."""
    cluster = Cluster()
    cluster.take(
        cluster.start(0),
        cluster.join(0, "bob"),
        cluster.join(1, "alice-1"),
        cluster.update(1, "alice-1", **IN),
        cluster.update(5, "alice-1", **{**IN, "deactivated": True}),
        cluster.update(8, "alice-1", **IN),
        cluster.leave(9, "alice-1", reason="callMoved"),
        cluster.join(12, "alice-2", moved_from="alice-1"),
        cluster.leave(20, "alice-2"),
    )
    assert cluster.peaks() == (2, {"c": 2})
    assert cluster.books.meetings["m"].timeline.participants == 1


def test_quirk_9_who_was_moved_out_of_the_lobby_was_not_in() -> None:
    """The lobby ended the stay, so there is nothing that the new leg could go on with."""
    cluster = Cluster()
    cluster.take(
        cluster.start(0),
        cluster.join(1, "alice-1"),
        cluster.update(1, "alice-1", **IN),
        cluster.update(5, "alice-1", **{**IN, "deactivated": True}),
        cluster.leave(9, "alice-1", reason="callMoved"),
        cluster.join(12, "alice-2", moved_from="alice-1"),
    )
    assert cluster.licenses() == [(1, ALICE), (5, None), (12, ALICE)]


def test_quirk_9_only_the_first_stay_of_the_new_leg_goes_on_with_the_old_one() -> None:
    """Whoever was moved and goes to the lobby later is out while there."""
    cluster = Cluster()
    cluster.take(
        cluster.start(0),
        cluster.join(1, "alice-1"),
        cluster.leave(9, "alice-1", reason="callMoved"),
        cluster.join(12, "alice-2", moved_from="alice-1"),
        cluster.update(12, "alice-2", **IN),
        cluster.update(15, "alice-2", **{**IN, "deactivated": True}),
        cluster.update(18, "alice-2", **IN),
    )
    assert cluster.licenses() == [(1, ALICE), (15, None), (18, ALICE)]


def test_quirk_9_a_move_to_another_meeting_is_a_leaving_and_a_joining() -> None:
    """Each meeting has its own presence, and its own license."""
    cluster = Cluster()
    cluster.take(
        cluster.start(0),
        cluster.join(0, "alice-1"),
        cluster.start(1, "d", call_correlator="n"),
        cluster.join(1, "bob", "d"),
        cluster.leave(7, "alice-1", reason="callMoved"),
        cluster.join(8, "alice-2", "d", moved_from="alice-1"),
    )
    assert cluster.licenses("m") == [(0, ALICE), (7, None)]
    assert cluster.licenses("n") == [(1, SHARED), (8, ALICE)]


def test_quirk_9_one_leg_may_be_moved_between_meetings_and_calls() -> None:
    """An update that names another call moves the leg, without a break where both are of one meeting."""
    cluster = Cluster()
    cluster.take(
        cluster.start(0),
        cluster.join(0, "alice"),
        cluster.start(1, "d"),
        cluster.update(2, "alice", **{**IN, "call": "d"}),
        cluster.start(3, "e", call_correlator="n"),
        cluster.update(4, "alice", **{**IN, "call": "e"}),
    )
    assert cluster.licenses("m") == [(0, ALICE), (4, None)]
    assert cluster.licenses("n") == [(4, ALICE)]
    assert cluster.peaks() == (1, {"c": 1, "d": 1})
    assert [stay.call for stay in stays(cluster.books.legs["alice"])] == ["c", "d", "e"]


def test_quirk_10_the_legs_of_a_lync_person_count_once() -> None:
    """Two or three legs with one groupId are one participant, on the call as in the meeting."""
    cluster = Cluster()
    lync = {"leg_type": "sip", "sub_type": "lync"}
    sent = [
        cluster.start(0),
        cluster.join(0, "bob-1", **lync, group_id="g"),
        cluster.join(1, "bob-2", **lync),
        cluster.update(1, "bob-2", **IN, group_id="g"),
        cluster.leave(8, "bob-1"),
        cluster.leave(9, "bob-2"),
    ]
    cluster.take(*sent)
    assert cluster.peaks() == (1, {"c": 1})
    assert cluster.licenses() == [(0, SHARED), (9, None)]
    for order in permutations(sent):
        assert differences(taken(list(order)), facts(cluster.books)) == []


def test_quirk_12_a_receiver_added_in_mid_meeting_sees_unknown_ids() -> None:
    """Updates and ends make stubs: the call is its own meeting, and ends."""
    cluster = Cluster()
    events = cluster.take(cluster.update(5, "bob", **IN), cluster.leave(9, "bob"), cluster.end(9))
    assert cluster.licenses("c") == [(5, SHARED), (9, None)]
    assert [event.event for event in events if event.event.startswith("call.")] == ["call.started", "call.ended"]
    assert not cluster.books.usage


@pytest.mark.parametrize("named", [("bridge", ""), ("", "bridge"), ("bridge", "other")])
def test_a_call_without_its_start_is_of_the_bridge_of_its_first_record(named: tuple[str, str]) -> None:
    """In whatever order they come, to receiver URLs that name the bridge otherwise, or not at all."""
    writer = Writer("s")
    written = [writer.write(CallLegUpdate, second, leg="l", call="c", state="connected") for second in (0, 1)]
    sent = [Sent(Source("s", None, feed), one.record) for feed, one in zip(named, written, strict=True)]
    for order in permutations(sent):
        books = Books(DIRECTORY)
        for one in order:
            books.take(Parcel(one.source, [one.record]))
        assert books.of(Call)["c"].call_bridge == (named[0] or None)


def test_quirk_13_what_call_end_reports_is_kept_and_decides_nothing() -> None:
    """Its figures are per bridge and count recorders and links."""
    cluster = Cluster()
    cluster.take(cluster.start(0), cluster.end(9, legs_completed=7, legs_max_active=5, duration_seconds=9))
    reported = cluster.books.calls["c"].reported
    assert reported is not None
    assert (reported.legs_completed, reported.legs_max_active, reported.duration_seconds) == (7, 5, 9)
    assert cluster.books.meetings["m"].timeline.participants_peak == 0


def test_a_call_end_before_late_leg_ends_takes_everybody_along() -> None:
    """The legs left with the call; the later ends add their reasons and change no stay."""
    cluster = Cluster()
    cluster.take(cluster.start(0), cluster.join(1, "alice"), cluster.join(2, "bob"), cluster.end(9))
    before = cluster.books.meetings["m"]
    assert cluster.take(cluster.leave(9, "alice"), cluster.leave(10, "bob")) == []
    assert cluster.books.meetings["m"] == before
    assert cluster.books.legs["bob"].ending is not None


def test_a_call_end_that_comes_late_cuts_what_is_dated_later() -> None:
    """Whoever left after the callEnd by record time left with the call."""
    cluster = Cluster()
    end = cluster.end(5)
    cluster.take(cluster.start(0), cluster.join(1, "alice"), cluster.leave(9, "alice"))
    assert cluster.licenses() == [(1, ALICE), (9, None)]
    cluster.take(end)
    assert cluster.licenses() == [(1, ALICE), (5, None)]


def test_who_comes_after_the_end_of_a_call_never_was_in() -> None:
    """Records whose time is later than the callEnd's put nobody in."""
    cluster = Cluster()
    cluster.take(cluster.start(0), cluster.end(9), cluster.join(10, "alice"))
    assert cluster.licenses() == []
    assert not cluster.books.usage


# Recorders and streamers


def test_recorders_and_streamers_are_no_participants() -> None:
    """Their legs show as recording and streaming, with or without records of the recording itself."""
    cluster = Cluster()
    cluster.take(
        cluster.start(0),
        cluster.join(0, "bob"),
        cluster.join(1, "rec", recording=True, direction="outgoing"),
        cluster.update(1, "rec", **IN),
        cluster.write(2, StreamingStart, streaming="s", call="c"),
    )
    timeline = cluster.books.meetings["m"].timeline
    count = timeline.calls["c"]
    assert (timeline.participants, count.participants, count.inside) == (1, 1, 2)
    assert (count.recordings, count.streamings) == (1, 1)
    cluster.take(cluster.leave(5, "rec"), cluster.write(6, StreamingEnd, streaming="s"))
    count = cluster.books.meetings["m"].timeline.calls["c"]
    assert (count.recordings, count.streamings, count.inside) == (0, 0, 1)


def test_a_recording_that_ends_before_it_starts_is_over() -> None:
    """The end names neither call nor leg, so it is kept until the start says what was recorded."""
    cluster = Cluster()
    start = cluster.write(2, RecordingStart, recording="r", call="c")
    end = cluster.write(5, RecordingEnd, recording="r")
    cluster.take(end, start, cluster.start(0), cluster.join(1, "bob"))
    assert cluster.books.meetings["m"].timeline.calls["c"].recordings == 0
    assert cluster.books.calls["c"].recordings == ("r",)


def test_a_recording_is_no_leg() -> None:
    """A transition that a recording caused names no leg, unless the recorder's own leg caused it."""
    cluster = Cluster()
    cluster.take(cluster.start(0, call_type="forwarding"), cluster.join(0, "bob"))
    (event,) = cluster.take(cluster.write(2, RecordingStart, recording="r", call="c"))
    assert (event.event, event.leg, event.details["cause"]) == ("license.weight_changed", None, "recording_started")
    assert (event.details["weight"], event.details["to"]) == ("1", SHARED)


# Calls that become known late


def test_a_late_call_start_merges_the_call_into_its_meeting() -> None:
    """What was told of the call's own meeting is superseded by events of the meeting that it turned out to be."""
    cluster = Cluster()
    start = cluster.start(0)
    told = cluster.take(cluster.join(0, "bob"), cluster.join(3, "alice"))
    licenses = [event for event in told if event.event.startswith("license.")]
    assert [(event.event, event.meeting) for event in licenses] == [
        ("license.assigned", "c"),
        ("license.switched", "c"),
    ]
    events = cluster.take(start)
    assert set(cluster.books.meetings) == {"m"}
    assert [(event.event, event.meeting) for event in events] == [("license.assigned", "m"), ("license.switched", "m")]
    assert events[0].details["supersedes"] == [event.event_id for event in licenses]
    assert "supersedes" not in events[1].details
    assert cluster.licenses() == [(0, SHARED), (3, ALICE)]
    assert cluster.books.usage["join:personal"] == 1
    assert {meeting for ledger in cluster.books.ledgers.values() for meeting in ledger.claims} == {"m"}


def test_a_late_call_start_says_what_kind_of_call_it_was() -> None:
    """A gateway call had no PMP+ payer from the start, so what was decided without that is superseded."""
    cluster = Cluster()
    start = cluster.start(0, call_type="forwarding", call_correlator=None)
    cluster.take(cluster.join(1, "alice"))
    (event,) = cluster.take(start)
    assert cluster.licenses("c") == [(1, SHARED)]
    assert (event.event, event.details["weight"], len(event.details["supersedes"])) == ("license.assigned", "1/6", 1)


def test_two_stubs_become_one_meeting() -> None:
    """Calls of two bridges whose callStarts come late: whoever came first by record time pays."""
    cluster = Cluster()
    starts = cluster.start(0), cluster.start(1, "d", bridge="b")
    cluster.take(cluster.join(3, "carol", "d", bridge="b"), cluster.join(2, "alice"))
    assert set(cluster.books.meetings) == {"c", "d"}
    cluster.take(*starts)
    assert cluster.licenses() == [(2, ALICE)]
    assert cluster.books.usage["join:personal"] == 1


def test_two_stubs_that_want_one_license_become_one_meeting() -> None:
    """In one batch, while one of them waits for the license that the other has: nothing of either is left."""
    cluster = Cluster(options=Options(pmp_calls_per_user=1))
    starts = cluster.start(0), cluster.start(1, "d")
    cluster.take(cluster.join(2, "alice-1"), cluster.join(3, "alice-2", "d"))
    assert cluster.licenses("d") == [(3, SHARED)]
    cluster.books.take(*(Parcel(one.source, [one.record]) for one in starts))
    assert set(cluster.books.meetings) == {"m"}
    assert cluster.licenses() == [(2, ALICE)]
    assert {meeting for ledger in cluster.books.ledgers.values() for meeting in ledger.claims} == {"m"}


def test_the_earliest_call_start_says_what_kind_of_meeting_it_is() -> None:
    """Whichever of them comes first."""
    for turned in (False, True):
        cluster = Cluster()
        starts = [cluster.start(0, call_type="adHoc"), cluster.start(1, "d", bridge="b", call_type="coSpace")]
        cluster.take(*(starts[::-1] if turned else starts))
        assert cluster.books.meetings["m"].call_type == "adHoc"


def test_a_call_is_first_seen_when_a_record_first_names_it() -> None:
    """A late record of a leg that was on two calls says nothing of the other one."""
    cluster = Cluster()
    early = cluster.update(1, "bob", **{**IN, "call": "d"})
    cluster.take(cluster.update(5, "bob", **IN), early)
    assert {id_: call.began // 1000 - EPOCH for id_, call in cluster.books.calls.items()} == {"c": 5, "d": 1}


# Who they are


def test_the_evidence_of_all_records_says_who_it_is() -> None:
    """A start that comes late, or a tag that only an update has, decides anew from when the leg came in."""
    cluster = Cluster()
    start = cluster.join(1, "carol", None)
    cluster.take(cluster.start(0), cluster.join(0, "bob"), cluster.update(2, "carol", **IN))
    assert cluster.licenses() == [(0, SHARED)]
    (switched,) = cluster.take(start)
    assert switched.event == "license.switched"
    assert cluster.licenses() == [(0, SHARED), (2, CAROL)]
    assert cluster.books.legs["carol"].identity.matched_by == "jid"


def test_an_alias_that_two_users_share_is_nobody() -> None:
    """The directory decides, and an ambiguous number says nothing."""
    both = Directory([User(ALICE, holds_license=True, aliases=("7",)), User(CAROL, holds_license=True, aliases=("7",))])
    for directory, expected in ((both, SHARED), (Directory([User(ALICE, True, ("7",))]), ALICE)):
        cluster = Cluster(directory)
        cluster.take(cluster.start(0), cluster.join(1, "x", leg_type="sip", remote_party="7@192.0.2.1"))
        assert cluster.licenses() == [(1, expected)]


# What is told


def test_joining_and_leaving_are_told_with_who_it_is() -> None:
    """`leg.joined` and `leg.left` name meeting, call, leg and user, and why it ended."""
    cluster = Cluster()
    cluster.take(cluster.start(0))
    (joined, _) = cluster.take(cluster.join(1, "alice", display_name="Alice"))
    assert (joined.meeting, joined.call, joined.leg) == ("m", "c", "alice")
    assert (joined.session, joined.call_bridge, joined.record_time) == ("session-a", "bridge-a", (EPOCH + 1) * 1000)
    assert joined.details == {
        "user": ALICE,
        "matched_by": "jid",
        "holds_license": True,
        "counted": True,
        "remote_party": ALICE,
        "display_name": "Alice",
    }
    (left, _) = cluster.take(cluster.leave(5, "alice", reason="localTeardown"))
    assert (left.event, left.details["end_reason"]) == ("leg.left", "localTeardown")


def test_calls_are_told_once() -> None:
    """`call.started` at the first record that names the call, `call.ended` at its callEnd, with its length."""
    cluster = Cluster()
    (started,) = cluster.take(cluster.start(0))
    assert (started.event, started.meeting, started.call) == ("call.started", "m", "c")
    assert started.details == {"name": "Standup", "call_type": "coSpace", "cospace": "space-of-nobody"}
    (ended,) = cluster.take(cluster.end(9, duration_seconds=9))
    assert (ended.event, ended.details["duration_seconds"]) == ("call.ended", 9)


def test_a_switch_is_told_with_all_that_decided_it() -> None:
    """The members of the contract; one line a meeting, naming all its calls."""
    cluster = Cluster()
    cluster.take(cluster.start(0), cluster.start(0, "d", bridge="b"), cluster.join(1, "bob"))
    (_, switched) = cluster.take(cluster.join(2, "alice", "d", bridge="b"))
    assert (switched.event, switched.meeting, switched.leg, switched.call) == ("license.switched", "m", "alice", None)
    assert switched.record_time == (EPOCH + 2) * 1000
    reason = f"{ALICE}, who holds PMP+, joined as leg alice"
    assert switched.details == {
        "calls": ("c", "d"),
        "name": "Standup",
        "from": "SMP+",
        "from_holder": None,
        "to": "PMP+",
        "holder": ALICE,
        "weight": "0",
        "rule": "member-joined",
        "cause": "member_joined",
        "user": ALICE,
        "late": False,
        "reason": reason,
    }


def test_releasing_is_told() -> None:
    """`to`, `holder` and `weight` are null."""
    cluster = Cluster()
    cluster.take(cluster.start(0), cluster.join(1, "alice"))
    (_, released) = cluster.take(cluster.leave(5, "alice"))
    assert released.event == "license.released"
    told = {name: released.details[name] for name in ("from", "from_holder", "to", "holder", "weight", "rule")}
    assert told == {"from": "PMP+", "from_holder": ALICE, "to": None, "holder": None, "weight": None, "rule": None}


@pytest.mark.parametrize("behind", [LATE_MILLISECONDS // 1000, LATE_MILLISECONDS // 1000 + 1])
def test_a_late_switch_is_a_switch_and_says_that_it_is_late(behind: int) -> None:
    """Learned later than it was true, but it did happen in the meeting; seconds between bridges are not late."""
    cluster = Cluster()
    cluster.take(cluster.start(0), cluster.join(1, "bob"))
    late = cluster.join(2, "alice")
    cluster.take(cluster.join(2 + behind, "dave"))
    (_, switched) = cluster.take(late)
    assert (switched.event, switched.details["late"]) == ("license.switched", behind > LATE_MILLISECONDS // 1000)
    transition = standing_of(cluster.books.meetings["m"], "join").transitions[-1]
    assert (transition.late, transition.event_id) == (switched.details["late"], switched.event_id)


def test_a_lobby_takes_back_what_was_told() -> None:
    """What rested on the start alone did not happen: a correction supersedes it; getting in is a switch of its own."""
    cluster = Cluster()
    cluster.take(cluster.start(0), cluster.join(1, "bob"))
    (_, switched) = cluster.take(cluster.join(2, "alice"))
    (corrected,) = cluster.take(cluster.update(2, "alice", **{**IN, "deactivated": True}))
    assert (corrected.event, corrected.details["cause"]) == ("license.corrected", "correction")
    assert (corrected.details["to"], corrected.details["weight"]) == ("SMP+", "1")
    assert corrected.details["supersedes"] == [switched.event_id]
    assert cluster.licenses() == [(1, SHARED)]
    assert cluster.books.meetings["m"].timeline.participants_peak == 1
    (_, again) = cluster.take(cluster.update(9, "alice", **IN))
    assert (again.event, again.record_time) == ("license.switched", (EPOCH + 9) * 1000)


def test_who_waits_alone_in_the_lobby_costs_nothing() -> None:
    """Nobody is in the meeting, and nothing remains of the license."""
    cluster = Cluster()
    cluster.take(cluster.start(0), cluster.join(1, "alice"))
    (corrected,) = cluster.take(cluster.update(1, "alice", **{**IN, "deactivated": True}))
    assert (corrected.event, corrected.details["to"]) == ("license.corrected", None)
    assert cluster.books.usage == {"calls": 1}
    assert ("join", ALICE) not in cluster.books.ledgers


def test_only_the_last_coming_can_be_undone_without_looking_at_everybody() -> None:
    """A recorder that is found in the lobby, and somebody who is found there late, are taken back as well."""
    cluster = Cluster()
    cluster.take(cluster.start(0), cluster.join(1, "bob"), cluster.join(2, "rec", recording=True))
    cluster.take(cluster.update(2, "rec", **{**IN, "deactivated": True}))
    timeline = cluster.books.meetings["m"].timeline
    assert (timeline.participants, timeline.calls["c"].recordings, timeline.calls["c"].inside) == (1, 0, 1)
    cluster.take(cluster.join(3, "alice"), cluster.join(4, "dave"))
    cluster.take(cluster.update(4, "alice", **{**IN, "deactivated": True}))
    assert cluster.licenses() == [(1, SHARED)]
    assert cluster.peaks() == (2, {"c": 2})


def test_only_the_deciding_policy_is_told() -> None:
    """The other one is kept beside it, and is silent."""
    cluster = Cluster(options=Options(policy="owner"))
    events = cluster.take(cluster.start(0), cluster.join(1, "bob"), cluster.join(2, "alice"))
    assert [event.event for event in events if event.event.startswith("license.")] == ["license.assigned"]
    assert cluster.licenses(policy="join") == [(1, SHARED), (2, ALICE)]


def test_a_third_meeting_of_a_holder_waits_and_is_switched_when_another_ends() -> None:
    """Two meetings at a time; the third is SMP+ until a place is free, which is told as `slot_freed`."""
    cluster = Cluster()
    for place, call in enumerate("cde"):
        cluster.take(cluster.start(place, call, call_correlator=f"m-{call}"))
        cluster.take(cluster.join(place, f"alice-{call}", call))
    assert [cluster.licenses(f"m-{call}") for call in "cde"] == [[(0, ALICE)], [(1, ALICE)], [(2, SHARED)]]
    assert cluster.books.usage[f"join:holder:{ALICE}"] == 2
    events = cluster.take(cluster.leave(9, "alice-d"))
    assert [(event.event, event.meeting) for event in events] == [
        ("leg.left", "m-d"),
        ("license.released", "m-d"),
        ("license.switched", "m-e"),
    ]
    assert (events[2].details["cause"], events[2].leg) == ("slot_freed", None)
    assert cluster.licenses("m-e") == [(2, SHARED), (9, ALICE)]


def test_a_license_that_turns_out_to_have_been_free_pays_after_all() -> None:
    """Carol seemed to pay another meeting, so the owner paid; a late record shows that she had left that one."""
    cluster = Cluster(options=Options(pmp_calls_per_user=1))
    left_before = cluster.leave(3, "carol-1")
    cluster.take(
        cluster.start(0, "c", call_correlator="n"),
        cluster.join(1, "carol-1"),
        cluster.start(4, "d", cospace="space-of-alice"),
        cluster.join(5, "carol-2", "d"),
    )
    assert cluster.licenses() == [(5, ALICE)]
    cluster.take(left_before)
    assert cluster.licenses() == [(5, CAROL)]
    assert ("join", ALICE) not in cluster.books.ledgers


def test_who_waits_keeps_the_place_when_moved_inside_the_meeting() -> None:
    """The meeting wanted the license before the next one did, and goes on to."""
    cluster = Cluster(options=Options(pmp_calls_per_user=1))
    cluster.take(
        cluster.start(0, "x", call_correlator="first"),
        cluster.join(0, "alice-x", "x"),
        cluster.start(1),
        cluster.start(1, "d"),
        cluster.join(1, "alice"),
        cluster.start(2, "y", call_correlator="last"),
        cluster.join(2, "alice-y", "y"),
        cluster.update(3, "alice", **{**IN, "call": "d"}),
        cluster.leave(4, "alice-x"),
    )
    assert cluster.licenses("m") == [(1, SHARED), (4, ALICE)]
    assert cluster.licenses("last") == [(2, SHARED)]


def test_an_owner_who_leaves_keeps_the_place_of_the_meeting() -> None:
    """The owner's license is wanted whether the owner is in or not."""
    cluster = Cluster(options=Options(pmp_calls_per_user=1))
    cluster.take(
        cluster.start(0, "x", call_correlator="first"),
        cluster.join(0, "alice-x", "x"),
        cluster.start(1, cospace="space-of-alice"),
        cluster.join(1, "bob"),
        cluster.join(1, "alice"),
        cluster.start(2, "y", call_correlator="last"),
        cluster.join(2, "alice-y", "y"),
        cluster.leave(3, "alice"),
        cluster.leave(4, "alice-x"),
    )
    assert cluster.licenses("m") == [(1, SHARED), (4, ALICE)]
    assert cluster.licenses("last") == [(2, SHARED)]


def work_of(moves: int) -> int:
    """Return how many functions are called to take in, at once, a leg that is moved so often from call to call."""
    books, writer = Books(), Writer("s", "bridge")
    for place in range(moves):
        writer.write(CallLegUpdate, place, leg="leg", call=f"c{place}", state="connected")
    called = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal called
        called += event == "call"

    sys.setprofile(count)
    try:
        books.take(Parcel(writer.source, [one.record for one in writer.sent]))
    finally:
        sys.setprofile(None)
    return called


def test_a_leg_that_is_moved_very_often_holds_nobody_up() -> None:
    """The work grows with the square of the moves and no faster: five hundred in one document take no minutes."""
    assert work_of(80) < 5.5 * work_of(40)


def test_records_of_unknown_types_change_nothing() -> None:
    """They are counted and kept elsewhere."""
    cluster = Cluster()
    assert cluster.take(cluster.write(0, UnknownRecord)) == []
    assert set(cluster.books.things) == {("session", "session-a"), ("bridge", "bridge-a")}
