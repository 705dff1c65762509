"""Which users hold PMP+, from the profiles that the Meeting Server attaches at three levels.

The user's own profile decides, else the tenant's, else the system's (CMS 2.0 API Guide p. 132). What is open makes a
verdict uncertain rather than wrong: whether a profile without `hasLicense` falls through to the next level, and whether
a user's profile shows what an LDAP source gives.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import NamedTuple

from cdr_service.cms.objects import LdapSource, Tenant, User, UserProfile

UNSET = "a profile that is theirs does not say"
IMPORTED = "an LDAP source of their tenant gives PMP+, and they have no profile of their own"


class Verdict(NamedTuple):
    """Whether a user holds PMP+."""

    holds: bool
    doubt: str = ""
    """Why that is not certain; empty where it is."""


class Assignment:
    """The profiles of a deployment, and who got a license by them."""

    def __init__(
        self,
        profiles: Iterable[UserProfile],
        tenants: Mapping[str, Tenant],
        system: str | None,
        sources: Iterable[LdapSource],
    ) -> None:
        """`system` is the user profile of the whole system."""
        self._licensed = {profile.id: profile.has_license for profile in profiles}
        self._tenants = tenants
        self._system = system
        self._sources = tuple(sources)

    def verdict(self, user: User) -> Verdict:
        """Say whether a user holds PMP+ (`cms-api.md`, 5.4: user, tenant, system)."""
        doubt = IMPORTED if user.profile is None and self._import_gives(user.tenant) else ""
        tenant = self._tenants.get(user.tenant or "")
        for profile in (user.profile, tenant.user_profile if tenant else None, self._system):
            if profile is None:
                continue
            holds = self._licensed.get(profile)
            if holds is not None:
                return Verdict(holds, "" if holds and doubt == IMPORTED else doubt)
            doubt = UNSET
        return Verdict(False, doubt)

    def overlaps(self) -> Iterator[str]:
        """Yield a sentence for each two LDAP sources that may import the same user, with PMP+ and without.

        Which one such a user ends up with is not predictable (Meeting Management 2.9 and 3.11 help). Which source a
        user came by the API does not tell.
        """
        for one, other in combinations(self._sources, 2):
            licensed = [bool(self._licensed.get(source.user_profile or "")) for source in (one, other)]
            if licensed[0] != licensed[1] and _may_overlap(one, other):
                giving, not_giving = (one, other) if licensed[0] else (other, one)
                yield (
                    f"the LDAP sources {_shown(giving)} (with PMP+) and {_shown(not_giving)} (without) may import the "
                    "same users, who then hold PMP+ or not by chance: exclude the group of one from the filter of the "
                    "other."
                )

    def _import_gives(self, tenant: str | None) -> bool:
        return any(self._licensed.get(source.user_profile or "") for source in self._sources if source.tenant == tenant)


def _may_overlap(one: LdapSource, other: LdapSource) -> bool:
    if (one.server, one.tenant) != (other.server, other.tenant):
        return False
    bases = [_plain(source.base_dn) for source in (one, other)]
    if not (bases[0].endswith(bases[1]) or bases[1].endswith(bases[0])):
        return False
    filters = [_plain(source.filter) for source in (one, other)]
    return not any(mine and f"(!{mine})" in theirs for mine, theirs in (filters, filters[::-1]))


def _plain(text: str | None) -> str:
    return "".join((text or "").lower().split())


def _shown(source: LdapSource) -> str:
    return f"{source.base_dn or source.id} {source.filter or ''}".rstrip()
