"""Explaining a described meeting: the license after each step, what decided it, and what would have changed it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdr_service.domain.description import read_description
from cdr_service.domain.directory import Directory, User
from cdr_service.domain.explain import explain
from cdr_service.domain.options import Options

ALICE, BOB, CAROL = "alice@example.com", "bob@example.com", "carol@example.com"
START = 1_767_600_000_000
DIRECTORY = Directory(
    [
        User(ALICE, holds_license=True, aliases=("1001", "room@rooms.example.com")),
        User(BOB, holds_license=False, aliases=("1002",)),
        User(CAROL, holds_license=True),
    ]
)
CONTRACT = {
    "call_type": "coSpace",
    "owner": CAROL,
    "initiator": None,
    "scheduler": None,
    "holders": [ALICE],
    "release": "2.9",
    "steps": [{"join": BOB}, {"join": ALICE}, {"record": True}, {"leave": ALICE}],
}


def explained(description: dict[str, Any], directory: Directory = DIRECTORY, options: Options | None = None) -> Any:
    """Return the answer as a reader of the JSON gets it."""
    found = explain(read_description(description), directory, options or Options(), START)
    return msgspec.json.decode(msgspec.json.encode(found))


def told(description: dict[str, Any], policy: str = "join") -> list[str]:
    """Return the license after each step under a policy, in short."""
    items = explained(description)["items"]
    return [short(item["licenses"][policy]) for item in items]


def short(license_now: Any) -> str:
    """Return a license in short."""
    if license_now is None:
        return "nothing"
    return f"{license_now['weight']} {license_now['type']}" if license_now["holder"] is None else license_now["holder"]


def test_the_example_of_the_contract() -> None:
    """One entry a step, with a license under each policy as a call shows it, and its source."""
    answer = explained(CONTRACT)
    assert [item["step"] for item in answer["items"]] == CONTRACT["steps"]
    assert told(CONTRACT) == ["1 SMP+", ALICE, ALICE, ALICE]
    assert told(CONTRACT, "owner") == ["1 SMP+"] * 4
    first = answer["items"][1]["licenses"]["join"]
    assert (first["rule"], first["policy"], first["since"]) == ("member-joined", "join", "2026-01-05T08:01:00Z")
    assert first["source"] == "Cisco community 2981952, quoting the 2.0 documentation"
    assert first["reason"] == f"{ALICE}, who holds PMP+, joined as leg step-2"


def test_the_holders_of_the_description_are_all_there_are() -> None:
    """With `holders` the directory's do not count; without, they do."""
    steps = [{"join": CAROL}, {"join": ALICE}]
    assert told({"steps": steps}) == [CAROL, CAROL]
    assert told({"steps": steps, "holders": [ALICE]}) == ["1 SMP+", ALICE]
    assert told({"steps": steps, "holders": []}) == ["1 SMP+", "1 SMP+"]


@pytest.mark.parametrize("named", ["1001", "sip:1001@example.com", "room@rooms.example.com", "Alice@example.com"])
def test_who_joins_is_matched_as_in_a_call(named: str) -> None:
    """A directory number, a room's address and the user's own are the user; the answer says which user that is."""
    (item,) = explained({"steps": [{"join": named}]})["items"]
    assert short(item["licenses"]["join"]) == ALICE
    assert any("Who is in and holds PMP+: alice@example.com" in sentence for sentence in item["inputs"])


def test_a_guest_is_nobody() -> None:
    """Who joins as a guest pays nothing, whatever the name; nor does somebody unknown."""
    assert told({"steps": [{"join": ALICE, "guest": True}, {"join": None}]}) == ["1 SMP+", "1 SMP+"]


def test_the_inputs_say_what_was_looked_at() -> None:
    """Owner, holders who are in, and what weighs, each as one sentence; nothing is decided of an empty meeting."""
    steps = [{"join": "1002"}, {"join": None}, {"stream": True}, {"leave": None}, {"leave": "1002"}]
    items = explained({"owner": BOB, "steps": steps})["items"]
    assert items[2]["inputs"] == [
        f"The owner of the space is {BOB}, who holds no PMP+.",
        f"Of those who are in ({BOB} (1002), 1 unknown or guest), nobody holds PMP+.",
        "2 people are in; video is used; the meeting is streamed.",
    ]
    assert items[4]["inputs"] == ["Nobody is in the meeting, so it takes no license."]
    assert items[4]["would_change"] == []


def test_a_payer_who_left_is_told() -> None:
    """That a PMP+ goes on paying is an input, and the setting that says so would change it."""
    (*_, last) = explained(CONTRACT)["items"]
    assert (
        f"{ALICE}, who pays, has left; a PMP+ that pays goes on paying (CDR_LICENSING_JOIN_STICKY)." in last["inputs"]
    )
    assert "With CDR_LICENSING_JOIN_STICKY=false: 1 SMP+ under `join`." not in last["would_change"]
    assert "With CDR_LICENSING_JOIN_STICKY=false: SMP+ under `join`." in last["would_change"]


def test_what_would_have_changed_it_is_found_by_playing_it() -> None:
    """Another license of a participant, of the owner, of somebody unknown; another owner."""
    steps = [{"join": BOB}, {"join": None}, {"join": ALICE, "guest": True}]
    (*_, last) = explained({"owner": CAROL, "holders": [ALICE], "steps": steps})["items"]
    assert last["would_change"][:3] == [
        f"If {CAROL} held PMP+: PMP+ of {CAROL} under `join` and `owner`.",
        f"If {BOB} held PMP+: PMP+ of {BOB} under `join`.",
        "If somebody unknown were matched to a user who holds PMP+: PMP+ of that user under `join`.",
    ]
    (only,) = explained({"holders": [], "steps": [{"join": BOB}]})["items"]
    expected = "If the space had an owner who holds PMP+: PMP+ of the owner under `join` and `owner`."
    assert expected in only["would_change"]


def test_what_it_says_of_holders_holds() -> None:
    """Whoever is said to change it does change it, when the description is written so."""
    steps = [{"join": BOB}, {"join": ALICE}]
    (_, last) = explained({"owner": CAROL, "holders": [ALICE], "steps": steps})["items"]
    assert f"If {CAROL} held PMP+: PMP+ of {CAROL} under `join` and `owner`." in last["would_change"]
    assert told({"owner": CAROL, "holders": [ALICE, CAROL], "steps": steps}) == [CAROL, CAROL]
    assert f"If {ALICE} held no PMP+: SMP+ under `join`." in last["would_change"]
    assert told({"owner": CAROL, "holders": [], "steps": steps}) == ["1 SMP+", "1 SMP+"]
    assert f"If {ALICE} owned the space: PMP+ of {ALICE} under `owner`." in last["would_change"]
    assert told({"owner": ALICE, "holders": [ALICE], "steps": steps}, "owner") == [ALICE, ALICE]


def test_a_gateway_call() -> None:
    """The kind of call decides, and recording weighs."""
    description = {"call_type": "forwarding", "steps": [{"join": ALICE}, {"record": True}, {"record": False}]}
    assert told(description) == ["1/6 SMP+", "1 SMP+", "1/6 SMP+"]
    (first, *_) = explained(description)["items"]
    assert first["inputs"][0] == "The callType is forwarding."
    assert "If it were recorded: SMP+ under `join` and `owner`." not in first["would_change"]


def test_several_call_bridges_are_one_meeting() -> None:
    """A meeting over two Call Bridges takes one license, and ends with all its calls."""
    description = {"steps": [{"join": BOB}, {"join": ALICE, "bridge": "b"}, {"end": True}]}
    assert told(description) == ["1 SMP+", ALICE, "nothing"]


def test_an_initiator_and_a_scheduler_pay_where_no_owner_does() -> None:
    """Each is charged by a rule of its own, the owner before them; who holds no PMP+ is passed over."""
    steps = [{"join": BOB}]
    for who, rule in (("owner", "owner"), ("initiator", "ad-hoc-initiator"), ("scheduler", "scheduler")):
        (item,) = explained({who: ALICE, "steps": steps})["items"]
        assert (short(item["licenses"]["owner"]), item["licenses"]["owner"]["rule"]) == (ALICE, rule)
    (item,) = explained({"owner": BOB, "initiator": ALICE, "scheduler": CAROL, "steps": steps})["items"]
    assert item["licenses"]["owner"]["rule"] == "ad-hoc-initiator"
    assert item["inputs"][1] == f"The conference was escalated in CUCM by {ALICE}, who holds PMP+."


def test_video_weighs_and_what_else_would() -> None:
    """Audio only takes a sixth until somebody uses video; what else would change the weight is told."""
    steps = [{"join": BOB, "video": False}, {"video": True}, {"video": False}]
    assert told({"release": "2.9", "steps": steps}) == ["1/6 SMP+", "1 SMP+", "1/6 SMP+"]
    first, second, _ = explained({"release": "2.9", "steps": steps})["items"]
    assert "If video were used: SMP+ under `join` and `owner`." in first["would_change"]
    assert "If the Meeting Server ran a release before 2.3: SMP+ under `join` and `owner`." in first["would_change"]
    assert "If nobody used video: 1/6 SMP+ under `join` and `owner`." not in first["would_change"]
    assert second["inputs"][-1] == "1 person is in; video is used; the meeting is neither recorded nor streamed."
    assert told({"release": "2.2", "steps": steps}) == ["1 SMP+"] * 3


def test_all_that_a_description_says_is_known() -> None:
    """What is described is taken as confirmed; only somebody unknown leaves a doubt under `join`."""
    items = explained({"release": "2.9", "steps": [{"join": BOB}, {"join": None}]})["items"]
    found = [{policy: one["status"] for policy, one in item["licenses"].items()} for item in items]
    assert found == [dict.fromkeys(("join", "owner"), "confirmed"), {"join": "provisional", "owner": "confirmed"}]


def test_auto_goes_by_the_release() -> None:
    """Where `auto` decides, its license is shown too, by the rules of the release, and another release changes it."""
    options = Options(policy="auto")
    answer = explained({"release": "3.8", "steps": [{"join": ALICE}]}, options=options)
    (item,) = answer["items"]
    assert (answer["policy"], list(item["licenses"])) == ("auto", ["join", "owner", "auto"])
    assert item["licenses"]["auto"]["source"] == item["licenses"]["owner"]["source"]
    assert f"If the Meeting Server ran a release before 2.3: PMP+ of {ALICE} under `auto`." in item["would_change"]


def test_the_modes_of_lync() -> None:
    """Another lyncConferenceMode is told where it would take another license."""
    steps = [{"join": BOB}, {"join": None, "bridge": "b"}]
    description = {"call_type": "lyncConferencing", "lync_mode": "dualHomeCallBridge", "steps": steps}
    (_, last) = explained(description)["items"]
    assert last["inputs"][0] == "The callType is lyncConferencing (dualHomeCallBridge)."
    assert last["inputs"][-1].startswith("2 people are in on 2 Call Bridges; video is used")
    assert "If lyncConferenceMode were dualHomeCluster: SMP+ under `join` and `owner`." in last["would_change"]
    assert "If lyncConferenceMode were gateway: 1/6 SMP+ under `join` and `owner`." in last["would_change"]


@st.composite
def descriptions(draw: st.DrawFn) -> dict[str, Any]:
    """Describe a meeting that can be."""
    people = st.sampled_from([ALICE, BOB, CAROL, "1001", "dave@partner.example", None])
    inside: list[Any] = []
    steps: list[dict[str, Any]] = []
    for deed in draw(st.lists(st.sampled_from(["join", "join", "leave", "record", "stream", "video"]), min_size=1)):
        if deed == "join":
            who, flags = draw(people), st.fixed_dictionaries({}, optional={"video": st.booleans()})
            steps.append({"join": who, **draw(flags)})
            inside.append(who)
        elif deed == "leave" and inside:
            steps.append({"leave": inside.pop(draw(st.integers(0, len(inside) - 1)))})
        elif deed != "leave":
            steps.append({deed: draw(st.booleans())})
    about = {
        "call_type": st.sampled_from(["coSpace", "adHoc", "forwarding", "lyncConferencing"]),
        "lync_mode": st.sampled_from(["gateway", "dualHomeCluster", "dualHomeCallBridge"]),
        "owner": st.sampled_from([ALICE, BOB]),
        "initiator": st.sampled_from([BOB, CAROL]),
        "scheduler": st.sampled_from([ALICE, BOB]),
        "release": st.sampled_from(["2.0", "2.3", "3.8.1"]),
    }
    return {**draw(st.fixed_dictionaries({}, optional=about)), "steps": [*steps, {"end": True}]}


@given(descriptions())
@settings(max_examples=60, deadline=None)
def test_whatever_can_be_described_is_explained(description: dict[str, Any]) -> None:
    """There is one entry a step, a license while somebody is in, reasons for it, and only what changes it."""
    people = 0
    for step, item in zip(description["steps"], explained(description)["items"], strict=True):
        people = 0 if "end" in step else people + ("join" in step) - ("leave" in step)
        assert item["step"] == step
        for license_now in item["licenses"].values():
            assert (license_now is not None) == (people > 0)
            assert license_now is None or (license_now["holder"] is None) == (license_now["weight"] != "0")
        assert all(sentence.endswith(".") for sentence in (*item["inputs"], *item["would_change"]))
        assert item["inputs"]
        assert "invalid" not in str(item), "who stands for somebody has no name"
