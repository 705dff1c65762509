"""What must not depend on how records arrive, read from the books; and what must hold of it at any time."""

import re
from collections.abc import Iterable
from itertools import count
from typing import Any

from msgspec.structs import replace

from cdr_service.domain.calls import Call, Recording
from cdr_service.domain.records import OrderKey
from cdr_service.domain.settling import Settling
from cdr_service.domain.slots import misjudged
from cdr_service.domain.timeline import Standing, Timeline, Transition
from cdr_service.domain.workspace import LEGS_OF, NeedsLoad, Workspace
from tests.unit.books import Books


def facts(books: Books) -> dict[str, Any]:
    """Return everything that the records tell, without what arrival alone decides.

    Left out are ids of events, marks of lateness, when a gap was noticed, up to where a timeline was folded, and the
    order in which things of equal standing became known.
    """
    return {
        "calls": {id_: replace(call, recordings=tuple(sorted(call.recordings))) for id_, call in books.calls.items()},
        "legs": books.legs,
        "legs of calls": {key[1]: legs for key, legs in books.things.items() if key[0] == LEGS_OF},
        "recordings": books.of(Recording),
        "meetings": {
            id_: replace(meeting, calls=tuple(sorted(meeting.calls)), timeline=timeline(meeting.timeline))
            for id_, meeting in books.meetings.items()
        },
        "ledgers": {
            key: {meeting: set(claims) for meeting, claims in ledger.claims.items()}
            for key, ledger in books.ledgers.items()
            if ledger.claims
        },
        "sessions": {
            id_: replace(
                session,
                told=tuple(sorted(session.told, key=lambda told: told.number)),
                seen={feed: tuple(replace(one, noticed=0) for one in ranges) for feed, ranges in session.seen.items()},
            )
            for id_, session in books.sessions.items()
        },
        "bridges": {id_: set(bridge.sessions) for id_, bridge in books.bridges.items() if bridge.sessions},
        "usage": dict(books.usage),
    }


def timeline(of: Timeline) -> Timeline:
    """Return a timeline without what arrival added, in an order of its own."""
    standings = {
        policy: replace(
            standing,
            transitions=tuple(map(change, standing.transitions)),
            claims=tuple(sorted(standing.claims, key=lambda claim: (claim.wanted, claim.holder))),
            candidates=tuple(sorted(standing.candidates, key=lambda candidate: candidate.user)),
        )
        for policy, standing in of.standings.items()
    }
    known = {policy: standing for policy, standing in standings.items() if standing != Standing()}
    return replace(of, horizon=OrderKey(0, "", 0), undo=None, standings=known)


def change(transition: Transition) -> Transition:
    """Return a transition without what arrival added."""
    return replace(transition, late=False, event_id=None)


def folded_anew(books: Books) -> dict[str, Timeline]:
    """Return the timelines of all meetings, each folded from everything that is known of it."""
    loaded: dict[Any, Any] = dict(books.things)
    while True:
        workspace = Workspace(loaded)
        settling = Settling(workspace, books.options, map(str, count()))
        for meeting in books.meetings:
            settling.fold_whole(meeting)
        try:
            settling.run()
        except NeedsLoad as need:
            loaded |= {key: frozenset() if key[0] == LEGS_OF else None for key in need.keys}
            continue
        found = [workspace.meeting(id_) for id_ in books.meetings]
        return {meeting.id: timeline(meeting.timeline) for meeting in found if meeting}


def misjudged_claims(books: Books) -> list[Any]:
    """Return the claims that are served otherwise than the others allow. There must be none."""
    options = books.options
    return [
        (key, found)
        for key, ledger in books.ledgers.items()
        for found in misjudged(ledger, options.pmp_calls_per_user, waits=options.spill_back)
    ]


def paid(books: Books, policy: str, holder: str) -> list[tuple[OrderKey, OrderKey | None, str]]:
    """Return when the holder's license paid which meeting, by the transitions."""
    found: list[tuple[OrderKey, OrderKey | None, str]] = []
    for id_, meeting in books.meetings.items():
        since: OrderKey | None = None
        for transition in meeting.timeline.standings.get(policy, Standing()).transitions:
            if since is not None:
                found.append((since, transition.at, id_))
                since = None
            if transition.after is not None and transition.after.holder == holder:
                since = transition.at
        if since is not None:
            found.append((since, None, id_))
    return found


def calls_that_go_on(calls: Iterable[Call]) -> list[str]:
    """Return the calls without an end."""
    return [call.id for call in calls if call.end is None]


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Return where two sets of facts differ, in words that can be read."""
    told: list[str] = []
    for kind, things in expected.items():
        for id_ in {*found[kind], *things}:
            one, other = found[kind].get(id_), things.get(id_)
            if one != other:
                told += [f"{kind} {id_}", f"  found    {_readable(one)}", f"  expected {_readable(other)}"]
    return told


def _readable(thing: Any) -> str:
    return re.sub(r"OrderKey\(time=17676(\d*)000, session='([^']*)', number=(\d*)\)", r"\1/\2/\3", repr(thing))


def overpaid(books: Books, policy: str, holder: str) -> list[Any]:
    """Return the times at which the holder's license pays more meetings than it may. There must be none."""
    spans = paid(books, policy, holder)
    limit = books.options.pmp_calls_per_user
    return [at for at, _, _ in spans if sum(_lasts(since, until, at) for since, until, _ in spans) > limit]


def idle_while_wanted(books: Books, policy: str, holder: str) -> list[Any]:
    """Return the times at which a meeting waits for the holder's license, which could pay it. There must be none."""
    if not books.options.spill_back or (policy, holder) not in books.ledgers:
        return []
    claims = [c for kept in books.ledgers[policy, holder].claims.values() for c in kept]
    spans = paid(books, policy, holder)
    times = {at for claim in claims for at in (claim.wanted, claim.granted, claim.ended) if at}
    return [
        at
        for at in sorted(times)
        if any(_lasts(c.wanted, c.granted or c.ended, at) for c in claims)
        and sum(_lasts(since, until, at) for since, until, _ in spans) < books.options.pmp_calls_per_user
    ]


def _lasts(since: OrderKey, until: OrderKey | None, at: OrderKey) -> bool:
    return since <= at and (until is None or at < until)
