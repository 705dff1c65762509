"""What differs between the facts in the books and those derived anew, as values and as sentences."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final, NamedTuple

from msgspec import Struct, structs

from cdr_service.domain.announcements import rfc3339
from cdr_service.domain.calls import Call, Meeting, Recording
from cdr_service.domain.identity import Identity
from cdr_service.domain.legs import Leg, Observation, Observed
from cdr_service.domain.licensing import License
from cdr_service.domain.records import OrderKey
from cdr_service.domain.restating import Facts
from cdr_service.domain.text import printable
from cdr_service.domain.timeline import Standing, Transition

_SHOWN: Final = 200
"""Characters shown of one value."""


class Difference(Struct, frozen=True, kw_only=True):
    """One thing that is not as it was."""

    meeting: str
    subject: str
    """What it is about: a call, a leg, a recording or the meeting, with its id."""
    field: str
    before: str | None
    """None where there was nothing."""
    after: str | None

    @property
    def sentence(self) -> str:
        """Say it to a person."""
        if self.before is None:
            return f"{self.subject}: {self.field} is now {self.after}; there was none."
        if self.after is None:
            return f"{self.subject}: {self.field} was {self.before}; there is none any more."
        return f"{self.subject}: {self.field} was {self.before}, and is now {self.after}."


class Policies(NamedTuple):
    """Which timelines are compared: under every policy, or under the one before with that under the other after."""

    before: str
    after: str


def differences(kept: Facts, anew: Facts, policies: Policies) -> list[Difference]:
    """Return what differs, licenses first. Wording alone, and what depends on arrival, is no difference."""
    home = {leg.id: anew.calls[call].meeting for leg in anew.legs.values() for call in leg.calls if call in anew.calls}
    found: list[Difference] = []
    for meeting in {**kept.meetings, **anew.meetings}.values():
        found += _of_meeting(kept.meetings.get(meeting.id), anew.meetings.get(meeting.id), policies)
    for call in anew.calls.values():
        subject = f"call {call.id}" + (f" ({printable(call.name, 60)})" if call.name else "")
        found += _compared(call.meeting, subject, _call(kept.calls.get(call.id)), _call(call))
    for leg in anew.legs.values():
        found += _compared(home.get(leg.id, ""), f"leg {leg.id}", _fields(kept.legs.get(leg.id)), _fields(leg))
    for recording in anew.recordings.values():
        on = anew.calls.get(recording.call or "")
        old = kept.recordings.get(recording.id)
        found += _compared(on.meeting if on else "", f"recording {recording.id}", _fields(old), _fields(recording))
    return found


def untold(kept: Facts, policy: str) -> list[Difference]:
    """Return which meetings were decided under the policy without anything being told, before it was set."""
    counts = {
        id_: sum(change.event_id is None for change in _transitions(meeting, policy))
        for id_, meeting in kept.meetings.items()
    }
    field = f"number of changes under {policy} that no event tells"
    return [_difference(id_, f"meeting {id_}", field, count, 0) for id_, count in counts.items() if count]


def _of_meeting(kept: Meeting | None, anew: Meeting | None, policies: Policies) -> Iterator[Difference]:
    id_ = (anew or kept or Meeting("")).id
    subject = f"meeting {id_}"
    yield from _compared(id_, subject, _meeting(kept), _meeting(anew))
    pairs = [(policies.before, policies.after)]
    if policies.before == policies.after:
        pairs = [(policy, policy) for policy in sorted({*_standings(kept), *_standings(anew)})]
    for before, after in pairs:
        under = f"license under {after}" if before == after else f"license under {after} (before: under {before})"
        was, now = _changes(_standings(kept).get(before)), _changes(_standings(anew).get(after))
        for at in sorted({*was, *now}):
            for old, new in zip_longest(was.get(at, ()), now.get(at, ())):
                if old is None or new is None or _bare(old) != _bare(new):
                    shown = [change and _change(change) for change in (old, new)]
                    yield _difference(id_, subject, f"{under} at {rfc3339(at.time)}", *shown)


def _compared(
    meeting: str, subject: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> Iterator[Difference]:
    """Yield the fields that differ; a thing that is new, or that is no more, is one difference."""
    if before is None or after is None:
        if before is not after:
            yield _difference(meeting, subject, "it", *(None if one is None else "there" for one in (before, after)))
        return
    for field in after:
        if before[field] != after[field]:
            yield _difference(meeting, subject, field.replace("_", " "), before[field], after[field])


def _difference(meeting: str, subject: str, field: str, before: Any, after: Any) -> Difference:
    return Difference(meeting=meeting, subject=subject, field=field, before=_shown(before), after=_shown(after))


def _fields(thing: Leg | Recording | None) -> dict[str, Any] | None:
    return None if thing is None else structs.asdict(thing)


def _call(call: Call | None) -> dict[str, Any] | None:
    if call is None:
        return None
    return {**structs.asdict(call), "meeting": call.meeting, "recordings": tuple(sorted(call.recordings))}


def _meeting(meeting: Meeting | None) -> dict[str, Any] | None:
    if meeting is None:
        return None
    return {
        "calls": tuple(sorted(meeting.calls)),
        "call_type": meeting.call_type,
        "owner": meeting.owner,
        "participants": meeting.timeline.participants,
        "participants_peak": meeting.timeline.participants_peak,
    }


def _standings(meeting: Meeting | None) -> Mapping[str, Standing]:
    return meeting.timeline.standings if meeting else {}


def _transitions(meeting: Meeting | None, policy: str) -> Sequence[Transition]:
    return _standings(meeting).get(policy, Standing()).transitions


def _changes(standing: Standing | None) -> dict[OrderKey, list[Transition]]:
    found: dict[OrderKey, list[Transition]] = {}
    for transition in standing.transitions if standing else ():
        found.setdefault(transition.at, []).append(transition)
    return found


def _bare(change: Transition) -> tuple[Any, ...]:
    """Return a transition without its wording, without what arrival added, and without what its leg tells."""
    charges = [one and (one.type, one.holder, one.sixths, one.rule) for one in (change.before, change.after)]
    return (*charges, change.cause, change.leg)


def _change(change: Transition) -> str:
    why = [change.cause, change.rule and f"rule {change.rule}", change.leg and f"leg {change.leg}"]
    return f"{_license(change.before)} to {_license(change.after)} ({', '.join(filter(None, why))})"


def _license(license_: License | None) -> str:
    if license_ is None:
        return "nothing"
    return f"{license_.type} of {license_.holder}" if license_.holder else f"{license_.weight} {license_.type}"


def _shown(value: Any) -> str | None:
    """Return a value as text that can do nothing where it is shown; None for nothing."""
    match value:
        case None | () | "":
            return None
        case OrderKey():
            text = rfc3339(value.time)
        case Identity():
            if value.user is None:
                return None
            text = value.user + (" with PMP+" if value.holds_license else "")
        case Observed():
            text = f"{_shown(value.identity) or 'nobody known'} since {rfc3339(value.since.time)}"
        case Observation():
            text = f"{value.seen.name.lower().replace('_', ' ')} at {rfc3339(value.at.time)}"
        case tuple() | list():
            text = _listed(value)
        case Struct():
            known = {name: _shown(one) for name, one in structs.asdict(value).items()}
            text = ", ".join(f"{name.replace('_', ' ')} {one}" for name, one in known.items() if one is not None)
        case bool():
            text = "true" if value else "false"
        case _:
            text = str(value)
    return printable(text, _SHOWN)


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(_shown(one) or "nothing" for one in values)
