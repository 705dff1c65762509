"""What a batch will need, as far as it can be told beforehand, so that it is loaded in a few steps.

What is not foreseen here is asked for when it is needed (`workspace.NeedsLoad`).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from cdr_service.domain.calls import Call, Meeting
from cdr_service.domain.legs import Leg, is_lync
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
from cdr_service.domain.workspace import LEGS_OF, Key


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


def begun(record: Record) -> set[Key]:
    """Return the keys of what begins with a record, so that it is most likely not known yet.

    A call that nobody knows is at first a meeting of its own.
    """
    match record:
        case CallStart(call=call, call_correlator=correlator):
            return {("call", call), ("meeting", call), ("meeting", correlator or call)}
        case CallLegStart(leg=leg, call=named_call):
            return {("leg", leg), *_if_named("meeting", named_call)}
        case RecordingStart(recording=id_) | StreamingStart(streaming=id_):
            return {("recording", id_)}
        case _:
            return set()


def folded_whole(records: Iterable[Record], things: Mapping[Key, Any]) -> set[Key]:
    """Return the indexes of the calls whose meetings the records cause to be folded as a whole, as far as is known.

    They are those of legs that share their presence with others; and those that end, where what the ends of their legs
    told of their media comes to count.
    """
    calls: set[str] = set()
    tied = {key[1] for key, thing in things.items() if isinstance(thing, Leg) and not thing.alone}
    named_on: dict[str, set[str]] = {}
    for record in records:
        match record:
            case CallEnd(call=call):
                calls.add(call)
            case CallLegStart(leg=leg, call=named_call) | CallLegUpdate(leg=leg, call=named_call):
                if isinstance(record, CallLegStart) and (record.moved_from or is_lync(record.sub_type)):
                    tied |= {leg, record.moved_from or leg}
                if named_call:
                    named_on.setdefault(leg, set()).add(named_call)
            case _:
                pass
    for leg in tied:
        known = things.get(("leg", leg))
        calls |= named_on.get(leg, set()) | set(known.calls if known else ())
    indexes: set[Key] = {(LEGS_OF, call) for call in calls}
    return indexes - things.keys()


def behind(things: Mapping[Key, Any], kind: str) -> set[Key]:
    """Return the keys of what loaded legs (or calls, meetings, indexes) lead to, except what is loaded already."""
    keys: set[Key] = set()
    for key, thing in things.items():
        if key[0] != kind:
            continue
        if kind == LEGS_OF:
            keys |= {("leg", leg) for leg in thing}
        elif isinstance(thing, Leg):
            keys |= {("call", call) for call in thing.calls}
        elif isinstance(thing, Call):
            keys.add(("meeting", thing.meeting))
            if (LEGS_OF, thing.id) in things:
                keys |= {("recording", recording) for recording in thing.recordings}
        elif isinstance(thing, Meeting) and any((LEGS_OF, call) in things for call in thing.calls):
            keys |= {(LEGS_OF, call) for call in thing.calls}
        elif kind == "call":
            keys.add(("meeting", key[1]))  # a call that nobody knows is at first a meeting of its own
    return keys - things.keys()


def _if_named(kind: str, id_: str | None) -> set[Key]:
    return {(kind, id_)} if id_ else set()
