"""The query API: which license each call uses and why, what switched, and what is in use now."""

import asyncio
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Final

import msgspec
from aiohttp import hdrs, web
from msgspec import Meta
from prometheus_client import CONTENT_TYPE_LATEST

from cdr_service.domain.description import Description
from cdr_service.domain.explain import Explained
from cdr_service.domain.filters import CallFilters, EventFilters, HistoryFilters, PeakFilters, SwitchFilters
from cdr_service.domain.history_views import HistoryView, PeakView
from cdr_service.domain.pages import Page
from cdr_service.domain.policy_views import PolicyView
from cdr_service.domain.views import CallSummary, CallView, LegView, MeetingView, SwitchView, UsageView
from cdr_service.errors import StoreUnavailable
from cdr_service.reading import policies as of_policies
from cdr_service.reading.collection import BridgeView, DeadLetterView
from cdr_service.settings import ServiceSettings
from cdr_service.web.docs import HEADERS as DOCS_HEADERS
from cdr_service.web.docs import docs_page
from cdr_service.web.doors import api_door
from cdr_service.web.endpoints import EVENT_STREAM, JSON, Endpoint, get, post, routes
from cdr_service.web.events import LAST_EVENT_ID, Events
from cdr_service.web.health import Liveness, Readiness
from cdr_service.web.openapi import description
from cdr_service.web.page import PAGE_PATHS, page_routes
from cdr_service.web.parameters import Paging, Within
from cdr_service.web.problems import problems
from cdr_service.web.reconciling import past_uses, policies_fit, reconciliation
from cdr_service.web.reports import REPORTS
from cdr_service.web.use_cases import UseCases

BODY_BYTES_MAX: Final = 1024 * 1024
METRICS_SECONDS: Final = 4.0
"""How long the store may take for `/metrics`; a scraper waits for ten seconds."""
Id = Annotated[str, Meta(description="An id of the Meeting Server's; letter case does not matter.")]
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


@get("/v1/calls", csv=CALL_COLUMNS)
async def calls(use: UseCases, wanted: CallFilters, page: Paging) -> Page[CallSummary]:
    """List calls, live ones unless asked otherwise.

    Live ones come first, the latest to start before the others, then ended ones, the latest to end before the others.
    """
    return await use.queries.calls(wanted, page.limit, page.cursor)


@get("/v1/calls/{id}")
async def call(use: UseCases, id: Id, within: Within) -> CallView:
    """Show one call, whole, with every change of its license."""
    return await use.queries.call(id, within.deployment)


@get("/v1/calls/{id}/legs")
async def legs(use: UseCases, id: Id, within: Within, page: Paging) -> Page[LegView]:
    """List the legs of a call, the latest to start first."""
    return await use.queries.legs(id, page.limit, page.cursor, within.deployment)


@get("/v1/meetings/{id}")
async def meeting(use: UseCases, id: Id, within: Within) -> MeetingView:
    """Show a meeting: its calls, and the license that they share.

    It is found by its own id (callCorrelator), or by that of one of its calls.
    """
    return await use.queries.meeting(id, within.deployment)


@get("/v1/switches", csv=SWITCH_COLUMNS)
async def switches(use: UseCases, wanted: SwitchFilters, page: Paging) -> Page[SwitchView]:
    """List changes from one license to another, newest first.

    There is one per meeting and change, however many calls the meeting has.
    """
    return await use.queries.switches(wanted, page.limit, page.cursor)


@get("/v1/usage")
async def usage(use: UseCases, page: Paging) -> Page[UsageView]:
    """Tell the licenses in use now, per deployment, in the order in which these are set."""
    return await use.queries.usage(page.limit, page.cursor)


@get("/v1/usage/history", csv=HISTORY_COLUMNS)
async def usage_history(use: UseCases, wanted: HistoryFilters, page: Paging) -> Page[HistoryView]:
    """List the most that was in use in each minute, hour or day, newest first.

    A step that overlaps the span is given whole. Without `since` the list goes back as far as anything is kept, without
    `until` it begins now.
    """
    return await use.history.steps(wanted, page.limit, page.cursor)


@get("/v1/usage/peak")
async def usage_peak(use: UseCases, wanted: PeakFilters) -> PeakView:
    """Tell when most of the shared pool was in use in a span, and by which meetings.

    Of several deployments that with the highest use comes first, and `others` has the rest: licenses are bought for a
    deployment.
    """
    return await use.history.peak(wanted)


@get("/v1/policies")
async def policies(_: UseCases, page: Paging) -> Page[PolicyView]:
    """List the policies: the rules by which licenses are assigned, in their order, with their sources."""
    return of_policies.policies(page.limit, page.cursor)


@post("/v1/explain")
async def explain(use: UseCases, body: Description) -> Explained:
    """Explain which license a described meeting would take after each of its steps, under each policy, and why.

    The meeting is played through the code that decides real ones. What would have changed the license is found by
    playing it again with one thing otherwise.
    """
    return await use.explaining.explain(body)


@get("/v1/bridges")
async def bridges(use: UseCases, page: Paging) -> Page[BridgeView]:
    """List Call Bridges by deployment and name: what came from each, and what is missing."""
    return await use.collection.bridges(page.limit, page.cursor)


@get("/v1/dead-letters")
async def dead_letters(use: UseCases, page: Paging) -> Page[DeadLetterView]:
    """List documents and records that could not be taken in, newest first."""
    return await use.collection.dead_letters(page.limit, page.cursor)


@get("/v1/events", answers={200: None}, media=EVENT_STREAM, headers={LAST_EVENT_ID: "Goes on after this event."})
async def events(use: UseCases, wanted: EventFilters, request: web.Request) -> web.StreamResponse:
    """Follow what happens, from now on or after an event: server-sent events, without an end.

    The `data` of each event is the object that the log shows too, and its `id` leads on after a break. `reset` says
    that continuity was lost, `dropped` why the stream ends.
    """
    return await Events(use.event_stream).stream(request, wanted)


@get("/metrics", media="text/plain")
async def metrics(use: UseCases) -> web.Response:
    """Tell the same in numbers, for Prometheus."""
    try:
        async with asyncio.timeout(METRICS_SECONDS):
            usage, bridges = await use.queries.usage(), await use.collection.bridges()
            drifts, memory = await use.reconciling.drifts(), await use.health.memory()
        body = use.metrics.page(usage.items, bridges.items, drifts, memory)
    except (StoreUnavailable, TimeoutError):
        # What was counted is wanted above all while the store is in trouble.
        body = use.metrics.page([], [], store=False)
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_LATEST})


@get("/healthz", answers={200: Liveness}, needs_token=False)
async def alive(_: UseCases) -> web.Response:
    """Tell that the process is alive.

    It answers as long as it can: a store in trouble is no reason to restart it.
    """
    return _of_now(200, Liveness())


@get("/readyz", answers={200: Readiness, 503: Readiness}, needs_token=False)
async def ready(use: UseCases) -> web.Response:
    """Tell whether the service can do its work, and whether its store is safe."""
    readiness = await use.health.ready()
    return _of_now(200 if readiness.ok else 503, readiness)


@get("/openapi.json", answers={200: dict[str, Any]}, needs_token=False)
async def openapi(_: UseCases) -> web.Response:
    """Describe the API, in OpenAPI 3.1."""
    return web.Response(body=msgspec.json.encode(api_description()), content_type=JSON)


@get("/docs", media="text/html", needs_token=False)
async def docs(_: UseCases) -> web.Response:
    """Show this description to people."""
    return web.Response(text=_docs_page(), content_type="text/html", headers=DOCS_HEADERS)


def _of_now(status: int, body: object) -> web.Response:
    # A proxy that kept the answer would tell of yesterday's health.
    headers = {hdrs.CACHE_CONTROL: "no-store"}
    return web.Response(status=status, body=msgspec.json.encode(body), content_type=JSON, headers=headers)


ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    *(calls, call, legs, meeting, switches, usage, usage_history, usage_peak, *REPORTS, policies, policies_fit),
    *(explain, reconciliation, past_uses, bridges, dead_letters, events, metrics, alive, ready, openapi, docs),
)
"""All of the API, in the order in which it is described."""


@cache
def api_description() -> Mapping[str, Any]:
    """Return the OpenAPI document of the API."""
    return description(ENDPOINTS)


@cache
def _docs_page() -> str:
    return docs_page(api_description())


def api_app(settings: ServiceSettings, use: UseCases) -> web.Application:
    """Return the application of the API's port."""
    open_paths = PAGE_PATHS | {endpoint.path for endpoint in ENDPOINTS if not endpoint.needs_token}
    app = web.Application(
        middlewares=[problems, api_door(settings.api_token, settings.api_bind, open_paths)],
        client_max_size=BODY_BYTES_MAX,
    )
    app.add_routes([*routes(ENDPOINTS, use), *page_routes()])

    async def end_streams(_: web.Application) -> None:
        use.event_stream.end()

    app.on_shutdown.append(end_streams)
    return app
