"""Who holds PMP+ by the profiles of three levels, and which imports leave it to chance."""

from typing import Any

import pytest

from cdr_service.cms.assignment import IMPORTED, UNSET, Assignment, Verdict
from cdr_service.cms.objects import LdapSource, Tenant, User, UserProfile

YES, NO, SILENT = (
    UserProfile(id=id_, has_license=has) for id_, has in (("yes", True), ("no", False), ("silent", None))
)
PMP = LdapSource(id="pmp", base_dn="ou=staff,dc=example", filter="(memberOf=cn=pmp)", user_profile="yes")
REST = LdapSource(id="rest", base_dn="dc=example", filter="(mail=*)", user_profile="no")


def assignment(
    *, tenant: str | None = None, system: str | None = None, sources: tuple[LdapSource, ...] = ()
) -> Assignment:
    """Make the profiles of a deployment with one tenant."""
    return Assignment([YES, NO, SILENT], {"t": Tenant(id="t", user_profile=tenant)}, system, sources)


def user(**fields: Any) -> User:
    """Make a user."""
    return User(id="u", jid="alice@example.com", **fields)


class TestVerdicts:
    """The most specific level that says something decides."""

    @pytest.mark.parametrize(
        ("own", "tenant", "system", "expected"),
        [
            ("yes", "no", "no", Verdict(True)),
            ("no", "yes", "yes", Verdict(False)),
            (None, "yes", "no", Verdict(True)),
            (None, None, "yes", Verdict(True)),
            (None, None, None, Verdict(False)),
            ("silent", "yes", None, Verdict(True, UNSET)),
            ("silent", None, None, Verdict(False, UNSET)),
            ("gone", None, "no", Verdict(False, UNSET)),
        ],
    )
    def test_levels(self, own: str | None, tenant: str | None, system: str | None, expected: Verdict) -> None:
        """User, then tenant, then system; a profile that says nothing falls through, and that is not certain."""
        assert assignment(tenant=tenant, system=system).verdict(user(tenant="t", profile=own)) == expected

    def test_a_tenant_is_that_of_the_user(self) -> None:
        """A tenant's profile is nothing to a user without a tenant."""
        assert assignment(tenant="yes").verdict(user()) == Verdict(False)

    def test_an_import_that_gives_a_license(self) -> None:
        """A user without a profile may be one of an import that gives PMP+: whether the API shows that is open."""
        assert assignment(sources=(PMP,)).verdict(user()) == Verdict(False, IMPORTED)
        assert assignment(sources=(PMP,)).verdict(user(profile="no")) == Verdict(False)
        assert assignment(sources=(PMP,)).verdict(user(tenant="t")) == Verdict(False)
        assert assignment(sources=(PMP,), system="yes").verdict(user()) == Verdict(True)


class TestOverlaps:
    """Imports of which two may bring the same user."""

    def test_one_inside_the_other(self) -> None:
        """With PMP+ and without, in one part of the directory: said, with both filters, in either order."""
        for sources in ((PMP, REST), (REST, PMP)):
            (sentence,) = assignment(sources=sources).overlaps()
            assert "ou=staff,dc=example (memberOf=cn=pmp) (with PMP+) and dc=example (mail=*) (without)" in sentence

    @pytest.mark.parametrize(
        "other",
        [
            LdapSource(id="x", base_dn="dc=example", filter="(&(mail=*)(!(memberOf=cn=pmp)))", user_profile="no"),
            LdapSource(id="x", base_dn="ou=other,dc=example", user_profile="no"),
            LdapSource(id="x", base_dn="dc=example", user_profile="yes"),
            LdapSource(id="x", base_dn="dc=example", user_profile="no", tenant="t"),
            LdapSource(id="x", base_dn="dc=example", user_profile="no", server="another"),
        ],
    )
    def test_what_cannot_overlap(self, other: LdapSource) -> None:
        """A filter that excludes the other's, another branch, the same license, another tenant or another server."""
        assert list(assignment(sources=(PMP, other)).overlaps()) == []
