"""The use case: follow the event stream. One reading of the store per process serves all who follow.

Each reader has a place rather than a queue: what was told last is kept once for all readers who want the same, and a
reader that has not come along when it goes is dropped. So a reader that is slow, or to whom nothing is told, costs
nothing but its connection. A reader who comes again after a pause first reads the store itself, up to its end, and goes
on from there with what all are told.
"""

import asyncio
import itertools
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, NamedTuple, Protocol

import msgspec

from cdr_service.domain.announcements import rfc3339
from cdr_service.domain.event_stream import RESET, EventFilter, Point, Points, encode_points, read_told
from cdr_service.ending import end
from cdr_service.errors import StoreUnavailable

READERS_MAX: Final = 8000
"""Readers of one process."""
KEPT: Final = 2000
"""Events kept for readers who have not come along yet."""
CHUNK: Final = 500
POLL_SECONDS: Final = 0.2
READY_SECONDS: Final = 5.0
"""How long a reader who comes waits for the store."""


class Entry(NamedTuple):
    """An event in the stream of its deployment."""

    point: Point
    told: bytes
    """Its object, as JSON."""


class Piece(NamedTuple):
    """A part of a stream."""

    entries: Sequence[Entry]
    end: Point
    """How far it goes."""
    lost: bool = False
    """Something before it is gone, or cannot be told to be there."""


class EventReads(Protocol):
    """What is needed of the store. Every method may raise StoreUnavailable."""

    async def end(self, deployment: str) -> Point:
        """Return the point after which everything is new."""
        ...

    async def after(self, deployment: str, point: Point, count: int) -> Piece:
        """Return up to `count` entries after a point."""
        ...


Render = Callable[[str, str, bytes], bytes]
"""Makes what a reader gets of an event from the id by which it can be followed on, the event's name and its object."""


class Behind(Exception):  # noqa: N818  nothing is wrong but the reader's pace
    """The reader is so slow that what it should get next is no longer kept."""


class Ended(Exception):  # noqa: N818  nothing is wrong
    """The service is about to stop: the reader is to come again."""


class _Item(NamedTuple):
    """An event that is told to the readers of one group."""

    number: int
    deployment: str
    point: Point
    event: str
    told: bytes
    rendered: bytes


class _Group:
    """The readers who want the same."""

    def __init__(self, wanted: EventFilter, deployments: Iterable[str]) -> None:
        self.wanted = wanted
        self.deployments = tuple(deployments)
        self.items: deque[_Item] = deque()
        self.gone = 0
        """The number of the last item that is no longer kept."""
        self.news = asyncio.Event()
        self.readers = 0

    def add(self, item: _Item) -> None:
        if len(self.items) == KEPT:
            self.gone = self.items.popleft().number
        self.items.append(item)
        self.wake()

    def wake(self) -> None:
        self.news.set()
        self.news = asyncio.Event()


class EventStream:
    """Follows the streams of all deployments as long as somebody reads."""

    def __init__(
        self,
        deployments: Iterable[str],
        reads: EventReads,
        clock: Callable[[], int],
        render: Render,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """`clock` returns milliseconds since 1970 UTC; `poll_seconds` is how often the streams are looked at."""
        self.deployments = tuple(deployments)
        self.reads = reads
        self.render = render
        self.ended = False
        self.number = 0
        """How many events were told so far."""
        self.points: dict[str, Point] = {}
        """How far the streams were read; of one that is not read now nothing."""
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._groups: dict[EventFilter, _Group] = {}
        self._wanted = asyncio.Event()
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["EventStream"]:
        """Follow while the context lasts."""
        async with AsyncExitStack() as stack:
            for deployment in self.deployments:
                stack.push_async_callback(end, asyncio.create_task(self._follow(deployment)))
            yield self
            self.end()

    def end(self) -> None:
        """Tell all readers that the service is about to stop."""
        self.ended = True
        for group in self._groups.values():
            group.wake()

    @asynccontextmanager
    async def reader(self, wanted: EventFilter, after: Points | None) -> AsyncIterator["Reader"]:
        """Read what is wanted, after these points or from now on. Raises StoreUnavailable."""
        if sum(group.readers for group in self._groups.values()) >= READERS_MAX:
            raise StoreUnavailable("There are too many readers of events.")
        names = [wanted.deployment] if wanted.deployment is not None else self.deployments
        group = self._groups.setdefault(wanted, _Group(wanted, names))
        group.readers += 1
        self._wanted.set()
        try:
            await self._ready(group.deployments)
            yield Reader(self, group, after)
        finally:
            group.readers -= 1
            if not group.readers:
                del self._groups[wanted]

    async def _ready(self, deployments: Iterable[str]) -> None:
        """Wait until streams are read."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                while any(deployment not in self.points for deployment in deployments):
                    await self._changed.wait()
        except TimeoutError:
            raise StoreUnavailable("The event stream cannot be read.") from None

    async def _follow(self, deployment: str) -> None:
        """Read the stream of one deployment on and on, while somebody wants it."""
        while True:
            if not self._groups:
                self.points.pop(deployment, None)
                self._wanted.clear()
                await self._wanted.wait()
            more = False
            try:
                more = await self._read_on(deployment)
            except StoreUnavailable:
                pass  # the intake and the upkeep say so; here it goes on where it was
            except Exception as problem:  # noqa: BLE001 - a stream that stands still without a word helps nobody
                fault = {"message": "the event stream cannot be followed", "exception": problem}
                asyncio.get_running_loop().call_exception_handler(fault)
            await asyncio.sleep(0 if more else self._poll_seconds)

    async def _read_on(self, deployment: str) -> bool:
        """Tell what is new in a stream; return whether there is more."""
        if deployment not in self.points:
            self.points[deployment] = await self.reads.end(deployment)
            self._changed.set()
            self._changed = asyncio.Event()
        piece = await self.reads.after(deployment, self.points[deployment], CHUNK)
        self._tell(deployment, piece)
        return len(piece.entries) == CHUNK

    def _tell(self, deployment: str, piece: Piece) -> None:
        """Give a piece to all who want something of it."""
        if piece.lost:
            # With the id from before: whoever gets no further than this is to hear of it again.
            self._add(deployment, self.points[deployment], RESET, self.reset(deployment), self._groups.values())
        for entry in piece.entries:
            told = read_told(entry.told)
            self.points[deployment] = entry.point
            groups = [group for group in self._groups.values() if group.wanted.wants(deployment, told)]
            self._add(deployment, entry.point, told.event, entry.told, groups)
        self.points[deployment] = piece.end

    def _add(self, deployment: str, point: Point, event: str, told: bytes, groups: Iterable[_Group]) -> None:
        self.number += 1
        for group in groups:
            if deployment in group.deployments:
                id_ = encode_points({name: self.points[name] for name in group.deployments if name in self.points})
                group.add(_Item(self.number, deployment, point, event, told, self.render(id_, event, told)))

    def reset(self, deployment: str) -> bytes:
        """Return the object of the event that says that continuity was lost."""
        return msgspec.json.encode(
            {
                "event": RESET,
                "timestamp": rfc3339(self._clock()),
                "level": "warning",
                "deployment": deployment,
                "reason": "events between are gone, or cannot be told to be there: read the state anew",
            }
        )


class Reader:
    """One who follows. First comes what happened before, by `catch_up`; then, again and again, what is new."""

    def __init__(self, stream: EventStream, group: _Group, after: Points | None) -> None:
        self._stream = stream
        self._group = group
        self._number = stream.number
        now = {name: stream.points[name] for name in group.deployments}
        self._unknown = [name for name in now if after is not None and name not in after]
        self._points = {name: (after or now).get(name, now[name]) for name in now}
        """How far this reader was told what happened."""
        self._ahead: dict[str, Point] = dict(self._points) if after is not None else {}
        """Where it may have read further than what all are told."""

    @property
    def id(self) -> str:
        """The id by which it can go on."""
        return encode_points(self._points)

    async def catch_up(self) -> AsyncIterator[bytes]:
        """Give what happened since its points, from the store. Raises StoreUnavailable."""
        for name in self._unknown:
            yield self._render(RESET, self._stream.reset(name))
        again = bool(self._ahead)
        while again:
            self._number = self._stream.number
            for name in self._ahead:
                async for rendered in self._read(name):
                    yield rendered
            # What was told meanwhile must still be kept for us.
            again = self._number < self._group.gone
        self._ahead = {name: self._points[name] for name in self._ahead}

    async def _read(self, name: str) -> AsyncIterator[bytes]:
        """Read one stream to its end."""
        more = True
        while more:
            piece = await self._stream.reads.after(name, self._points[name], CHUNK)
            rendered = [self._render(RESET, self._stream.reset(name))] if piece.lost else []
            for entry in piece.entries:
                told = read_told(entry.told)
                self._points[name] = entry.point
                if self._group.wanted.wants(name, told):
                    rendered.append(self._render(told.event, entry.told))
            self._points[name] = piece.end
            if rendered:
                yield b"".join(rendered)
            more = len(piece.entries) == CHUNK

    async def news(self, seconds: float) -> bytes:
        """Wait so long for what is new, and return all of it; empty where there is nothing. Raises Behind and Ended."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    news = self._group.news
                    if self._stream.ended:
                        raise Ended
                    if self._number < self._group.gone:
                        raise Behind
                    if rendered := self._taken():
                        return rendered
                    await news.wait()
        except TimeoutError:
            rendered = self._taken()
            if not rendered:
                self._pass()
            return rendered

    def _pass(self) -> None:
        """Go past what was not wanted, so that it need not be looked for again."""
        for name, point in self._stream.points.items():
            if name in self._points and (name not in self._ahead or self._ahead[name].order <= point.order):
                self._ahead.pop(name, None)
                self._points[name] = point

    def _taken(self) -> bytes:
        rendered: list[bytes] = []
        items = self._group.items
        for item in itertools.islice(items, self._first(), None):
            self._number = item.number
            if item.event == RESET:
                self._ahead.pop(item.deployment, None)
            elif item.deployment in self._ahead:
                if item.point.order <= self._ahead[item.deployment].order:
                    continue
                del self._ahead[item.deployment]
            self._points[item.deployment] = item.point
            rendered.append(self._render(item.event, item.told) if self._ahead else item.rendered)
        return b"".join(rendered)

    def _first(self) -> int:
        """Return where in the group's items those begin that are new to this reader."""
        return bisect_right(self._group.items, self._number, key=lambda item: item.number)

    def _render(self, event: str, told: bytes) -> bytes:
        return self._stream.render(self.id, event, told)
