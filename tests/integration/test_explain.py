"""`explain` as a process of its own: described by options or by a file, decided by the settings at hand."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.feed import Feed, call_start, join
from tests.integration.command import ROOT, Service, run, running

ALICE, BOB, CAROL = "alice@example.com", "bob@example.com", "carol@example.com"


@pytest.fixture
def holders(tmp_path: Path) -> str:
    """Write a holders file: carol holds PMP+, alice too and answers at 1001."""
    path = tmp_path / "holders.csv"
    path.write_text(f"user,license,aliases\n{CAROL},PMP+,\n{ALICE},PMP+,1001\n{BOB},,\n")
    return str(path)


def test_steps_as_options_count_in_their_order(tmp_path: Path, holders: str) -> None:
    """The options of one meeting, in two orders, are two meetings; however an option is written."""
    first = ("--join", BOB, "--guest", "--join=1001", "--record", "--leave", BOB)
    told = run(tmp_path, "explain", "--json", *first, CDR_HOLDERS=holders)
    assert told.returncode == 0, told.stderr
    items = json.loads(told.stdout)["items"]
    steps = [{"join": BOB}, {"join": None}, {"join": "1001"}, {"record": True}, {"leave": BOB}]
    assert [item["step"] for item in items] == steps
    assert [item["licenses"]["join"]["holder"] for item in items] == [None, None, ALICE, ALICE, ALICE]
    other = run(tmp_path, "explain", "--json", "--join-audio", "1001", "--join", BOB, CDR_HOLDERS=holders)
    assert [item["step"] for item in json.loads(other.stdout)["items"]] == [
        {"join": "1001", "video": False},
        {"join": BOB},
    ]


def test_people_read_a_table_and_the_reasons(tmp_path: Path) -> None:
    """The table says what each step makes of the license; below it stand rules, inputs and what would change it."""
    told = run(tmp_path, "explain", "--owner", CAROL, "--holder", ALICE, "--join", BOB, "--join", ALICE)
    assert told.returncode == 0, told.stderr
    assert f"2     {ALICE} joins  PMP+ of {ALICE}  SMP+" in told.stdout
    assert f"join: `member-joined`, for {ALICE}, who holds PMP+, joined as leg step-2" in told.stdout
    assert f"- The owner of the space is {CAROL}, who holds no PMP+." in told.stdout
    assert f"~ If {ALICE} owned the space: PMP+ of {ALICE} under `owner`." in told.stdout


@pytest.mark.parametrize("kind", ["json", "toml", "-"])
def test_a_file_describes_the_meeting(tmp_path: Path, kind: str) -> None:
    """JSON, TOML, or JSON on standard input; an option adds to it."""
    file = tmp_path / f"meeting.{kind}"
    text = (
        f'holders = ["{ALICE}"]\n[[steps]]\njoin = "{BOB}"\n'
        if kind == "toml"
        else json.dumps({"holders": [ALICE], "steps": [{"join": BOB}]})
    )
    file.write_text(text)
    argument, given = ("-", text) if kind == "-" else (str(file), None)
    told = run(tmp_path, "explain", argument, "--owner", ALICE, "--json", stdin=given)
    assert told.returncode == 0, told.stderr
    (item,) = json.loads(told.stdout)["items"]
    assert item["licenses"]["owner"]["holder"] == ALICE


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "Describe the meeting by a FILE, or by steps"),
        (("--join", "bob@"), "steps[0].join must be an address"),
        (("--join", BOB, "--leave", CAROL), f'steps[1].leave names "{CAROL}", who is not in the meeting'),
        (("--join", BOB, "--release", "new"), "release cannot be read: Expected `str` matching regex"),
        (("--join", BOB, "--deployment", "other"), "There is no deployment other"),
        (("missing.json",), "missing.json cannot be read as a description: No such file"),
        (("missing.json", "--join", BOB), "not both"),
    ],
)
def test_what_is_wrong_ends_in_one_sentence(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    """A mistake ends with code 2 and a sentence that names it; no traceback."""
    ended = run(tmp_path, "explain", *arguments)
    assert ended.returncode == 2
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr


def test_it_says_whom_it_does_not_ask(tmp_path: Path) -> None:
    """With the API of a Meeting Server set, the command says that it goes by the holders file alone."""
    api = {"CDR_CMS_URL": "https://127.0.0.1:1", "CDR_CMS_USERNAME": "u", "CDR_CMS_PASSWORD": "p"}
    told = run(tmp_path, "explain", "--join", BOB, **api)
    assert told.returncode == 0
    assert told.stderr == "What the Meeting Server knows of users is not asked; --url asks a service that read it.\n"


def test_the_page_shows_what_happens(tmp_path: Path) -> None:
    """The example of `docs/explain.md` prints what the page says, and its file is understood."""
    page = (ROOT / "docs" / "explain.md").read_text(encoding="utf-8")
    command, shown = re.findall(r"```sh\n(.*?)\n```\n\n```text\n(.*?)```", page, re.DOTALL)[0]
    told = run(tmp_path, *shlex.split(command)[1:])
    assert told.stdout == shown
    (file,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "meeting.toml").write_text(file)
    assert run(tmp_path, "explain", str(tmp_path / "meeting.toml"), "--json").returncode == 0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service whose holders file knows alice, by a number too, and bob."""
    home = tmp_path_factory.mktemp("service")
    (home / "holders.csv").write_text(f"user,license,aliases\n{ALICE},PMP+,1001\n{BOB},,\n")
    with running(home, "serve", settings={"CDR_HOLDERS": str(home / "holders.csv")}) as service:
        yield service


class TestService:
    """`POST /v1/explain`, and the command that asks it."""

    def test_a_question_is_answered_by_what_the_service_knows(self, service: Service) -> None:
        """One entry a step, with the holders of the service; the description may name others instead."""
        status, answer = service.ask("/v1/explain", {"owner": None, "steps": [{"join": BOB}, {"join": "1001"}]})
        assert status == 200
        assert [item["step"] for item in answer["items"]] == [{"join": BOB}, {"join": "1001"}]
        assert [item["licenses"]["join"]["holder"] for item in answer["items"]] == [None, ALICE]
        assert [item["licenses"]["owner"]["type"] for item in answer["items"]] == ["SMP+", "SMP+"]
        status, answer = service.ask("/v1/explain", {"holders": [BOB], "steps": [{"join": BOB}, {"join": "1001"}]})
        assert [item["licenses"]["join"]["holder"] for item in answer["items"]] == [BOB, BOB]

    @pytest.mark.parametrize(
        ("asked", "parameter", "detail"),
        [
            ({"steps": [{"join": 5}]}, "steps[0].join", "Expected `str | null`"),
            ({"steps": [{"join": "bob@"}]}, "steps[0].join", "must be an address"),
            ({"steps": [{"join": BOB}], "owners": []}, "body", "unknown field `owners`"),
            ({"steps": [{"join": BOB}, {"leave": ALICE}]}, "steps[1].leave", "who is not in the meeting"),
            ({"steps": [{"join": BOB}], "deployment": "other"}, "deployment", "There is no deployment"),
            ([], "body", "Expected `object`"),
        ],
    )
    def test_what_is_wrong_is_a_400_that_names_the_key(
        self, service: Service, asked: object, parameter: str, detail: str
    ) -> None:
        """Each mistake is refused with a sentence, and with the key that is wrong."""
        status, problem = service.ask("/v1/explain", asked)
        assert (status, problem["parameter"]) == (400, parameter)
        assert detail in problem["detail"]

    def test_the_command_asks_the_service(self, service: Service, tmp_path: Path) -> None:
        """With --url the service's users count, of which the command itself knows nothing."""
        told = run(tmp_path, "explain", "--url", service.api_url, "--join", "1001")
        assert told.returncode == 0, told.stderr
        assert f"1     1001 joins    PMP+ of {ALICE}  SMP+" in told.stdout
        ended = run(tmp_path, "explain", "--url", service.api_url, "--join", "1001", "--deployment", "other")
        assert ended.returncode == 1
        assert "There is no deployment" in ended.stderr

    def test_hints_are_printed(self, service: Service, tmp_path: Path) -> None:
        """The commands that show a call and the usage say what to look at, below their tables."""
        busy = [record for call in "ab" for record in (call_start(call), join(f"alice-{call}", call))]
        assert service.post(Feed().document(*busy, call_start("c", ownerName="alice"), join("bob", "c"))) == 200
        told = run(tmp_path, "call", "c", "--url", service.api_url).stdout
        assert f'\nLook at: The call names "alice" as its owner (ownerName), and {ALICE} holds PMP+;' in told
        told = run(tmp_path, "usage", "--url", service.api_url).stdout
        assert f"\nLook at: {ALICE} pays 2 meetings, as many as one PMP+ may" in told
