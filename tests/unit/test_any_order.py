"""Any order converges: however records arrive, the facts are those of the records, and what was said adds up to them.

`CDR_TEST_LONG=1` tries some hundred times as many record sets.
"""

import os
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cdr_service.domain.bookkeeping import Source
from cdr_service.domain.calls import Meeting, stays_until_end
from cdr_service.domain.directory import Directory, User
from cdr_service.domain.documents import parse
from cdr_service.domain.events import Event
from cdr_service.domain.legs import Leg
from cdr_service.domain.options import Options
from cdr_service.domain.policies import policies_of
from cdr_service.domain.records import CallEnd, CallLegEnd, CallLegStart, CallLegUpdate, CallStart, OrderKey
from cdr_service.domain.showing import standing_of
from cdr_service.simulator.expected import Presence
from cdr_service.simulator.scenarios import START, Scenario, documents, generate
from tests.unit.books import Books, Parcel
from tests.unit.events import hear, heard, told
from tests.unit.facts import differences, facts, folded_anew, idle_while_wanted, misjudged_claims, overpaid, timeline
from tests.unit.nasty import (
    DIRECTORY,
    HOLDERS,
    Learning,
    Sent,
    Writer,
    contentions,
    deliveries,
    in_order,
    learnings,
    options,
    person,
    record_sets,
    scattered,
)
from tests.unit.plain import Plain

LONG = bool(os.environ.get("CDR_TEST_LONG"))
"""Try very many record sets: for a night, not for each change."""

TRIED = settings(
    max_examples=20_000 if LONG else 600,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=[phase for phase in Phase if phase is not Phase.explain],
)

pytestmark = pytest.mark.timeout(3600 if LONG else 120)
"""Settling must end: record sets that contend for licenses would show where it does not."""

SETS = record_sets() | contentions()


def taken_in_order(sent: list[Sent], chosen: Options) -> Books:
    """Take records one by one, in order."""
    books = Books(DIRECTORY, chosen)
    for source, record in sent:
        books.take(Parcel(source, [record]))
    return books


@TRIED
@given(data=st.data(), chosen=options)
def test_any_delivery_gives_the_facts_of_the_ordered_run(data: st.DataObject, chosen: Options) -> None:
    """Shuffled, repeated, split into documents and batches, over two feeds: the facts are those of the ordered run."""
    sent = data.draw(SETS, label="sent")
    books = Books(DIRECTORY, chosen)
    for batch in data.draw(deliveries(sent), label="batches"):
        books.take(*batch)
    different = differences(facts(books), facts(taken_in_order(sent, chosen)))
    assert not different, "\n".join(different)


@TRIED
@given(sent=SETS, chosen=options)
def test_what_is_folded_on_is_what_a_fold_of_everything_gives(sent: list[Sent], chosen: Options) -> None:
    """After every record of an ordered run, each stored timeline equals a fold of its whole meeting."""
    books = Books(DIRECTORY, chosen)
    for source, record in sent:
        books.take(Parcel(source, [record]))
        stored = {id_: timeline(meeting.timeline) for id_, meeting in books.meetings.items()}
        assert stored == folded_anew(books)


@TRIED
@given(sent=SETS, chosen=options, changes=st.lists(st.tuples(st.integers(0, 40), learnings)))
def test_what_is_learned_is_folded_in_like_a_record(
    sent: list[Sent], chosen: Options, changes: list[tuple[int, Learning]]
) -> None:
    """A directory, spaces, users, media and releases that become known while calls go on.

    Timelines stay those of a fold of everything, claims those that the others allow, events and counts add up.
    """
    books = Books(DIRECTORY, chosen)
    standing: dict[str, Event] = {}
    for place, (source, record) in enumerate(sent):
        hear(standing, books.take(Parcel(source, [record])))
        for learning in (learning for when, learning in changes if when == place):
            hear(standing, learning.take(books, OrderKey(record.time + 1, "", 0)))
        stored = {id_: timeline(meeting.timeline) for id_, meeting in books.meetings.items()}
        assert stored == folded_anew(books)
        assert misjudged_claims(books) == []
        assert heard(standing) == told(books)
        assert all(count > 0 for count in books.usage.values())


@TRIED
@given(data=st.data(), chosen=options)
def test_a_license_pays_as_often_as_it_may_and_never_waits(data: st.DataObject, chosen: Options) -> None:
    """No holder pays more meetings at a time than allowed; with spill-back none waits while one could be paid."""
    sent = data.draw(SETS, label="sent")
    books = Books(DIRECTORY, chosen)
    for batch in data.draw(deliveries(sent), label="batches"):
        books.take(*batch)
        assert misjudged_claims(books) == []
        for policy in policies_of(chosen):
            for holder in HOLDERS:
                assert overpaid(books, policy, holder) == []
                assert idle_while_wanted(books, policy, holder) == []


@TRIED
@given(sent=contentions(), limit=st.sampled_from((1, 2)), spill_back=st.booleans())
def test_licenses_are_those_of_a_plain_simulation(sent: list[Sent], limit: int, spill_back: bool) -> None:
    """Under contention, each meeting is charged as a simulation says that knows nothing of our code."""
    books = taken_in_order(sent, Options(pmp_calls_per_user=limit, spill_back=spill_back))
    for policy in policies_of(books.options):
        plain = Plain(DIRECTORY, policy, limit, waits=spill_back)
        plain.take(sent)
        for id_, meeting in plain.meetings.items():
            transitions = standing_of(books.meetings[id_], policy).transitions
            charged = [(t.at, t.after and (t.after.holder or t.after.type)) for t in transitions]
            assert charged == meeting.told


@TRIED
@given(data=st.data(), chosen=options)
def test_nothing_is_in_use_once_all_calls_ended(data: st.DataObject, chosen: Options) -> None:
    """When the last callEnd is there, all counts are back at zero and no claim on a license is left open."""
    sent = data.draw(contentions(all_end=True), label="sent")
    books = Books(DIRECTORY, chosen)
    for batch in data.draw(deliveries(sent), label="batches"):
        books.take(*batch)
    assert not books.usage
    claims = [claim for ledger in books.ledgers.values() for kept in ledger.claims.values() for claim in kept]
    assert all(claim.ended for claim in claims)


@TRIED
@given(data=st.data(), chosen=options)
def test_the_events_tell_the_timelines(data: st.DataObject, chosen: Options) -> None:
    """Events in the order in which they were told, less those superseded, are the timelines: each change once."""
    sent = data.draw(SETS, label="sent")
    books = Books(DIRECTORY, chosen)
    standing: dict[str, Event] = {}
    for batch in data.draw(deliveries(sent), label="batches"):
        hear(standing, books.take(*batch))
        assert heard(standing) == told(books)


SHAPES = ({"bridges": 1}, {"bridges": 3}, {"bridges": 2, "cluster": True}, {"bridges": 4, "cluster": True})


@pytest.mark.parametrize("seed", range(2000 if LONG else 24))
def test_simulated_meetings_have_their_known_answers(seed: int) -> None:
    """Meetings of the simulated server, delivered anyhow, end with the answers worked out from their plans."""
    scenario = generate(seed, meetings=8, rate=3, **SHAPES[seed % 4])
    sent = sent_by(scenario)
    books = Books(Directory([User(holder, holds_license=True) for holder in scenario.holders]))
    for batch in scattered(sent, Random(seed)):
        books.take(*batch)
    for expected in scenario.expected:
        meeting = books.meetings[expected.correlator]
        assert set(meeting.calls) == set(expected.calls)
        assert {books.calls[call].call_type for call in meeting.calls} == {expected.call_type}
        assert seconds(books.calls[call].began for call in meeting.calls)[0] == expected.start
        assert seconds(books.calls[call].end.time for call in meeting.calls)[-1] == expected.end
        assert meeting.timeline.participants_peak == expected.peak
        transitions = standing_of(meeting, "join").transitions
        licenses = [(second(t.at.time), t.after and t.after.type, t.after and t.after.holder) for t in transitions]
        assert licenses == [(known.at, known.type, known.holder) for known in expected.licenses]
        for presence in expected.presences:
            assert stays_of(books, presence) == list(presence.stays)
        assert counted(books, meeting) == {leg for presence in expected.presences for leg in presence.legs}
        assert not counted(books, meeting) & set(expected.uncounted)
    assert not books.usage


def test_a_feed_that_lags_by_thousands_ends_in_the_state_that_one_feed_gives() -> None:
    """Each record comes twice, the second time 2,000 records later, in documents of fifty: the facts are the same."""
    scenario = generate(7, meetings=90, rate=10, bridges=2, cluster=True)
    sent = sent_by(scenario)
    assert len(sent) > 2400
    directory = Directory([User(holder, holds_license=True) for holder in scenario.holders])
    once, twice = Books(directory), Books(directory)
    for one in sent:
        once.take(Parcel(one.source, [one.record]))
    arrivals = sorted((place + lag, lag, one) for lag in (0, 2000) for place, one in enumerate(sent))
    for first in range(0, len(arrivals), 50):
        twice.take(*(Parcel(one.source, [one.record]) for _, _, one in arrivals[first : first + 50]))
    different = differences(facts(twice), facts(once))
    assert not different, "\n".join(different)
    assert sum(received.duplicates for received in twice.received) == len(sent)


def sent_by(scenario: Scenario) -> list[Sent]:
    """Return the records of a scenario in order, as they are on the wire."""
    batches = [(document.bridge, parse(document.body)) for document in documents(scenario)]
    return in_order(
        Sent(Source(batch.session, batch.call_bridge, bridge.name), record)
        for bridge, batch in batches
        for record in batch.records
    )


def second(milliseconds: int) -> int:
    """Return a time as the scenario counts it."""
    return milliseconds // 1000 - int(START.timestamp())


def seconds(times: object) -> list[int]:
    """Return times as the scenario counts them, the earliest first."""
    return sorted(map(second, times))


def stays_of(books: Books, presence: Presence) -> list[tuple[int, int]]:
    """Return when somebody was in, by whichever of their legs."""
    found = [
        (second(stay.joined.time), second(stay.left.time))
        for leg in presence.legs
        for stay, _ in stays_until_end(books.legs[leg], books.calls)
        if stay.left
    ]
    joined: list[tuple[int, int]] = []
    for start, end in sorted(found):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def counted(books: Books, meeting: Meeting) -> set[str]:
    """Return the legs by which somebody was in a meeting."""
    calls = {call: books.calls[call] for call in meeting.calls}

    def was_in(leg: Leg) -> bool:
        return leg.counted and any(stays_until_end(leg, calls))

    return {id_ for id_, leg in books.legs.items() if was_in(leg)}


def crowd(number: int) -> list[Sent]:
    """Return a call in which so many people come, wait in the lobby, get in and leave, in order."""
    writer = Writer("session", "bridge")
    writer.write(CallStart, 0, call="call", call_correlator="meeting", cospace="space-of-nobody", call_type="coSpace")
    for place in range(number):
        fields = person("alice@example.com" if place == number // 2 else "bob@example.com")
        leg = f"leg-{place}"
        writer.write(CallLegStart, place, leg=leg, call="call", direction="incoming", **fields)
        writer.write(CallLegUpdate, place, leg=leg, state="connected", call="call", deactivated=True)
        writer.write(CallLegUpdate, place, leg=leg, state="connected", call="call", deactivated=False)
    for place in range(number):
        writer.write(CallLegUpdate, number + place, leg=f"leg-{place}", call="call")
        writer.write(CallLegEnd, number + place, leg=f"leg-{place}", reason="remoteTeardown")
    writer.write(CallEnd, 2 * number, call="call")
    return writer.sent


def test_a_record_in_order_needs_the_same_few_things_whatever_the_size_of_the_call() -> None:
    """In a call of 2,000 legs a record loads no more things than in one of 2, and a thing does not grow with legs."""
    most: dict[int, dict[type, int]] = {}
    for number in (2, 2000):
        books = Books(DIRECTORY)
        loads: dict[type, int] = {}
        for source, record in crowd(number):
            before = books.loads
            books.take(Parcel(source, [record]))
            loads[type(record)] = max(loads.get(type(record), 0), books.loads - before)
        most[number] = loads
        assert books.meetings["meeting"].timeline.participants_peak == number
        assert len(standing_of(books.meetings["meeting"], "join").transitions) == 3
        assert len(books.calls["call"].recordings) == 0
    assert max(most[2].values()) <= 8
    assert all(loads <= most[2][kind] for kind, loads in most[2000].items())
