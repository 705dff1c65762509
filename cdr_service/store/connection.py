"""The connection to the store: one form for a single server, a unix socket, Sentinel and Cluster.

Answers are as the server sends them in RESP 2: bytes, integers, None and lists; redis-py's own shaping of answers is
off, so that they are the same over all four.

A command is sent once. redis-py by itself would send it up to ten times more; here an answer that is lost is reported
at once as `StoreUnavailable`, because only the caller knows whether the command may be repeated, and because the
sender, who comes again, is the better place to wait. What recovers without anybody's help is the connection: after
every failure the idle connections are given up, so that the next command resolves names, asks Sentinel and reads the
cluster's map anew.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from hiredis import pack_command
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, OutOfMemoryError, RedisClusterException, RedisError, ResponseError

from cdr_service.errors import StoreFull, StoreUnavailable
from cdr_service.store.address import Kind, StoreAddress, parse_store_url
from cdr_service.store.memory import Memory
from cdr_service.store.safety import SETTINGS, unsafe_settings
from cdr_service.store.trouble import FORBIDDEN, TooFewReplicasError, leads_astray, reason_of

CONNECT_SECONDS = 2.0
READ_SECONDS = 5.0
REPLICA_MILLISECONDS = 1000
"""How long a write may take to reach the replicas. Below READ_SECONDS."""
COMMANDS_AT_ONCE = 64
"""More wait for their turn. Below redis-py's limit of connections to a server (100), past which it refuses."""


class Script:
    """A Lua script and the hash by which a server knows it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Connection:
    """The store, as the rest of this room uses it. Made by `connect`; opens its sockets when they are needed.

    Every method raises `StoreUnavailable` where the store could not do it or its answer was lost. Errors of ours (a
    wrong type, a bad script) pass as redis-py's `ResponseError`.
    """

    def __init__(self, address: StoreAddress, build: Callable[[], Redis | RedisCluster], wait_seconds: float) -> None:
        self._address = address
        self._build = build
        self._client = build()
        self.replicas = address.replicas
        """How many replicas must have a write that is to be `replicated`."""
        self._wait_seconds = wait_seconds
        self._turns = asyncio.Semaphore(COMMANDS_AT_ONCE)

    def describe(self) -> str:
        """Say where the store is: its URL without secrets, for logs."""
        return str(self._address)

    async def execute(self, *command: Any) -> Any:
        """Run one command.

        It names a key, by which Cluster finds the node. If it blocks, then shorter than the read time-out.
        """
        async with self._turn() as client:
            return await client.execute_command(*command)

    async def pipeline(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run commands in one round trip, in order but not as a transaction.

        All are run even where one fails; then the first error is raised. With Cluster the keys should share a hash
        tag, else each node has a round trip of its own.
        """
        async with self._turn() as client:
            return await _run(client, commands)

    async def replicated(self, key: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run commands, of which one writes, and return when as many replicas as the URL asks for have that.

        They then also have whatever the server of `key`, to which all commands go, had been told before. Where too
        few replicas follow in time, what was written stays written.
        """
        if not self.replicas:
            return await self.pipeline(commands)
        async with self._turn() as client:
            node = client.get_node_from_key(key) if isinstance(client, RedisCluster) else None
            *answers, reached = await _run(client, [*commands, ("WAIT", self.replicas, REPLICA_MILLISECONDS)], node)
            if reached < self.replicas:
                raise TooFewReplicasError
            return answers

    async def script(
        self, script: Script, keys: Sequence[Any], args: Sequence[Any], *, replicated: bool = False
    ) -> Any:
        """Run a script by its hash; a server that does not know it (restarted, newly promoted) is sent the text.

        The text goes as EVAL with the same keys, hence to the same node, which keeps it. Nothing has run when a
        server says NOSCRIPT, so this repeats nothing. `keys` must not be empty. For `replicated` see the method.
        """

        async def run(*command: Any) -> Any:
            if not (replicated and self.replicas):
                return await self.execute(*command)
            (answer,) = await self.replicated(keys[0], [command])
            return answer

        tail = (len(keys), *keys, *args)
        try:
            return await run("EVALSHA", script.sha, *tail)
        except NoScriptError:
            return await run("EVAL", script.text, *tail)

    async def safety(self) -> list[str]:
        """Sentences that name what is unsafe about the store's settings; with Cluster those of every master."""
        sentences = []
        async with self._turn() as client:
            for target in _masters(client):
                where = f"at {target['target_nodes'].name}" if target else self.describe()
                sentences += await _check(client, where, **target)
        return sentences

    async def memory(self) -> Memory | None:
        """How much of its `maxmemory` the store has used, with Cluster the fullest master; None where none is told."""
        async with self._turn() as client:
            found = [await _memory(client, **target) for target in _masters(client)]
        return max(filter(None, found), key=lambda memory: memory.share, default=None)

    async def ping(self) -> None:
        """Return if the store answers; with Cluster every master is asked."""
        async with self._turn() as client:
            for target in _masters(client):
                await client.execute_command("PING", **target)

    async def close(self) -> None:
        """Close every connection; what is in flight fails."""
        await _close(self._client)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[Redis | RedisCluster]:
        """Lend the client to one command, and say in our words what went wrong."""
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._turns.acquire()
        except TimeoutError:
            raise StoreUnavailable(f"The store {self.describe()} is busy with other requests.") from None
        client = self._client
        try:
            await _open(client)
            yield client
        except (RedisError, RedisClusterException, OSError) as error:
            reason = reason_of(error)
            if reason is None:
                raise
            await self._start_afresh(client, error)
            kind = StoreFull if isinstance(error, OutOfMemoryError) else StoreUnavailable
            raise kind(f"The store {self.describe()} {reason}.") from error
        finally:
            self._turns.release()

    async def _start_afresh(self, client: Redis | RedisCluster, error: Exception) -> None:
        """Forget what led to a server that is gone or is no longer the master."""
        if not leads_astray(error):
            return
        if isinstance(client, Redis):
            with suppress(RedisError, OSError):
                await client.connection_pool.disconnect(inuse_connections=False)
            return
        try:
            if not isinstance(error, RedisClusterException):
                # redis-py reads the cluster's map again after a failed command, but not after a failed pipeline.
                await client.nodes_manager.initialize()
                return
        except (RedisError, RedisClusterException, OSError):
            pass
        if self._client is client:
            # redis-py keeps the addresses that the cluster told, not those of the URL. None of them answers now, and
            # a cluster that was started anew elsewhere is found only by the URL.
            self._client = self._build()
            await _close(client)


def connect(url: str, *, connect_seconds: float = CONNECT_SECONDS, read_seconds: float = READ_SECONDS) -> Connection:
    """Make a connection to the store at `url` (see `address` for its forms). Nothing is sent yet.

    `read_seconds` bounds the wait for an answer and for a free connection. Raises `StoreUrlError`.
    """
    address = parse_store_url(url)
    options: dict[str, Any] = {
        "username": address.username,
        "password": address.password,
        "socket_connect_timeout": connect_seconds,
        "socket_timeout": read_seconds,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }
    if address.tls:
        options |= {"ssl": True, "ssl_ca_certs": address.ca}

    def build() -> Redis | RedisCluster:
        if address.kind is Kind.CLUSTER:
            nodes = [ClusterNode(host, port) for host, port in address.hosts]
            client: Redis | RedisCluster = RedisCluster(startup_nodes=nodes, **options)
        elif address.kind is Kind.SENTINEL:
            client = _sentinel_client(address, options | {"db": address.database})
        elif address.kind is Kind.UNIX:
            client = Redis(unix_socket_path=address.path, db=address.database, **options)
        else:
            (host, port), *_ = address.hosts
            client = Redis(host=host, port=port, db=address.database, **options)
        if isinstance(client, Redis):
            client.connection_pool.connection_class = _packed_in_c(client.connection_pool.connection_class)
        callbacks = client.response_callbacks
        for name in [name for name in callbacks if name != "COMMAND"]:  # the cluster client reads this one's answer
            del callbacks[name]
        return client

    return Connection(address, build, read_seconds)


def _packed_in_c(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """Return a connection that packs commands by hiredis, as redis-py's own does where it does not stand on asyncio.

    Packing a commit in Python costs as much as working out a tenth of it. (The cluster client makes its own.)
    """

    class Packed(kind):  # type: ignore[misc, valid-type]
        def pack_command(self, *args: Any) -> list[bytes]:
            name, *rest = args
            return [pack_command((*name.split(), *rest))]

    return Packed


async def _run(
    client: Redis | RedisCluster, commands: Sequence[tuple[Any, ...]], node: ClusterNode | None = None
) -> list[Any]:
    """Run commands over one connection to `node`, or where the keys are; raise the first error after all have run."""
    if isinstance(client, RedisCluster):
        on_cluster = client.pipeline()
        for command in commands:
            on_cluster.execute_command(*command, target_nodes=node)
        # WAIT answers for what its own connection wrote. Had another command been sent on to another node, it would
        # answer for nothing.
        answers = await on_cluster.execute(raise_on_error=False, allow_redirections=node is None)
    else:
        pipeline = client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        answers = await pipeline.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


def _sentinel_client(address: StoreAddress, options: dict[str, Any]) -> Redis:
    # By default redis-py asks each Sentinel that is down ten times before it asks the next.
    sentinel_options = options | {"username": address.sentinel_username, "password": address.sentinel_password}
    del sentinel_options["db"]
    sentinel = Sentinel(address.hosts, sentinel_kwargs=sentinel_options, **options)  # type: ignore[no-untyped-call]
    client: Redis = sentinel.master_for(address.service)
    return client


async def _open(client: Redis | RedisCluster) -> None:
    try:
        await client.initialize()
    except RedisClusterException as error:
        # Here the error is the cluster's state, while one from a command is our mistake, such as keys of two nodes.
        # `reason_of` tells them apart by the cause.
        raise RedisClusterException(str(error)) from error.__cause__ or error


async def _close(client: Redis | RedisCluster) -> None:
    await client.aclose()
    if isinstance(client, Redis) and isinstance(client.connection_pool, SentinelConnectionPool):
        for sentinel in client.connection_pool.sentinel_manager.sentinels:
            await sentinel.aclose()


def _masters(client: Redis | RedisCluster) -> list[dict[str, ClusterNode]]:
    """List what to add to a command so that it goes to each master once."""
    return [{"target_nodes": node} for node in client.get_primaries()] if isinstance(client, RedisCluster) else [{}]


async def _memory(client: Redis | RedisCluster, **target: ClusterNode) -> Memory | None:
    try:
        told = await client.execute_command("INFO", "memory", **target)
    except ResponseError as error:
        if reason_of(error) not in {None, FORBIDDEN}:
            raise
        return None
    facts = {name: int(number) for name, number in re.findall(rb"^(\w+):(\d+)\r?$", told, re.MULTILINE)}
    limit = facts.get(b"maxmemory", 0)
    # Buffers for replicas and for the append-only file do not count against it.
    used = facts.get(b"used_memory", 0) - facts.get(b"mem_not_counted_for_evict", 0)
    return Memory(used, limit) if limit else None


async def _check(client: Redis | RedisCluster, where: str, **target: ClusterNode) -> list[str]:
    try:
        server = await client.execute_command("INFO", "server", **target)
        version = re.search(rb"redis_version:([\d.]+)", server)
        settings = {}
        for name in SETTINGS:
            for value in (await client.execute_command("CONFIG GET", name, **target))[1:]:
                settings[name] = value.decode()
    except ResponseError as error:
        if reason_of(error) not in {None, FORBIDDEN}:
            raise
        # Renamed or forbidden, as providers do.
        return unsafe_settings(where, None, {})
    return unsafe_settings(where, version[1].decode() if version else None, settings)
