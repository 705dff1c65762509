"""The README and `docs/api.md` show what really happens: their requests are sent, and their answers compared."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cdr_service.web.api import ENDPOINTS
from tests.integration.command import ROOT, SAMPLES, Service, running, samples

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the examples are run by curl")

API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
BASE = "http://127.0.0.1:8081"
ENDLESS = 0
"""Stands for the status of an answer that does not end."""
VOLATILE = {"last_received_at", "received_at"}


class Example(NamedTuple):
    """A request of a page, and the answer that the page shows for it."""

    command: str
    status: int
    answer: Any


def examples(page: str) -> list[Example]:
    """Return the curl lines of a page; the JSON that follows directly belongs to the last line of its block."""
    found = []
    for block, rest in re.findall(r"```sh\n(.*?)```((?:(?!```).)*)", page, re.DOTALL):
        commands = [line for line in block.splitlines() if line.startswith("curl ") and BASE in line]
        for line in commands:
            command, _, status = line.replace("endless", str(ENDLESS)).partition("  # ")
            shown = page.partition(f"{block}```{rest}```json\n")[2] if line is commands[-1] else ""
            answer = json.loads(shown.partition("```")[0]) if shown else None
            found.append(Example(command, int(status or 200), answer))
    return found


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service that the sample flows were posted to; of the switch only so much that its meeting goes on."""
    home = tmp_path_factory.mktemp("home")
    holders = home / "holders.csv"
    holders.write_text("user,license,aliases,spaces\nalice@example.com,PMP+,,\nbob@example.com,,,\n")
    with running(home, "serve", settings={"CDR_HOLDERS": str(holders), "CDR_LIMIT_SHARED": "3"}) as service:
        for case, count in (("web-app-and-sip", 8), ("two-bridges", 7), ("switch", 5)):
            assert [service.post(body) for body in samples(case)[:count]] == [200] * count
        assert service.post((SAMPLES / "hostile" / "wrong-root.xml").read_bytes()) == 200
        yield service


def curl(service: Service, command: str) -> tuple[int, str]:
    """Run a curl line of a page against the service; return status and body."""
    line = shlex.split(command.replace(BASE, service.api_url))
    told = subprocess.run(
        [*line, "-sS", "--noproxy", "*", "-w", "\n%{http_code}"], capture_output=True, text=True, timeout=30, check=True
    )
    body, _, status = told.stdout.rpartition("\n")
    return int(status), body


def curl_for_a_while(service: Service, command: str) -> str:
    """Run a curl line whose answer has no end; return what came of it."""
    line = shlex.split(command.replace(BASE, service.api_url))
    limited = [*line, "-sS", "--noproxy", "*", "--max-time", "2"]
    return subprocess.run(limited, capture_output=True, text=True, timeout=30, check=False).stdout


def hold(shown: Any, real: Any, path: str = "") -> None:
    """Fail unless everything that is shown is really there; members and items may have been left out."""
    if isinstance(shown, dict):
        assert shown.keys() <= real.keys(), path
        for name, value in shown.items():
            place = f"{path}.{name}"
            if name in VOLATILE or (path, name) in (("usage.items[0]", "at"), ("dead-letters.items[0]", "id")):
                assert isinstance(real[name], str), place
            else:
                hold(value, real[name], place)
    elif isinstance(shown, list):
        assert len(shown) <= len(real), path
        for number, item in enumerate(shown):
            hold(item, real[number], f"{path}[{number}]")
    else:
        assert shown == real, path


@pytest.mark.parametrize("example", examples(API), ids=lambda example: example.command)
def test_the_examples_of_the_api(service: Service, example: Example) -> None:
    """Each curl line works as it stands, and what the page shows as its answer is part of the real one."""
    if example.status == ENDLESS:
        shown = curl_for_a_while(service, example.command)
        assert shown.startswith("retry: 2000\n: all is well\nid: default=")
        return
    status, body = curl(service, example.command)
    assert status == example.status
    if example.answer is not None:
        path = re.sub(r".*/([a-z-]+).*", r"\1", example.command.partition("?")[0])
        hold(example.answer, json.loads(body), path)


def test_every_path_is_documented() -> None:
    """The page names each path that the API has, with an example, and no other."""
    paths = {endpoint.path for endpoint in ENDPOINTS}
    assert set(re.findall(r"^\| `(?:GET|POST) (/\S*)` \|", API, re.MULTILINE)) == paths
    requests = [re.sub(r".*?8081(/[^'? ]*).*", r"\1", example.command) for example in examples(API)]
    for path in paths:
        pattern = re.sub(r"\\{id\\}", "[0-9a-f-]{36}", re.escape(path))
        assert any(re.fullmatch(pattern, request) for request in requests), path


def test_the_answer_in_the_readme(service: Service) -> None:
    """The README's example is a real answer, trimmed."""
    (example,) = [example for example in examples(README) if example.answer is not None]
    status, body = curl(service, example.command)
    assert status == example.status
    hold(example.answer, json.loads(body))


def test_the_table_of_rooms_is_whole() -> None:
    """CONTRIBUTING names every room and every module that lies beside them, and no other."""
    table = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("| room |")[2].partition("\n\n")[0]
    named = {name for row in table.splitlines() for name in re.findall(r"`([a-z_]+(?:/|\.py))`", row.split("|")[1])}
    package = ROOT / "cdr_service"
    rooms = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    assert named == rooms | {path.name for path in package.glob("[!_]*.py")}


def test_the_makefile_pins_uv() -> None:
    """Where there is no uv, the one that is installed is the one that wrote the lock file."""
    told = subprocess.run(
        ["make", "-n", "-B", ".tools/bin/uv"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert re.search(r"^\.tools/bin/pip install --quiet uv==\d+\.\d+\.\d+$", told, re.MULTILINE)


@pytest.mark.parametrize(
    "page",
    ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))],
)
def test_links_lead_somewhere(page: str) -> None:
    """Every link to a file of the project leads to one that is there."""
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text(encoding="utf-8")):
        assert Path(folder, target).exists(), target
