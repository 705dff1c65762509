"""Hours of a service beside a simulated Meeting Server, in simulated time.

It is the product's own reconciler with all that it works by, an API that is busy, slow or away, and records that come
late, twice or never. Only sockets and the store are left out.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Self

from cdr_service.cms.client import CmsClient
from cdr_service.cms.counts import CountsReader
from cdr_service.cms.health import node_health
from cdr_service.cms.live import Live
from cdr_service.cms.node import Node, Pace
from cdr_service.domain.calls import Call
from cdr_service.domain.directory import Directory
from cdr_service.domain.events import Event
from cdr_service.domain.fitting import Choice, Fit, choices
from cdr_service.domain.options import Options
from cdr_service.domain.pages import Listing, Place
from cdr_service.domain.receivers import NodeHealth
from cdr_service.domain.reconciling import Reconciliation
from cdr_service.domain.sessions import Bridge as KnownBridge
from cdr_service.domain.workspace import DIRECTORY, LEGS_OF, Key
from cdr_service.enquiries.enquiries import Enquiries
from cdr_service.enquiries.healing import Healing
from cdr_service.enquiries.reconciling import Means, Pacing, Reconciler
from cdr_service.enquiries.state import Bookreader
from cdr_service.parting import Task
from cdr_service.simulator.api import PASSWORD, USERNAME, ApiServer, Asked, Told
from cdr_service.simulator.api_licenses import Rules
from cdr_service.simulator.api_model import Directory as ServerDirectory
from cdr_service.simulator.api_nodes import Deployment
from cdr_service.simulator.bridge import Bridge, Feed
from cdr_service.simulator.meeting import Step
from cdr_service.simulator.records import Identity
from cdr_service.simulator.scenarios import START
from tests.unit.books import Books


class Post(NamedTuple):
    """How documents come."""

    late: float = 0.0
    """By how many seconds at most."""
    twice: float = 0.0
    """Which share comes a second time."""
    lost: tuple[str, ...] = ()
    """The calls and legs of which no record comes that is generated while it is so."""


class Hour:
    """A Meeting Server that plays what is scripted, and a service that gets its records and asks its API."""

    def __init__(
        self,
        bridges: Sequence[Identity],
        steps: Iterable[Step],
        *,
        theirs: ServerDirectory,
        ours: Directory,
        rules: Rules | None = None,
        options: Options | None = None,
        release: str = "3.0.1",
        ahead: float = 0.0,
        seed: int = 0,
    ) -> None:
        """`ahead` is by how many seconds the server's clock is ahead of ours."""
        self._ahead = timedelta(seconds=ahead)
        self.bridges = [Bridge(identity) for identity in bridges]
        self.feeds = [bridge.add_receiver() for bridge in self.bridges]
        self.server = Deployment(
            self.bridges, theirs, rules=rules, lag=(10.0, 15.0), release=release, seed=seed, clock=self._their_clock
        )
        self.apis = [ApiServer(node) for node in self.server.nodes]
        self.options = options or Options()
        self.books = Books(ours, self.options)
        self.books.things[DIRECTORY] = ours
        self.post = Post()
        self.standing: Reconciliation | None = None
        self.stood: list[Reconciliation] = []
        """Where the comparison stood after each poll."""
        self.known_fit = Fit()
        self.health: Sequence[NodeHealth] = ()
        self.steps = list(steps)
        """What is scripted."""
        self._chance = random.Random(f"{seed}/post")
        self._forgotten: set[str] = set()

    def _their_clock(self) -> datetime:
        try:
            passed = asyncio.get_running_loop().time()
        except RuntimeError:
            passed = 0.0
        return START + self._ahead + timedelta(seconds=passed)

    def clock(self) -> int:
        """Return our own time, in milliseconds."""
        return int((self._their_clock() - self._ahead).timestamp() * 1000)

    def emit(self, step: Step) -> None:
        """Let something happen now, unless it is of a call that a restart ended."""
        if self._forgotten & {
            step.record.id,
            str(step.record.fields.get("call")),
            str(step.record.fields.get("callLeg")),
        }:
            self._forgotten.add(step.record.id)
            return
        self.bridges[step.bridge].emit(step.record, self._their_clock())
        if step.record.id in self.post.lost:
            feed = self.feeds[step.bridge]
            while offered := feed.document():
                feed.delivered(offered)

    async def play(self, seconds: int, happens: Mapping[float, Callable[[], None]] | None = None) -> Self:
        """Let so much time pass; `happens` is done at those seconds."""
        random.seed(0)  # the reconciler's pauses, and those of a busy node's client
        moments: list[tuple[float, Callable[[], None]]]
        moments = [(step.offset, partial(self.emit, step)) for step in self.steps if step.offset < seconds]
        moments += [(float(at), what) for at, what in (happens or {}).items()]
        clock = asyncio.get_running_loop().time
        async with self._service():
            for at, what in sorted(moments, key=lambda moment: moment[0]):
                await asyncio.sleep(max(at - clock(), 0.0))
                what()
            await asyncio.sleep(max(seconds - clock(), 0.0))
        return self

    def restart(self, bridge: int) -> None:
        """Restart a bridge: it forgets its calls, and nothing is heard of them any more."""
        node = self.server.nodes[bridge]
        self._forgotten |= {*node.live.calls, *node.live.legs}
        self._forgotten |= {one for call in node.live.calls.values() for one in (*call.recordings, *call.streams)}
        self.bridges[bridge].restart(f"session-after-{self._their_clock():%H-%M-%S}")

    def lose(self, *ids: str) -> None:
        """Lose what is generated from now on of these calls and legs, and of no others."""
        self.post = self.post._replace(lost=ids)

    @asynccontextmanager
    async def means(self) -> AsyncIterator[Means]:
        """Make all that a reconciler works by."""
        reads, name = _Reads(self.books), "default"
        async with _Client(self.apis) as client:
            book, live = Bookreader(name, reads), Live(client, name)
            enquiries = Enquiries(name, live, reads, self._perform, clock=self.clock)
            yield Means(
                client.nodes,
                live,
                CountsReader(client),
                book,
                self,
                Healing(client, book, enquiries, self._perform),
                self._live,
                self._perform,
                partial(node_health, client, name, ()),
                self.clock,
            )

    @asynccontextmanager
    async def _service(self) -> AsyncIterator[None]:
        leads = asyncio.Event()
        leads.set()
        async with self.means() as means:
            reconciler = Reconciler("default", means, self.options, Pacing())
            tasks = [asyncio.create_task(self._deliver(feed)) for feed in self.feeds]
            tasks.append(asyncio.create_task(reconciler.run(leads)))
            yield
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _deliver(self, feed: Feed) -> None:
        while offered := await feed.next_document():
            await asyncio.sleep(self._chance.uniform(0, self.post.late))
            for _ in range(2 if self._chance.random() < self.post.twice else 1):
                self.books.now = self.clock()
                self.books.post(offered.body)
            feed.delivered(offered)

    async def _perform(self, task: Task) -> None:
        self.books.perform(lambda keeper, workspace: task(keeper, workspace, self.clock()))

    async def _live(self) -> list[str]:
        return [call.id for call in self.books.calls.values() if call.end is None]

    async def reconciliation(self, _: str) -> Reconciliation | None:
        """Return where the comparison stands."""
        return self.standing

    async def fit(self, _: str) -> Fit | None:
        """Return how well the policies fit."""
        return self.known_fit

    async def keep_reconciliation(self, _: str, now: Reconciliation) -> None:
        """Keep where the comparison stands."""
        self.standing = now
        self.stood.append(now)

    async def keep_nodes(self, _: str, nodes: Sequence[NodeHealth]) -> None:
        """Keep how it stands with the nodes."""
        self.health = nodes

    async def keep_fit(self, _: str, fit: Fit) -> None:
        """Keep how well the policies fit."""
        self.known_fit = fit

    def told(self, event: str) -> list[Event]:
        """Return what was told of a kind."""
        return [one for one in self.books.events if one.event == event]

    def drifts(self) -> set[tuple[str, str | None]]:
        """Return which counts, of whose licenses, were told to drift."""
        return {
            (one["count"], one["holder"])
            for event in self.told("reconcile.drift")
            for one in event.details["differences"]
        }

    def chosen(self) -> dict[str, Choice]:
        """Return what the evidence says, by setting."""
        return {one.setting: one for one in choices(self.known_fit, self.options)}


class _Client(CmsClient):
    """The product's client, whose requests reach the simulated server without a socket."""

    def __init__(self, apis: Sequence[ApiServer]) -> None:
        super().__init__([f"https://{api.node.identity.name}" for api in apis], USERNAME, PASSWORD)
        self._apis = dict(zip(self.nodes, apis, strict=True))

    async def __aenter__(self) -> Self:
        at_once: Any = asyncio.Semaphore(8)
        for url, api in self._apis.items():
            wire: Any = _Wire(api, self._authorization)
            self._nodes[url] = Node(url, wire, Pace(), at_once)
        return self


class _Wire:
    """Stands for an HTTP session to one node."""

    def __init__(self, api: ApiServer, authorization: str) -> None:
        self._api = api
        self._authorization = authorization

    def request(self, method: str, url: Any, *, data: Mapping[str, str] | None, allow_redirects: bool) -> "_Exchange":
        """Make a request."""
        assert not allow_redirects
        path = url.path.removeprefix("/api/v1/")
        return _Exchange(self._api, Asked(method, path, dict(url.query), self._authorization, data or {}))


class _Exchange:
    """Stands for a request and its response."""

    def __init__(self, api: ApiServer, asked: Asked) -> None:
        self._api = api
        self._asked = asked
        self._told = Told()

    async def __aenter__(self) -> Self:
        told = await self._api.answer(self._asked)
        if told is None:
            raise ConnectionResetError
        self._told = told
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the exchange."""

    @property
    def status(self) -> int:
        """The status."""
        return self._told.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers."""
        return self._told.headers

    @property
    def content(self) -> Self:
        """The body, to be iterated."""
        return self

    async def iter_chunked(self, _: int) -> AsyncIterator[bytes]:
        """Yield the body."""
        yield self._told.body.encode()


class _Reads:
    """The books, read as a store is."""

    def __init__(self, books: Books) -> None:
        self._books = books

    async def things(self, _: str, keys: Sequence[Key]) -> list[Any]:
        """Return things in the order of their keys."""
        return [self._books.things.get(key) for key in keys]

    async def leg_ids(self, _: str, calls: Sequence[str]) -> list[list[str]]:
        """Return the ids of the legs that were ever on each of the calls."""
        return [sorted(self._books.things.get((LEGS_OF, call), ())) for call in calls]

    async def places(
        self,
        _: str,
        listing: Listing,
        *,
        start: Place | None,
        count: int,
        oldest: int | None = None,
        newest: int | None = None,
    ) -> list[Place]:
        """Return the newest of the calls that ended since a time."""
        assert (listing, start, newest) == (Listing.ENDED, None, None)
        ended = [(call, call.end) for call in self._books.things.values() if isinstance(call, Call)]
        places = [Place(end.time, call.id) for call, end in ended if end is not None and end.time >= (oldest or 0)]
        return sorted(places, reverse=True)[:count]

    async def bridge_ids(self, _: str) -> list[str]:
        """Return the ids of all Call Bridges."""
        return [thing.id for thing in self._books.things.values() if isinstance(thing, KnownBridge)]
