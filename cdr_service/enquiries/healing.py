"""Asks the Meeting Server for its lists of live calls and legs, and mends the books by them.

That is done at the start, after a new session, where records are missing, and while the counts differ. A list can shift
while it is read, and records may be on their way: only what two passes in a row say is taken, and what is missing is
asked for by itself as well. A pass makes so many requests for single objects at most, and the next one goes on.
"""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, NamedTuple

from cdr_service.cms import objects
from cdr_service.cms.client import CmsClient
from cdr_service.cms.errors import CmsError
from cdr_service.domain.addresses import normalize_address
from cdr_service.domain.calls import OBSERVED, Call
from cdr_service.domain.found import FoundCall, FoundLeg
from cdr_service.domain.healing import close_call, close_leg, open_call, open_leg
from cdr_service.domain.legs import Leg
from cdr_service.domain.records import OrderKey
from cdr_service.domain.sessions import Session
from cdr_service.enquiries.enquiries import Enquiries
from cdr_service.enquiries.state import Bookreader, State
from cdr_service.parting import Task

REQUESTS: Final = 30
"""Of a pass, beside the lists."""

Item = tuple[str, str]
"""What is wrong, and the id of the call or leg."""


class Lists(NamedTuple):
    """What the nodes list."""

    calls: Mapping[str, str]
    """The node of each call."""
    legs: Mapping[str, tuple[str, str | None]]
    """The node and the call of each leg."""
    answered: frozenset[str]
    """Nodes that gave both lists."""
    whole: bool
    """Did all?"""


class Healing:
    """Mends the books of one deployment."""

    def __init__(
        self,
        client: CmsClient,
        book: Bookreader,
        enquiries: Enquiries,
        perform: Callable[[Task], Awaitable[None]],
        *,
        requests: int = REQUESTS,
    ) -> None:
        self._client = client
        self._book = book
        self._enquiries = enquiries
        self._perform = perform
        self._requests = requests
        self._left = 0
        self._noticed: set[Item] = set()
        self.due = True
        """Is there a reason to look?"""

    def forget(self) -> None:
        """Begin anew: another process may have looked meanwhile."""
        self._noticed, self.due = set(), True

    async def once(self, state: State, here: "Here") -> int:
        """Look once; return how much was mended. Raises StoreUnavailable and Draining."""
        lists = await self._lists()
        legs = {leg.id: leg for leg in await self._book.legs([call.id for call in state.live])}
        wrong = set(_wrong(state, legs, lists, here.bridges))
        sure, self._noticed = wrong & self._noticed, wrong
        self._left, mended = self._requests, 0
        for what, id_ in sorted(sure, key=lambda item: (_ORDER.index(item[0]), item[1])):
            if self._left <= 0:
                break
            try:
                mended += await self._mend(what, id_, state, lists, here)
            except CmsError:
                continue  # the next pass asks again
        self.due = bool(wrong)
        return mended

    async def _lists(self) -> Lists:
        calls = await self._client.each(self._client.calls)
        legs = await self._client.each(self._client.call_legs)
        answered = frozenset(
            node for node in calls if not isinstance(calls[node], CmsError) and isinstance(legs[node], tuple)
        )
        at: dict[str, str] = {}
        on: dict[str, tuple[str, str | None]] = {}
        for node in sorted(answered):
            for thing in (*_listed(calls[node]), *_listed(legs[node])):
                if isinstance(thing, objects.Call):
                    at[thing.id] = node
                else:
                    on[thing.id] = node, thing.call
        return Lists(at, on, answered, answered == set(calls))

    async def _mend(self, what: str, id_: str, state: State, lists: Lists, here: "Here") -> bool:
        match what:
            case "call gone":
                return await self._close_call(id_, state.calls[id_], here)
            case "leg gone":
                return await self._close_leg(id_, here)
            case "call found":
                return await self._open_call(id_, lists.calls[id_], here)
            case _:
                return await self._open_leg(id_, lists.legs[id_][0], here)

    async def _close_call(self, call: str, known: Call, here: "Here") -> bool:
        for node in here.nodes_of(known.call_bridge, self._client.nodes):
            self._left -= 1
            if await self._client.call(node, call) is not None:
                return False
        at = here.at().time
        await self._perform(lambda keeper, books, _now: close_call(keeper, books, call, at))
        return True

    async def _close_leg(self, leg: str, here: "Here") -> bool:
        for node in self._client.nodes:
            self._left -= 1
            if await self._client.call_leg(node, leg) is not None:
                return False
        at = here.at(leg)
        await self._perform(lambda keeper, books, _now: close_leg(keeper, books, leg, at))
        return True

    async def _open_call(self, call: str, node: str, here: "Here") -> bool:
        self._left -= 1
        told = await self._client.call(node, call)
        if told is None:
            return False
        found, at = here.call(told, node), here.at(call)
        await self._perform(lambda keeper, _books, _now: open_call(keeper, found, at))
        if found.cospace:
            self._left -= 1
            await self._enquiries.space(call)
        return True

    async def _open_leg(self, leg: str, node: str, here: "Here") -> bool:
        self._left -= 1
        told = await self._client.call_leg(node, leg)
        if told is None or told.call is None:
            return False
        self._left -= 1
        person = await self._client.participant(node, told.group_id or told.id)
        found, at = _leg(told, told.call, person), here.at(leg)
        await self._perform(lambda keeper, books, _now: open_leg(keeper, books, found, at))
        return True


_ORDER: Final = ("call gone", "call found", "leg gone", "leg found")


class Here(NamedTuple):
    """Where the nodes are in the books."""

    bridges: Mapping[str, str]
    """The Call Bridges by node."""
    sessions: Mapping[str, Session]
    """The newest of each Call Bridge."""
    offset: int
    """By how many milliseconds the nodes' clocks are ahead of ours."""
    clustered: bool
    """Do calls name their Call Bridge?"""

    def at(self, thing: str = "") -> OrderKey:
        """Return now, by the records' clock; a place that no other thing has, and before every session.

        Records tell whole seconds, so a record that is generated later in the same second comes after it.
        """
        now = time.time_ns() // 1_000_000 + self.offset
        return OrderKey(now // 1000 * 1000, f"{OBSERVED} {thing}", 0)

    def nodes_of(self, bridge: str | None, nodes: Iterable[str]) -> list[str]:
        """Return the node that is a Call Bridge; all of them where that is not known."""
        found = [node for node, name in self.bridges.items() if name == bridge]
        return found or list(nodes)

    def call(self, told: objects.Call, node: str) -> FoundCall:
        """Return a call as it goes into the books."""
        bridge = self.bridges.get(node)
        session = self.sessions.get(bridge if bridge is not None else "")
        return FoundCall(
            told.id,
            self.at().time - (told.duration_seconds or 0) * 1000,
            session.id if session else OBSERVED,
            bridge if self.clustered else None,
            told.name,
            told.call_type,
            told.cospace,
            told.correlator,
            told.tenant,
            told.owner_name,
        )


def _leg(told: objects.CallLeg, call: str, person: objects.Participant | None) -> FoundLeg:
    video = (told.rx_video, told.tx_video, told.rx_presentation, told.tx_presentation)
    return FoundLeg(
        id=told.id,
        call=call,
        connected=told.state in ("connected", "onHold"),
        lobby=bool(told.deactivated),
        remote_party=told.remote_party,
        display_name=told.name,
        leg_type=told.type,
        sub_type=told.sub_type,
        direction=told.direction,
        group=told.group_id,
        recorder=bool(told.recording),
        streamer=bool(told.streaming),
        moved_from=told.moved_call_leg,
        video=None if all(one is None for one in video) else any(video),
        user=normalize_address(person.user_jid) if person and person.user_jid else None,
        identified=person is not None,
    )


def _wrong(state: State, legs: Mapping[str, Leg], lists: Lists, bridges: Mapping[str, str]) -> Iterable[Item]:
    """Yield what the lists say and the books do not, or the other way round."""
    nodes = {bridge: node for node, bridge in bridges.items()}
    for call in state.live:
        node = nodes.get(call.call_bridge or "")
        if call.id not in lists.calls and (node in lists.answered if node else lists.whole):
            yield "call gone", call.id
    for id_ in lists.calls:
        known = state.calls.get(id_)
        if known is None or (known.started is None and known.correlator is None and known.end is None):
            yield "call found", id_
    live = {call.id for call in state.live}
    for leg in legs.values():
        if leg.ended_at is None and leg.id not in lists.legs and leg.calls and leg.calls[-1] in lists.calls:
            yield "leg gone", leg.id
    for id_, (_, on) in lists.legs.items():
        if on in live and (id_ not in legs or on not in legs[id_].calls):
            yield "leg found", id_


def _listed(told: object) -> Iterable[objects.Call | objects.CallLeg]:
    return told if isinstance(told, tuple) else ()
