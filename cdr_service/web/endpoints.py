"""Endpoints: each is declared once, as a function with types, and both its route and its description come from that.

    @get("/v1/calls", csv=CALL_COLUMNS)
    async def calls(use: UseCases, wanted: CallFilters, page: Paging) -> Page[CallSummary]:
        return await use.queries.calls(wanted, page.limit, page.cursor)

The first argument is what stands behind the API. Each other one is what its name or its type says: a part of the path
that has its name; `body`, the JSON body; `request`, the request itself; and any other a struct of query parameters, one
for each field. What is returned is written as JSON, unless it is a response already.

The description is made of the same: the docstring's first line is the summary and the rest the description, docstrings
under the fields of structs say what they mean, and types say what may be given and what comes back.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, get_type_hints

import msgspec
from aiohttp import hdrs, web
from msgspec import Struct

from cdr_service.domain.text import harmless_json, misfit
from cdr_service.errors import BadRequest
from cdr_service.web.parameters import Format, read
from cdr_service.web.spreadsheet import csv_page, prefers_csv

JSON: Final = "application/json"
EVENT_STREAM: Final = "text/event-stream"
"""The kind of an answer that does not end, so that its head alone cannot be asked for."""
_OWN: Final = ("body", "request")

_encode: Final = msgspec.json.Encoder().encode


class Endpoint(NamedTuple):
    """A path and a method of the API: what it takes, what it gives, and who answers."""

    method: str
    path: str
    handler: Callable[..., Awaitable[Any]]
    types: Mapping[str, Any]
    """The types of the handler's arguments but the first, by name."""
    answers: Mapping[int, Any]
    """What comes with each status that is no problem: a type, written as JSON, or None for text of the kind `media`."""
    media: str
    headers: Mapping[str, str]
    """Request headers that are read, and what each means."""
    csv: Sequence[str]
    """The columns, where the list may be had as CSV."""
    needs_token: bool
    """One that needs none tells no data, and ignores query parameters, as a probe may add some."""

    @property
    def path_parameters(self) -> list[str]:
        """The arguments that are a part of the path."""
        return [name for name in self.types if f"{{{name}}}" in self.path]

    @property
    def query(self) -> tuple[type[Struct], ...]:
        """The structs that hold the query parameters."""
        asked = [kind for name, kind in self.types.items() if name not in (*_OWN, *self.path_parameters)]
        return (*asked, *([Format] if self.csv else []))

    async def answer(self, use: Any, request: web.Request) -> web.StreamResponse:
        """Answer one request. Raises what `problems` knows."""
        asked: Mapping[Any, Any] = read(request.query, self.query) if self.needs_token else {}
        given: dict[str, Any] = {name: request.match_info[name] for name in self.path_parameters}
        given |= {name: asked[kind] for name, kind in self.types.items() if kind in asked}
        if "body" in self.types:
            given["body"] = _decode(await request.read(), self.types["body"])
        if "request" in self.types:
            given["request"] = request
        found = await self.handler(use, **given)
        if isinstance(found, web.StreamResponse):
            return found
        if self.csv and _wants_csv(asked[Format].format, request):
            return csv_page(found.items, self.csv, found.next)
        return web.Response(body=harmless_json(_encode(found)), content_type=JSON)


Handler = Callable[..., Awaitable[Any]]


def get(
    path: str,
    *,
    answers: Mapping[int, Any] | None = None,
    media: str = JSON,
    headers: Mapping[str, str] | None = None,
    csv: Sequence[str] = (),
    needs_token: bool = True,
) -> Callable[[Handler], Endpoint]:
    """Declare who answers GET of a path.

    `answers` is for a handler that returns a response of its own: what comes with each status. Where that is no JSON,
    `media` says what it is. `headers` are those of the request that the handler looks at, with their meaning.
    """

    def declare(handler: Handler) -> Endpoint:
        return _declared(hdrs.METH_GET, path, handler, answers, media, headers or {}, csv, needs_token=needs_token)

    return declare


def post(path: str) -> Callable[[Handler], Endpoint]:
    """Declare who answers POST of a path."""
    return lambda handler: _declared(hdrs.METH_POST, path, handler, None, JSON, {}, (), needs_token=True)


def _declared(
    method: str,
    path: str,
    handler: Handler,
    answers: Mapping[int, Any] | None,
    media: str,
    headers: Mapping[str, str],
    csv: Sequence[str],
    *,
    needs_token: bool,
) -> Endpoint:
    hints = get_type_hints(handler, include_extras=True)
    returned = hints.pop("return")
    types = {name: hints[name] for name in list(inspect.signature(handler).parameters)[1:]}
    told = answers or {200: returned if media == JSON else None}
    return Endpoint(method, path, handler, types, told, media, headers, csv, needs_token)


def routes(endpoints: Iterable[Endpoint], use: Any) -> list[web.RouteDef]:
    """Return the routes of endpoints that answer from `use`."""
    return [_route(endpoint, use) for endpoint in endpoints]


def _route(endpoint: Endpoint, use: Any) -> web.RouteDef:
    async def answer(request: web.Request) -> web.StreamResponse:
        return await endpoint.answer(use, request)

    # aiohttp's own pattern takes no braces; a slash within a part is written %2F.
    path = re.sub(r"\{(\w+)\}", r"{\1:[^/]+}", endpoint.path)
    if endpoint.method == hdrs.METH_GET:
        return web.get(path, answer, allow_head=endpoint.media != EVENT_STREAM)
    return web.route(endpoint.method, path, answer)


def _wants_csv(chosen: str | None, request: web.Request) -> bool:
    return chosen == "csv" if chosen else prefers_csv(",".join(request.headers.getall(hdrs.ACCEPT, ())))


def _decode(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise BadRequest(misfit(error)[0] or "body", f"The body is not as it must be: {error}.") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise BadRequest("body", f"The body is no JSON: {error}.") from None
