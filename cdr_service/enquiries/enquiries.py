"""The questions about one live call or leg: ask the Meeting Server, and hand the answer to the intake as a task."""

from collections.abc import Awaitable, Callable
from typing import Any

from cdr_service.cms.live import Live
from cdr_service.domain.addresses import normalize_address
from cdr_service.domain.bookkeeping import Bookkeeper
from cdr_service.domain.calls import Call
from cdr_service.domain.legs import Leg
from cdr_service.domain.records import OrderKey
from cdr_service.domain.spaces import Space, SpaceFacts
from cdr_service.domain.stored import ThingReads
from cdr_service.domain.workspace import Workspace
from cdr_service.enquiries.clock import milliseconds
from cdr_service.enquiries.matters import is_in, is_lync, is_unknown
from cdr_service.parting import Task


class Enquiries:
    """Asks about live calls of one deployment.

    Every method may raise CmsError where no answer can be had, StoreUnavailable, and Draining.
    """

    def __init__(
        self,
        deployment: str,
        live: Live,
        reads: ThingReads,
        perform: Callable[[Task], Awaitable[None]],
        *,
        members: bool = False,
        clock: Callable[[], int] = milliseconds,
    ) -> None:
        """`perform` is the intake's; with `members`, those of a space are read too."""
        self.deployment = deployment
        self._live = live
        self.reads = reads
        self._perform = perform
        self._members = members
        self._clock = clock

    async def space(self, call_id: str) -> None:
        """Ask for the space of a call that just began: temporary spaces vanish, and TMS uses its slots again.

        In a Lync conference the mode of the call profile is asked for too, because the weight depends on it.
        """
        call = await self._thing(Call, "call", call_id)
        if call is None or call.end is not None:
            return
        mode = await self._live.lync_mode(None, call.tenant) if is_lync(call) and not call.cospace else None
        space = None
        if call.cospace:
            space = await self._live.space(call.cospace, lync=is_lync(call), members=self._members)
        if space is None and mode is None:
            return
        at = self._now()

        def know(keeper: Bookkeeper, workspace: Workspace, _now: int) -> None:
            keeper.know_space(call_id, _facts(workspace, space, mode), at)

        await self._perform(know)

    async def user(self, leg_id: str) -> None:
        """Ask who is behind a leg that could not be matched: a user, or nobody whom the server knows."""
        leg = await self._thing(Leg, "leg", leg_id)
        if leg is None or not is_in(leg) or not is_unknown(leg):
            return
        call = await self._thing(Call, "call", leg.calls[-1])
        found = await self._live.participant(leg.group_id or leg.id, call.call_bridge if call else None)
        if found is None:
            return
        user, at = normalize_address(found.user_jid or ""), self._now()
        await self._perform(lambda keeper, _workspace, _now: keeper.know_user(leg_id, user, at))

    async def video(self, leg: Leg, bridge: str | None) -> bool | None:
        """Ask whether a leg uses video, and tell; None where the leg is gone or in a lobby."""
        video = await self._live.video(leg.id, bridge)
        if video is not None:
            at = self._now()
            await self._perform(lambda keeper, _workspace, _now: keeper.know_video(leg.id, video, at))
        return video

    async def lives(self, call_id: str) -> bool:
        """Ask whether the server still has a call of which nothing was heard."""
        call = await self._thing(Call, "call", call_id)
        return call is not None and await self._live.has_call(call_id, call.call_bridge)

    def _now(self) -> OrderKey:
        return OrderKey(self._clock(), "", 0)

    async def _thing(self, kind: type[Any], *key: str) -> Any:
        (found,) = await self.reads.things(self.deployment, [key])
        return found if isinstance(found, kind) else None


def _facts(workspace: Workspace, space: Space | None, mode: str | None) -> SpaceFacts:
    """Return what is known of a call's space; of a call without one, only the Lync conference mode."""
    return SpaceFacts(lync_mode=mode, known=True) if space is None else workspace.directory().facts(space)
