"""Stores with replicas, with a master that can be killed, a replica that can be cut off, and an ear on each."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from tests.integration.servers import Cluster, SentinelPair, StoreServer, cluster, eventually, sentinel_pair

FORMS = ("sentinel", "cluster")

_LINE = re.compile(r"\+[\d.]+ \[\d+ (?P<sender>[^\]]*)\] (?P<words>.*)")
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"')


class Fleet:
    """A master and its replica under Sentinel, or three of each in a cluster."""

    def __init__(self, store: SentinelPair | Cluster) -> None:
        self._store = store
        self.url = store.url

    def master(self, deployment: str) -> StoreServer:
        """Find the master that has the deployment now."""
        return self._store.master_of(_key(deployment)) if isinstance(self._store, Cluster) else self._store.master

    def masters(self) -> list[StoreServer]:
        """Find all masters."""
        return self._store.masters if isinstance(self._store, Cluster) else [self._store.master]

    def events(self, deployment: str) -> set[str]:
        """Return the ids of all events in the stream of a deployment."""
        entries = self.master(deployment).ask("XRANGE", f"cdr:{{{deployment}}}:events", "-", "+")
        return {json.loads(fields[fields.index("e") + 1])["event_id"] for _, fields in entries}

    def replica(self, master: StoreServer) -> StoreServer:
        """Find the replica of a master."""
        port = master.info("replication")["slave0"].partition("port=")[2].partition(",")[0]
        return next(server for server in self._store.servers if server.port == int(port))

    def wait_for_replica(self, master: StoreServer) -> None:
        """Wait until the replica has all that the master had when this was called; the load may go on."""
        written, replica = int(master.info("replication")["master_repl_offset"]), self.replica(master)
        # The replica's own word, because the master hears of it only once a second.
        eventually(lambda: int(replica.info("replication")["slave_repl_offset"]) >= written, "the replica is in step")

    def cut_off_replica(self, master: StoreServer) -> StoreServer:
        """Cut the master's replica off, as a network does: nothing more reaches it until it thaws. Returns it."""
        replica = self.replica(master)
        replica.freeze()
        # What was in the socket of a frozen replica it would still read, so the master hangs up.
        master.ask("CLIENT", "KILL", "TYPE", "replica")
        return replica

    def move(self, deployment: str) -> None:
        """Move a deployment to another master of the cluster, a few keys at a time, as one that grows does."""
        old = self.master(deployment)
        new = next(server for server in self.masters() if server is not old)
        slot = old.ask("CLUSTER", "KEYSLOT", _key(deployment))
        old_id, new_id = (server.ask("CLUSTER", "MYID") for server in (old, new))
        new.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", old_id)
        old.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", new_id)
        while keys := old.ask("CLUSTER", "GETKEYSINSLOT", slot, 10):
            old.ask("MIGRATE", "127.0.0.1", new.port, "", 0, 5000, "KEYS", *keys)
        for server in (new, old):
            server.ask("CLUSTER", "SETSLOT", slot, "NODE", new_id)

    def wait_for_failover(self, old: StoreServer, deployment: str) -> StoreServer:
        """Wait until the replica is master, and all say so; returns it."""
        if isinstance(self._store, Cluster):
            return self._store.wait_for_failover(old, _key(deployment))
        return self._store.wait_for_failover(old)

    def restart(self, old: StoreServer, new: StoreServer) -> None:
        """Start a killed master again, as a replica of the new one, and wait until one follows the other."""
        if isinstance(self._store, SentinelPair):
            old.options["replicaof"] = f"127.0.0.1 {new.port}"
        old.start()

        def is_followed() -> bool:
            return any("state=online" in one.info("replication").get("slave0", "") for one in (old, new))

        eventually(is_followed, "master and replica are a pair again")


def _key(deployment: str) -> str:
    return f"cdr:{{{deployment}}}:layout"


@contextmanager
def fleet(form: str, **options: str) -> Iterator[Fleet]:
    """Run a store of one form; `options` are those of its servers."""
    make: Any = {"sentinel": sentinel_pair, "cluster": cluster}[form]
    with make(**options) as store:
        yield Fleet(store)


class Touched(NamedTuple):
    """A script as it ran."""

    declared: set[str]
    """The keys that it was called with."""
    used: list[tuple[str, str]]
    """The commands that it ran, each with its key."""


@contextmanager
def overheard(*servers: StoreServer) -> Iterator[list[Touched]]:
    """Listen to servers with MONITOR; the list fills while the block lasts and is whole after it."""
    found: list[Touched] = []
    lines: list[list[bytes]] = [[] for _ in servers]
    ears = [socket.create_connection(("127.0.0.1", server.port or 0), timeout=60) for server in servers]
    listening = [
        threading.Thread(target=lambda to=to, ear=ear: to.extend(ear.makefile("rb")), daemon=True)
        for to, ear in zip(lines, ears, strict=True)
    ]
    for ear, thread in zip(ears, listening, strict=True):
        ear.sendall(b"MONITOR\r\n")
        thread.start()
    try:
        yield found
    finally:
        for ear, thread in zip(ears, listening, strict=True):
            ear.sendall(b"QUIT\r\n")
            thread.join()
            ear.close()
        for heard in lines:
            found += _scripts(heard)


def _scripts(lines: list[bytes]) -> Iterator[Touched]:
    """Put what scripts did with the calls of them; a server runs one at a time and tells the call first."""
    running = Touched(set(), [])
    for line in lines:
        told = _LINE.match(line.decode())
        if told is None:
            continue
        name, *words = _WORD.findall(told["words"])
        if told["sender"] == "lua":
            running.used.append((name, words[0]))
        elif name in ("EVALSHA", "EVAL"):
            running = Touched(set(words[2 : 2 + int(words[1])]), [])
            yield running
