"""What is in use now: what each meeting and call adds to the counts of its deployment.

The counts are kept by adding differences inside the commit that makes them, so reading them costs nothing whatever the
number of calls.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from cdr_service.domain.calls import Call, Meeting
from cdr_service.domain.licensing import PERSONAL

PARTICIPANTS: Final = "participants"
CALLS: Final = "calls"


def personal(policy: str) -> str:
    """Return the name of the count of meetings that a PMP+ pays under a policy."""
    return f"{policy}:personal"


def shared(policy: str) -> str:
    """Return the name of the count of meetings on SMP+ under a policy."""
    return f"{policy}:shared"


def sixths(policy: str) -> str:
    """Return the name of the count of sixths taken from the shared pool under a policy."""
    return f"{policy}:sixths"


def holder(policy: str, user: str) -> str:
    """Return the name of the count of meetings that one holder pays under a policy."""
    return f"{policy}:holder:{user}"


def contribution(thing: Any) -> Counter[str]:
    """Return what one meeting or call adds to the counts; other things add nothing."""
    counts: Counter[str] = Counter()
    if isinstance(thing, Call):
        counts[CALLS] = 0 if thing.end else 1
    elif isinstance(thing, Meeting):
        counts[PARTICIPANTS] = thing.timeline.participants
        for policy, standing in thing.timeline.standings.items():
            if standing.license is None:
                continue
            if standing.license.type == PERSONAL:
                counts[personal(policy)] = 1
                counts[holder(policy, standing.license.holder or "")] = 1
            else:
                counts[shared(policy)] = 1
                counts[sixths(policy)] = standing.license.sixths
    return counts


def differences(changes: Iterable[tuple[Any, Any]]) -> Mapping[str, int]:
    """Return by how much the counts change, given things before and after; only what changes is named."""
    total: Counter[str] = Counter()
    for before, after in changes:
        total.update(contribution(after))
        total.subtract(contribution(before))
    return {name: change for name, change in total.items() if change}
