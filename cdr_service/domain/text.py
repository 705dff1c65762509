"""Text from the wire, made harmless for the places where people read it.

A display name is chosen by whoever dials in. Written to a terminal as it came, it could move the cursor, change the
title, hide what stands before it or turn the reading direction; a line separator could forge a second log line.
"""

import re

UNSAFE = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # controls; U+009B alone starts an escape sequence in many terminals
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # reading direction
    "\u2028\u2029"  # line and paragraph separators, a new line to some readers
    "\ud800-\udfff"  # lone surrogates, which no encoding can write
    "]"
)
"""What can act where text is shown. Every match is one character of the basic plane."""


def printable(text: str, limit: int = 500) -> str:
    r"""Return `text` with whatever could act on a terminal shown as an escape such as `\x1b` or `\u202e`.

    The answer has at most `limit` (1 or more) characters; what was cut ends in an ellipsis. Escapes are for the eye:
    a backslash that was in the text stays one, so the original cannot be told from the answer.
    """
    shown = UNSAFE.sub(_escaped, text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def harmless_json(encoded: bytes) -> bytes:
    r"""Return JSON of one line with whatever could act on a terminal as an escape such as `\u202e`; its value stays."""
    if encoded.isascii() and b"\x7f" not in encoded:
        return encoded
    return UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", encoded.decode()).encode()


def misfit(problem: Exception) -> tuple[str, str]:
    """Return what msgspec's ValidationError tells: where a value does not fit, such as `steps[2].join`, and why.

    The place is empty where it is the whole.
    """
    why, _, place = str(problem).partition(" - at `")
    return place.rstrip("`").removeprefix("key in ").removeprefix("$").removeprefix("."), why


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"  # noqa: PLR2004 - the last one-byte code point
