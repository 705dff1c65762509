"""The REST API of one deployment: what is configured comes from any node that answers, what is live from each node.

Nothing here is logged, and no error has more in it than a node's URL, a path and the server's own reasons.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self, TypeVar
from urllib.parse import unquote, urlsplit

import aiohttp

from cdr_service.cms import kinds
from cdr_service.cms.errors import CmsError, CmsRefused, CmsUnavailable
from cdr_service.cms.node import Node, Pace
from cdr_service.cms.objects import (
    ActivePersonalLicense,
    Alarm,
    Call,
    CallBridge,
    CallLeg,
    CallProfile,
    CdrReceiver,
    CdrReceivers,
    Cluster,
    CoSpace,
    CoSpaceMember,
    LdapSource,
    MpLicenseUsage,
    MultipartyLicensing,
    Participant,
    Status,
    SystemProfiles,
    Tenant,
    User,
    UserProfile,
)
from cdr_service.cms.parsing import read_cdr_receivers
from cdr_service.cms.reading import ListReading, is_id, listed, listed_of, one, only, pages, required, single

T = TypeVar("T")

AT_ONCE: Final = 8
"""Most requests under way, on all nodes together; on one node there is never more than one."""

_RECEIVERS = "system/cdrReceivers"


class CmsClient:
    """Asks a deployment. To be used as an async context manager.

    `nodes` are the base URLs of all its nodes; every method that takes a `node` takes one of them. Methods raise
    CmsRefused where our user is not let in, and CmsUnavailable for everything else that went wrong. They return None
    for an object that does not exist, or for what a release does not have.
    """

    def __init__(
        self, urls: Sequence[str], username: str, password: str, *, ca: Path | None = None, pace: Pace | None = None
    ) -> None:
        """`ca` is a PEM file of the authority to trust instead of the system's. Raises ValueError with one sentence."""
        try:
            self._tls = ssl.create_default_context(cafile=ca)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"CDR_CMS_CA ({ca}) is no PEM file with certificates: {error.strerror}.") from error
        self.nodes = tuple(urls)
        self._authorization = aiohttp.encode_basic_auth(username, password, encoding="utf-8")
        self._pace = pace or Pace()
        self._nodes: dict[str, Node] = {}
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls, limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept": "text/xml", "Accept-Encoding": "identity", "Authorization": self._authorization},
            timeout=aiohttp.ClientTimeout(total=self._pace.total, connect=self._pace.connect),
        )
        await self._open.enter_async_context(http)
        at_once = asyncio.Semaphore(AT_ONCE)
        self._nodes = {url: Node(url, http, self._pace, at_once) for url in self.nodes}
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def each(self, ask: Callable[[str], Awaitable[T]]) -> dict[str, T | CmsError]:
        """Ask the same of all nodes at the same time; where a node gave no answer, the value is the reason."""

        async def asked(node: str) -> T | CmsError:
            try:
                return await ask(node)
            except CmsError as error:
                return error

        return dict(zip(self.nodes, await asyncio.gather(*map(asked, self.nodes)), strict=True))

    # What is configured: any node knows it.

    async def users(self) -> tuple[User, ...]:
        """Read all users, as their list tells them."""
        return await self._anywhere(lambda node: listed(node, kinds.USER))

    async def user(self, user_id: str) -> User | None:
        """Read a user, with name, e-mail address, cdrTag and profile."""
        return await self._anywhere(lambda node: one(node, kinds.USER, user_id))

    async def user_profiles(self) -> tuple[UserProfile, ...]:
        """Read all user profiles, each by itself: where a list names no license, it may just not tell."""
        return await self._anywhere(lambda node: listed(node, kinds.USER_PROFILE, whole=True))

    async def ldap_sources(self) -> tuple[LdapSource, ...]:
        """Read all LDAP sources, each by itself."""
        return await self._anywhere(lambda node: listed(node, kinds.LDAP_SOURCE, whole=True))

    async def tenants(self) -> tuple[Tenant, ...]:
        """Read all tenants, each by itself."""
        return await self._anywhere(lambda node: listed(node, kinds.TENANT, whole=True))

    async def system_profiles(self) -> SystemProfiles:
        """Read the profiles that hold where nothing more specific does."""
        return await self._anywhere(lambda node: only(node, kinds.SYSTEM_PROFILES, "system/profiles"))

    async def cospaces(self) -> tuple[CoSpace, ...]:
        """Read all spaces, as their list tells them: without owners."""
        return await self._anywhere(lambda node: listed(node, kinds.COSPACE))

    async def cospace(self, cospace_id: str) -> CoSpace | None:
        """Read a space, with its owner."""
        return await self._anywhere(lambda node: one(node, kinds.COSPACE, cospace_id))

    async def cospace_members(self, cospace_id: str) -> tuple[CoSpaceMember, ...] | None:
        """Read the members of a space; None where there is no such space."""
        return await self._anywhere(
            lambda node: listed_of(node, kinds.COSPACE_MEMBER, "coSpaces", cospace_id, "coSpaceUsers")
        )

    async def call_profile(self, profile_id: str) -> CallProfile | None:
        """Read a call profile."""
        return await self._anywhere(lambda node: one(node, kinds.CALL_PROFILE, profile_id))

    async def call_bridges(self) -> tuple[CallBridge, ...]:
        """Read the nodes of the cluster, each by itself; none where the server is not clustered."""
        return await self._anywhere(lambda node: listed(node, kinds.CALL_BRIDGE, whole=True))

    # What is a node's own.

    async def status(self, node: str) -> Status:
        """Read the state of a node."""
        return await only(self._node(node), kinds.STATUS, "system/status")

    async def cluster(self, node: str) -> Cluster:
        """Read what a node knows of its place in the cluster: its name there, which leads to its Call Bridge id."""
        return await only(self._node(node), kinds.CLUSTER, "system/configuration/cluster")

    async def alarms(self, node: str) -> tuple[Alarm, ...]:
        """Read what a node complains of."""
        return await listed(self._node(node), kinds.ALARM, "system/alarms")

    async def calls(self, node: str) -> tuple[Call, ...]:
        """Read the live calls of a node, as their list tells them."""
        return await listed(self._node(node), kinds.CALL)

    def live_lists(self, node: str) -> tuple[ListReading[Call], ListReading[CallLeg]]:
        """Return the lists of the live calls and legs of a node, to be read on and on."""
        return ListReading(self._node(node), kinds.CALL), ListReading(self._node(node), kinds.CALL_LEG)

    async def call(self, node: str, call_id: str) -> Call | None:
        """Read a live call."""
        return await one(self._node(node), kinds.CALL, call_id)

    async def call_legs(self, node: str, call_id: str | None = None) -> tuple[CallLeg, ...] | None:
        """Read the live legs of a node or of one of its calls, as the list tells them; None without such a call."""
        if call_id is None:
            return await listed(self._node(node), kinds.CALL_LEG)
        return await listed_of(self._node(node), kinds.CALL_LEG, "calls", call_id, "callLegs")

    async def call_leg(self, node: str, leg_id: str) -> CallLeg | None:
        """Read a live leg, with what media it has now."""
        return await one(self._node(node), kinds.CALL_LEG, leg_id)

    async def participants(self, node: str, call_id: str | None = None) -> tuple[Participant, ...] | None:
        """Read who is in a node's calls or in one of them, as the list tells them; None without such a call."""
        if call_id is None:
            return await listed(self._node(node), kinds.PARTICIPANT)
        return await listed_of(self._node(node), kinds.PARTICIPANT, "calls", call_id, "participants")

    async def participant(self, node: str, participant_id: str) -> Participant | None:
        """Read a participant, with the JID of the user; the id is the `groupId` of their legs."""
        return await one(self._node(node), kinds.PARTICIPANT, participant_id)

    async def multiparty_licensing(self, node: str) -> MultipartyLicensing | None:
        """Read what a node counts now."""
        return await single(self._node(node), kinds.MULTIPARTY_LICENSING, "system/multipartyLicensing")

    async def active_personal_licenses(self, node: str) -> tuple[ActivePersonalLicense, ...] | None:
        """Read the users whose PMP+ a node uses now."""
        path = "system/multipartyLicensing/activePersonalLicenses"
        return await pages(self._node(node), kinds.ACTIVE_PERSONAL_LICENSE, path)

    async def mp_license_usage(
        self, node: str, *, host: str | None = None, since: int | None = None, until: int | None = None
    ) -> tuple[MpLicenseUsage, ...] | None:
        """Read past usage as a node tells it, newest first; times in milliseconds since 1970 UTC, both included."""
        query = {"hostId": host, "startTime": _rfc_3339(since), "endTime": _rfc_3339(until)}
        told = {name: value for name, value in query.items() if value is not None}
        return await pages(self._node(node), kinds.MP_LICENSE_USAGE, "system/MPLicenseUsage", told)

    async def cdr_receivers(self, node: str) -> CdrReceivers:
        """Read where a node pushes its CDRs; each node has its own list."""
        found = await self._node(node).get(_RECEIVERS, read_cdr_receivers)
        return required(self._node(node), _RECEIVERS, found)

    async def create_cdr_receiver(self, node: str, uri: str) -> CdrReceiver:
        """Add a receiver to a node, and make sure that it is there. Codes: `tooManyCdrReceivers`."""
        location = await self._node(node).write("POST", _RECEIVERS, {"uri": uri})
        receiver_id = unquote(urlsplit(location).path.rstrip("/").rpartition("/")[2])
        return await self._verified(node, receiver_id, uri)

    async def update_cdr_receiver(self, node: str, receiver_id: str, uri: str) -> CdrReceiver:
        """Change where a node pushes to, and make sure that it is so. Codes: `cdrReceiverDoesNotExist`."""
        await self._node(node).write("PUT", _path_of_receiver(receiver_id), {"uri": uri})
        return await self._verified(node, receiver_id, uri)

    async def _verified(self, node: str, receiver_id: str, uri: str) -> CdrReceiver:
        # Cisco's documents disagree about the name of the form's field, and a wrong one may be taken for none.
        for repair in (True, False):
            for receiver in (await self.cdr_receivers(node)).receivers:
                ours = receiver.id == receiver_id.lower() or not receiver_id
                if ours and receiver.uri == uri:
                    return receiver
            if repair and receiver_id:
                await self._node(node).write("PUT", _path_of_receiver(receiver_id), {"url": uri})
        raise CmsUnavailable(f"{node} took our CDR receiver and does not list it; look at its CDR settings.")

    def _node(self, url: str) -> Node:
        return self._nodes[url]

    async def _anywhere(self, ask: Callable[[Node], Awaitable[T]]) -> T:
        """Ask one node after the other until one answers; one that rests says so at once."""
        problems: list[CmsError] = []
        for node in self._nodes.values():
            try:
                return await ask(node)
            except CmsError as error:
                problems.append(error)
        # A wrong password is for a person to mend, and would be hidden behind a node that is merely down.
        raise next((problem for problem in problems if isinstance(problem, CmsRefused)), problems[-1])


def _rfc_3339(moment: int | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _path_of_receiver(receiver_id: str) -> str:
    if not is_id(receiver_id):
        raise ValueError("What is given as the id of a CDR receiver is none.")
    return f"{_RECEIVERS}/{receiver_id}"
