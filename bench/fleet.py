"""Growth beyond a machine, in small: a cluster of stores, replicas of the service, a balancer, many deployments."""

import sys
import time
from contextlib import ExitStack
from typing import Final, NamedTuple

import uvloop

from bench.contenders import Running, printing, service
from bench.load import send
from bench.storage import StoreUse, cluster
from bench.traffic import Traffic
from bench.truth import verify

DEPLOYMENTS: Final = 12
BRIDGES: Final = 2
"""Of each deployment: a cluster whose meetings span both, while the balancer sends each to another replica."""
REPLICAS: Final = 2
IDLE_SECONDS: Final = 6.0
"""How long they are watched while nothing comes; what is looked after is so every two seconds."""


class Fleet(NamedTuple):
    """What was found."""

    records: int
    per_second: float
    cpu: float
    """Microseconds of all replicas, per record."""
    shares: list[float]
    """Of the commits, by shard."""
    idle_cpu: float
    """Milliseconds of a replica per second and deployment while nothing comes …"""
    idle_commands: float
    """… and the commands to the stores, likewise."""


def fleet(records: int) -> Fleet:
    """Send about so many records, one a POST, to replicas behind a balancer; check what they know together."""
    names = [f"tenant{number}" for number in range(1, DEPLOYMENTS + 1)]
    traffics = {name: Traffic(number, bridges=BRIDGES, cluster=True) for number, name in enumerate(names)}
    pieces = {name: traffic.take(1, records // DEPLOYMENTS) for name, traffic in traffics.items()}
    # All connections of a deployment follow one another, so that its bridges are parted by the balancer.
    posts = [bridge for name, piece in pieces.items() for bridge in piece.requests(f"/cdr/{name}")]
    with cluster() as nodes, ExitStack() as stack:
        store = "redis+cluster://" + ",".join(node.removeprefix("redis://") for node in nodes)
        replicas = [stack.enter_context(service(store=store, deployments=names)) for _ in range(REPLICAS)]
        ports = [str(replica.port) for replica in replicas]
        balancer = stack.enter_context(printing([sys.executable, "-m", "bench.balancer", *ports], {}))
        before = sum(replica.cpu() for replica in replicas)
        stores_before = [StoreUse.of(node) for node in nodes]
        load = uvloop.run(send(balancer.port, posts, sum(piece.records for piece in pieces.values())))
        cpu = (sum(replica.cpu() for replica in replicas) - before) / load.records * 1e6
        used = [StoreUse.of(node) - was for node, was in zip(nodes, stores_before, strict=True)]
        verify([replica.api for replica in replicas], {name: traffic.known() for name, traffic in traffics.items()})
        idle = _idle(replicas, nodes)
    commits = sum(one.commits for one in used)
    return Fleet(load.records, load.records_per_second, cpu, [one.commits / commits for one in used], *idle)


def _idle(replicas: list[Running], nodes: list[str]) -> tuple[float, float]:
    """Return what replicas spend while nothing comes: milliseconds and commands, per second, replica and deployment."""

    def spent() -> tuple[float, int]:
        return sum(replica.cpu() for replica in replicas), sum(StoreUse.of(node).commands for node in nodes)

    cpu, commands = spent()
    time.sleep(IDLE_SECONDS)
    later_cpu, later_commands = spent()
    share = IDLE_SECONDS * REPLICAS * (DEPLOYMENTS + 1)  # `default` is one too
    return (later_cpu - cpu) * 1000 / share, (later_commands - commands) / share
