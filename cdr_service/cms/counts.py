"""What the nodes of a deployment count, read at about the same moment, and summed up."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from decimal import Decimal
from typing import Final, NamedTuple

from cdr_service.cms.client import CmsClient
from cdr_service.cms.errors import CmsError
from cdr_service.cms.objects import ActivePersonalLicense, MultipartyLicensing, Status
from cdr_service.domain.addresses import normalize_address
from cdr_service.domain.counting import ServerCounts

USERS_REMEMBERED: Final = 10_000
"""Users of whom it is remembered by which id the server names them."""


class Reading(NamedTuple):
    """What was read in one poll."""

    counts: ServerCounts | None
    """None where not all nodes told."""
    reason: str | None
    """Why there are none."""
    statuses: Mapping[str, Status]
    """By node, of those that answered."""
    took: float
    """Seconds from the first request to the last answer: what was counted may be so much older than the statuses."""


class CountsReader:
    """Reads the counts. It makes three requests of each node, and one more for a user who is new among the holders."""

    def __init__(self, client: CmsClient) -> None:
        self._client = client
        self._addresses: OrderedDict[str, str] = OrderedDict()

    async def read(self) -> Reading:
        """Read what all nodes count, all at the same time; raises nothing, for a node that is away is said."""
        clock = asyncio.get_running_loop().time
        began = clock()
        told = await self._client.each(self._client.multiparty_licensing)
        payers = await self._client.each(self._client.active_personal_licenses)
        found = await self._client.each(self._client.status)
        took = clock() - began
        statuses = {node: status for node, status in found.items() if not isinstance(status, CmsError)}
        answers = [one for part in (told, payers, found) for one in part.values()]
        if problem := next((one for one in answers if isinstance(one, CmsError)), None):
            return Reading(None, str(problem), statuses, took)
        lacking = next((node for part in (told, payers) for node, one in part.items() if one is None), None)
        if lacking is not None:
            return Reading(None, f"{lacking} tells no license counts.", statuses, took)
        licenses = [one for one in told.values() if isinstance(one, MultipartyLicensing)]
        users = [user for one in payers.values() if isinstance(one, tuple) for user in one]
        try:
            personal = await self._personal(users)
        except CmsError as unknown:
            return Reading(None, str(unknown), statuses, took)
        return Reading(_summed(licenses, personal), None, statuses, took)

    async def _personal(self, users: list[ActivePersonalLicense]) -> dict[str, Decimal]:
        found: dict[str, Decimal] = {}
        for user in users:
            address = await self._address(user)
            weighted = user.weighted_calls_active
            plain = Decimal(user.calls_active or 0)
            found[address] = found.get(address, Decimal()) + (plain if weighted is None else weighted)
        return {address: weighted for address, weighted in found.items() if weighted}

    async def _address(self, user: ActivePersonalLicense) -> str:
        """Return whose license it is, as our own addresses are spelled; the id where nothing leads to one."""
        if user.user_jid:
            return normalize_address(user.user_jid) or user.user_jid
        if user.user_id is None:
            return "unknown"
        known = self._addresses.get(user.user_id)
        if known is None:
            found = await self._client.user(user.user_id)
            known = (normalize_address(found.jid) if found and found.jid else None) or user.user_id
            self._addresses[user.user_id] = known
            if len(self._addresses) > USERS_REMEMBERED:
                self._addresses.popitem(last=False)
        return known


def _summed(nodes: list[MultipartyLicensing], personal: dict[str, Decimal]) -> ServerCounts:
    def weighted(name: str, plain: str) -> Decimal:
        values = [(getattr(node, name), getattr(node, plain)) for node in nodes]
        return sum((Decimal(other or 0) if value is None else value for value, other in values), Decimal())

    return ServerCounts(
        meetings=weighted("weighted_calls_active", "calls_active"),
        shared=weighted("weighted_calls_without_personal_license", "calls_without_personal_license"),
        personal=personal,
        participants=sum(node.participants_active or 0 for node in nodes),
        calls=sum(node.calls_active or 0 for node in nodes),
    )
