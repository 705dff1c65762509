"""Queries about the collection itself: the Call Bridges that push, and what could not be taken in."""

import re
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from msgspec import Struct

from cdr_service.domain.announcements import rfc3339
from cdr_service.domain.completeness import known_losses
from cdr_service.domain.pages import Listing, Page, Place
from cdr_service.domain.receivers import UNNAMED, NodeHealth, Registered
from cdr_service.domain.sessions import INTERLEAVED, Bridge, Session, interleaved
from cdr_service.domain.views import Time
from cdr_service.domain.workspace import Key
from cdr_service.errors import BadRequest
from cdr_service.reading.paging import Entry, part

_ENTRY: Final = re.compile(r"\d{1,20}-\d{1,20}")


class BridgeView(Struct, kw_only=True):
    """One Call Bridge, as far as its records reached us."""

    deployment: str
    call_bridge: str | None
    """Its callBridge, or the `bridge` parameter of its receiver URL; null for bridges that do not name themselves."""
    session: str | None
    """Its newest session, by record time."""
    sessions: int
    """How many of its sessions are remembered."""
    last_record_at: Time | None
    """Record time of its latest record."""
    last_received_at: Time | None
    """When we received it, by our clock."""
    records: int
    """Records taken in, of all remembered sessions."""
    missing: int
    """Records known to be lost."""
    duplicates: int
    """Records that came again though they had been taken in: over another feed, or because an answer was lost. Counted
    since the Call Bridge is known, some seconds late."""
    warning: str | None
    """What to change so that we can tell more, or null."""
    receiver: Registered | None = None
    """Are we among its CDR receivers, by its API: registered, wrong_token or missing? Null where that is not known."""
    alarms: list[str] = []
    """Its alarms that concern CDRs."""
    clock_offset_seconds: float | None = None
    """By how much its clock is ahead of ours; it tells whole seconds."""
    release: str | None = None
    """What it runs."""
    problem: str | None = None
    """Why its API could not be asked, or null."""
    node: str | None = None
    """Where its API is, of those in `CDR_CMS_URL`; null where it is not known which is its."""


class DeadLetterView(Struct, kw_only=True):
    """A document, or one record of it, that was set aside."""

    id: str
    deployment: str
    received_at: Time
    kind: str
    """not_cdr (the whole document), record (one record of a good one), or failed (our own fault)."""
    reason: str
    session: str | None
    bridge: str | None
    content: str | None
    """The text that was set aside; null where it is no UTF-8 text."""
    content_base64: str | None
    """The same in base64, where it is no text."""


class Letter(NamedTuple):
    """A dead letter, as it is stored."""

    id: str
    received: int
    kind: str
    reason: str
    session: str
    bridge: str
    content: bytes


class CollectionReads(Protocol):
    """What is needed of the store. Every method may raise StoreUnavailable."""

    async def bridge_ids(self, deployment: str) -> list[str]:
        """Return the ids of all Call Bridges."""
        ...

    async def received(self, deployment: str, sessions: Sequence[str]) -> Mapping[str, int]:
        """Return when a record of each session was last received, in milliseconds."""
        ...

    async def things(self, deployment: str, keys: Sequence[Key]) -> list[Any]:
        """Return things in the order of their keys."""
        ...

    async def duplicates(self, deployment: str, bridges: Sequence[str]) -> Mapping[str, int]:
        """Return how many duplicates each of the Call Bridges sent."""
        ...

    async def letters(self, deployment: str, before: str | None, count: int) -> list[Letter]:
        """Return dead letters, newest first, older than the entry `before`."""
        ...


async def never_asked(_: str) -> list[NodeHealth]:
    """Say that a deployment has no API that could be asked."""
    return []


class Collection:
    """Answers queries about the collection."""

    def __init__(
        self,
        reads: CollectionReads,
        deployments: Iterable[str],
        clock: Callable[[], int],
        nodes: Callable[[str], Awaitable[list[NodeHealth]]] = never_asked,
    ) -> None:
        """`clock` returns milliseconds since 1970 UTC; `nodes` what a deployment's own API says of its nodes."""
        self._nodes = nodes
        self._reads = reads
        self._deployments = tuple(deployments)
        self._clock = clock

    async def bridges(self, limit: int | None = None, cursor: str | None = None) -> Page[BridgeView]:
        """Return the Call Bridges by deployment and id; without a limit all of them. Raises BadRequest."""
        entries = [Entry(Place(0, id_), name) for name in self._deployments for id_ in await self._bridge_ids(name)]
        shown, following = part(entries, self._deployments, Listing.BRIDGES, limit, cursor)
        ids = {name: [entry.place.id for entry in shown if entry.deployment == name] for name in self._deployments}
        return Page([view for name in ids for view in await self._bridges(name, ids[name])], following)

    async def _bridge_ids(self, deployment: str) -> set[str]:
        """Return the Call Bridges of which records came, and those that the API names."""
        return {*await self._reads.bridge_ids(deployment), *await self._asked(deployment)}

    async def _asked(self, deployment: str) -> Mapping[str, NodeHealth]:
        """Return what the API says of each Call Bridge, by its id; by its URL where it is not known which that is.

        A server that is not clustered has one, which has no name.
        """
        nodes = await self._nodes(deployment)
        known = await self._reads.bridge_ids(deployment)
        if len(nodes) == 1 and nodes[0].call_bridge is None and len(known) <= 1:
            return {next(iter(known), ""): nodes[0]}
        return {node.node if node.call_bridge is None else node.call_bridge: node for node in nodes}

    async def _bridges(self, deployment: str, ids: Sequence[str]) -> list[BridgeView]:
        if not ids:
            return []
        asked = await self._asked(deployment)
        found = await self._reads.things(deployment, [("bridge", id_) for id_ in ids])
        bridges = [known or Bridge(id_) for id_, known in zip(ids, found, strict=True)]
        names = [session for bridge in bridges for session in bridge.sessions]
        things = await self._reads.things(deployment, [("session", name) for name in names])
        sessions = {thing.id: thing for thing in things if isinstance(thing, Session)}
        received = await self._reads.received(deployment, names)
        duplicates = await self._reads.duplicates(deployment, ids)
        return [
            self._view(deployment, bridge, sessions, received, asked.get(bridge.id), duplicates[bridge.id])
            for bridge in bridges
        ]

    def _view(
        self,
        deployment: str,
        bridge: Bridge,
        sessions: Mapping[str, Session],
        received: Mapping[str, int],
        node: NodeHealth | None,
        duplicates: int,
    ) -> BridgeView:
        own = [sessions[name] for name in bridge.sessions if name in sessions]
        newest = max(own, key=lambda session: session.ran_until, default=None)
        heard = [received[session.id] for session in own if session.id in received]
        now = self._clock()
        unnamed = node is not None and node.node == bridge.id
        answered = node is not None and node.problem is None
        return BridgeView(
            deployment=deployment,
            call_bridge=None if unnamed else bridge.id or None,
            session=newest.id if newest else None,
            sessions=len(own),
            last_record_at=rfc3339(newest.ran_until) if newest else None,
            last_received_at=rfc3339(max(heard)) if heard else None,
            records=sum(session.records for session in own),
            missing=sum(gap.missing for session in own for gap in known_losses(session, now)),
            duplicates=duplicates,
            warning=INTERLEAVED if interleaved(bridge.id, own) else UNNAMED if unnamed and answered else None,
            receiver=node.receiver if node else None,
            alarms=list(node.alarms) if node else [],
            clock_offset_seconds=None if node is None or node.clock_offset is None else node.clock_offset / 1000,
            release=node.release if node else None,
            problem=node.problem if node else None,
            node=node.node if node else None,
        )

    async def dead_letters(self, limit: int, cursor: str | None) -> Page[DeadLetterView]:
        """Return what was set aside, newest first, deployment by deployment."""
        start, before = self._place(cursor)
        items: list[DeadLetterView] = []
        for place, deployment in enumerate(self._deployments):
            if place < start:
                continue
            wanted = limit - len(items)
            letters = await self._reads.letters(deployment, before if place == start else None, wanted + 1)
            items += [_letter_view(deployment, letter) for letter in letters[:wanted]]
            if len(letters) > wanted:
                return Page(items, f"{place}.{letters[wanted - 1].id}" if wanted else f"{place}.")
        return Page(items)

    def _place(self, cursor: str | None) -> tuple[int, str | None]:
        if cursor is None:
            return 0, None
        place, dot, entry = cursor.partition(".")
        known = place.isascii() and place.isdigit() and int(place) < len(self._deployments)
        if not (known and dot and (not entry or _ENTRY.fullmatch(entry))):
            raise BadRequest("cursor", "cursor must be one that an answer gave as next.")
        return int(place), entry or None


def _letter_view(deployment: str, letter: Letter) -> DeadLetterView:
    try:
        text: str | None = letter.content.decode()
    except UnicodeDecodeError:
        text = None
    return DeadLetterView(
        id=letter.id,
        deployment=deployment,
        received_at=rfc3339(letter.received),
        kind=letter.kind,
        reason=letter.reason,
        session=letter.session or None,
        bridge=letter.bridge or None,
        content=text,
        content_base64=None if text is not None else b64encode(letter.content).decode(),
    )
