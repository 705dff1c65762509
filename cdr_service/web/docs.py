"""The page that shows the API's description to people: plain HTML without any script, readable without a network."""

import base64
import hashlib
import html
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any, Final

STYLE: Final = files("cdr_service.web").joinpath("docs.css").read_text(encoding="utf-8")
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS: Final = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""What keeps the page from doing anything but to be read."""

Parts = Iterator[str]


def docs_page(document: Mapping[str, Any]) -> str:
    """Return the page for an OpenAPI document that `description` made."""
    return "".join(_page(document))


def _page(document: Mapping[str, Any]) -> Parts:
    about = document["info"]
    operations = [
        (method, path, operation, item.get("servers"))
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in ("get", "post")
    ]
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_text(about["title"])} API</title>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<style>{STYLE}</style></head><body><header><h1>{_text(about['title'])} {_text(about['version'])}</h1>"
    yield from (f"<p>{_prose(paragraph)}</p>" for paragraph in about["description"].split("\n\n"))
    yield '<p>For programs: <a href="/openapi.json">/openapi.json</a>.</p></header><nav><ul>'
    for method, path, operation, _ in operations:
        target = f'<a href="#{_text(operation["operationId"])}">{method.upper()} {_text(path)}</a>'
        yield f"<li>{target} {_prose(operation['summary'])}</li>"
    yield "</ul></nav><main>"
    for method, path, operation, servers in operations:
        yield from _operation(method, path, operation, servers, document["components"]["responses"])
    yield "<h2>What is answered and taken</h2>"
    for name, schema in document["components"]["schemas"].items():
        yield from _schema(name, schema)
    yield "</main></body></html>\n"


def _operation(
    method: str, path: str, operation: Mapping[str, Any], servers: Any, problems: Mapping[str, Any]
) -> Parts:
    yield f'<section id="{_text(operation["operationId"])}">'
    yield f"<h2><code>{method.upper()} {_text(path)}</code></h2><p>{_prose(operation['summary'])}.</p>"
    if "description" in operation:
        yield f"<p>{_prose(operation['description'])}</p>"
    for server in servers or ():
        yield f"<p>{_prose(server['description'])}, not that of the rest.</p>"
    if not operation["security"]:
        yield "<p>It needs no token.</p>"
    if parameters := operation.get("parameters"):
        rows = [
            (_parameter(one), _type(one["schema"], is_needed=False), _prose(one["description"])) for one in parameters
        ]
        yield from _table(("parameter", "takes", "meaning"), rows)
    if body := operation.get("requestBody"):
        kinds = ", ".join(_content(body["content"]))
        yield f"<p>Body: {kinds}. {_prose(body.get('description', ''))}</p>"
    yield from _table(("status", "content", "meaning"), _answers(operation["responses"], problems))
    yield "</section>"


def _answers(responses: Mapping[str, Any], problems: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for status, response in responses.items():
        told = problems[response["$ref"].rpartition("/")[2]] if "$ref" in response else response
        yield status, ", ".join(_content(told.get("content", {}))), _prose(told["description"])


def _content(content: Mapping[str, Any]) -> Iterator[str]:
    for media, told in content.items():
        schema = told.get("schema", {})
        yield f"<code>{_text(media)}</code>" + (f" {_type(schema)}" if "$ref" in schema else "")


def _parameter(parameter: Mapping[str, Any]) -> str:
    where = "" if parameter["in"] == "query" else f" ({parameter['in']})"
    needed = " (needed)" if parameter.get("required") and parameter["in"] == "query" else ""
    return f"<code>{_text(parameter['name'])}</code>{where}{needed}"


def _schema(name: str, schema: Mapping[str, Any]) -> Parts:
    yield f'<section id="{_text(name)}"><h3>{_text(schema.get("title", name))}</h3>'
    yield f"<p>{_prose(schema.get('description', ''))}</p>"
    if "properties" in schema:
        rows = [
            (f"<code>{_text(member)}</code>", _type(told), _prose(told.get("description", "")))
            for member, told in schema["properties"].items()
        ]
        yield from _table(("member", "type", "meaning"), rows)
    elif "enum" in schema:
        yield f"<p>{_type(schema)}</p>"
    yield "</section>"


def _type(schema: Mapping[str, Any], *, is_needed: bool = True) -> str:
    """Return in words what a schema allows, with links to those that have a name."""
    if "$ref" in schema:
        name = _text(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name.strip("_").replace("_", " of ")}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(part) for part in schema["anyOf"])
    if "enum" in schema:
        said = ", ".join(f"<code>{_text(value)}</code>" for value in schema["enum"])
    elif schema.get("type") == "array":
        said = f"list of {_type(schema['items'])}"
    elif isinstance(schema.get("additionalProperties"), dict):
        said = f"by name {_type(schema['additionalProperties'])}"
    else:
        said = _text(schema.get("format") or schema.get("type", "any"))
    if "minimum" in schema and "maximum" in schema:
        said += f" from {schema['minimum']} to {schema['maximum']}"
    return said if is_needed or "default" not in schema else f"{said}; default <code>{_text(schema['default'])}</code>"


def _table(head: tuple[str, ...], rows: Any) -> Parts:
    yield "<table><thead><tr>" + "".join(f"<th>{name}</th>" for name in head) + "</tr></thead><tbody>"
    yield from ("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    yield "</tbody></table>"


def _text(value: Any) -> str:
    return html.escape(str(value))


def _prose(text: str) -> str:
    """Return a text of the description, whose backticks mean code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", _text(text))
