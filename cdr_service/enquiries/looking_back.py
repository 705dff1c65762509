"""Reads now and then, where this process has the lease, what the Meeting Server itself says was in use (from 2.6).

What it told is kept, so that whoever looks at it costs the Meeting Server nothing.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Protocol

import structlog

from cdr_service.cms.budget import Budget
from cdr_service.cms.client import CmsClient
from cdr_service.cms.errors import CmsError
from cdr_service.cms.past import past_use
from cdr_service.domain.past import EVERY, KEPT, PastUse, merged
from cdr_service.errors import StoreUnavailable

POLLS: Final = 15
"""It is read once in so many polls of the counts: every two and a half minutes by default, twice per entry."""
REQUESTS: Final = 100
"""To each node at a time: three days take some 45 pages."""
TELLS_LATE: Final = 2 * EVERY
"""Entries of so long before the newest that is known are read again: another node may have told later."""


class KeptUse(Protocol):
    """Where it is kept. Every method may raise StoreUnavailable."""

    async def past_use(self, deployment: str) -> list[PastUse]:
        """Return what was told, newest first."""
        ...

    async def keep_past_use(self, deployment: str, told: Sequence[PastUse]) -> None:
        """Keep what was told."""
        ...


class LookingBack:
    """Reads the past use of one deployment."""

    def __init__(self, deployment: str, client: CmsClient, kept: KeptUse, seconds: float) -> None:
        """Read it every so many seconds."""
        self._deployment = deployment
        self._client = client
        self._kept = kept
        self._seconds = seconds
        self._log = structlog.get_logger().bind(deployment=deployment)

    async def run(self, leads: asyncio.Event) -> None:
        """Read while `leads` is set, until cancelled."""
        while True:
            await leads.wait()
            try:
                with suppress(CmsError, StoreUnavailable):  # who asks for more than this says so
                    await self.once()
            except Exception:  # noqa: BLE001 - the next reading must not fall with this one
                self._log.exception("upkeep.failed")
            await asyncio.sleep(self._seconds * random.uniform(0.9, 1.1))  # noqa: S311 - guards nothing

    async def once(self) -> None:
        """Read what is new, and keep it. Raises CmsError and StoreUnavailable."""
        now = time.time_ns() // 1_000_000
        known = await self._kept.past_use(self._deployment)
        since = max(now - KEPT, known[0].at - TELLS_LATE if known else 0)
        with Budget(REQUESTS).spending():
            told = await past_use(self._client, since, now)
        now_known = merged(known, told, now)
        if now_known != known:
            await self._kept.keep_past_use(self._deployment, now_known)
