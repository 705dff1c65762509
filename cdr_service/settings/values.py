"""The kinds of value that a setting can have, each read from what an environment variable or a TOML file holds.

A message continues a sentence that begins with the setting's name ("CDR_INTAKE_BIND must be ..."), and repeats a
value only where the value cannot be a secret.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from cdr_service.domain.addresses import normalize_host
from cdr_service.domain.text import printable
from cdr_service.store.address import parse_store_url

MIB = 1 << 20
"""Bytes in a MiB."""
_HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Bind:
    """An address to listen on. Port 0 takes a free port."""

    host: str
    """A name or an IP address, IPv6 without its brackets."""
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address. A name other than `localhost` is taken as reachable."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _bind(value: object) -> Bind:
    if isinstance(value, Bind):
        return value
    shape = "must be host:port, such as 127.0.0.1:8080, or [::1]:8080 for IPv6"
    match = (
        re.fullmatch(r"(?:\[([^\[\]\s]+)\]|([A-Za-z0-9._-]*)):(\d{1,5})", value.strip())
        if isinstance(value, str)
        else None
    )
    if match is None or int(match[3]) > _HIGHEST_PORT:
        raise ValueError(shape)
    if match[1]:
        try:
            ip_address(match[1])
        except ValueError:
            raise ValueError(shape) from None
    # A missing host stays on this machine: whoever means every interface says so.
    return Bind(match[1] or match[2] or "127.0.0.1", int(match[3]))


def _reveal(value: object) -> object:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _words(value: object) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or not all(isinstance(part, str) for part in parts):
        raise ValueError("must be a list of texts (separated by commas in the environment)")
    return tuple(word for part in parts if (word := part.strip()))


def _some_words(value: object) -> tuple[str, ...]:
    words = _words(value)
    # An empty tuple is our own default; an empty list from a user could be meant as "nobody" and be read as "anybody".
    if not words and not isinstance(value, tuple):
        raise ValueError("is empty: name something, or leave the setting out")
    return words


def _networks(value: object) -> tuple[IPv4Network | IPv6Network, ...]:
    if isinstance(value, tuple) and all(isinstance(one, (IPv4Network, IPv6Network)) for one in value):
        return value
    words = _some_words(value)
    return () if words == ("any",) else tuple(_network(word) for word in words)


def _network(word: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(word, strict=False)
    except ValueError:
        raise ValueError(f"must hold networks such as 192.0.2.0/24, not {printable(word, 60)!r}") from None
    if "/" in word and network.network_address != ip_address(word.partition("/")[0]):
        raise ValueError(f"holds {word}, an address inside a network: write {network} for the network")
    return network


def _domains(value: object) -> tuple[str, ...]:
    return tuple(_domain(word) for word in _some_words(value))


def _domain(word: str) -> str:
    # `*.example.com` and `.example.com` are read as meant: subdomains belong to a domain anyway.
    domain = normalize_host(word.removeprefix("*").removeprefix("."))
    if domain is None:
        raise ValueError(f"must hold domains such as example.com, not {printable(word, 60)!r}")
    return domain


def _token(value: object) -> SecretStr:
    text = _reveal(value)
    if not isinstance(text, str) or not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ValueError("must be a token of visible ASCII characters without spaces")
    return SecretStr(text)


def _tokens(value: object) -> tuple[SecretStr, ...]:
    revealed = [_reveal(one) for one in value] if isinstance(value, (list, tuple)) else _reveal(value)
    tokens = tuple(_token(word) for word in _some_words(revealed))
    if len(tokens) > 2:  # noqa: PLR2004 - the old one and the new one
        raise ValueError("holds more than two tokens: keep the old one and the new one")
    return tokens


def _store_url(value: object) -> SecretStr:
    url = _reveal(value)
    if not isinstance(url, str):
        raise ValueError("must be a URL, such as redis://127.0.0.1:6379")  # noqa: TRY004 - pydantic reports ValueError
    parse_store_url(url)
    return SecretStr(url)


def _cms_urls(value: object) -> tuple[str, ...]:
    return tuple(_cms_url(word) for word in _some_words(value))


def _cms_url(word: str) -> str:
    try:
        url = urlsplit(word)
        good = bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        good = False
    if not good or url.scheme not in {"https", "http"} or url.query or url.fragment:
        raise ValueError("must hold URLs that begin with https:// (or http://), such as https://cms.example.com:445")
    if "@" in url.netloc:
        raise ValueError("must not hold a user name or password: set cms_username and cms_password")
    return word.rstrip("/")


def _release(value: object) -> tuple[int, ...]:
    if isinstance(value, tuple) and value and all(isinstance(part, int) for part in value):
        return value
    if not isinstance(value, str) or not re.fullmatch(r"\d{1,4}(\.\d{1,4}){0,3}", value.strip()):
        raise ValueError('must be a release in quotes, such as "2.3"')
    return tuple(int(part) for part in value.split("."))


def expanded(path: Path) -> Path:
    """Return the path with `~` expanded. Raises ValueError where there is no such home folder."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"names {printable(str(path))}, but there is no such home folder") from None


def read_text(path: Path, limit: int = -1) -> str:
    """Return at most `limit` characters of a UTF-8 file. Raises ValueError that says why it cannot be read."""
    path = expanded(path)
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(limit)
    except UnicodeDecodeError:
        raise ValueError(f"names {printable(str(path))}, which is not UTF-8 text") from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> ValueError:
    reason = error.strerror if isinstance(error, OSError) else error  # open() has a ValueError for a NUL in a path
    return ValueError(f"names {printable(str(path))}, which cannot be read: {reason}")


def _readable(path: Path) -> Path:
    path = expanded(path)
    try:
        with path.open("rb"):
            return path
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


_UNITS = {"": 1, "B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def _size(value: object) -> object:
    match = re.fullmatch(r"(\d{1,15}) *([A-Z]*)", value.strip().upper()) if isinstance(value, str) else None
    if match is not None and match[2] in _UNITS:
        return int(match[1]) * _UNITS[match[2]]
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("must be a size, such as 8388608 or 8 MiB")


def _not_bool(value: object) -> object:
    # pydantic would take true as 1
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic reports ValueError
    return value


def _deployment_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", name):
        raise ValueError(
            "must have another name: up to 63 of a-z, 0-9, hyphen and underscore, beginning with a letter or digit"
        )
    return name


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


BindSetting = Annotated[Bind, BeforeValidator(_bind)]
"""`host:port`."""
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
"""A list of texts, which may be empty."""
Domains = Annotated[tuple[str, ...], BeforeValidator(_domains)]
"""Domains in lower case."""
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_networks)]
"""Networks in CIDR form, or single addresses. Empty: nothing was said."""
Token = Annotated[SecretStr, BeforeValidator(_token)]
"""A secret that can travel in a header or a query."""
Tokens = Annotated[tuple[SecretStr, ...], BeforeValidator(_tokens)]
"""One such secret, or two while they are being exchanged."""
StoreUrl = Annotated[SecretStr, BeforeValidator(_store_url)]
"""Where Redis is. Secret, because it may carry a password."""
CmsUrls = Annotated[tuple[str, ...], BeforeValidator(_cms_urls)]
"""Base URLs of the Meeting Server's REST API, without a slash at the end."""
Release = Annotated[tuple[int, ...], BeforeValidator(_release)]
"""A release of the Meeting Server as numbers that compare: 2.10 is newer than 2.9."""
ReadableFile = Annotated[Path, AfterValidator(_readable)]
"""A file that exists and that this process may read; `~` is expanded."""
Folder = Annotated[Path, AfterValidator(expanded)]
"""A folder, which need not exist yet; `~` is expanded."""
Size = Annotated[int, BeforeValidator(_size), Field(ge=1, le=512 * MIB)]
"""A number of bytes, within what a value of the store can hold."""
DeploymentName = Annotated[str, AfterValidator(_deployment_name)]
"""The name of a deployment, safe in keys of the store, URLs and labels."""
Count = Annotated[int, BeforeValidator(_not_bool), Field(ge=0)]
"""A whole number, 0 or more."""
Positive = Annotated[int, BeforeValidator(_not_bool), Field(ge=1)]
"""A whole number, 1 or more."""
Span = Annotated[float, BeforeValidator(_not_bool), Field(gt=0, le=1_000_000, allow_inf_nan=False)]
"""A length of time in the unit that the setting's name says."""
LogLevel = Annotated[Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_lower)]
"""The least level that is logged."""
LogFormat = Literal["json", "console"]
"""One JSON object a line for programs, or columns for people."""
Policy = Literal["join", "owner"]
"""A set of license rules."""
