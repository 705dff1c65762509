"""When a call is marked as one that records may be missing of."""

import pytest

from cdr_service.domain.calls import Call
from cdr_service.domain.completeness import SETTLE_MILLISECONDS, complete, known_losses
from cdr_service.domain.records import OrderKey
from cdr_service.domain.sessions import Session, Told

NOTICED = 1_000_000


def session(*seen: tuple[int, int], told: tuple[Told, ...] = ()) -> Session:
    """Return a session of which records were seen, as pairs of number and record time."""
    found = Session("s", told=told)
    for number, time in seen:
        found = found.with_record("", number, time, NOTICED)
    return found


def call(began: int | None, ended: int | None, first_seen: int = 0) -> Call:
    """Return a call by the record times of its callStart and callEnd."""
    return Call(
        "c",
        "s",
        OrderKey(first_seen if began is None else began, "s", 0),
        started=None if began is None else OrderKey(began, "s", 0),
        ended=None if ended is None else OrderKey(ended, "s", 9),
    )


GAP = session((1, 100), (5, 200))
LATER = NOTICED + SETTLE_MILLISECONDS + 1


@pytest.mark.parametrize(
    ("began", "ended", "expected"),
    [
        (10, 90, True),
        (10, 100, False),
        (10, 500, False),
        (120, 150, False),
        (200, 500, False),
        (201, 500, True),
        (10, None, False),
        (201, None, True),
        (None, 90, True),
        (None, 500, False),
    ],
)
def test_a_loss_marks_the_calls_whose_life_it_meets(began: int | None, ended: int | None, expected: bool) -> None:
    """Only calls that were on between the records around the gap; an unknown start or end lies anywhere."""
    assert complete(call(began, ended, first_seen=300), known_losses(GAP, LATER)) is expected


def test_a_gap_is_no_loss_before_it_has_settled() -> None:
    """Another feed may still bring the records."""
    assert complete(call(10, 500), known_losses(GAP, NOTICED + SETTLE_MILLISECONDS))


def test_a_loss_that_the_bridge_told_counts_at_once() -> None:
    """NumPreceedingRecordsMissing says that nobody brings them any more, on this feed."""
    told = session((1, 100), (5, 200), told=(Told(5, 3, 200),))
    assert not complete(call(10, 500), known_losses(told, NOTICED))


def test_records_that_arrive_after_all_heal_the_mark() -> None:
    """A filled gap is none."""
    healed = session((1, 100), (5, 200), (2, 110), (3, 120), (4, 130))
    assert complete(call(10, 500), known_losses(healed, LATER))


def test_a_call_that_is_marked_itself_is_not_complete() -> None:
    """And a session that is no longer kept tells of no losses."""
    marked = Call("c", "s", OrderKey(0, "s", 0), complete=False)
    assert not complete(marked, ())
    assert known_losses(None, LATER) == ()
