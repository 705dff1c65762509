"""Call Bridges that push from several feeds, and send a document again until it is answered with 200."""

import asyncio
import io
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import chain

import aiohttp

from cdr_service.simulator.records import Document
from cdr_service.simulator.scenarios import Scenario, documents
from tests.faults.service import eventually

WAIT_SECONDS = 0.02
ANSWER_SECONDS = 15.0


async def status_of(http: aiohttp.ClientSession, url: str, body: bytes) -> int:
    """Push a document; return the status of the answer, or 0 where there is none."""
    try:
        async with http.post(url, data=io.BytesIO(body)) as answer:
            await answer.read()
            if answer.status == 503:
                assert int(answer.headers["Retry-After"]) > 0
            return answer.status
    except (aiohttp.ClientError, TimeoutError):
        return 0


async def answers(url: str, *sent: bytes) -> list[int]:
    """Push documents at the same time; return how each was answered."""
    async with aiohttp.ClientSession() as http:
        return await asyncio.gather(*(status_of(http, url, document) for document in sent))


class Sender:
    """One feed: pushes its documents in order, each to one of the targets, and again until the 200."""

    def __init__(self, feed: Iterable[Document], *targets: str, chance: random.Random, pause: float = 0.0) -> None:
        """Pause up to so many seconds after each document."""
        self.waiting = list(feed)[::-1]
        self.acknowledged: list[Document] = []
        self.repeated = 0
        """Records sent again."""
        self.refused: Counter[int] = Counter()
        """By status; 0 for no answer."""
        self._targets = targets
        self._chance = chance
        self._pause = pause

    async def run(self) -> None:
        """Push until all is acknowledged."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            while self.waiting:
                await self._deliver(http, self.waiting[-1])
                self.acknowledged.append(self.waiting.pop())
                await asyncio.sleep(self._chance.uniform(0, self._pause))

    async def _deliver(self, http: aiohttp.ClientSession, document: Document) -> None:
        while True:
            status = await status_of(http, self._chance.choice(self._targets), document.body)
            if status == 200:
                return
            self.refused[status] += 1
            self.repeated += len(document.records)
            await asyncio.sleep(self._chance.uniform(0, 2 * WAIT_SECONDS))


class Load:
    """Everything that the bridges of a scenario have to tell, over so many feeds of each."""

    def __init__(self, scenario: Scenario, *targets: str, feeds: int = 1, seed: int = 0, pause: float = 0.0) -> None:
        """Push from `feeds` of each bridge to any of the targets; what is drawn comes from `seed`."""
        self.records = {bridge.session: 0 for bridge in scenario.bridges}
        """How many there are, by session."""
        self.senders: list[Sender] = []
        for number in range(feeds):
            written = documents(scenario, seed=number)
            for bridge in scenario.bridges:
                feed = [document for document in written if document.bridge == bridge]
                self.records[bridge.session] = sum(len(document.records) for document in feed)
                urls = [f"{url}?bridge={bridge.name}" for url in targets] if bridge.call_bridge is None else targets
                chance = random.Random(f"{seed}/{number}/{bridge.name}")
                self.senders.append(Sender(feed, *urls, chance=chance, pause=pause))

    async def run(self) -> None:
        """Push until all is acknowledged."""
        async with asyncio.TaskGroup() as group:
            for sender in self.senders:
                group.create_task(sender.run())

    @property
    def acknowledged(self) -> list[Document]:
        """The documents that were answered with 200."""
        return list(chain.from_iterable(sender.acknowledged for sender in self.senders))

    @property
    def repeated(self) -> int:
        """How many records were sent again."""
        return sum(sender.repeated for sender in self.senders)

    @property
    def refused(self) -> Counter[int]:
        """How often a document was refused, by status; 0 for no answer."""
        return sum((sender.refused for sender in self.senders), Counter())


async def striking(load: Load, times: int, strike: Callable[[], Awaitable[None]], chance: random.Random) -> int:
    """Push a load and strike so often meanwhile, at moments that nothing else decides; return how often it was."""
    documents = sum(len(sender.waiting) for sender in load.senders)
    struck = 0
    async with asyncio.TaskGroup() as group:
        pushing = group.create_task(load.run())
        for enough in sorted(chance.sample(range(documents), times)):
            await eventually(lambda: pushing.done() or len(load.acknowledged) >= enough, "documents are acknowledged")  # noqa: B023
            await asyncio.sleep(chance.uniform(0, 0.01))
            if not pushing.done():
                await strike()
                struck += 1
    return struck


def keys(sent: Iterable[Document]) -> set[tuple[str, int]]:
    """Return what tells the records of documents apart, over all feeds."""
    return {(one.bridge.session, record.correlator_index) for one in sent for record in one.records}


def bodies(sent: Sequence[Document]) -> list[bytes]:
    """Return what goes over the wire."""
    return [document.body for document in sent]
