"""Past use of licenses, as the nodes of a deployment tell it (`MPLicenseUsage`, from 2.6), summed up over them."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from cdr_service.cms.client import CmsClient
from cdr_service.cms.errors import CmsError
from cdr_service.cms.objects import MpLicenseUsage
from cdr_service.domain.past import EVERY, PastUse


async def past_use(client: CmsClient, since: int, until: int) -> list[PastUse]:
    """Read past use, newest first; moments of which not all nodes tell are left out. Raises CmsError."""

    async def read(node: str) -> tuple[MpLicenseUsage, ...]:
        host = (await client.status(node)).host_id
        return await client.mp_license_usage(node, host=host, since=since, until=until) or ()

    found = await client.each(read)
    if problem := next((told for told in found.values() if isinstance(told, CmsError)), None):
        raise problem
    return _summed({node: told for node, told in found.items() if not isinstance(told, CmsError)})


def _summed(by_node: Mapping[str, Iterable[MpLicenseUsage]]) -> list[PastUse]:
    entries: dict[int, dict[str, MpLicenseUsage]] = {}
    for node, told in by_node.items():
        for entry in told:
            # Several in one slot: the newest counts, once for each node.
            entries.setdefault(entry.time // EVERY, {}).setdefault(node, entry)
    found: list[PastUse] = []
    for slot in sorted(entries, reverse=True):
        if len(entries[slot]) == len(by_node):
            together = entries[slot].values()
            found.append(
                PastUse(
                    max(entry.time for entry in together),
                    sum((entry.pmp for entry in together), Decimal()),
                    sum((entry.smp_full for entry in together), Decimal()),
                    sum((entry.smp_audio for entry in together), Decimal()),
                    sum((entry.smp_point_to_point for entry in together), Decimal()),
                )
            )
    return found
