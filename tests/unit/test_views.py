"""What the query API shows of calls, legs and meetings: names, values and times."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from cdr_service.domain.calls import Call, Meeting
from cdr_service.domain.directory import Directory, User
from cdr_service.domain.legs import Leg
from cdr_service.domain.licensing import License
from cdr_service.domain.records import OrderKey
from cdr_service.domain.showing import (
    Known,
    Scope,
    call_summary,
    call_view,
    leg_view,
    meeting_view,
    standing_of,
    switch_kind,
    switch_view,
    usage_view,
)
from cdr_service.domain.views import rfc3339
from tests.feed import Feed, Record, call_end, call_start, join
from tests.unit.books import Books

SAMPLES = Path(__file__).parents[1] / "samples"
SCOPE = Scope("default", "join", ("join", "owner"))

WEB_CALL = "7d6111cd-462b-441d-8742-b109ce308a93"
WEB_MEETING = "9b46730e-ff76-428c-86f1-1d91137c6c70"
WEB_SESSION = "c74d8c46-36aa-4683-ae73-26a4055dd8f7"
WEB_SPACE = "97015761-60d6-4229-b9d8-9f99607b2556"
WEB_LEG = "d144e20c-9922-4a03-8f62-24f54c035755"
SIP_LEG = "465087db-e357-42cb-96f4-73d58f63db1a"

CALL_A = "47a99854-2e51-4ffe-ac1e-8133b5dc1929"
CALL_B = "511e58ef-a0b4-4644-806c-07103503ba0f"
TWO_BRIDGES = "8bf71dd3-ee76-457e-9a88-adf342310e97"
LEG_A = "06832d8e-ec82-4d99-8d36-718d63e4e538"
LEG_B = "d03bbed5-7263-415e-b5d9-9945f18bf26d"

NOBODY_HOLDS = "nobody in the meeting is known to hold PMP+, and no owner of a space is known"


def posted(case: str, posts: int | None = None, directory: Directory | None = None) -> Books:
    """Take in the first `posts` documents of a sample."""
    books = Books(directory)
    for file in sorted((SAMPLES / case).iterdir())[:posts]:
        books.post(file.read_bytes())
    return books


def plain(view: Any) -> Any:
    """Return what a reader of the JSON gets."""
    return msgspec.json.decode(msgspec.json.encode(view))


def known(books: Books, call: str, *, complete: bool = True) -> Known:
    """Return all that a call is shown from."""
    found = books.calls[call]
    return Known(found, books.meetings[found.meeting], len(books.things.get(("legs", call), ())), complete)


def shown_call(books: Books, call: str) -> Any:
    """Return a call as the API shows it."""
    return plain(call_view(SCOPE, known(books, call)))


def shown_leg(books: Books, leg: str) -> Any:
    """Return a leg as the API shows it."""
    return plain(leg_view(books.legs[leg], books.calls))


def shown_meeting(books: Books, meeting: str) -> Any:
    """Return a meeting as the API shows it."""
    found = books.meetings[meeting]
    return plain(meeting_view(SCOPE, found, [known(books, call) for call in found.calls]))


def test_a_whole_call_of_the_web_app_sample() -> None:
    """Every field of the ended call reads as the worked flow says: two participants, 09:00:00 to 09:21:05."""
    books = posted("web-app-and-sip")
    assert shown_call(books, WEB_CALL) == {
        "id": WEB_CALL,
        "deployment": "default",
        "call_bridge": None,
        "session": WEB_SESSION,
        "meeting": WEB_MEETING,
        "name": "Team standup",
        "call_type": "coSpace",
        "cospace": WEB_SPACE,
        "owner_name": "Web User One",
        "owner": None,
        "tenant": None,
        "cdr_tag": "emp-1001",
        "state": "ended",
        "started_at": "2024-03-12T09:00:00Z",
        "ended_at": "2024-03-12T09:21:05Z",
        "end_estimated": False,
        "participants": 0,
        "participants_peak": 2,
        "legs": 2,
        "recording": False,
        "streaming": False,
        "complete": True,
        "license": None,
        "alternatives": {"owner": None},
        "reported": {"legs_completed": 2, "legs_max_active": 2, "duration_seconds": 1265},
        "hints": [],
        "transitions": [
            {
                "seq": 1,
                "at": "2024-03-12T09:00:00Z",
                "from": None,
                "to": {"type": "SMP+", "holder": None, "weight": "1"},
                "cause": "first_participant",
                "rule": "shared",
                "leg": WEB_LEG,
                "user": "webuser1@example.com",
                "reason": NOBODY_HOLDS,
                "late": False,
            },
            {
                "seq": 2,
                "at": "2024-03-12T09:21:05Z",
                "from": {"type": "SMP+", "holder": None, "weight": "1"},
                "to": None,
                "cause": "participant_left",
                "rule": None,
                "leg": WEB_LEG,
                "user": "webuser1@example.com",
                "reason": f"the last participant left (leg {WEB_LEG})",
                "late": False,
            },
        ],
    }


def test_a_live_call_shows_its_license_and_what_the_other_policy_would_take() -> None:
    """A holder who joins a meeting of a space without owner pays under `join`; under `owner` SMP+ is taken."""
    directory = Directory([User("webuser1@example.com", holds_license=True)])
    shown = shown_call(posted("web-app-and-sip", 5, directory), WEB_CALL)
    assert (shown["state"], shown["ended_at"], shown["reported"]) == ("active", None, None)
    assert (shown["participants"], shown["participants_peak"], shown["legs"]) == (2, 2, 2)
    assert shown["license"] == {
        "type": "PMP+",
        "holder": "webuser1@example.com",
        "weight": "0",
        "policy": "join",
        "rule": "member-joined",
        "status": "provisional",
        "since": "2024-03-12T09:00:00Z",
        "reason": f"webuser1@example.com, who holds PMP+, joined as leg {WEB_LEG}",
    }
    assert shown["alternatives"] == {
        "owner": {
            "type": "SMP+",
            "holder": None,
            "weight": "1",
            "policy": "owner",
            "rule": "shared",
            "status": "provisional",
            "since": "2024-03-12T09:00:00Z",
            "reason": "no owner of a space is known",
        }
    }


def test_the_owner_of_the_space_is_shown_where_the_directory_knows_it() -> None:
    """`owner` is the resolved user, whatever text `owner_name` has."""
    owner = User("alice@example.com", holds_license=False, spaces=(WEB_SPACE,))
    shown = shown_call(posted("web-app-and-sip", 1, Directory([owner])), WEB_CALL)
    assert (shown["owner"], shown["owner_name"]) == ("alice@example.com", "Web User One")
    assert (shown["participants"], shown["license"], shown["transitions"]) == (0, None, [])


def test_the_legs_of_the_web_app_sample() -> None:
    """Every field of both legs reads as the worked flow says; media are known from the end."""
    books = posted("web-app-and-sip", directory=Directory([User("webuser1@example.com", holds_license=True)]))
    assert shown_leg(books, WEB_LEG) == {
        "id": WEB_LEG,
        "call": WEB_CALL,
        "state": "ended",
        "counted": True,
        "user": "webuser1@example.com",
        "holds_license": True,
        "matched_by": "jid",
        "remote_party": "webuser1@example.com",
        "remote_address": None,
        "display_name": "Web User One",
        "type": "acano",
        "sub_type": "webApp",
        "direction": "incoming",
        "guest": False,
        "started_at": "2024-03-12T09:00:00Z",
        "joined_at": "2024-03-12T09:00:00Z",
        "left_at": "2024-03-12T09:21:05Z",
        "end_reason": "remoteTeardown",
        "media": {"audio": True, "video": True, "presentation": False},
        "stays": [{"call": WEB_CALL, "joined_at": "2024-03-12T09:00:00Z", "left_at": "2024-03-12T09:21:05Z"}],
    }
    sip = shown_leg(books, SIP_LEG)
    assert (sip["user"], sip["holds_license"], sip["matched_by"]) == (None, False, None)
    assert (sip["remote_party"], sip["remote_address"]) == ("room12@example.com", "room12@example.com")
    assert (sip["type"], sip["sub_type"], sip["display_name"]) == ("sip", None, "Room 12")
    assert (sip["joined_at"], sip["left_at"]) == ("2024-03-12T09:02:10Z", "2024-03-12T09:20:40Z")


def test_a_leg_that_is_in_has_not_left_and_its_media_are_not_known() -> None:
    """A leg that is in shows null for what only its end tells."""
    sip = shown_leg(posted("web-app-and-sip", 5), SIP_LEG)
    assert (sip["state"], sip["left_at"], sip["media"], sip["end_reason"]) == ("connected", None, None, None)
    assert sip["stays"] == [{"call": WEB_CALL, "joined_at": "2024-03-12T09:02:10Z", "left_at": None}]


def test_the_meeting_of_the_two_bridges_sample() -> None:
    """One meeting, 10:00:03 to 10:31:00, two calls, two participants, peak two although each callEnd says one."""
    shown = shown_meeting(posted("two-bridges"), TWO_BRIDGES)
    assert {name: value for name, value in shown.items() if name not in ("calls", "hints", "transitions")} == {
        "id": TWO_BRIDGES,
        "deployment": "default",
        "name": "Project review",
        "call_type": "coSpace",
        "cospace": "24f0ed08-2a1c-42b5-9cd1-100f4db6e1c0",
        "owner": None,
        "tenant": None,
        "state": "ended",
        "started_at": "2024-03-12T10:00:03Z",
        "ended_at": "2024-03-12T10:31:00Z",
        "end_estimated": False,
        "participants": 0,
        "participants_peak": 2,
        "legs": 2,
        "recording": False,
        "streaming": False,
        "complete": True,
        "license": None,
        "alternatives": {"owner": None},
    }
    assert [call["id"] for call in shown["calls"]] == [CALL_A, CALL_B]
    assert [call["participants_peak"] for call in shown["calls"]] == [1, 1]
    assert [call["call_bridge"] for call in shown["calls"]] == [
        "85039a39-1afe-4035-95a1-f62a9b30d30a",
        "a871b64e-dfad-4f7f-9817-49855dd28081",
    ]
    assert [(t["at"], t["cause"]) for t in shown["transitions"]] == [
        ("2024-03-12T10:00:03Z", "first_participant"),
        ("2024-03-12T10:31:00Z", "participant_left"),
    ]


def test_a_call_that_ended_takes_no_license_while_its_meeting_goes_on() -> None:
    """After the call on bridge A ended, the meeting's license stands on the call of bridge B alone."""
    books = posted("two-bridges", 6)
    ended, live = shown_call(books, CALL_A), shown_call(books, CALL_B)
    assert (ended["state"], ended["license"], ended["alternatives"]) == ("ended", None, {"owner": None})
    assert (live["state"], live["license"]["type"]) == ("active", "SMP+")
    assert ended["transitions"] == live["transitions"]
    meeting = shown_meeting(books, TWO_BRIDGES)
    assert (meeting["state"], meeting["ended_at"], meeting["participants"]) == ("active", None, 1)
    assert meeting["license"] == live["license"]


def test_the_leg_that_came_through_the_ivr() -> None:
    """The leg on B started at 10:01:15 and joined the call 14 s later; without video it was audio only."""
    leg = shown_leg(posted("two-bridges"), LEG_B)
    assert (leg["started_at"], leg["joined_at"]) == ("2024-03-12T10:01:15Z", "2024-03-12T10:01:29Z")
    assert leg["media"] == {"audio": True, "video": False, "presentation": False}
    assert shown_leg(posted("two-bridges", 4), LEG_B)["state"] == "ivr"
    assert shown_leg(posted("two-bridges", 4), LEG_B)["call"] is None


def test_a_summary_is_the_call_without_what_is_long() -> None:
    """A summary has every field of the call but `reported`, `hints` and `transitions`."""
    books = posted("web-app-and-sip")
    summary, whole = plain(call_summary(SCOPE, known(books, WEB_CALL))), shown_call(books, WEB_CALL)
    assert summary == {name: whole[name] for name in whole if name not in ("reported", "hints", "transitions")}


def test_a_leg_whose_end_was_lost_leaves_with_its_call() -> None:
    """Stays are cut at the end of the call; one that would begin after it did not happen."""
    books, feed = Books(), Feed()
    books.post(
        feed.document(
            call_start("c"), join("alice", "c", "09:00:10"), call_end("c", "09:10:00"), join("bob", "c", "09:20:00")
        )
    )
    leg, after = shown_leg(books, "alice"), shown_leg(books, "bob")
    assert leg["state"] == "ended"
    assert (leg["joined_at"], leg["left_at"]) == ("2024-03-12T09:00:10Z", "2024-03-12T09:10:00Z")
    assert (after["joined_at"], after["left_at"], after["stays"]) == (None, None, [])


def test_an_end_that_was_only_estimated_says_so() -> None:
    """Without a callEnd the estimate is shown as the end, marked; a meeting that ends by it is marked too."""
    at = OrderKey(1_710_234_000_000, "s", 1)
    call = Call("c", "s", at, end_estimated=replace(at, time=at.time + 1500))
    shown = plain(call_view(SCOPE, Known(call, Meeting("c", ("c",)), 0, complete=False)))
    assert (shown["state"], shown["end_estimated"], shown["complete"]) == ("ended", True, False)
    assert shown["ended_at"] == "2024-03-12T09:00:01.500Z"
    meeting = plain(meeting_view(SCOPE, Meeting("c", ("c",)), [Known(call, Meeting("c", ("c",)), 0, complete=True)]))
    assert (meeting["end_estimated"], meeting["ended_at"]) == (True, "2024-03-12T09:00:01.500Z")


def test_recording_and_streaming_are_shown_while_they_last() -> None:
    """`recording` is true between recordingStart and recordingEnd, `streaming` likewise."""
    books, feed = Books(), Feed()
    recording = Record("recordingStart", "09:00:10", "<recording id='r'><call>c</call></recording>")
    streaming = Record("streamingStart", "09:00:10", "<streaming id='t'><call>c</call></streaming>")
    books.post(feed.document(call_start("c"), recording, streaming))
    both = shown_call(books, "c")
    books.post(feed.document(Record("recordingEnd", "09:05:00", "<recording id='r'/>")))
    one = shown_call(books, "c")
    assert (both["recording"], both["streaming"]) == (True, True)
    assert (one["recording"], one["streaming"]) == (False, True)


def test_a_switch_names_its_meeting_and_its_calls() -> None:
    """A holder who joins second switches the meeting; the switch has every field of the contract."""
    books = Books(Directory([User("alice@example.com", holds_license=True)]))
    books.post(
        Feed().document(call_start("c", meeting="m"), join("bob", "c", "09:00:01"), join("alice", "c", "09:01:12"))
    )
    meeting = books.meetings["m"]
    first, second = standing_of(meeting, "join").transitions
    assert plain(switch_view("default", meeting, "Review", second)) == {
        "deployment": "default",
        "meeting": "m",
        "calls": ["c"],
        "name": "Review",
        "at": "2024-03-12T09:01:12Z",
        "from": {"type": "SMP+", "holder": None, "weight": "1"},
        "to": {"type": "PMP+", "holder": "alice@example.com", "weight": "0"},
        "kind": "type",
        "cause": "member_joined",
        "rule": "member-joined",
        "leg": "alice",
        "user": "alice@example.com",
        "reason": "alice@example.com, who holds PMP+, joined as leg alice",
        "late": False,
    }
    with pytest.raises(ValueError, match="before and after"):
        switch_view("default", meeting, "Review", first)


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (("SMP+", None, 6), ("PMP+", "alice@example.com", 0), "type"),
        (("PMP+", "alice@example.com", 0), ("PMP+", "bob@example.com", 0), "holder"),
        (("SMP+", None, 1), ("SMP+", None, 6), "weight"),
    ],
)
def test_a_switch_has_the_kind_of_its_greatest_change(
    before: tuple[Any, ...], after: tuple[Any, ...], kind: str
) -> None:
    """Type counts before holder, holder before weight."""
    at = OrderKey(0, "s", 0)
    assert switch_kind(License(*before, "r", at, ""), License(*after, "r", at, "")) == kind


def test_usage_reads_the_counts_of_the_deciding_policy() -> None:
    """Sixths stay exact, licenses are rounded to three decimals, holders are sorted, others' counts play no part."""
    counts = {
        "join:personal": 2,
        "join:shared": 2,
        "join:sixths": 7,
        "join:holder:bob@example.com": 1,
        "join:holder:alice@example.com": 1,
        "owner:shared": 4,
        "owner:holder:carol@example.com": 1,
        "participants": 9,
        "calls": 3,
    }
    shown = plain(usage_view(SCOPE, counts, 1_710_234_000_000, assigned=180, limits=(200, None)))
    assert shown == {
        "deployment": "default",
        "policy": "join",
        "at": "2024-03-12T09:00:00Z",
        "personal": {
            "meetings": 2,
            "holders": ["alice@example.com", "bob@example.com"],
            "assigned": 180,
            "limit": 200,
        },
        "shared": {"meetings": 2, "sixths": 7, "licenses": 1.167, "limit": None},
        "participants": 9,
        "calls": 3,
        "hints": [],
    }


def test_usage_of_nothing() -> None:
    """Counts that are not there are 0."""
    shown = plain(usage_view(SCOPE, {}, 0, assigned=None, limits=(None, 3)))
    assert shown["personal"] == {"meetings": 0, "holders": [], "assigned": None, "limit": None}
    assert shown["shared"] == {"meetings": 0, "sixths": 0, "licenses": 0.0, "limit": 3}
    assert (shown["participants"], shown["calls"]) == (0, 0)


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_710_234_000_000, "2024-03-12T09:00:00Z"),
        (1_710_234_000_007, "2024-03-12T09:00:00.007Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (-(2**53) * 1000, "0001-01-01T00:00:00Z"),
    ],
)
def test_times_are_rfc_3339_in_utc(milliseconds: int, text: str) -> None:
    """Whole seconds have no fraction, and no time makes an answer fail."""
    assert rfc3339(milliseconds) == text


def test_a_leg_of_which_only_the_end_is_known() -> None:
    """A leg that was never on a call is shown without one, and its start is reckoned from its duration."""
    books = Books()
    content = "<callLeg id='l'><reason>unknownDestination</reason><durationSeconds>5</durationSeconds></callLeg>"
    books.post(Feed().document(Record("callLegEnd", "09:00:05", content)))
    leg = shown_leg(books, "l")
    assert (leg["call"], leg["joined_at"], leg["started_at"]) == (None, None, "2024-03-12T09:00:00Z")
    assert leg["end_reason"] == "unknownDestination"
    assert plain(leg_view(Leg("nothing"), {}))["started_at"] is None
