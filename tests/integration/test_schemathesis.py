"""The service keeps to its own description: schemathesis puts all of it to a running service with a real store.

It makes requests that the description allows and such that it forbids, also in sequences, and looks at every answer:
status, kind of content, headers and members as described, what is wrong refused, what is right taken, no fault, the
token asked for. The seed is fixed, so that a failure comes again; it prints the curl line that shows it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from cdr_service.domain.policies import POLICIES
from cdr_service.web.api import ENDPOINTS, api_description
from cdr_service.web.endpoints import EVENT_STREAM
from tests.integration.command import ROOT, SAMPLES, Service, running, samples

TOKEN = "t0ken"
EXAMPLES = 30
REFUSED = "[checks.negative_data_rejection]\nexpected-statuses = [400, 401, 404, 405, 421, 431]\n"
"""The statuses by which the API refuses what the description forbids."""
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service with a token, and calls that go on, that ended and that switched."""
    home = tmp_path_factory.mktemp("home")
    holders = home / "holders.csv"
    holders.write_text("user,license,aliases,spaces\nalice@example.com,PMP+,,\nbob@example.com,,,\n")
    settings = {"CDR_HOLDERS": str(holders), "CDR_LIMIT_SHARED": "3", "CDR_API_TOKEN": TOKEN}
    with running(home, "serve", settings=settings) as service:
        for case, count in (("web-app-and-sip", 8), ("two-bridges", 7), ("switch", 5)):
            assert [service.post(body) for body in samples(case)[:count]] == [200] * count
        assert service.post((SAMPLES / "hostile" / "wrong-root.xml").read_bytes()) == 200
        yield service


def put(home: Path, url: str, configuration: str, *arguments: str) -> None:
    """Run schemathesis against a port of the service; fail with its report unless it is content."""
    document, written = home / "openapi.json", home / "schemathesis.toml"
    document.write_text(json.dumps(api_description()))
    written.write_text(REFUSED + configuration)
    told = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(written), "run", str(document)),
            *("--url", url, "--seed", "1", "--max-examples", str(EXAMPLES), "--continue-on-failure", *arguments),
        ],
        cwd=home,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "NO_COLOR": "1",
            "SCHEMATHESIS_HOOKS": "tests.integration.schemathesis_hooks",
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr


def test_the_intake(service: Service, tmp_path: Path) -> None:
    """Whatever is pushed, whole, damaged or arbitrary, is answered as described and never by a fault.

    Nothing is refused for what the body holds, so that is not asked; and without a token set nobody is asked for one.
    """
    url = service.intake_url.removesuffix("/cdr")
    without = "--exclude-checks", "negative_data_rejection,ignored_auth"
    put(tmp_path, url, "[parameters]\n'path.deployment' = 'default'\n", "--include-path-regex", "^/cdr", *without)
    assert service.events("request.failed") == []


def test_the_query_api(service: Service, tmp_path: Path) -> None:
    """Every path answers as described, whatever is asked; also of what damaged documents left behind."""
    header = f"Authorization: Bearer {TOKEN}"
    question = Request(f"{service.api_url}/v1/calls?state=all&limit=20", headers=dict([header.split(": ")]))
    with urlopen(question, timeout=30) as answer:
        calls = json.load(answer)["items"]
    values = {"ids": [call[name] for call in calls for name in ("id", "meeting")], "deployments": ["default"]}
    values["policies"] = list(POLICIES)
    configuration = "".join(f"[dictionaries.{name}]\nvalues = {json.dumps(known)}\n" for name, known in values.items())
    configuration += "[parameters]\n'path.id' = {dictionary = 'ids', probability = 0.8}\n"
    configuration += "'query.deployment' = {dictionary = 'deployments', probability = 0.8}\n"
    configuration += "'query.policy' = {dictionary = 'policies', probability = 0.8}\n"
    without = "--exclude-checks", "positive_data_acceptance"
    for endpoint in ENDPOINTS:
        if endpoint.media == EVENT_STREAM:  # one that does not end, nor may it ever begin
            without += "--exclude-path", endpoint.path
    put(tmp_path, service.api_url, configuration, "--exclude-path-regex", "^/cdr", "--header", header, *without)
    assert service.events("request.failed") == []
