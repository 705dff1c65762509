"""The live page as files: what is served without a token, and by which rules a browser is to read it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files

import aiohttp
import pytest
from aiohttp import web

from cdr_service.web.page import PAGE_PATHS, PARTS, page_routes
from cdr_service.web.problems import problems
from cdr_service.web.server import listen, open_socket
from tests.integration.edge import LOOPBACK

FOLDER = files("cdr_service.web.page")
SOURCES = {name: FOLDER.joinpath(name).read_text() for name in (*PARTS, "index.html")}


@asynccontextmanager
async def page() -> AsyncIterator[str]:
    """Serve the page on a free port; return its URL."""
    app = web.Application(middlewares=[problems])
    app.add_routes(page_routes())
    async with listen(app, open_socket(LOOPBACK, "CDR_API_BIND")) as listener:
        yield listener.url


def test_every_file_is_a_part() -> None:
    """What lies in the folder is what is served, and every part is used by another."""
    lying = {path.name for path in FOLDER.iterdir() if path.is_file() and not path.name.endswith(".py")}
    assert lying == SOURCES.keys()
    for name in PARTS:
        assert any(f'/{name}"' in source for source in SOURCES.values()), name


def test_no_part_makes_markup_from_text() -> None:
    """No part inserts HTML, runs text or writes a style into markup; the policy would refuse all of it as well."""
    for name, source in SOURCES.items():
        for way in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "style=",
        ):
            assert way not in source, (name, way)
        assert "http://" not in source.replace("http://www.w3.org/2000/svg", ""), name
        assert "https://" not in source, name


@pytest.mark.parametrize("path", sorted(PAGE_PATHS))
async def test_a_part(path: str) -> None:
    """Each part comes with the policy, is asked for again each time, and is not sent again while it is the same."""
    async with page() as url, aiohttp.ClientSession() as session:
        async with session.get(f"{url}{path}") as response:
            assert response.status == 200
            assert "script-src 'self'" in response.headers["Content-Security-Policy"]
            assert "unsafe" not in response.headers["Content-Security-Policy"]
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Cache-Control"] == "no-cache"
            tag = response.headers["ETag"]
        async with session.get(f"{url}{path}", headers={"If-None-Match": tag}) as again:
            assert (again.status, await again.read()) == (304, b"")


@pytest.mark.parametrize(
    "path", ["/page/", "/page/__init__.py", "/page/index.html", "/page/..%2Fdocs.css", "/page/x.js"]
)
async def test_nothing_else(path: str) -> None:
    """Nothing that is no part of the page is served, whatever way is tried."""
    async with page() as url, aiohttp.ClientSession() as session, session.get(f"{url}{path}") as response:
        assert response.status == 404
