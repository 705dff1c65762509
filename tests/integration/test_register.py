"""`register` against a simulated Meeting Server, and what `check` and the API say of its CDR receivers."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

from cdr_service.simulator.api_model import example_directory
from cdr_service.simulator.api_nodes import Alarm
from tests.integration.command import run, running
from tests.integration.meeting_server import meeting_server
from tests.integration.servers import eventually

TOKEN = "token-of-ours-5f1c"
RECEIVER = "https://cdr.example.com:8080"
URI = f"{RECEIVER}/cdr?token={TOKEN}"
OTHER = "https://meeting-management.example.com/cdr-receiver"


def test_all_nodes_push_to_us(tmp_path: Path) -> None:
    """It shows what it will do, asks, does it on each node, and does nothing the second time; others stay."""
    with meeting_server(tmp_path / "cms", example_directory(), nodes=2) as server:
        first, second = server.deployment.nodes
        first.receivers = {"other": OTHER}
        second.receivers = {"old": f"{RECEIVER}/cdr?token=old"}
        settings = {**server.settings, "CDR_INTAKE_TOKEN": TOKEN}
        asked = run(tmp_path, "register", "--receiver", RECEIVER, stdin="n\n", **settings)
        assert asked.returncode == 1
        assert f"add {RECEIVER}/cdr?token=…" in asked.stdout
        assert f"change {RECEIVER}/cdr?token=… to {RECEIVER}/cdr?token=…" in asked.stdout
        assert TOKEN not in asked.stdout + asked.stderr
        assert first.receivers == {"other": OTHER}
        done = run(tmp_path, "register", "--receiver", RECEIVER, "--yes", **settings)
        assert done.returncode == 0, done.stderr
        assert set(first.receivers.values()) == {OTHER, URI}
        assert second.receivers == {"old": URI}
        again = run(tmp_path, "register", "--receiver", RECEIVER, **settings)
        assert (again.returncode, again.stdout.count("already")) == (0, 2)


def test_bridges_of_no_cluster_get_names(tmp_path: Path) -> None:
    """Each gets a name of its own, by its host and port, and keeps the one that it has; until then it is said."""
    with meeting_server(tmp_path / "cms", example_directory(), nodes=2, clustered=False) as server:
        first, second = server.deployment.nodes
        first.receivers = {"ours": f"{RECEIVER}/cdr?bridge=london"}
        second.receivers = {"ours": f"{RECEIVER}/cdr"}
        told = run(tmp_path, "check", **server.settings)
        assert f"{server.servers[1].url}: It is not known which Call Bridge this is" in told.stdout
        assert told.stdout.count("It is not known") == 1
        done = run(tmp_path, "register", "--receiver", RECEIVER, "--yes", **server.settings)
        assert done.returncode == 0, done.stderr
        name = server.servers[1].url.removeprefix("https://")
        assert f"change {RECEIVER}/cdr to {RECEIVER}/cdr?bridge=" in done.stdout
        assert first.receivers == {"ours": f"{RECEIVER}/cdr?bridge=london"}
        assert second.receivers == {"ours": f"{RECEIVER}/cdr?bridge={name.replace(':', '%3A')}"}
        assert "It is not known" not in run(tmp_path, "check", **server.settings).stdout
        with running(tmp_path, "serve", settings=server.settings) as service:
            eventually(lambda: len(service.get("/v1/bridges")["items"]) == 2, "both bridges are told")
            found = {one["call_bridge"]: one["node"] for one in service.get("/v1/bridges")["items"]}
        assert found == {"london": server.servers[0].url, name: server.servers[1].url}


def test_a_bridge_of_which_it_is_not_known_which_it_is(tmp_path: Path) -> None:
    """Where two of no cluster are named alike, /v1/bridges has both by their addresses, and says what to change."""
    with meeting_server(tmp_path / "cms", example_directory(), nodes=2, clustered=False) as server:
        for node in server.deployment.nodes:
            node.receivers = {"ours": f"{RECEIVER}/cdr?bridge=same"}
        with running(tmp_path, "serve", settings=server.settings) as service:
            eventually(lambda: len(service.get("/v1/bridges")["items"]) == 2, "both bridges are told")
            found = service.get("/v1/bridges")["items"]
        assert {one["node"] for one in found} == {one.url for one in server.servers}
        assert {(one["call_bridge"], one["receiver"]) for one in found} == {(None, "registered")}
        assert all("`cdr-service register` changes that" in one["warning"] for one in found)


def test_a_bridge_that_lets_nobody_in_is_told_by_that(tmp_path: Path) -> None:
    """Where the password is wrong, /v1/bridges says that alone: of the receiver URIs nothing is known."""
    with (
        meeting_server(tmp_path / "cms", example_directory(), nodes=2) as server,
        running(tmp_path, "serve", settings={**server.settings, "CDR_CMS_PASSWORD": "wrong"}) as service,
    ):
        eventually(lambda: len(service.get("/v1/bridges")["items"]) == 2, "both bridges are told")
        found = service.get("/v1/bridges")["items"]
        assert all("does not accept our user and password" in one["problem"] for one in found)
        assert {one["warning"] for one in found} == {None}


def test_no_slot_left(tmp_path: Path) -> None:
    """Where all four slots are taken nothing is changed on that node, and it is said what to do."""
    with meeting_server(tmp_path / "cms", example_directory()) as server:
        (node,) = server.deployment.nodes
        node.receivers = {str(number): f"{OTHER}/{number}" for number in range(4)}
        told = run(tmp_path, "register", "--receiver", RECEIVER, "--yes", **server.settings)
        assert told.returncode == 1
        assert "remove one that is not needed" in told.stdout
        assert len(node.receivers) == 4


def test_what_is_wrong_with_the_command(tmp_path: Path) -> None:
    """Without an API, and with a receiver that is none, one sentence says what to change."""
    told = run(tmp_path, "register", "--receiver", RECEIVER)
    assert (told.returncode, "CDR_CMS_URL" in told.stderr) == (2, True)
    with meeting_server(tmp_path / "cms", example_directory()) as server:
        for wrong in ("cdr.example.com", "https://cdr.example.com/?token=x", "https://user@cdr.example.com"):
            told = run(tmp_path, "register", "--receiver", wrong, **server.settings)
            assert (told.returncode, "--receiver must be" in told.stderr) == (2, True)


def test_it_is_told_who_does_not_push(tmp_path: Path) -> None:
    """`check` and /v1/bridges name the node that we are not a receiver of, its alarm and its release."""
    with meeting_server(tmp_path / "cms", example_directory(), nodes=2) as server:
        first, second = server.deployment.nodes
        first.receivers = {"ours": URI}
        second.alarms = [Alarm("cdrConnectionFailure", datetime.now(UTC), "connectFailure")]
        settings = {**server.settings, "CDR_INTAKE_TOKEN": TOKEN}
        told = run(tmp_path, "check", **settings)
        assert f"{server.servers[1].url} does not push its CDRs" in told.stdout
        assert f"{server.servers[0].url} does not push" not in told.stdout
        assert "cdrConnectionFailure (connectFailure)" in told.stdout
        with running(tmp_path, "serve", settings=settings) as service:
            eventually(lambda: len(service.get("/v1/bridges")["items"]) == 2, "both bridges are told")
            one, other = service.get("/v1/bridges")["items"]
            shown = run(tmp_path, "bridges", "--url", service.api_url).stdout.splitlines()
        assert re.fullmatch(r"bridge-0 +- +0 +0 +0 +3\.0\.1 +default", shown[1])
        assert shown[3:] == ["  None of its CDR receivers is ours. Its alarms: cdrConnectionFailure (connectFailure)."]
        assert (one["call_bridge"], one["receiver"], one["release"], one["records"]) == (
            *("bridge-0", "registered", "3.0.1"),
            0,
        )
        assert (other["receiver"], other["alarms"]) == ("missing", ["cdrConnectionFailure (connectFailure)"])
        assert abs(other["clock_offset_seconds"]) < 60
        assert TOKEN not in json.dumps([one, other])
