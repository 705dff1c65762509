"""Text from the wire cannot act where people read it."""

import json
import unicodedata

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from cdr_service.domain.text import UNSAFE, harmless_json, printable

DANGEROUS = "\x00\x07\x08\n\r\t\x1b\x7f\x85\x9b\u061c\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069\ud800"


def test_ordinary_text_is_left_as_it_is() -> None:
    """Names in any script, accents and joined emoji included, are shown as they came."""
    for name in ("Alice", "Zoë Ångström", "山田", "अनुष्का", "👩‍💻", "a\\x1bb", ""):
        assert printable(name) == name


def test_each_dangerous_character_becomes_its_escape() -> None:
    """A control, a direction mark, a line separator or a lone surrogate is shown by its number."""
    assert printable("\x1b[2J\u202eevil\u2028") == "\\x1b[2J\\u202eevil\\u2028"
    for character in DANGEROUS:
        shown = printable(f"a{character}b")
        assert character not in shown
        assert shown.isascii()


def test_long_text_ends_in_an_ellipsis() -> None:
    """What is cut is seen to be cut, and text of just the limit is not cut."""
    assert printable("abcde", limit=5) == "abcde"
    assert printable("abcdef", limit=5) == "abcd…"
    assert printable("\x1b" * 5, limit=5) == "\\x1b…"


@given(st.text(st.characters(exclude_categories=())), st.integers(1, 50))
def test_any_text_is_bounded_and_can_be_written(text: str, limit: int) -> None:
    """Whatever comes, the answer keeps its bound, has no control in it, and can be encoded."""
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert not any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in shown)
    assert not any(unicodedata.bidirectional(character) in _DIRECTION_CONTROLS for character in shown)
    shown.encode()


_DIRECTION_CONTROLS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_json_stays_what_it_is_and_can_do_nothing(text: str) -> None:
    """Programs read the same value, and what is shown as it came does nothing to a terminal."""
    shown = harmless_json(msgspec.json.encode({text: [text]}))
    assert json.loads(shown) == {text: [text]}
    assert UNSAFE.search(shown.decode()) is None
