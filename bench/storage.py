"""The store of what is measured: what it spent, and three servers that form a cluster."""

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import redis

from cdr_service.store.embedded import find_server

SHARDS: Final = 3
SLOTS: Final = 16384
PATIENCE_SECONDS: Final = 30.0


class StoreUse(NamedTuple):
    """What a store did since its start."""

    cpu: float
    """Seconds of processor time."""
    commits: int
    """Scripts that ran. Each that wrote was synced."""
    commands: int
    """All commands, those within scripts among them."""

    @classmethod
    def of(cls, url: str) -> "StoreUse":
        """Ask a store; of none, nothing."""
        if not url:
            return cls(0.0, 0, 0)
        with redis.Redis.from_url(url) as client:
            spent, ran, stats = client.info("cpu"), client.info("commandstats"), client.info("stats")
        scripts = sum(ran.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval"))
        return cls(spent["used_cpu_user"] + spent["used_cpu_sys"], scripts, stats["total_commands_processed"])

    def __sub__(self, before: "StoreUse") -> "StoreUse":
        """Return what was done since then."""
        return StoreUse(self.cpu - before.cpu, self.commits - before.commits, self.commands - before.commands)


@contextmanager
def cluster() -> Iterator[list[str]]:
    """Run three servers that form a cluster on loopback, each of which syncs every write; gives their URLs."""
    with tempfile.TemporaryDirectory() as folder:
        ports = _free_ports(2 * SHARDS)
        nodes = [
            _node(Path(folder, str(number)), port, bus)
            for number, (port, bus) in enumerate(zip(ports[:SHARDS], ports[SHARDS:], strict=True))
        ]
        try:
            urls = [f"redis://127.0.0.1:{port}" for port in ports[:SHARDS]]
            _join(urls, ports[SHARDS:])
            yield urls
        finally:
            for node in nodes:
                node.terminate()
            for node in nodes:
                node.wait()


def _node(folder: Path, port: int, bus: int) -> subprocess.Popen[bytes]:
    folder.mkdir()
    options = {"port": port, "bind": "127.0.0.1", "dir": folder, "save": "", "appendonly": "yes"}
    options |= {"appendfsync": "always", "cluster-enabled": "yes", "cluster-port": bus}
    command = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return subprocess.Popen([str(find_server()), *command], stdout=subprocess.DEVNULL)


def _join(urls: list[str], buses: list[int]) -> None:
    """Have the servers meet and share the slots; return once each takes commands."""
    clients = [redis.Redis.from_url(url) for url in urls]
    deadline = time.monotonic() + PATIENCE_SECONDS
    for number, client in enumerate(clients):
        while not _answers(client):
            _wait(deadline)
        first, last = SLOTS * number // SHARDS, SLOTS * (number + 1) // SHARDS - 1
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
        client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        port = client.get_connection_kwargs()["port"]
        clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", port, buses[number])
    for client in clients:
        while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO", NEVER_DECODE=True):
            _wait(deadline)
        client.close()


def _answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def _wait(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise RuntimeError("the cluster did not come up")
    time.sleep(0.02)


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody uses."""
    opened = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in opened]
    for one in opened:
        one.close()
    return ports
