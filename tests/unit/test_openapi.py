"""The API's own description: made of the declarations, and complete."""

import re
from typing import Annotated, Any, Literal

import msgspec
import pytest
from aiohttp import web
from msgspec import Meta, Struct

from cdr_service.domain.filters import Time
from cdr_service.domain.pages import Page
from cdr_service.web.api import ENDPOINTS, api_description
from cdr_service.web.endpoints import get, post
from cdr_service.web.openapi import description


class Asked(Struct, frozen=True, rename={"before": "from"}):
    """What is asked for."""

    at: Time
    """The moment."""
    before: Literal["b", "a"] = "a"
    """What was."""
    count: Annotated[int, Meta(ge=1, le=9)] = 5
    """How many."""


class Thing(Struct, frozen=True):
    """Some thing."""

    name: str
    """What it is called."""


class Whole(Thing, frozen=True):
    """A thing, whole."""

    parts: list[Thing]
    size: int | None = None
    """How large; null where that is not known."""


class Wish(Struct, frozen=True):
    """What is wanted."""

    name: str
    size: int = 1


@get("/things/{id}", csv=("name", "size"), headers={"Last-Seen": "Where to go on."})
async def things(use: Any, id: str, wanted: Asked) -> Page[Whole]:
    """List things.

    There may be
    none.
    """
    raise NotImplementedError


@post("/wishes")
async def wish(use: Any, body: Wish) -> Thing:
    """Take a wish."""
    raise NotImplementedError


@get("/text", media="text/plain", needs_token=False)
async def text(use: Any) -> web.Response:
    """Tell it in words."""
    raise NotImplementedError


@pytest.fixture(scope="module")
def document() -> Any:
    """Describe the endpoints above."""
    return msgspec.to_builtins(description([things, wish, text]))


def test_parameters_are_what_the_types_say(document: Any) -> None:
    """Name, place, choices in their order, bounds, defaults, meaning, and whether it must be given."""
    path, *query, form, header = document["paths"]["/things/{id}"]["get"]["parameters"]
    assert (path["in"], path["name"], path["required"]) == ("path", "id", True)
    assert query == [
        {
            "in": "query",
            "name": "at",
            "required": True,
            "description": "The moment.",
            "schema": {"type": "string", "format": "date-time"},
        },
        {
            "in": "query",
            "name": "from",
            "description": "What was.",
            "schema": {"type": "string", "enum": ["b", "a"], "default": "a"},
        },
        {
            "in": "query",
            "name": "count",
            "description": "How many.",
            "schema": {"type": "integer", "minimum": 1, "maximum": 9, "default": 5},
        },
    ]
    assert (form["name"], form["schema"]["enum"]) == ("format", ["json", "csv"])
    assert (header["in"], header["name"], header["description"]) == ("header", "Last-Seen", "Where to go on.")


def test_answers_are_what_the_types_say(document: Any) -> None:
    """JSON by the returned type, CSV where columns are named, other text by its kind, and the problems that can be."""
    answers = document["paths"]["/things/{id}"]["get"]["responses"]
    assert answers.keys() == {"200", "400", "401", "404", "421", "431", "503"}
    assert answers["200"]["content"].keys() == {"application/json", "text/csv"}
    assert answers["200"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Page_Whole_"}
    assert document["paths"]["/text"]["get"]["responses"]["200"]["content"].keys() == {"text/plain"}
    for name in ("BadRequest", "Unavailable"):
        content = document["components"]["responses"][name]["content"]
        assert content == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


def test_whatever_is_answered_has_all_its_members(document: Any) -> None:
    """A default is no reason to leave a member out of an answer, but it is in a body that is sent."""
    schemas = document["components"]["schemas"]
    assert schemas["Whole"]["required"] == ["name", "parts", "size"]
    assert schemas["Wish"]["required"] == ["name"]
    body = document["paths"]["/wishes"]["post"]["requestBody"]
    assert body == {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Wish"}}},
    }


def test_docstrings_say_what_things_mean(document: Any) -> None:
    """Of functions: summary and description; of fields, also of inherited ones: descriptions."""
    operation = document["paths"]["/things/{id}"]["get"]
    assert (operation["summary"], operation["description"]) == ("List things", "There may be none.")
    members = document["components"]["schemas"]["Whole"]["properties"]
    assert members["name"]["description"] == "What it is called."
    assert members["size"]["description"] == "How large; null where that is not known."
    assert "description" not in members["parts"]


def test_what_needs_no_token_says_so(document: Any) -> None:
    """An empty `security` is OpenAPI's word for that."""
    assert document["paths"]["/text"]["get"]["security"] == []
    assert document["paths"]["/wishes"]["post"]["security"] == [{"token": []}]


def test_all_of_the_api_is_described() -> None:
    """Each endpoint has its path, an id of its own and a summary, and each parameter says what it means."""
    document = msgspec.to_builtins(api_description())
    operations = [
        operation for path in document["paths"].values() for operation in path.values() if "responses" in operation
    ]
    assert document["paths"].keys() == {endpoint.path for endpoint in ENDPOINTS} | {"/cdr", "/cdr/{deployment}"}
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for operation in operations:
        assert operation["summary"]
        for parameter in operation.get("parameters", []):
            assert parameter["description"], (operation["operationId"], parameter["name"])


def test_references_lead_somewhere() -> None:
    """Every `$ref` names a component that is there."""
    document = api_description()
    for kind, name in re.findall(r'"#/components/(\w+)/([^"]+)"', msgspec.json.encode(document).decode()):
        assert name in document["components"][kind], name
