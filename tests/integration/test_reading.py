"""What a reader may ask of the API, over HTTP: ids of every spelling, deployments, pages, formats."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.feed import Feed, call_end, call_start, join
from tests.integration.command import Service, run, running

ODD_IDS = ("{7d6111cd-462b}", "a/b", "..", "50%", "a b+c", "ümlaut", "x?y#z", "%2f", "a;b=c&d")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service with two deployments, to which one Call Bridge pushes the same; one of them has odd ids, too."""
    home = tmp_path_factory.mktemp("home")
    config = home / "cdr.toml"
    config.write_text("[deployments.branch]\npolicy = 'owner'\n")
    with running(home, "serve", settings={"CDR_CONFIG": str(config)}) as service:
        both = Feed("s", "bridge-1").document(call_start("c1"), join("bob", "c1"), join("alice", "c1", "09:00:01"))
        assert [service.post(both), service.post(both, "/branch")] == [200, 200]
        for number in (2, 3):
            assert service.post(Feed(f"s{number}", f"bridge-{number}").document(call_start(f"d{number}"))) == 200
        starts = [call_start(_xml(id_), meeting=f"m-{_xml(id_)}") for id_ in ODD_IDS]
        joins = [join(f"bob-{number}", _xml(id_)) for number, id_ in enumerate(ODD_IDS)]
        assert service.post(Feed("odd").document(*starts, *joins), "/branch?bridge=odd") == 200
        assert service.post(Feed("over").document(call_start("e1"), call_end("e1")), "?bridge=over") == 200
        yield service


def _xml(text: str) -> str:
    return text.replace("&", "&amp;")


def ask(service: Service, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Ask for a path just as it is written; return status, headers and body."""
    connection = HTTPConnection(urlsplit(service.api_url).netloc, timeout=30)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def refusal(service: Service, path: str) -> tuple[str, str]:
    """Return the parameter that is refused, and the sentence."""
    status, _, body = ask(service, path)
    assert status == 400
    told = json.loads(body)
    return told["parameter"], told["detail"]


@pytest.mark.parametrize("id_", ODD_IDS)
def test_any_id_can_be_asked_for(service: Service, id_: str) -> None:
    """Whatever a sender takes for an id: percent-encoded, it finds the call, its legs and its meeting."""
    path = quote(id_, safe="").replace(".", "%2E")
    call = service.get(f"/v1/calls/{path}")
    assert (call["id"], call["deployment"]) == (id_, "branch")
    (leg,) = service.get(f"/v1/calls/{path}/legs")["items"]
    assert leg["call"] == id_
    assert service.get(f"/v1/meetings/m-{path}")["id"] == f"m-{id_}"
    told = run(service.home, "call", id_, "--url", service.api_url, "--json")
    assert json.loads(told.stdout) == call, told.stderr


@pytest.mark.parametrize("path", ["/v1/calls/c1", "/v1/calls/c1/legs", "/v1/meetings/m-c1", "/v1/meetings/c1"])
def test_an_id_of_two_deployments(service: Service, path: str) -> None:
    """Without a deployment the answer says which there are; with one it is that one's."""
    assert refusal(service, path) == (
        "deployment",
        f"This {'meeting' if 'meetings' in path else 'call'} is in several deployments: name one of default, branch.",
    )
    whole: Any = service.get(f"{path}?deployment=branch")
    assert whole.get("deployment", "branch") == "branch"
    assert refusal(service, f"{path}?deployment=north") == (
        "deployment",
        'There is no deployment "north"; those that exist: default, branch.',
    )
    assert ask(service, "/v1/calls/d2?deployment=branch")[0] == 404


def test_the_command_takes_a_deployment(service: Service) -> None:
    """`call` says that the id is in several deployments, and takes one."""
    told = run(service.home, "call", "c1", "--url", service.api_url)
    assert (told.returncode, told.stderr) == (
        1,
        "Error: This call is in several deployments: name one of default, branch.\n",
    )
    told = run(service.home, "call", "c1", "--url", service.api_url, "--deployment", "branch", "--json")
    assert json.loads(told.stdout)["deployment"] == "branch"


@pytest.mark.parametrize("path", ["/v1/usage", "/v1/bridges", "/v1/calls/c1/legs?deployment=branch"])
def test_every_list_is_pages(service: Service, path: str) -> None:
    """Item by item the same as at once; `next` is null on the last page."""
    path += "&" if "?" in path else "?"
    whole = service.get(path)
    assert whole["next"] is None
    assert len(whole["items"]) > 1
    items, cursor = [], ""
    while True:
        page = service.get(f"{path}limit=1{cursor}")
        (item,) = page["items"]
        items.append(item)
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    for item in (*items, *whole["items"]):
        item.pop("at", None)
    assert items == whole["items"]
    assert refusal(service, f"{path}limit=0")[0] == "limit"
    assert refusal(service, f"{path}cursor=x")[0] == "cursor"


@pytest.mark.parametrize(
    "name", ["name", "participant", "holder", "tenant", "meeting", "deployment", "since", "cursor"]
)
def test_an_empty_value_is_refused(service: Service, name: str) -> None:
    """A script whose variable is empty asks for nothing, not for everything."""
    assert refusal(service, f"/v1/calls?{name}=") == (name, f"{name} is empty: leave it out, or give it a value.")


def test_an_unknown_parameter_is_named_with_those_that_exist(service: Service) -> None:
    """The sentence reads well where there are some, and where there are none."""
    assert refusal(service, "/v1/usage?since=now") == (
        "since",
        "There is no parameter of this name here; those that exist: cursor, limit.",
    )
    assert refusal(service, "/metrics?x=1") == ("x", "There is no parameter of this name here, nor any other.")


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/csv;q=0.1, application/json", "application/json"),
        ("text/csv, application/json;q=0.5", "text/csv; charset=utf-8"),
        ("*/*", "application/json"),
    ],
)
def test_the_header_accept(service: Service, accept: str, kind: str) -> None:
    """A list comes in the form that the reader prefers; `format` wins over the header."""
    assert ask(service, "/v1/calls", Accept=accept)[1]["content-type"] == kind
    assert ask(service, "/v1/calls?format=json", Accept=accept)[1]["content-type"] == "application/json"


def test_a_span_holds_its_begin_and_not_its_end(service: Service) -> None:
    """`since` is part of the span, `until` is not: spans that follow each other give no call twice."""
    listed = "/v1/calls?state=ended&deployment=default"
    assert [call["id"] for call in service.get(f"{listed}&since=2024-03-12T10:00:00Z")["items"]] == ["e1"]
    assert service.get(f"{listed}&since=2024-03-12T10:00:01Z")["items"] == []
    assert [call["id"] for call in service.get(f"{listed}&until=2024-03-12T09:00:01Z")["items"]] == ["e1"]
    assert service.get(f"{listed}&until=2024-03-12T09:00:00Z")["items"] == []
