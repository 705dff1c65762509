"""Lists as CSV, for spreadsheets: one row an item, and no text that a spreadsheet would take for a formula."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from aiohttp import hdrs, web

from cdr_service.errors import BadRequest

FORMATS: Final = ("json", "csv")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def wants_csv(request: web.Request) -> bool:
    """Tell whether the list is asked for as CSV, by `format=csv` or by `Accept: text/csv`."""
    chosen = request.query.get("format")
    if chosen is not None:
        if chosen not in FORMATS:
            raise BadRequest("format", "format must be one of json, csv.")
        return chosen == "csv"
    return "text/csv" in request.headers.get(hdrs.ACCEPT, "")


def csv_page(items: Sequence[Any], columns: Sequence[str], following: str | None) -> web.Response:
    """Return a page as CSV. A column is a member, or a member of a member (`license.type`).

    Where there are more items, the cursor of the next page is in the header `Next-Cursor`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    for item in items:
        members = msgspec.to_builtins(item)
        writer.writerow([_cell(_member(members, column)) for column in columns])
    headers = {"Next-Cursor": following} if following else {}
    # A spreadsheet takes a file without the mark for its own old encoding.
    return web.Response(
        body=b"\xef\xbb\xbf" + text.getvalue().encode(errors="replace"),
        content_type="text/csv",
        charset="utf-8",
        headers=headers,
    )


def _member(members: Mapping[str, Any], column: str) -> Any:
    value: Any = members
    for name in column.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        value = " ".join(map(str, value))
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
