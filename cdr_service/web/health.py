"""Whether the service is alive, and whether it is ready to be sent anything. Neither needs a token."""

from collections.abc import Sequence
from typing import Protocol

import msgspec
from aiohttp import web


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the service can do its work, and what is unsafe about how it does."""

    ok: bool
    """The store answers, and the service is not draining."""
    draining: bool
    """The service is about to stop and takes nothing more."""
    store: bool
    """The store answers."""
    unsafe: Sequence[str] = ()
    """What could make the store lose what it acknowledged, a sentence each. It does not make the service unready."""


class Health(Protocol):
    """Who knows whether the service is well."""

    async def ready(self) -> Readiness:
        """Ask the store, within a second or so. Must not raise."""
        ...


def health_routes(health: Health) -> list[web.RouteDef]:
    """Return the routes `/healthz` and `/readyz`, to be added to the API's application."""

    async def alive(_request: web.Request) -> web.Response:
        """Answer as long as the process can: a store in trouble is no reason to restart it."""
        return _json(200, {"status": "alive"})

    async def ready(_request: web.Request) -> web.Response:
        readiness = await health.ready()
        return _json(200 if readiness.ok else 503, readiness)

    return [web.get("/healthz", alive), web.get("/readyz", ready)]


def _json(status: int, body: object) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        content_type="application/json",
        # A proxy that kept the answer would tell of yesterday's health.
        headers={"Cache-Control": "no-store"},
    )
