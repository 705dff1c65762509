"""Who may come in: tokens, networks, and the name by which a browser found us.

Tokens are compared in constant time, all of them at each request, so that the time of an answer tells nothing.
"""

import hmac
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from pydantic import SecretStr

from cdr_service.settings import Bind, DeploymentSettings
from cdr_service.web.problems import problem

Network = IPv4Network | IPv6Network

_CACHED_SOURCES: Final = 1024
_MAPPED: Final = IPv6Network("::ffff:0:0/96")


class Sources:
    """Which addresses may come in, and which of them speak for others by `X-Forwarded-For`."""

    def __init__(self, allowed: Iterable[Network], proxies: Iterable[Network]) -> None:
        """With nothing in `allowed`, every address may come in."""
        self._allowed = tuple(map(_plain_network, allowed))
        self._proxies = tuple(map(_plain_network, proxies))
        # A Call Bridge comes from one address for months.
        self.client = lru_cache(_CACHED_SOURCES)(self._client)
        self._is_allowed = lru_cache(_CACHED_SOURCES)(self._check)

    def admit(self, request: web.BaseRequest) -> bool:
        """Whether this request comes from where it may."""
        return not self._allowed or self._is_allowed(*_names(request))

    def source(self, request: web.BaseRequest) -> str:
        """Where the request came from, as far as our proxies can be trusted; for log lines."""
        return str(self.client(*_names(request)) or "unknown")

    def _check(self, peer: str, forwarded: str) -> bool:
        client = self.client(peer, forwarded)
        return client is not None and _within(client, self._allowed)

    def _client(self, peer: str, forwarded: str) -> IPv4Address | IPv6Address | None:
        """Return the address that the nearest trusted proxy saw.

        Each proxy adds the address that it saw at the right. What stands left of the first one that is not ours may
        be invented, so the walk ends there; a hop that is no address makes all of it worth nothing.
        """
        address = own = _address(peer)
        for hop in reversed(forwarded.split(",")) if forwarded else ():
            if address is None or not _within(address, self._proxies):
                return address
            address = _address(hop)
            if address is None:
                return own
        return address


class IntakeDoor:
    """The door of one deployment's intake."""

    def __init__(self, settings: DeploymentSettings) -> None:
        self.sources = Sources(settings.intake_allow, settings.trusted_proxies)
        self._tokens = _secrets(settings.intake_token)

    def refusal(self, request: web.BaseRequest, token: bytes) -> int:
        """Return the status that refuses this request, or 0 where it may come in. `token` is what it brought."""
        if not self.sources.admit(request):
            return 403
        return 401 if self._tokens and not is_one_of(token, self._tokens) else 0


def is_one_of(given: bytes, tokens: Sequence[bytes]) -> bool:
    """Whether `given` is one of the tokens. Compares with each, in constant time, whatever the outcome."""
    found = False
    for token in tokens:
        found |= hmac.compare_digest(given, token)
    return found


def api_door(token: SecretStr | None, bind: Bind, open_paths: Collection[str]) -> Middleware:
    """Return the middleware that guards the query API.

    With a token, every path but `open_paths`, which tell no data, needs it as `Authorization: Bearer …`. Without one
    the API is for this machine alone; then `Host` must name this machine, or else a web page that lets its own name
    point here (DNS rebinding) could read the answers in its visitor's browser.
    """
    tokens = _secrets([token] if token else [])
    names = frozenset({"localhost", "127.0.0.1", "[::1]", _host(str(bind))})

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if tokens:
            if request.path not in open_paths and not is_one_of(_bearer(request), tokens):
                return _unauthorized()
        elif _host(request.headers.get(hdrs.HOST, "localhost")) not in names:
            return _misdirected()
        return await handler(request)

    return guard


def _unauthorized() -> web.Response:
    response = problem(401, "Unauthorized", "This needs the API's token, as Authorization: Bearer followed by it.")
    response.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    return response


def _misdirected() -> web.Response:
    return problem(
        421,
        "Misdirected Request",
        "Without CDR_API_TOKEN this API answers only to the names of its own machine, such as localhost: "
        "use one of them in the URL, or set a token.",
    )


def _bearer(request: web.Request) -> bytes:
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token.strip().encode(errors="surrogateescape") if scheme.lower() == "bearer" else b""


def _secrets(given: Iterable[SecretStr]) -> tuple[bytes, ...]:
    return tuple(one.get_secret_value().encode() for one in given)


def _host(value: str) -> str:
    """Return the host of a `Host` header, IPv6 in its brackets, without the port."""
    name, colon, port = value.strip().rpartition(":")
    return (name if colon and port.isdecimal() else value.strip()).lower()


def _names(request: web.BaseRequest) -> tuple[str, str]:
    """Return the peer's address and what proxies say of whom they speak for, as text."""
    return request.remote or "", ",".join(request.headers.getall(hdrs.X_FORWARDED_FOR, ()))


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address, which some proxies write with a port. None where it is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # A socket for both families shows IPv4 peers so.
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _plain_network(network: Network) -> Network:
    """Return the IPv4 network that an IPv6 network of mapped addresses stands for; any other as it is."""
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return ip_network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - _MAPPED.prefixlen))
    return network


def _within(address: IPv4Address | IPv6Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)
