"""What a batch will need, as far as it can be told beforehand, so that it is loaded in a few steps.

What is not foreseen here is asked for when it is needed (`workspace.NeedsLoad`).
"""

from collections.abc import Mapping
from typing import Any

from cdr_service.domain.calls import Call
from cdr_service.domain.legs import Leg
from cdr_service.domain.records import (
    CallEnd,
    CallLegEnd,
    CallLegStart,
    CallLegUpdate,
    CallStart,
    Record,
    RecordingEnd,
    RecordingStart,
    StreamingEnd,
    StreamingStart,
)
from cdr_service.domain.workspace import Key


def named(record: Record) -> set[Key]:  # noqa: PLR0911 - one a record type
    """Return the keys of what a record names."""
    match record:
        case CallStart(call=call, call_correlator=correlator):
            return {("call", call), ("meeting", correlator or call)}
        case CallEnd(call=call):
            return {("call", call)}
        case CallLegStart(leg=leg, call=named_call, moved_from=moved_from):
            return {("leg", leg), *_if_named("call", named_call), *_if_named("leg", moved_from)}
        case CallLegUpdate(leg=leg, call=named_call):
            return {("leg", leg), *_if_named("call", named_call)}
        case CallLegEnd(leg=leg):
            return {("leg", leg)}
        case RecordingStart(recording=id_, call=named_call) | StreamingStart(streaming=id_, call=named_call):
            return {("recording", id_), *_if_named("call", named_call)}
        case RecordingEnd(recording=id_) | StreamingEnd(streaming=id_):
            return {("recording", id_)}
        case _:
            return set()


def behind(things: Mapping[Key, Any], kind: str) -> set[Key]:
    """Return the keys of what loaded legs (or calls) belong to, except what is loaded already."""
    keys: set[Key] = set()
    for key, thing in things.items():
        if key[0] != kind:
            continue
        if isinstance(thing, Leg):
            keys |= {("call", call) for call in thing.calls}
        elif isinstance(thing, Call):
            keys.add(("meeting", thing.meeting))
        elif kind == "call":
            keys.add(("meeting", key[1]))  # a call that nobody knows is at first a meeting of its own
    return keys - things.keys()


def _if_named(kind: str, id_: str | None) -> set[Key]:
    return {(kind, id_)} if id_ else set()
