"""Every kind of meeting takes the license that its row says, under both policies."""

from collections.abc import Iterable, Iterator

import pytest

from cdr_service.domain.description import read_description
from cdr_service.domain.explain import explain
from cdr_service.domain.licensing import License
from cdr_service.domain.options import Options
from cdr_service.domain.timeline import Standing
from tests.feed import Feed
from tests.unit.books import Books
from tests.unit.truth import DIRECTORY, TABLE, Row

ROWS = [pytest.param(row, id=f"{kind}: {row.case}") for kind, rows in TABLE.items() for row in rows]


def in_words(type_: str, holder: str | None, weight: str) -> str:
    """Return a license as the table writes it."""
    if holder:
        return f"{type_} of {holder.partition('@')[0]}"
    return type_ if weight == "1" else f"{weight} {type_}"


def in_order(found: Iterable[str]) -> str:
    """Return what a meeting took, one after the other."""
    told: list[str] = []
    for one in found:
        if one != (told[-1] if told else None):
            told.append(one)
    return " → ".join(told) or "nothing"


def described(row: Row, policy: str) -> Iterator[str]:
    """Yield the license of a described meeting after each step."""
    answer = explain(read_description(row.meeting), DIRECTORY, Options(), 0)
    for item in answer.items:
        found = item.licenses[policy]
        yield in_words(found.type, found.holder, found.weight) if found else "nothing"


def recorded(row: Row, policy: str) -> Iterator[str]:
    """Yield the license of a meeting that is given as records after each change."""
    books = Books(DIRECTORY)
    books.post(Feed().document(*row.meeting))
    for transition in books.meetings["m"].timeline.standings.get(policy, Standing()).transitions:
        after: License | None = transition.after
        yield in_words(after.type, after.holder, after.weight) if after else "nothing"


@pytest.mark.parametrize("row", ROWS)
def test_a_meeting_takes_what_its_row_says(row: Row) -> None:
    """Played by the code that decides real meetings, the meeting takes just those licenses, one after the other."""
    play = described if isinstance(row.meeting, dict) else recorded
    assert {policy: in_order(play(row, policy)) for policy in ("join", "owner")} == {
        "join": row.join,
        "owner": row.owner,
    }


def test_every_row_names_its_source() -> None:
    """No row stands without the document, the inference or the setting that it rests on."""
    assert all(row.source for rows in TABLE.values() for row in rows)
