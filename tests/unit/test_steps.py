"""The history of use is what the meetings say, whatever the order in which their records came."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdr_service.domain import usage
from cdr_service.domain.calls import Meeting, Recording, meeting_occurrences
from cdr_service.domain.directory import Directory
from cdr_service.domain.fold import Fold, Setting
from cdr_service.domain.legs import Leg
from cdr_service.domain.options import Options
from cdr_service.domain.policies import policies_of
from cdr_service.domain.records import OrderKey
from cdr_service.domain.slots import Claim
from cdr_service.domain.steps import Step
from cdr_service.domain.timeline import Occurrence, Standing, Timeline
from cdr_service.domain.upkeep import forget_call
from cdr_service.domain.workspace import LEGS_OF
from tests.unit.books import Books, Parcel
from tests.unit.nasty import DIRECTORIES, DIRECTORY, Sent, contentions, deliveries, options, record_sets
from tests.unit.test_any_order import LONG, TRIED

pytestmark = pytest.mark.timeout(3600 if LONG else 120)

SETS = record_sets() | contentions()


class NoSlots:
    """For a fold that only counts people."""

    def grant(self, policy: str, claim: Claim, before: tuple[Claim, ...]) -> OrderKey | None:
        """Never be asked."""
        raise AssertionError((policy, claim, before))


def occurrences(books: Books, meeting: Meeting) -> list[Occurrence]:
    """Return everything that happened in a meeting."""
    calls = {id_: books.calls[id_] for id_ in meeting.calls}
    ids = set().union(*(books.things.get((LEGS_OF, call), frozenset()) for call in calls))
    legs: list[Leg] = [books.legs[id_] for id_ in ids]
    recordings = [r for r in books.of(Recording).values() if r.call in calls]
    return meeting_occurrences(meeting, calls, legs, recordings)


def recount(books: Books) -> dict[int, Counter[str]]:
    """Return what is in use from each moment on, counted anew: licenses by the transitions, people by a fold each."""
    happened = {meeting.id: occurrences(books, meeting) for meeting in books.meetings.values()}
    times = {o.at.time for found in happened.values() for o in found} | {
        t.at.time
        for meeting in books.meetings.values()
        for standing in meeting.timeline.standings.values()
        for t in standing.transitions
    }
    found: dict[int, Counter[str]] = {}
    for time in sorted(times):
        counts: Counter[str] = Counter()
        for meeting in books.meetings.values():
            for policy in policies_of(books.options):
                standing = meeting.timeline.standings.get(policy, Standing())
                last = next((t.after for t in reversed(standing.transitions) if t.at.time <= time), None)
                counts[usage.personal(policy)] += last is not None and last.holder is not None
                counts[usage.sixths(policy)] += last.sixths if last else 0
            until = [o for o in happened[meeting.id] if o.at.time <= time]
            counts[usage.PARTICIPANTS] += (
                Fold(Timeline(), Setting(policies={}), NoSlots(), whole=True).run(until).participants
            )
        found[time] = counts
    return found


def summed(history: Counter[Step]) -> dict[int, Counter[str]]:
    """Return what is in use from each moment on, by the steps."""
    counts: Counter[str] = Counter()
    found: dict[int, Counter[str]] = {}
    for step in sorted(step for step, change in history.items() if change):
        counts[step.series] += history[step]
        found[step.time] = Counter(counts)
    return found


def different(books: Books) -> list[str]:
    """Return where the history says something else than a recount."""
    told, counted = summed(books.history), recount(books)
    said: Counter[str] = Counter()
    right: Counter[str] = Counter()
    found = []
    for time in sorted(told.keys() | counted.keys()):
        said, right = told.get(time, said), counted.get(time, right)
        if +said != +right or -said:
            found.append(f"{time}: {said} rather than {right}")
    return found


@TRIED
@given(data=st.data(), chosen=options)
def test_the_history_is_what_a_recount_gives(data: st.DataObject, chosen: Options) -> None:
    """Shuffled, repeated, split into batches: the steps that were summed up tell what a recount of everything tells."""
    sent = data.draw(SETS, label="sent")
    books = Books(DIRECTORY, chosen)
    for batch in data.draw(deliveries(sent), label="batches"):
        books.take(*batch)
    assert different(books) == []


@TRIED
@given(sent=SETS, chosen=options, changes=st.lists(st.tuples(st.integers(0, 40), st.sampled_from(DIRECTORIES))))
def test_the_history_follows_a_changed_directory(
    sent: list[Sent], chosen: Options, changes: list[tuple[int, Directory]]
) -> None:
    """After each record of an ordered run, and each change of the directory, the history is what a recount gives."""
    books = Books(DIRECTORY, chosen)
    for place, (source, record) in enumerate(sent):
        books.take(Parcel(source, [record]))
        for directory in (directory for when, directory in changes if when == place):
            books.change_directory(directory, OrderKey(record.time + 1, "", 0))
    assert different(books) == []


@TRIED
@given(sent=SETS, chosen=options)
def test_what_retention_removes_stays_in_the_history(sent: list[Sent], chosen: Options) -> None:
    """Removing ended calls, one by one or all at once, changes nothing in the history."""
    books = Books(DIRECTORY, chosen)
    for source, record in sent:
        books.take(Parcel(source, [record]))
    before = summed(books.history)
    for call in sorted(call.id for call in books.calls.values() if call.end):
        books.perform(lambda _, workspace, call=call: forget_call(workspace, call))
    assert summed(books.history) == before
