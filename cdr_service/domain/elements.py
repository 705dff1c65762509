"""How values of the wire format are read, and the tables that map names on the wire to fields.

Input is what xmltodict makes of XML: text, None for an empty element, a dict where there are children or attributes
(`@name`; own text is `#text`), a list where an element is repeated. A converter takes such a value and never raises:
it returns what it could read (None: nothing) and the rest that it could not, so that nothing a Call Bridge said is
dropped.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

MAX_TEXT = 1024
"""Longest text of a field, in characters; longer text is cut. The longest documented one (cdrTag) has 100."""

MAX_NUMBER = 2**53
"""Largest whole number: JSON readers and Redis scores are exact up to here."""

MAX_REPEATS = 32
"""Most values kept of a repeatable element; Cisco documents three kinds of alarm."""

Converted = tuple[Any, Any]
Converter = Callable[[Any], Converted]
Row = tuple[str, str, Converter]
"""Spellings on the wire separated by spaces, field, converter."""


class Element(NamedTuple):
    """One element or attribute (`@`) of the wire format and the field that it fills."""

    spellings: tuple[str, ...]
    """Lower case, preferred spelling first. The sources disagree on letter case, so it does not matter."""
    field: str
    """Name in the record; empty where the converter returns several fields as a dict."""
    convert: Converter


class Table(NamedTuple):
    """The elements that something may hold."""

    elements: tuple[Element, ...]
    as_documented: Mapping[str, Element]
    """Those with one spelling, as Cisco writes it."""
    spellings: frozenset[str]
    """All spellings, in lower case."""


def table(*rows: Row) -> Table:
    """Make a table of rows."""
    elements = [(row[0], Element(tuple(row[0].lower().split()), *row[1:])) for row in rows]
    alone = {written: element for written, element in elements if len(element.spellings) == 1}
    spellings = frozenset(spelling for _, element in elements for spelling in element.spellings)
    return Table(tuple(element for _, element in elements), alone, spellings)


def read(table: Table, content: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields found in an element's content, and the rest under the names that the sender used."""
    fields: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in content.items():
        element = table.as_documented.get(name)
        if element is None:
            if name.lower() in table.spellings:
                return _read_however_spelled(table.elements, content)
            rest[name] = value
            continue
        _, field, convert = element
        known, left = convert(value)
        if left:
            rest[name] = left
        if known is None:
            continue
        if field:
            fields[field] = known
        else:
            fields.update(known)
    return fields, rest


def _read_however_spelled(
    elements: Iterable[Element], content: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Do as `read` where a name is written otherwise, or may be: the first spelling that can be read counts."""
    names = {name.lower(): name for name in content}
    fields: dict[str, Any] = {}
    rest = content.copy()
    for spellings, field, convert in elements:
        for spelling in spellings:
            name = names.get(spelling)
            if name is None:
                continue
            known, left = convert(rest.pop(name))
            if left:
                rest[name] = left
            if known is None:
                continue
            if field:
                fields[field] = known
            else:
                fields.update(known)
            break
    return fields, rest


def _first(convert: Converter, values: list[Any]) -> Converted:
    """Read the first of repeated elements that can be read; the others are the rest."""
    for position, value in enumerate(values):
        known, rest = convert(value)
        if known is not None:
            return known, [other for other in (*values[:position], rest, *values[position + 1 :]) if other]
    return None, [value for value in values if value]


def text(value: Any) -> Converted:
    """Read trimmed text."""
    if isinstance(value, str):
        return value.strip()[:MAX_TEXT] or None, None
    if isinstance(value, list):
        return _first(text, value)
    if isinstance(value, dict) and "#text" in value:
        return text(value["#text"])[0], {name: inner for name, inner in value.items() if name != "#text"}
    return None, value


def parsed(parse: Callable[[str], Any]) -> Converter:
    """Make a converter of a function that parses text and returns None for what it cannot."""

    def convert(value: Any) -> Converted:
        if isinstance(value, list):
            return _first(convert, value)
        found, rest = text(value)
        known = None if found is None else parse(found)
        return (None, value) if known is None else (known, rest)

    return convert


def _whole(found: str) -> int | None:
    # int() alone takes signs, underscores and the digits of every script, and raises on thousands of them.
    if not (found.isascii() and found.isdigit() and len(found) <= len(str(MAX_NUMBER))):
        return None
    number = int(found)
    return number if number <= MAX_NUMBER else None


def _decimal(found: str) -> float | None:
    return float(found) if re.fullmatch(r"[0-9]{1,15}(\.[0-9]{0,15})?", found) else None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]([01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


_YEAR_1, _YEAR_10000 = -62_135_596_800_000, 253_402_300_800_000
"""Milliseconds since 1970 UTC."""


def _moment(found: str) -> int | None:
    if not _RFC_3339.fullmatch(found):
        return None
    # RFC 3339 has leap seconds and datetime has not: such a second counts as the next one.
    leap = found[17:19] == "60"
    try:
        moment = datetime.fromisoformat((f"{found[:17]}59{found[19:]}" if leap else found).upper())
    except ValueError:
        return None
    found_at = (moment - _EPOCH) // timedelta(milliseconds=1) + (1000 if leap else 0)
    # A time that cannot be written down again, in UTC, is none that a Call Bridge has.
    return found_at if _YEAR_1 <= found_at < _YEAR_10000 else None


guid = parsed(lambda found: found.lower()[:MAX_TEXT])
"""An id, in lower case so that it compares equal however it is written; any text is taken."""
whole = parsed(_whole)
"""A whole number from 0 to MAX_NUMBER; nothing that CDRs count is negative."""
decimal = parsed(_decimal)
"""A decimal number that is not negative, as a float."""
boolean = parsed(lambda found: {"true": True, "false": False}.get(found.lower()))
"""true or false, in any letter case."""
moment = parsed(_moment)
"""An RFC 3339 time, as milliseconds since 1970 UTC; finer fractions are cut off."""


def present(value: Any) -> Converted:
    """Read an element that says yes by being there."""
    known, rest = boolean(value)
    return (True if known is None else known), rest


def group(make: Callable[..., Any], *rows: Row) -> Converter:
    """Make a converter of an element with children; an empty one counts as missing."""
    elements = table(*rows)

    def convert(value: Any) -> Converted:
        if isinstance(value, list):
            return _first(convert, value)
        if not isinstance(value, dict):
            return None, value
        fields, rest = read(elements, value)
        return (make(**fields) if fields or rest else None), rest

    return convert


def repeated(convert: Converter) -> Converter:
    """Make a converter of an element that may come several times: all of them as a tuple."""

    def convert_all(value: Any) -> Converted:
        known: list[Any] = []
        rest: list[Any] = []
        for one in value if isinstance(value, list) else [value]:
            found, left = convert(one) if len(known) < MAX_REPEATS else (None, one)
            known.extend([] if found is None else [found])
            rest.extend([left] if left else [])
        return tuple(known), rest

    return convert_all


def main_role(convert: Converter) -> Converter:
    """Make a converter skip what another role than main has: the API marks presentation video so, CDRs may."""

    def convert_main(value: Any) -> Converted:
        if isinstance(value, list):
            return _first(convert_main, value)
        if not isinstance(value, dict):
            return convert(value)
        if str(value.get("@role", "main")).strip().lower() != "main":
            return None, value
        return convert({name: inner for name, inner in value.items() if name != "@role"})

    return convert_main
