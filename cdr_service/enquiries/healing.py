"""Asks the Meeting Server for its lists of live calls and legs, and mends the books by them.

That is done at the start, after a new session, where records are missing, and while the counts differ. A list can shift
while it is read, and records may be on their way: only what two readings in a row say is taken, and what is missing is
asked for by itself as well. A pass makes so many requests of each node and not one more, and the next one goes on.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

from cdr_service.cms import objects
from cdr_service.cms.budget import Budget
from cdr_service.cms.client import CmsClient
from cdr_service.cms.errors import CmsError, CmsSpent
from cdr_service.domain.addresses import normalize_address
from cdr_service.domain.calls import OBSERVED
from cdr_service.domain.found import FoundCall, FoundLeg
from cdr_service.domain.healing import close_call, close_leg, open_call, open_leg
from cdr_service.domain.records import OrderKey
from cdr_service.domain.sessions import Session
from cdr_service.enquiries.clock import milliseconds
from cdr_service.enquiries.enquiries import Enquiries
from cdr_service.enquiries.lists import CALL_FOUND, CALL_GONE, LEG_GONE, ORDER, Item, LiveLists
from cdr_service.enquiries.state import Bookreader, State
from cdr_service.parting import Task

REQUESTS: Final = 30
"""Of a pass, to each node."""


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
        self._lists = LiveLists(client)
        self._noticed: set[Item] = set()
        self._left: list[Item] = []
        self.due = True
        """Is there a reason to look?"""

    def forget(self) -> None:
        """Begin anew: another process may have looked meanwhile."""
        self._lists.forget()
        self._noticed, self._left, self.due = set(), [], True

    async def once(self, state: State, here: "Here") -> int:
        """Look once, or go on with it; return how much was mended. Raises StoreUnavailable and Draining."""
        with Budget(self._requests).spending():
            if not self._left and not await self._look(state, here):
                return 0
            left, mended = self._left, 0
            self._left = []
            for item in left:
                try:
                    mended += await self._mend(item, here)
                except CmsSpent:
                    self._left.append(item)
                except CmsError:
                    continue  # what is still wrong at the next look is asked again
            return mended

    async def _look(self, state: State, here: "Here") -> bool:
        """Read the lists, and find what is to be mended; return False while they are not read to the end."""
        lists = await self._lists.go_on()
        if lists is None:
            return False
        legs = await self._book.legs([call.id for call in state.live])
        wrong = set(lists.wrong(state, legs, here.bridges))
        sure, self._noticed = wrong & self._noticed, wrong
        self._left = sorted(sure, key=lambda item: (ORDER.index(item.what), item.id))
        self.due = bool(wrong)
        return True

    async def _mend(self, item: Item, here: "Here") -> bool:
        if item.what in (CALL_GONE, LEG_GONE):
            for node in item.nodes or self._client.nodes:
                if await self._has(node, item):
                    return False
            return await self._close(item, here)
        node = item.nodes[0]
        return await (self._open_call if item.what == CALL_FOUND else self._open_leg)(item.id, node, here)

    async def _has(self, node: str, item: Item) -> bool:
        ask = self._client.call if item.what == CALL_GONE else self._client.call_leg
        return await ask(node, item.id) is not None

    async def _close(self, item: Item, here: "Here") -> bool:
        at = here.at(item.id)
        if item.what == CALL_GONE:
            await self._perform(lambda keeper, books, _now: close_call(keeper, books, item.id, at.time))
        else:
            await self._perform(lambda keeper, books, _now: close_leg(keeper, books, item.id, at))
        return True

    async def _open_call(self, call: str, node: str, here: "Here") -> bool:
        told = await self._client.call(node, call)
        if told is None:
            return False
        found, at = here.call(told, node), here.at(call)
        await self._perform(lambda keeper, _books, _now: open_call(keeper, found, at))
        if found.cospace:
            await self._enquiries.space(call)
        return True

    async def _open_leg(self, leg: str, node: str, here: "Here") -> bool:
        told = await self._client.call_leg(node, leg)
        if told is None or told.call is None:
            return False
        person = await self._client.participant(node, told.group_id or told.id)
        found, at = _leg(told, told.call, person), here.at(leg)
        await self._perform(lambda keeper, books, _now: open_leg(keeper, books, found, at))
        return True


class Here(NamedTuple):
    """Where the nodes are in the books."""

    bridges: Mapping[str, str]
    """The Call Bridges by node."""
    sessions: Mapping[str, Session]
    """The newest of each Call Bridge."""
    offset: int
    """By how many milliseconds the nodes' clocks are ahead of ours."""
    clock: Callable[[], int] = milliseconds
    """Ours."""

    def at(self, thing: str = "") -> OrderKey:
        """Return now, by the records' clock; a place that no other thing has, and before every session.

        Records tell whole seconds, so a record that is generated later in the same second comes after it.
        """
        now = self.clock() + self.offset
        return OrderKey(now // 1000 * 1000, f"{OBSERVED} {thing}", 0)

    def call(self, told: objects.Call, node: str) -> FoundCall:
        """Return a call as it goes into the books."""
        bridge = self.bridges.get(node)
        session = self.sessions.get(bridge if bridge is not None else "")
        return FoundCall(
            told.id,
            self.at().time - (told.duration_seconds or 0) * 1000,
            session.id if session else OBSERVED,
            bridge or None,
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
