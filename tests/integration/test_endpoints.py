"""Endpoints over real HTTP: what a declaration makes of a request, and of what comes back."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from aiohttp import web
from msgspec import Meta, Struct

from cdr_service.domain.pages import Page
from cdr_service.web.api import docs
from cdr_service.web.docs import HEADERS
from cdr_service.web.endpoints import EVENT_STREAM, get, post, routes
from cdr_service.web.problems import problems
from cdr_service.web.server import listen, open_socket
from tests.integration.edge import LOOPBACK, Answer, ask


class Asked(Struct, frozen=True):
    """Query parameters."""

    name: str
    count: Annotated[int, Meta(ge=1, le=9)] = 5


class Wish(Struct, frozen=True):
    """A body."""

    name: str
    size: int = 1


class Thing(Struct, frozen=True):
    """An answer."""

    text: str


@get("/things/{id}", csv=("text",))
async def things(use: str, id: str, wanted: Asked) -> Page[Thing]:
    """List one thing that tells all that came."""
    return Page([Thing(f"{use} {id} {wanted.name} {wanted.count}")])


@post("/wishes")
async def wish(use: str, body: Wish) -> Thing:
    """Answer with the wish."""
    return Thing(f"{use} {body.name} {body.size}")


@get("/seen", headers={"Last-Seen": "Where to go on."})
async def seen(use: str, request: web.Request) -> Thing:
    """Answer with a header."""
    return Thing(f"{use} {request.headers['Last-Seen']}")


@get("/stream", media=EVENT_STREAM)
async def stream(use: str) -> web.Response:
    """Answer with a stream."""
    return web.Response(text=use, content_type=EVENT_STREAM)


@get("/alive", needs_token=False)
async def alive(use: str) -> Thing:
    """Answer to whoever asks."""
    return Thing(use)


@asynccontextmanager
async def api() -> AsyncIterator[str]:
    """Run these endpoints on a free port; gives the URL."""
    app = web.Application(middlewares=[problems], client_max_size=1000)
    app.add_routes(routes([things, wish, seen, stream, alive, docs], "it"))
    async with listen(app, open_socket(LOOPBACK, "CDR_API_BIND")) as listener:
        yield listener.url


async def fetch(target: str, body: bytes = b"", method: str = "GET", **headers: str) -> Answer:
    """Ask once."""
    async with api() as url:
        given = {"Host": "localhost", "Content-Length": str(len(body)), **headers}
        return await ask(url, target, body, method=method, headers=given)


async def test_arguments_come_from_path_and_query() -> None:
    """By their names and types; what is left out has its default."""
    answer = await fetch("/things/7?name=a%20b")
    assert (answer.status, json.loads(answer.body)) == (200, {"items": [{"text": "it 7 a b 5"}], "next": None})


@pytest.mark.parametrize(
    ("target", "accept"), [("/things/7?name=a&format=csv", "*/*"), ("/things/7?name=a", "text/csv")]
)
async def test_a_list_with_columns_comes_as_csv_too(target: str, accept: str) -> None:
    """By `format` or by `Accept`."""
    answer = await fetch(target, Accept=accept)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.body.decode("utf-8-sig") == "text\r\nit 7 a 5\r\n"


async def test_format_comes_before_accept() -> None:
    """What the URL says holds."""
    answer = await fetch("/things/7?name=a&format=json", Accept="text/csv")
    assert answer.headers["content-type"].startswith("application/json")


@pytest.mark.parametrize(
    ("target", "parameter", "sentence"),
    [
        ("/things/7", "name", "name is needed: a text."),
        ("/things/7?name=a&count=10", "count", "count must be a whole number from 1 to 9."),
        ("/seen?limit=1", "limit", "There is no parameter of this name here, nor any other."),
        ("/things/7?x=1", "x", "There is no parameter of this name here; those that exist: count, format, name."),
    ],
)
async def test_what_is_wrong_is_named(target: str, parameter: str, sentence: str) -> None:
    """Missing, out of bounds, unknown: a problem that names the parameter and says what to change."""
    told = json.loads((await fetch(target)).body)
    assert (told["status"], told["parameter"], told["detail"]) == (400, parameter, sentence)


async def test_a_body_is_read_by_its_type() -> None:
    """Whatever its Content-Type; what is left out has its default."""
    answer = await fetch("/wishes", b'{"name": "x"}', "POST", **{"Content-Type": "application/x-www-form-urlencoded"})
    assert (answer.status, json.loads(answer.body)) == (200, {"text": "it x 1"})


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b'{"name": 1}', 400, "The body is not as it must be: Expected `str`, got `int` - at `$.name`."),
        (b"{}", 400, "The body is not as it must be: Object missing required field `name`."),
        (b"name=x", 400, "The body is no JSON: "),
        (b"", 400, "The body is no JSON: "),
        (b'{"name": "\xff"}', 400, "The body is no JSON: "),
        (b'{"name": "' + b"x" * 1000 + b'"}', 413, ""),
    ],
)
async def test_a_body_that_is_wrong_is_refused(body: bytes, status: int, sentence: str) -> None:
    """With what is wrong and where."""
    answer = await fetch("/wishes", body, "POST")
    told: Any = json.loads(answer.body)
    assert (answer.status, told["status"]) == (status, status)
    assert told["detail"].startswith(sentence)
    where = "name" if "$.name" in sentence else "body"
    assert told.get("parameter") == (where if status == 400 else None)


async def test_the_request_itself_is_an_argument() -> None:
    """For what no type says."""
    assert json.loads((await fetch("/seen", **{"Last-Seen": "7"})).body) == {"text": "it 7"}


@pytest.mark.parametrize(("path", "status"), [("/alive", 200), ("/stream", 405)])
async def test_the_head_alone_may_be_asked_for_of_what_ends(path: str, status: int) -> None:
    """HEAD is what GET is, without a body; of a stream it would never end."""
    assert (await fetch(path)).status == 200
    assert (await fetch(path, method="HEAD")).status == status


async def test_what_needs_no_token_ignores_parameters() -> None:
    """A probe may add some of its own."""
    assert (await fetch("/alive?cache=no")).status == 200


async def test_the_page_says_what_it_may_not_do() -> None:
    """The page that shows the description brings its policy along."""
    answer = await fetch("/docs")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert {name: answer.headers[name.lower()] for name in HEADERS} == HEADERS
