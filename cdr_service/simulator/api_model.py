"""What is configured on a simulated Meeting Server: users, profiles, tenants, LDAP sources and spaces.

All nodes of a deployment share it, as a real cluster shares its database. Everything may be changed at any time, which
is what an administrator or an LDAP sync does.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import NAMESPACE_URL, uuid5

from cdr_service.simulator.people import HOLDERS, USERS
from cdr_service.simulator.records import Value


@dataclass(slots=True)
class User:
    """A user, imported from a directory."""

    id: str
    jid: str
    name: str
    email: str = ""
    tenant: str | None = None
    cdr_tag: str | None = None
    profile: str | None = None


@dataclass(slots=True)
class UserProfile:
    """What users may do."""

    id: str
    has_license: bool | None = None
    """None: not set at this level."""


@dataclass(slots=True)
class Tenant:
    """A customer."""

    id: str
    name: str
    user_profile: str | None = None
    call_profile: str | None = None


@dataclass(slots=True)
class LdapSource:
    """Where users come from."""

    id: str
    base_dn: str
    filter: str = ""
    tenant: str | None = None
    user_profile: str | None = None


@dataclass(slots=True)
class CoSpace:
    """A space."""

    id: str
    name: str
    owner: str | None = None
    """Id of the user who owns it."""
    members: list[str] = field(default_factory=list)
    """Ids of users."""
    scheduler: str | None = None
    cdr_tag: str | None = None
    tenant: str | None = None
    auto_generated: bool = False
    call_profile: str | None = None


@dataclass(slots=True)
class Directory:
    """Everything that is configured, by id."""

    users: dict[str, User] = field(default_factory=dict)
    user_profiles: dict[str, UserProfile] = field(default_factory=dict)
    tenants: dict[str, Tenant] = field(default_factory=dict)
    ldap_sources: dict[str, LdapSource] = field(default_factory=dict)
    spaces: dict[str, CoSpace] = field(default_factory=dict)
    call_profiles: dict[str, str] = field(default_factory=dict)
    """The Lync conference mode of each."""
    user_profile: str | None = None
    """Of the whole system."""
    call_profile: str | None = None
    owners: tuple[str | None, ...] = ()
    """Addresses of the users who own the spaces that calls bring, in turn; None for a space without an owner."""

    def find(self, address: str) -> User | None:
        """Find the user with an address, written in whatever way."""
        wanted = plain_address(address)
        return next((user for user in self.users.values() if user.jid.lower() == wanted), None)

    def user_behind(self, leg: Mapping[str, Value]) -> User | None:
        """Find the user behind a leg by what a CDR says of it; a guest is nobody."""
        address = leg.get("remoteParty")
        return None if leg.get("guestConnection") or not isinstance(address, str) else self.find(address)

    def holds(self, user_id: str | None) -> bool:
        """Whether a user has a PMP+: the user's own profile decides, else the tenant's, else the system's."""
        user = self.users.get(user_id or "")
        if user is None:
            return False
        tenant = self.tenants.get(user.tenant or "")
        for profile_id in (user.profile, tenant and tenant.user_profile, self.user_profile):
            profile = self.user_profiles.get(profile_id or "")
            if profile is not None and profile.has_license is not None:
                return profile.has_license
        return False

    def adopt(self, space_id: str, name: str) -> None:
        """Add the space of a call that begins, if it is not there: a call takes place in a space that exists."""
        if space_id not in self.spaces:
            owner = self.owners[len(self.spaces) % len(self.owners)] if self.owners else None
            user = self.find(owner) if owner else None
            self.spaces[space_id] = CoSpace(space_id, name, user.id if user else None)


def plain_address(address: str) -> str:
    """Spell an address as a JID: without scheme, port and parameters, in lower case."""
    return re.sub(r"^sips?:|[;?].*$|:[0-9]+(?=$|;)", "", address.strip().lower())


def example_directory(seed: int = 0, *, holders: Sequence[str] = HOLDERS, users: Sequence[str] = USERS) -> Directory:
    """Make the users whom the scenarios know: those with a license came by one LDAP source, the others by another.

    Ids depend on the seed and the names only. Spaces are added by the calls that take place in them, without owners.
    """

    def new_id(name: str) -> str:
        return str(uuid5(NAMESPACE_URL, f"cms:{seed}:{name}"))

    made = Directory()
    for group, licensed, people in (("pmp", True, holders), ("staff", False, users)):
        profile = UserProfile(new_id(f"profile {group}"), has_license=licensed)
        made.user_profiles[profile.id] = profile
        members = f"(memberOf=cn={group},ou=groups,dc=example,dc=com)"
        source = LdapSource(new_id(f"source {group}"), "ou=people,dc=example,dc=com", members, user_profile=profile.id)
        made.ldap_sources[source.id] = source
        for jid in people:
            name = jid.partition("@")[0].title()
            user = User(new_id(jid), jid, name, jid, cdr_tag=f"tag-{name.lower()}", profile=profile.id)
            made.users.setdefault(user.id, user)
    return made
