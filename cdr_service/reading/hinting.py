"""Gathers what hints are made from (`domain.hints`), for what is shown to somebody just now."""

from collections.abc import Mapping
from typing import Final

from cdr_service.domain.calls import Call, Meeting
from cdr_service.domain.hints import Around, meeting_hints, usage_hints, wants_payer
from cdr_service.domain.legs import Leg
from cdr_service.domain.options import Options
from cdr_service.domain.spaces import Server
from cdr_service.domain.workspace import SERVER
from cdr_service.reading.gathering import Gathering, Reads

LEGS_MAX: Final = 500
"""Of a larger meeting, so many legs are looked at."""


class Hinting:
    """Makes hints. Every method may raise StoreUnavailable."""

    def __init__(self, reads: Reads, gathering: Gathering) -> None:
        self._reads = reads
        self._gathering = gathering

    async def of_meeting(self, deployment: str, options: Options, meeting: Meeting, calls: list[Call]) -> list[str]:
        """Return what to look at in a meeting; its legs are read only where it is on SMP+."""
        if meeting.timeline.participants == 0:
            return []
        legs: list[Leg] = []
        if wants_payer(meeting, options):
            on_calls = await self._reads.leg_ids(deployment, meeting.calls)
            ids = sorted({leg for ids in on_calls for leg in ids})[:LEGS_MAX]
            legs = await self._gathering.things(deployment, Leg, ids)
        directory = await self._reads.directory(deployment)
        return meeting_hints(meeting, calls, legs, Around(directory, options))

    async def of_usage(
        self, deployment: str, options: Options, counts: Mapping[str, int], assigned: int | None, bought: int | None
    ) -> list[str]:
        """Return what to look at in a deployment."""
        (server,) = await self._reads.things(deployment, [SERVER])
        release = server.release if isinstance(server, Server) else None
        return usage_hints(counts, options, release=release, assigned=assigned, limit_personal=bought)
