"""The simulated Meeting Server: repeatable, true to the wire format, and right about its own answers."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from itertools import islice, pairwise
from xml.etree import ElementTree as ET

import pytest

from cdr_service.simulator.bridge import Bridge, receiver_url
from cdr_service.simulator.expected import Expected
from cdr_service.simulator.people import HOSTILE_NAMES
from cdr_service.simulator.records import ELEMENTS, Identity, NumberedRecord, Record, document
from cdr_service.simulator.scenarios import START, Scenario, arrivals, documents, generate, identities

SHAPES = [{"bridges": 1}, {"bridges": 3}, {"bridges": 2, "cluster": True}, {"bridges": 4, "cluster": True}]
SCENARIOS = [generate(seed, meetings=40, rate=0.3, **SHAPES[seed % 4]) for seed in range(24)]
IDENTITY = Identity("cms1", "11111111-0000-4000-8000-000000000000")
HANGUP = Record("callLegEnd", "22222222-0000-4000-8000-000000000000", {"reason": "remoteTeardown"})

Spans = list[tuple[float, float]]


def spans_from_records(scenario: Scenario) -> dict[str, Spans]:
    """When each leg was in, read from the records alone, as `docs/cdr.md` and the contract say."""
    since: dict[str, float | None] = {}
    updated: set[str] = set()
    found: dict[str, Spans] = {}
    for offset, _, record in scenario.steps:
        leg, fields = record.id, record.fields
        entered = since.get(leg)
        if record.type == "callLegStart":
            since[leg] = offset if "call" in fields and fields["direction"] == "incoming" else None
        elif record.type == "callLegUpdate" and "state" in fields:
            inside = "call" in fields and fields["deactivated"] is False
            if not inside and entered is not None and leg in updated:
                found.setdefault(leg, []).append((entered, offset))
            since[leg] = (offset if entered is None else entered) if inside else None
            updated.add(leg)
        elif record.type == "callLegEnd" and entered is not None:
            found.setdefault(leg, []).append((entered, offset))
    return found


def joined(spans: Spans) -> Spans:
    """Join spans that touch or overlap."""
    result: Spans = []
    for start, end in sorted(spans):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


def license_at(moment: float, meeting: Expected, holders: tuple[str, ...]) -> tuple[str | None, str | None]:
    """Who pays at a moment, by looking back to when the meeting was last empty."""
    stays = sorted((start, end, one.user) for one in meeting.presences for start, end in one.stays)
    together = [span for span in joined([(start, end) for start, end, _ in stays]) if span[0] <= moment < span[1]]
    if not together:
        return (None, None)
    since = [user for start, _, user in stays if together[0][0] <= start <= moment and user in holders]
    return ("PMP+", since[0]) if since and meeting.call_type != "forwarding" else ("SMP+", None)


def test_a_seed_decides_everything() -> None:
    """The same seed gives the same scenario and the same bytes; another seed gives others."""
    one, again, other = (generate(seed, meetings=8, bridges=2, cluster=True) for seed in (5, 5, 6))
    assert one == again
    assert [sent.body for sent in documents(one)] == [sent.body for sent in documents(again)]
    assert one.steps != other.steps


def test_other_sessions_tell_the_same_story_with_new_ids() -> None:
    """`sessions` changes the ids of sessions, calls and legs; bridges, spaces, people and times stay."""
    one, other = (generate(5, meetings=8, bridges=2, cluster=True, sessions=sessions) for sessions in "ab")
    assert [bridge.call_bridge for bridge in one.bridges] == [bridge.call_bridge for bridge in other.bridges]
    assert not {bridge.session for bridge in one.bridges} & {bridge.session for bridge in other.bridges}
    assert not {step.record.id for step in one.steps} & {step.record.id for step in other.steps}
    assert [(step.offset, step.record.type) for step in one.steps] == [
        (step.offset, step.record.type) for step in other.steps
    ]
    spaces = [[step.record.fields.get("coSpace") for step in of.steps] for of in (one, other)]
    assert spaces[0] == spaces[1]


def test_the_first_meeting_shows_a_switch() -> None:
    """Whoever starts a simulation sees SMP+ turn to PMP+ within two minutes of the first meeting."""
    for scenario in SCENARIOS:
        first, second, *_ = scenario.expected[0].licenses
        assert (first.at, first.type, second.type) == (0, "SMP+", "PMP+")
        assert second.at < 120


def test_meetings_begin_in_bursts() -> None:
    """So many at the same second, and as many in all as without; each burst has its own moment."""
    bridges = identities(1)
    bursts = [arrival.offset for arrival in islice(arrivals(1, bridges, rate=60, burst=5), 200)]
    assert all(len(set(bursts[first : first + 5])) == 1 for first in range(0, 200, 5))
    assert len(set(bursts)) > 20
    single = [arrival.offset for arrival in islice(arrivals(1, bridges, rate=60), 200)]
    assert 0.5 < bursts[-1] / single[-1] < 2


@pytest.mark.parametrize("first_index", [0, 47])
def test_indices_are_those_of_a_call_bridge(first_index: int) -> None:
    """On each bridge recordIndex counts from 1 and correlatorIndex from any offset, both without a hole."""
    scenario = SCENARIOS[2]
    sent = documents(scenario, first_index=first_index, largest=4)
    assert {len(one.records) for one in sent} == {1, 2, 3, 4}
    for bridge in scenario.bridges:
        records = [record for one in sent if one.bridge == bridge for record in one.records]
        assert [record.record_index for record in records] == list(range(1, len(records) + 1))
        assert [record.correlator_index for record in records] == [
            number + first_index for number in range(len(records))
        ]
    assert sum(len(one.records) for one in sent) == len(scenario.steps)


def test_documents_say_on_the_wire_what_they_say_as_values() -> None:
    """What an independent XML parser reads from a document is what the document holds as values."""
    for scenario in SCENARIOS[:4]:
        for sent in documents(scenario):
            root = ET.fromstring(sent.body)
            assert root.tag == "records"
            assert (root.get("session"), root.get("callBridge")) == (sent.bridge.session, sent.bridge.call_bridge)
            for element, numbered in zip(root, sent.records, strict=True):
                assert element.attrib == {
                    "type": numbered.record.type,
                    "time": numbered.time.isoformat().replace("+00:00", "Z"),
                    "recordIndex": str(numbered.record_index),
                    "correlatorIndex": str(numbered.correlator_index),
                }
                (subject,) = element
                assert (subject.tag, subject.get("id")) == (ELEMENTS[numbered.record.type], numbered.record.id)
                assert [inner.tag for inner in subject] == list(numbered.record.fields)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names_survive_as_text(name: str) -> None:
    """A name can break out of nothing; what XML cannot hold becomes a replacement character."""
    record = Record("callStart", IDENTITY.session, {"name": name, "ownerName": None, "@tenant": name})
    body = document(IDENTITY, [NumberedRecord(record, START, 0, 1, missing=7)]).body
    (element,) = ET.fromstring(body)
    (call,) = element
    written = "".join("\N{REPLACEMENT CHARACTER}" if letter in "\x1b\x07\ud800" else letter for letter in name)
    assert call.findtext("name") == written
    assert call.findtext("ownerName") == ""
    assert element.get("numPreceedingRecordsMissing") == "7"


def test_a_hostile_scenario_is_well_formed() -> None:
    """Scenarios with hostile names can be parsed, and do hold such names."""
    bodies = [sent.body for sent in documents(generate(3, meetings=30, hostile=True))]
    names = {element.text for body in bodies for element in ET.fromstring(body).iter("name")}
    assert '=HYPERLINK("http://example.com")' in names


def test_known_answers_agree_with_the_records() -> None:
    """Who was in from when to when, and who never was, follows from the records alone."""
    for scenario in SCENARIOS:
        spans = spans_from_records(scenario)
        for meeting in scenario.expected:
            for one in meeting.presences:
                assert joined([span for leg in one.legs for span in spans.get(leg, [])]) == list(one.stays)
        people = {leg for meeting in scenario.expected for one in meeting.presences for leg in one.legs}
        uncounted = {leg for meeting in scenario.expected for leg in meeting.uncounted}
        machines = {
            step.record.id
            for step in scenario.steps
            if step.record.fields.keys() & {"recording", "streaming"}
            or step.record.fields.get("subType") == "distributionLink"
        }
        assert not people & uncounted
        assert machines <= uncounted
        assert {leg for leg in spans if leg not in machines} <= people


def test_one_person_on_several_legs_is_one_presence() -> None:
    """A move between bridges of a meeting, and the legs of one Lync client, make no second person."""
    moves = groups = 0
    for scenario in SCENARIOS:
        starts = {step.record.id: step.record.fields for step in scenario.steps if step.record.type == "callLegStart"}
        for meeting in scenario.expected:
            who = {leg: one for one in meeting.presences for leg in one.legs}
            for leg, one in who.items():
                origin, group = starts[leg].get("movedCallLeg"), starts[leg]["groupId"]
                assert group not in who or who[group] is one
                assert origin not in who or who[origin] is one
                groups += group != leg
                moves += origin in who
    assert moves
    assert groups


def test_known_licenses_follow_the_join_rule() -> None:
    """At any moment the payer is the holder who came first since the meeting was last empty, else the pool."""
    for scenario in SCENARIOS:
        for meeting in scenario.expected:
            stays = [stay for one in meeting.presences for stay in one.stays]
            for moment in sorted({moment for stay in stays for moment in stay}):
                now = [known for known in meeting.licenses if known.at <= moment][-1]
                assert (now.type, now.holder) == license_at(moment, meeting, scenario.holders)
            assert meeting.licenses[-1].type is None
            assert all((a.type, a.holder) != (b.type, b.holder) for a, b in pairwise(meeting.licenses))
            most = max(sum(start <= moment < end for start, end in stays) for moment, _ in stays)
            assert meeting.peak == most


def test_no_holder_pays_twice_at_a_time() -> None:
    """A holder is in one meeting at a time, so that no limit of licenses per user touches the known answers."""
    for scenario in SCENARIOS:
        paid = [
            (known.holder, known.at, following.at)
            for meeting in scenario.expected
            for known, following in pairwise(meeting.licenses)
            if known.type == "PMP+"
        ]
        for holder in scenario.holders:
            spans = sorted((start, end) for who, start, end in paid if who == holder)
            assert all(end < start for (_, end), (start, _) in pairwise(spans))


def test_every_call_ends_with_figures_that_fit() -> None:
    """What callEnd says of legs and duration agrees with the records before it; nothing is left open."""
    for scenario in SCENARIOS:
        began: dict[str, float] = {}
        correlators: dict[str, object] = {}
        on_call: dict[str, str] = {}
        ended: Counter[str] = Counter()
        for offset, _, record in scenario.steps:
            if record.type in {"callStart", "callLegStart"}:
                assert record.id not in began
                began[record.id] = offset
                correlators[record.id] = record.fields.get("callCorrelator")
            if record.type in {"callLegStart", "callLegUpdate"} and "call" in record.fields:
                on_call[record.id] = str(record.fields["call"])
            if record.type in {"callLegEnd", "callEnd"}:
                assert record.fields["durationSeconds"] == offset - began.pop(record.id)
            if record.type == "callLegEnd" and record.id in on_call:
                ended[on_call[record.id]] += 1
            if record.type == "callEnd":
                assert record.fields["callLegsCompleted"] == ended[record.id]
        assert not began
        for meeting in scenario.expected:
            assert {correlators[call] for call in meeting.calls} == {meeting.correlator}


def test_everything_that_a_meeting_server_does_happens() -> None:
    """The scenarios show all nine types of records and all ways in which people come and go."""
    records = [step.record for scenario in SCENARIOS for step in scenario.steps]
    fields = [record.fields for record in records]
    assert {record.type for record in records} == set(ELEMENTS)
    assert {one["reason"] for one in fields if "reason" in one} >= {
        "callMoved", "ringingTimeout", "ivrTimeout", "unknownDestination", "remoteTeardown"
    }  # fmt: skip
    assert {one["subType"] for one in fields if "subType" in one} == {"webApp", "lync", "distributionLink"}
    assert {one["callType"] for one in fields if "callType" in one} == {"coSpace", "adHoc", "forwarding"}
    seen = {name for one in fields for name in one}
    assert seen >= {"ivr", "guestConnection", "movedCallLeg", "movedCallLegCallBridge", "cdrTag", "lyncSubType"}
    assert any(one.get("deactivated") is True for one in fields)
    assert any(len(meeting.calls) > 1 for scenario in SCENARIOS for meeting in scenario.expected)
    told = {tuple(known.type for known in meeting.licenses) for one in SCENARIOS for meeting in one.expected}
    assert told >= {("SMP+", None), ("SMP+", "PMP+", None), ("PMP+", None), ("PMP+", None, "SMP+", None)}


def test_a_document_stays_on_offer_until_it_was_delivered() -> None:
    """A feed offers the same bytes again and again, and goes on only after the delivery."""
    bridge = Bridge(IDENTITY)
    feed = bridge.add_receiver(largest=1)
    for second in range(2):
        bridge.emit(HANGUP, START + timedelta(seconds=second))
    first = feed.document()
    assert first is not None
    assert feed.document() is first
    feed.delivered(first)
    second_document = feed.document()
    assert second_document is not None
    assert second_document.records[0].record_index == 2
    feed.delivered(first)
    assert feed.document() is second_document


def test_a_full_buffer_discards_and_says_so() -> None:
    """What was dropped is told by the next record delivered; recordIndex shows no hole, correlatorIndex does."""
    bridge = Bridge(IDENTITY)
    feed = bridge.add_receiver(buffer=3, largest=1)
    bridge.emit(HANGUP, START)
    on_offer = feed.document()
    assert on_offer is not None
    for _ in range(10):
        bridge.emit(HANGUP, START)
    assert feed.waiting == 4
    feed.delivered(on_offer)
    rest = []
    while offered := feed.document():
        rest += offered.records
        feed.delivered(offered)
    assert [(one.record_index, one.correlator_index, one.missing) for one in rest] == [(2, 8, 7), (3, 9, 0), (4, 10, 0)]


def test_receivers_have_queues_and_indices_of_their_own() -> None:
    """A receiver that is added late starts at recordIndex 1 with no history; correlatorIndex is the same for all."""
    bridge = Bridge(IDENTITY, first_index=100)
    early = bridge.add_receiver(largest=1)
    bridge.emit(HANGUP, START)
    late = bridge.add_receiver(largest=1)
    bridge.emit(HANGUP, START)
    assert (early.waiting, late.waiting) == (2, 1)
    offered = late.document()
    assert offered is not None
    assert (offered.records[0].record_index, offered.records[0].correlator_index) == (1, 101)


def test_a_restart_begins_a_new_session() -> None:
    """After a restart the session is new, all indices begin anew, and what was not delivered is gone."""
    bridge = Bridge(replace(IDENTITY, call_bridge="33333333-0000-4000-8000-000000000000"), first_index=9)
    feed = bridge.add_receiver()
    bridge.emit(HANGUP, START)
    assert feed.document() is not None
    bridge.restart("44444444-0000-4000-8000-000000000000")
    assert feed.document() is None
    bridge.emit(HANGUP, START)
    offered = feed.document()
    assert offered is not None
    assert (offered.bridge.session, offered.bridge.call_bridge) == (
        "44444444-0000-4000-8000-000000000000",
        "33333333-0000-4000-8000-000000000000",
    )
    assert (offered.records[0].record_index, offered.records[0].correlator_index) == (1, 0)


def test_a_receiver_url_keeps_what_it_was_given() -> None:
    """Path and query stay; token and bridge are added."""
    url = receiver_url("http://127.0.0.1:8080/cdr/lab?k=v&token=a", bridge="cms 1")
    assert dict(url.query) == {"k": "v", "token": "a", "bridge": "cms 1"}
    assert receiver_url("https://cdr.example.com/cdr", token="s&t").query["token"] == "s&t"


@pytest.mark.parametrize("target", ["", "cdr", "ftp://host/?token=secret", "http://?token=secret", "http://h:x/secret"])
def test_a_bad_receiver_url_is_refused_in_one_sentence_without_the_secret(target: str) -> None:
    """The sentence says what a target looks like and does not repeat the query."""
    with pytest.raises(ValueError, match=r"must be a URL such as") as refused:
        receiver_url(target)
    assert "secret" not in str(refused.value)
