"""What readers of the event stream say: how far they have read, and what they want."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdr_service.domain.event_stream import EventFilter, Point, Told, decode_points, encode_points

NUMBERS = st.integers(0, 2**64 - 1)
POINTS = st.builds(
    Point, st.builds("{}-{}".format, NUMBERS, NUMBERS), st.none() | st.from_regex("[0-9a-f]{8}", fullmatch=True)
)


@given(st.dictionaries(st.from_regex("[a-z0-9_-]{1,10}", fullmatch=True), POINTS, min_size=1, max_size=5))
def test_points_survive_being_an_event_id(points: dict[str, Point]) -> None:
    """Whatever was read comes back from the id, which may stand in a header."""
    text = encode_points(points)
    assert decode_points(text) == points
    assert text.isascii()
    assert text.isprintable()


@given(st.text())
def test_other_text_is_no_event_id(text: str) -> None:
    """Whatever else is sent as an id is refused, and nothing else is raised."""
    try:
        found = decode_points(text)
    except ValueError:
        return
    assert encode_points(found) == text


@pytest.mark.parametrize("text", ["", "default", "default=", "default=1", "a=1-1,a=2-2", "a=1-1:xyz", "a=1-1\n", "=1"])
def test_half_an_event_id_is_refused(text: str) -> None:
    """An id that was cut, or that names a deployment twice, is refused rather than read as far as it goes."""
    with pytest.raises(ValueError, match="no event id"):
        decode_points(text)


SWITCH = Told("license.switched", calls=("c1", "c2"))
JOIN = Told("leg.joined", call="c1")


@pytest.mark.parametrize(
    ("types", "deployment", "call", "wanted"),
    [
        (None, None, None, "switch join"),
        ("license.*", None, None, "switch"),
        ("license.*,leg.joined", None, None, "switch join"),
        (" leg.joined , call.ended ", None, None, "join"),
        ("call.*", None, None, ""),
        ("*", None, None, "switch join"),
        (None, "default", None, "switch join"),
        (None, "other", None, ""),
        (None, None, "C2", "switch"),
        (None, None, "c1", "switch join"),
        ("leg.*", None, "c2", ""),
    ],
)
def test_filters(types: str | None, deployment: str | None, call: str | None, wanted: str) -> None:
    """An event is given where its type, its deployment and one of its calls are asked for."""
    asked = EventFilter.of(types, deployment, call)
    found = [name for name, told in (("switch", SWITCH), ("join", JOIN)) if asked.wants("default", told)]
    assert found == wanted.split()


@pytest.mark.parametrize(
    "types",
    [
        "",
        ",",
        "license.*,",
        "li*",
        "LICENSE.*",
        "license..switched",
        "license.*x",
        "license",
        "licence.*",
        "call.stopped",
    ],
)
def test_what_names_no_events_is_refused(types: str) -> None:
    """A list that cannot be meant is refused rather than taken for one that matches nothing."""
    with pytest.raises(ValueError, match=r"^No event is called .* there are bridges.unnamed, call.ended,"):
        EventFilter.of(types, None, None)
