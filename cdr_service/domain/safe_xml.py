"""Bytes in, a tree out: XML from outside, read without trusting it. CDR documents and the REST API's answers alike.

Document types and entities are refused, so nothing is expanded and nothing fetched; so are too many levels of elements
and encodings that expat does not decode itself. The size of the body is the caller's to bound.
"""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from xml.parsers import expat

import xmltodict

MAX_DEPTH = 24
"""Most levels of elements in each other; Cisco's documents have six."""

ENCODINGS = frozenset({"utf-8", "utf-16", "utf-16be", "utf-16le", "iso-8859-1", "us-ascii"})
"""What expat decodes itself. For any other name Python would look for a codec to import, named by the sender."""


class UnsafeXml(Exception):  # noqa: N818 - it says what the body is, not that we failed
    """A body that is no well-formed XML, or has in it what no document of Cisco's has."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        """One sentence, which quotes of the body no more than a few characters."""


def parse_xml(body: bytes, *, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """Read one document: a dict of the root's name and content, as `elements` describes it. Raises `UnsafeXml` only."""
    parser = _guarded_parser(body)

    def guarded() -> Iterator[bytes]:
        # xmltodict offers no hook for depth. It asks for the body when its handlers are set, so wrap them here.
        enter, leave, depth = parser.StartElementHandler, parser.EndElementHandler, 0

        def start(name: str, attributes: list[str]) -> None:
            nonlocal depth
            depth += 1
            if depth > max_depth:
                raise _too_deep(max_depth)
            enter(name, attributes)

        def end(name: str) -> None:
            nonlocal depth
            depth -= 1
            leave(name)

        parser.StartElementHandler, parser.EndElementHandler = start, end
        yield body

    try:
        tree: dict[str, Any] = xmltodict.parse(guarded(), expat=SimpleNamespace(ParserCreate=lambda *_: parser))
    except (expat.ExpatError, ValueError) as error:
        raise _ill_formed(error) from error
    return tree


def read_xml(body: bytes, *, max_depth: int = MAX_DEPTH) -> dict[str, Any]:  # noqa: C901 - three handlers, one state
    """Do what `parse_xml` does at less than half its cost, for the intake; a test holds both to the same answers."""
    parser = _guarded_parser(body)
    parser.buffer_text = True
    outer: list[tuple[dict[str, Any] | None, list[str] | None]] = []
    content: dict[str, Any] | None = None
    texts: list[str] | None = None

    def start(_name: str, attributes: dict[str, str]) -> None:
        nonlocal content, texts
        outer.append((content, texts))
        if len(outer) > max_depth:
            raise _too_deep(max_depth)
        content = {f"@{name}": value for name, value in attributes.items()} if attributes else None
        texts = None

    def text(piece: str) -> None:
        nonlocal texts
        if texts is None:
            texts = [piece]
        else:
            texts.append(piece)

    def end(name: str) -> None:
        nonlocal content, texts
        value: Any = "".join(texts).strip() or None if texts else None
        if content is not None:
            if value:
                content["#text"] = value
            value = content
        content, texts = outer.pop()
        if content is None:
            content = {name: value}
        elif name not in content:
            content[name] = value
        elif isinstance(content[name], list):
            content[name].append(value)
        else:
            content[name] = [content[name], value]

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError) as error:
        raise _ill_formed(error) from error
    return content or {}


def _guarded_parser(body: bytes) -> Any:
    """Return a parser that refuses in one pass, before it costs anything, what no document of Cisco's has."""
    if not body.strip():
        raise UnsafeXml("The body is empty.")
    parser: Any = expat.ParserCreate()
    parser.XmlDeclHandler = _check_encoding
    parser.StartDoctypeDeclHandler = _refuse_document_type
    return parser


def _too_deep(max_depth: int) -> UnsafeXml:
    return UnsafeXml(f"Elements are nested more than {max_depth} levels deep.")


def _ill_formed(error: Exception) -> UnsafeXml:
    return UnsafeXml(f"The body is not well-formed XML: {error}.")


def _check_encoding(_version: str, encoding: str | None, _standalone: int) -> None:
    if encoding is not None and encoding.lower() not in ENCODINGS:
        raise UnsafeXml(f"The encoding {encoding[:64]!r} is not supported; UTF-8 is what Call Bridges send.")


def _refuse_document_type(*_: object) -> None:
    raise UnsafeXml("The document has a DOCTYPE; document types and entities are refused.")
