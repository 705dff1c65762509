"""Lists as CSV: rows that a spreadsheet opens, and text that it does not take for a formula."""

import csv
import io

import pytest
from msgspec import Struct

from cdr_service.web.spreadsheet import csv_page, prefers_csv


class Inner(Struct):
    """A member that has members."""

    type: str


class Item(Struct):
    """A row."""

    name: str | None
    count: int
    open: bool
    calls: list[str]
    license: Inner | None


def rows(*items: Item) -> list[list[str]]:
    """Return what a spreadsheet reads."""
    columns = ("name", "count", "open", "calls", "license.type")
    body = csv_page(items, columns, None).body
    assert isinstance(body, bytes)
    return list(csv.reader(io.StringIO(body.decode("utf-8-sig"))))


def test_columns_are_members_and_members_of_members() -> None:
    """A column names a member or a member of a member; what is null is empty, a list is joined by spaces."""
    assert rows(Item("Ada, Bob", 2, True, ["a", "b"], Inner("SMP+")), Item(None, 0, False, [], None)) == [
        ["name", "count", "open", "calls", "license.type"],
        ["Ada, Bob", "2", "true", "a b", "SMP+"],
        ["", "0", "false", "", ""],
    ]


@pytest.mark.parametrize("hostile", ["=1+1", "+SUM(A1)", "-2+3", "@cmd", "\t=1", "\r=1"])
def test_no_text_is_a_formula(hostile: str) -> None:
    """A text that a spreadsheet would compute gets an apostrophe before it, and stays readable."""
    assert rows(Item(hostile, 0, False, [], None))[1][0] == f"'{hostile}"


@pytest.mark.parametrize("number", ["-5", "+15551001", "-0.5"])
def test_numbers_stay_numbers(number: str) -> None:
    """A text that is a number is left as it is."""
    assert rows(Item(number, 0, False, [], None))[1][0] == number


def test_the_next_page_is_named_in_a_header() -> None:
    """The cursor of the next page has no place in a CSV, so it is a header."""
    assert csv_page([], ("name",), "abc").headers["Next-Cursor"] == "abc"
    assert "Next-Cursor" not in csv_page([], ("name",), None).headers


@pytest.mark.parametrize(
    ("accept", "csv"),
    [
        ("", False),
        ("*/*", False),
        ("text/csv", True),
        ("Text/CSV; charset=utf-8", True),
        ("text/*", True),
        ("text/csv, */*", True),
        ("text/csv, */*;q=0.1", True),
        ("text/csv, application/json", False),
        ("text/csv, application/json;q=0.9", True),
        ("text/csv;q=0.1, application/json", False),
        ("text/csv;q=0.5, */*;q=0.8", False),
        ("text/csv;q=0", False),
        ("text/csv;q=0, */*", False),
        ("text/csv;q=much", False),
        ("application/json;q=0, text/csv;q=0.001", True),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        ("text/csvx, application/text/csv", False),
    ],
)
def test_the_header_accept_is_weighed(accept: str, csv: bool) -> None:
    """CSV is given where it is wanted more than JSON, or as much but named more precisely."""
    assert prefers_csv(accept) is csv
