"""What must be known after a meeting, worked out from its plan and not from its records.

The license rules are written here once more and on purpose, in a few plain lines: a simulator that shared the rules of
what it tests would prove nothing. They are those of the policy `join` with its default settings, for spaces whose owner
nobody knows, and for holders who have a license free.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from cdr_service.simulator.meeting import Leg, Script, stays


@dataclass(frozen=True, slots=True)
class Presence:
    """One person in a meeting, by however many legs (moved between bridges, or a Lync client)."""

    user: str | None
    """The user's address; None for guests and strangers."""
    legs: tuple[str, ...]
    stays: tuple[tuple[int, int], ...]
    """From when to when: whole seconds from the start of the scenario. Never empty."""


@dataclass(frozen=True, slots=True)
class License:
    """The license of the meeting from a moment on."""

    at: int
    """Whole seconds from the start of the scenario."""
    type: str | None
    """SMP+, PMP+, or None while nobody is in."""
    holder: str | None = None
    """Whose PMP+."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The known answers of one meeting."""

    story: str
    correlator: str
    call_type: str
    name: str
    calls: tuple[str, ...]
    """Call ids, on all bridges."""
    start: int
    """When the first call began, in whole seconds from the start of the scenario."""
    end: int
    """When the last call ended."""
    presences: tuple[Presence, ...]
    peak: int
    """The most people in at a time."""
    uncounted: tuple[str, ...]
    """Legs that never count: recorders, streamers, links, who never got in."""
    licenses: tuple[License, ...]
    """Each change under the policy `join`; the last one is to None."""


def known_answers(known: Expected, start: datetime) -> dict[str, Any]:
    """Return the known answers of a meeting as JSON has them; the scenario began at `start`, a whole second."""

    def at(offset: int) -> str:
        return f"{start + timedelta(seconds=offset):%Y-%m-%dT%H:%M:%SZ}"

    return {
        "meeting": known.correlator,
        "calls": list(known.calls),
        "name": known.name,
        "call_type": known.call_type,
        "started_at": at(known.start),
        "ended_at": at(known.end),
        "participants_peak": known.peak,
        "licenses": [{"at": at(one.at), "type": one.type, "holder": one.holder} for one in known.licenses],
    }


def expect(script: Script, holders: Collection[str]) -> Expected | None:
    """Work out the known answers of a meeting that was played; None where no call came of it."""
    if not script.calls:
        return None
    plan = script.plan
    presences = _presences(leg for leg in plan.legs if leg.role is None)
    counted = {leg for presence in presences for leg in presence.legs}
    legs = [*plan.legs, *(leg for leg, _, _ in script.links)]
    payers = set() if plan.call_type == "forwarding" else set(holders)
    return Expected(
        story=plan.story,
        correlator=plan.correlator,
        call_type=plan.call_type,
        name=plan.name,
        calls=tuple(call.id for call in script.calls),
        start=int(min(call.started for call in script.calls)),
        end=int(script.steps[-1].offset),
        presences=presences,
        peak=_peak(presences),
        uncounted=tuple(leg.id for leg in legs if leg.id not in counted),
        licenses=tuple(_licenses(presences, payers)),
    )


def _presences(legs: Iterable[Leg]) -> tuple[Presence, ...]:
    people: dict[str, list[Leg]] = {}
    for leg in legs:
        first = leg
        while first.moved_from and first.moved_from.id in people:
            first = first.moved_from
        people.setdefault(first.group or first.id, []).append(leg)
    found = (Presence(of[0].person.user, tuple(leg.id for leg in of), _union(of)) for of in people.values())
    return tuple(presence for presence in found if presence.stays)


def _union(legs: Iterable[Leg]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(stay for leg in legs for stay in stays(leg)):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


def _moments(presences: Iterable[Presence]) -> list[tuple[int, int, str | None]]:
    """Who comes (1) and goes (-1), by time."""
    return sorted(
        (
            moment
            for one in presences
            for start, end in one.stays
            for moment in ((start, 1, one.user), (end, -1, one.user))
        ),
        key=lambda moment: moment[:2],
    )


def _peak(presences: Iterable[Presence]) -> int:
    count = peak = 0
    for _, change, _ in _moments(presences):
        count += change
        peak = max(peak, count)
    return peak


def _licenses(presences: Iterable[Presence], payers: Collection[str]) -> Iterable[License]:
    count = 0
    payer: str | None = None
    known = License(0, None)
    for at, moments in groupby(_moments(presences), key=lambda moment: moment[0]):
        for _, change, user in moments:
            count += change
            if change == 1 and payer is None and user in payers:
                payer = user  # and stays the payer, also after leaving, until the meeting is empty
        if count == 0:
            payer = None
        now = License(at, ("PMP+" if payer else "SMP+") if count else None, payer)
        if (now.type, now.holder) != (known.type, known.holder):
            known = now
            yield now
