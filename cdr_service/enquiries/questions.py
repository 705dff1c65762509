"""Questions that come up while documents are taken in, asked beside the intake and never on its way.

They wait in a bounded queue. What finds no place, or cannot be asked because the API is away, is dropped: the directory
covers for it at its next reading, and a silent call is asked for again.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import structlog

from cdr_service.cms.errors import CmsError
from cdr_service.domain.commit import Commit
from cdr_service.ending import end
from cdr_service.enquiries.enquiries import Enquiries
from cdr_service.enquiries.matters import begun, is_lync, strangers
from cdr_service.errors import Draining, StoreUnavailable

WAITING_MAX: Final = 1000
ASKING: Final = 4
"""Questions under way at a time; a node is asked one thing at a time anyway (see `cms.node`)."""
ANSWER_SECONDS: Final = 60.0
"""So long it counts whether a silent call is still there."""
REMEMBERED: Final = 10_000
"""So many legs are remembered that were asked about."""


class Questions:
    """The queue of one deployment."""

    def __init__(self, deployment: str) -> None:
        self._waiting: asyncio.Queue[tuple[str, str]] = asyncio.Queue(WAITING_MAX)
        self._queued: set[tuple[str, str]] = set()
        self._asked: OrderedDict[str, None] = OrderedDict()
        self._lives: dict[str, tuple[float, bool]] = {}
        self._log = structlog.get_logger().bind(deployment=deployment)

    def look_at(self, commit: Commit) -> None:
        """Find what is worth asking in what was just committed."""
        for call in begun(commit):
            if call.cospace or is_lync(call):
                self._ask("space", call.id)
        for leg in strangers(commit):
            if leg.id not in self._asked:
                self._asked[leg.id] = None
                if len(self._asked) > REMEMBERED:
                    self._asked.popitem(last=False)
                self._ask("user", leg.id)

    def lives(self, call: str) -> bool | None:
        """Say whether the server still has a call; None while that is not known, and then it is asked."""
        at, lives = self._lives.pop(call, (0.0, False))
        if at and asyncio.get_running_loop().time() - at < ANSWER_SECONDS:
            return lives
        self._ask("lives", call)
        return None

    @asynccontextmanager
    async def asking(self, enquiries: Enquiries) -> AsyncIterator[None]:
        """Ask what waits while the context lasts."""
        async with AsyncExitStack() as stack:
            for _ in range(ASKING):
                stack.push_async_callback(end, asyncio.create_task(self._work(enquiries)))
            yield

    def _ask(self, what: str, about: str) -> None:
        question = (what, about)
        if question not in self._queued and not self._waiting.full():
            self._queued.add(question)
            self._waiting.put_nowait(question)

    async def _work(self, enquiries: Enquiries) -> None:
        while True:
            what, about = await self._waiting.get()
            try:
                await self._put(enquiries, what, about)
            except (CmsError, StoreUnavailable, Draining):
                pass  # dropped, as said above
            except Exception:  # noqa: BLE001 - the next question must not fall with this one
                self._log.exception("upkeep.failed")
            finally:
                self._queued.discard((what, about))
                self._waiting.task_done()

    async def _put(self, enquiries: Enquiries, what: str, about: str) -> None:
        match what:
            case "space":
                await enquiries.space(about)
            case "user":
                await enquiries.user(about)
            case _:
                self._lives[about] = (asyncio.get_running_loop().time(), await enquiries.lives(about))
