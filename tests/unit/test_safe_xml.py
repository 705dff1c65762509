"""XML is read in two ways, by xmltodict and by a reader of our own that costs less, and both say the same."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cdr_service.domain.safe_xml import UnsafeXml, parse_xml, read_xml
from tests.unit.test_documents_fuzz import BODIES, attributes, element, names, records, trees

SAMPLES = Path(__file__).parents[1] / "samples"


def answer(read: Any, body: bytes) -> Any:
    """Return the tree, in the order of its elements, or the reason why there is none."""
    try:
        return repr(read(body))
    except UnsafeXml as refusal:
        return refusal


def same(body: bytes) -> bool:
    """Do both ways say the same? Of a refusal, what is refused; expat may name another place for it."""
    ours, reference = answer(read_xml, body), answer(parse_xml, body)
    if isinstance(reference, UnsafeXml):
        return isinstance(ours, UnsafeXml) and ours.reason.partition(":")[0] == reference.reason.partition(":")[0]
    return bool(ours == reference)


@pytest.mark.parametrize("path", sorted(SAMPLES.rglob("*.xml")), ids=lambda path: path.stem)
def test_both_say_the_same_of_every_sample(path: Path) -> None:
    """A sample, hostile ones among them, is the same tree or the same refusal either way."""
    assert same(path.read_bytes())


@given(st.binary(max_size=200))
@example(b"<a>1<b/> 2 <b>3</b><![CDATA[ 4 ]]><!-- 5 -->6</a>")
@example(b"<a> <b x='1'> t </b><b/><b/> </a>")
@example(b"<?xml version='1.0' encoding='utf-16'?><a/>")
@example(b"<a xmlns='u' xmlns:p='v'><p:b p:c='1'/></a>")
@example(b"<a>" * 24 + b"</a>" * 24)
@example(b"<a>" * 25 + b"</a>" * 25)
@settings(deadline=None)
def test_both_say_the_same_of_arbitrary_bytes(body: bytes) -> None:
    """Whatever the bytes, both ways agree."""
    assert same(body)


@given(st.sampled_from(BODIES), st.integers(0, 2000), st.integers(0, 40), st.binary(max_size=20))
@settings(deadline=None, max_examples=300)
def test_both_say_the_same_of_damaged_samples(body: bytes, place: int, length: int, patch: bytes) -> None:
    """A sample with bytes cut out and put in is the same tree or the same refusal either way."""
    assert same(body[:place] + patch + body[place + length :])


@given(st.builds(element, names, attributes, st.lists(records | trees, max_size=6)))
@settings(deadline=None, max_examples=300)
def test_both_say_the_same_of_arbitrary_trees(document: str) -> None:
    """Elements repeated, empty, mixed with text or with attributes are read alike."""
    assert same(document.encode())
