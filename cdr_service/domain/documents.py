"""Bytes in, a `Batch` out: the envelope of a CDR document, and what keeps a hostile body out.

A body that is no CDR document raises `NotACdrDocument`. In a CDR document each record stands for itself: one that
lacks what it needs is handed back as a `RejectedRecord` and the others are read. Unknown record types, elements and
attributes are kept. The size of the body is the caller's to bound.
"""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from xml.parsers import expat

import msgspec
import xmltodict

from cdr_service.domain.elements import MAX_NUMBER, read
from cdr_service.domain.records import Batch, Record, RejectedRecord, UnknownRecord
from cdr_service.domain.tables import DOCUMENT, ENVELOPE, KINDS

MAX_DEPTH = 24
"""Most levels of elements in each other; Cisco's documents have six."""

MAX_REJECTED = 4096
"""Most characters kept of a rejected record."""

MAX_EXTRA = 8192
"""Most bytes, as JSON, kept of what we do not know in one record."""

ENCODINGS = frozenset({"utf-8", "utf-16", "utf-16be", "utf-16le", "iso-8859-1", "us-ascii"})
"""What expat decodes itself. For any other name Python would look for a codec to import, named by the sender."""

_json = msgspec.json.encode


class NotACdrDocument(Exception):  # noqa: N818 - it says what the body is, not that we failed
    """A body that is no CDR document."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        """One sentence for the dead-letter stream and the log."""


def parse(body: bytes, *, max_depth: int = MAX_DEPTH) -> Batch:
    """Read one CDR document. Raises `NotACdrDocument`, and nothing else."""
    if not body.strip():
        raise NotACdrDocument("The body is empty.")
    name, content = next(iter(_tree(body, max_depth).items()))
    if name != "records":
        raise NotACdrDocument(f"The root element is <{name[:64]}>, not <records>.")
    attributes, rest = read(DOCUMENT, content if isinstance(content, dict) else {})
    if "session" not in attributes:
        raise NotACdrDocument("The <records> element has no session.")
    found = rest.pop("record", [])
    results = [_record(record) for record in (found if isinstance(found, list) else [found])]
    strays = [{name: value} for name, value in rest.items() if not name.startswith(("@", "#"))]
    results += [_rejected("An element beside the records is not a <record>.", stray) for stray in strays]
    return Batch(
        **attributes,
        records=tuple(result for result in results if isinstance(result, Record)),
        rejected=tuple(result for result in results if isinstance(result, RejectedRecord)),
    )


def _tree(body: bytes, max_depth: int) -> dict[str, Any]:
    """Parse XML in one pass, refusing what no CDR document has before it costs anything."""
    parser: Any = expat.ParserCreate()
    parser.XmlDeclHandler = _check_encoding
    parser.StartDoctypeDeclHandler = _refuse_document_type

    def guarded() -> Iterator[bytes]:
        # xmltodict offers no hook for depth. It asks for the body when its handlers are set, so wrap them here.
        enter, leave, depth = parser.StartElementHandler, parser.EndElementHandler, 0

        def start(name: str, attributes: list[str]) -> None:
            nonlocal depth
            depth += 1
            if depth > max_depth:
                raise NotACdrDocument(f"Elements are nested more than {max_depth} levels deep.")
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
        raise NotACdrDocument(f"The body is not well-formed XML: {error}.") from error
    return tree


def _check_encoding(_version: str, encoding: str | None, _standalone: int) -> None:
    if encoding is not None and encoding.lower() not in ENCODINGS:
        raise NotACdrDocument(f"The encoding {encoding[:64]!r} is not supported; UTF-8 is what Call Bridges send.")


def _refuse_document_type(*_: object) -> None:
    raise NotACdrDocument("The document has a DOCTYPE; document types and entities are refused.")


def _record(record: Any) -> Record | RejectedRecord:
    """Read one `<record>`."""
    envelope, extra = read(ENVELOPE, record if isinstance(record, dict) else {})
    if problem := _problem(envelope, extra):
        return _rejected(problem, record, envelope)
    kind = KINDS.get(envelope["type"])
    if kind is None:
        return UnknownRecord(**envelope, extra=_bounded(extra))
    fields, rest = kind.convert(extra.pop(kind.element, None))
    if not fields or kind.key not in fields:
        return _rejected(f"A {envelope['type']} record needs a <{kind.element}> element with an id.", record, envelope)
    for name, value in (rest if isinstance(rest, dict) else {kind.element: rest}).items():
        extra[name] = [extra[name], value] if name in extra else value
    return kind.record(**envelope, **fields, extra=_bounded(extra))


def _problem(envelope: dict[str, Any], rest: dict[str, Any]) -> str | None:
    """Say what a record of any type lacks, in one sentence out of a small set: metrics may label by it."""
    if "type" not in envelope:
        return "The record has no type."
    if "time" not in envelope:
        return "The record's time is missing or is not RFC 3339."
    if any(name.lower() in ("@recordindex", "@correlatorindex") for name in rest):
        return f"An index of the record is not a whole number from 0 to {MAX_NUMBER}."
    if "record_index" not in envelope and "correlator_index" not in envelope:
        return "The record has neither a correlatorIndex nor a recordIndex."
    return None


def _rejected(reason: str, record: Any, envelope: dict[str, Any] | None = None) -> RejectedRecord:
    known = {name: value for name, value in (envelope or {}).items() if name in RejectedRecord.__struct_fields__}
    return RejectedRecord(reason=reason, content=_json(record).decode()[:MAX_REJECTED], **known)


def _bounded(extra: dict[str, Any]) -> dict[str, Any]:
    """Drop the largest of what we do not know until it is small enough to keep, and leave a mark that it was cut."""
    if not extra or len(_json(extra)) <= MAX_EXTRA:
        return extra
    kept = {"…": "cut"}
    room = MAX_EXTRA - len(_json(kept))
    # Smallest first, so that what no longer fits is the largest; a pair costs its JSON and a comma instead of braces.
    for size, name in sorted((len(_json({name: value})) - 1, name) for name, value in extra.items()):
        room -= size
        if room < 0:
            break
        kept[name] = extra[name]
    return kept
