"""The command line as processes of their own: what is printed, what is left behind, and how it ends."""

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import trustme
from rich.cells import cell_len

from cdr_service.cli.receiver import kept_token
from cdr_service.cli.serve import _with_first_run
from cdr_service.domain.records import OrderKey
from cdr_service.repair.watching import Watch
from cdr_service.service import Deployment, Intake
from cdr_service.simulator.people import HOLDERS
from cdr_service.store.connection import connect
from cdr_service.store.embedded import embedded_server
from cdr_service.store.redis_store import RedisStore, Written
from cdr_service.web.api import api_description
from tests.feed import Feed, call_start, join
from tests.integration.command import ROOT, SAMPLES, Service, command, environment, run, running, samples
from tests.integration.servers import eventually, free_port, process_exists

SECRET = "s3cr3t-t0ken"
SWITCH_CALL = "b8a1c1e4-5f0b-4c53-8b52-0d6f2a9be001"
WEB_CALL = "7d6111cd-462b-441d-8742-b109ce308a93"
ALICE_LEG = "4e2d9f60-1b7a-4c8f-a3d2-6e5b8f9c0d05"
GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a home folder for commands that leave nothing in it."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service with one meeting that ended and two that go on; one of these has a name that means harm."""
    home = tmp_path_factory.mktemp("service")
    holders = home / "holders.csv"
    holders.write_text("user,license\nalice@example.com,PMP+\nbob@example.com,\n")
    settings = {"CDR_HOLDERS": str(holders), "CDR_LIMIT_SHARED": "3", "CDR_DATA_DIR": str(home / "data")}
    with running(home, "serve", settings=settings) as service:
        for body in [*samples("web-app-and-sip"), *samples("switch")[:5]]:
            assert service.post(body) == 200
        name = "[red]R&amp;D[/red] :warning: \u202etxt\u009b31m " + "long " * 30
        harmful = Feed("another").document(call_start("x", "08:00:00", name=name), join("bob-x", "x", "08:00:00"))
        assert service.post(harmful, "?bridge=another") == 200
        yield service


class TestDemo:
    """`demo`: everything at once."""

    def test_it_shows_what_the_service_does_and_leaves_nothing(self, tmp_path: Path) -> None:
        """Within moments meetings on both licenses are live and one has switched; Ctrl-C ends all that was started."""
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        with running(tmp_path, "demo", settings={"TMPDIR": str(temporary)}) as demo:
            line = demo.wait_for("license.switched")
            assert (line["from"], line["to"], line["late"]) == ("SMP+", "PMP+", False)
            assert line["reason"] == f"{line['holder']}, who holds PMP+, joined as leg {line['leg']}"
            assert line["user"] == line["holder"]
            eventually(lambda: self.licenses(demo) >= {"SMP+", "PMP+"}, "meetings on both licenses are live")
            assert len(demo.get("/v1/calls")["items"]) > 1
            assert f"curl {demo.api_url}/v1/calls\n" in demo.errors
            eventually(lambda: self.shows_the_api(demo), "owners are shown, and licenses are confirmed")
            (told, *_) = demo.get(f"/v1/switches?meeting={line['meeting']}&kind=type")["items"]
            assert (told["at"], told["leg"], told["user"]) == (line["record_time"], line["leg"], line["user"])
            processes = demo.descendants()
            assert len(processes) > 1, "the store is a process of its own"
            assert demo.end(signal.SIGINT) == 0
            assert demo.lines[-1]["event"] == "service.stopped"
            assert demo.events("document.rejected") == demo.events("request.failed") == []
            for process in processes:
                eventually(lambda one=process: not process_exists(one), f"process {process} is gone")
        assert list(temporary.iterdir()) == []
        assert {path.name for path in tmp_path.iterdir()} == {"output", "errors", "temporary"}

    def test_settings_of_the_environment(self, tmp_path: Path) -> None:
        """What the demo can honour it honours, tokens too; what it brings itself it names, and nothing is dropped."""
        settings = {
            "CDR_POLICY": "owner",
            "CDR_INTAKE_TOKEN": SECRET,
            "CDR_API_TOKEN": f"{SECRET}-api",
            "CDR_HOLDERS": "/nowhere",
            "CDR_REDIS_URL": "redis://127.0.0.1:1",
        }
        with running(tmp_path, "demo", settings=settings) as demo:
            started = demo.wait_for("service.started")
            assert (started["policy"], started["store"]) == ("owner", "embedded")
            demo.wait_for("call.started")
            ignored, *_ = demo.errors.splitlines()
            assert ignored == "cdr-service: the demo does not use CDR_HOLDERS, CDR_REDIS_URL of the environment."
            assert 'curl -H "Authorization: Bearer $CDR_API_TOKEN" ' in demo.errors
            assert SECRET not in demo.errors
            assert demo.end() == 0
        told = run(tmp_path, "demo", CDR_POLICI="join")
        assert (told.returncode, told.stderr) == (
            2,
            "cdr-service: CDR_POLICI is not a setting; did you mean CDR_POLICY?\n",
        )

    def shows_the_api(self, demo: Service) -> bool:
        """Tell whether a live call shows what only the Meeting Server's API tells."""
        calls = demo.get("/v1/calls")["items"]
        confirmed = (call["license"] and call["license"]["status"] == "confirmed" for call in calls)
        return any(call["owner"] for call in calls) and any(confirmed)

    def licenses(self, demo: Service) -> set[str]:
        """Return the licenses of the live calls."""
        return {call["license"]["type"] for call in demo.get("/v1/calls")["items"] if call["license"]}


class TestFirstRun:
    """`serve --first-run`, which is what `make run` calls."""

    @pytest.mark.skipif(shutil.which("make") is None, reason="this system has no make")
    def test_make_calls_it(self, home: Path) -> None:
        """`make run` and `make demo` are these commands, once the environment is there."""
        told = subprocess.run(
            ["make", "-n", "run", "demo"], cwd=ROOT, env=environment(home), capture_output=True, text=True, check=True
        )
        lines = [line for line in told.stdout.splitlines() if "/cdr-service " in line]
        assert lines == [".venv/bin/cdr-service serve --first-run", ".venv/bin/cdr-service demo"]

    def test_it_listens_for_bridges_unless_told_otherwise(self, tmp_path: Path) -> None:
        """All interfaces at port 8080; a bind and a token of the user's own stand."""
        found = _with_first_run(None, {"CDR_DATA_DIR": str(tmp_path)})
        assert found["CDR_INTAKE_BIND"] == "0.0.0.0:8080"
        own = {"CDR_DATA_DIR": str(tmp_path), "CDR_INTAKE_BIND": "127.0.0.1:1", "CDR_INTAKE_TOKEN": SECRET}
        assert _with_first_run(None, own) == own

    def test_the_token_is_made_once_and_kept(self, tmp_path: Path) -> None:
        """The token is made on the first run, private, the same on the second, and a push needs it."""
        tokens = []
        for _ in range(2):
            with self.started(tmp_path) as service:
                service.wait_for("service.started")
                kept = tmp_path / "data" / "intake-token"
                tokens.append(kept.read_text())
                assert stat.S_IMODE(kept.stat().st_mode) == 0o600
                body = samples("web-app-and-sip")[0]
                assert service.post(body) == 401
                assert service.post(body, f"?token={tokens[-1]}") == 200
                assert service.end() == 0
        assert tokens[0] == tokens[1]
        assert len(tokens[0]) >= 32

    def test_a_terminal_gets_the_receiver_url_to_paste(self, tmp_path: Path) -> None:
        """Who looks at a terminal reads the whole URL, with the token; the log has no token."""
        with self.started(tmp_path, terminal=True) as service:
            port = service.intake_url.rpartition(":")[2]
            eventually(lambda: "live calls" in service.errors, "it says where it is")
            token = (tmp_path / "data" / "intake-token").read_text()
            assert re.search(rf"^  http://[^/:]+:{port}\?token={token}$", service.errors, re.MULTILINE)
            assert "&bridge=NAME" in service.errors
            assert "TOKEN" not in service.errors
            assert token not in json.dumps(service.lines)

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_a_file_gets_the_url_without_the_token(self, tmp_path: Path, workers: str) -> None:
        """Into a file, a pipe or a container's log goes the URL with the name of the file that holds the token."""
        with self.started(tmp_path, "--workers", workers) as service:
            port = service.intake_url.rpartition(":")[2]
            eventually(lambda: "live calls" in service.errors, "it says where it is")
            kept = tmp_path / "data" / "intake-token"
            assert re.search(rf"^  http://[^/:]+:{port}\?token=TOKEN$", service.errors, re.MULTILINE)
            assert f"\nTOKEN is in the file {kept}.\n" in service.errors
            assert kept.read_text() not in service.errors + json.dumps(service.lines)

    def test_a_token_of_the_users_own_is_not_written_either(self, tmp_path: Path) -> None:
        """A token from the settings is not told outside a terminal, and the API's token is asked for by name."""
        with self.started(tmp_path, CDR_INTAKE_TOKEN=SECRET, CDR_API_TOKEN=f"{SECRET}-api") as service:
            eventually(lambda: "live calls" in service.errors, "it says where it is")
            assert "\nTOKEN is the intake token of the settings.\n" in service.errors
            assert f'curl -H "Authorization: Bearer $CDR_API_TOKEN" {service.api_url}/v1/calls\n' in service.errors
            assert SECRET not in service.errors

    def test_an_empty_token_file_counts_as_absent(self, tmp_path: Path) -> None:
        """What a crash or a full disk left empty is no token: a new one is made, private as the first."""
        kept = tmp_path / "intake-token"
        kept.write_text("\n")
        assert kept_token(tmp_path) == kept
        assert len(kept.read_text()) >= 32
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600

    def test_a_folder_that_cannot_keep_the_token(self, tmp_path: Path) -> None:
        """One sentence names the folder and what to set."""
        (tmp_path / "data").write_text("a file")
        told = run(tmp_path, "serve", "--first-run", CDR_DATA_DIR=str(tmp_path / "data"))
        assert (told.returncode, told.stdout) == (2, "")
        assert told.stderr == (
            f"cdr-service: The intake token cannot be kept in {tmp_path}/data/intake-token (File exists): set "
            "CDR_DATA_DIR to a folder that this user can write, or CDR_INTAKE_TOKEN.\n"
        )

    @contextmanager
    def started(self, home: Path, *arguments: str, terminal: bool = False, **settings: str) -> Iterator[Service]:
        """Run it on a free port of all interfaces."""
        data = str(home / "data")
        given = {"CDR_INTAKE_BIND": "0.0.0.0:0", "CDR_DATA_DIR": data, **settings}
        with running(home, "serve", "--first-run", *arguments, settings=given, terminal=terminal) as service:
            yield service


class TestStandardOutput:
    """Nobody may read it, and that is no failure."""

    @pytest.mark.parametrize("arguments", ["calls", "calls --json", "--help"])
    def test_a_reader_who_has_read_enough(self, service: Service, home: Path, arguments: str) -> None:
        """`cdr-service calls | head -1` ends with 0 and says nothing, however much there would have been."""
        asking = [*arguments.split(), *(["--url", service.api_url] if "calls" in arguments else [])]
        told = subprocess.run(
            ["bash", "-c", 'set -o pipefail; "$@" | true', "bash", *command(*asking)],
            *(),
            cwd=ROOT,
            env=environment(home),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (told.returncode, told.stderr) == (0, "")

    @pytest.mark.parametrize("how", ["closed", "a pipe that nobody reads"])
    def test_the_service_needs_no_reader(self, tmp_path: Path, how: str) -> None:
        """With standard output closed, or with a pipe whose reader has left, it works, and SIGTERM ends it with 0."""
        port = free_port()
        process = subprocess.Popen(
            ["bash", "-c", 'exec "$@" >&-' if how == "closed" else 'exec "$@"', "bash", *command("serve")],
            cwd=ROOT,
            env=environment(tmp_path, CDR_INTAKE_BIND="127.0.0.1:0", CDR_API_BIND=f"127.0.0.1:{port}"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        process.stdout.close()
        try:
            eventually(lambda: _is_ready(port, process), "it is ready")
        finally:
            process.terminate()
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, b"")


def _is_ready(port: int, process: "subprocess.Popen[bytes]") -> bool:
    assert process.poll() is None, "it ended"
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


class TestPolicy:
    """The start line names the policy that decides."""

    @pytest.mark.parametrize("workers", ["1", "2"])
    async def test_auto_goes_by_the_release_that_is_known(self, tmp_path: Path, workers: str) -> None:
        """Until the release is known auto is what is set for that, and join and owner are always themselves."""
        config = tmp_path / "cdr.toml"
        config.write_text("policy = 'auto'\n[deployments.branch]\npolicy = 'owner'\n")
        data = tmp_path / "data"
        settings = {"CDR_CONFIG": str(config), "CDR_DATA_DIR": str(data)}
        told = []
        for release in ((2, 2), (2, 3), None):
            with running(tmp_path, "serve", "--workers", workers, settings=settings) as service:
                told.append(service.wait_for("service.started"))
                assert service.end() == 0
            if release is not None:
                await self.learn(data, release)
        assert [line["policy"] for line in told] == ["auto"] * 3
        assert [line["policy_in_force"] for line in told] == ["join", "join", "owner"]
        assert told[-1]["policies"] == {"default": "auto", "branch": "owner"}
        assert told[-1]["policies_in_force"] == {"default": "owner", "branch": "owner"}

    async def learn(self, data: Path, release: tuple[int, ...]) -> None:
        """Have the store know the Meeting Server's release."""
        async with embedded_server(data) as url:
            connection = connect(url)
            store = RedisStore(connection, {"default": Written()}, "test")
            async with Intake(Deployment(name="default"), store, Watch(), lambda: 0).running() as intake:
                await intake.perform(lambda keeper, _, now: keeper.know_release(release, OrderKey(now, "", 0)))
            await connection.close()


class TestSecrets:
    """Tokens are seen by nobody."""

    def test_no_token_in_the_log_or_the_process_list(self, tmp_path: Path) -> None:
        """Neither a log line, also of a refused push, nor the command line of any of our processes has a token."""
        settings = {"CDR_INTAKE_TOKEN": SECRET, "CDR_API_TOKEN": f"{SECRET}-api", "CDR_LOG_LEVEL": "debug"}
        with running(tmp_path, "serve", settings=settings) as service:
            body = samples("switch")[0]
            assert service.post(body, f"?token={SECRET}") == 200
            assert service.post(body, f"?token=x{SECRET}x") == 401
            assert service.status("/v1/calls") == 401
            processes = ",".join(map(str, service.descendants()))
            listed = subprocess.run(["ps", "-o", "args=", "-p", processes], capture_output=True, text=True, check=True)
            assert "cdr_service" in listed.stdout
            assert SECRET not in listed.stdout
            service.wait_for("intake.refused")
            assert service.end() == 0
            assert SECRET not in json.dumps(service.lines) + service.errors

    def test_commands_take_their_token_from_the_environment(self, tmp_path: Path) -> None:
        """`replay`, `simulate` and `calls` send the token that the settings name, also as a file, and print none."""
        file = tmp_path / "token"
        file.write_text(f"{SECRET}\n")
        both = {"CDR_INTAKE_TOKEN_FILE": str(file), "CDR_API_TOKEN_FILE": str(file)}
        with running(tmp_path, "serve", settings=both) as service:
            url = service.intake_url
            sample = str(SAMPLES / "switch" / "01.xml")
            for arguments in (
                ("replay", sample, "--target", url),
                ("simulate", "--target", url, "--meetings", "1", "--speed", "1000"),
                ("calls", "--url", service.api_url),
            ):
                assert run(tmp_path, *arguments, **both).returncode == 0
                refused = run(tmp_path, *arguments) if arguments[0] != "simulate" else None
                assert refused is None or (refused.returncode, "token" in refused.stderr) == (1, True)
            wrong = run(tmp_path, "replay", sample, "--target", url, CDR_INTAKE_TOKEN=f"{SECRET}x")
            assert wrong.returncode == 1
            assert SECRET not in wrong.stdout + wrong.stderr


class TestWrongSettings:
    """Exit code 2, and one sentence that names what to change."""

    @pytest.mark.parametrize(
        ("settings", "named"),
        [
            ({"CDR_INTAKE_BIND": "0.0.0.0:8080"}, "set CDR_INTAKE_TOKEN, for example to "),
            ({"CDR_API_BIND": "0.0.0.0:8081"}, "set CDR_API_TOKEN, for example to "),
            ({"CDR_API_BIND": "nowhere"}, "CDR_API_BIND must be host:port"),
            ({"CDR_HOLDERS": "/nowhere/holders.csv"}, "CDR_HOLDERS names /nowhere/holders.csv, which cannot be read"),
            ({"CDR_POLICY": "maybe"}, "CDR_POLICY must be 'join', 'owner' or 'auto', not 'maybe'."),
            ({"CDR_POLICI": "join"}, "CDR_POLICI is not a setting; did you mean CDR_POLICY?"),
            ({"CDR_REDIS_URL": f"http://:{SECRET}@127.0.0.1"}, "CDR_REDIS_URL"),
            ({"CDR_INTAKE_TLS_CERT": __file__}, "CDR_INTAKE_TLS_CERT is set without CDR_INTAKE_TLS_KEY"),
            ({"CDR_CONFIG": "/nowhere.toml"}, "CDR_CONFIG (--config) names /nowhere.toml, which cannot be read"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_serve(self, home: Path, settings: dict[str, str], named: str) -> None:
        """A wrong setting ends the start before anything is opened."""
        told = run(home, "serve", **settings)
        self.is_one_sentence(told, named)

    def test_a_wrong_holders_file(self, tmp_path: Path) -> None:
        """A holders file that is wrong when the service starts is said with its line."""
        file = tmp_path / "holders.csv"
        file.write_text("user,license\nalice,PMP+\n")
        free = {"CDR_INTAKE_BIND": "127.0.0.1:0", "CDR_API_BIND": "127.0.0.1:0"}
        told = run(tmp_path, "serve", **free, CDR_HOLDERS=str(file))
        self.is_one_sentence(told, "Line 2")

    def test_a_port_in_use(self, service: Service, home: Path) -> None:
        """A port that is taken is said with the setting that names it."""
        taken = service.api_url.removeprefix("http://")
        told = run(home, "serve", CDR_INTAKE_BIND="127.0.0.1:0", CDR_API_BIND=taken)
        self.is_one_sentence(told, f"CDR_API_BIND is {taken}, where another program listens already")

    def test_a_data_folder_in_use(self, service: Service, home: Path) -> None:
        """A folder that another service uses is said, and that is no wrong setting: the work cannot be done."""
        data = service.home / "data"
        free = {"CDR_INTAKE_BIND": "127.0.0.1:0", "CDR_API_BIND": "127.0.0.1:0"}
        told = run(home, "serve", **free, CDR_DATA_DIR=str(data))
        assert told.returncode == 1
        (line,) = told.stderr.splitlines()
        assert line.startswith(f"cdr-service: The folder {data} is in use by another cdr-service (process ")

    @pytest.mark.parametrize(
        ("settings", "named"),
        [
            ({"CDR_API_BIND": "127.0.0.1:0"}, "CDR_API_BIND takes any free port: name the API by --url"),
            ({"CDR_API_TOKEN_FILE": "/nowhere"}, "CDR_API_TOKEN_FILE names /nowhere, which cannot be read"),
            ({"CDR_API_TOKEN": "with space"}, "CDR_API_TOKEN must be a token"),
            ({"CDR_APY_TOKEN": "x"}, "CDR_APY_TOKEN is not a setting; did you mean CDR_API_TOKEN?"),
        ],
        ids=["bind", "token file", "token", "name"],
    )
    def test_calls(self, home: Path, settings: dict[str, str], named: str) -> None:
        """A command that asks says what is wrong with the few settings that it needs."""
        self.is_one_sentence(run(home, "calls", **settings), named)

    def is_one_sentence(self, told: subprocess.CompletedProcess[str], named: str) -> None:
        """Check the exit code, and that one line says what is wrong, without a secret."""
        assert told.returncode == 2
        assert told.stdout == ""
        (line,) = told.stderr.splitlines()
        assert line.startswith("cdr-service: ")
        assert line.endswith((".", "?"))
        assert named in line
        assert SECRET not in line

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            (("nonsense",), "No such command 'nonsense'"),
            (("call",), "Missing argument 'ID'"),
            (("calls", "--limit", "0"), "Invalid value for '--limit'"),
            (("calls", "--url", "ftp://127.0.0.1"), "--url must be a URL such as http://127.0.0.1:8081."),
            (("calls", "--url", "127.0.0.1:8081"), "--url must be a URL such as http://127.0.0.1:8081."),
            (("simulate", "--target", "nowhere"), "The target must be a URL"),
            (("simulate", "--target", "http://127.0.0.1:1/cdr", "--answers", "/dev/null"), "--answers needs --from"),
            *(
                (
                    ("simulate", "--target", "http://127.0.0.1:1/cdr", option, value),
                    f"must be a number above 0, not {value}",
                )
                for option, value in (("--rate", "0"), ("--rate", "nan"), ("--rate", "inf"), ("--speed", "-1"))
            ),
            (("replay", "--target", "http://127.0.0.1:1/cdr"), "Missing argument 'FILES...'"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
    )
    def test_a_wrong_command_line(self, home: Path, arguments: tuple[str, ...], named: str) -> None:
        """A command line that cannot be meant ends with 2 and says what is wrong with it."""
        told = run(home, *arguments)
        assert (told.returncode, told.stdout) == (2, "")
        assert told.stderr.splitlines()[-1].startswith("Error: ")
        assert named in told.stderr
        assert "Traceback" not in told.stderr


class TestAsking:
    """`calls`, `call`, `switches` and `usage`."""

    def test_calls_fit_the_terminal(self, service: Service, home: Path) -> None:
        """At 80 columns no line is longer, each call has its license, the whole id and the beginning of the reason."""
        lines = run(home, "calls", "--url", service.api_url, COLUMNS="80").stdout.splitlines()
        assert max(map(cell_len, lines)) == 80
        assert re.fullmatch(r"started \(UTC\) +people +license +name", lines[0])
        assert lines[1] == "  id  why this license"
        assert re.fullmatch(r"2024-03-12 11:00:00 +2 +PMP\+ of alice@example\.com +techsupport", lines[2])
        assert re.fullmatch(rf"  {SWITCH_CALL}  alice@example\.com, who holds PMP\+, .*…", lines[3])
        assert lines[5].startswith("  x  nobody in the meeting")
        assert len(lines) == 6

    def test_call_bridges_with_what_came_from_them(self, service: Service, home: Path) -> None:
        """Each has its name, when it was last heard, and how many records came, are missing and came twice."""
        told = run(home, "bridges", "--url", service.api_url, COLUMNS="100").stdout.splitlines()
        head = r"Call Bridge +last received \(UTC\) +records +missing +duplicates +release +deployment"
        assert re.fullmatch(head, told[0])
        assert re.fullmatch(r"\(no name\) +\d\d:\d\d:\d\d +\d+ +0 +0 +- +default", told[1])
        assert re.fullmatch(r"another +\d\d:\d\d:\d\d +2 +0 +0 +- +default", told[2])

    def test_the_own_certificate_is_known(self, tmp_path: Path) -> None:
        """With the service's own settings its TLS is no obstacle, though the bind is no name; another's is refused."""
        authority = trustme.CA().create_child_ca()
        own, other = (authority.issue_cert("cdr.example.com") for _ in range(2))
        key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
        key.write_bytes(own.private_key_pem.bytes())
        certificate.write_bytes(b"".join(pem.bytes() for pem in own.cert_chain_pems))
        tls = {"CDR_API_TLS_CERT": str(certificate), "CDR_API_TLS_KEY": str(key)}
        settings = {**tls, "CDR_API_BIND": f"0.0.0.0:{free_port()}", "CDR_API_TOKEN": SECRET}
        with running(tmp_path, "serve", settings=settings) as service:
            service.wait_for("service.started")
            assert run(tmp_path, "calls", **settings).stdout == "No calls.\n"
            certificate.write_bytes(b"".join(pem.bytes() for pem in other.cert_chain_pems))
            told = run(tmp_path, "calls", **settings)
            assert told.returncode == 1
            assert "CERTIFICATE_VERIFY_FAILED" in told.stderr

    def test_text_from_the_wire_can_do_nothing(self, service: Service, home: Path) -> None:
        """A name is shown as it came: no markup, no emoji, nothing that a terminal obeys."""
        told = run(home, "calls", "--url", service.api_url, "--name", "R&D").stdout
        assert r"[red]R&D[/red] :warning: \u202etxt\x9b31m long long" in told
        assert "\x1b" not in told

    def test_a_pipe_gets_everything(self, service: Service, home: Path) -> None:
        """What is no terminal gets each line whole, however long it is."""
        told = run(home, "calls", "--url", service.api_url).stdout
        assert f"  {SWITCH_CALL}  alice@example.com, who holds PMP+, joined as leg {ALICE_LEG}\n" in told
        assert "…" not in told

    def test_one_call(self, service: Service, home: Path) -> None:
        """A call shows its license, why, what it would be under the other policy, and each change; no id is broken."""
        told = run(home, "call", SWITCH_CALL.upper(), "--url", service.api_url, COLUMNS="80").stdout
        shown = re.sub(r"\s+", " ", told)
        for part in (
            f"call {SWITCH_CALL} name techsupport state active from (UTC) 2024-03-12 11:00:00 to (UTC) -",
            "people 2, at most 2 license PMP+ of alice@example.com why alice@example.com, who holds PMP+, joined as",
            "under owner SMP+ meeting e3c1c9b0-7f0e-4d0c-9a57-2f5a4d3b7a02 complete yes",
            "2024-03-12 11:00:00 bob@example.com joins 2024-03-12 11:00:00 none -> SMP+ first_participant: nobody in",
            "2024-03-12 11:01:12 alice@example.com, who holds PMP+, joins 2024-03-12 11:01:12 SMP+ -> PMP+ of alice",
            "PMP+ of alice@example.com member_joined: alice@example.com, who holds PMP+, joined as leg",
        ):
            assert part in shown
        assert max(map(cell_len, told.splitlines())) <= 80
        assert set(GUID.findall(told)) == {SWITCH_CALL, ALICE_LEG, "e3c1c9b0-7f0e-4d0c-9a57-2f5a4d3b7a02"}

    def test_a_call_that_ended(self, service: Service, home: Path) -> None:
        """An ended call uses no license any more; its changes are kept."""
        told = run(home, "call", WEB_CALL, "--url", service.api_url, COLUMNS="80").stdout
        assert re.search(r"^license +none$", told, re.MULTILINE) or "license      none" in told
        assert "2024-03-12 09:21:05  SMP+ -> none\n  participant_left: " in told
        listed = run(home, "calls", "--url", service.api_url, "--state", "ended", COLUMNS="80").stdout
        assert f"  {WEB_CALL}  ended\n" in listed

    def test_switches(self, service: Service, home: Path) -> None:
        """A switch shows when, from what to what, in which meeting, and why."""
        lines = run(home, "switches", "--url", service.api_url, COLUMNS="80").stdout.splitlines()
        assert lines[1] == "  id of a call  why"
        assert re.fullmatch(r"2024-03-12 11:01:12 +SMP\+ +PMP\+ of alice@example\.com +techsupport", lines[2])
        assert re.fullmatch(rf"  {SWITCH_CALL}  alice@example\.com, who holds PMP\+, .*…", lines[3])
        assert len(lines) == 4
        assert run(home, "switches", "--url", service.api_url, "--kind", "weight").stdout == "No switches.\n"

    def test_usage(self, service: Service, home: Path) -> None:
        """Usage shows what is taken of what was bought, and how many users hold PMP+."""
        lines = run(home, "usage", "--url", service.api_url, COLUMNS="80").stdout.splitlines()
        assert re.fullmatch(r"1 of 3 +1 +1 +2 +3 +join +default", lines[1])

    def test_reports(self, service: Service, home: Path) -> None:
        """Reports show who took SMP+, whose PMP+ was used, and what would have been."""
        span = ("--url", service.api_url, "--since", "2024-03-12T11:00:00Z", "--until", "2024-03-12T11:02:00Z")
        lines = run(home, "report", "shared", *span, COLUMNS="80").stdout.splitlines()
        assert re.fullmatch(r"SMP\+ hours +meeting hours +meetings +of the peak +cospace", lines[0])
        assert any(re.fullmatch(r"0\.02 +0\.02 +1 +50% +techsupport", line) for line in lines)
        lines = run(home, "report", "holders", *span, COLUMNS="80").stdout.splitlines()
        assert re.fullmatch(r"1 +0\.01 +1 +2024-03-12 11:02:00 +alice@example\.com", lines[1])
        told = run(home, "report", "what-if", *span, "--assign", "zoe@example.com").stdout
        assert "0 of 2 meetings would have been charged otherwise." in told
        assert "found by address alone: zoe@example.com." in told
        answer = json.loads(run(home, "report", "what-if", *span, "--assign", "bob@example.com", "--json").stdout)
        assert answer["items"][0]["meetings_changed"] == 2
        assert "addresses such as" in run(home, "report", "what-if", *span, "--assign", "bob").stderr

    def test_usage_over_time(self, service: Service, home: Path) -> None:
        """The history shows the most of each step, the peak its moment and its meetings; an empty one says so."""
        span = ("--since", "2024-03-12T11:00:00Z", "--until", "2024-03-12T11:02:00Z")
        asked = ("usage", "--url", service.api_url, *span)
        lines = run(home, *asked, "--history", "--step", "1m", COLUMNS="80").stdout.splitlines()
        assert re.fullmatch(r"2024-03-12 11:01:00 +2 +1 +3 +default", lines[1])
        assert re.fullmatch(r"2024-03-12 11:00:00 +2 +0 +2 +default", lines[2])
        peak = run(home, *asked, "--peak").stdout
        assert peak.startswith("2 SMP+ at 2024-03-12 11:00:00 (UTC), by the policy join\n")
        assert "techsupport" in peak
        early = ("usage", "--url", service.api_url, "--until", "2024-03-11T11:00:00Z")
        assert run(home, *early, "--history").stdout == "Nothing was recorded then.\n"
        assert run(home, *early, "--peak").stdout == "No SMP+ was used then.\n"
        assert "--step is for --history." in run(home, *asked, "--peak", "--step", "1m").stderr

    @pytest.mark.parametrize(
        ("arguments", "path"),
        [
            (("calls", "--state", "all", "--limit", "1"), "/v1/calls?state=all&limit=1"),
            (("call", WEB_CALL), f"/v1/calls/{WEB_CALL}"),
            (("bridges", "--limit", "1"), "/v1/bridges?limit=1"),
            (("switches", "--holder", "alice@example.com"), "/v1/switches?holder=alice@example.com"),
        ],
        ids=["calls", "call", "bridges", "switches"],
    )
    def test_json_is_the_answer_of_the_api(
        self, service: Service, home: Path, arguments: tuple[str, ...], path: str
    ) -> None:
        """With --json a program gets just what the API answers."""
        told = run(home, *arguments, "--url", service.api_url, "--json")
        assert (told.returncode, told.stderr) == (0, "")
        assert json.loads(told.stdout) == service.get(path)

    def test_more_than_was_asked_for(self, service: Service, home: Path) -> None:
        """Where there is more than --limit, the table says so."""
        told = run(home, "calls", "--url", service.api_url, "--limit", "1").stdout
        assert told.endswith("These are the newest 1; there are more. --limit takes up to 500.\n")

    def test_settings_of_the_service_do_not_matter(self, service: Service, home: Path) -> None:
        """The service is found by CDR_API_BIND; files that only the service needs may be missing here."""
        bind = service.api_url.removeprefix("http://")
        others = {"CDR_HOLDERS": "/nowhere", "CDR_INTAKE_TOKEN_FILE": "/nowhere", "CDR_INTAKE_BIND": "0.0.0.0:1"}
        told = run(home, "usage", CDR_API_BIND=bind, http_proxy="http://127.0.0.1:1", **others)
        assert (told.returncode, told.stderr) == (0, "")
        file = home / "cdr.toml"
        file.write_text(f'api_bind = "{bind}"\nholders = "/nowhere"\nintake_token_file = "/nowhere"\n')
        told = run(home, "usage", CDR_CONFIG=str(file))
        assert (told.returncode, told.stderr) == (0, "")

    def test_what_is_not_there(self, service: Service, home: Path) -> None:
        """A call that does not exist ends with 1 and the API's sentence."""
        told = run(home, "call", "nope", "--url", service.api_url)
        assert (told.returncode, told.stdout) == (1, "")
        assert told.stderr == "Error: There is no call nope, or it is no longer kept.\n"

    def test_a_service_that_does_not_run(self, home: Path) -> None:
        """Where nobody answers, the exit code is 1 and the sentence says what to do."""
        url = f"http://127.0.0.1:{free_port()}"
        told = run(home, "calls", "--url", url)
        assert (told.returncode, told.stdout) == (1, "")
        assert told.stderr.startswith(f"Error: No service answers at {url} (")
        assert told.stderr.endswith("start it, or name its API by --url.\n")

    @pytest.mark.parametrize(
        "answer",
        [
            b"-ERR no HTTP\r\n",
            b"HTTP/1.0 200 OK\r\n\r\n{}",
            b"HTTP/1.0 200 OK\r\n\r\n\xff",
            b"HTTP/1.0 200 OK\r\n\r\n[1]",
        ],
        ids=["no HTTP", "other members", "no text", "no object"],
    )
    def test_something_else_that_answers(self, home: Path, answer: bytes) -> None:
        """Another program at that port is named as such."""
        with answering(answer) as url:
            told = run(home, "calls", "--url", url)
        assert (told.returncode, told.stdout) == (1, "")
        assert told.stderr == f"Error: What answers at {url} is not this service's API; name it by --url.\n"

    def test_the_token_goes_to_nobody_else(self, service: Service, home: Path) -> None:
        """A redirect is not followed, since that would carry the token elsewhere."""
        with answering(f"HTTP/1.0 302 Found\r\nLocation: {service.api_url}/v1/calls\r\n\r\n".encode()) as url:
            told = run(home, "calls", "--url", url, CDR_API_TOKEN=SECRET)
        assert (told.returncode, told.stderr) == (1, "Error: The service answered 302.\n")


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """Listen on loopback, and give the same answer to the one who comes."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


class TestSending:
    """`replay` and `simulate`."""

    def test_replay_of_the_samples(self, tmp_path: Path) -> None:
        """The samples are taken in, again and again as new sessions, or once if their sessions are kept."""
        files = sorted(map(str, (SAMPLES / "two-bridges").iterdir()))
        with running(tmp_path, "serve") as service:
            target = ("--target", service.intake_url)
            for keep, calls in ((("--keep-sessions",), 2), (("--keep-sessions",), 2), ((), 2)):
                told = run(tmp_path, "replay", *files, *target, *keep)
                assert (told.returncode, told.stdout, told.stderr) == (0, "7 of 7 documents were accepted.\n", "")
                assert len(service.get("/v1/calls?state=all")["items"]) == calls
            sessions = {call["session"] for call in service.get("/v1/calls?state=all")["items"]}
            bridges = service.get("/v1/bridges")["items"]
            assert [bridge["sessions"] for bridge in bridges] == [2, 2]
            assert len(sessions) == 2

    def test_replay_says_what_it_could_not_do(self, home: Path) -> None:
        """A missing file, or a receiver that is none, ends with 1 and one sentence."""
        told = run(home, "replay", "/nowhere.xml", "--target", "http://127.0.0.1:1/cdr")
        assert (told.returncode, told.stdout) == (1, "")
        assert told.stderr == "Error: /nowhere.xml cannot be read: No such file or directory.\n"

    def test_simulate_ends_after_its_meetings(self, tmp_path: Path) -> None:
        """A bounded simulation is over when its meetings are, with exit code 0 and nothing live."""
        with running(tmp_path, "serve") as service:
            told = run(
                *(tmp_path, "simulate", "--target", service.intake_url),
                *("--meetings", "3", "--rate", "60", "--speed", "1000", "--seed", "1"),
            )
            assert told.returncode == 0, told.stderr
            assert re.fullmatch(r"\d+ calls, \d+ records in \d+ documents were accepted\.\n", told.stdout)
            assert service.get("/v1/calls") == {"items": [], "next": None}
            ended = service.get("/v1/calls?state=ended")["items"]
            assert len(ended) == int(told.stdout.split()[0]) > 0
            assert service.events("document.rejected") == []

    def test_simulate_tells_what_must_be_known(self, tmp_path: Path) -> None:
        """Two Meeting Servers push to two deployments, in bursts and through an outage; the known answers hold."""
        people, config, answers = tmp_path / "holders.csv", tmp_path / "settings.toml", tmp_path / "answers"
        people.write_text("user,license\n" + "".join(f"{holder},PMP+\n" for holder in HOLDERS))
        config.write_text(f'holders = "{people}"\n[deployments.north]\nholders = "{people}"\n')
        with running(tmp_path, "serve", settings={"CDR_CONFIG": str(config)}) as service:
            told = run(
                *(tmp_path, "simulate", "--target", service.intake_url, "--target", f"{service.intake_url}/north"),
                *("--meetings", "6", "--rate", "60", "--burst", "3", "--speed", "10000", "--bridges", "3", "--cluster"),
                *(
                    "--from",
                    "2026-01-05T09:00:00Z",
                    "--answers",
                    str(answers),
                    "--outage",
                    "0.3",
                    "--outage-after",
                    "0",
                ),
            )
            assert told.returncode == 0, told.stderr
            known = [json.loads(line) for line in answers.read_text().splitlines()]
            assert len(known) > 6
            for meeting in known:
                shown = service.get(f"/v1/meetings/{meeting['meeting']}")
                assert {call["id"] for call in shown["calls"]} == set(meeting["calls"])
                assert (shown["started_at"], shown["ended_at"]) == (meeting["started_at"], meeting["ended_at"])
                assert shown["participants_peak"] == meeting["participants_peak"]
                taken = [(one["at"], *license_of(one["to"])) for one in shown["transitions"] if changes_license(one)]
                assert taken == [(one["at"], one["type"], one["holder"]) for one in meeting["licenses"]]


def license_of(charge: dict[str, Any] | None) -> tuple[str | None, str | None]:
    """Return type and holder of one side of a transition."""
    return (charge["type"], charge["holder"]) if charge else (None, None)


def changes_license(transition: dict[str, Any]) -> bool:
    """Return whether more than the weight changed."""
    return license_of(transition["from"]) != license_of(transition["to"])


def test_help_names_every_command(home: Path) -> None:
    """The help lists the commands, each with a line; `python -m cdr_service` is the same as `cdr-service`."""
    told = run(home, "--help")
    assert told.returncode == 0
    for name in ("serve", "demo", "simulate", "replay", "calls", "call", "switches", "usage", "report"):
        assert re.search(rf"^  {name} +\w", told.stdout, re.MULTILINE), name
    script = Path(os.sys.executable).with_name("cdr-service")
    if script.exists():
        assert subprocess.run([script, "--version"], capture_output=True, check=False).returncode == 0


def test_the_description_of_the_api_is_printed(home: Path) -> None:
    """`openapi` prints the document that `/openapi.json` gives, without any settings or service."""
    told = run(home, "openapi", CDR_API_BIND="nowhere")
    assert (told.returncode, told.stderr) == (0, "")
    assert json.loads(told.stdout) == json.loads(json.dumps(api_description()))
