"""The live page: what a browser needs to show it. It is an empty shell without data, so it needs no token."""

import hashlib
from importlib.resources import files
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

PARTS: Final = (
    *("api.js", "app.js", "badge.js", "chart.js", "detail.js", "dom.js", "download.js", "feed.js", "find.js"),
    *("format.js", "gauges.js", "meetings.js", "peak.js", "rankings.js", "reports.js", "state.js", "stream.js"),
    *("theme.js", "timeline.js", "token.js", "views.js", "whatif.js"),
    *("base.css", "parts.css", "detail.css", "reports.css", "icon.svg"),
)
PAGE_PATHS: Final = frozenset({"/", *(f"/page/{name}" for name in PARTS)})
"""What may be read without a token."""

_TYPES: Final = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Nothing comes from elsewhere, nothing is sent elsewhere, and no text ever becomes markup or a script."""
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def page_routes() -> list[web.RouteDef]:
    """Return the routes of the page and of its parts."""
    parts = {name: _part(name) for name in PARTS}

    async def part(request: web.Request) -> web.StreamResponse:
        found = parts.get(request.match_info["file"])
        if found is None:
            raise web.HTTPNotFound
        return await found(request)

    return [web.get("/", _part("index.html")), web.get("/page/{file}", part)]


def _part(name: str) -> Handler:
    """Return what answers with a file. A browser that has it already is told so."""
    body = files(__package__).joinpath(name).read_bytes()
    tag = hashlib.sha256(body).hexdigest()[:20]

    async def answer(request: web.Request) -> web.Response:
        known = request.if_none_match
        same = known is not None and any(each.value == tag for each in known)
        response = web.Response(status=304, headers=_HEADERS) if same else web.Response(body=body, headers=_HEADERS)
        response.content_type = _TYPES[name.rpartition(".")[2]]
        response.charset = "utf-8"
        response.etag = tag
        return response

    return answer
