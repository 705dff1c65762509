"""`docs/licensing.md` says what the code does: its cases, rules and settings are compared."""

import re
from pathlib import Path

import pytest

from cdr_service.domain.licensing import Policy
from cdr_service.domain.options import Options
from cdr_service.domain.policies import POLICIES
from cdr_service.settings import LicensingSettings
from tests.unit.truth import GUIDES, OPEN, TABLE

ROOT = Path(__file__).parents[2]
NO_SOURCE = {GUIDES, OPEN, "inference", "inference from the owner fields", "the holders file"}
"""What a case may rest on that is no document; the page says so."""
PAGE = (ROOT / "docs" / "licensing.md").read_text(encoding="utf-8")


def table(title: str) -> list[list[str]]:
    """Return the rows of the first table below a heading, without its head."""
    below = PAGE.partition(f" {title}\n")[2]
    lines = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)
    assert lines, title
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[0].splitlines()]
    return rows[2:]


@pytest.mark.parametrize("kind", TABLE)
def test_the_cases_are_those_of_the_truth_table(kind: str) -> None:
    """The page shows each row of the truth table, whose outcomes are tested, and no other."""
    assert table(kind) == [[row.case, row.join, row.owner, row.source] for row in TABLE[kind]]


def test_every_source_of_a_case_is_listed() -> None:
    """What a case rests on is a source of section 9, or said to be none."""
    listed = {row[0] for row in table("9. Sources")}
    numbers = {number for name in listed for number in re.findall(r"\d{4,}", name)}
    for row in (row for rows in TABLE.values() for row in rows):
        assert row.source in NO_SOURCE or set(re.findall(r"\d{4,}", row.source)) <= numbers, row.source
        assert row.source in NO_SOURCE or re.search(r"\d", row.source), row.source


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
