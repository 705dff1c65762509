"""`why`, `tail` and `--watch` as processes of their own."""

import json
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.feed import Feed, call_start, join
from tests.integration.command import ROOT, Service, command, environment, run, running, samples
from tests.integration.servers import eventually, free_port

SWITCH_CALL = "b8a1c1e4-5f0b-4c53-8b52-0d6f2a9be001"
WEB_CALL = "7d6111cd-462b-441d-8742-b109ce308a93"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service with one meeting that ended and one that goes on."""
    home = tmp_path_factory.mktemp("service")
    holders = home / "holders.csv"
    holders.write_text("user,license\nalice@example.com,PMP+\nbob@example.com,\ncarol@example.com,PMP+\n")
    with running(home, "serve", settings={"CDR_HOLDERS": str(holders)}) as service:
        for body in [*samples("web-app-and-sip"), *samples("switch")[:5]]:
            assert service.post(body) == 200
        yield service


class Command:
    """A command that goes on until it is ended."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path, errors: Path) -> None:
        self.process = process
        self._output = output
        self._errors = errors

    @property
    def text(self) -> str:
        """What it printed so far."""
        return self._output.read_text()

    @property
    def errors(self) -> str:
        """What it said on standard error so far."""
        return self._errors.read_text()

    @property
    def objects(self) -> list[dict[str, Any]]:
        """What it printed so far, an object a line."""
        return [json.loads(line) for line in self.text.rpartition("\n")[0].splitlines()]

    def interrupt(self) -> int:
        """Press Ctrl-C; return the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=20)


@contextmanager
def started(home: Path, *arguments: str, **settings: str) -> Iterator[Command]:
    """Start a command, and end it with the block."""
    output, errors = home / "told", home / "said"
    with output.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(
            command(*arguments),
            cwd=ROOT,
            env=environment(home, PYTHONUNBUFFERED="1", **settings),
            stdout=out,
            stderr=err,
        )
    try:
        yield Command(process, output, errors)
    finally:
        process.kill()
        process.wait()


def newest_id(service: Service) -> str:
    """Return the id from which the event stream goes on now."""
    with urllib.request.urlopen(f"{service.api_url}/v1/events", timeout=20) as response:
        lines = iter(response.readline, b"")
        return next(line for line in lines if line.startswith(b"id: ")).decode()[4:].strip()


class TestWhy:
    """`why`: one command from what somebody remembers to the reasons."""

    @pytest.mark.parametrize("text", ["bob", "techsupport", "BOB@example.com", SWITCH_CALL])
    def test_it_finds_by_what_people_remember(self, service: Service, tmp_path: Path, text: str) -> None:
        """A person, a name, an address or an id leads to each license that the meeting took, with time and reason."""
        told = run(tmp_path, "why", text, "--url", service.api_url, COLUMNS="80").stdout
        shown = re.sub(r"\s+", " ", told)
        assert f"meeting techsupport call {SWITCH_CALL} from (UTC) 2024-03-12 11:00:00 to (UTC) now" in shown
        assert "license PMP+ of alice@example.com under owner SMP+" in shown
        assert "11:00:00 none -> SMP+ first_participant: nobody in the meeting is known to hold PMP+" in shown
        assert "SMP+ -> PMP+ of alice@example.com member_joined: alice@example.com, who holds PMP+" in shown

    def test_a_meeting_that_is_over(self, service: Service, tmp_path: Path) -> None:
        """It shows the license that it had last, and one can ask for those that took SMP+ only."""
        told = run(tmp_path, "why", WEB_CALL, "--license", "SMP+", "--url", service.api_url).stdout
        assert re.search(r"^license +SMP\+", told, re.MULTILINE)
        assert "SMP+ -> none" in told

    def test_json(self, service: Service, tmp_path: Path) -> None:
        """For programs it is a list of meetings, as the API gives them."""
        told = json.loads(run(tmp_path, "why", "bob", "--json", "--url", service.api_url).stdout)
        (meeting,) = told["items"]
        assert meeting == service.get(f"/v1/meetings/{meeting['id']}")

    def test_nothing_is_called_so(self, service: Service, tmp_path: Path) -> None:
        """An empty result says so."""
        told = run(tmp_path, "why", "no", "such", "\x1b[31mmeeting", "--url", service.api_url).stdout
        assert told.startswith(r"Nothing is called so: no such \x1b[31mmeeting.")


class TestTail:
    """`tail`: the event stream in a terminal."""

    def test_it_follows_through_a_restart(self, tmp_path: Path) -> None:
        """Every event comes once and in order, also those from while it could not ask; the break is said."""
        settings = {
            "CDR_DATA_DIR": str(tmp_path / "data"),
            "CDR_API_BIND": f"127.0.0.1:{free_port()}",
            "CDR_API_TOKEN": "a-token-of-the-api",
        }
        bodies = samples("web-app-and-sip")
        service_home, home = tmp_path / "service", tmp_path / "tail"
        service_home.mkdir()
        home.mkdir()
        logged: list[dict[str, Any]] = []
        with running(service_home, "serve", settings=settings) as service:
            service.wait_for("service.started")
            with started(home, "tail", "--json", **settings) as tail:
                self.wait_until_it_reads(service, tail, logged)
                for body in bodies[:4]:
                    assert service.post(body) == 200
                eventually(lambda: len(tail.objects) > 1, "events are shown")
                service.end(signal.SIGKILL)
                logged = [line for line in service.lines if "event_id" in line]
                eventually(lambda: "waiting for it" in tail.errors, "it says that the service is away")
                with running(service_home, "serve", settings=settings) as again:
                    for body in bodies[4:]:
                        assert again.post(body) == 200
                    eventually(lambda: tail.objects[-1]["event"] == "license.released", "the last event is shown")
                    logged += [line for line in again.lines if "event_id" in line]
                    assert tail.interrupt() == 0
                assert "The service is back." in tail.errors
                got = [told["event_id"] for told in tail.objects]
                expected = list(dict.fromkeys(line["event_id"] for line in logged))
                assert got == expected[expected.index(got[0]) :]

    def wait_until_it_reads(self, service: Service, tail: Command, logged: list[dict[str, Any]]) -> None:
        """Make things happen until it shows them: what happened before it asked it does not."""
        assert not logged
        feed = Feed("warming-up")

        def shown() -> bool:
            assert service.post(feed.document(call_start(f"w{feed.next_correlator}"))) == 200
            return bool(tail.objects)

        assert service.process.poll() is None
        eventually(shown, "an event is shown")

    def test_lines_for_people(self, service: Service, tmp_path: Path) -> None:
        """A switch reads as one: when, from what to what, in which meeting, and why; nothing else that was filtered."""
        feed = Feed("people", "bridge")
        after = newest_id(service)
        told = [call_start("c", name="Plans &#x9b;[31m"), join("bob-1", "c"), join("carol-1", "c", "09:05:00")]
        assert service.post(feed.document(*told)) == 200
        with started(tmp_path, "tail", "--types", "license.*", "--after", after, "--url", service.api_url) as tail:
            eventually(lambda: "license.switched" in tail.text, "a switch is shown")
            (first, *_) = re.findall(r".*license\.switched .*", tail.text)
            assert re.search(r"09:05:00  license\.switched +SMP\+ → PMP\+ of carol@example\.com  Plans", first)
            assert "who holds PMP+, joined as leg" in tail.text
            assert "\x9b" not in tail.text
            assert "leg.joined" not in tail.text
            assert tail.interrupt() == 0

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("--types", "x;y"), "No event is called"),
            (("--deployment", "nowhere"), "There is no deployment"),
            (("--after", "17"), "Last-Event-ID must be the id"),
        ],
    )
    def test_what_cannot_be_meant(
        self, service: Service, tmp_path: Path, arguments: tuple[str, ...], said: str
    ) -> None:
        """It ends with one sentence rather than asking again and again."""
        ended = run(tmp_path, "tail", *arguments, "--url", service.api_url)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert said in ended.stderr

    def test_nobody_answers(self, tmp_path: Path) -> None:
        """A service that was never there is not waited for."""
        ended = run(tmp_path, "tail", "--url", f"http://127.0.0.1:{free_port()}")
        assert ended.returncode == 1
        assert ended.stderr.startswith("Error: No service answers at")


def test_watching(service: Service, tmp_path: Path) -> None:
    """With `--watch` the answer comes again and again, until Ctrl-C, which is no failure."""
    with started(tmp_path, "usage", "--watch", "--url", service.api_url) as usage:
        eventually(lambda: usage.text.count("deployment") > 1, "it is shown twice")
        assert usage.interrupt() == 0
    assert usage.errors == ""
