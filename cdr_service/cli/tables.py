"""Tables for people, on a terminal of any width: what matters most on one line, what explains it on a line below.

No id is ever broken, text from the wire can do nothing on the terminal, and what goes into a file or a pipe is not cut.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cdr_service.domain.text import printable

UNCUT: Final = 10_000
"""Columns of what is no terminal."""
_GAP: Final = "  "


class Row(NamedTuple):
    """One thing of a list."""

    cells: Sequence[Any]
    detail: str | None = None
    """Shown below the cells, over the whole width."""


def show(
    head: Sequence[str], rows: Sequence[Row], nothing: str, *, below: str | None = None, whole: bool = False
) -> None:
    """Print a list, or the sentence `nothing` where it is empty. `below` is the heading of the details.

    The last column and the details are cut where the terminal ends; `whole` wraps the details instead.
    """
    console = _console()
    if not rows:
        console.print(Text(nothing))
        return
    lines = [[_text(cell) for cell in row.cells] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(head, *lines, strict=True)]
    console.print(_line(head, widths), style="bold", no_wrap=True, overflow="ellipsis")
    if below is not None:
        console.print(Padding.indent(Text(below, style="bold dim", no_wrap=True, overflow="ellipsis"), len(_GAP)))
    for row, line in zip(rows, lines, strict=True):
        console.print(_line(line, widths), no_wrap=True, overflow="ellipsis")
        if row.detail is not None:
            detail = Text(_text(row.detail), style="dim", no_wrap=not whole, overflow="ellipsis")
            console.print(Padding.indent(detail, len(_GAP)))


def show_facts(facts: Mapping[str, Any]) -> None:
    """Print names and values, one below the other; a value that is None shows as a hyphen."""
    grid = Table.grid(padding=(0, len(_GAP), 0, 0))
    for name, value in facts.items():
        grid.add_row(Text(name, style="dim"), Text("-" if value is None else _text(value)))
    _console().print(grid)


def moment(time: str | None) -> str | None:
    """Return a time of the API (RFC 3339, UTC) in the shortest form that is clear today."""
    if time is None:
        return None
    day, _, clock = time.partition("T")
    clock = clock[:8]
    return clock if day == datetime.now(UTC).date().isoformat() else f"{day} {clock}"


class _Console(Console):
    """A console that leaves it to the command line what a reader who left means."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _console() -> Console:
    told = sys.stdout.isatty() or "COLUMNS" in os.environ
    return _Console(width=None if told else UNCUT, highlight=False)


def _text(value: Any) -> str:
    return printable("" if value is None else str(value))


def _line(cells: Sequence[str], widths: Sequence[int]) -> Text:
    padded = [cell + " " * (width - cell_len(cell)) for cell, width in zip(cells[:-1], widths, strict=False)]
    return Text(_GAP.join([*padded, cells[-1]]))
