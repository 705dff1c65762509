"""History decided anew: what would have been decided, had the users held PMP+ from the start, and nothing else."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdr_service.domain import usage
from cdr_service.domain.calls import Recording
from cdr_service.domain.directory import Directory, User
from cdr_service.domain.legs import Leg
from cdr_service.domain.options import Options
from cdr_service.domain.policies import policies_of
from cdr_service.domain.steps import Steps, license_steps
from cdr_service.domain.what_if import AsIf, Recorded, decided_anew, drawn_in
from cdr_service.domain.workspace import LEGS_OF
from tests.unit.books import Books, Parcel
from tests.unit.nasty import DIRECTORY, Sent, contentions, options, record_sets
from tests.unit.test_any_order import LONG, TRIED

pytestmark = pytest.mark.timeout(3600 if LONG else 120)

SETS = record_sets() | contentions()
USERS = st.sets(st.sampled_from(sorted([*DIRECTORY.users, "guest123@example.com", "zoe@example.com"])), max_size=3)


def recorded(books: Books, but: frozenset[str] = frozenset()) -> Recorded:
    """Return everything in the books, but for some meetings."""
    meetings = {id_: one for id_, one in books.meetings.items() if id_ not in but}
    calls = {call: books.calls[call] for one in meetings.values() for call in one.calls}
    return Recorded(
        meetings=meetings,
        calls=calls,
        legs=dict(books.legs),
        legs_of={call: books.things.get((LEGS_OF, call), frozenset()) for call in calls},
        recordings={id_: one for id_, one in books.of(Recording).items() if one.call in calls},
    )


def taken(sent: list[Sent], directory: Directory, chosen: Options) -> Books:
    """Take in records in order, with that directory from the start."""
    books = Books(directory, chosen)
    for source, record in sent:
        books.take(Parcel(source, [record]))
    return books


def steps_of(books: Books, policy: str) -> dict[str, Steps]:
    """Return the steps of each meeting under one policy."""
    return {id_: under(license_steps(one), policy) for id_, one in books.meetings.items()}


def under(steps: Steps, policy: str) -> Steps:
    """Return the steps under one policy that change anything."""
    names = usage.personal(policy), usage.sixths(policy)
    return Counter({step: change for step, change in steps.items() if change and step.series in names})


@TRIED
@given(sent=SETS, chosen=options)
def test_with_nobody_assigned_it_is_what_happened(sent: list[Sent], chosen: Options) -> None:
    """All meetings decided anew, as if nobody else had held PMP+, take what they took."""
    books = taken(sent, DIRECTORY, chosen)
    as_if = AsIf([], DIRECTORY)
    for policy in policies_of(chosen):
        anew = decided_anew(recorded(books), as_if, policy, chosen)
        assert {id_: under(license_steps(one), policy) for id_, one in anew.items()} == steps_of(books, policy)
    assert not any(as_if.look(one, legs_of(books, id_)).changed for id_, one in books.meetings.items())


@TRIED
@given(sent=SETS, chosen=options, users=USERS)
def test_it_is_what_would_have_been_decided(sent: list[Sent], chosen: Options, users: set[str]) -> None:
    """Deciding anew only what could change gives what these users would have given had they held PMP+ all along."""
    books = taken(sent, DIRECTORY, chosen)
    as_if = AsIf(users, DIRECTORY)
    looks = {id_: as_if.look(one, legs_of(books, id_)) for id_, one in books.meetings.items()}
    again = drawn_in({id_: look.wanted for id_, look in looks.items()}, [id_ for id_ in looks if looks[id_].changed])
    rest = frozenset(books.meetings.keys() - again)
    truly = taken(sent, holding(users), chosen)
    for policy in policies_of(chosen):
        found = {id_: one for id_, one in steps_of(books, policy).items() if id_ in rest}
        anew = decided_anew(recorded(books, rest), as_if, policy, chosen)
        found |= {id_: under(license_steps(one), policy) for id_, one in anew.items()}
        assert found == steps_of(truly, policy)


def legs_of(books: Books, meeting: str) -> list[Leg]:
    """Return the legs of a meeting."""
    ids = {leg for call in books.meetings[meeting].calls for leg in books.things.get((LEGS_OF, call), frozenset())}
    return [books.legs[id_] for id_ in sorted(ids)]


def holding(users: set[str]) -> Directory:
    """Return the directory in which these users hold PMP+ too."""
    known = [
        User(
            one.address, holds_license=one.holds_license or one.address in users, aliases=one.aliases, spaces=one.spaces
        )
        for one in DIRECTORY.users.values()
    ]
    return Directory([*known, *(User(user, holds_license=True) for user in users - DIRECTORY.users.keys())])
