"""Hints: what an administrator should look at, where a license is not the one that might be expected.

They are guesses from what is stored, made when somebody reads; nothing is decided by them. Each is one sentence that
names the likely cause and what to do about it.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from cdr_service.domain import usage
from cdr_service.domain.addresses import fold_case, normalize_address
from cdr_service.domain.calls import Call, Meeting
from cdr_service.domain.directory import Directory, User
from cdr_service.domain.knowledge import advice_on
from cdr_service.domain.legs import Leg
from cdr_service.domain.licensing import SHARED
from cdr_service.domain.options import Options
from cdr_service.domain.policies import in_force, no_payer, policies_of
from cdr_service.domain.spaces import AD_HOC, SCHEDULED, Release
from cdr_service.domain.stays import LegState, state
from cdr_service.domain.text import printable
from cdr_service.domain.timeline import Standing
from cdr_service.domain.weights import Shape, shape_of

HINTS_MAX: Final = 10
"""Hints of one kind; whoever has that many has read enough."""
DIGITS_MIN: Final = 4
"""Shorter numbers end alike by chance."""


_ROLES: Final[Mapping[str | None, str]] = {
    None: "owner",
    AD_HOC: "initiator of the ad hoc conference",
    SCHEDULED: "scheduler",
}


class Around(NamedTuple):
    """What is known beside a meeting."""

    directory: Directory
    options: Options


def meeting_hints(meeting: Meeting, calls: Iterable[Call], legs: Iterable[Leg], around: Around) -> list[str]:
    """Return why a meeting may be on SMP+ although somebody looks licensed, or why its PMP+ may be none."""
    options = around.options
    standing = meeting.timeline.standings.get(options.policy, Standing())
    if standing.license is not None and standing.license.holder is not None:
        return list(_about_payer(standing.license.holder, around.directory))
    if not wants_payer(meeting, options):
        return []
    legs = list(legs)
    found = [*_waiting(standing, options), *_about_owner(meeting, list(calls), around.directory)]
    found += _about_initiator(meeting, legs, options)
    if in_force(policies_of(options)[options.policy], meeting.known_now, options).members_pay:
        found += list(_look_alikes(legs, around.directory))[:HINTS_MAX]
    return found


def wants_payer(meeting: Meeting, options: Options) -> bool:
    """Tell whether a PMP+ could pay the meeting, but none does."""
    standing = meeting.timeline.standings.get(options.policy, Standing())
    if standing.license is None or standing.license.type != SHARED:
        return False
    return not no_payer(shape_of(meeting.call_type, meeting.known_now, options), options)


def usage_hints(
    counts: Mapping[str, int],
    options: Options,
    *,
    release: Release | None,
    assigned: int | None,
    limit_personal: int | None,
) -> list[str]:
    """Return what to look at in a deployment: holders about to spill, more PMP+ than were bought, another policy."""
    prefix, most = usage.holder(options.policy, ""), options.pmp_calls_per_user
    full = sorted(
        name.removeprefix(prefix) for name, count in counts.items() if name.startswith(prefix) and count >= most
    )
    found = [
        f"{holder} pays {counts[prefix + holder]} meetings, as many as one PMP+ may "
        f"(CDR_LICENSING_PMP_CALLS_PER_USER): a further one takes SMP+."
        for holder in full[:HINTS_MAX]
    ]
    if len(full) > HINTS_MAX:
        found.append(f"So do {len(full) - HINTS_MAX} more holders.")
    if assigned is not None and limit_personal is not None and assigned > limit_personal:
        found.append(
            f"{assigned} users hold PMP+, but {limit_personal} were bought: take it from some, or buy more "
            f"(CDR_LIMIT_PERSONAL, or the Meeting Server's own limit)."
        )
    advice = advice_on(release, options)
    if advice is not None:
        found.append(
            f"The Meeting Server runs {advice.release}, where the policy {advice.advised} is presumed to hold, but "
            f"{advice.policy} decides: compare both, and set CDR_POLICY."
        )
    return found


def _about_payer(payer: str, directory: Directory) -> Iterator[str]:
    user = directory.users.get(payer)
    if user is not None and user.doubt:
        yield (
            f"{payer} pays, but whether the Meeting Server takes that user for a holder is not certain, because "
            f"{user.doubt}: if it does not, this meeting is on SMP+ there."
        )


def _waiting(standing: Standing, options: Options) -> Iterator[str]:
    """Yield who would pay, were a place free."""
    for candidate in standing.candidates:
        if candidate.claim.granted is None:
            who = "owns the space" if candidate.is_owner else "is in"
            yield (
                f"{candidate.user}, who {who}, holds PMP+, but that pays as many meetings as it may "
                f"({options.pmp_calls_per_user}), so this one is on SMP+."
            )


def _about_owner(meeting: Meeting, calls: list[Call], directory: Directory) -> Iterator[str]:
    owner = meeting.owner
    if owner.user is not None:
        if not owner.holds_license and directory.users:  # else the users were not read yet
            yield _unlicensed(_ROLES[meeting.known_now.space.kind], owner.user, directory)
        return
    texts = dict.fromkeys(call.owner_name for call in calls if call.owner_name)
    for text in texts:
        user = _named(text, directory)
        if user is not None and user.holds_license:
            yield (
                f'The call names "{printable(text)}" as its owner (ownerName), and {user.address} holds PMP+; but that '
                f"is only text, and the space has no known owner: set its ownerJid, or name the space in the row of "
                f"that user in the holders file."
            )


def _about_initiator(meeting: Meeting, legs: list[Leg], options: Options) -> Iterator[str]:
    """Yield who seems to have started an ad hoc conference of which nobody is known to have.

    Source: Cisco community 4097839, on users that CUCM and the Meeting Server must share.
    """
    ad_hoc = shape_of(meeting.call_type, meeting.known_now, options) is Shape.AD_HOC
    if meeting.owner.user is not None or not (ad_hoc or meeting.known_now.space.kind == AD_HOC):
        return
    first = min((leg for leg in legs if leg.counted), key=lambda leg: (leg.started_at or 0, leg.id), default=None)
    if first is not None and first.identity_now.holds_license:
        yield (
            f"{first.identity_now.user}, who was the first in this ad hoc conference, holds PMP+, but nobody is known "
            f"to have started it: see that CUCM and the Meeting Server import the same users of one directory (by one "
            f"report only the objectGUID of Active Directory matches)."
        )


def _unlicensed(role: str, owner: str, directory: Directory) -> str:
    if owner in directory.users:
        doubt = directory.users[owner].doubt
        sure = f", though that is not certain ({doubt})" if doubt else ""
        return (
            f"The {role} {owner} is a known user without PMP+{sure}: if one was bought, see that the user's import, "
            f"and no other that matches, has a user profile with hasLicense, or that the holders file says so."
        )
    return f"The {role} {owner} is no known user, so holds no PMP+: import that user, or name the right one."


class _Names(NamedTuple):
    """The names by which a directory's users may be meant; a name that several have means nobody."""

    users: Mapping[str, User | None]
    """By the part of the address before the @, and by alias."""
    holders: Mapping[str, User | None]
    """Those who hold PMP+, by the part before the @ of every address and alias; numbers too."""


@lru_cache(maxsize=4)
def _names(directory: Directory) -> _Names:
    users: dict[str, User | None] = {}
    holders: dict[str, User | None] = {}
    for user in directory.users.values():
        for name in {user.address.partition("@")[0], *map(fold_case, user.aliases)}:
            users[name] = user if users.get(name, user) is user else None
        if user.holds_license:
            addresses = (user.address, *filter(None, map(normalize_address, user.aliases)))
            for name in {address.partition("@")[0] for address in addresses}:
                holders[name] = user if holders.get(name, user) is user else None
    return _Names(users, holders)


def _named(text: str, directory: Directory) -> User | None:
    """Return the one user whom a text for people names."""
    return directory.users.get(normalize_address(text) or "") or _names(directory).users.get(fold_case(text))


def _look_alikes(legs: Iterable[Leg], directory: Directory) -> Iterator[str]:
    """Yield who is in by an address that matches nobody, but looks like that of a holder."""
    told: set[str] = set()
    for leg in legs:
        address = normalize_address(leg.remote_party or "")
        matched = leg.identity_now.user is not None or leg.guest or not leg.counted
        if address is None or matched or address in told or state(leg) is LegState.ENDED:
            continue
        told.add(address)
        alike = _alike(address.partition("@")[0], directory)
        if alike is not None:
            yield (
                f"{printable(address)} is in and matches nobody, but looks like {alike.address}, who holds PMP+: if "
                f"that is one person, add the address to the user's aliases, or its domain to CDR_SIP_DOMAINS."
            )


def _alike(name: str, directory: Directory) -> User | None:
    """Return the one holder who has that name, or whose number it ends in."""
    holders = _names(directory).holders
    if not name.isdecimal():
        return holders.get(name)
    endings = (name[start:] for start in range(len(name) - DIGITS_MIN + 1))
    return next((holders[ending] for ending in endings if ending in holders), None)
