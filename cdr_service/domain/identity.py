"""Who is behind a call leg or owns a space, and how we know."""

from msgspec import Struct


class Identity(Struct, frozen=True, array_like=True, gc=False):
    """Who is behind a call leg, and how we know."""

    user: str | None = None
    """The user's own address; None for somebody whom we do not know."""
    matched_by: str | None = None
    """jid, cdr_tag, sip_address or alias."""
    holds_license: bool = False
    """Whether the user holds PMP+."""
    sure: bool = False
    """Whether this rests on what the Meeting Server itself says, rather than on a holders file or a likeness."""


NOBODY = Identity()
"""A guest, or somebody whom we do not know."""
GUEST = Identity(sure=True)
"""A guest, or somebody else of whom the Meeting Server itself says that they are no user."""
