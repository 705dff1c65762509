"""What the Meeting Server says of live calls, each asked for by itself: the space, who a leg is, video, is it there?

Live objects are a node's own. Which node a Call Bridge is, a cluster tells (`system/configuration/cluster` names the
node, `callBridges` leads from there to the id that CDRs have). One of no cluster does not name itself in CDRs, but the
`bridge` of our receiver URI does, and that is read from the node that pushes there. Where neither is known, all nodes
are asked.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from cdr_service.cms.client import CmsClient
from cdr_service.cms.directory import Members, told_space
from cdr_service.cms.errors import CmsError
from cdr_service.cms.objects import CallLeg, Participant
from cdr_service.domain.receivers import bridge_name
from cdr_service.domain.spaces import Space

T = TypeVar("T")

BRIDGES_SECONDS: Final = 300.0
"""Which node is which Call Bridge is asked for again so often at most."""


class Live:
    """Asks about live calls. Every method raises CmsError where the nodes concerned give no answer."""

    def __init__(self, client: CmsClient, deployment: str) -> None:
        """Ask through the client; the deployment is whose receivers are ours."""
        self._client = client
        self._deployment = deployment
        self._bridges: dict[str, str] = {}
        self._asked: float | None = None

    async def space(self, cospace: str, *, lync: bool = False, members: bool = False) -> Space | None:
        """Read a space with its owner; with `lync` the Lync conference mode, with `members` those. None: it is gone."""
        client = self._client
        found = await client.cospace(cospace)
        if found is None:
            return None
        jids = {}
        if found.owner_id and not found.owner_jid:
            owner = await client.user(found.owner_id)
            jids = {found.owner_id: owner.jid} if owner and owner.jid else {}
        mode = await self.lync_mode(found.call_profile, found.tenant) if lync else None
        those = Members(cospace, await client.cospace_members(cospace)) if members else None
        return told_space(found, jids, those, mode)

    async def lync_mode(self, profile: str | None, tenant: str | None) -> str | None:
        """Read the Lync conference mode that holds: that of a call profile, else of the tenant's, else the system's."""
        client = self._client
        if profile and (mode := await self._mode(profile)):
            return mode
        if tenant:
            found = next((one for one in await client.tenants() if one.id == tenant), None)
            if found and found.call_profile and (mode := await self._mode(found.call_profile)):
                return mode
        system = (await client.system_profiles()).call_profile
        return await self._mode(system) if system else None

    async def participant(self, participant: str, bridge: str | None) -> Participant | None:
        """Read a participant, with the JID where they are a user; None where they are not there."""
        return await self._first(bridge, lambda node: self._client.participant(node, participant))

    async def video(self, leg: str, bridge: str | None) -> bool | None:
        """Read whether a leg has video, content counted as such; None where the leg is gone or does not tell.

        Whether content alone makes a call one with video is open (`licensing.md`, section 3).
        """
        found = await self._first(bridge, lambda node: self._client.call_leg(node, leg))
        return None if found is None else _video(found)

    async def has_call(self, call: str, bridge: str | None) -> bool:
        """Say whether a call is still there; the list is not asked, for lists shift."""
        return await self._first(bridge, lambda node: self._client.call(node, call)) is not None

    async def release(self) -> tuple[int, ...] | None:
        """Read the release; while the nodes are being upgraded, the oldest. None where no node's can be read."""
        found = await self._client.each(self._client.status)
        releases = [status.release for status in found.values() if not isinstance(status, CmsError) and status.release]
        if not releases and (problems := [status for status in found.values() if isinstance(status, CmsError)]):
            raise problems[0]
        return min(releases, default=None)

    async def _mode(self, profile: str) -> str | None:
        found = await self._client.call_profile(profile)
        return found.lync_mode if found else None

    async def _first(self, bridge: str | None, ask: Callable[[str], Awaitable[T | None]]) -> T | None:
        """Ask the node of a Call Bridge, else all; None only where each of them says that there is no such thing."""
        node = await self._node(bridge)
        if node is not None:
            return await ask(node)
        found = await self._client.each(ask)
        answers = [answer for answer in found.values() if not isinstance(answer, CmsError)]
        if thing := next((answer for answer in answers if answer is not None), None):
            return thing
        if problem := next((answer for answer in found.values() if isinstance(answer, CmsError)), None):
            raise problem
        return None

    async def _node(self, bridge: str | None) -> str | None:
        """Return the node that is a Call Bridge, as CDRs name it; None where that is not known."""
        if len(self._client.nodes) == 1:
            return self._client.nodes[0]
        now = asyncio.get_running_loop().time()
        if bridge is None:
            return None
        if bridge not in self._bridges and (self._asked is None or now - self._asked > BRIDGES_SECONDS):
            self._asked = now
            self._bridges = await self.bridges()
        return self._bridges.get(bridge)

    async def bridges(self) -> dict[str, str]:
        """Read which node is which Call Bridge, by the ids that CDRs have, or else by our receiver URIs.

        Those are left out of whom it is not known, and those that cannot be told apart.
        """
        found = await self.in_cluster()
        if not found:
            named = await self._client.each(self._named)
            names = [name for name in named.values() if isinstance(name, str)]
            found = {name: node for node, name in named.items() if isinstance(name, str) and names.count(name) == 1}
        return found

    async def in_cluster(self) -> dict[str, str]:
        """Read which node is which Call Bridge of a cluster; empty where the nodes are in none."""
        try:
            ids = {bridge.name: bridge.id for bridge in await self._client.call_bridges() if bridge.name}
        except CmsError:
            return {}
        if not ids:
            return {}
        found = await self._client.each(self._client.cluster)
        names = {node: told.unique_name for node, told in found.items() if not isinstance(told, CmsError)}
        return {ids[name]: node for node, name in names.items() if name in ids}

    async def _named(self, node: str) -> str | None:
        """Return the name that our receiver URI gives to a node; None where it gives none, or several."""
        receivers = (await self._client.cdr_receivers(node)).receivers
        return bridge_name((receiver.uri for receiver in receivers), self._deployment)


def _video(leg: CallLeg) -> bool | None:
    told = (leg.rx_video, leg.tx_video, leg.rx_presentation, leg.tx_presentation)
    return None if leg.deactivated or all(one is None for one in told) else any(told)
