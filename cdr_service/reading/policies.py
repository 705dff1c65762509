"""The use case: the policies by which licenses are assigned."""

from typing import Final

from cdr_service.domain.pages import Listing, Page, Place
from cdr_service.domain.policies import POLICIES
from cdr_service.domain.policy_views import PolicyView, policy_view
from cdr_service.reading.paging import Entry, part

_EVERYWHERE: Final = ""
"""The policies belong to no deployment."""


def policies(limit: int, cursor: str | None = None) -> Page[PolicyView]:
    """Return the policies by id. Raises BadRequest."""
    entries = [Entry(Place(0, policy), _EVERYWHERE) for policy in POLICIES]
    shown, following = part(entries, [_EVERYWHERE], Listing.POLICIES, limit, cursor)
    return Page([policy_view(POLICIES[entry.place.id]) for entry in shown], following)
