"""The Meeting Server's lists of live calls and legs, and where they differ from the books.

Reading them may take several passes, for each may make so many requests only.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from cdr_service.cms.client import CmsClient
from cdr_service.cms.errors import CmsError, CmsSpent
from cdr_service.cms.objects import Call, CallLeg
from cdr_service.cms.reading import ListReading
from cdr_service.domain.calls import Call as KnownCall
from cdr_service.domain.legs import Leg
from cdr_service.enquiries.state import State

T = TypeVar("T", Call, CallLeg)

CALL_GONE, CALL_FOUND, LEG_GONE, LEG_FOUND = "call gone", "call found", "leg gone", "leg found"
ORDER = (CALL_GONE, CALL_FOUND, LEG_GONE, LEG_FOUND)
"""In which order things are mended: a leg is on a call."""


class Item(NamedTuple):
    """Something that the lists say and the books do not, or the other way round."""

    what: str
    id: str
    """Of the call or leg."""
    nodes: tuple[str, ...] = ()
    """Who is to be asked for it; all where none is named."""


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

    def wrong(self, state: State, legs: Iterable[Leg], bridges: Mapping[str, str]) -> Iterator[Item]:
        """Yield what is wrong with the books; `legs` are all on live calls, `bridges` the Call Bridges by node."""
        nodes = {bridge: node for node, bridge in bridges.items()}
        known = {leg.id: leg for leg in legs}
        for call in state.live:
            node = nodes.get(call.call_bridge or "")
            if call.id not in self.calls and (node in self.answered if node else self.whole):
                yield Item(CALL_GONE, call.id, (node,) if node else ())
        for id_, node in self.calls.items():
            if _is_new(state.calls.get(id_)):
                yield Item(CALL_FOUND, id_, (node,))
        for leg in known.values():
            if leg.ended_at is None and leg.id not in self.legs and leg.calls and leg.calls[-1] in self.calls:
                yield Item(LEG_GONE, leg.id, (self.calls[leg.calls[-1]],))
        for id_, (node, on) in self.legs.items():
            if on is None or on not in self.calls or (on in state.calls and state.calls[on].end is not None):
                continue
            if id_ not in known or on not in known[id_].calls:
                yield Item(LEG_FOUND, id_, (node,))


class LiveLists:
    """Reads the lists of all nodes, and goes on where it stopped."""

    def __init__(self, client: CmsClient) -> None:
        self._client = client
        self._begun: dict[str, tuple[ListReading[Call], ListReading[CallLeg]]] = {}

    def forget(self) -> None:
        """Begin anew."""
        self._begun.clear()

    async def go_on(self) -> Lists | None:
        """Read on; return the lists once they are read to the end, by all nodes that answer."""
        found = await self._client.each(self._read)
        if any(isinstance(told, CmsSpent) for told in found.values()):
            return None
        self.forget()
        answered = {node: told for node, told in found.items() if not isinstance(told, CmsError)}
        calls = {call.id: node for node, (on_it, _) in answered.items() for call in on_it}
        legs = {leg.id: (node, leg.call) for node, (_, on_it) in answered.items() for leg in on_it}
        return Lists(calls, legs, frozenset(answered), len(answered) == len(found))

    async def _read(self, node: str) -> tuple[tuple[Call, ...], tuple[CallLeg, ...]]:
        calls, legs = self._begun.setdefault(node, self._client.live_lists(node))
        return await calls.read() or (), await legs.read() or ()


def _is_new(call: KnownCall | None) -> bool:
    """Return whether nothing that a list tells of a call is known."""
    return call is None or (call.started is None and call.correlator is None and call.end is None)
