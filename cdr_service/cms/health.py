"""Whether Call Bridges push to us: their CDR receivers, alarms, clocks and releases."""

import time
from collections.abc import Collection, Mapping
from typing import Final

from cdr_service.cms.client import CmsClient
from cdr_service.cms.errors import CmsError
from cdr_service.cms.objects import Alarm
from cdr_service.domain.receivers import NodeHealth, registered

CDR_ALARMS: Final = "cdr"
"""Alarms whose type begins so concern CDRs (`cdrConnectionFailure`, Cisco API reference)."""


async def node_health(
    client: CmsClient, deployment: str, tokens: Collection[str], bridges: Mapping[str, str]
) -> list[NodeHealth]:
    """Read how it stands with all nodes; three requests of each. `bridges` are the Call Bridges by node."""

    async def read(node: str) -> NodeHealth:
        status = await client.status(node)
        asked = time.time_ns() // 1_000_000
        receivers = (await client.cdr_receivers(node)).receivers
        alarms = await client.alarms(node)
        return NodeHealth(
            node=node,
            call_bridge=bridges.get(node),
            receiver=registered((one.uri for one in receivers), deployment, tokens),
            alarms=tuple(_told(alarm) for alarm in alarms if (alarm.type or "").lower().startswith(CDR_ALARMS)),
            clock_offset=None if status.cdr_time is None else status.cdr_time - asked,
            release=status.software_version,
        )

    found = await client.each(read)
    return [
        NodeHealth(node=node, call_bridge=bridges.get(node), problem=str(told)) if isinstance(told, CmsError) else told
        for node, told in found.items()
    ]


def _told(alarm: Alarm) -> str:
    return f"{alarm.type} ({alarm.failure_reason})" if alarm.failure_reason else str(alarm.type)
