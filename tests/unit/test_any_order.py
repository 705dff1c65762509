"""Any order converges: however records arrive, the facts are those of the records."""

import os

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cdr_service.domain.settling import Options
from tests.unit.books import Books, Parcel
from tests.unit.facts import differences, facts, folded_anew, misjudged_claims, timeline
from tests.unit.nasty import DIRECTORY, Sent, contentions, deliveries, options, record_sets

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
