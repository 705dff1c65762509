"""Real store servers for tests: one alone, a pair under Sentinel, and a cluster of three masters with replicas.

Each has `appendfsync always`, listens on loopback or a unix socket only, and is ended when its `with` block ends, and
also when the test process dies: `cdr_service/store/guard.py` is the parent of each.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import redis

from cdr_service.domain.directory import Directory
from cdr_service.domain.workspace import DIRECTORY
from cdr_service.store import guard
from cdr_service.store.codec import encode
from cdr_service.store.connection import Connection
from cdr_service.store.embedded import find_server
from cdr_service.store.keys import Keys

DURABLE = {"save": "", "appendonly": "yes", "appendfsync": "always", "repl-diskless-sync-delay": "0"}
PATIENCE_SECONDS = 20.0
_PORTS_GIVEN: set[int] = set()
MASTER_NAME = "test-master"
DOWN_AFTER_MILLISECONDS = 700
"""How soon Sentinel or Cluster takes a silent master for dead."""


def server_under_test() -> Path:
    """Find the server that the tests run on: the one that the service brings, unless CDR_TEST_SERVER names another."""
    return Path(os.environ.get("CDR_TEST_SERVER") or find_server())


def debian_redis() -> Path | None:
    """Find the redis-server of the system, a second kind of server to test against; None where there is none."""
    found = shutil.which("redis-server")
    return Path(found) if found else None


def eventually(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Call `condition` until it gives something true, and return that. Fails the test with `what` if it never does."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if value := condition():
                return value
        except (redis.RedisError, OSError):
            pass
        assert time.monotonic() < deadline, f"not within {seconds} seconds: {what}"
        time.sleep(0.02)


def process_exists(process_id: int) -> bool:
    """Whether a process of this id runs."""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


def free_port() -> int:
    """Find a TCP port on loopback that nobody uses.

    Below the range from which the kernel takes ports for outgoing connections, so that none of those takes it before
    the server does; never the same one twice.
    """
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _PORTS_GIVEN:
                _PORTS_GIVEN.add(port)
                return port


async def put_directory(connection: Connection, deployment: str, directory: Directory, version: bytes) -> None:
    """Make this the directory that all processes decide by, as whoever has the lease does."""
    await connection.execute("SET", Keys(deployment).thing(DIRECTORY), encode(DIRECTORY, directory, version))


class StoreServer:
    """One server process in a folder of its own, on a TCP port, or on a unix socket where `port` is None.

    Survives `kill`: `start` brings it back on the same address with its data.
    """

    def __init__(
        self, *, port: int | None = None, binary: Path | None = None, arguments: tuple[str, ...] = (), **options: str
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cdr-store-"))
        self.port = port
        self.binary = binary or server_under_test()
        self.arguments = arguments
        self.options = {
            "dir": str(self.folder),
            "logfile": str(self.folder / "log"),
            "bind": "127.0.0.1",
            "protected-mode": "no",
            **({"port": str(port)} if port else {"port": "0", "unixsocket": str(self.folder / "socket")}),
            **({} if "--sentinel" in arguments else DURABLE),
            **{name.replace("_", "-"): value for name, value in options.items()},
        }
        self.pid = 0
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address for `connect`."""
        return f"redis://127.0.0.1:{self.port}" if self.port else f"unix://{self.folder}/socket"

    def ask(self, *command: Any, decode: bool = True) -> Any:
        """Send one command apart from what is tested; the answer is text, or bytes as they are."""
        at: dict[str, Any] = {"unix_socket_path": f"{self.folder}/socket"}
        if self.port:
            at = {"host": "127.0.0.1", "port": self.port}
        if password := self.options.get("requirepass"):
            at["password"] = password
        if self.options.get("tls-port"):
            at |= {"ssl": True, "ssl_ca_certs": self.options["tls-ca-cert-file"]}
        with redis.Redis(**at, protocol=2, decode_responses=decode, socket_timeout=2, retry=None) as client:
            client.response_callbacks.clear()
            return client.execute_command(*command)

    def info(self, section: str) -> dict[str, str]:
        """Read the fields of one section of INFO."""
        lines = (line for line in self.ask("INFO", section).splitlines() if ":" in line)
        return dict(line.split(":", 1) for line in lines)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = [part for name, value in self.options.items() for part in (f"--{name}", *(value.split() or [""]))]
        command = [sys.executable, "-I", "-S", guard.__file__, "1", "-", str(self.binary), *self.arguments, *options]
        self._guard = parent = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, bufsize=0
        )

        def process_id() -> int:
            assert parent.poll() is None, f"{self.url} did not start: {(self.folder / 'log').read_text()}"
            return int(self.info("server")["process_id"])

        self.pid = eventually(process_id, f"{self.url} answers")
        eventually(lambda: self.info("persistence").get("loading", "0") == "0", f"{self.url} has loaded")

    def wait_for_replica(self) -> None:
        """Wait until a replica has all that was written here."""

        def is_in_step() -> bool:
            state = self.info("replication")
            return f"offset={state['master_repl_offset']}," in state["slave0"]

        eventually(is_in_step, "the replica has every write")

    def kill(self) -> None:
        """SIGKILL, as when the machine's memory runs out."""
        os.kill(self.pid, signal.SIGKILL)
        self._leave()

    def freeze(self) -> None:
        """Stop answering without closing anything, as when a network is cut."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after `freeze`."""
        if self.pid:
            os.kill(self.pid, signal.SIGCONT)

    def ask_to_end(self) -> None:
        """Tell it to leave and do not wait, so that several can leave at once."""
        if self._guard is not None and self._guard.stdin is not None:
            with suppress(ProcessLookupError):
                self.thaw()
            self._guard.stdin.close()

    def stop(self) -> None:
        """End it for good, and remove its files."""
        self.ask_to_end()
        self._leave()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _leave(self) -> None:
        running, self._guard = self._guard, None
        if running is not None and running.stdin is not None:
            running.stdin.close()
            running.wait()


@contextmanager
def store_server(
    *, unix: bool = False, port: int | None = None, binary: Path | None = None, **options: str
) -> Iterator[StoreServer]:
    """Run one server; `options` are the server's own, with underscores for dashes."""
    with running(StoreServer(port=None if unix else port or free_port(), binary=binary, **options)) as (server,):
        yield server


@contextmanager
def running(*servers: StoreServer) -> Iterator[tuple[StoreServer, ...]]:
    """Start servers that were made before, and end them with the block."""
    try:
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.ask_to_end()
        for server in servers:
            server.stop()


class SentinelPair:
    """A master, its replica, and three Sentinels that watch them."""

    def __init__(self, first: StoreServer, second: StoreServer, sentinels: tuple[StoreServer, ...]) -> None:
        self.servers = (first, second)
        self.sentinels = sentinels

    @property
    def url(self) -> str:
        """The address for `connect`."""
        return f"redis+sentinel://{','.join(f'127.0.0.1:{one.port}' for one in self.sentinels)}/{MASTER_NAME}"

    @property
    def master(self) -> StoreServer:
        """The server that is master now, by its own word."""
        return next(server for server in self.servers if _has_role(server, "master"))

    def wait_for_failover(self, old: StoreServer) -> StoreServer:
        """Wait until the other server is master and every Sentinel names it; returns it."""
        new = next(server for server in self.servers if server is not old)
        eventually(lambda: _has_role(new, "master"), "the replica is promoted")
        for sentinel in self.sentinels:
            eventually(lambda one=sentinel: _named_master(one) == new.port, "every Sentinel names the new master")
        return new


def _has_role(server: StoreServer, role: str) -> bool:
    try:
        return server.info("replication")["role"] == role
    except (redis.RedisError, OSError):
        return False


def _named_master(sentinel: StoreServer) -> int:
    return int(sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME)[1])


def make_sentinel(master_port: int, *lines: str, **options: str) -> StoreServer:
    """Make a Sentinel that watches one master; `lines` are more of its configuration."""
    port = free_port()
    sentinel = StoreServer(port=port, arguments=(), **options)
    configuration = sentinel.folder / "sentinel.conf"  # a Sentinel keeps what it learns in its configuration file
    configuration.write_text(
        f"sentinel monitor {MASTER_NAME} 127.0.0.1 {master_port} 2\n"
        f"sentinel down-after-milliseconds {MASTER_NAME} {DOWN_AFTER_MILLISECONDS}\n"
        f"sentinel failover-timeout {MASTER_NAME} 3000\n" + "".join(f"{line}\n" for line in lines)
    )
    sentinel.arguments = (str(configuration), "--sentinel")
    for name in DURABLE:
        del sentinel.options[name]
    return sentinel


@contextmanager
def sentinel_pair(**options: str) -> Iterator[SentinelPair]:
    """Run a master with a replica in step with it, and three Sentinels that know each other.

    `options` are those of master and replica.
    """
    first = StoreServer(port=free_port(), **options)
    second = StoreServer(port=free_port(), replicaof=f"127.0.0.1 {first.port}", **options)
    sentinels = tuple(make_sentinel(first.port or 0) for _ in range(3))
    with running(first, second, *sentinels):
        eventually(lambda: second.info("replication")["master_link_status"] == "up", "the replica follows")
        for sentinel in sentinels:
            eventually(lambda one=sentinel: _sees_all(one), "a Sentinel knows the replica and the other Sentinels")
        yield SentinelPair(first, second, sentinels)


def _sees_all(sentinel: StoreServer) -> bool:
    answer = sentinel.ask("SENTINEL", "MASTER", MASTER_NAME)
    known = dict(zip(answer[::2], answer[1::2], strict=True))
    return (known["num-slaves"], known["num-other-sentinels"], known["flags"]) == ("1", "2", "master")


class Cluster:
    """Three masters and a replica of each."""

    def __init__(self, servers: tuple[StoreServer, ...]) -> None:
        self.servers = servers

    @property
    def url(self) -> str:
        """The address for `connect`, with every node."""
        return f"redis+cluster://{','.join(f'127.0.0.1:{server.port}' for server in self.servers)}"

    @property
    def masters(self) -> list[StoreServer]:
        """The nodes that are master now, by their own word."""
        return [server for server in self.servers if _has_role(server, "master")]

    def master_of(self, key: str) -> StoreServer:
        """Find the node that serves `key` now, by its own word, because the others may hear of it later."""
        serving: StoreServer = eventually(lambda: self._serving(key), f"a node serves {key}")
        return serving

    def _serving(self, key: str) -> StoreServer | None:
        for server in self.masters:
            slot = server.ask("CLUSTER", "KEYSLOT", key)
            for first, last, master, *_ in server.ask("CLUSTER", "SLOTS"):
                if first <= slot <= last and server.port == master[1]:
                    return server
        return None

    def wait_for_failover(self, old: StoreServer, key: str) -> StoreServer:
        """Wait until another node serves `key`, and every living node takes commands; returns it."""
        new: StoreServer = eventually(lambda: (now := self.master_of(key)) is not old and now, "a replica takes over")
        for server in self.servers:
            if server is not old:
                eventually(lambda one=server: one.info_cluster()["cluster_state"] == "ok", "the cluster is whole")
        return new


class _ClusterNode(StoreServer):
    def __init__(self, **options: str) -> None:
        super().__init__(
            port=free_port(),
            cluster_enabled="yes",
            cluster_config_file="nodes.conf",
            cluster_node_timeout=str(DOWN_AFTER_MILLISECONDS),
            cluster_port=str(free_port()),
            **options,
        )

    def info_cluster(self) -> dict[str, str]:
        return dict(line.split(":", 1) for line in self.ask("CLUSTER", "INFO").splitlines())


@contextmanager
def cluster(**options: str) -> Iterator[Cluster]:
    """Run three masters that cover all slots, and a replica of each in step with it. `options` are those of all."""
    nodes = tuple(_ClusterNode(**options) for _ in range(6))
    with running(*nodes):
        for number, (first, last) in enumerate([(0, 5460), (5461, 10922), (10923, 16383)]):
            nodes[number].ask("CLUSTER", "ADDSLOTSRANGE", first, last)
        for number, node in enumerate(nodes):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number:
                nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", node.port, node.options["cluster-port"])
        for node in nodes:
            eventually(lambda one=node: one.info_cluster()["cluster_known_nodes"] == "6", "the nodes know each other")
        for master, replica in zip(nodes[:3], nodes[3:], strict=True):
            replica.ask("CLUSTER", "REPLICATE", master.ask("CLUSTER", "MYID"))
        for node in nodes:
            eventually(lambda one=node: one.info_cluster()["cluster_state"] == "ok", "the cluster takes commands")
        for replica in nodes[3:]:
            eventually(lambda one=replica: one.info("replication")["master_link_status"] == "up", "replicas follow")
        for node in nodes:
            eventually(lambda one=node: _sees_replicas(one), "every node knows every replica")
        yield Cluster(nodes)


def _sees_replicas(node: StoreServer) -> bool:
    return all(len(slots) == 4 for slots in node.ask("CLUSTER", "SLOTS"))
