"""What went wrong, in a form that programs read: `application/problem+json` (RFC 9457)."""

from typing import Any, Final

import msgspec
import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from msgspec import Struct

from cdr_service.domain.text import harmless_json
from cdr_service.errors import BadRequest, Draining, NotFound, StoreUnavailable

PROBLEM_JSON: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 5
"""What `Retry-After` says when the store does not answer or the service is about to stop."""

_log: Any = structlog.get_logger()


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong (RFC 9457)."""

    type: str
    """Always about:blank: the status says what kind of problem it is."""
    title: str
    status: int
    detail: str
    """A sentence for people, which says what to change."""
    parameter: str | None = None
    """The parameter that is wrong; left out where it is none."""


def problem(status: int, title: str, detail: str, parameter: str | None = None) -> web.Response:
    """Return the answer that tells of a problem. `detail` is a sentence for people."""
    body = Problem(type="about:blank", title=title, status=status, detail=detail, parameter=parameter)
    return web.Response(status=status, body=harmless_json(msgspec.json.encode(body)), content_type=PROBLEM_JSON)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever a handler raises into a problem. What is our own fault is logged once, and told without details."""
    try:
        return await handler(request)
    except BadRequest as error:
        answer = problem(400, "Bad Request", str(error), parameter=error.parameter)
    except NotFound as error:
        answer = problem(404, "Not Found", str(error) or "There is nothing of this id.")
    except (StoreUnavailable, Draining):
        answer = problem(503, "Service Unavailable", "The store does not answer just now: try again in a moment.")
        answer.headers[hdrs.RETRY_AFTER] = str(RETRY_AFTER_SECONDS)
    except web.HTTPException as error:
        if error.status < web.HTTPBadRequest.status_code:
            raise
        answer = _from_http(error)
    except ConnectionError:
        # The reader has left: there is nobody to tell, and nothing is wrong.
        return _cut(request)
    except Exception:  # noqa: BLE001 - a fault of ours is told without its details
        _log.exception("request.failed", method=request.method, path=request.path)
        answer = problem(500, "Internal Server Error", "The service failed on this request; its log says more.")
    return answer if request.writer.output_size == 0 else _cut(request)


def _from_http(error: web.HTTPException) -> web.Response:
    default = f"{error.status}: {error.reason}"
    detail = error.text if error.text and error.text != default else _DETAILS.get(error.status, f"{error.reason}.")
    answer = problem(error.status, error.reason, detail)
    kept = (name for name in error.headers if name not in (hdrs.CONTENT_TYPE, hdrs.CONTENT_LENGTH))
    answer.headers.update({name: error.headers[name] for name in kept})
    return answer


_DETAILS: Final = {
    404: "There is nothing at this path.",
    405: "This path does not take this method; the header Allow names those that it takes.",
}


def _cut(request: web.Request) -> web.Response:
    """End a connection on which half an answer stands, so that nobody takes the half for the whole."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
