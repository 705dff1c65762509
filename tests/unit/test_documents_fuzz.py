"""Whatever arrives, a CDR document is read or refused: arbitrary bytes, damaged samples, arbitrary trees."""

from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cdr_service.domain.documents import MAX_EXTRA, MAX_REJECTED, NotACdrDocument, parse
from cdr_service.domain.elements import MAX_TEXT
from cdr_service.domain.records import Batch
from cdr_service.domain.tables import KINDS

SAMPLES = Path(__file__).parents[1] / "samples"
BODIES = [path.read_bytes() for path in sorted(SAMPLES.rglob("*.xml"))]


def parse_or_refuse(body: bytes) -> Batch | None:
    """Parse, taking NotACdrDocument as an answer."""
    try:
        return parse(body)
    except NotACdrDocument:
        return None


@given(st.binary(max_size=200))
@example("\ud800".encode("utf-16-le", "surrogatepass"))
@example(b'<?xml version="1.0" encoding="zlib"?><records session="s"/>')
@example("\ufeff<records session='\ud800'/>".encode("utf-16-le", "surrogatepass"))
@settings(deadline=None)
def test_arbitrary_bytes_are_read_or_refused(body: bytes) -> None:
    """Whatever the bytes, the answer is a batch or NotACdrDocument."""
    parse_or_refuse(body)


@given(st.sampled_from(BODIES), st.integers(0, 2000), st.integers(0, 40), st.binary(max_size=20))
@settings(deadline=None, max_examples=300)
def test_damaged_samples_are_read_or_refused(body: bytes, place: int, length: int, patch: bytes) -> None:
    """A sample with bytes cut out and put in is read or refused, and what is read can be stored."""
    batch = parse_or_refuse(body[:place] + patch + body[place + length :])
    msgspec.json.encode(batch)


WIRE_NAMES = sorted(
    {"record", "call", "callLeg", "alarm", "rxVideo", "mediaUsagePercentages", "packetStatistics", "packetLossBursts"}
    | {"durationSeconds", "ivr", "name", "groupID", "groupId", "codec", "duration", "unknown", "recording", "streaming"}
)
WIRE_VALUES = ["", "true", "1", "2024-03-12T09:00:00Z", "-1", "9" * 5000, "1.5", *KINDS]
values = st.sampled_from(WIRE_VALUES) | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"]))
attributes = st.dictionaries(
    st.sampled_from(["id", "type", "time", "recordIndex", "correlatorIndex", "role", "durationPercentage"]), values
)


def element(name: str, attributes: dict[str, str], children: list[str]) -> str:
    """Render an element."""
    written = "".join(f" {key}={quoteattr(value)}" for key, value in attributes.items())
    return f"<{name}{written}>{''.join(children)}</{name}>"


names = st.sampled_from(WIRE_NAMES)
trees = st.recursive(
    values.map(escape) | st.builds(element, names, attributes, st.just([])),
    lambda inner: st.builds(element, names, attributes, st.lists(inner, max_size=6)),
    max_leaves=25,
)
good_envelope = st.sampled_from(list(KINDS)).map(
    lambda kind: {"type": kind, "time": "2024-03-12T09:00:00Z", "correlatorIndex": "1"}
)
records = st.builds(element, st.just("record"), attributes | good_envelope, st.lists(trees, max_size=6))


def texts(value: Any) -> list[str]:
    """All texts in the fields of a record, without what we do not know."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, tuple):
        return [found for inner in value for found in texts(inner)]
    if isinstance(value, msgspec.Struct):
        return [found for name in value.__struct_fields__ if name != "extra" for found in texts(getattr(value, name))]
    return []


@given(st.lists(records | trees, max_size=6))
@settings(deadline=None, max_examples=300)
def test_arbitrary_trees_never_raise_and_stay_bounded(children: list[str]) -> None:
    """Under <records session> any XML is a batch; each record is read or rejected, and everything is bounded."""
    batch = parse(f'<records session="s">{"".join(children)}</records>'.encode(), max_depth=100)
    expected = sum(child.startswith(("<record>", "<record ")) for child in children)
    strays = [rejected for rejected in batch.rejected if "beside the records" in rejected.reason]
    assert len(batch.records) + len(batch.rejected) - len(strays) == expected
    for record in batch.records:
        assert max(map(len, texts(record))) <= MAX_TEXT
        assert len(msgspec.json.encode(record.extra)) <= MAX_EXTRA
    assert all(len(rejected.content) <= MAX_REJECTED for rejected in batch.rejected)
