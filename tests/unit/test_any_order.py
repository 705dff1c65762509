"""Any order converges: however records arrive, the facts are those of the records."""

import os

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cdr_service.domain.settling import Options
from cdr_service.domain.showing import standing_of
from tests.unit.books import Books, Parcel
from tests.unit.facts import differences, facts, folded_anew, misjudged_claims, timeline
from tests.unit.nasty import DIRECTORY, HOLDERS, Sent, contentions, deliveries, options, record_sets
from tests.unit.plain import Plain

LONG = bool(os.environ.get("CDR_TEST_LONG"))

settings.register_profile(
    "any order",
    max_examples=20_000 if LONG else 150,
    deadline=None,
    report_multiple_bugs=False,
    phases=[phase for phase in Phase if phase is not Phase.explain],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
PROFILE = settings.get_profile("any order")


def taken_in_order(sent: list[Sent], chosen: Options) -> Books:
    """Take records one by one, in order."""
    books = Books(DIRECTORY, chosen)
    for source, record in sent:
        books.take(Parcel(source, [record]))
    return books


@PROFILE
@given(data=st.data(), chosen=options)
def test_any_delivery_gives_the_facts_of_the_ordered_run(data: st.DataObject, chosen: Options) -> None:
    """Shuffled, repeated, split into documents and batches, over two feeds: the facts are those of the ordered run."""
    sent = data.draw(st.one_of(record_sets(), contentions()), label="sent")
    batches = data.draw(deliveries(sent), label="batches")
    books = Books(DIRECTORY, chosen)
    for batch in batches:
        books.take(*batch)
    ordered = taken_in_order(sent, chosen)
    assert misjudged_claims(ordered) == []
    different = differences(facts(books), facts(ordered))
    assert not different, "\n".join(different)


@PROFILE
@given(data=st.data(), chosen=options)
def test_what_is_folded_on_is_what_a_fold_of_everything_gives(data: st.DataObject, chosen: Options) -> None:
    """After every record of an ordered run, each stored timeline equals a fold of its whole meeting."""
    sent = data.draw(st.one_of(record_sets(), contentions()), label="sent")
    books = Books(DIRECTORY, chosen)
    for source, record in sent:
        books.take(Parcel(source, [record]))
        stored = {id_: timeline(meeting.timeline) for id_, meeting in books.meetings.items()}
        assert stored == folded_anew(books)


@PROFILE
@given(sent=contentions(), limit=st.sampled_from((1, 2)), spill_back=st.booleans())
def test_licenses_are_those_of_a_plain_simulation(sent: list[Sent], limit: int, spill_back: bool) -> None:
    """Under contention, each meeting is charged as a simulation says that knows nothing of our code."""
    books = taken_in_order(sent, Options(pmp_calls_per_user=limit, spill_back=spill_back))
    for policy in books.options.policies:
        plain = Plain(DIRECTORY, policy, limit, waits=spill_back)
        plain.take(sent)
        for id_, meeting in plain.meetings.items():
            transitions = standing_of(books.meetings[id_], policy).transitions
            told = [(t.at, t.after and (t.after.holder or t.after.type)) for t in transitions]
            assert told == meeting.told
