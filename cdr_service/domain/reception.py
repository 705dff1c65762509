"""Receives the records of a document: each once, and what they tell of their session and its Call Bridge.

A Call Bridge that restarts begins a new session; what was open under the old one is over and gets no end record
(`docs/cdr.md`). So the calls of a session that was replaced end at the first record of the new one, marked as
estimated, and go on if later-dated records of the old session turn up after all. There may be thousands of them, so
one commit ends no more than `CALLS_AT_ONCE`, and the session remembers after which call to go on.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from msgspec.structs import replace

from cdr_service.domain.bookkeeping import Bookkeeper, Source
from cdr_service.domain.calls import Call
from cdr_service.domain.events import Event
from cdr_service.domain.recent import RECENT, Recent, digest_of
from cdr_service.domain.records import OrderKey, Record, RejectedRecord
from cdr_service.domain.sessions import (
    INTERLEAVED,
    SESSIONS_MAX,
    Bridge,
    Session,
    interleaved,
    numbered,
    replacements,
)
from cdr_service.domain.workspace import Workspace

CALLS_AT_ONCE: Final = 100
"""Calls of a replaced session that one commit ends."""


class Received(NamedTuple):
    """What became of the records of a document."""

    taken: tuple[Record, ...]
    duplicates: int
    rejected: tuple[RejectedRecord, ...]
    bridge: str = ""
    """Which Call Bridge sent them; empty where it does not name itself."""


class Reception:
    """Receives documents on a workspace. One per attempt, like the bookkeeper that it hands the records to."""

    def __init__(
        self,
        workspace: Workspace,
        keeper: Bookkeeper,
        event_ids: Iterator[str],
        now: int,
        calls_at_once: int = CALLS_AT_ONCE,
    ) -> None:
        """Receive at `now`, in milliseconds of our clock; end so many calls of a session that turns out replaced."""
        self._workspace = workspace
        self._keeper = keeper
        self._new_id = event_ids
        self._now = now
        self._calls_at_once = calls_at_once
        self._sessions: dict[str, Session | None] = {}

    def receive(
        self,
        source: Source,
        records: Iterable[Record],
        rejected: Iterable[RejectedRecord] = (),
        *,
        again: bool = False,
    ) -> Received:
        """Take in what was not seen before; with `again` also what was (dead letters that are tried once more)."""
        session = self._session(source)
        taken: list[Record] = []
        duplicates = 0
        for record in records:
            feed, number = numbered(record, source.feed)
            seen = session.has(feed, number)
            if seen and not again:
                duplicates += 1
                continue
            if not seen:
                session = session.with_record(feed, number, record.time, self._now, record.missing)
                session = self._noted(session, source, record)
            with self._workspace.asking_later():
                (self._keeper.take_again if seen else self._keeper.take)(source, record)
            taken.append(record)
        refused: list[RejectedRecord] = []
        for reject in rejected:
            if reject.correlator_index is not None:
                if session.has("", reject.correlator_index):
                    duplicates += 1
                    continue
                session = session.with_record("", reject.correlator_index, session.last, self._now)
            elif not again and not is_new(self._workspace, "record", source.session.encode(), reject.content.encode()):
                duplicates += 1
                continue
            refused.append(reject)
        if taken or refused:
            self._workspace.put(session, "session", session.id)
        return Received(tuple(taken), duplicates, tuple(refused), session.bridge)

    def finish(self) -> None:
        """Once all documents are received: see which sessions were replaced, and end or go on with their calls."""
        self._workspace.ask()
        for id_, before in self._sessions.items():
            now = self._workspace.get(Session, "session", id_)
            if now is None or now.first is None:
                continue
            known = before or Session(id_, now.bridge)
            set_back = now.ran_until < known.ran_until
            if now.first != known.first or now.bridge != known.bridge or set_back or _outlived(now):
                for bridge in dict.fromkeys((now.bridge, known.bridge)):
                    self._compare_sessions(bridge, now)
        for call in [thing for thing in self._workspace.changed.values() if isinstance(thing, Call)]:
            session = self._workspace.get(Session, "session", call.session)
            if session is not None:
                _bring_in_line(self._keeper, call, session)

    def _session(self, source: Source) -> Session:
        known = self._workspace.get(Session, "session", source.session)
        self._sessions.setdefault(source.session, known)
        session = known or Session(source.session)
        return session if session.bridge else replace(session, bridge=source.bridge)

    def _noted(self, session: Session, source: Source, record: Record) -> Session:
        """Return the session with what a record tells of it beside its number."""
        at = record.order(source.session)
        if record.missing:
            self._tell(
                "records.missing",
                source.call_bridge,
                at,
                missing=record.missing,
                reason="the Call Bridge dropped records before it could deliver them",
            )
        return replace(
            session,
            first=min(session.first, at) if session.first else at,
            last=max(session.last, record.time),
            records=session.records + 1,
        )

    def _compare_sessions(self, id_: str, session: Session) -> None:
        """See for all sessions of a bridge which was replaced by which; end or go on with their calls."""
        bridge = self._workspace.get(Bridge, "bridge", id_) or Bridge(id_)
        ids = dict.fromkeys((*bridge.sessions, session.id))
        self._workspace.need(("session", id_) for id_ in ids)
        found = [self._workspace.get(Session, "session", id_) for id_ in ids]
        sessions = {one.id: one for one in found if one is not None and one.bridge == bridge.id}
        replaced_by = replacements(bridge.id, sessions.values())
        now = replace(
            bridge,
            sessions=tuple(replaced_by)[-SESSIONS_MAX:],
            interleaved=interleaved(bridge.id, sessions.values()),
        )
        if now.interleaved and not bridge.interleaved:
            self._tell("bridges.unnamed", None, OrderKey(session.last, session.id, 0), reason=INTERLEAVED)
        if now != bridge:
            self._workspace.put(now if now.sessions else None, "bridge", bridge.id)
        for replaced, by in replaced_by.items():
            if by != sessions[replaced].replaced:
                self._replace(sessions[replaced], by)

    def _replace(self, session: Session, replaced: OrderKey | None) -> None:
        """Note by what the session was replaced, if at all, and end or go on with its calls."""
        self._workspace.put(replace(session, replaced=replaced, ending=""), "session", session.id)
        open_calls = self._workspace.open_calls(session.id)
        bring_in_line(self._keeper, self._workspace, session.id, self._calls_at_once)
        if replaced is not None:
            more = len(open_calls) - self._calls_at_once
            self._tell(
                "session.replaced",
                session.bridge or None,
                replaced,
                replaced_session=session.id,
                calls=open_calls[: self._calls_at_once],
                **({"more_calls": more} if more > 0 else {}),
                reason="a newer session of this Call Bridge began, so it restarted; what was open is over",
            )

    def _tell(self, event: str, call_bridge: str | None, at: OrderKey, **details: object) -> None:
        self._keeper.events.append(
            Event(
                event=event,
                event_id=next(self._new_id),
                record_time=at.time,
                call_bridge=call_bridge,
                session=at.session,
                details=details,
            )
        )


def is_new(workspace: Workspace, kind: str, *content: bytes) -> bool:
    """Note what is to be set aside though nothing in it tells it apart; return whether that was not done lately."""
    digest, known = digest_of(kind, *content), workspace.get(Recent, *RECENT) or Recent()
    if known.has(digest):
        return False
    workspace.put(known.with_digest(digest), *RECENT)
    return True


def bring_in_line(keeper: Bookkeeper, workspace: Workspace, session: str, calls_at_once: int = CALLS_AT_ONCE) -> bool:
    """End so many of the calls that a replaced session left open, or go on with them where that was taken back.

    Returns whether there are more.
    """
    known = workspace.get(Session, "session", session)
    if known is None or known.ending is None:
        return False
    ids = workspace.open_calls(session, known.ending)
    some, more = ids[:calls_at_once], len(ids) > calls_at_once
    workspace.need(("call", id_) for id_ in some)
    for call in map(workspace.call, some):
        if call is not None:
            _bring_in_line(keeper, call, known)
    workspace.put(replace(known, ending=some[-1] if more else None), "session", session)
    return more


def _bring_in_line(keeper: Bookkeeper, call: Call, session: Session) -> None:
    if session.replaced is not None:
        keeper.estimate_end(call, session.replaced)
    elif call.end_estimated is not None and not call.is_stale:
        keeper.reopen(call, OrderKey(session.last, session.id, 0))


def _outlived(session: Session) -> bool:
    """Did the session send something after it seemed to be replaced?"""
    return session.replaced is not None and session.ran_until >= session.replaced.time
