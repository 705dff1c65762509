"""How the intake is described: by hand, because it stands apart from the API's declarations and from its port."""

from typing import Any, Final

from cdr_service.web.intake import SENTENCES
from cdr_service.web.problems import PROBLEM_JSON

_ABOUT: Final = """\
A Call Bridge pushes here, and forgets a record at 200. Whatever could never be taken in is answered 200 as well and
kept as a dead letter, because it would be offered for ever.
"""
_ANSWERS: Final = {
    200: "Committed, or set aside as a dead letter: the document need not be sent again.",
    400: SENTENCES[400],
    401: "The token is missing or wrong.",
    403: "The sender's address is not allowed.",
    404: "There is no such deployment.",
    408: SENTENCES[408],
    413: SENTENCES[413],
    431: "The URL or a header is too long.",
    503: "It could not be committed, or its answer was lost: send it again, which is safe.",
}
RETRY_AFTER: Final = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
"""The header that comes with 503."""
_HEADERS: Final = {503: RETRY_AFTER}
_TEXT: Final = {"schema": {"type": "string"}}
_PROBLEM: Final = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_CONTENT: Final = {
    200: {},
    # Headers that are no HTTP are refused before anybody knows what is wanted.
    400: {"text/plain": _TEXT, **_PROBLEM},
    431: _PROBLEM,
}

INTAKE_SECURITY: Final = {
    "intakeToken": {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "CDR_INTAKE_TOKEN of the deployment; unset, none is needed.",
    }
}


def _push(operation: str, summary: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    bridge = {
        "in": "query",
        "name": "bridge",
        "description": "Names a Call Bridge that does not name itself in the body. Other parameters are ignored.",
        "schema": {"type": "string"},
    }
    return {
        "servers": [
            {
                "url": "{scheme}://{host}:{port}",
                "description": "The port of the intake (CDR_INTAKE_BIND)",
                "variables": {
                    "scheme": {"default": "http", "enum": ["http", "https"]},
                    "host": {"default": "127.0.0.1"},
                    "port": {"default": "8080"},
                },
            }
        ],
        "post": {
            "operationId": operation,
            "summary": summary,
            "description": _ABOUT,
            "parameters": [*parameters, bridge],
            "requestBody": {
                "description": "A CDR document of the Meeting Server, plain or with Content-Encoding gzip; any other "
                "Content-Type will do as well.",
                "required": True,
                "content": {"text/xml": _TEXT},
            },
            "responses": {
                str(status): {
                    "description": text,
                    **({"headers": _HEADERS[status]} if status in _HEADERS else {}),
                    "content": _CONTENT.get(status, {"text/plain": _TEXT}),
                }
                for status, text in _ANSWERS.items()
            },
            "security": [{"intakeToken": []}],
        },
    }


INTAKE_PATHS: Final = {
    "/cdr": _push("push", "Push a CDR document of the deployment `default`", []),
    "/cdr/{deployment}": _push(
        "push_to",
        "Push a CDR document of a deployment",
        [
            {
                "in": "path",
                "name": "deployment",
                "required": True,
                "description": "A deployment that is configured.",
                "schema": {"type": "string"},
            }
        ],
    ),
}
"""The paths of the intake, as OpenAPI describes paths."""
