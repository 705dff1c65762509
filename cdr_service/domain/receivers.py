"""CDR receivers of Call Bridges: which of them are ours, and what would have to change so that one is.

A receiver URI is ours if its path ends as our intake's does; with an intake token set, it also has to carry one that is
accepted. Other entries are somebody else's (Cisco Meeting Management keeps its own there) and are never touched.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final, Literal, NamedTuple
from urllib.parse import parse_qs, urlsplit

from msgspec import Struct

from cdr_service.domain.text import printable

UNNAMED: Final = (
    "It is not known which Call Bridge this is, because our receiver URI there does not name it, or names another one: "
    "`cdr-service register` changes that."
)
"""What to change where several Call Bridges of no cluster are asked, and one is not told from the others."""

Registered = Literal["registered", "wrong_token", "missing"]

_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")


class Entry(NamedTuple):
    """A receiver of a Call Bridge."""

    id: str
    uri: str | None


class NodeHealth(Struct, frozen=True, kw_only=True):
    """What a Call Bridge's API says of the collection of its CDRs."""

    node: str
    """Its URL."""
    call_bridge: str | None = None
    """As CDRs name it; None where that is not known."""
    receiver: Registered | None = None
    """Are we among its CDR receivers? None where that could not be read."""
    alarms: tuple[str, ...] = ()
    """Types of alarms that concern CDRs, with the reason."""
    clock_offset: int | None = None
    """By how many milliseconds its clock is ahead of ours; it is told in whole seconds."""
    release: str | None = None
    problem: str | None = None
    """Why it could not be asked."""


class Change(NamedTuple):
    """What has to be done on a Call Bridge so that it pushes to us."""

    does: Literal["nothing", "add", "repair", "full"]
    receiver: str | None = None
    """Of a repair: the id of the entry."""
    before: str | None = None
    """Of a repair: its URI."""


def intake_path(deployment: str) -> str:
    """Return the path of a deployment's intake."""
    return "/cdr" if deployment == "default" else f"/cdr/{deployment}"


def is_ours(uri: str | None, deployment: str) -> bool:
    """Return whether a receiver URI leads to the intake of a deployment, whatever its host and token."""
    try:
        path = urlsplit(uri or "").path.rstrip("/")
    except ValueError:
        return False
    return path.endswith(intake_path(deployment))


def registered(uris: Iterable[str | None], deployment: str, tokens: Collection[str]) -> Registered:
    """Return whether we are among the receivers."""
    ours = [uri for uri in uris if uri and is_ours(uri, deployment)]
    if not ours:
        return "missing"
    return "registered" if not tokens or any(_parameter(uri, "token") in tokens for uri in ours) else "wrong_token"


def bridge_name(uris: Iterable[str | None], deployment: str) -> str | None:
    """Return the `bridge` by which our receiver URIs name a Call Bridge; None where none does, or they disagree."""
    names = {_parameter(uri, "bridge") for uri in uris if uri and is_ours(uri, deployment)} - {None}
    return next(iter(names)) if len(names) == 1 else None


def bridge_names(nodes: Sequence[str]) -> dict[str, str]:
    """Return a name for each of several nodes, given their URLs: the host, and the port too where hosts are alike."""
    hosts = {node: urlsplit(node).hostname or node for node in nodes}
    alike = {host for host in hosts.values() if list(hosts.values()).count(host) > 1}
    return {node: urlsplit(node).netloc.rpartition("@")[2] if host in alike else host for node, host in hosts.items()}


def receiver_uri(base: str, deployment: str, token: str | None, bridge: str | None = None) -> str:
    """Return the URI under which a Call Bridge reaches us; `bridge` names one that does not name itself."""
    query = "&".join(f"{name}={_quoted(value)}" for name, value in (("token", token), ("bridge", bridge)) if value)
    return f"{base.rstrip('/')}{intake_path(deployment)}{'?' if query else ''}{query}"


def change(entries: Collection[Entry], maximum: int, wanted: str, deployment: str) -> Change:
    """Return what has to be done so that the URI is among the receivers, once.

    An entry with our path on the same host is ours and is repaired; one on another host is another service's.
    """
    if any(entry.uri == wanted for entry in entries):
        return Change("nothing")
    place = urlsplit(wanted).netloc.lower()
    for entry in entries:
        if entry.uri and is_ours(entry.uri, deployment) and urlsplit(entry.uri).netloc.lower() == place:
            return Change("repair", entry.id, entry.uri)
    return Change("full") if len(entries) >= maximum else Change("add")


def shown_uri(uri: str) -> str:
    """Return a URI as it may be shown: without the values of its query, which may be secrets, but for `bridge`."""
    head, mark, query = uri.partition("?")
    parts = [part.partition("=") for part in query.split("&") if part]
    host = head.partition("://")
    head = f"{host[0]}://{host[2].rpartition('@')[2]}" if host[1] else head
    return printable(head + mark + "&".join(f"{name}={value if name == 'bridge' else '…'}" for name, _, value in parts))


def _parameter(uri: str, name: str) -> str | None:
    return next(iter(parse_qs(urlsplit(uri).query).get(name, [])), None)


def _quoted(text: str) -> str:
    return "".join(char if char in _PLAIN else "".join(f"%{byte:02X}" for byte in char.encode()) for char in text)
