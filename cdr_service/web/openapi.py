"""The API's own description, OpenAPI 3.1, made of the declarations that also route, validate and answer."""

from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any, Final, get_origin

import msgspec
from aiohttp import web
from msgspec import NODEFAULT, Struct

from cdr_service.web.endpoints import JSON, Endpoint
from cdr_service.web.intake_description import INTAKE_PATHS, INTAKE_SECURITY, RETRY_AFTER
from cdr_service.web.meanings import meanings, structs_in
from cdr_service.web.parameters import Parameter, parameters_of
from cdr_service.web.problems import PROBLEM_JSON, Problem

_REFERENCE: Final = "#/components/schemas/{name}"
_ABOUT: Final = """\
Which license each call of a Cisco Meeting Server uses, why, and when it switched.

Times are RFC 3339 in UTC, by the records' own clock unless said otherwise. What is not known is null; no member is left
out. A list is a page; give back its `next` as `cursor`, with the same filters, for the page after it. Members may be
added, so ignore those that you do not know.
"""
_PROBLEMS: Final = {
    400: ("BadRequest", "A parameter or the body cannot be understood; `parameter` names which."),
    401: ("Unauthorized", "The token is missing or wrong."),
    404: ("NotFound", "There is nothing of this id, or it is no longer kept."),
    413: ("TooLarge", "The body is larger than this API takes."),
    421: ("Misdirected", "Without a token, the API answers only to the names of its own machine."),
    431: ("TooLong", "The URL or a header is too long."),
    503: ("Unavailable", "The store does not answer just now; try again after the seconds that `Retry-After` tells."),
}


def description(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Return the OpenAPI document of these endpoints, and of the intake on its own port."""
    endpoints = tuple(endpoints)
    schemas = _Schemas(endpoints)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "cdr-service",
            "version": version("cdr-service"),
            "description": _ABOUT,
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The port of the query API (CDR_API_BIND)"}],
        "paths": paths | INTAKE_PATHS,
        "components": {
            "schemas": schemas.components,
            "responses": {name: _problem(status, text) for status, (name, text) in _PROBLEMS.items()},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "CDR_API_TOKEN; unset, none is needed."},
                **INTAKE_SECURITY,
            },
        },
    }


class _Schemas:
    """The schemas of all types, with what their fields mean."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        bodies = [endpoint.types["body"] for endpoint in endpoints if "body" in endpoint.types]
        given = [kind for endpoint in endpoints for kind in endpoint.answers.values() if kind is not None]
        taken = {struct.cls for kind in bodies for struct in structs_in(kind)}
        kinds = [*given, *bodies, Problem]
        found, self.components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
        self._found = list(zip(kinds, found, strict=True))
        for struct in (struct for kind in kinds for struct in structs_in(kind)):
            (named,) = msgspec.json.schema_components([struct.cls], ref_template="{name}")[0]
            _explain(self.components[named["$ref"]], struct, is_taken=struct.cls in taken)

    def of(self, kind: Any) -> Mapping[str, Any]:
        """Return the schema of a type that is answered or taken."""
        return next(schema for one, schema in self._found if one == kind)


def _explain(component: dict[str, Any], struct: Any, *, is_taken: bool) -> None:
    """Say what the members of a struct mean. Whatever is answered has all of them, also those with a default."""
    said = meanings(struct.cls)
    for field in struct.fields:
        if field.name in said:
            component["properties"][field.encode_name]["description"] = said[field.name]
    made = get_origin(struct.cls) or struct.cls
    if not is_taken and not made.__struct_config__.omit_defaults:
        component["required"] = list(component["properties"])
        for member in component["properties"].values():
            member.pop("default", None)


def _operation(endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    summary, _, more = (endpoint.handler.__doc__ or "").partition("\n")
    told: dict[str, Any] = {"operationId": endpoint.handler.__name__, "summary": summary.rstrip(".")}
    if more.strip():
        told["description"] = " ".join(more.split())
    parameters = [
        *(
            {"in": "path", "name": name, "required": True, **_of_path(endpoint, name)}
            for name in endpoint.path_parameters
        ),
        *(_of_query(kind, parameter) for kind in endpoint.query for parameter in parameters_of(kind)),
        *(
            {"in": "header", "name": name, "schema": {"type": "string"}, "description": text}
            for name, text in endpoint.headers.items()
        ),
    ]
    if parameters:
        told["parameters"] = parameters
    if "body" in endpoint.types:
        told["requestBody"] = {"required": True, "content": {JSON: {"schema": schemas.of(endpoint.types["body"])}}}
    told["responses"] = _responses(endpoint, schemas)
    told["security"] = [{"token": []}] if endpoint.needs_token else []
    return told


def _of_path(endpoint: Endpoint, name: str) -> dict[str, Any]:
    schema = msgspec.json.schema(endpoint.types[name])
    return {"description": schema.pop("description", ""), "schema": schema}


def _of_query(kind: type[Struct], parameter: Parameter) -> dict[str, Any]:
    default = {} if parameter.default in (None, NODEFAULT) else {"default": parameter.default}
    told: dict[str, Any] = {"in": "query", "name": parameter.name, "schema": {**parameter.schema, **default}}
    if parameter.default is NODEFAULT:
        told["required"] = True
    meaning = meanings(kind).get(parameter.field)
    return told | ({"description": meaning} if meaning else {})


def _responses(endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    responses = {str(status): _answer(endpoint, kind, schemas) for status, kind in endpoint.answers.items()}
    problems = {421, 431}
    if endpoint.needs_token:
        problems |= {400, 401, 503}
    if endpoint.path_parameters:
        problems.add(404)
    if "body" in endpoint.types:
        problems.add(413)
    for status in sorted(problems):
        responses.setdefault(str(status), {"$ref": f"#/components/responses/{_PROBLEMS[status][0]}"})
    return responses


def _answer(endpoint: Endpoint, kind: Any, schemas: _Schemas) -> dict[str, Any]:
    if kind is None:
        return {"description": "The answer.", "content": {endpoint.media: {"schema": {"type": "string"}}}}
    told: dict[str, Any] = {"description": "The answer.", "content": {JSON: {"schema": schemas.of(kind)}}}
    if endpoint.csv:
        columns = f"A row for each item, with the columns {', '.join(endpoint.csv)}."
        told["content"]["text/csv"] = {"schema": {"type": "string", "description": columns}}
        told["headers"] = {
            "Next-Cursor": {
                "description": "In CSV, the cursor of the next page, where there is one.",
                "schema": {"type": "string"},
            }
        }
    return told


def _problem(status: int, text: str) -> dict[str, Any]:
    schema = {"$ref": _REFERENCE.format(name=Problem.__name__)}
    headers = {"headers": RETRY_AFTER} if status == web.HTTPServiceUnavailable.status_code else {}
    return {"description": text, "content": {PROBLEM_JSON: {"schema": schema}}, **headers}
