"""Which calls and switches a query selects.

A span holds its `since` and not its `until`, both in milliseconds of record time; what overlaps it is selected.
"""

from collections.abc import Iterable
from typing import Annotated, Literal

from msgspec import Meta, Struct

from cdr_service.domain.addresses import fold_case, normalize_address
from cdr_service.domain.calls import Call, Meeting
from cdr_service.domain.directory import Directory
from cdr_service.domain.history import StepName
from cdr_service.domain.knowledge import user_of
from cdr_service.domain.legs import Leg
from cdr_service.domain.licensing import License
from cdr_service.domain.reports import Grouping
from cdr_service.domain.showing import standing_of, switch_kind
from cdr_service.domain.timeline import Cause, Standing, Transition

LicenseType = Literal["SMP+", "PMP+"]
Time = Annotated[int, Meta(description="Milliseconds since 1970 UTC.")]
"""A time; in a URL it is RFC 3339."""


class CallFilters(Struct, frozen=True, kw_only=True):
    """What calls are asked for; None takes all."""

    state: Literal["active", "ended", "all"] = "active"
    """Whether they go on."""
    license: Literal["SMP+", "PMP+", "none"] | None = None
    """The meeting's license now; of an ended call its last one."""
    deployment: str | None = None
    """Of this deployment only."""
    tenant: str | None = None
    """The tenant's id."""
    cospace: str | None = None
    """The id of the space."""
    holder: str | None = None
    """Whose PMP+ pays or paid the meeting."""
    participant: str | None = None
    """A user by any of their known names (address, alias, cdrTag), an address or a number, or a part of a display
    name."""
    name: str | None = None
    """A part of the call's name."""
    meeting: str | None = None
    """The meeting's id."""
    find: str | None = None
    """A part of whatever people call a meeting by: its name, its space, its owner, a holder who pays or paid, or the
    name, address, number or alias of somebody in it; or one of its ids as a whole."""
    since: Time | None = None
    """The span's begin; what reaches into the span is selected."""
    until: Time | None = None
    """The span's end, which is no part of it."""


class SwitchFilters(Struct, frozen=True, kw_only=True, rename={"before": "from", "after": "to"}):
    """What changes from one license to another are asked for; None takes all."""

    kind: Literal["type", "holder", "weight", "all"] = "type"
    """What changed: SMP+ to PMP+ or back, whose PMP+ pays, or only the weight."""
    late: Literal["false", "true", "all"] = "false"
    """Was it learned later than it was true?"""
    before: LicenseType | None = None
    """The license before."""
    after: LicenseType | None = None
    """The license after."""
    cause: Cause | None = None
    """Why it changed."""
    holder: str | None = None
    """Whose PMP+ it was or became."""
    deployment: str | None = None
    """Of this deployment only."""
    meeting: str | None = None
    """The meeting's id."""
    since: Time | None = None
    """The span's begin."""
    until: Time | None = None
    """The span's end, which is no part of it."""


class PeakFilters(Struct, frozen=True, kw_only=True):
    """Of which span the highest use is asked for; None takes all that is kept."""

    deployment: str | None = None
    """Of this deployment only."""
    policy: str | None = None
    """The policy under which licenses are counted; left out, the one that decides."""
    since: Time | None = None
    """The span's begin."""
    until: Time | None = None
    """The span's end, which is no part of it."""


class HistoryFilters(PeakFilters, frozen=True, kw_only=True):
    """What steps of the history are asked for."""

    step: StepName = "1h"
    """How long a step is; days are those of UTC."""


class PastUseFilters(Struct, frozen=True, kw_only=True):
    """Which past use is asked for; None takes all."""

    deployment: str | None = None
    """Of this deployment only."""
    since: Time | None = None
    """The span's begin."""
    until: Time | None = None
    """The span's end, which is no part of it."""


class SharedReportFilters(PeakFilters, frozen=True, kw_only=True):
    """What is to be reported of the use of the shared pool."""

    by: Grouping = "cospace"
    """What is ranked. A user counts with what meetings took from when they first came."""


class WhatIfFilters(PeakFilters, frozen=True, kw_only=True):
    """What is to be decided anew."""

    assign: str | None = None
    """Addresses of users, separated by commas, who are taken to hold PMP+."""


class EventFilters(Struct, frozen=True, kw_only=True):
    """Which events are asked for; None takes all."""

    types: str | None = None
    """Names of events, separated by commas; `license.*` for all that begin so."""
    deployment: str | None = None
    """Of this deployment only."""
    call: str | None = None
    """The id of a call."""


class CallMatch:
    """Tells whether a call is selected. Each question is cheaper than the next, so ask them in order."""

    def __init__(self, filters: CallFilters) -> None:
        self._filters = filters
        self._name = fold_case(filters.name or "")
        self._holder = _spelled(filters.holder)
        self._text = fold_case(filters.participant or "")
        self._address = _spelled(filters.participant)
        self._find = fold_case((filters.find or "").strip())
        self._exact = {
            field: wanted.lower()
            for field in ("tenant", "cospace", "meeting")
            if (wanted := getattr(filters, field)) is not None
        }

    @property
    def asks_for_participants(self) -> bool:
        """Do the legs matter?"""
        return self._filters.participant is not None or bool(self._find)

    def call(self, call: Call) -> bool:
        """Is it selected by what the call itself tells?"""
        since, until = self._filters.since, self._filters.until
        if until is not None and call.began >= until:
            return False
        if since is not None and call.end is not None and call.end.time < since:
            return False
        if any((getattr(call, field) or "").lower() != wanted for field, wanted in self._exact.items()):
            return False
        return not self._name or self._name in fold_case(call.name or "")

    def meeting(self, call: Call, meeting: Meeting, policy: str) -> bool:
        """Is it selected by the licenses of its meeting under the deciding policy?"""
        standing = standing_of(meeting, policy)
        if self._filters.license is not None:
            shown = license_of(call, standing)
            if (shown.type if shown else "none") != self._filters.license:
                return False
        if self._holder is None:
            return True
        return any(t.after is not None and t.after.holder == self._holder for t in standing.transitions)

    def participants(self, legs: Iterable[Leg], directory: Directory) -> bool:
        """Is it selected by one of its participants? The directory tells whose names are whose."""
        if self._filters.participant is None:
            return True
        person = directory.named(self._filters.participant)
        return any(leg.counted and self._is_participant(leg, person, directory) for leg in legs)

    def found(self, call: Call, meeting: Meeting, policy: str, legs: Iterable[Leg], directory: Directory) -> bool:
        """Is it what somebody looks for? The directory tells whose names are whose."""
        if not self._find:
            return True
        if self._find in map(fold_case, filter(None, (call.id, meeting.id, call.cospace))):
            return True
        texts = [call.name, call.owner_name, call.cdr_tag]
        people = {meeting.owner.user}
        people |= {change.after.holder for change in standing_of(meeting, policy).transitions if change.after}
        for leg in legs:
            if leg.counted:
                texts += [leg.shown_name, leg.remote_party, leg.remote_address, leg.shown_address]
                people.add(user_of(leg, directory))
        texts += [name for user in people if user for name in directory.names_of(user)]
        return any(self._find in fold_case(text) for text in texts if text)

    def _is_participant(self, leg: Leg, person: str | None, directory: Directory) -> bool:
        if self._text in fold_case(leg.shown_name or ""):
            return True
        user = user_of(leg, directory)
        if user is not None and user == person:
            return True
        if self._address is None:
            return False
        known = [user]
        known += [normalize_address(text) for text in (leg.remote_party, leg.remote_address, leg.shown_address) if text]
        if "@" not in self._address:
            known = [address.partition("@")[0] for address in known if address]
        return self._address in known


class SwitchMatch:
    """Tells whether a change from one license to another is selected."""

    def __init__(self, filters: SwitchFilters) -> None:
        self._filters = filters
        self._holder = _spelled(filters.holder)
        self._meeting = filters.meeting.lower() if filters.meeting is not None else None

    def meeting(self, meeting: str) -> bool:
        """Is the meeting selected?"""
        return self._meeting is None or self._meeting == meeting

    def transition(self, transition: Transition) -> bool:
        """Is the transition selected? One from or to nothing never is."""
        before, after, asked = transition.before, transition.after, self._filters
        if before is None or after is None:
            return False
        if (asked.since is not None and transition.at.time < asked.since) or (
            asked.until is not None and transition.at.time >= asked.until
        ):
            return False
        return (
            asked.kind in ("all", switch_kind(before, after))
            and (asked.late == "all" or (asked.late == "true") == transition.late)
            and asked.before in (None, before.type)
            and asked.after in (None, after.type)
            and asked.cause in (None, transition.cause)
            and (self._holder is None or self._holder in (before.holder, after.holder))
        )


def license_of(call: Call, standing: Standing) -> License | None:
    """Return the license that a call counts by: the meeting's now, or the last one that an ended call had."""
    if call.end is None:
        return standing.license
    last: License | None = None
    for transition in standing.transitions:
        if transition.at > call.end:
            break
        if transition.after is not None or transition.at.time < call.began:
            last = transition.after
    return last


def _spelled(address: str | None) -> str | None:
    """Return an address as users' addresses are spelled; a text that is none stays as it is."""
    return None if address is None else normalize_address(address) or fold_case(address)
