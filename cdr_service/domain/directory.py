"""Which user is behind a call leg, who holds PMP+ and who owns a space: the directory.

A CDR names no user. It names addresses, and a `Directory` says whose they are. The evidence, best first:

1. `jid`: a leg of a signed-in app. Its remoteParty is the user's JID, also of a user whom the directory does not have.
2. `cdr_tag`: a cdrTag that one user alone has. Administrators also use the field for cost centers, so a tag that
   several users share says nothing.
3. `sip_address`, or `alias` for an alias that is a whole URI: a SIP leg whose far end is that address. This is how
   the Meeting Server itself is said to match an endpoint to an imported user (Cisco community 3023917).
4. `alias`: the user part of a SIP leg's far end, such as a directory number.

The last two hold only for hosts that are ours: anybody may call himself 1001 at his own domain. Guests are nobody.

A directory comes from the holders file, from the Meeting Server, or from both (`Directory.over`).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from types import MappingProxyType
from typing import Final, Self

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from cdr_service.domain.addresses import fold_case, is_ip_host, normalize_address, normalize_host
from cdr_service.domain.identity import GUEST, NOBODY, Identity
from cdr_service.domain.spaces import SCHEDULED, Space, SpaceFacts

# The Meeting Server makes such an id for each guest and throws it away (Cisco API reference 2020-09, log sample).
_GUEST_ID = re.compile(r"guest[0-9]+@")
_TWICE: Final = "there are two users with this address, with and without PMP+"
_OVERRIDDEN: Final = "the holders file says otherwise"


def is_guest_id(address: str) -> bool:
    """Whether an address, as `normalize_address` spells it, is one that the Meeting Server made for a guest."""
    return _GUEST_ID.match(address) is not None


class User(Struct, frozen=True, array_like=True, gc=False):
    """A user of the deployment."""

    address: str
    """The user's own address (JID), as `normalize_address` spells it."""
    holds_license: bool
    """Whether the user holds PMP+."""
    aliases: tuple[str, ...] = ()
    """Further SIP URIs, directory numbers and cdrTags, as given."""
    spaces: tuple[str, ...] = ()
    """Ids of the spaces that the holders file says the user owns, in lower case."""
    tags: tuple[str, ...] = ()
    """cdrTags that the Meeting Server tells; they are no addresses."""
    id: str | None = None
    """The user's id on the Meeting Server; None for somebody whom only the holders file names."""
    doubt: str = ""
    """Why it is not certain whether the Meeting Server takes the user for a holder; empty where nothing speaks against
    it."""
    as_server: bool = False
    """The holders file leaves it to the Meeting Server whether the user holds PMP+."""

    @property
    def sure(self) -> bool:
        """Whether the Meeting Server itself says that this is a user of its own, and whether they hold PMP+."""
        return self.id is not None and not self.doubt


class _Snapshot(Struct, frozen=True, array_like=True, gc=False):
    users: tuple[User, ...]
    sip_domains: tuple[str, ...]
    sip_user_match: str
    spaces: tuple[Space, ...] = ()


class Directory:
    """The users and spaces of a deployment, with every index that a decision needs. It does not change once made.

    `sip_domains` are the hosts, with their subdomains, whose SIP addresses may be ours; without any, the domains of
    the users' addresses. `sip_user_match` is `uri`, or `off` where SIP legs are never matched by address or alias.
    Two rows with one address are one user. Raises ValueError for a SIP domain that is no host name.
    """

    def __init__(
        self,
        users: Iterable[User],
        *,
        spaces: Iterable[Space] = (),
        sip_domains: Sequence[str] = (),
        sip_user_match: str = "uri",
    ) -> None:
        if sip_user_match not in ("uri", "off"):
            raise ValueError(f'sip_user_match is "{sip_user_match}"; write "uri" or "off".')
        given = tuple(sorted({_domain(text) for text in sip_domains if text.strip()}))
        self._index(_Snapshot(_canonical(users), given, sip_user_match, _canonical_spaces(spaces)))

    def _index(self, snapshot: _Snapshot) -> None:
        self._snapshot = snapshot
        self.users: Mapping[str, User] = MappingProxyType({user.address: user for user in self._snapshot.users})
        """By address."""
        self.spaces: Mapping[str, Space] = MappingProxyType({space.id: space for space in self._snapshot.spaces})
        """Those of the Meeting Server, by id in lower case."""
        self.from_server = bool(self.spaces) or any(user.id is not None for user in self.users.values())
        """Was it read from the Meeting Server, in part at least?"""
        self.assigned = sum(user.holds_license for user in self.users.values())
        """How many users hold PMP+."""
        self.version = blake2b(msgspec.msgpack.encode(self._snapshot), digest_size=16).hexdigest()
        """Digest of the content: equal for equal content, in whatever order the users came."""
        self.matching = (snapshot.sip_domains, snapshot.sip_user_match)
        """The settings by which SIP legs are matched: the domains as given, and `uri` or `off`."""
        self._match_sip = snapshot.sip_user_match == "uri"
        self._domains = frozenset(snapshot.sip_domains) or frozenset(_hosts_of(self.users))
        aliases = [(alias, user.address) for user in self.users.values() for alias in user.aliases]
        addresses = [(normalize_address(alias), user) for alias, user in aliases]
        tags = [(tag, user.address) for user in self.users.values() for tag in user.tags]
        self._tags = _claims((fold_case(tag), user) for tag, user in (*aliases, *tags))
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
        app = leg_type is not None and leg_type.casefold() == "acano"
        jid = normalize_address(remote_party or "") if app else None
        if guest or (jid is not None and jid not in self.users and is_guest_id(jid)):
            return GUEST if self.from_server else NOBODY
        if jid is not None and jid in self.users:
            return self._found(jid, "jid")
        tagged = self._tags.get(fold_case(cdr_tag)) if cdr_tag else None
        if tagged is not None:
            return self._found(tagged, "cdr_tag")
        if app:
            # A signed-in app names its user, whom the directory need not have.
            return Identity(jid, "jid") if jid is not None and "@" in jid else NOBODY
        return self._by_address(remote_party, remote_address) if self._match_sip else NOBODY

    def holds_license(self, user: str | None) -> bool:
        """Whether the user with this address, however spelled, holds PMP+."""
        if user is None:
            return False
        known = self.users.get(user) or self.users.get(normalize_address(user) or "")
        return known is not None and known.holds_license

    def user(self, address: str | None, matched_by: str | None = None) -> Identity:
        """Return the user with an address, however spelled; for one who is not in the directory, the address alone."""
        found = normalize_address(address) if address else None
        if found is None:
            return NOBODY
        return self._found(found, matched_by) if found in self.users else Identity(found, matched_by)

    def named(self, text: str) -> str | None:
        """Return the one user whom an address, a number or a tag names, however spelled; None for nobody or several."""
        address = normalize_address(text) or ""
        if address in self.users:
            return address
        return self._tags.get(fold_case(text)) or self._aliases.get(address) or self._by_address(text).user

    def names_of(self, user: str) -> Iterator[str]:
        """Yield what a user is called by: their address, and their aliases and tags, as given and as spelled here."""
        yield user
        known = self.users.get(user)
        for name in (*known.aliases, *known.tags) if known else ():
            yield name
            spelled = normalize_address(name)
            if spelled and spelled != name:
                yield spelled

    def space(self, cospace: str | None) -> SpaceFacts:
        """Return what is known of a space by its id, however spelled. The holders file says first who owns it."""
        key = fold_case(cospace) if cospace else ""
        known = self.spaces.get(key)
        if known is None:
            return SpaceFacts(replace(self.user(self._owners.get(key)), sure=False))
        return self.facts(known)

    def facts(self, space: Space) -> SpaceFacts:
        """Return what is known of a space as the Meeting Server described it just now."""
        address = self._owners.get(space.id) or space.owner
        owner = self.user(address)
        if owner.sure and owner.user != space.owner:
            owner = replace(owner, sure=False)
        kind = SCHEDULED if space.scheduled else None
        return SpaceFacts(owner, kind, space.members, space.lync_mode, known=True)

    def over(self, server: "Directory") -> "Directory":
        """Return the Meeting Server's directory with what this one, which is from the holders file, says in addition.

        The file says who holds PMP+, unless it leaves that to the server, and who owns a space; what either tells of a
        user's addresses holds.
        """
        domains, match = self.matching
        return Directory(
            [_overridden(user, self.users.get(address)) for address, user in server.users.items()]
            + [user for address, user in self.users.items() if address not in server.users],
            spaces=server.spaces.values(),
            sip_domains=domains,
            sip_user_match=match,
        )

    def changed_spaces(self, before: "Directory | None") -> frozenset[str] | None:
        """Return the ids of the spaces in which this directory differs; None where it differs in more than that."""
        if before is None or (before.users, before.matching) != (self.users, self.matching):
            return None
        ids = before.spaces.keys() | self.spaces.keys()
        return frozenset(id_ for id_ in ids if before.spaces.get(id_) != self.spaces.get(id_))

    def encode(self) -> bytes:
        """Return the whole directory as bytes, for `decode`."""
        return msgspec.msgpack.encode(self._snapshot)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Make the directory again that `encode` gave. Raises msgspec.DecodeError for anything else."""
        made = cls.__new__(cls)
        # Spelled and in order, as it was encoded.
        made._index(msgspec.msgpack.decode(data, type=_Snapshot))  # noqa: SLF001 - its own
        return made

    def _found(self, address: str, matched_by: str | None) -> Identity:
        user = self.users[address]
        # Only an address that the server itself gave names its user for certain; the rest is likeness.
        sure = user.sure and matched_by in (None, "jid")
        return Identity(address, matched_by, user.holds_license, sure)

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
        twice = known.id and user.id and known.id != user.id and known.holds_license != user.holds_license
        merged[address] = User(
            address,
            holds_license=known.holds_license or user.holds_license,
            # An empty element means no value; it must not become a tag that all legs without a tag share.
            aliases=tuple(sorted({alias for alias in (*known.aliases, *user.aliases) if alias.strip()})),
            spaces=tuple(sorted({fold_case(space) for space in (*known.spaces, *user.spaces) if space.strip()})),
            tags=tuple(sorted({tag for tag in (*known.tags, *user.tags) if tag.strip()})),
            id=min(filter(None, (known.id, user.id)), default=None),
            doubt=known.doubt or user.doubt or (_TWICE if twice else ""),
            as_server=known.as_server or user.as_server,
        )
    return tuple(merged[address] for address in sorted(merged))


def _canonical_spaces(spaces: Iterable[Space]) -> tuple[Space, ...]:
    """Everything in one spelling and in one order; of two with one id, the last."""
    spelled = {
        fold_case(space.id): replace(
            space,
            id=fold_case(space.id),
            owner=_own_address(space.owner) if space.owner else None,
            members=None if space.members is None else tuple(sorted(set(map(_own_address, space.members)))),
        )
        for space in spaces
    }
    return tuple(spelled[id_] for id_ in sorted(spelled))


def _overridden(server: User, file: User | None) -> User:
    """Return a user of the Meeting Server with what the holders file says of them."""
    if file is None:
        return server
    holds = server.holds_license if file.as_server else file.holds_license
    return replace(
        server,
        holds_license=holds,
        doubt=_OVERRIDDEN if holds != server.holds_license else server.doubt,
        aliases=file.aliases,
        spaces=file.spaces,
    )


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
