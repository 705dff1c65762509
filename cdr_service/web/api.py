"""The query API: which license each call uses and why, what switched, and what is in use now."""

import asyncio
from typing import Any, Final

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from cdr_service.domain.filters import CallFilters, HistoryFilters, PeakFilters, SwitchFilters
from cdr_service.domain.pages import Page
from cdr_service.errors import StoreUnavailable
from cdr_service.metrics import Metrics
from cdr_service.reading.collection import Collection
from cdr_service.reading.history import History
from cdr_service.reading.queries import Queries
from cdr_service.settings import ServiceSettings
from cdr_service.web.doors import api_door
from cdr_service.web.health import Health, health_routes
from cdr_service.web.parameters import PAGING, filters, only, paging
from cdr_service.web.problems import problems
from cdr_service.web.spreadsheet import csv_page, wants_csv

BODY_BYTES_MAX: Final = 1024 * 1024
ID: Final = "{id:[^/]+}"
"""An id in a path: aiohttp's own pattern takes no braces. A slash within an id is written %2F."""
METRICS_SECONDS: Final = 4.0
"""How long the store may take for `/metrics`; a scraper waits for ten seconds."""
CALL_COLUMNS: Final = (
    *("id", "deployment", "call_bridge", "session", "meeting", "name", "call_type", "cospace", "owner_name", "owner"),
    *("tenant", "cdr_tag", "state", "started_at", "ended_at", "end_estimated", "participants", "participants_peak"),
    *("legs", "recording", "streaming", "complete", "license.type", "license.holder", "license.weight"),
    *("license.policy", "license.rule", "license.status", "license.since", "license.reason"),
)
SWITCH_COLUMNS: Final = (
    *("deployment", "meeting", "calls", "name", "at", "kind", "from.type", "from.holder", "from.weight", "to.type"),
    *("to.holder", "to.weight", "cause", "rule", "leg", "user", "late", "reason"),
)
HISTORY_COLUMNS: Final = (
    *("deployment", "start", "personal_peak", "shared_sixths_peak", "shared_licenses_peak", "participants_peak"),
)

_encode: Final = msgspec.json.Encoder().encode


def api_app(
    settings: ServiceSettings,
    queries: Queries,
    history: History,
    collection: Collection,
    health: Health,
    metrics: Metrics,
) -> web.Application:
    """Return the application of the API's port."""
    api = _Api(queries, history, collection, metrics)
    app = web.Application(
        middlewares=[problems, api_door(settings.api_token, settings.api_bind)],
        client_max_size=BODY_BYTES_MAX,
    )
    app.add_routes(health_routes(health))
    app.add_routes(
        [
            web.get("/v1/calls", api.calls),
            web.get(f"/v1/calls/{ID}", api.call),
            web.get(f"/v1/calls/{ID}/legs", api.legs),
            web.get(f"/v1/meetings/{ID}", api.meeting),
            web.get("/v1/switches", api.switches),
            web.get("/v1/usage", api.usage),
            web.get("/v1/usage/history", api.usage_history),
            web.get("/v1/usage/peak", api.usage_peak),
            web.get("/v1/bridges", api.bridges),
            web.get("/v1/dead-letters", api.dead_letters),
            web.get("/metrics", api.metrics),
        ]
    )
    return app


class _Api:
    def __init__(self, queries: Queries, history: History, collection: Collection, metrics: Metrics) -> None:
        self._queries = queries
        self._history = history
        self._collection = collection
        self._metrics = metrics

    async def calls(self, request: web.Request) -> web.Response:
        wanted, page = filters(request, CallFilters, *PAGING, "format"), paging(request)
        return _listed(request, await self._queries.calls(wanted, page.limit, page.cursor), CALL_COLUMNS)

    async def call(self, request: web.Request) -> web.Response:
        only(request, "deployment")
        return _json(await self._queries.call(_id(request), request.query.get("deployment")))

    async def legs(self, request: web.Request) -> web.Response:
        only(request, "deployment", *PAGING)
        page, deployment = paging(request), request.query.get("deployment")
        return _json(await self._queries.legs(_id(request), page.limit, page.cursor, deployment))

    async def meeting(self, request: web.Request) -> web.Response:
        only(request, "deployment")
        return _json(await self._queries.meeting(_id(request), request.query.get("deployment")))

    async def switches(self, request: web.Request) -> web.Response:
        wanted, page = filters(request, SwitchFilters, *PAGING, "format"), paging(request)
        return _listed(request, await self._queries.switches(wanted, page.limit, page.cursor), SWITCH_COLUMNS)

    async def usage(self, request: web.Request) -> web.Response:
        only(request, *PAGING)
        page = paging(request)
        return _json(await self._queries.usage(page.limit, page.cursor))

    async def usage_history(self, request: web.Request) -> web.Response:
        wanted, page = filters(request, HistoryFilters, *PAGING, "format"), paging(request)
        return _listed(request, await self._history.steps(wanted, page.limit, page.cursor), HISTORY_COLUMNS)

    async def usage_peak(self, request: web.Request) -> web.Response:
        return _json(await self._history.peak(filters(request, PeakFilters)))

    async def bridges(self, request: web.Request) -> web.Response:
        only(request, *PAGING)
        page = paging(request)
        return _json(await self._collection.bridges(page.limit, page.cursor))

    async def dead_letters(self, request: web.Request) -> web.Response:
        only(request, *PAGING)
        page = paging(request)
        return _json(await self._collection.dead_letters(page.limit, page.cursor))

    async def metrics(self, request: web.Request) -> web.Response:
        only(request)
        try:
            async with asyncio.timeout(METRICS_SECONDS):
                usage, bridges = await self._queries.usage(), await self._collection.bridges()
            body = self._metrics.page(usage.items, bridges.items)
        except (StoreUnavailable, TimeoutError):
            # What was counted is wanted above all while the store is in trouble.
            body = self._metrics.page([], [], store=False)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _id(request: web.Request) -> str:
    # Ids are compared ignoring case, as GUIDs are (Cisco API reference).
    return request.match_info["id"].lower()


def _json(body: object) -> web.Response:
    return web.Response(body=_encode(body), content_type="application/json")


def _listed(request: web.Request, page: Page[Any], columns: tuple[str, ...]) -> web.Response:
    if wants_csv(request):
        return csv_page(page.items, columns, page.next)
    return _json(page)
