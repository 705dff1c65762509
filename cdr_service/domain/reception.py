"""Receives the records of a document: each once, and what they tell of their session and its Call Bridge.

A Call Bridge that restarts begins a new session; what was open under the old one is over and gets no end record
(`docs/cdr.md`). So the calls of a session that was replaced end at the first record of the new one, marked as
estimated, and go on if later-dated records of the old session turn up after all.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from msgspec.structs import replace

from cdr_service.domain.bookkeeping import Bookkeeper, Source
from cdr_service.domain.calls import Call
from cdr_service.domain.events import Event
from cdr_service.domain.records import OrderKey, Record, RejectedRecord
from cdr_service.domain.sessions import SESSIONS_MAX, TOLD_MAX, Bridge, Session, Told, numbered, replacements
from cdr_service.domain.workspace import OPEN_IN, Workspace


class Received(NamedTuple):
    """What became of the records of a document."""

    taken: tuple[Record, ...]
    duplicates: int
    rejected: tuple[RejectedRecord, ...]


class Reception:
    """Receives documents on a workspace. One per attempt, like the bookkeeper that it hands the records to."""

    def __init__(self, workspace: Workspace, keeper: Bookkeeper, event_ids: Iterator[str], now: int) -> None:
        """Receive at `now`, in milliseconds of our clock."""
        self._workspace = workspace
        self._keeper = keeper
        self._new_id = event_ids
        self._now = now
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
                session = self._noted(session.with_record(feed, number, record.time, self._now), source, record)
            with self._workspace.asking_later():
                self._keeper.take(source, record)
            taken.append(record)
        refused: list[RejectedRecord] = []
        for reject in rejected:
            if reject.correlator_index is not None:
                if session.has("", reject.correlator_index):
                    duplicates += 1
                    continue
                session = session.with_record("", reject.correlator_index, session.last, self._now)
            refused.append(reject)
        if taken or refused:
            self._workspace.put(session, "session", session.id)
        return Received(tuple(taken), duplicates, tuple(refused))

    def finish(self) -> None:
        """Once all documents are received: see which sessions were replaced, and end or go on with their calls."""
        self._workspace.ask()
        for id_, before in self._sessions.items():
            now = self._workspace.get(Session, "session", id_)
            if now is None or now.first is None:
                continue
            known = before or Session(id_, now.bridge)
            if now.first != known.first or now.bridge != known.bridge or _outlived(now):
                for bridge in dict.fromkeys((now.bridge, known.bridge)):
                    self._compare_sessions(bridge, now)
        for call in [thing for thing in self._workspace.changed.values() if isinstance(thing, Call)]:
            session = self._workspace.get(Session, "session", call.session)
            if session is not None and session.replaced:
                self._keeper.estimate_end(call, session.replaced)

    def _session(self, source: Source) -> Session:
        known = self._workspace.get(Session, "session", source.session)
        self._sessions.setdefault(source.session, known)
        session = known or Session(source.session)
        return session if session.bridge else replace(session, bridge=source.bridge)

    def _noted(self, session: Session, source: Source, record: Record) -> Session:
        """Return the session with what a record tells of it beside its number."""
        at = record.order(source.session)
        told = session.told
        if record.missing:
            told = (*told, Told(at.number, record.missing, record.time))[-TOLD_MAX:]
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
            told=told,
            records=session.records + 1,
            unnumbered=session.unnumbered or record.correlator_index is None,
        )

    def _compare_sessions(self, id_: str, session: Session) -> None:
        """See for all sessions of a bridge which was replaced by which; end or go on with their calls."""
        bridge = self._workspace.get(Bridge, "bridge", id_) or Bridge(id_)
        ids = dict.fromkeys((*bridge.sessions, session.id))
        self._workspace.need(("session", id_) for id_ in ids)
        found = [self._workspace.get(Session, "session", id_) for id_ in ids]
        sessions = {one.id: one for one in found if one is not None and one.bridge == bridge.id}
        replaced_by = replacements(bridge.id, sessions.values())
        now = replace(bridge, sessions=tuple(replaced_by)[-SESSIONS_MAX:])
        if now != bridge:
            self._workspace.put(now, "bridge", bridge.id)
        for replaced, by in replaced_by.items():
            if by != sessions[replaced].replaced:
                self._replace(sessions[replaced], by)

    def _replace(self, session: Session, replaced: OrderKey | None) -> None:
        """Note by what the session was replaced, if at all, and end or go on with its calls."""
        self._workspace.put(replace(session, replaced=replaced), "session", session.id)
        self._workspace.need([(OPEN_IN, session.id)])
        calls = self._workspace.open_calls(session.id)
        for call in calls:
            self._keeper.estimate_end(call, replaced)
        if replaced is not None:
            self._tell(
                "session.replaced",
                session.bridge or None,
                replaced,
                replaced_session=session.id,
                calls=[call.id for call in calls],
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


def _outlived(session: Session) -> bool:
    """Did the session send something after it seemed to be replaced?"""
    return session.replaced is not None and session.last >= session.replaced.time
