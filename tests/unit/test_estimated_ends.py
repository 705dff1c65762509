"""Calls whose end is an estimate: closed because nothing was heard of them, and what a later record makes of that."""

from cdr_service.domain.events import Event
from cdr_service.domain.records import (
    CallEnd,
    CallLegEnd,
    CallLegStart,
    CallStart,
    RecordingEnd,
    RecordingStart,
    RejectedRecord,
)
from cdr_service.domain.showing import standing_of
from cdr_service.domain.upkeep import close_stale
from tests.unit.books import Books, Parcel
from tests.unit.facts import differences, facts, folded_anew, timeline
from tests.unit.nasty import DIRECTORY, EPOCH, Sent, Writer, person


class Quiet:
    """A call in which alice is from second 5 on, and of which nothing more is heard."""

    def __init__(self, *, recorded: bool = False) -> None:
        self.books = Books(DIRECTORY)
        self.writer = Writer("s", "bridge")
        self.writer.write(CallStart, 0, call="c", call_correlator="m", cospace="space-of-nobody")
        alice = person("alice@example.com")
        self.writer.write(CallLegStart, 5, leg="l", call="c", direction="incoming", **alice)
        if recorded:
            self.writer.write(RecordingStart, 6, recording="r", call="c")
        self.take(*self.writer.sent)

    def take(self, *sent: Sent) -> list[Event]:
        """Take records, each in a document of its own."""
        return [event for one in sent for event in self.books.take(Parcel(one.source, [one.record]))]

    def close(self) -> list[Event]:
        """Close the call because nothing was heard of it."""
        return self.books.happened(lambda keeper, workspace: close_stale(keeper, workspace, "c"))

    @property
    def license_times(self) -> list[int]:
        """When the license changed, in seconds from the beginning."""
        transitions = standing_of(self.books.meetings["m"], "join").transitions
        return [transition.at.time // 1000 - EPOCH for transition in transitions]

    def is_as_in_order(self) -> bool:
        """Are the facts those of a run in which nothing was ever closed?"""
        undisturbed = Books(DIRECTORY)
        for one in self.writer.sent:
            undisturbed.take(Parcel(one.source, [one.record]))
        different = differences(facts(self.books), facts(undisturbed))
        assert not different, "\n".join(different)
        assert {id_: timeline(one.timeline) for id_, one in self.books.meetings.items()} == folded_anew(self.books)
        return True


def names(events: list[Event]) -> list[str]:
    """Return what the events are called."""
    return [event.event for event in events]


def test_a_stale_call_ends_at_the_last_that_is_known_of_it() -> None:
    """It is marked as an estimate, and its license is free from then on."""
    quiet = Quiet()
    events = quiet.close()
    assert names(events) == ["call.ended", "license.released"]
    assert events[0].details["end_estimated"] is True
    assert quiet.books.calls["c"].end.time == (EPOCH + 5) * 1000
    assert not quiet.books.usage
    assert quiet.close() == []


def test_a_call_end_after_a_stale_close_takes_its_place() -> None:
    """The call ended when its callEnd says, its license was in use until then, nothing is in use now; it is told."""
    quiet = Quiet()
    quiet.close()
    events = quiet.take(quiet.writer.write(CallEnd, 60, call="c", duration_seconds=60))
    call = quiet.books.calls["c"]
    assert (call.ended, call.end_estimated) == (call.end, None)
    assert quiet.license_times == [5, 60]
    assert not quiet.books.usage
    assert names(events) == ["call.ended", "license.released"]
    ended, released = events
    assert (ended.record_time, ended.details["end_estimated"]) == ((EPOCH + 60) * 1000, False)
    assert ended.details["duration_seconds"] == 60
    assert len(released.details["supersedes"]) == 1
    assert quiet.is_as_in_order()


def test_a_call_end_that_was_due_before_the_estimate_takes_its_place() -> None:
    """Also where the call ended before the last that was heard of it by another feed."""
    quiet = Quiet()
    leave, end = quiet.writer.write(CallLegEnd, 20, leg="l"), quiet.writer.write(CallEnd, 15, call="c")
    quiet.take(leave)
    quiet.close()
    events = quiet.take(end)
    assert names(events)[0] == "call.ended"
    assert quiet.license_times == [5, 15]
    assert not quiet.books.usage
    assert quiet.is_as_in_order()


def test_any_record_of_the_call_but_its_end_reopens_it() -> None:
    """A leg's record, a second callStart, or the end of a recording, which does not name the call."""
    for kind, fields in (
        (CallLegEnd, {"leg": "l"}),
        (CallStart, {"call": "c", "call_correlator": "m", "cospace": "space-of-nobody"}),
        (RecordingEnd, {"recording": "r"}),
    ):
        quiet = Quiet(recorded=True)
        quiet.close()
        assert not quiet.books.usage
        events = quiet.take(quiet.writer.write(kind, 60, **fields))
        assert events[0].event == "call.started"
        assert events[0].details["reopened"] is True
        assert quiet.books.calls["c"].end is None
        assert quiet.books.usage["calls"] == 1
        assert quiet.is_as_in_order()


def test_a_second_call_end_changes_nothing_unless_it_is_earlier() -> None:
    """The earliest counts with all that it reports, in whatever order they come."""
    for order in ((0, 1), (1, 0)):
        quiet = Quiet()
        ends = [quiet.writer.write(CallEnd, second, call="c", duration_seconds=second) for second in (40, 50)]
        told = quiet.take(*(ends[place] for place in order))
        call = quiet.books.calls["c"]
        assert (call.end.time, call.reported.duration_seconds) == ((EPOCH + 40) * 1000, 40)
        assert names(told).count("call.ended") == 1
        assert quiet.license_times == [5, 40]


def test_the_earliest_of_several_call_starts_counts() -> None:
    """With all that it says, in whatever order they come, also what kind of meeting it is."""
    writer = Writer("s", "bridge")
    first = writer.write(CallStart, 0, call="c", call_correlator="m", name="First", call_type="coSpace")
    second = writer.write(
        CallStart, 9, call="c", call_correlator="m", name="Second", call_type="forwarding", tenant="t"
    )
    for order in ((first, second), (second, first)):
        books = Books(DIRECTORY)
        for one in order:
            books.take(Parcel(one.source, [one.record]))
        call = books.calls["c"]
        assert (call.name, call.call_type, call.tenant, call.started) == ("First", "coSpace", None, first.order)
        assert books.meetings["m"].call_type == "coSpace"


def test_what_was_taken_before_and_changes_nothing_leaves_a_stale_call_closed() -> None:
    """A dead letter that is tried again brings its whole document, of which the good records were taken at once."""
    quiet = Quiet(recorded=True)
    quiet.close()
    again = [Parcel(one.source, [one.record]) for one in quiet.writer.sent]
    assert quiet.books.take(*again, again=True) == []
    assert quiet.books.calls["c"].is_stale


def test_what_a_dead_letter_tells_anew_goes_on_with_a_stale_call() -> None:
    """A record that was set aside, and so was marked as seen, tells once it is taken that the call went on."""
    quiet = Quiet()
    late = quiet.writer.write(CallLegStart, 60, leg="l2", call="c", direction="incoming", **person("bob"))
    refused = RejectedRecord(reason="", content="{}", correlator_index=late.record.correlator_index)
    quiet.books.take(Parcel(late.source, [], [refused]))
    quiet.close()
    again = [Parcel(one.source, [one.record]) for one in quiet.writer.sent]
    events = quiet.books.take(*again, again=True)
    assert names(events)[:2] == ["call.started", "leg.joined"]
    assert events[0].details["reopened"] is True
    assert quiet.books.calls["c"].end is None
