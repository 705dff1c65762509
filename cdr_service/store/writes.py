"""What a commit writes: the changed things, and the indexes and counts that follow from their change."""

import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from cdr_service.domain import usage
from cdr_service.domain.calls import Call, Meeting
from cdr_service.domain.commit import Commit, DeadLetter
from cdr_service.domain.history import HOUR, span_of
from cdr_service.domain.steps import Step
from cdr_service.domain.text import harmless_json
from cdr_service.domain.timeline import Standing, Transition
from cdr_service.domain.upkeep import is_loose
from cdr_service.domain.workspace import LEGS_OF, OPEN_IN, Key
from cdr_service.store.codec import PACKED_DOCUMENTS, encode, pack_documents
from cdr_service.store.keys import Keys

Command = tuple[str, str, *tuple[Any, ...]]
"""A command for the commit script: its name, its key, its arguments."""

DOCUMENT_BYTES: Final = "document_bytes"
"""The count of bytes that the kept documents take, compressed."""

_json: Final = msgspec.json.Encoder()


class Bounds(msgspec.Struct, frozen=True):
    """How much of what is kept for a time is kept at most."""

    events: int = 1_000_000
    dead_letters: int = 10_000


def commands(
    keys: Keys, commit: Commit, version: bytes, policy: str, bounds: Bounds, process: str
) -> Iterator[Command]:
    """Yield everything that a commit writes. `policy` is the one whose switches are listed, `process` who prints it."""
    workspace = commit.workspace
    changes = [(key, workspace.before(key), after) for key, after in workspace.changed.items()]
    changes = [change for change in changes if change[1] != change[2]]
    for key, before, after in changes:
        name = keys.thing(key)
        yield ("DEL", name) if after is None else ("SET", name, encode(key, after, version))
        yield from _indexes(keys, key, before, after, commit.received, policy)
    for call, legs in workspace.legs_added.items():
        yield ("SADD", keys.thing((LEGS_OF, call)), *sorted(legs))
    for call in sorted(workspace.heard):
        yield ("ZADD", keys.heard, "XX", commit.received, call)
    for count, change in usage.differences((before, after) for _, before, after in changes).items():
        yield ("HINCRBY", keys.usage, count, change)
    yield from _history(keys, commit.history)
    yield from _appended(keys, commit, bounds, process)


def _appended(keys: Keys, commit: Commit, bounds: Bounds, process: str) -> Iterator[Command]:
    """Yield what is added to the streams."""
    for told in commit.announcements(keys.deployment):
        event = harmless_json(_json.encode(told))
        yield ("XADD", keys.events, "MAXLEN", "~", bounds.events, "*", "e", event, "p", process)
    for letter in commit.dead_letters:
        fields = _dead_letter(letter, commit.received)
        # Exactly: they may be large, and are few enough that it costs nothing.
        yield ("XADD", keys.dead_letters, "MAXLEN", "=", bounds.dead_letters, "*", *fields)
    if commit.documents:
        packed = pack_documents(commit.documents)
        yield ("XADD", keys.documents, "*", PACKED_DOCUMENTS, packed, "at", commit.received)
        yield ("HINCRBY", keys.counts, DOCUMENT_BYTES, len(packed))


def _history(keys: Keys, changes: Mapping[Step, int]) -> Iterator[Command]:
    """Yield the changes of the use over time."""
    for (time, series), change in changes.items():
        hour = time // HOUR
        yield ("HINCRBY", keys.fresh_steps(hour), f"{time - hour * HOUR} {series}", change)
    for hour in sorted({step.time // HOUR for step in changes}):
        yield ("HINCRBY", keys.history_fresh, hour, 1)


def _span(keys: Keys, meeting: str, before: Meeting | None, after: Meeting | None) -> Iterator[Command]:
    """Yield the changes of the lists of meetings that took licenses."""
    was, now = span_of(before), span_of(after)
    if was is not None and (now is None or now.length != was.length):
        yield ("ZREM", keys.spans(was.length), meeting)
    if now is not None and now != was:
        yield ("ZADD", keys.spans(now.length), now.since, meeting)


def _indexes(keys: Keys, key: Key, before: Any, after: Any, received: int, policy: str) -> Iterator[Command]:
    """Yield the changes of the lists that a thing stands in."""
    match key[0]:
        case "call":
            yield from _call_indexes(keys, before, after, received)
        case "meeting":
            yield from _switches(keys, before, after, policy)
            yield from _span(keys, key[1], before, after)
        case "leg" | "recording":
            yield from _loose(keys, key, before, after, received)
        case "session":
            yield ("ZREM", keys.sessions, key[1]) if after is None else ("ZADD", keys.sessions, received, key[1])
            was, now = ((session and session.ending) is not None for session in (before, after))
            if was != now:
                yield ("SADD" if now else "SREM", keys.ending, key[1])
        case "bridge" if after is None:
            yield ("SREM", keys.bridges, key[1])
            yield ("HDEL", keys.duplicates, key[1])
        case "bridge":
            yield ("SADD", keys.bridges, key[1])
        case _:
            pass


def _loose(keys: Keys, key: Key, before: Any, after: Any, received: int) -> Iterator[Command]:
    """Yield the changes of the list of what is on no call."""
    was, now = map(is_loose, (before, after))
    if now and not was:
        yield ("ZADD", keys.loose, received, ":".join(key))
    if was and not now:
        yield ("ZREM", keys.loose, ":".join(key))


def _removed(keys: Keys, call: Call) -> Iterator[Command]:
    """Yield the changes of the lists for a call that retention removed."""
    for name in (keys.live, keys.heard, keys.ended, keys.expiring):
        yield ("ZREM", name, call.id)
    yield ("SREM", keys.thing((OPEN_IN, call.session)), call.id)
    yield ("DEL", keys.thing((LEGS_OF, call.id)))


def _call_indexes(keys: Keys, before: Call | None, after: Call | None, received: int) -> Iterator[Command]:
    """Yield the changes of the lists that the call stands in."""
    if after is None:
        if before is not None:
            yield from _removed(keys, before)
        return
    if after.end is None:
        yield ("ZADD", keys.live, after.began, after.id)
        yield ("ZADD", keys.heard, received, after.id)
        if before is not None and before.end is not None:
            yield ("ZREM", keys.ended, after.id)
            yield ("ZREM", keys.expiring, after.id)
    else:
        yield ("ZADD", keys.ended, after.end.time, after.id)
        if before is None or before.end is None:
            yield ("ZREM", keys.live, after.id)
            yield ("ZREM", keys.heard, after.id)
            yield ("ZADD", keys.expiring, received, after.id)
    was = keys.thing((OPEN_IN, before.session)) if before is not None and before.ended is None else None
    now = keys.thing((OPEN_IN, after.session)) if after.ended is None else None
    if was is not None and was != now:
        yield ("SREM", was, after.id)
    if now is not None and was != now:
        yield ("SADD", now, after.id)


def switch_member(meeting: str, transition: Transition) -> str:
    """Return the entry of a transition in the list of switches."""
    return f"{meeting}|{transition.at.time}|{transition.at.session}|{transition.at.number}"


def _switches(keys: Keys, before: Meeting | None, after: Meeting | None, policy: str) -> Iterator[Command]:
    """Yield the changes of the list of switches."""
    was, now = _listed(before, policy), _listed(after, policy)
    for member in sorted(was.keys() - now.keys()):
        yield ("ZREM", keys.switches, member)
    for member in sorted(now.keys() - was.keys()):
        yield ("ZADD", keys.switches, now[member], member)


def _listed(meeting: Meeting | None, policy: str) -> dict[str, int]:
    if meeting is None:
        return {}
    transitions = meeting.timeline.standings.get(policy, Standing()).transitions
    # What was decided while another policy was set is listed once it is announced (`domain.restating`).
    return {switch_member(meeting.id, t): t.at.time for t in transitions if t.before and t.after and t.event_id}


def _dead_letter(letter: DeadLetter, received: int) -> tuple[Any, ...]:
    return (
        *("reason", letter.reason, "kind", letter.kind, "content", zlib.compress(letter.content, 1)),
        *("session", letter.session or "", "bridge", letter.bridge, "received", received),
        *("body", zlib.compress(letter.body, 1) if letter.body and letter.body is not letter.content else b""),
        *("document", letter.document),
    )


def checked(commit: Commit) -> Iterator[Key]:
    """Yield the keys whose versions a commit checks: what it changes and what its outcome rests on."""
    yield from {**dict.fromkeys(commit.workspace.changed), **dict.fromkeys(commit.workspace.read)}
