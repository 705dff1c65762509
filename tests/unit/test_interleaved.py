"""What happens beside the records: directories that change, calls that go stale, retention, restarts in many steps.

A machine delivers the records of generated meetings in any order and does all that in between, step by step, as the
service does it. `CDR_TEST_LONG=1` tries very many runs.
"""

import os
from collections.abc import Iterable
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import asdict, replace

from cdr_service.domain.calls import Call
from cdr_service.domain.directory import Directory
from cdr_service.domain.events import Event
from cdr_service.domain.identity import NOBODY
from cdr_service.domain.legs import Leg
from cdr_service.domain.options import Options
from cdr_service.domain.policies import policies_of
from cdr_service.domain.records import OrderKey
from cdr_service.domain.upkeep import close_stale, forget_call, forget_loose, forget_session, is_loose
from cdr_service.domain.workspace import OPEN_IN
from tests.unit.books import Books, Parcel
from tests.unit.events import hear, heard, told
from tests.unit.facts import (
    differences,
    facts,
    folded_anew,
    idle_while_wanted,
    misjudged_claims,
    overpaid,
    timeline,
)
from tests.unit.nasty import DIRECTORIES, DIRECTORY, HOLDERS, Sent, contentions, options, record_sets

LONG = bool(os.environ.get("CDR_TEST_LONG"))

SETS = record_sets(long=True) | record_sets() | contentions()

places = st.integers(0, 1000)
"""Whatever there is to choose from: the rest of this by its number."""


class Deployment(RuleBasedStateMachine):
    """Books into which records come in any order, while everything else that may change them happens in between."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Sent] = []
        self.delivered: list[Sent] = []
        self.standing: dict[str, Event] = {}
        self.looking_up: list[str] = []
        """Live calls that were not looked up since the directory changed."""
        self.noticed = OrderKey(0, "", 0)
        """When the directory changed."""
        self.directory_changed = False
        self.gone = _Gone(set(), set(), set())

    @initialize(
        sent=record_sets(long=True) | record_sets() | contentions(),
        chosen=options,
        calls_at_once=st.sampled_from((1, 1, 2, 100)),
    )
    def begin(self, sent: list[Sent], chosen: Options, calls_at_once: int) -> None:
        """Have records that wait, and empty books."""
        self.sent, self.waiting = sent, list(sent)
        self.books = Books(DIRECTORY, chosen)
        self.books.calls_at_once = calls_at_once

    # Records

    @rule(count=st.integers(1, 8))
    def deliver_next(self, count: int) -> None:
        """Take in the next records in order."""
        self.take(self.waiting[:count])
        del self.waiting[:count]

    @precondition(lambda self: self.waiting)
    @rule(place=places, count=st.integers(1, 4))
    def deliver_some(self, place: int, count: int) -> None:
        """Take in records before their turn."""
        place %= len(self.waiting)
        self.take(self.waiting[place : place + count])
        del self.waiting[place : place + count]

    @precondition(lambda self: self.delivered)
    @rule(place=places, count=st.integers(1, 8))
    def deliver_again(self, place: int, count: int) -> None:
        """Take in records once more, as by a lagging feed or after an answer that was lost."""
        place %= len(self.delivered)
        again = self.delivered[place : place + count]
        before = facts(self.books)
        events = self.take(one for one in again if one.source.session not in self.gone.sessions)
        assert not events
        assert differences(facts(self.books), before) == []

    def take(self, sent: Iterable[Sent]) -> list[Event]:
        """Take in records as one batch, those of one source that follow each other as one document."""
        parcels: list[Parcel] = []
        for one in sent:
            if parcels and parcels[-1].source == one.source:
                parcels[-1] = parcels[-1]._replace(records=[*parcels[-1].records, one.record])
            else:
                parcels.append(Parcel(one.source, [one.record]))
            self.delivered.append(one)
        return self.hear(self.books.take(*parcels)) if parcels else []

    def hear(self, events: list[Event]) -> list[Event]:
        """Take note of what is told."""
        hear(self.standing, events)
        return events

    # What happens beside them

    @rule(directory=st.sampled_from(DIRECTORIES))
    def change_directory(self, directory: Directory) -> None:
        """Go by another directory from now on; live calls are looked up one by one."""
        self.directory_changed = True
        self.books.directory = directory
        latest = max((one.record.time for one in self.delivered), default=0)
        self.noticed = OrderKey(max(latest, self.noticed.time) + 1, "", 0)
        self.looking_up = sorted(self.books.calls)

    @precondition(lambda self: self.looking_up)
    @rule(place=places)
    def look_up(self, place: int) -> None:
        """Look up again who is in one call."""
        call = self.looking_up.pop(place % len(self.looking_up))
        self.hear(self.books.learn(lambda keeper: keeper.look_up_again(call, self.noticed)))

    @precondition(lambda self: self.live)
    @rule(place=places)
    def close_stale(self, place: int) -> None:
        """Close a call because nothing was heard of it."""
        self.close(self.books, self.live[place % len(self.live)])

    def close(self, books: Books, call: str) -> None:
        """Close a call, in the books or in others."""
        events = books.happened(lambda keeper, workspace: close_stale(keeper, workspace, call))
        if books is self.books:
            self.hear(events)

    @precondition(lambda self: self.books.ending)
    @rule(place=places)
    def go_on_ending(self, place: int) -> None:
        """End some more of the calls that a restart left open, or go on with them."""
        ending = self.books.ending
        self.hear(self.books.bring_in_line(ending[place % len(ending)]))

    @precondition(lambda self: self.over)
    @rule(place=places)
    def forget(self, place: int) -> None:
        """Remove a meeting that has been over for long enough, call by call."""
        meeting = self.over[place % len(self.over)]
        for call in self.books.meetings[meeting].calls:
            self.forget_call(call)

    def forget_call(self, call: str) -> None:
        """Remove a call, and what was told of its meeting where that goes with it."""
        self.gone.calls.add(call)
        self.books.happened(lambda _, workspace: forget_call(workspace, call))
        assert call not in self.books.calls
        self.standing = {id_: event for id_, event in self.standing.items() if event.meeting in self.books.meetings}

    @precondition(lambda self: self.loose)
    @rule(place=places)
    def forget_loose(self, place: int) -> None:
        """Remove a leg or a recording that never was on a call."""
        name = self.loose[place % len(self.loose)]
        self.gone.loose.add(name)
        self.books.happened(lambda _, workspace: forget_loose(workspace, name))

    @precondition(lambda self: self.quiet_sessions)
    @rule(place=places)
    def forget_session(self, place: int) -> None:
        """Remove what is known of a session of which nothing has come for long."""
        session = self.quiet_sessions[place % len(self.quiet_sessions)]
        self.gone.sessions.add(session)
        self.books.happened(lambda _, workspace: forget_session(workspace, session))

    # What there is

    @property
    def live(self) -> list[str]:
        """Calls that go on."""
        return sorted(call.id for call in self.books.calls.values() if call.end is None)

    @property
    def due(self) -> set[str]:
        """Every id that a record which waits names."""
        return {str(value) for one in self.waiting for value in asdict(one.record).values()}

    @property
    def over(self) -> list[str]:
        """Meetings of which no record waits, all of whose calls have ended for good."""
        due, waiting = self.due, {one.source.session for one in self.waiting}

        calls = self.books.calls

        def is_over(call: Call) -> bool:
            legs = [leg for leg in self.books.legs.values() if call.id in leg.calls]
            beside = (calls[other] for leg in legs for other in leg.calls if other in calls)
            if {*(leg.id for leg in legs), *call.recordings, call.id} & due or any(not other.end for other in beside):
                return False
            return bool(call.ended or (call.end and call.session not in waiting))

        return sorted(
            id_
            for id_, meeting in self.books.meetings.items()
            if id_ not in due and all(is_over(calls[call]) for call in meeting.calls)
        )

    @property
    def loose(self) -> list[str]:
        """Legs and recordings that are on no call, and of which no record waits."""
        due = self.due
        return sorted(
            ":".join(key)
            for key, thing in self.books.things.items()
            if key[0] in ("leg", "recording") and is_loose(thing) and key[1] not in due
        )

    @property
    def quiet_sessions(self) -> list[str]:
        """Sessions of which no record waits and no call is left."""
        waiting = {one.source.session for one in self.waiting}
        used = {call.session for call in self.books.calls.values()}
        return sorted(self.books.sessions.keys() - waiting - used)

    # What must hold

    @invariant()
    def counters_are_a_recount(self) -> None:
        """Hold the counts of what is in use, and the index of open calls, against a recount."""
        assert +self.books.counters == self.books.usage
        assert not -self.books.counters
        for session in {call.session for call in self.books.calls.values()}:
            calls = (call for call in self.books.calls.values() if call.session == session and call.ended is None)
            assert self.books.things.get((OPEN_IN, session), frozenset()) == {call.id for call in calls}

    @invariant()
    def timelines_are_those_of_a_fold_of_everything(self) -> None:
        """And the events that stand tell them, each change once."""
        stored = {id_: timeline(meeting.timeline) for id_, meeting in self.books.meetings.items()}
        assert stored == folded_anew(self.books)
        assert heard(self.standing) == told(self.books)

    @invariant()
    def licenses_pay_as_often_as_they_may(self) -> None:
        """No holder pays too many meetings at a time, and none waits while one could be paid."""
        if self.gone.calls:
            return  # the ledgers still tell of meetings that are gone
        assert misjudged_claims(self.books) == []
        for policy in policies_of(self.books.options):
            for holder in {*HOLDERS, "bob@example.com"}:
                assert overpaid(self.books, policy, holder) == []
                assert idle_while_wanted(self.books, policy, holder) == []

    @invariant()
    def calls_end_with_their_session(self) -> None:
        """Once a restart is dealt with, no call of the old session goes on, and none ended that should."""
        for call in self.books.calls.values():
            session = self.books.sessions.get(call.session)
            if session is None or session.ending is not None or call.ended is not None:
                continue
            if session.replaced is not None:
                assert call.end_estimated == call.place_of_estimate(session.replaced)
            elif call.end_estimated is not None:
                assert call.is_stale

    # The end

    def teardown(self) -> None:
        """Take in the rest: the facts are those of the ordered run; let all go stale and go: nothing is left."""
        if not hasattr(self, "books"):
            return
        self.take(self.waiting)
        self.waiting = []
        while self.books.ending:
            self.hear(self.books.bring_in_line(self.books.ending[0]))
        self.timelines_are_those_of_a_fold_of_everything()
        self.calls_end_with_their_session()
        self.facts_are_those_of_the_ordered_run()
        for call in self.live:
            self.close(self.books, call)
        assert not self.books.usage
        assert not self.books.counters.total()
        self.nothing_is_left_after_retention()

    def facts_are_those_of_the_ordered_run(self) -> None:
        """As far as they follow from records: not what was observed of users, nor what retention removed."""
        if self.gone.sessions:
            return
        ordered = Books(DIRECTORY, self.books.options)
        for one in self.sent:
            ordered.take(Parcel(one.source, [one.record]))
        for call in self.books.calls.values():
            if call.is_stale:
                self.close(ordered, call.id)
        found, expected = facts(self.books), facts(ordered)
        if self.directory_changed or self.gone.calls or self.gone.loose:
            found, expected = (_without_licenses(one, self.gone) for one in (found, expected))
        different = differences(found, expected)
        assert not different, "\n".join(different)

    def nothing_is_left_after_retention(self) -> None:
        """Let calls, legs, meetings, sessions, Call Bridges and ledgers go."""
        for call in sorted(self.books.calls):
            self.forget_call(call)
        for name in self.loose:
            self.books.happened(lambda _, workspace, name=name: forget_loose(workspace, name))
        for session in sorted(self.books.sessions):
            self.books.happened(lambda _, workspace, session=session: forget_session(workspace, session))
        assert not {key: thing for key, thing in self.books.things.items() if thing != frozenset()}
        assert not self.standing


class _Gone(NamedTuple):
    """What retention removed."""

    calls: set[str]
    loose: set[str]
    sessions: set[str]


def _without_licenses(found: dict[str, Any], gone: _Gone) -> dict[str, Any]:
    """Return the facts of calls and legs that are still there, without who they belong to."""

    def is_kept(leg: Leg) -> bool:
        return f"leg:{leg.id}" not in gone.loose and not (leg.calls and gone.calls.issuperset(leg.calls))

    legs = {id_: replace(leg, identity=NOBODY, observed=()) for id_, leg in found["legs"].items() if is_kept(leg)}
    return {
        "calls": {id_: call for id_, call in found["calls"].items() if id_ not in gone.calls},
        "legs": legs,
        "legs of calls": {call: ids for call, ids in found["legs of calls"].items() if call not in gone.calls},
        "recordings": {
            id_: one
            for id_, one in found["recordings"].items()
            if f"recording:{id_}" not in gone.loose and one.call not in gone.calls
        },
        "sessions": found["sessions"],
        "bridges": found["bridges"],
    }


pytestmark = pytest.mark.timeout(3600 if LONG else 120)

TestDeployment = Deployment.TestCase
TestDeployment.settings = settings(
    max_examples=5000 if LONG else 300,
    stateful_step_count=40,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
    phases=[phase for phase in Phase if phase is not Phase.explain],
)
