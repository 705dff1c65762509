"""The envelope of a CDR document: what is read, what is refused, what is bounded."""

from pathlib import Path

import msgspec
import pytest

from cdr_service.domain.documents import MAX_EXTRA, MAX_REJECTED, NotACdrDocument, parse
from cdr_service.domain.elements import MAX_REPEATS, MAX_TEXT
from cdr_service.domain.records import Batch, CallEnd, CallLegEnd, CallLegStart, CallStart, Record, UnknownRecord
from cdr_service.domain.safe_xml import MAX_DEPTH

SAMPLES = Path(__file__).parents[1] / "samples"
SESSION = "2f0c6a1e-7f4b-4a6e-9d53-0f4d8f6b5a11"
BRIDGE = "5d2b9a70-3c1f-4f0e-8a96-b1f3c7d2e444"
CALL = "0b7c1d52-93a4-4f6b-8e21-6d5f4c3b2a19"
NINE_O_CLOCK = 1710234000000


def odd(name: str) -> Batch:
    """Parse a sample of the folder odd."""
    return parse((SAMPLES / "odd" / f"{name}.xml").read_bytes())


def one_record(content: str, *, kind: str = "callStart", attributes: str = "") -> Record:
    """Parse a document with one good record."""
    body = (
        f'<records session="s"><record type="{kind}" time="2024-03-12T09:00:00Z" correlatorIndex="0"{attributes}>'
        f"{content}</record></records>"
    )
    (record,) = parse(body.encode()).records
    return record


FLOWS = {
    "web-app-and-sip": [
        "callStart 1/47",
        "callLegStart 2/48",
        "callLegUpdate 3/49",
        "callLegStart 4/50",
        "callLegUpdate 5/51",
        "callLegEnd 6/52",
        "callLegUpdate 7/53",
        "callLegEnd 8/54, callEnd 9/55",
    ],
    "two-bridges": [
        "callLegStart 1/0",
        "callStart 2/1, callLegUpdate 3/2",
        "callLegStart 311/640",
        "callLegUpdate 312/641",
        "callStart 313/642, callLegUpdate 314/643",
        "callLegEnd 4/3, callEnd 5/4",
        "callLegEnd 315/644, callEnd 316/645",
    ],
}


@pytest.mark.parametrize("flow", FLOWS)
def test_worked_flow_is_read_whole(flow: str) -> None:
    """Every record of a worked flow is read in the order of arrival, nothing is rejected and nothing is unknown."""
    batches = [parse(path.read_bytes()) for path in sorted((SAMPLES / flow).iterdir())]
    summary = [", ".join(f"{r.type} {r.record_index}/{r.correlator_index}" for r in batch.records) for batch in batches]
    assert summary == FLOWS[flow]
    assert [batch.rejected for batch in batches] == [()] * len(batches)
    assert [record.extra for batch in batches for record in batch.records if record.extra] == []


def test_unclustered_bridge_does_not_name_itself() -> None:
    """A document without callBridge has None there; one with it names the bridge."""
    assert parse((SAMPLES / "web-app-and-sip/01.xml").read_bytes()).call_bridge is None
    clustered = parse((SAMPLES / "two-bridges/01-a1.xml").read_bytes())
    assert clustered.session == "c8550dc2-72cc-4692-89f9-371e824aedd3"
    assert clustered.call_bridge == "85039a39-1afe-4035-95a1-f62a9b30d30a"


HOSTILE = {
    "bare-doctype": "has a DOCTYPE",
    "empty": "body is empty",
    "empty-root": "no session",
    "empty-session": "no session",
    "entity-bomb": "has a DOCTYPE",
    "external-dtd": "has a DOCTYPE",
    "external-entity": "has a DOCTYPE",
    "json": "not well-formed XML",
    "no-session": "no session",
    "not-utf-8": "not well-formed XML",
    "nul-bytes": "not well-formed XML",
    "nul-reference": "invalid character number",
    "only-whitespace": "body is empty",
    "too-deep": "nested more than 24 levels",
    "truncated": "not well-formed XML",
    "two-documents": "junk after document element",
    "undefined-entity": "undefined entity",
    "unsupported-encoding": "encoding 'unicode_escape' is not supported",
    "utf-16-declared-utf-8-sent": "encoding specified in XML declaration is incorrect",
    "wrong-root": "<html>, not <records>",
}


@pytest.mark.parametrize("path", sorted((SAMPLES / "hostile").iterdir()), ids=lambda path: path.stem)
def test_hostile_document_is_refused_with_its_reason(path: Path) -> None:
    """Each hostile sample is refused, and the reason is one sentence that says what is wrong with it."""
    with pytest.raises(NotACdrDocument) as refusal:
        parse(path.read_bytes())
    assert HOSTILE[path.stem] in refusal.value.reason
    assert refusal.value.reason.endswith(".")
    assert "\n" not in refusal.value.reason


def test_depth_is_bounded_exactly() -> None:
    """The deepest allowed nesting is read, one level more is refused, and breadth does not count as depth."""
    inside = MAX_DEPTH - 1
    body = f'<records session="s">{"<a>" * inside}{"</a>" * inside}</records>'
    assert parse(body.encode()).session == "s"
    with pytest.raises(NotACdrDocument, match="levels deep"):
        parse(body.replace("<a></a>", "<a><b/></a>").encode())
    with pytest.raises(NotACdrDocument, match="more than 2 levels"):
        parse(b'<records session="s"><record><call/></record></records>', max_depth=2)
    assert parse(b'<records session="s">' + b"<a></a>" * 1000 + b"</records>", max_depth=2).session == "s"


def test_text_that_looks_like_a_document_type_is_text() -> None:
    """Only a real DOCTYPE is refused, not one inside CDATA or a comment."""
    record = one_record('<!-- <!DOCTYPE a> --><call id="1"><name><![CDATA[<!DOCTYPE a>]]></name></call>')
    assert isinstance(record, CallStart)
    assert record.name == "<!DOCTYPE a>"


@pytest.mark.parametrize(
    ("sample", "name"),
    [("utf-16", "Büro 会議"), ("byte-order-mark", "Büro 会議"), ("latin-1", "Büro")],
)
def test_encodings_that_expat_knows_are_honored(sample: str, name: str) -> None:
    """A byte order mark and a declared encoding are honored."""
    (record,) = odd(sample).records
    assert isinstance(record, CallStart)
    assert record.name == name


def test_unknown_type_is_kept() -> None:
    """A record type that we do not know is kept with its content, and the next record is read as usual."""
    unknown, known = odd("unknown-type").records
    assert unknown == UnknownRecord(
        type="participantStart",
        time=NINE_O_CLOCK,
        record_index=1,
        correlator_index=0,
        extra={"participant": {"@id": "e4a9d8c7-1b2a-4c3d-9e8f-70615243f5d4", "uri": "alice@example.com"}},
    )
    assert isinstance(known, CallStart)


def test_unknown_elements_are_kept() -> None:
    """Unknown attributes and elements of the record and of its content are kept, empty ones too."""
    (record,) = odd("unknown-elements").records
    assert record.extra == {
        "@origin": "api",
        "note": "new",
        "colour": "blue",
        "layout": {"@mode": "grid", "rows": "2"},
        "locked": None,
    }


def test_same_unknown_name_in_record_and_content_keeps_both() -> None:
    """Where the record and its content have an unknown element of one name, neither displaces the other."""
    assert one_record('<call id="1"><note>b</note></call><note>a</note>').extra == {"note": ["a", "b"]}


def test_record_without_its_id_is_rejected_alone() -> None:
    """A record of a known type without its id is rejected with its content; the others are read."""
    batch = odd("missing-id")
    assert [type(record) for record in batch.records] == [CallEnd]
    assert [rejected.reason for rejected in batch.rejected] == [
        "A callStart record needs a <call> element with an id.",
        "A callLegStart record needs a <callLeg> element with an id.",
        "A callLegEnd record needs a <callLeg> element with an id.",
        "A recordingEnd record needs a <recording> element with an id.",
        "A callLegUpdate record needs a <callLeg> element with an id.",
    ]
    first = batch.rejected[0]
    assert (first.type, first.record_index, first.correlator_index) == ("callStart", 1, 0)
    assert msgspec.json.decode(first.content)["call"] == {"name": "Team standup"}


def test_record_without_a_time_is_rejected() -> None:
    """Offsets and fractions are read; a time that is missing, malformed or without an offset rejects the record."""
    batch = odd("times")
    assert [record.time - NINE_O_CLOCK for record in batch.records] == [0, 0, 125, 0]
    assert [rejected.record_index for rejected in batch.rejected] == [5, 6, 7, 8, 9, 10, 11]
    assert {rejected.reason for rejected in batch.rejected} == {
        "The record's time is missing, is not RFC 3339, or lies outside the years 1 to 9999 in UTC."
    }


def test_a_time_that_utc_cannot_write_down_rejects_its_record() -> None:
    """A leap second or an offset may lead out of the years 1 to 9999; the last and first second of these are taken."""
    batch = odd("edges-of-time")
    assert [record.record_index for record in batch.records] == [2, 4, 6]
    assert [rejected.record_index for rejected in batch.rejected] == [1, 3, 5]
    assert {rejected.reason for rejected in batch.rejected} == {
        "The record's time is missing, is not RFC 3339, or lies outside the years 1 to 9999 in UTC."
    }


def test_record_without_a_sound_index_is_rejected() -> None:
    """One index suffices; no index, or one that is not a whole number up to 2**53, rejects the record."""
    batch = odd("indices")
    assert [(r.record_index, r.correlator_index) for r in batch.records] == [
        (1, 0),
        (2, None),
        (None, 2),
        (2**53, None),
    ]
    assert [("neither" in r.reason, r.record_index, r.correlator_index) for r in batch.rejected] == [
        (True, None, None),
        (True, None, None),
        (False, None, 6),
        (False, None, None),
        (False, None, None),
    ]


def test_old_sender_without_correlator_index_is_ordered_by_record_index() -> None:
    """A sender that has only recordIndex is read, and its order key falls back to it."""
    (record,) = odd("no-correlator-index").records
    assert record.correlator_index is None
    assert record.order("s").number == 3141


def test_known_loss_is_read() -> None:
    """The loss marker is a number; one that cannot be read counts as none and is kept."""
    lost, unreadable = odd("records-missing").records
    assert lost.missing == 7
    assert (unreadable.missing, unreadable.extra) == (0, {"@numPreceedingRecordsMissing": "many"})
    corrected = one_record('<call id="1"/>', attributes=' numPrecedingRecordsMissing="3"')
    assert corrected.missing == 3


def test_whitespace_letter_case_comments_and_instructions_do_not_matter() -> None:
    """Values are trimmed, ids are lower case, comments and processing instructions are skipped."""
    batch = odd("whitespace")
    assert (batch.session, batch.call_bridge, batch.rejected) == (SESSION, BRIDGE, ())
    assert batch.records == (
        CallStart(
            type="callStart",
            time=NINE_O_CLOCK,
            record_index=1,
            correlator_index=0,
            call=CALL,
            name="Team standup",
            cospace="97015761-60d6-4229-b9d8-9f99607b2556",
        ),
    )


def test_default_namespace_is_ignored_and_a_prefix_is_part_of_the_name() -> None:
    """A default namespace changes nothing; a prefixed element is an unknown one."""
    (record,) = odd("namespaces").records
    assert isinstance(record, CallStart)
    assert (record.name, record.extra) == ("Team standup", {"v:layout": "grid"})


def test_cdata_and_character_references_are_text() -> None:
    """CDATA sections and references are read as the text that they stand for."""
    (record,) = odd("cdata").records
    assert isinstance(record, CallStart)
    assert (record.name, record.owner_name, record.cdr_tag) == ("R&D <weekly>", "Alice & Bob", "<emp-1>")


def test_what_is_no_record_is_rejected_alone() -> None:
    """Records without a type and elements that are no record are rejected; the good record is read."""
    batch = odd("strays")
    assert len(batch.records) == 1
    no_type = "The record has no type."
    stray = "An element beside the records is not a <record>."
    assert [rejected.reason for rejected in batch.rejected] == [no_type, no_type, no_type, stray]
    assert [rejected.content for rejected in batch.rejected[:2]] == ["null", '"text"']
    assert batch.rejected[3].content == '{"summary":"1 record"}'


def test_many_records_keep_their_order() -> None:
    """All records of a long document are read, in order."""
    batch = odd("many-records")
    assert [record.correlator_index for record in batch.records] == list(range(60))


def test_document_without_records_is_an_empty_batch() -> None:
    """A session without records is a CDR document that brings nothing."""
    assert odd("no-records") == Batch(session=SESSION)


def test_link_between_bridges_says_so() -> None:
    """A leg that links two bridges is read with its subType."""
    (record,) = odd("bridge-link").records
    assert isinstance(record, CallLegStart)
    assert record.sub_type == "distributionLink"


def test_text_is_cut() -> None:
    """Text of a field is at most MAX_TEXT characters, also where lower case is longer than what was sent."""
    record = one_record(f'<call id="{"İ" * 5000}"><name>{"x" * 5000}</name></call>')
    assert isinstance(record, CallStart)
    assert record.name == "x" * MAX_TEXT
    assert len(record.call) == MAX_TEXT
    assert record.extra == {}


def test_extra_is_bounded_by_dropping_the_largest() -> None:
    """Beyond the limit the largest unknown elements go first, and a mark says that something was cut."""
    small = "".join(f"<s{number}>{number}</s{number}>" for number in range(20))
    record = one_record(f'<call id="1"><big>{"x" * MAX_EXTRA}</big>{small}<medium>{"é" * 2000}</medium></call>')
    assert record.extra["…"] == "cut"
    assert "big" not in record.extra
    assert record.extra["medium"] == "é" * 2000
    assert record.extra["s19"] == "19"
    assert len(msgspec.json.encode(record.extra)) <= MAX_EXTRA
    many = "".join(f"<s{number}>{number}</s{number}>" for number in range(1000, 3000))
    record = one_record(f'<call id="1">{many}</call>')
    assert MAX_EXTRA - len('"s1000":"1000",') < len(msgspec.json.encode(record.extra)) <= MAX_EXTRA
    whole = one_record(f'<call id="1"><big>{"x" * (MAX_EXTRA - 10)}</big></call>')
    assert len(msgspec.json.encode(whole.extra)) == MAX_EXTRA
    assert list(whole.extra) == ["big"]


def test_rejected_content_is_bounded() -> None:
    """What is kept of a rejected record has at most MAX_REJECTED characters."""
    (rejected,) = parse(f'<records session="s"><record a="{"é" * 9000}"/></records>'.encode()).rejected
    assert len(rejected.content) == MAX_REJECTED


def test_alarms_are_bounded() -> None:
    """Of very many alarms the first are kept as fields and the others are left over."""
    alarm = "<alarm type='packetLoss'/>"
    record = one_record(f"<callLeg id='1'>{alarm * 40}</callLeg>", kind="callLegEnd")
    assert isinstance(record, CallLegEnd)
    assert len(record.alarms) == MAX_REPEATS
    assert record.extra == {"alarm": [{"@type": "packetLoss"}] * (40 - MAX_REPEATS)}
