"""Sessions: each record once, what is missing, and which session of a Call Bridge ended which."""

from collections.abc import Iterable
from itertools import pairwise
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdr_service.domain.records import CallEnd, CallLegStart, CallStart, RejectedRecord
from cdr_service.domain.sessions import FEEDS_MAX, RANGES_MAX, SESSIONS_MAX, TOLD_MAX, Gap, Session, Told, interleaved
from cdr_service.domain.showing import standing_of
from cdr_service.domain.upkeep import conclude_losses
from tests.unit.books import Books, Parcel
from tests.unit.facts import differences, facts
from tests.unit.nasty import DIRECTORY, EPOCH, Sent, Writer, person

SETTLED = 10_000
"""A moment after everything of these tests was noticed."""


def seen(numbers: Iterable[int], session: Session | None = None, now: int = 0) -> Session:
    """Return a session of which records with these numbers were seen, each at the second of its number."""
    session = session or Session("s")
    for number in numbers:
        session = session.with_record("", number, number * 1000, now)
    return session


def ranges(session: Session, feed: str = "") -> list[tuple[int, int]]:
    """Return the first and last number of each range."""
    return [(one.first, one.last) for one in session.seen.get(feed, ())]


def test_a_million_records_in_order_take_the_room_of_one() -> None:
    """Marks against duplicates cost constant memory for a feed in order, and every number is known."""
    session = seen(range(47, 50))
    few = len(msgspec.msgpack.encode(session))
    session = seen(range(50, 1_000_047), session)
    assert ranges(session) == [(47, 1_000_046)]
    assert len(msgspec.msgpack.encode(session)) <= few + 10
    assert session.has("", 47)
    assert session.has("", 999_999)
    assert not session.has("", 46)
    assert not session.has("", 1_000_047)


def test_a_feed_that_lags_by_thousands_brings_nothing_new() -> None:
    """With two feeds each record is taken once, though one of them is thousands of records behind."""
    books, writer = Books(), Writer("s", "bridge")
    sent = [writer.write(CallStart, place, call=f"c{place}") for place in range(4000)]
    arrivals = [(place + lag, one.record) for lag in (0, 3000) for place, one in enumerate(sent)]
    for _, record in sorted(arrivals, key=lambda arrival: arrival[0]):
        books.take(Parcel(writer.source, [record]))
    assert books.sessions["s"].records == 4000
    assert sum(received.duplicates for received in books.received) == 4000
    assert ranges(books.sessions["s"]) == [(0, 3999)]
    assert len(books.events) == len(books.calls) == 4000


def test_a_lagging_feed_fills_what_the_other_lost() -> None:
    """Numbers come in any order; neighbors are merged, and what remains are the gaps."""
    session = seen([0, 1, 2, 10, 11, 20], now=5)
    assert ranges(session) == [(0, 2), (10, 11), (20, 20)]
    assert [(gap.first, gap.last, gap.after, gap.before) for gap in session.gaps()] == [
        (3, 9, 2000, 10_000),
        (12, 19, 11_000, 20_000),
    ]
    session = seen([5, 4, 3, 9, 8, 7, 6], session)
    assert ranges(session) == [(0, 11), (20, 20)]
    assert ranges(seen(range(21), session)) == [(0, 20)]


@given(st.lists(st.integers(0, 40), max_size=60))
def test_ranges_are_a_set_of_numbers(numbers: list[int]) -> None:
    """Whatever numbers come, in whatever order and how often: exactly those were seen, and no range touches another."""
    session = seen(numbers)
    assert [number for number in range(-1, 42) if session.has("", number)] == sorted(set(numbers))
    found = ranges(session)
    assert all(first <= last for first, last in found)
    assert all(before[1] + 1 < after[0] for before, after in pairwise(found))
    assert {number for gap in session.gaps() for number in range(gap.first, gap.last + 1)} == (
        set(range(min(numbers), max(numbers))) - set(numbers) if numbers else set()
    )


def test_ranges_are_bounded_and_the_oldest_are_forgotten() -> None:
    """A feed that brings every other record for ever does not fill the memory; a forgotten number is taken again."""
    session = seen(range(0, 4 * RANGES_MAX, 2))
    assert len(ranges(session)) == RANGES_MAX
    assert session.has("", 4 * RANGES_MAX - 2)
    assert not session.has("", 0)


def test_a_record_whose_mark_was_forgotten_changes_nothing_when_it_comes_again() -> None:
    """Legs and calls keep what each record said, so the books stay as they are and nothing is told twice."""
    books, writer = Books(DIRECTORY), Writer("s", "bridge")
    start = writer.write(CallStart, 0, call="c", call_correlator="m")
    join = writer.write(CallLegStart, 1, leg="l", call="c", direction="incoming", **person("alice@example.com"))
    for one in (start, join):
        books.take(Parcel(one.source, [one.record]))
    known, told = facts(books), list(books.events)
    books.things["session", "s"] = Session("s", "bridge", books.sessions["s"].first, books.sessions["s"].last)
    for one in (start, join):
        assert books.take(Parcel(one.source, [one.record])) == []
    again = facts(books)
    assert {kind: found for kind, found in again.items() if kind != "sessions"} == {
        kind: found for kind, found in known.items() if kind != "sessions"
    }
    assert books.events == told


def test_trying_again_goes_past_the_marks_and_leaves_them_as_they_are() -> None:
    """A dead letter that is taken after a fix is marked already; its mark must not become a second range."""
    books, writer = Books(), Writer("s", "bridge")
    sent = [writer.write(CallStart, place, call=f"c{place}") for place in range(5)]
    reject = RejectedRecord(reason="no id", content="{}", correlator_index=2)
    books.take(Parcel(writer.source, [one.record for one in sent if one.record.correlator_index != 2], [reject]))
    before = books.sessions["s"]
    assert ranges(before) == [(0, 4)]
    assert books.take(Parcel(writer.source, [sent[2].record])) == []
    assert [event.call for event in books.take(Parcel(writer.source, [sent[2].record]), again=True)] == ["c2"]
    assert books.sessions["s"].seen == before.seen


def test_without_a_correlator_index_records_are_told_apart_by_feed() -> None:
    """(session, recordIndex, feed): the same number of another feed is another record, and changes nothing."""
    sent = Writer("s", feed="a", numbered=False).write(CallStart, 0, call="c", call_correlator="m")
    books = Books()
    books.take(Parcel(sent.source, [sent.record]))
    books.take(Parcel(sent.source, [sent.record]))
    assert [received.duplicates for received in books.received] == [0, 1]
    known = books.calls["c"]
    other = sent.record.__class__(**{**msgspec.structs.asdict(sent.record), "record_index": 9})
    assert books.take(Parcel(sent.source._replace(feed="b"), [other])) == []
    assert books.calls["c"] == known
    assert {feed: ranges(books.sessions["s"], feed) for feed in books.sessions["s"].seen} == {
        "feed:a": [(1, 1)],
        "feed:b": [(9, 9)],
    }
    assert books.sessions["s"].unnumbered
    ends = [msgspec.structs.replace(_END, record_index=number) for number in (7, 3, 8)]
    told = [event.event for end in ends for event in books.take(Parcel(sent.source._replace(feed=str(end)), [end]))]
    assert told == ["call.ended"]
    assert books.calls["c"].ended == ends[1].order("s")


_END = CallEnd(type="callEnd", time=EPOCH * 1000, record_index=0, call="c")


# What is lost


def lost(session: Session, settled_before: int = SETTLED) -> list[tuple[int, int]]:
    """Return the first and last number of what is lost."""
    return [(gap.first, gap.last) for gap in session.losses(settled_before)]


def test_losses_among_forgotten_numbers_are_not_unsaid() -> None:
    """What was missing between ranges that are not kept any more stays lost, also when a record of then comes."""
    session = told(seen(range(0, 4 * RANGES_MAX, 2)), 4 * RANGES_MAX, 3)
    missing = sum(gap.missing for gap in session.losses(SETTLED))
    assert missing == 2 * RANGES_MAX
    first = next(session.losses(SETTLED))
    assert (first.first, first.missing) == (0, RANGES_MAX + 1)
    assert (first.after, first.before) == (0, session.seen[""][0].first_time)
    for number in (0, 1, first.last):
        assert seen([number], session) == session
    assert sum(gap.missing for gap in seen(range(4 * RANGES_MAX, 4 * RANGES_MAX + 9), session).losses(0)) < missing


def test_a_loss_without_numbers_lies_after_the_record_before_it() -> None:
    """Whichever of the two comes first, so that calls which were over by then are not said to be incomplete."""
    before, after = (9, 9000, 0, 0), (10, 12_000, 0, 4)
    for order in ((before, after), (after, before)):
        session = msgspec.structs.replace(Session("s"), unnumbered=True)
        for one in order:
            session = session.with_record("feed:a", *one)
        session = session.with_record("feed:b", 9, 1, 0)
        assert list(session.losses(0)) == [Gap(6, 9, 9000, 12_000, 0)]


def test_feeds_of_a_session_are_bounded() -> None:
    """Whoever puts ever new names into the receiver's URL does not fill the memory."""
    session = Session("s")
    for number in range(3 * FEEDS_MAX):
        session = session.with_record(f"feed:{number}", 1, 0, 0).with_record("", number, 0, 0)
    assert len(session.seen) == FEEDS_MAX
    assert session.has("", 0)
    assert session.has(f"feed:{3 * FEEDS_MAX - 1}", 1)


def told(session: Session, number: int, count: int) -> Session:
    """Return the session after a record that says that so many before it were dropped."""
    session = seen([number], session)
    return msgspec.structs.replace(session, told=(*session.told, Told(number, count, number * 1000)))


def test_a_gap_is_lost_once_it_has_settled() -> None:
    """Until then another feed may bring the records."""
    session = seen([0, 1, 5], now=100)
    assert lost(session, settled_before=100) == []
    assert lost(session, settled_before=101) == [(2, 4)]
    assert lost(seen([2, 3, 4], session)) == []


def test_a_gap_before_what_came_first_settles_like_any_other() -> None:
    """A feed that lags by thousands brings the first record of a session: the next ones are on their way."""
    session = seen([0], seen(range(5000, 5010), now=100), now=9000)
    assert lost(session, settled_before=9000) == []
    assert lost(session, settled_before=9001) == [(1, 4999)]
    assert lost(seen(range(1, 5000), session, now=9000)) == []


def test_a_record_within_a_gap_does_not_make_the_rest_of_it_a_new_one() -> None:
    """What was known to be lost stays so, and is not told once more."""
    session = seen([10], seen([0, 20], now=100), now=9000)
    assert lost(session, settled_before=101) == [(1, 9), (11, 19)]


def test_what_came_before_the_first_record_was_never_owed() -> None:
    """A receiver that was added to a running bridge begins anywhere."""
    assert lost(seen(range(47, 60))) == []


def test_a_gap_that_the_bridge_tells_of_is_lost_at_once() -> None:
    """What numPreceedingRecordsMissing says needs no settling; another feed still heals it, part by part."""
    session = told(seen(range(10)), 20, 10)
    assert lost(session, settled_before=0) == [(10, 19)]
    session = seen([17, 18, 19], session, now=SETTLED)
    assert lost(session, settled_before=0) == [(10, 16)]
    session = seen([12], session, now=SETTLED)
    assert lost(session, settled_before=0) == [(10, 11), (13, 16)]
    assert lost(seen(range(10, 20), session), settled_before=0) == []


def test_a_loss_before_the_first_record_is_told_too() -> None:
    """The bridge says that it dropped them for us, so they were owed; another feed may bring them."""
    session = told(Session("s"), 20, 10)
    assert lost(session, settled_before=0) == [(10, 19)]
    assert [gap.missing for gap in session.losses(0)] == [10]
    session = seen(range(15, 20), session)
    assert lost(session, settled_before=0) == [(10, 14)]
    assert lost(seen(range(10, 15), session), settled_before=0) == []


def test_two_feeds_that_tell_of_the_same_loss_lose_it_once() -> None:
    """Each receiver's buffer overflows on its own."""
    session = told(told(seen(range(10)), 20, 10), 18, 8)
    assert lost(session, settled_before=0) == [(10, 17), (19, 19)]
    session = told(told(Session("s"), 20, 10), 18, 4)
    assert lost(session, settled_before=0) == [(19, 19), (10, 17)]


def test_a_loss_of_an_unnumbered_sender_cannot_heal() -> None:
    """Its recordIndex shows no hole, so nothing could be seen to fill it."""
    session = msgspec.structs.replace(Session("s", unnumbered=True), told=(Told(20, 10, 20_000, "feed:a"),))
    assert list(session.losses(0)) == [Gap(10, 19, 0, 20_000, 0)]


def unnumbered(session: Session, number: int, time: int, *, feed: str = "feed:", dropped: int = 0) -> Session:
    """Return the session after a record without correlatorIndex, with this recordIndex."""
    return session.with_record(feed, number, time, 0, dropped)


def test_one_record_without_a_number_hides_no_loss() -> None:
    """Its own number is missing among those seen, which is no loss; every other gap is one."""
    session = unnumbered(seen([0, 1, 2]), 4, 3000)
    assert session.latest_number == 3
    session = seen([4, 8], session)
    assert lost(session) == [(5, 7)]
    assert session.latest_number == 8
    session = seen([12], unnumbered(session, 8, 11_000))
    assert [(gap.first, gap.last, gap.missing) for gap in session.losses(SETTLED)] == [(5, 7, 3), (9, 11, 2)]
    assert lost(seen([5, 6, 7, 9, 10], session)) == []


def test_a_record_without_a_number_that_two_feeds_bring_stands_for_one() -> None:
    """Each receiver numbers it on its own."""
    session = unnumbered(seen([0]), 2, 1500)
    session = seen([3], unnumbered(session, 90, 1500, feed="feed:b"))
    assert [gap.missing for gap in session.losses(SETTLED)] == [1]


def test_a_loss_that_a_record_without_a_number_tells_of_counts_once() -> None:
    """Before the next number comes it is told by itself, then it is the gap around it, which may heal."""
    session = unnumbered(seen([0, 1]), 3, 4000, dropped=2)
    assert [(gap.missing, gap.before) for gap in session.losses(0)] == [(2, 4000)]
    session = seen([5], session)
    assert [(gap.first, gap.last, gap.missing) for gap in session.losses(0)] == [(2, 4, 2)]
    assert lost(seen([2, 3], session), settled_before=0) == []


def test_one_record_without_a_number_leaves_a_session_numbered() -> None:
    """Whichever comes first; only a session that has sent no number at all is one without."""
    books, writer = Books(), Writer("s", "bridge")
    sent = [writer.write(CallStart, place, call=f"c{place}") for place in range(6)]
    sent[2] = sent[2]._replace(record=msgspec.structs.replace(sent[2].record, correlator_index=None))
    for place in (2, 0, 1, 3, 5):
        books.take(Parcel(sent[place].source, [sent[place].record]))
        assert books.sessions["s"].unnumbered is (place == 2)
    assert concluded(books, SETTLED) == [1]
    assert books.sessions["s"].ran_until == (EPOCH + 5) * 1000


def test_told_losses_are_bounded_and_logged() -> None:
    """Each is an event, the newest are kept."""
    books, writer = Books(), Writer("s", "bridge")
    for place in range(TOLD_MAX + 5):
        one = writer.write(CallStart, place, call="c", missing=2)
        (missing,) = (e for e in books.take(Parcel(one.source, [one.record])) if e.event == "records.missing")
        assert (missing.details["missing"], missing.session, missing.call_bridge) == (2, "s", "bridge")
    kept = books.sessions["s"].told
    assert (len(kept), kept[-1].number) == (TOLD_MAX, TOLD_MAX + 4)


def concluded(books: Books, settled_before: int) -> list[int]:
    """Have the losses told that are certain by then; return how many records each event says are missing."""
    events = books.happened(
        lambda keeper, workspace: conclude_losses(keeper, workspace, "s", settled_before, str(settled_before))
    )
    assert {event.event for event in events} <= {"records.missing"}
    return [event.details["missing"] for event in events]


def test_a_gap_that_no_feed_filled_in_time_is_told_once() -> None:
    """Not before, not again, and not what another feed brought meanwhile or the bridge told of itself."""
    books, writer = Books(), Writer("s", "bridge")
    sent = [writer.write(CallStart, place, call=f"c{place}") for place in range(12)]
    sent.append(writer.write(CallStart, 20, call="c20", missing=2))

    def take(*numbers: int, now: int) -> None:
        books.now = now
        books.take(*(Parcel(sent[number].source, [sent[number].record]) for number in numbers))

    take(0, 1, 3, 6, now=1000)
    assert concluded(books, 1000) == []
    take(2, now=1500)
    take(9, now=2000)
    assert concluded(books, 1001) == [2]
    assert concluded(books, 1500) == []
    assert concluded(books, 2001) == [2]
    take(12, now=3000)
    assert concluded(books, 9000) == []


# Which session ended which


class Bridges:
    """Sessions of Call Bridges, each with a call that goes on, taken into books."""

    def __init__(self) -> None:
        self.books = Books(DIRECTORY)
        self.writers: dict[str, Writer] = {}

    def session(self, name: str, bridge: str | None, *seconds: int, feed: str = "") -> list[Sent]:
        """Return records of a session: a call that begins, people who join it later."""
        writer = self.writers.setdefault(name, Writer(name, bridge, feed))
        writer.source = writer.source._replace(call_bridge=bridge, feed=feed)
        return [
            writer.write(CallStart, second, call=f"call-{name}", call_correlator=f"m-{name}", cospace="space-of-alice")
            if not writer.sent
            else writer.write(CallLegStart, second, leg=f"{name}-{second}", call=f"call-{name}", **_IN)
            for second in seconds
        ]

    def take(self, *groups: list[Sent]) -> list[str]:
        """Take records, each in a document of its own; return the events of sessions."""
        events = [
            event for group in groups for one in group for event in self.books.take(Parcel(one.source, [one.record]))
        ]
        return [f"{event.details['replaced_session']}" for event in events if event.event == "session.replaced"]

    @property
    def ends(self) -> dict[str, int | None]:
        """When each session's call ended, in seconds from the beginning."""
        return {
            session: call.end.time // 1000 - EPOCH if call.end else None
            for session in self.writers
            if (call := self.books.calls.get(f"call-{session}"))
        }


_IN: dict[str, Any] = {"direction": "incoming", **person("alice@example.com")}


def test_a_newer_session_ends_what_the_old_one_left_open() -> None:
    """At its first record, marked as estimated, with the license released and the calls named in the event."""
    bridges = Bridges()
    bridges.take(bridges.session("old", "b", 0, 5))
    assert bridges.books.usage["join:personal"] == 1
    events = bridges.books.take(*(Parcel(o.source, [o.record]) for o in bridges.session("new", "b", 60)))
    call = bridges.books.calls["call-old"]
    assert (call.ended, bridges.ends) == (None, {"old": 60, "new": None})
    assert [e.event for e in events] == ["call.started", "call.ended", "session.replaced", "license.released"]
    ended, replaced = events[1:3]
    assert ended.details["end_estimated"] is True
    assert (replaced.call_bridge, replaced.session, replaced.details["calls"]) == ("b", "new", ["call-old"])
    assert bridges.books.usage == {"calls": 1}
    assert bridges.books.meetings["m-old"].timeline.participants == 0


def test_later_records_of_the_old_session_undo_it() -> None:
    """It still ran then, so it was not replaced; its call goes on and its license is in use again."""
    bridges = Bridges()
    bridges.take(bridges.session("old", "b", 0, 5), bridges.session("new", "b", 60))
    bridges.take(bridges.session("old", "b", 70))
    assert bridges.ends == {"old": None, "new": None}
    assert bridges.books.usage["join:personal"] == 1
    assert bridges.books.meetings["m-old"].timeline.participants == 2
    (reopened,) = (event for event in bridges.books.events if event.details.get("reopened"))
    assert (reopened.event, reopened.call, reopened.record_time) == ("call.started", "call-old", (EPOCH + 70) * 1000)


def test_a_call_end_that_comes_late_is_better_than_an_estimate() -> None:
    """The call ended when its callEnd says; a later estimate does not touch it."""
    bridges = Bridges()
    bridges.take(bridges.session("old", "b", 0, 5), bridges.session("new", "b", 60))
    end = bridges.writers["old"].write(CallEnd, 30, call="call-old")
    bridges.take([end])
    assert bridges.ends["old"] == 30
    assert bridges.books.calls["call-old"].end_estimated is None
    bridges.take(bridges.session("newer", "b", 90))
    assert bridges.ends == {"old": 30, "new": 90, "newer": None}


def test_a_later_call_end_of_the_old_session_is_no_estimate() -> None:
    """The call went on after the new session seemed to end it, and everybody in it stayed so long."""
    bridges = Bridges()
    bridges.take(bridges.session("old", "b", 0, 5), bridges.session("new", "b", 60))
    bridges.take([bridges.writers["old"].write(CallEnd, 70, call="call-old")])
    assert bridges.ends["old"] == 70
    assert bridges.books.calls["call-old"].end_estimated is None
    (_, released) = standing_of(bridges.books.meetings["m-old"], "join").transitions
    assert released.at.time == (EPOCH + 70) * 1000


def test_a_clock_that_ran_ahead_for_a_while_hides_no_restart() -> None:
    """What a session wrote last is what has its highest number, not the latest time that it ever told."""
    bridges = Bridges()
    sent = bridges.session("old", "b", 0, 5, 900, 10)
    new = bridges.session("new", "b", 60)
    assert bridges.take(sent, new) == ["old"]
    assert bridges.ends == {"old": 60, "new": None}


def test_a_clock_that_is_set_back_later_shows_a_restart_that_was_hidden() -> None:
    """Also where the record that shows it is the last to come."""
    bridges = Bridges()
    *before, last = bridges.session("old", "b", 0, 5, 900, 10)
    assert bridges.take(before, bridges.session("new", "b", 60)) == []
    assert bridges.take([last]) == ["old"]
    assert bridges.ends == {"old": 60, "new": None}


def open_calls(bridges: Bridges, number: int) -> None:
    """Let a session begin so many calls, each with a holder in it."""
    writer = bridges.writers.setdefault("old", Writer("old", "b"))
    for place in range(number):
        writer.write(CallStart, 0, call=f"c{place:02}", call_correlator=f"m{place:02}", cospace="space-of-nobody")
        writer.write(CallLegStart, 1, leg=f"l{place}", call=f"c{place:02}", **_IN)
    bridges.take(writer.sent)


def test_a_restart_ends_many_calls_in_several_steps() -> None:
    """One batch ends no more than so many, the session knows after which call to go on, and all are ended once."""
    found: list[dict[str, Any]] = []
    for at_once in (3, 100):
        bridges = Bridges()
        bridges.books.calls_at_once = at_once
        open_calls(bridges, 8)
        (new,) = bridges.session("new", "b", 60)
        (replaced,) = (e for e in bridges.books.take(Parcel(new.source, [new.record])) if e.event == "session.replaced")
        assert len(replaced.details["calls"]) + replaced.details.get("more_calls", 0) == 8
        left = [sum(call.end is None for call in bridges.books.calls.values()) - 1]
        while bridges.books.ending:
            bridges.books.bring_in_line("old")
            left.append(sum(call.end is None for call in bridges.books.calls.values()) - 1)
        assert left == ([5, 2, 0] if at_once == 3 else [0])
        assert bridges.books.bring_in_line("old") == []
        ends = [event.call for event in bridges.books.events if event.event == "call.ended"]
        assert sorted(ends) == sorted(set(ends)) == [f"c{place:02}" for place in range(8)]
        assert bridges.books.usage == {"calls": 1}
        found.append(facts(bridges.books))
    assert differences(*found) == []


def test_a_restart_that_is_undone_half_way_leaves_nothing_ended() -> None:
    """Calls that were ended go on, with an event each; those that were not are left alone."""
    bridges = Bridges()
    bridges.books.calls_at_once = 3
    open_calls(bridges, 8)
    bridges.take(bridges.session("new", "b", 60))
    bridges.take([bridges.writers["old"].write(CallLegStart, 70, leg="late", call="c07", **_IN)])
    while bridges.books.ending:
        bridges.books.bring_in_line("old")
    assert all(call.end is None for call in bridges.books.calls.values())
    reopened = [event.call for event in bridges.books.events if event.details.get("reopened")]
    assert reopened == ["c00", "c01", "c02"]


def test_a_call_that_is_heard_of_while_others_are_still_ended_is_ended_at_once() -> None:
    """Its turn would not come any more where its id is before those that are left."""
    bridges = Bridges()
    bridges.books.calls_at_once = 3
    open_calls(bridges, 8)
    late = bridges.writers["old"].write(CallStart, 5, call="a-new-one", call_correlator="m")
    bridges.take(bridges.session("new", "b", 60), [late])
    assert bridges.books.calls["a-new-one"].end is not None
    while bridges.books.ending:
        bridges.books.bring_in_line("old")
    assert bridges.books.usage == {"calls": 1}


def test_a_call_of_a_session_that_was_replaced_has_ended_when_it_becomes_known() -> None:
    """A lagging feed brings more of the old session: what it left open is over already."""
    bridges = Bridges()
    bridges.take(bridges.session("old", "b", 0, 5))
    unknown = bridges.writers["old"].write(CallStart, 5, call="unknown")
    bridges.take(bridges.session("new", "b", 60), [unknown])
    call = bridges.books.calls["unknown"]
    assert call.end == call.place_of_estimate(bridges.books.sessions["new"].first)
    assert bridges.books.usage == {"calls": 1}


def test_an_old_session_of_a_lagging_feed_never_looks_new() -> None:
    """Only record times count: what arrives after the new session's records does not end that."""
    bridges = Bridges()
    old, new = bridges.session("old", "b", 0, 5), bridges.session("new", "b", 60, 65)
    assert bridges.take(new, old) == ["old"]
    assert bridges.ends == {"old": 60, "new": None}


@pytest.mark.parametrize("seed", range(10))
def test_three_restarts_in_any_order(seed: int) -> None:
    """Each session is ended by the first one that began after its last record."""
    bridges = Bridges()
    sent = [
        one
        for name, seconds in {"a": (0, 5), "b": (20, 25), "c": (40, 41), "d": (60,)}.items()
        for one in bridges.session(name, "x", *seconds)
    ]
    Random(seed).shuffle(sent)
    bridges.take(sent)
    assert bridges.ends == {"a": 20, "b": 40, "c": 60, "d": None}


def test_other_bridges_end_nothing() -> None:
    """A session belongs to its Call Bridge, by the name in the document or else by the `bridge` parameter."""
    bridges = Bridges()
    assert bridges.take(bridges.session("a", "x", 0), bridges.session("b", "y", 60)) == []
    assert bridges.take(bridges.session("c", None, 0, feed="p"), bridges.session("d", None, 60, feed="q")) == []
    assert bridges.take(bridges.session("e", None, 120, feed="p")) == ["c"]


def test_one_bridge_that_does_not_name_itself_may_restart() -> None:
    """With only one, a session after the other is a restart."""
    bridges = Bridges()
    assert bridges.take(bridges.session("a", None, 0, 5), bridges.session("b", None, 60)) == ["a"]
    assert not interleaved("", bridges.books.sessions.values())
    assert not [event for event in bridges.books.events if event.event == "bridges.unnamed"]


def test_sessions_without_a_name_that_run_at_the_same_time_end_nothing_of_each_other() -> None:
    """They are several bridges, so what was concluded is taken back; a warning can say what to set."""
    bridges = Bridges()
    bridges.take(bridges.session("a", None, 0, 5), bridges.session("b", None, 60))
    bridges.take(bridges.session("a", None, 70), bridges.session("c", None, 80))
    assert bridges.ends == {"a": None, "b": None, "c": None}
    (warning,) = (event for event in bridges.books.events if event.event == "bridges.unnamed")
    assert "?bridge=" in warning.details["reason"]
    assert interleaved("", bridges.books.sessions.values())
    assert not interleaved("x", bridges.books.sessions.values())


def test_a_session_that_gets_its_name_later_belongs_to_that_bridge() -> None:
    """Who follows the warning and adds the parameter to the receiver's URL is understood at once."""
    bridges = Bridges()
    bridges.take(bridges.session("a", None, 0), bridges.session("b", None, 1), bridges.session("a", None, 2))
    bridges.take(bridges.session("a", None, 3, feed="x"))
    assert bridges.books.sessions["a"].bridge == "x"
    assert {id_: set(bridge.sessions) for id_, bridge in bridges.books.bridges.items()} == {"": {"b"}, "x": {"a"}}
    assert bridges.take(bridges.session("c", None, 60, feed="x")) == ["a"]
    assert bridges.ends == {"a": 60, "b": None, "c": None}


def test_ever_new_names_in_the_url_make_no_more_bridges_than_sessions() -> None:
    """The first name of a session stays, so a sender that names itself anew each time fills nothing."""
    bridges = Bridges()
    for place in range(3 * FEEDS_MAX):
        bridges.take(bridges.session("a", None, place, feed=f"name-{place}"))
    assert list(bridges.books.bridges) == ["name-0"]
    assert len(bridges.books.sessions["a"].seen) <= FEEDS_MAX


def test_the_newest_sessions_of_a_bridge_are_kept() -> None:
    """Whichever come first, those that began last are remembered, and in the end only the last one goes on."""
    names = [f"s{place:02}" for place in range(SESSIONS_MAX + 4)]
    runs = []
    for order in (names, names[::-1]):
        bridges = Bridges()
        sent = {name: bridges.session(name, "b", 10 * place) for place, name in enumerate(names)}
        bridges.take(*(sent[name] for name in order))
        assert set(bridges.books.bridges["b"].sessions) == set(names[4:])
        assert [name for name, end in bridges.ends.items() if end is None][-1] == names[-1]
        runs.append(bridges.books)
    assert differences({"bridges": facts(runs[0])["bridges"]}, {"bridges": facts(runs[1])["bridges"]}) == []
