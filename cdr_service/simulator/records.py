"""Call detail records as a Call Bridge writes them: values first, XML last.

A record here is only what happened. Which session it belongs to, when it was generated and which numbers it carries is
added by the bridge that sends it, so that tests can shuffle, split and repeat records and still write true documents.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import TypeAlias

Value: TypeAlias = "str | int | Mapping[str, Value] | Sequence[Value] | None"
"""What an element holds. None: it is there and empty (`<ivr/>`); a mapping: elements, or attributes where a key begins
with `@`; a sequence: the element comes several times. What shall be left out is not in the mapping at all."""

ELEMENTS = {
    "callStart": "call",
    "callEnd": "call",
    "callLegStart": "callLeg",
    "callLegUpdate": "callLeg",
    "callLegEnd": "callLeg",
    "recordingStart": "recording",
    "recordingEnd": "recording",
    "streamingStart": "streaming",
    "streamingEnd": "streaming",
}
"""The nine types of records, and the element that each holds."""

# XML 1.0 has no way to write these, not even escaped.
_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Record:
    """What happened: a record without its numbers and its time."""

    type: str
    """One of ELEMENTS."""
    id: str
    """GUID of the call, call leg, recording or stream."""
    fields: Mapping[str, Value]
    """The elements inside, named as on the wire, in the order of writing."""


@dataclass(frozen=True, slots=True)
class NumberedRecord:
    """A record as it goes to one receiver."""

    record: Record
    time: datetime
    """When it was generated; written in whole seconds, UTC."""
    correlator_index: int
    """Per session, from 0, the same at every receiver."""
    record_index: int = 0
    """Per receiver, from 1; 0 as long as it was not put into a document."""
    missing: int = 0
    """So many records just before this one were dropped for this receiver."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a Call Bridge is during one run."""

    name: str
    """What people call it; on the wire only in the receiver URL of a bridge that does not name itself."""
    session: str
    """GUID of the run."""
    call_bridge: str | None = None
    """GUID that stays over restarts; None where the bridge is not clustered."""


@dataclass(frozen=True, slots=True)
class Document:
    """What one POST brings."""

    bridge: Identity
    body: bytes
    records: tuple[NumberedRecord, ...]


def document(bridge: Identity, records: Sequence[NumberedRecord]) -> Document:
    """Write records of one run of a bridge as one document."""
    attributes = {"session": bridge.session}
    if bridge.call_bridge is not None:
        attributes["callBridge"] = bridge.call_bridge
    inner = "\n".join(_record(numbered) for numbered in records)
    text = f'<?xml version="1.0"?>\n<records{_attributes(attributes)}>{inner}</records>\n'
    return Document(bridge, text.encode(), tuple(records))


def _record(numbered: NumberedRecord) -> str:
    record = numbered.record
    attributes = {
        "type": record.type,
        "time": numbered.time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "recordIndex": str(numbered.record_index),
        "correlatorIndex": str(numbered.correlator_index),
    }
    if numbered.missing:
        attributes["numPreceedingRecordsMissing"] = str(numbered.missing)
    content = element(ELEMENTS[record.type], {"@id": record.id, **record.fields})
    return f"<record{_attributes(attributes)}>\n{content}</record>"


def element(name: str, value: Value) -> str:
    """Write a value as an element of this name, or as several where it is a sequence."""
    if isinstance(value, Mapping):
        attributes = {key[1:]: str(inner) for key, inner in value.items() if key.startswith("@")}
        content = "".join(element(key, inner) for key, inner in value.items() if not key.startswith("@"))
        start = f"<{name}{_attributes(attributes)}"
        return f"{start}>{content}</{name}>" if content else f"{start}/>"
    if value is None or value == "":
        return f"<{name}/>"
    if isinstance(value, bool):
        return f"<{name}>{'true' if value else 'false'}</{name}>"
    if isinstance(value, str | int):
        return f"<{name}>{_text(str(value))}</{name}>"
    return "".join(element(name, inner) for inner in value)


def _attributes(attributes: Mapping[str, str]) -> str:
    return "".join(f' {name}="{_text(value)}"' for name, value in attributes.items())


def _text(value: str) -> str:
    return escape(_UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", value))
