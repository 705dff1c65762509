"""`docs/licensing.md` says what the code does: its cases are run, its rules and settings compared."""

import re
from pathlib import Path

import pytest

from cdr_service.domain.directory import Directory, User
from cdr_service.domain.licensing import POLICIES, Policy
from cdr_service.domain.options import Options
from cdr_service.domain.timeline import Standing
from cdr_service.settings import LicensingSettings
from tests.feed import Feed, Record, call_end, call_start, join, leave
from tests.unit.books import Books

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "licensing.md").read_text(encoding="utf-8")
DIRECTORY = Directory(
    [
        User("alice@example.com", holds_license=True, spaces=("one", "two", "three")),
        User("carol@example.com", holds_license=True),
        User("bob@example.com", holds_license=False),
    ]
)


def waiting(leg: str, call: str, time: str) -> Record:
    """Return the update that finds a leg in the lobby."""
    content = (
        f"<callLeg id='{leg}'><state>connected</state><call>{call}</call><deactivated>true</deactivated></callLeg>"
    )
    return Record("callLegUpdate", time, content)


def recorder(call: str, time: str) -> Record:
    """Return the start of a recording."""
    return Record("recordingStart", time, f"<recording id='r'><call>{call}</call></recording>")


def stranger(leg: str, call: str, **elements: str) -> Record:
    """Return somebody who dials in from elsewhere, or a guest."""
    return join(leg, call, type="sip", remoteParty="alice@partner.example.net", **elements)


def space(name: str, call: str = "x", time: str = "09:00:00", meeting: str = "m") -> Record:
    """Return the start of a call in a space; the spaces one, two and three are alice's."""
    return call_start(call, time, meeting, callType="coSpace", coSpace=name)


FIRST = [space("none"), join("bob", "x")]
ELSEWHERE = [
    record
    for number, call in enumerate("ab", 1)
    for record in (
        space("none", call, f"08:00:0{number}", call),
        join(f"carol-{call}", call, f"08:00:0{number}"),
    )
]
BUSY = [
    record
    for call, own in (("a", "two"), ("b", "three"))
    for record in (space(own, call, "08:00:00", call), join(f"bob-{call}", call, "08:00:01"))
]
GATEWAY = [call_start("x", meeting="m", callType="forwarding"), join("carol", "x")]

CASES: list[tuple[str, list[Record]]] = [
    ("bob is alone in a space without a known owner", FIRST),
    (
        "guests and strangers only, in a space without a known owner",
        [
            space("none"),
            stranger("s", "x"),
            join("carol", "x", guestConnection="true"),
        ],
    ),
    ("bob is first, carol joins later", [*FIRST, join("carol", "x", "09:01:00")]),
    ("bob is first, carol joins later and leaves again", [*FIRST, join("carol", "x", "09:01:00"), leave("carol")]),
    ("carol is first, bob joins", [space("none"), join("carol", "x"), join("bob", "x", "09:01:00")]),
    (
        "bob is first, carol waits in the lobby",
        [
            *FIRST,
            join("carol", "x", "09:01:00"),
            waiting("carol", "x", "09:01:00"),
        ],
    ),
    ("bob meets in alice's space, alice is not there", [space("one"), join("bob", "x")]),
    ("bob meets in alice's space, carol joins", [space("one"), join("bob", "x"), join("carol", "x", "09:01:00")]),
    ("carol meets in alice's space, alice joins", [space("one"), join("carol", "x"), join("alice", "x", "09:01:00")]),
    ("carol is in two other meetings that she pays, and joins bob's", [*ELSEWHERE, *FIRST, join("carol", "x")]),
    (
        "… and one of those two ends",
        [
            *ELSEWHERE,
            *FIRST,
            join("carol", "x"),
            leave("carol-a", "09:10:00"),
            call_end("a", "09:10:00"),
        ],
    ),
    ("bob meets in alice's space while she pays two other meetings", [*BUSY, space("one"), join("bob", "x")]),
    (
        "… and one of those two ends",
        [
            *BUSY,
            space("one"),
            join("bob", "x"),
            leave("bob-a", "09:10:00"),
            call_end("a", "09:10:00"),
        ],
    ),
    ("a gateway or point-to-point call, also of carol's", GATEWAY),
    ("… and it is recorded or streamed", [*GATEWAY, recorder("x", "09:05:00")]),
    ("one meeting on two Call Bridges of a cluster", [*FIRST, space("none", "y"), join("bob-2", "y", "09:01:00")]),
    (
        "carol and bob meet, all leave, and bob comes again",
        [
            space("none"),
            join("carol", "x"),
            join("bob", "x", "09:01:00"),
            leave("carol", "09:10:00"),
            leave("bob", "09:11:00"),
            join("bob-2", "x", "09:12:00"),
        ],
    ),
    ("nobody got past the lobby or the IVR", [space("none"), join("carol", "x"), waiting("carol", "x", "09:00:00")]),
]


def table(title: str) -> list[list[str]]:
    """Return the rows of the first table below a heading, without its head."""
    below = PAGE.partition(f" {title}\n")[2]
    lines = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)
    assert lines, title
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[0].splitlines()]
    return rows[2:]


def shown(standing: Standing) -> str:
    """Return what a meeting took, one after the other."""
    told = []
    for after in (transition.after for transition in standing.transitions):
        if after is None:
            told.append("nothing")
        elif after.holder:
            told.append(f"{after.type} of {after.holder.partition('@')[0]}")
        else:
            told.append(after.type if after.weight == "1" else f"{after.weight} {after.type}")
    return " → ".join(told) or "nothing"


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case for case, _ in CASES])
def test_the_cases_are_what_happens(number: int) -> None:
    """Each case of the page, played as records, takes just the licenses that the page names, under both policies."""
    case, records = CASES[number]
    books = Books(DIRECTORY)
    books.post(Feed().document(*records))
    standings = books.meetings["m"].timeline.standings
    expected = [shown(standings.get(policy, Standing())) for policy in ("join", "owner")]
    assert table("1. Find your case")[number] == [case, *expected]


def test_every_case_is_played() -> None:
    """The page has no case that is not played here."""
    assert len(table("1. Find your case")) == len(CASES)


@pytest.mark.parametrize("policy", list(POLICIES.values()), ids=list(POLICIES))
def test_the_rules_are_those_of_the_code(policy: Policy) -> None:
    """The tables of rules agree with the policies, in their order."""
    titles = {"join": "`join`: who joins pays", "owner": "`owner`: the owner pays, whoever joins"}
    rules = [[f"`{rule.id}`", rule.text, rule.releases, rule.source, rule.confidence] for rule in policy.rules]
    assert table(titles[policy.id]) == rules


def test_the_settings_are_those_of_the_code() -> None:
    """Every licensing setting stands on the page with its default, and is one that the rules look at."""
    rows = {row[0].strip("`"): row[1:] for row in table("8. What nobody has documented")}
    expected = {}
    for key, field in LicensingSettings.model_fields.items():
        value = field.default
        if isinstance(value, tuple):
            value = (".", ",")[isinstance(value[0], str)].join(map(str, value))
        default = str(value).lower() if isinstance(value, bool) else str(value)
        expected[f"CDR_LICENSING_{key.upper()}"] = f"`{default}`"
        assert key == "sip_user_match" or key in Options._fields
    assert {name: cells[0] for name, cells in rows.items()} == expected
