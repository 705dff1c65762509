"""Each choice for what nobody documented does what its setting says, and what is learned changes what it should."""

from typing import Any

import pytest

from cdr_service.domain.directory import Directory, User
from cdr_service.domain.identity import NOBODY, Identity
from cdr_service.domain.knowledge import Knowledge
from cdr_service.domain.legs import Leg
from cdr_service.domain.licensing import SHARED, License, Status
from cdr_service.domain.options import Options
from cdr_service.domain.records import (
    CallEnd,
    CallLegEnd,
    CallLegStart,
    CallLegUpdate,
    CallStart,
    OrderKey,
    RecordingStart,
    StreamingStart,
)
from cdr_service.domain.showing import standing_of
from cdr_service.domain.spaces import AD_HOC, SpaceFacts
from tests.unit.nasty import AUDIO, EPOCH, VIDEO
from tests.unit.test_licensing import ALICE, BOB, CAROL, FIRST, JOINED, Room

_SERVER = Directory([User(BOB, holds_license=True, id="id-of-bob")])
"""What the Meeting Server tells of its users."""
SURE_ALICE = Identity(ALICE, None, holds_license=True, sure=True)


def at(room: Room) -> OrderKey:
    """Return a moment after everything that happened."""
    room.seconds += 1
    return OrderKey((EPOCH + room.seconds) * 1000, "", 0)


def know_space(room: Room, **facts: Any) -> Room:
    """Read what the Meeting Server says of the space."""
    when = at(room)
    room.books.learn(lambda keeper: keeper.know_space("c", SpaceFacts(**{"known": True, **facts}), when))
    return room


def know_video(room: Room, who: str, video: bool) -> Room:
    """Read whether somebody uses video."""
    when = at(room)
    room.books.learn(lambda keeper: keeper.know_video(f"leg-{who}", video, when))
    return room


def know_release(room: Room, *release: int) -> Room:
    """Read the release, and take it in everywhere."""
    when = at(room)
    room.books.learn(lambda keeper: keeper.know_release(release, when))
    room.books.learn(lambda keeper: room.books.look_up_again(keeper, when))
    return room


def license_now(room: Room, policy: str = "join") -> License:
    """Return the license that stands."""
    found = standing_of(room.meeting, policy).license
    assert found is not None
    return found


def ends(room: Room, *who: tuple[str, dict[str, Any]]) -> Room:
    """End legs that tell their media, and the call."""
    for user, media in who:
        room.happens(CallLegEnd, leg=f"leg-{user}", reason="remoteTeardown", **media)
    return room.happens(CallEnd, call="c")


class TestAuto:
    """`auto` stands for the rules of the server's release."""

    OPTIONS = Options(policy="auto")

    def test_without_a_release_the_setting_decides(self) -> None:
        """`join` by default, and the reason says that the release is not known."""
        room = Room(options=self.OPTIONS).come(BOB).come(CAROL)
        assert room.told("auto") == [("SMP+ 1", FIRST), (CAROL, JOINED)]
        assert license_now(room, "auto").reason.endswith(
            "(policy auto: join, because the server's release is not known)"
        )
        owner = Room(options=self.OPTIONS._replace(policy_if_release_unknown="owner")).come(BOB).come(CAROL)
        assert owner.told("auto") == [("SMP+ 1", FIRST)]

    @pytest.mark.parametrize(("release", "rules"), [((2, 2, 14), "join"), ((2, 3), "owner"), ((3, 8), "owner")])
    def test_the_release_chooses(self, release: tuple[int, ...], rules: str) -> None:
        """Below the change-over `join`, else `owner`; every decision says so."""
        room = Room(options=self.OPTIONS)
        know_release(room, *release).come(BOB).come(CAROL)
        assert room.told("auto") == room.told(rules)
        runs = ".".join(map(str, release))
        assert license_now(room, "auto").reason.endswith(f"(policy auto: {rules}, because the server runs {runs})")

    def test_a_release_that_becomes_known_later_changes_the_policy(self) -> None:
        """A meeting that was decided by the other rules is decided anew, with cause policy_changed."""
        room = Room(options=self.OPTIONS).come(BOB).come(CAROL)
        know_release(room, 2, 9)
        assert room.told("auto") == [("SMP+ 1", FIRST), (CAROL, JOINED), ("SMP+ 1", "policy_changed")]
        know_release(room, 2, 2)
        assert room.told("auto")[-1] == (CAROL, "policy_changed")

    def test_a_later_meeting_begins_by_the_release_that_is_known(self) -> None:
        """What is known of the server holds for calls that start afterwards."""
        room = Room(options=self.OPTIONS)
        know_release(room, 2, 9)
        room.seconds += 1
        about = {"call_correlator": "n", "call_type": "coSpace", "cospace": "space-of-nobody"}
        room.take(room.writer.write(CallStart, room.seconds, call="d", **about))
        assert room.books.meetings["n"].known.release == (2, 9)


class TestAdvice:
    """Under `join`, a server whose release points to `owner` is told once; the user decides."""

    def advised(self, room: Room) -> list[str]:
        """Return the reasons of the advice that was given."""
        return [event.details["reason"] for event in room.books.events if event.event == "policy.advice"]

    def test_it_is_told_once(self) -> None:
        """The same release again says nothing; another one does."""
        room = know_release(know_release(Room(), 2, 9), 2, 9)
        (reason,) = self.advised(room)
        assert "runs 2.9" in reason
        assert len(self.advised(know_release(room, 3, 8))) == 2

    def test_nothing_is_told_where_nothing_is_odd(self) -> None:
        """An old release, or another policy."""
        assert self.advised(know_release(Room(), 2, 2)) == []
        assert self.advised(know_release(Room(options=Options(policy="owner")), 2, 9)) == []


class TestMedia:
    """Audio only takes a sixth: live where the server was asked, else in hindsight."""

    def test_video_starts_and_stops(self) -> None:
        """Who is not known yet goes with the others; the first video makes it whole."""
        room = know_video(Room().come(BOB), BOB, video=False)
        assert room.told() == [("SMP+ 1", FIRST), ("SMP+ 1/6", "correction")]
        room.come(None)
        assert license_now(room).weight == "1/6"
        know_video(know_video(room, BOB, video=True), BOB, video=False)
        assert room.told()[2:] == [("SMP+ 1", "video_started"), ("SMP+ 1/6", "video_stopped")]

    def test_who_brings_or_takes_video_along_is_the_cause(self) -> None:
        """The only one with video leaves, and the rest is audio only."""
        room = know_video(know_video(Room().come(BOB).come(None), BOB, video=True), None, video=False)
        room.go(BOB)
        assert room.told()[-1] == ("SMP+ 1/6", "video_stopped")

    def test_the_ends_of_all_legs_tell_in_hindsight(self) -> None:
        """Once the call is over, the timeline is that of an audio-only meeting, and a correction tells of it."""
        room = Room().come(BOB).come(None)
        ends(room, (BOB, AUDIO))
        assert room.told() == [("SMP+ 1/6", FIRST), (None, "call_ended")]
        corrected = [event for event in room.books.events if event.event == "license.corrected"]
        (first, *_) = [[event.details[name] for name in ("to", "weight", "cause")] for event in corrected]
        assert first == ["SMP+", "1/6", "correction"]
        assert all(event.details["late"] for event in corrected)

    def test_a_switch_seen_live_stays_one_in_hindsight(self) -> None:
        """That the meeting took a sixth before, and not a whole, does not make it late: it is found by default."""
        room = Room().come(BOB).come(CAROL)
        ends(room, (BOB, AUDIO), (CAROL, AUDIO))
        assert room.told()[:2] == [("SMP+ 1/6", FIRST), (CAROL, "member_joined")]
        first, switch, *_ = standing_of(room.meeting, "join").transitions
        assert (first.late, switch.late) == (True, False)
        told = [event.details for event in room.books.events if event.event_id == switch.event_id]
        assert [(details["from"], details["holder"], details["late"]) for details in told] == [("SMP+", CAROL, False)]

    def test_one_video_leg_keeps_it_whole_while_it_is_in(self) -> None:
        """The video of one counts as long as that leg was in."""
        room = Room().come(BOB).come(CAROL).go(CAROL)
        ends(room, (BOB, AUDIO))
        assert room.told("owner") == [("SMP+ 1/6", FIRST), (None, "participant_left")]
        room = Room().come(BOB).come(CAROL).happens(CallLegEnd, leg=f"leg-{CAROL}", reason="remoteTeardown", **VIDEO)
        ends(room, (BOB, AUDIO))
        assert room.told("owner") == [
            ("SMP+ 1/6", FIRST),
            ("SMP+ 1", "video_started"),
            ("SMP+ 1/6", "video_stopped"),
            (None, "participant_left"),
        ]

    def test_an_end_that_tells_video_is_believed_over_what_was_seen_between(self) -> None:
        """What was polled stands for its time; before the first poll the leg is as its end says."""
        room = know_video(Room().come(BOB), BOB, video=False)
        ends(room, (BOB, VIDEO))
        assert room.told() == [("SMP+ 1", FIRST), ("SMP+ 1/6", "video_stopped"), (None, "participant_left")]

    def test_unknown_media_weigh_as_set(self) -> None:
        """`weight_when_media_unknown=sixth`; at the end the truth counts."""
        room = Room(options=Options(weight_when_media_unknown="sixth")).come(BOB)
        assert room.told() == [("SMP+ 1/6", FIRST)]
        assert license_now(room).reason.endswith("nobody can tell whether video is used, so a sixth is taken")
        assert ends(room, (BOB, VIDEO)).told() == [("SMP+ 1", FIRST), (None, "participant_left")]

    def test_an_end_that_only_says_why_makes_no_change_late(self) -> None:
        """A sixth was taken before it was known that nobody used video: the reason is put right, the time was."""
        room = Room(options=Options(weight_when_media_unknown="sixth")).come(BOB)
        events = len(room.books.events)
        ends(room, (BOB, AUDIO))
        first, last = standing_of(room.meeting, "join").transitions
        assert first.reason.endswith("nobody uses video, so a sixth is taken")
        assert not first.late
        assert not last.late
        told = [event for event in room.books.events[events:] if event.event.startswith("license.")]
        assert [(event.event, event.details["late"]) for event in told] == [
            ("license.released", False),
            ("license.corrected", False),
            ("license.corrected", False),
        ]

    def test_recording_lifts_audio_only_where_it_is_set_to(self) -> None:
        """Open is whether the exception for point-to-point calls holds for a space."""
        for lifts, weight in ((False, "1/6"), (True, "1")):
            room = know_video(Room(options=Options(recording_lifts_audio_only=lifts)).come(BOB), BOB, video=False)
            room.happens(RecordingStart, recording="r", call="c")
            assert license_now(room).weight == weight

    def test_the_weight_does_not_fall_where_it_is_set_not_to(self) -> None:
        """`weight_drops_back=false`: what was reached stays; that it was wrong from the beginning is put right."""
        room = know_video(Room(options=Options(weight_drops_back=False)).come(BOB), BOB, video=False)
        assert license_now(room).weight == "1/6"
        know_video(know_video(room, BOB, video=True), BOB, video=False)
        assert license_now(room).weight == "1"


class TestShapes:
    """Kinds of conference and what they weigh."""

    def test_a_third_participant_makes_a_point_to_point_call_whole(self) -> None:
        """And a sixth again once one of them left."""
        room = Room(call_type="forwarding").come(BOB).come(CAROL).come(None).go(CAROL)
        assert room.told() == [
            ("SMP+ 1/6", FIRST),
            ("SMP+ 1", "third_participant"),
            ("SMP+ 1/6", "participant_left"),
        ]

    def test_a_temporary_space_may_be_point_to_point(self) -> None:
        """`temporary_space_is_permanent=false`: two who are left of an ad hoc call take a sixth."""
        options = Options(temporary_space_is_permanent=False)
        room = Room(options=options, call_type="adHoc").come(BOB).come(None)
        assert room.told() == [("SMP+ 1/6", FIRST)]
        assert Room(call_type="adHoc").come(BOB).told() == [("SMP+ 1", FIRST)]

    def test_an_old_release_knows_no_sixths(self) -> None:
        """Below `sixths_from_release` everything counts in full."""
        room = Room(call_type="forwarding")
        know_release(room, 2, 2).come(BOB)
        assert license_now(room).weight == "1"

    @pytest.mark.parametrize(
        ("mode", "told"),
        [
            ("gateway", [("SMP+ 1/6", FIRST)]),
            ("dualHomeCluster", [("SMP+ 1", FIRST), (CAROL, JOINED)]),
            ("dualHomeCallBridge", [("SMP+ 1", FIRST), (CAROL, JOINED)]),
        ],
    )
    def test_lync_conferences_go_by_their_mode(self, mode: str, told: list[tuple[str, str]]) -> None:
        """As set where the call profile is unknown; as the call profile says where it was read."""
        unknown = Options(lync_mode_if_unknown=mode)  # type: ignore[arg-type] - one of the three
        assert Room(options=unknown, call_type="lyncConferencing").come(BOB).come(CAROL).told() == told
        room = know_space(Room(call_type="lyncConferencing"), lync_mode=mode)
        assert room.come(BOB).come(CAROL).told() == told

    def test_each_bridge_pays_where_each_holds_a_conference(self) -> None:
        """dualHomeCallBridge: six sixths for every Call Bridge on which somebody is in."""
        room = Room(options=Options(lync_mode_if_unknown="dualHomeCallBridge"), call_type="lyncConferencing").come(BOB)
        about = {"call_correlator": "m", "call_type": "lyncConferencing"}
        room.happens(CallStart, call="d", **about)
        room.happens(CallLegStart, leg="other", call="d", direction="incoming", remote_party="x@partner.example.com")
        assert room.told() == [("SMP+ 1", FIRST), ("SMP+ 2", FIRST)]
        assert license_now(room).reason.endswith("each of 2 Call Bridges holds a conference of its own")

    def test_a_gateway_call_has_a_payer_where_it_is_set_to(self) -> None:
        """`gateway_has_payer`: the rules of a space hold, and the weight is that of a gateway call."""
        options = Options(gateway_has_payer=True)
        room = Room(options=options, call_type="forwarding").come(BOB).come(CAROL)
        assert room.told() == [("SMP+ 1/6", FIRST), (CAROL, JOINED)]


class TestPayers:
    """Who may pay, and who takes over."""

    def test_a_joining_holder_takes_over_where_it_is_set_to(self) -> None:
        """`join_overrides_owner`: the charge moves from the owner to a member; not to one whose license is busy."""
        options = Options(join_overrides_owner=True)
        room = Room("space-of-alice", options).come(BOB).come(CAROL)
        assert room.told() == [(ALICE, FIRST), (CAROL, JOINED)]
        assert Room("space-of-alice").come(BOB).come(CAROL).told() == [(ALICE, FIRST)]

    def test_only_members_of_the_space_pay_where_it_is_set_to(self) -> None:
        """`join_scope=space_member`: who is in the call and no member of the space does not pay."""
        options = Options(join_scope="space_member")
        assert Room(options=options).come(CAROL).told() == [("SMP+ 1", FIRST)]
        room = know_space(Room(options=options), members=(CAROL,))
        assert room.come(ALICE).come(CAROL).told() == [("SMP+ 1", FIRST), (CAROL, JOINED)]

    def test_a_license_is_taken_at_the_first_leg_where_it_is_set_to(self) -> None:
        """`claim_at=first_leg`: somebody in the lobby is enough; the license is given back with the last leg."""
        room = Room(options=Options(claim_at="first_leg")).come(BOB)
        room.happens(CallLegUpdate, leg=f"leg-{BOB}", call="c", state="connected", deactivated=True)
        assert room.told() == [("SMP+ 1", FIRST)]
        assert room.meeting.timeline.participants == 0
        assert room.go(BOB).told()[-1][0] is None

    def test_an_edited_owner_may_wait_for_the_next_call(self) -> None:
        """`owner_change_applies`: a known owner stays for the running call; one that was not known is taken in."""
        for applies, told in (("now", [(None, ""), (ALICE, "directory_changed")]), ("next_call", [])):
            options = Options(owner_change_applies=applies)  # type: ignore[arg-type] - one of the two
            room = know_space(Room(options=options), owner=Identity(BOB, None, sure=True)).come(BOB)
            know_space(room, owner=SURE_ALICE)
            assert room.told("owner")[1:] == told[1:]
            assert know_space(Room(options=options).come(BOB), owner=SURE_ALICE).told("owner")[-1][0] == ALICE

    @pytest.mark.parametrize("stays", [True, False], ids=["stays", "comes again"])
    @pytest.mark.parametrize("holds", [True, False], ids=["held", "held not"])
    def test_an_edited_assignment_may_wait_for_the_next_call(self, holds: bool, stays: bool) -> None:
        """`owner_change_applies=next_call`: who was in goes by what held then, whether they stay or come again."""
        before = Directory([User(BOB, holds_license=False), User(ALICE, holds_license=holds)])
        after = Directory([User(BOB, holds_license=False), User(ALICE, holds_license=not holds)])
        for applies in ("now", "next_call"):
            room = Room(options=Options(owner_change_applies=applies, join_sticky=False))  # type: ignore[arg-type]
            room.books.directory = before
            room.come(BOB).come(ALICE)
            if not stays:
                room.go(ALICE)
            room.books.change_directory(after, at(room))
            if not stays:
                room.come(ALICE, "again")
            assert (license_now(room).holder == ALICE) is (holds if applies == "next_call" else not holds)

    def test_who_comes_first_after_an_edit_counts_as_edited(self) -> None:
        """Nothing was known of them in this meeting, so there is nothing that could stay."""
        room = Room(options=Options(owner_change_applies="next_call"))
        room.books.directory = Directory([User(BOB, holds_license=False), User(ALICE, holds_license=False)])
        room.come(BOB)
        room.books.change_directory(Directory([User(ALICE, holds_license=True)]), at(room))
        assert license_now(room.come(ALICE)).holder == ALICE

    def test_the_reason_says_whose_license_is_used_up(self) -> None:
        """A holder who is in and whose license pays elsewhere is named, and what changed when it pays one less."""
        room = Room(options=Options(pmp_calls_per_user=1)).come(CAROL)
        room.seconds += 1
        start = room.writer.write(CallStart, room.seconds, call="d", call_correlator="n", call_type="coSpace")
        room.take(start)
        room.happens(CallLegStart, leg="second", call="d", direction="incoming", remote_party=CAROL, leg_type="acano")
        other = standing_of(room.books.meetings["n"], "join")
        assert other.license is not None
        assert other.license.reason.startswith(f"{CAROL} holds PMP+ that pays as many meetings as it may, and ")
        room.go(CAROL)
        other = standing_of(room.books.meetings["n"], "join")
        assert other.transitions[-1].reason == (
            f"{CAROL}, who is in as leg second, holds PMP+, which is free to pay this meeting now"
        )


class TestKnowledge:
    """What the Meeting Server says of spaces, users and itself."""

    def test_an_owner_who_becomes_known_late_is_a_correction(self) -> None:
        """Cause owner_resolved and late, told by license.corrected: not a switch that just happened."""
        room = know_space(Room().come(BOB), owner=SURE_ALICE)
        assert room.told("owner") == [("SMP+ 1", FIRST), (ALICE, "owner_resolved")]
        assert standing_of(room.meeting, "join").transitions[-1].late
        assert [e.event for e in room.books.events if e.event.startswith("license.")] == [
            "license.assigned",
            "license.corrected",
        ]

    def test_an_initiator_has_a_cause_and_a_rule_of_its_own(self) -> None:
        """The initiator of an ad hoc call reaches us as the owner of its space."""
        room = know_space(Room().come(BOB), owner=SURE_ALICE, kind=AD_HOC)
        assert room.told("owner")[-1] == (ALICE, "initiator_resolved")
        assert license_now(room, "owner").rule == "ad-hoc-initiator"

    def test_a_user_whom_the_server_names_pays(self) -> None:
        """A leg that matched nobody turns out to be a holder's; a later update does not undo that."""
        room = Room().come(None)
        when = at(room)
        room.books.learn(lambda keeper: keeper.know_user("leg-None", ALICE, when))
        assert room.told()[-1] == (ALICE, JOINED)
        room.happens(CallLegUpdate, leg="leg-None", call="c", state="connected", remote_address="sip:else@example.net")
        assert room.books.legs["leg-None"].identity_now.user == ALICE

    def test_the_first_reading_of_the_users_tells_what_was_true_all_along(self) -> None:
        """An owner or somebody in the call who turns out to hold PMP+ is late knowledge; a later edit is a change."""
        room = know_space(Room().come(CAROL, "leg-x"), owner=Identity(ALICE))
        know_space(room, owner=SURE_ALICE)
        assert room.told("owner")[-1] == (ALICE, "owner_resolved")
        room = Room().come(BOB)
        room.books.change_directory(_SERVER, at(room))
        assert room.told()[-1] == (BOB, "correction")
        assert standing_of(room.meeting, "join").transitions[-1].late

    def test_what_ended_is_not_touched(self) -> None:
        """A space, a user or media read after the end change nothing."""
        room = Room().come(BOB).go(BOB).happens(CallEnd, call="c")
        before = dict(room.books.things)
        know_video(know_space(room, owner=SURE_ALICE), BOB, video=False)
        room.books.learn(lambda keeper: keeper.know_user(f"leg-{BOB}", ALICE, at(room)))
        assert room.books.things == before

    def test_a_decision_on_what_the_server_says_is_confirmed(self) -> None:
        """Space, people and media known: confirmed; any of them not: provisional."""
        room = know_video(know_space(Room().come(BOB), owner=NOBODY), BOB, video=True)
        assert license_now(room, "owner").status is Status.CONFIRMED
        assert license_now(room).status is Status.PROVISIONAL, "nobody but us says that it is bob"
        when = at(room)
        room.books.learn(lambda keeper: keeper.know_user(f"leg-{BOB}", BOB, when))
        assert license_now(room).status is Status.CONFIRMED
        assert license_now(know_space(Room().come(BOB), owner=SURE_ALICE), "owner").status is Status.CONFIRMED
        assert license_now(Room("space-of-alice").come(BOB), "owner").status is Status.PROVISIONAL

    def test_an_owner_of_whom_the_license_is_not_known_leaves_it_provisional(self) -> None:
        """While the users of the server were not read, or the user is in doubt, SMP+ is no certain answer."""
        room = know_video(know_space(Room().come(BOB), owner=Identity(ALICE)), BOB, video=True)
        assert license_now(room, "owner").type == SHARED
        assert license_now(room, "owner").status is Status.PROVISIONAL
        when = at(room)
        room.books.learn(lambda keeper: keeper.know_user(f"leg-{BOB}", BOB, when))
        assert license_now(room).status is Status.PROVISIONAL

    def test_who_a_participant_is_does_not_say_whether_they_hold_a_license(self) -> None:
        """A user whose license is in doubt, or whom nobody read, stays so when the server names them for a leg."""
        options = Options()
        doubtful = User(ALICE, holds_license=True, id="1", doubt="two imports have that user")
        assert not Knowledge(Directory([doubtful]), options).participant(ALICE).sure
        assert Knowledge(Directory([User(ALICE, holds_license=True, id="1")]), options).participant(ALICE).sure
        assert Knowledge(Directory([User(ALICE, holds_license=True, id="1")]), options).participant(BOB).sure
        assert not Knowledge(Directory([]), options).participant(BOB).sure


class TestRecorders:
    """A leg that a recordingStart or streamingStart names is the recorder's."""

    @pytest.mark.parametrize(("kind", "field"), [(RecordingStart, "recording"), (StreamingStart, "streaming")])
    @pytest.mark.parametrize("first", ["leg", "recording"])
    def test_it_is_no_participant(self, kind: Any, field: str, first: str) -> None:
        """In whichever order they come, the leg counts nobody, and the meeting is recorded or streamed."""
        room = Room().come(BOB)
        started = (kind, {field: "r", "call": "c", "leg": "recorder"})
        joined = (CallLegStart, {"leg": "recorder", "call": "c", "direction": "outgoing", "remote_party": "r@r.test"})
        connected = (CallLegUpdate, {"leg": "recorder", "call": "c", "state": "connected"})
        for what, fields in (started, joined, connected) if first == "recording" else (joined, connected, started):
            room.happens(what, **fields)
        assert room.meeting.timeline.participants == 1
        assert not room.books.legs["recorder"].counted
        count = room.meeting.timeline.calls["c"]
        assert (count.recordings > 0, count.streamings > 0) == (field == "recording", field == "streaming")


def test_only_the_first_stay_goes_on_from_the_leg_that_was_moved() -> None:
    """A leg that was moved away, and back by an update, was away in between: that was a leaving."""
    room = Room().come(BOB)
    room.happens(CallLegEnd, leg=f"leg-{BOB}", reason="callMoved")
    room.happens(CallStart, call="e", call_correlator="other", call_type="coSpace")
    room.happens(CallLegStart, leg="next", call="e", direction="incoming", moved_from=f"leg-{BOB}", remote_party=BOB)
    room.happens(CallLegUpdate, leg="next", call="c", state="connected")
    assert room.told() == [("SMP+ 1", FIRST), (None, "participant_left"), ("SMP+ 1", FIRST)]


def test_a_correction_says_what_had_been_told() -> None:
    """A join that turned out to be a wait in the lobby: from what, by which rule it stands now, and whose leg."""
    room = Room().come(BOB).come(CAROL)
    room.happens(CallLegUpdate, leg=f"leg-{CAROL}", call="c", state="connected", deactivated=True)
    told = [event for event in room.books.events if event.event == "license.corrected"][-1]
    assert told.leg == f"leg-{CAROL}"
    assert told.details["from"] == "PMP+"
    assert (told.details["to"], told.details["rule"], told.details["cause"]) == ("SMP+", "shared", "correction")


def test_a_link_between_bridges_is_told_by_its_sub_type() -> None:
    """`link_leg_subtypes`, compared ignoring case."""
    room = Room(options=Options(link_leg_subtypes=("peerLink",)))
    room.happens(CallLegStart, leg="link", call="c", direction="incoming", sub_type="PEERLINK", remote_party="b.test")
    room.happens(CallLegStart, leg="old", call="c", direction="incoming", sub_type="distributionLink")
    legs: dict[str, Leg] = room.books.legs
    assert (legs["link"].counted, legs["old"].counted) == (False, True)
