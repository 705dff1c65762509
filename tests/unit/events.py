"""What events about licenses tell, to be held against the timelines."""

from cdr_service.domain.calls import Meeting
from cdr_service.domain.events import Event
from cdr_service.domain.showing import standing_of
from cdr_service.domain.timeline import Transition
from tests.unit.books import Books


def hear(standing: dict[str, Event], events: list[Event]) -> None:
    """Take note of events about licenses as a reader of the stream does."""
    for event in events:
        if not event.event.startswith("license."):
            continue
        for superseded in event.details.get("supersedes", ()):
            del standing[superseded]
        assert event.event_id not in standing
        if "user" in event.details:  # else it only tells that what had been told did not happen
            standing[event.event_id] = event


def heard(standing: dict[str, Event]) -> dict[str, tuple[object, ...]]:
    """Return what the events that stand tell of the timelines."""
    return {id_: _heard(event) for id_, event in standing.items()}


def told(books: Books) -> dict[str | None, tuple[object, ...]]:
    """Return the transitions under the deciding policy by the events that told of them."""
    return {
        transition.event_id: _told(meeting, transition)
        for meeting in books.meetings.values()
        for transition in standing_of(meeting, books.options.policy).transitions
    }


def _told(meeting: Meeting, transition: Transition) -> tuple[object, ...]:
    before, after = transition.before, transition.after
    return (
        *(meeting.id, transition.at.time, before and before.type, before and before.holder, after and after.type),
        *(after and after.holder, after and after.weight, transition.rule, transition.leg),
        *(transition.user, transition.reason, transition.late),
    )


def _heard(event: Event) -> tuple[object, ...]:
    about = event.details
    return (
        *(event.meeting, event.record_time, about["from"], about["from_holder"], about["to"]),
        *(about["holder"], about["weight"], about["rule"], event.leg),
        *(about["user"], about["reason"], about["late"]),
    )
