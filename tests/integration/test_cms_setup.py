"""`docs/cms-setup.md`: its commands are run against a simulated Meeting Server and the service."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cdr_service.simulator.api import PASSWORD, USERNAME
from cdr_service.simulator.api_model import example_directory
from tests.integration.command import ROOT, running
from tests.integration.meeting_server import meeting_server

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the examples are run by curl")

PAGE = (ROOT / "docs" / "cms-setup.md").read_text(encoding="utf-8")
RECEIVER = "http://cdr.example.com:8080/cdr?token=secret"


def block(beginning: str) -> str:
    """Return the shell block of the page that begins so, with a token."""
    (found,) = (text for text in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if text.startswith(beginning))
    return str(found).replace("…", "secret")


def shell(script: str, folder: Path) -> str:
    """Run a block as somebody would who pastes it; return what it prints."""
    told = subprocess.run(
        ["sh", "-ec", script],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


def test_a_receiver_is_put_on_every_bridge_of_a_cluster(tmp_path: Path) -> None:
    """The loop leaves the URL, whole, in the list of each node and nothing else."""
    with meeting_server(tmp_path, example_directory(), nodes=3) as cms:
        user = f"-sS -u {USERNAME}:{PASSWORD} --cacert {cms.settings['CDR_CMS_CA']} --noproxy '*'"
        hosts = [server.url.removeprefix("https://") for server in cms.servers]
        script = block("for bridge in").replace("-u api-user", user)
        script = script.replace("cms1.example.com:445 cms2.example.com:445 cms3.example.com:445", " ".join(hosts))
        assert "example.com:445" not in script
        shell(script, tmp_path)
        for host in hosts:
            listed = shell(f"curl {user} https://{host}/api/v1/system/cdrReceivers", tmp_path)
            assert listed.count("<cdrReceiver ") == 1
            assert RECEIVER in listed


def test_a_certificate_for_a_trial(tmp_path: Path) -> None:
    """The command makes one by which the intake speaks TLS, for the name of the receiver URL."""
    shell(block("openssl req"), tmp_path)
    settings = {"CDR_INTAKE_TLS_CERT": str(tmp_path / "cert.pem"), "CDR_INTAKE_TLS_KEY": str(tmp_path / "key.pem")}
    with running(tmp_path, "serve", settings=settings) as service:
        port = service.intake_url.rpartition(":")[2].partition("/")[0]
        test = block("curl -i --data-binary").replace("http://cdr.example.com:8080", f"https://cdr.example.com:{port}")
        named = f"--noproxy '*' --cacert cert.pem --resolve cdr.example.com:{port}:127.0.0.1"
        assert shell(test.replace("curl -i", f"curl -sSi {named}"), tmp_path).startswith("HTTP/1.1 200 OK")
