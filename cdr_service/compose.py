"""Puts the service together: the one place that knows all rooms, and in what order they open and close.

Opening: the store first, then the intakes, then the ports. Closing goes the other way: the ports stop accepting and
finish what is in flight, the intakes commit what waits, and the store goes last.
"""

import asyncio
import secrets
import socket
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, NamedTuple

import structlog

from cdr_service.domain.options import Options
from cdr_service.domain.policies import AUTO, in_force, policies_of
from cdr_service.domain.spaces import Circumstances
from cdr_service.domain.workspace import SERVER
from cdr_service.ending import end
from cdr_service.enquiries.informant import HoldersOnly, Listening, ServerInformant, informant_of
from cdr_service.errors import StoreLayoutError, StoreUnavailable
from cdr_service.holders import HoldersFile
from cdr_service.metrics import Counting, Metrics, TimedStore
from cdr_service.reading.collection import Collection
from cdr_service.reading.event_stream import READERS_MAX, EventStream
from cdr_service.reading.explaining import Explaining
from cdr_service.reading.history import History
from cdr_service.reading.past import Past
from cdr_service.reading.queries import Queried, Queries
from cdr_service.reading.reconciling import Reconciling
from cdr_service.reading.reports import Reports
from cdr_service.reporting import CountedReceiver, Reporter, noting_duplicates
from cdr_service.service import Deployment, Intake
from cdr_service.settings import DeploymentSettings, Settings
from cdr_service.settings.models import setting_name
from cdr_service.store.address import parse_store_url
from cdr_service.store.collection import RedisCollection
from cdr_service.store.connection import Connection, connect
from cdr_service.store.embedded import embedded_server
from cdr_service.store.event_stream import RedisEventStream
from cdr_service.store.history import RedisHistory
from cdr_service.store.keys import Keys
from cdr_service.store.layout import read_layout
from cdr_service.store.memory import Memory
from cdr_service.store.reads import RedisReads
from cdr_service.store.reconciling import RedisReconciling
from cdr_service.store.redis_store import RedisStore, Written
from cdr_service.store.upkeep import Upkeep
from cdr_service.store.writes import Bounds
from cdr_service.upkeep import Caretaker, Spans
from cdr_service.web.api import api_app
from cdr_service.web.events import frame
from cdr_service.web.health import Readiness
from cdr_service.web.intake import intake_server
from cdr_service.web.server import listen, open_socket
from cdr_service.web.tls import TlsFiles
from cdr_service.web.use_cases import UseCases

READY_SECONDS: Final = 1.0
"""How long a readiness probe waits for the store."""
API_CONNECTIONS_MAX: Final = READERS_MAX + 2000
"""Connections of the API's port: those who follow the event stream, and room for queries."""
SAFETY_SECONDS: Final = 30.0
"""How long what is known of the store's settings counts before it is asked for again."""


def now() -> int:
    """Return our clock in milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


class Running(NamedTuple):
    """A service that is up."""

    intake_url: str
    api_url: str
    policies: Mapping[str, str]
    """By which policy each deployment decides."""


def options_of(settings: DeploymentSettings) -> Options:
    """Return the license options of a deployment."""
    choices = {name: value for name, value in settings.licensing if name in Options._fields}
    return Options(policy=settings.policy, **choices)


class StoreHealth:
    """Whether the store answers, and what is unsafe about it."""

    def __init__(self, connection: Connection, deployments: Iterable[str]) -> None:
        self._connection = connection
        self._keys = [Keys(deployment) for deployment in deployments]
        self._unsafe: tuple[str, ...] = ()
        self._memory: str | None = None
        self._asked = 0.0
        self._log = structlog.get_logger().bind()
        self.draining = False

    async def ready(self) -> Readiness:
        """Ask the store, within about a second."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._connection.ping()
                for keys in self._keys:
                    await read_layout(self._connection, keys)
                if time.monotonic() - self._asked > SAFETY_SECONDS or not self._asked:
                    await self._look()
                await self.memory()
        except (StoreUnavailable, TimeoutError):
            return Readiness(ok=False, draining=self.draining, store=False, unsafe=self._unsafe, memory=self._memory)
        return Readiness(
            ok=not self.draining, draining=self.draining, store=True, unsafe=self._unsafe, memory=self._memory
        )

    async def memory(self) -> Memory | None:
        """Ask how much of its memory the store has used; None where nothing bounds it. Raises StoreUnavailable."""
        memory = await self._connection.memory()
        said = memory and memory.said(self._connection.describe())
        if said and said != self._memory:
            self._log.warning("store.memory", reason=said)
        self._memory = said
        return memory

    async def _look(self) -> None:
        """Ask what is unsafe about the store, and log what was not known of it."""
        found = tuple(await self._connection.safety())
        self._asked = time.monotonic()
        for sentence in found:
            if sentence not in self._unsafe:
                self._log.warning("store.unsafe", reason=sentence)
        self._unsafe = found


class Outside(NamedTuple):
    """What the service stands on: made by `opened`, or handed to a worker by its supervisor."""

    intake: socket.socket
    api: socket.socket
    store_url: str
    counting: Counting | None = None
    """Where workers count together."""


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Outside]:
    """Open the two sockets, and the embedded store where no other is set, while the context lasts."""
    async with AsyncExitStack() as stack:
        intake = stack.enter_context(open_socket(settings.intake_bind, "CDR_INTAKE_BIND"))
        api = stack.enter_context(open_socket(settings.api_bind, "CDR_API_BIND"))
        if settings.redis_url is not None:
            yield Outside(intake, api, settings.redis_url.get_secret_value())
        else:
            embedded = embedded_server(settings.data_dir, settings.store_max_bytes)
            yield Outside(intake, api, await stack.enter_async_context(embedded))


@asynccontextmanager
async def running(settings: Settings, outside: Outside) -> AsyncIterator[Running]:
    """Run the service while the context lasts. Errors of settings and ports are raised at its start."""
    log = structlog.get_logger().bind()
    async with AsyncExitStack() as stack:
        connection = connect(outside.store_url)
        stack.push_async_callback(connection.close)
        metrics = Metrics(settings.deployments, outside.counting)
        reporter = Reporter(metrics)
        process = secrets.token_hex(8)
        store = RedisStore(connection, {name: written(d) for name, d in settings.deployments.items()}, process)
        health = StoreHealth(connection, settings.deployments)
        reads = RedisCollection(connection)
        kept = RedisReconciling(connection)
        await stack.enter_async_context(noting_duplicates(metrics, reads.note_duplicates))
        intakes: dict[str, Intake] = {}
        queried: list[Queried] = []
        for name, given in settings.deployments.items():
            deployment = Deployment(name=name, options=options_of(given))
            upkeep = Upkeep(connection, name, process, partial(store.generation, name))
            holders = HoldersFile(given, setting_name(name, "holders"))
            holders.require()
            informant = informant_of(name, given, upkeep, reads, holders, deployment.options, kept)
            intake = Intake(deployment, TimedStore(store, metrics), Listening(reporter, informant), now)
            intakes[name] = await stack.enter_async_context(intake.running())
            await stack.enter_async_context(informant.running(intake))
            caretaker = Caretaker(intake, upkeep, reporter, informant, _spans(given))
            queried.append(_queried(deployment, given, caretaker))
            await stack.enter_async_context(_cared_for(caretaker, informant, upkeep, reporter, name))
        queries = Queries(queried, reads, now, kept.reconciliation)
        steps = RedisHistory(connection)
        history = History(queried, steps, reads, now)
        reports, explaining = Reports(history, steps, reads), Explaining(queried, reads, now)
        event_stream = EventStream(intakes, RedisEventStream(connection), now, frame)
        await stack.enter_async_context(event_stream.running())
        asked = [one for one in queried if settings.deployments[one.name].cms_url]
        collection, reconciling = Collection(reads, intakes, now, kept.nodes), Reconciling(asked, kept, now)
        past = Past(history, kept, now)
        use = UseCases(
            queries, history, reports, explaining, collection, event_stream, health, metrics, reconciling, past
        )
        api = api_app(settings, use)
        listening = listen(api, outside.api, tls=_tls(settings, "api"), connections_max=API_CONNECTIONS_MAX)
        api_port = await stack.enter_async_context(listening)
        receivers = {name: CountedReceiver(intake, metrics) for name, intake in intakes.items()}
        server = intake_server(receivers, settings.deployments)
        tls = _tls(settings, "intake")
        port = await stack.enter_async_context(listen(server, outside.intake, tls=tls, decompress=False))
        await _warn(log, settings, health)
        yield Running(port.url, api_port.url, await policies_in_force(settings, outside.store_url))
        health.draining = True
        # The ports still answer meanwhile: new documents are refused, and the service is not ready.
        await asyncio.gather(*(intake.drain() for intake in intakes.values()))


@asynccontextmanager
async def _cared_for(
    caretaker: Caretaker, informant: ServerInformant | HoldersOnly, upkeep: Upkeep, reporter: Reporter, deployment: str
) -> AsyncIterator[None]:
    """Look after a deployment while the context lasts; the directory is there before the first document comes."""
    try:
        await caretaker.begin()
        if await informant.first():
            await caretaker.begin()
    except StoreLayoutError:
        raise
    except StoreUnavailable as problem:
        # Nothing is lost by it: the bridges keep their records until the store answers.
        reporter.unavailable(deployment, problem)
    except Exception:  # noqa: BLE001 - as in later rounds: upkeep that fails must not keep the intake closed
        structlog.get_logger().exception("upkeep.failed", deployment=deployment)
    task = asyncio.create_task(caretaker.run())
    try:
        yield
    finally:
        await end(task)
        try:
            await upkeep.give_up_lease("upkeep")
            await upkeep.leave(all_printed=reporter.all_printed)
        except StoreUnavailable:
            pass  # both expire by themselves


async def _warn(log: Any, settings: Settings, health: StoreHealth) -> None:
    """Say what is unsafe about the settings and the store."""
    for name, given in settings.deployments.items():
        if given.intake_open and not (given.intake_token or given.intake_allow):
            log.warning(
                "intake.open", deployment=name, reason="anybody who reaches the port may push (CDR_INTAKE_OPEN)"
            )
    await health.ready()


def say_started(settings: Settings, service: Running, **more: Any) -> None:
    """Log the line that tells where the service is, and by which policy it decides."""
    structlog.get_logger().info(
        "service.started",
        intake_url=f"{service.intake_url}/cdr",
        api_url=service.api_url,
        store=str(parse_store_url(settings.redis_url.get_secret_value())) if settings.redis_url else "embedded",
        policy=settings.deployments["default"].policy,
        policy_in_force=service.policies["default"],
        policies={name: given.policy for name, given in settings.deployments.items()},
        policies_in_force=service.policies,
        **more,
    )


def say_stopped() -> None:
    """Log the line that is the last one."""
    structlog.get_logger().info("service.stopped")


async def policies_in_force(settings: Settings, store_url: str) -> Mapping[str, str]:
    """Return by which policy each deployment decides; `auto` goes by the release that the store has, if it answers."""
    connection = connect(store_url)
    try:
        reads = RedisReads(connection)
        return {name: await _in_force(reads, name, options_of(given)) for name, given in settings.deployments.items()}
    finally:
        await connection.close()


async def _in_force(reads: RedisReads, deployment: str, options: Options) -> str:
    release = None
    if options.policy == AUTO.id:
        with suppress(StoreUnavailable):
            (server,) = await reads.things(deployment, [SERVER])
            release = server.release if server else None
    return in_force(policies_of(options)[options.policy], Circumstances(release=release), options).id


def _queried(deployment: Deployment, settings: DeploymentSettings, caretaker: Caretaker) -> Queried:
    return Queried(
        name=deployment.name,
        options=deployment.options,
        assigned=lambda: caretaker.assigned,
        limit_personal=settings.limit_personal,
        limit_shared=settings.limit_shared,
    )


def written(settings: DeploymentSettings) -> Written:
    """Return what the writing for a deployment depends on."""
    return Written(options_of(settings).policy, Bounds(settings.event_max, settings.dead_letter_max))


def _spans(settings: DeploymentSettings) -> Spans:
    return Spans(
        settings.retention_days, settings.stale_call_hours, settings.raw_retention_hours, settings.raw_max_bytes
    )


def _tls(settings: Settings, port: str) -> TlsFiles | None:
    cert, key = getattr(settings, f"{port}_tls_cert"), getattr(settings, f"{port}_tls_key")
    return TlsFiles(cert, key) if cert and key else None
