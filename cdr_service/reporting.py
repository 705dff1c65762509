"""Tells what happened: events to the log, and the troubles of the store once rather than once a request."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import structlog

from cdr_service.domain.commit import Commit, Document
from cdr_service.domain.reception import Received
from cdr_service.ending import end
from cdr_service.errors import StoreFull, StoreLayoutError, StoreUnavailable
from cdr_service.logs import OR_FAIL
from cdr_service.metrics import Metrics
from cdr_service.service import Intake

UNWRITTEN_MAX: Final = 100_000
"""Events that wait for a log that cannot be written; the oldest go first. All stay in the event stream."""
DUPLICATES_SECONDS: Final = 5.0
"""So often the counts of duplicates are written; a process that is killed takes those of the last seconds with it."""
_HEAD: Final = ("event", "level")


class CountedReceiver:
    """Hands documents to an intake, and counts how each was answered and how long that took."""

    def __init__(self, intake: Intake, metrics: Metrics) -> None:
        self._intake = intake
        self._metrics = metrics

    async def receive(self, document: Document) -> None:
        """Take in a document; errors as the intake's."""
        start, outcome = time.perf_counter(), "refused"
        try:
            await self._intake.receive(document)
            outcome = "accepted" if document.batch else "not_cdr"
        finally:
            self._metrics.answered(self._intake.deployment.name, outcome, time.perf_counter() - start)


class Reporter:
    """The observer of all intakes of this process. A log that cannot be written must not hold up the intake."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._log = structlog.get_logger().bind()
        self._events = structlog.get_logger(OR_FAIL).bind()
        self._unavailable: set[str] = set()
        self._full: set[str] = set()
        self._wrong: set[tuple[str, str]] = set()
        """Stores of another release that were named."""
        self._unwritten: deque[dict[str, Any]] = deque(maxlen=UNWRITTEN_MAX)

    @property
    def all_printed(self) -> bool:
        """Are all events on the log?"""
        return not self._unwritten

    def committed(self, deployment: str, commit: Commit, received: Sequence[Received]) -> None:
        """Print the events of a commit, and count it. What cannot be written waits for the next."""
        self._unwritten.extend(commit.announcements(deployment))
        with suppress(OSError):
            while self._unwritten:
                self.print(self._unwritten[0])
                self._unwritten.popleft()
            commit.printed = True
        self._metrics.committed(deployment, commit)
        self._metrics.received(deployment, received)
        self.available(deployment)

    def print(self, told: dict[str, Any]) -> None:
        """Print the object of an event, as it is in the event stream. Raises OSError where that cannot be done."""
        members = {name: value for name, value in told.items() if name not in _HEAD}
        write = self._events.warning if told["level"] == "warning" else self._events.info
        write(told["event"], **members)

    def available(self, deployment: str, *, room: bool = False) -> None:
        """Hear that the store did what was asked; say so where it had been unavailable.

        A full one takes a small document now and then; that is told once it has `room` again.
        """
        if room:
            self._full.discard(deployment)
        if deployment in self._unavailable and deployment not in self._full:
            self._unavailable.discard(deployment)
            self._log.info("store.restored", deployment=deployment)

    def unavailable(self, deployment: str, problem: StoreUnavailable) -> None:
        """Say that the store is unavailable, once until it answers again; once more where it is not one for us."""
        wrong = isinstance(problem, StoreLayoutError) and (deployment, str(problem)) not in self._wrong
        if isinstance(problem, StoreFull):
            self._full.add(deployment)
        if wrong or deployment not in self._unavailable:
            self._unavailable.add(deployment)
            if wrong:
                self._wrong.add((deployment, str(problem)))
            self._log.error("store.unavailable", deployment=deployment, reason=str(problem))

    def failed(self, deployment: str, document: Document, problem: Exception) -> None:
        """Say that a document could not be taken in through a fault of ours."""
        self._log.error(
            "document.failed",
            deployment=deployment,
            session=document.batch.session if document.batch else None,
            bytes=len(document.body),
            exc_info=problem,
        )


@asynccontextmanager
async def noting_duplicates(
    metrics: Metrics, note: Callable[[str, Mapping[str, int]], Awaitable[None]]
) -> AsyncIterator[None]:
    """Let `note` write how many duplicates each Call Bridge sent, now and then and at the end of the context.

    So it costs a record nothing. What cannot be written is not counted: nobody knows then whether it was.
    """

    async def write() -> None:
        for deployment, counts in metrics.take_duplicates().items():
            with suppress(StoreUnavailable):
                await note(deployment, counts)

    async def keep_writing() -> None:
        while True:
            await asyncio.sleep(DUPLICATES_SECONDS)
            await write()

    task = asyncio.create_task(keep_writing())
    try:
        yield
    finally:
        await end(task)
        await write()
