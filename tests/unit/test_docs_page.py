"""The page that shows the API's description to people."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from cdr_service.web.api import api_description
from cdr_service.web.docs import HEADERS, docs_page


class Page(HTMLParser):
    """A page, taken apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.attributes: set[str] = set()
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name == "id":
                self.ids.append(value or "")
            elif name == "href":
                self.links.append(value or "")

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.words += data


@pytest.fixture(scope="module")
def page() -> Page:
    """Take the page of our own API apart."""
    return Page(docs_page(api_description()))


def test_all_of_the_description_is_on_it(page: Page) -> None:
    """Each path, parameter, schema and member is named, and what it means is said."""
    document = api_description()
    for path, item in document["paths"].items():
        assert path in page.words
        for parameter in (item.get("get") or item["post"]).get("parameters", ()):
            assert parameter["name"] in page.words
            assert parameter["description"].replace("`", "") in page.words
    for name, schema in document["components"]["schemas"].items():
        assert name in page.ids
        for member, told in schema.get("properties", {}).items():
            assert member in page.words
            assert told.get("description", "").replace("`", "") in page.words


def test_links_lead_to_places_of_the_page(page: Page) -> None:
    """Every place has a name of its own, and links lead to these, or to the document for programs."""
    assert len(set(page.ids)) == len(page.ids)
    assert {link.removeprefix("#") for link in page.links} - set(page.ids) == {"/openapi.json"}


def test_it_can_do_nothing_but_be_read(page: Page) -> None:
    """No script, nothing loaded, no handler; the policy allows the one style that is there and nothing else."""
    assert not {"script", "link", "img", "iframe", "form", "object"} & set(page.tags)
    assert page.attributes <= {"id", "href", "lang", "charset", "name", "content"}
    (style,) = re.findall(r"<style>(.*?)</style>", docs_page(api_description()), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")
    assert "unsafe" not in policy


def test_text_is_no_markup() -> None:
    """What a description says stays text, whatever it looks like."""
    text = "<script>alert(1)</script> & `<b>`"
    document = {
        "info": {"title": text, "version": text, "description": text},
        "paths": {
            "/<b>": {
                "get": {
                    "operationId": "x",
                    "summary": text,
                    "description": text,
                    "security": [],
                    "parameters": [
                        {"in": "query", "name": text, "description": text, "schema": {"enum": [text], "default": text}}
                    ],
                    "responses": {"200": {"description": text, "content": {text: {}}}},
                }
            }
        },
        "components": {
            "responses": {},
            "schemas": {"x1": {"title": text, "description": text, "properties": {text: {}}}},
        },
    }
    shown = docs_page(document)
    assert {"script", "b"}.isdisjoint(Page(shown).tags)
    assert "<code>&lt;b&gt;</code>" in shown
