"""Bytes in, a `Batch` out: the envelope of a CDR document. What keeps a hostile body out is in `safe_xml`.

A body that is no CDR document raises `NotACdrDocument`. In a CDR document each record stands for itself: one that
lacks what it needs is handed back as a `RejectedRecord` and the others are read. Unknown record types, elements and
attributes are kept. The size of the body is the caller's to bound.
"""

from typing import Any

import msgspec

from cdr_service.domain.elements import MAX_NUMBER, read
from cdr_service.domain.records import Batch, Record, RejectedRecord, UnknownRecord
from cdr_service.domain.safe_xml import MAX_DEPTH, UnsafeXml, read_xml
from cdr_service.domain.tables import DOCUMENT, ENVELOPE, KINDS

MAX_REJECTED = 4096
"""Most characters kept of a rejected record."""

MAX_EXTRA = 8192
"""Most bytes, as JSON, kept of what we do not know in one record."""

_json = msgspec.json.encode


class NotACdrDocument(Exception):  # noqa: N818 - it says what the body is, not that we failed
    """A body that is no CDR document."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        """One sentence for the dead-letter stream and the log."""


def parse(body: bytes, *, max_depth: int = MAX_DEPTH) -> Batch:
    """Read one CDR document. Raises `NotACdrDocument`, and nothing else."""
    try:
        tree = read_xml(body, max_depth=max_depth)
    except UnsafeXml as unsafe:
        raise NotACdrDocument(unsafe.reason) from unsafe
    name, content = next(iter(tree.items()))
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
        return "The record's time is missing, is not RFC 3339, or lies outside the years 1 to 9999 in UTC."
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
