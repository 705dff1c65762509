"""A simulated Call Bridge: numbers its records, keeps a queue for each receiver, and offers a document until the 200.

What Cisco does not document (how long it waits between two attempts, how much it keeps) is a parameter with a
harmless default. See `docs/cdr.md`, sections 2 and 3.
"""

import asyncio
import random
from collections import deque
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import Protocol

import aiohttp
from yarl import URL

from cdr_service.simulator.records import Document, Identity, NumberedRecord, Record, document

BUFFER = 100_000
"""How many records a receiver's queue keeps before it discards the oldest."""
LARGEST_DOCUMENT = 3
"""At most so many records in one document; most captured documents hold one."""

HEADERS = {"Content-Type": "text/xml"}
"""Headers of a push. Cisco publishes none; an XML media type is likely."""

_HINTS: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "; it wants a token, or another one",
    HTTPStatus.FORBIDDEN: "; it does not let this machine push",
    HTTPStatus.NOT_FOUND: "; the path of a receiver is /cdr or /cdr/DEPLOYMENT, and the deployment must be configured",
    HTTPStatus.METHOD_NOT_ALLOWED: "; the path of a receiver is /cdr or /cdr/DEPLOYMENT",
    HTTPStatus.SERVICE_UNAVAILABLE: "; it cannot store records now",
}


class Watcher(Protocol):
    """Sees what a Call Bridge generates at the moment when it does, whatever comes of the delivery."""

    def put(self, record: NumberedRecord) -> None:
        """See a record."""

    def restart(self, bridge: Identity) -> None:
        """See that the bridge was restarted, and who it is now."""


class Feed:
    """The queue of one receiver: its own recordIndex, bounded, and nothing forgotten before it was delivered."""

    def __init__(
        self, bridge: Identity, *, buffer: int = BUFFER, largest: int = LARGEST_DOCUMENT, seed: int = 0
    ) -> None:
        self._bridge = bridge
        self._buffer = buffer
        self._largest = largest
        self._random = random.Random(f"{seed}/documents")  # noqa: S311 (repeatable by its seed, guards nothing)
        self._queue: deque[NumberedRecord] = deque()
        self._next_index = 1
        self._missing = 0
        self._offered: Document | None = None
        self._changed = asyncio.Event()
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many records were not delivered yet."""
        return len(self._queue) + (len(self._offered.records) if self._offered else 0)

    def put(self, record: NumberedRecord) -> None:
        """Queue a record; where the buffer is full the oldest one goes and is counted as missing."""
        if len(self._queue) >= self._buffer:
            self._queue.popleft()
            self._missing += 1
        self._queue.append(record)
        self._changed.set()

    def document(self) -> Document | None:
        """Return the document on offer, the same one until it is delivered; None where nothing waits."""
        if self._offered is None and self._queue:
            count = min(len(self._queue), self._random.randint(1, self._largest))
            self._offered = document(self._bridge, [self._take() for _ in range(count)])
        return self._offered

    def delivered(self, offered: Document) -> None:
        """Forget a document for good: its 200 was received."""
        if self._offered is offered:
            self._offered = None

    async def next_document(self) -> Document | None:
        """Wait for a document to offer; None once the feed is closed and everything was delivered."""
        while (offered := self.document()) is None and not self._closed:
            self._changed.clear()
            await self._changed.wait()
        return offered

    def close(self) -> None:
        """Say that no more records will come."""
        self._closed = True
        self._changed.set()

    def restart(self, bridge: Identity) -> None:
        """Begin a new session: what was not delivered is lost, because a Call Bridge keeps no archive."""
        self._bridge = bridge
        self._queue.clear()
        self._offered = None
        self._next_index, self._missing = 1, 0

    def _take(self) -> NumberedRecord:
        record = replace(self._queue.popleft(), record_index=self._next_index, missing=self._missing)
        self._next_index += 1
        self._missing = 0
        return record


class Bridge:
    """One Call Bridge: gives each record its time and correlatorIndex, and puts it into every receiver's queue."""

    def __init__(self, identity: Identity, *, first_index: int = 0) -> None:
        self.identity = identity
        self.feeds: list[Feed] = []
        self.watchers: list[Watcher] = []
        self._next_index = first_index

    @property
    def next_index(self) -> int:
        """The correlatorIndex of the next record."""
        return self._next_index

    def add_receiver(self, *, buffer: int = BUFFER, largest: int = LARGEST_DOCUMENT, seed: int = 0) -> Feed:
        """Add a receiver; one that comes late starts at recordIndex 1 and gets no history."""
        feed = Feed(self.identity, buffer=buffer, largest=largest, seed=seed)
        self.feeds.append(feed)
        return feed

    def emit(self, record: Record, time: datetime) -> None:
        """Generate a record at a time."""
        numbered = NumberedRecord(record, time, self._next_index)
        self._next_index += 1
        for watcher in (*self.feeds, *self.watchers):
            watcher.put(numbered)

    def restart(self, session: str) -> None:
        """Restart the process: a new session, all indices from the start, open calls never heard of again."""
        self.identity = replace(self.identity, session=session)
        self._next_index = 0
        for watcher in (*self.feeds, *self.watchers):
            watcher.restart(self.identity)


class Sender:
    """Pushes one feed to one receiver over a connection that it keeps, in order, until the 200."""

    def __init__(
        self,
        feed: Feed,
        url: URL,
        *,
        line: asyncio.Event | None = None,
        answer_within: float = 10.0,
        first_wait: float = 0.2,
        longest_wait: float = 5.0,
    ) -> None:
        """Push over a `line` that is up while it is set; given none, it always is."""
        self.documents = 0
        """Documents delivered."""
        self.records = 0
        """Records delivered."""
        self.repeats = 0
        """How often a document was offered again."""
        self.trouble: str | None = None
        """Why the last attempt did not succeed, without the secrets of the URL; None once one does."""
        self._feed = feed
        self._url = url
        self._line = line
        self._answer_within = answer_within
        self._first_wait = first_wait
        self._longest_wait = longest_wait

    async def run(self) -> None:
        """Push until the feed is closed and empty."""
        timeout = aiohttp.ClientTimeout(total=self._answer_within)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1), timeout=timeout) as http:
            while offered := await self._feed.next_document():
                await self._deliver(http, offered)

    async def _deliver(self, http: aiohttp.ClientSession, offered: Document) -> None:
        wait = self._first_wait
        # A restart of the bridge takes the document off offer in the middle of the attempts.
        while self._feed.document() is offered:
            if self._line is not None:
                await self._line.wait()
            self.trouble = await self._attempt(http, offered.body)
            if self.trouble is None:
                self._feed.delivered(offered)
                self.documents += 1
                self.records += len(offered.records)
                return
            await asyncio.sleep(wait)
            wait = min(2 * wait, self._longest_wait)
            self.repeats += 1

    async def _attempt(self, http: aiohttp.ClientSession, body: bytes) -> str | None:
        try:
            async with http.post(self._url, data=body, headers=HEADERS, allow_redirects=False) as answer:
                await answer.read()
                return None if answer.status == HTTPStatus.OK else refusal(self._url, answer.status)
        except (aiohttp.ClientError, TimeoutError) as error:
            return no_answer(self._url, error)


def receiver_url(target: str, *, token: str | None = None, bridge: str | None = None) -> URL:
    """Build a receiver's URL, path and query as given, with our parameters added.

    Raises ValueError with one sentence, which does not repeat the query, where `target` is no http(s) URL.
    """
    try:
        url = URL(target)
        usable = url.scheme in {"http", "https"} and url.host is not None and url.port is not None
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("The target must be a URL such as http://127.0.0.1:8080/cdr.")
    if token:
        url = url.update_query(token=token)
    if bridge:
        url = url.update_query(bridge=bridge)
    return url


def refusal(url: URL, status: int) -> str:
    """Say that a receiver answered with something else than 200, without the secrets of its URL."""
    return f"{url.host}:{url.port} answered {status}{_HINTS.get(status, '')}"


def no_answer(url: URL, error: Exception) -> str:
    """Say that a receiver gave no answer, without the secrets of its URL."""
    cause = error.os_error.strerror if isinstance(error, aiohttp.ClientConnectorError) else None
    return f"{url.host}:{url.port} gave no answer ({cause or type(error).__name__})"
