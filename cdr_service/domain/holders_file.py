"""The holders file: users as an administrator writes them down, in CSV or TOML."""

import csv
import re
import tomllib
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from cdr_service.domain.addresses import fold_case, normalize_address
from cdr_service.domain.directory import Directory, User


class HoldersFileError(ValueError):
    """The holders file cannot be used. The message is one sentence that names the line and says what to change."""


class _Entry(Struct, forbid_unknown_fields=True):
    """One user as the holders file writes it; the field names are the file's."""

    user: str
    license: str = ""
    aliases: list[str] = []
    spaces: list[str] = []


class _Row(NamedTuple):
    where: str
    entry: _Entry


def parse_holders(
    text: str,
    *,
    format: Literal["csv", "toml"],  # noqa: A002 - the word that callers expect
    sip_domains: Sequence[str] = (),
    sip_user_match: str = "uri",
) -> Directory:
    """Read a holders file. Raises HoldersFileError for one that is wrong, ValueError for wrong SIP domains."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    users: dict[str, User] = {}
    places: dict[str, str] = {}
    for where, entry in _csv_rows(text) if format == "csv" else _toml_rows(text):
        user = _user(where, entry)
        if user.address in users:
            raise HoldersFileError(f"{where}: {user.address} is there already ({places[user.address]}); keep one.")
        users[user.address], places[user.address] = user, where
    return Directory(users.values(), sip_domains=sip_domains, sip_user_match=sip_user_match)


def _user(where: str, entry: _Entry) -> User:
    address = normalize_address(entry.user)
    if address is None or "@" not in address:
        raise HoldersFileError(f'{where}: the user is "{entry.user.strip()}"; write an address as alice@example.com.')
    said = fold_case(entry.license)
    if said not in ("pmp+", "server", ""):
        raise HoldersFileError(f'{where}: the license is "{entry.license.strip()}"; write PMP+ or leave it empty.')
    return User(
        address,
        holds_license=said == "pmp+",
        aliases=tuple(alias.strip() for alias in entry.aliases),
        spaces=tuple(entry.spaces),
        as_server=said == "server",
    )


def _csv_rows(text: str) -> Iterator[_Row]:
    lines = ("" if line.lstrip().startswith("#") else line for line in text.split("\n"))
    reader = csv.reader(lines, strict=True)
    columns: list[str] | None = None
    try:
        for cells in reader:
            row = [cell.strip() for cell in cells]
            if not any(row):
                continue
            where = f"Line {reader.line_num}"
            if columns is None:
                columns = _csv_columns(where, row)
            elif any(row[len(columns) :]):
                raise HoldersFileError(f"{where}: there are more fields than columns; put quotes around a comma.")
            else:
                named = dict(zip_longest(columns, row[: len(columns)], fillvalue=""))
                lists = {name: named.get(name, "").split() for name in ("aliases", "spaces")}
                yield _Row(where, _Entry(named["user"], named["license"], **lists))
    except csv.Error as error:
        raise HoldersFileError(f"Line {reader.line_num}: the quotes do not match ({error}).") from error
    if columns is None:
        raise HoldersFileError("Line 1: the file is empty; begin it with user,license,aliases,spaces.")


def _csv_columns(where: str, row: list[str]) -> list[str]:
    columns = [fold_case(cell) for cell in row]
    while not columns[-1]:  # spreadsheets leave commas at the end
        columns.pop()
    wrong = {
        "unknown": [name for name in columns if name not in _Entry.__struct_fields__],
        "missing": [name for name in ("user", "license") if name not in columns],
        "twice": sorted({name for name in columns if columns.count(name) > 1}),
    }
    told = "; ".join(f"{what}: {', '.join(map(repr, names))}" for what, names in wrong.items() if names)
    if told:
        raise HoldersFileError(f"{where}: the columns must be user,license,aliases,spaces ({told}).")
    return columns


def _toml_rows(text: str) -> Iterator[_Row]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise HoldersFileError(f"The file is not TOML: {error}.") from error
    entries = document.pop("users", None)
    if document:
        raise HoldersFileError(f"The file may hold [[users]] only; take out {', '.join(map(repr, document))}.")
    if not isinstance(entries, list):
        raise HoldersFileError("The file has no [[users]]; write one for each user, or users = [] for none.")
    # TOML readers keep no line numbers. The headers give them, unless the list is written some other way.
    headers = [number for number, line in enumerate(text.split("\n"), 1) if re.match(r"\s*\[\[\s*users\s*\]\]", line)]
    for index, entry in enumerate(entries):
        where = f"Line {headers[index]}" if len(headers) == len(entries) else f"Entry {index + 1} of users"
        try:
            yield _Row(where, msgspec.convert(entry, _Entry))
        except msgspec.ValidationError as error:
            known = ", ".join(_Entry.__struct_fields__)
            raise HoldersFileError(f"{where}: {error}; a user has {known}, with every value in quotes.") from error
