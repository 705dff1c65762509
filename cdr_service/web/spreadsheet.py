"""Lists as CSV, for spreadsheets: one row an item, and no text that a spreadsheet would take for a formula."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from aiohttp import web

_WEIGHT: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def prefers_csv(accept: str) -> bool:
    """Tell whether the header `Accept` puts CSV before JSON (RFC 9110, section 12.5.1); JSON where it does not care."""
    wanted = dict(map(_range, accept.split(",")))
    csv, json = (_weight(wanted, kind, name) for kind, name in (("text", "csv"), ("application", "json")))
    return csv[0] > 0 and csv > json


def _range(text: str) -> tuple[str, float]:
    """Return a media range and its weight. One that cannot be read counts as not wanted."""
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    weights = [parameter[2:] for parameter in parameters if parameter.startswith("q=")]
    return name, float(weights[0]) if weights and _WEIGHT.fullmatch(weights[0]) else float(not weights)


def _weight(wanted: Mapping[str, float], kind: str, name: str) -> tuple[float, int]:
    """Return how much a media type is wanted, and how precisely it was named."""
    named = (f"{kind}/{name}", f"{kind}/*", "*/*")
    return next(((wanted[one], 3 - place) for place, one in enumerate(named) if one in wanted), (0.0, 0))


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
