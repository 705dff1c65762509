"""Which user is behind a call leg, who holds PMP+ and who owns a space: the directory, and the holders file.

A CDR names no user. It names addresses, and a `Directory` says whose they are. The evidence, best first:

1. `jid`: a leg of a signed-in app. Its remoteParty is the user's JID.
2. `cdr_tag`: a cdrTag that one user alone has. Administrators also use the field for cost centers, so a tag that
   several users share says nothing.
3. `sip_address`, or `alias` for an alias that is a whole URI: a SIP leg whose far end is that address. This is how
   the Meeting Server itself is said to match an endpoint to an imported user (Cisco community 3023917).
4. `alias`: the user part of a SIP leg's far end, such as a directory number.

The last two hold only for hosts that are ours: anybody may call himself 1001 at his own domain. Guests are nobody.
"""

import csv
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import zip_longest
from types import MappingProxyType
from typing import Literal, NamedTuple, Self

import msgspec
from msgspec import Struct

from cdr_service.domain.addresses import fold_case, is_ip_host, normalize_address, normalize_host

__all__ = [
    "NOBODY",
    "Directory",
    "HoldersFileError",
    "Identity",
    "User",
    "normalize_address",
    "parse_holders",
]

# The Meeting Server makes such an id for each guest and throws it away (Cisco API reference 2020-09, log sample).
_GUEST_ID = re.compile(r"guest[0-9]+@")


class User(Struct, frozen=True, array_like=True):
    """A user of the deployment."""

    address: str
    """The user's own address (JID), as `normalize_address` spells it."""
    holds_license: bool
    """Whether the user holds PMP+."""
    aliases: tuple[str, ...] = ()
    """Further SIP URIs, directory numbers and cdrTags, as given."""
    spaces: tuple[str, ...] = ()
    """Ids of the spaces that the user owns, in lower case."""


class Identity(Struct, frozen=True, array_like=True):
    """Who is behind a call leg, and how we know."""

    user: str | None = None
    """The user's own address; None for somebody whom we do not know."""
    matched_by: str | None = None
    """jid, cdr_tag, sip_address or alias."""
    holds_license: bool = False
    """Whether the user holds PMP+."""


NOBODY = Identity()
"""A guest, or somebody whom we do not know."""


class HoldersFileError(ValueError):
    """The holders file cannot be used. The message is one sentence that names the line and says what to change."""


class _Snapshot(Struct, frozen=True, array_like=True):
    users: tuple[User, ...]
    sip_domains: tuple[str, ...]
    sip_user_match: str


class Directory:
    """The users of a deployment, with every index that a decision needs. It does not change once it is made.

    `sip_domains` are the hosts, with their subdomains, whose SIP addresses may be ours; without any, the domains of
    the users' addresses. `sip_user_match` is `uri`, or `off` where SIP legs are never matched by address or alias.
    Two rows with one address are one user. Raises ValueError for a SIP domain that is no host name.
    """

    def __init__(self, users: Iterable[User], *, sip_domains: Sequence[str] = (), sip_user_match: str = "uri") -> None:
        if sip_user_match not in ("uri", "off"):
            raise ValueError(f'sip_user_match is "{sip_user_match}"; write "uri" or "off".')
        given = tuple(sorted({_domain(text) for text in sip_domains if text.strip()}))
        self._snapshot = _Snapshot(_canonical(users), given, sip_user_match)
        self.users: Mapping[str, User] = MappingProxyType({user.address: user for user in self._snapshot.users})
        """By address."""
        self.assigned = sum(user.holds_license for user in self.users.values())
        """How many users hold PMP+."""
        self.version = blake2b(msgspec.msgpack.encode(self._snapshot), digest_size=16).hexdigest()
        """Digest of the content: equal for equal content, in whatever order the users came."""
        self._match_sip = sip_user_match == "uri"
        self._domains = frozenset(given) or frozenset(_hosts_of(self.users))
        aliases = [(alias, user.address) for user in self.users.values() for alias in user.aliases]
        addresses = [(normalize_address(alias), user) for alias, user in aliases]
        self._tags = _claims((fold_case(alias), user) for alias, user in aliases)
        self._aliases = _claims((alias, user) for alias, user in addresses if alias)
        self._owners = _claims((space, user.address) for user in self.users.values() for space in user.spaces)

    def identify(
        self,
        *,
        leg_type: str | None,
        guest: bool | None,
        remote_party: str | None,
        remote_address: str | None,
        cdr_tag: str | None,
        direction: str | None,  # noqa: ARG002 - the far end is the same evidence whether it called or was called
    ) -> Identity:
        """Return who is behind a call leg, from what its records say. Never raises; costs a few look-ups."""
        if guest:
            return NOBODY
        from_app = leg_type is not None and leg_type.casefold() == "acano"
        if from_app:
            jid = normalize_address(remote_party or "")
            if jid is not None and jid in self.users:
                return self._found(jid, "jid")
            if jid is not None and _GUEST_ID.match(jid):
                return NOBODY
        tagged = self._tags.get(fold_case(cdr_tag)) if cdr_tag else None
        if tagged is not None:
            return self._found(tagged, "cdr_tag")
        if from_app or not self._match_sip:
            return NOBODY
        return self._by_address(remote_party, remote_address)

    def holds_license(self, user: str | None) -> bool:
        """Whether the user with this address, however spelled, holds PMP+."""
        if user is None:
            return False
        known = self.users.get(user) or self.users.get(normalize_address(user) or "")
        return known is not None and known.holds_license

    def owner_of(self, cospace: str | None) -> str | None:
        """Return the address of the one user who owns a space; None if nobody does, or if several claim it."""
        return self._owners.get(fold_case(cospace)) if cospace else None

    def encode(self) -> bytes:
        """Return the whole directory as bytes, for `decode`."""
        return msgspec.msgpack.encode(self._snapshot)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Make the directory again that `encode` gave. Raises msgspec.DecodeError for anything else."""
        snapshot = msgspec.msgpack.decode(data, type=_Snapshot)
        return cls(snapshot.users, sip_domains=snapshot.sip_domains, sip_user_match=snapshot.sip_user_match)

    def _found(self, address: str, matched_by: str) -> Identity:
        return Identity(address, matched_by, self.users[address].holds_license)

    def _by_address(self, *texts: str | None) -> Identity:
        ours = [address for text in texts if text and (address := normalize_address(text)) and self._is_ours(address)]
        for address in ours:
            if address in self.users:
                return self._found(address, "sip_address")
            user = self._aliases.get(address)
            if user is not None and "@" in address:
                return self._found(user, "alias")
        for address in ours:
            user = self._aliases.get(address.partition("@")[0])
            if user is not None:
                return self._found(user, "alias")
        return NOBODY

    def _is_ours(self, address: str) -> bool:
        host = address.partition("@")[2]
        if not host or is_ip_host(host):
            return True
        while host and host not in self._domains:
            host = host.partition(".")[2]
        return bool(host)


def _domain(text: str) -> str:
    domain = normalize_host(text.strip().removeprefix("*").removeprefix("."))
    if domain is None:
        raise ValueError(f'The SIP domain "{text.strip()}" is no host name; write one such as example.com.')
    return domain


def _canonical(users: Iterable[User]) -> tuple[User, ...]:
    """One user per address, everything in an order that does not depend on the order of the rows."""
    merged: dict[str, User] = {}
    for user in users:
        address = _own_address(user.address)
        known = merged.get(address, User(address, holds_license=False))
        merged[address] = User(
            address,
            holds_license=known.holds_license or user.holds_license,
            # An empty element means no value; it must not become a tag that all legs without a tag share.
            aliases=tuple(sorted({alias for alias in (*known.aliases, *user.aliases) if alias.strip()})),
            spaces=tuple(sorted({fold_case(space) for space in (*known.spaces, *user.spaces) if space.strip()})),
        )
    return tuple(merged[address] for address in sorted(merged))


def _own_address(text: str) -> str:
    """Spell a user's address; one that is none keeps its user, whom a tag may still name, and stays as it is."""
    folded = fold_case(text)
    # Folding turns a Greek question mark into a semicolon, and so can make an address of what was none.
    return normalize_address(text) or normalize_address(folded) or folded


def _hosts_of(addresses: Iterable[str]) -> Iterator[str]:
    hosts = (address.partition("@")[2] for address in addresses)
    return (host for host in hosts if host and not is_ip_host(host))


def _claims(claims: Iterable[tuple[str, str]]) -> dict[str, str | None]:
    """Map each key to the one user who claims it; to None where several do, for then it says nothing."""
    claimed: dict[str, str | None] = {}
    for key, user in claims:
        claimed[key] = user if claimed.get(key, user) == user else None
    return claimed


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
    if fold_case(entry.license) not in ("pmp+", ""):
        raise HoldersFileError(f'{where}: the license is "{entry.license.strip()}"; write PMP+ or leave it empty.')
    return User(
        address,
        holds_license=bool(entry.license.strip()),
        aliases=tuple(alias.strip() for alias in entry.aliases),
        spaces=tuple(entry.spaces),
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
