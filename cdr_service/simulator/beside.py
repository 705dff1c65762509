"""The REST API of a simulated Meeting Server whose meetings are pushed as well: what `simulate --api-port` serves."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from cdr_service.simulator.api import ApiServer, serving
from cdr_service.simulator.api_licenses import Rules
from cdr_service.simulator.api_model import example_directory
from cdr_service.simulator.api_nodes import Deployment
from cdr_service.simulator.bridge import Bridge, receiver_url
from cdr_service.simulator.people import HOLDERS, USERS

OWNERS: Final = (HOLDERS[0], None, USERS[0], None, HOLDERS[1], None)
"""Who owns the spaces, in turn: some holders, a user without a license, and between them nobody."""


class Api(NamedTuple):
    """How the API is served, and what its license counts follow."""

    port: int
    """Of the first node on loopback; the next one has the next port. 0 takes free ones."""
    rules: Rules = Rules()
    lag: float = 0.0
    """By how many seconds the counts trail."""
    busy: float = 0.0
    """Which share of requests finds a node busy."""


@asynccontextmanager
async def api_of(
    bridges: Sequence[Bridge], api: Api, target: str, *, seed: int, cluster: bool, token: str | None
) -> AsyncIterator[list[ApiServer]]:
    """Serve the API of all bridges while the context lasts; they have the target as CDR receiver. Raises OSError."""
    directory = example_directory(seed)
    directory.owners = OWNERS
    deployment = Deployment(bridges, directory, rules=api.rules, lag=(api.lag, api.lag), seed=seed)
    for node in deployment.nodes:
        name = None if cluster else node.identity.name
        node.receivers["simulate"] = str(receiver_url(target, token=token, bridge=name))
    async with serving(deployment, port=api.port) as servers:
        for server in servers:
            server.faults.busy = api.busy
        yield servers
