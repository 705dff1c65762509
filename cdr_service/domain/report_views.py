"""The shapes of the reports on the use over time, as the query API shows them."""

from msgspec import Struct

from cdr_service.domain.views import Time


class SharedUseView(Struct, frozen=True, kw_only=True):
    """What a space, an owner, a kind of meeting, or the meetings that somebody was in took from the shared pool."""

    deployment: str
    by: str
    """What `key` is: cospace, owner, call_type or user."""
    key: str | None
    """Null for meetings that have none, or none that is known."""
    name: str | None
    """Of a space, as a call in it was named."""
    meetings: int
    meeting_hours: float
    """How long they were on SMP+, all together."""
    license_hours: float
    """The same by weight: an hour of a meeting that takes a sixth counts a sixth."""
    sixths_at_peak: int
    """What they took when most of the shared pool was in use."""
    share_of_peak: float
    """The same as a part of all that was in use then."""


class HolderUseView(Struct, frozen=True, kw_only=True):
    """How a holder's PMP+ was used in a span."""

    deployment: str
    user: str
    holds_license: bool
    """Does the user hold PMP+ now?"""
    meetings: int
    """That it paid."""
    meeting_hours: float
    most_at_once: int
    last_used_at: Time | None
    never_used: bool


class WhatIfUse(Struct, frozen=True, kw_only=True):
    """What was, or would have been, in use in a span."""

    at: Time | None
    """When most of the shared pool was in use; null where none of it was."""
    shared_sixths: int
    shared_licenses: float
    shared_license_hours: float
    personal_peak: int
    """The most meetings on PMP+ at a time."""


class WhatIfView(Struct, frozen=True, kw_only=True):
    """A span of the history as it was, and as if certain users had held PMP+."""

    deployment: str
    policy: str
    assign: list[str]
    unknown: list[str]
    """Those of them whom the directory does not know."""
    meetings: int
    meetings_changed: int
    before: WhatIfUse
    after: WhatIfUse
