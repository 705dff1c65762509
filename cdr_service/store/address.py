"""Where the store is: the URL of `CDR_REDIS_URL`, taken apart.

    redis://[user:password@]host[:port][/database]        rediss:// the same with TLS
    unix://[user:password@]/path/to/socket[?db=database]
    redis+sentinel://[user:password@]host[:port],…/service[/database]
    redis+cluster://[user:password@]host[:port],…

After a `?`: `ca=PATH` (a file of certificates to trust instead of the system's), `tls=true` (needed with sentinel and
cluster, where the scheme does not say it), `sentinel_username=`, `sentinel_password=` where the Sentinels ask for their
own, and `replicas=N`: a write counts once so many replicas have it, not only the master (`docs/store.md`). Whatever is
reserved in a URL is percent-encoded, in passwords above all.
"""

import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from cdr_service.errors import StoreUrlError

REDIS_PORT = 6379
SENTINEL_PORT = 26379

_URL = re.compile(
    r"(?P<scheme>[a-z+]+)://(?:(?P<user>[^/?]*)@)?(?P<hosts>[^/?@]*)(?P<path>/[^?]*)?(?:\?(?P<query>.*))?", re.DOTALL
)
_HOST = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<name>[^:\[\]\s]+))(?::(?P<port>\d{1,5}))?")
_NUMBER = re.compile(r"[0-9]{1,9}")
_YES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class Kind(Enum):
    """How the store is reached; the value is the URL's scheme."""

    SERVER = "redis"
    SERVER_TLS = "rediss"
    UNIX = "unix"
    SENTINEL = "redis+sentinel"
    CLUSTER = "redis+cluster"


_OPTIONS = {
    Kind.SERVER: {"db", "ca", "tls", "replicas"},
    Kind.SERVER_TLS: {"db", "ca", "tls", "replicas"},
    Kind.UNIX: {"db", "replicas"},
    Kind.SENTINEL: {"db", "ca", "tls", "replicas", "sentinel_username", "sentinel_password"},
    Kind.CLUSTER: {"ca", "tls", "replicas"},
}


@dataclass(frozen=True, kw_only=True)
class StoreAddress:
    """A store's URL, checked. `str()` of it is for logs: without user names, passwords and options."""

    kind: Kind
    hosts: tuple[tuple[str, int], ...] = ()
    """One server, or every Sentinel or cluster node that the URL names."""
    path: str = ""
    """Of the unix socket."""
    service: str = ""
    """The name under which Sentinel knows the servers."""
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca: str | None = None
    """Path of a PEM file; None trusts what the system trusts."""
    replicas: int = 0
    """How many replicas must have a write before it counts."""

    def __str__(self) -> str:
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        tail = {Kind.UNIX: self.path, Kind.SENTINEL: f"/{self.service}"}.get(self.kind, "")
        if self.kind is not Kind.UNIX and self.database:
            tail += f"/{self.database}"
        return f"{self.kind.value}://{hosts}{tail}"


def parse_store_url(url: str) -> StoreAddress:
    """Take a store's URL apart. Raises `StoreUrlError`, whose sentence never holds a part that could be a secret."""
    found = _URL.fullmatch(url.strip())
    schemes = [kind.value for kind in Kind]
    if found is None or found["scheme"] not in schemes:
        raise StoreUrlError(f"CDR_REDIS_URL must begin with one of {', '.join(f'{name}://' for name in schemes)}.")
    kind = Kind(found["scheme"])
    username, _, password = (found["user"] or "").partition(":")
    options = _read_options(kind, found["query"] or "")
    tls = kind is Kind.SERVER_TLS or _read_yes("tls", options.get("tls", "false"))
    path = unquote(found["path"] or "")
    hosts, service, database = _read_place(kind, found["hosts"], path)
    return StoreAddress(
        kind=kind,
        hosts=hosts,
        path=path if kind is Kind.UNIX else "",
        service=service,
        database=_read_number("the database", options.get("db", database)),
        username=unquote(username) or None,
        password=unquote(password) or None,
        sentinel_username=options.get("sentinel_username"),
        sentinel_password=options.get("sentinel_password"),
        tls=tls,
        ca=_read_ca(options.get("ca"), tls=tls),
        replicas=_read_number("replicas", options.get("replicas", "0")),
    )


def _read_place(kind: Kind, authority: str, path: str) -> tuple[tuple[tuple[str, int], ...], str, str]:
    """Read the hosts, the Sentinel service and the database from the URL's middle."""
    parts = path.strip("/").split("/") if path.strip("/") else []
    if kind is Kind.UNIX:
        if authority or not parts:
            raise StoreUrlError("CDR_REDIS_URL needs the socket's whole path: unix:///path/to/socket.")
        return (), "", "0"
    port = SENTINEL_PORT if kind is Kind.SENTINEL else REDIS_PORT
    hosts = tuple(_read_host(text, port) for text in authority.split(","))
    if kind in (Kind.SERVER, Kind.SERVER_TLS) and len(hosts) > 1:
        raise StoreUrlError("CDR_REDIS_URL names several hosts, which needs redis+sentinel:// or redis+cluster://.")
    service = ""
    if kind is Kind.SENTINEL:
        if not parts:
            raise StoreUrlError("CDR_REDIS_URL needs the service's name: redis+sentinel://host:port/service.")
        service = parts.pop(0)
    if kind is Kind.CLUSTER and parts:
        raise StoreUrlError("CDR_REDIS_URL must end after the hosts: a cluster has no database numbers.")
    if len(parts) > 1:
        raise StoreUrlError("CDR_REDIS_URL has more parts after the hosts than a database number.")
    return hosts, service, parts[0] if parts else "0"


def _read_host(text: str, default_port: int) -> tuple[str, int]:
    found = _HOST.fullmatch(text)
    if found is None:
        raise StoreUrlError(
            "CDR_REDIS_URL has a host that is not host:port; in a password, characters such as / ? @ must be"
            " percent-encoded."
        )
    return found["six"] or found["name"], int(found["port"] or default_port)


def _read_options(kind: Kind, query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(options.keys() - _OPTIONS[kind])
    if unknown:
        known = ", ".join(sorted(_OPTIONS[kind]))
        raise StoreUrlError(
            f"CDR_REDIS_URL has an option after ? that {kind.value}:// does not know; it knows {known}."
        )
    return options


def _read_yes(name: str, text: str) -> bool:
    if text.lower() not in _YES:
        raise StoreUrlError(f"CDR_REDIS_URL: {name} must be true or false.")
    return _YES[text.lower()]


def _read_number(name: str, text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise StoreUrlError(f"CDR_REDIS_URL: {name} must be a number.")
    return int(text)


def _read_ca(path: str | None, *, tls: bool) -> str | None:
    if path is None:
        return None
    if not tls:
        raise StoreUrlError("CDR_REDIS_URL: ca= needs TLS, so rediss:// or tls=true.")
    if not Path(path).is_file():
        raise StoreUrlError(f"CDR_REDIS_URL: the file of certificates {path} does not exist.")
    return path
