"""One holder's license and the meetings that want it: who is served, who waits, and what is remembered."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cdr_service.domain.records import OrderKey
from cdr_service.domain.slots import KEPT_MILLISECONDS, Claim, Ledger, grant, misjudged, with_claims

HOUR = 3600 * 1000


def at(time: int | None) -> OrderKey | None:
    """Return a place in the order, by a time alone."""
    return None if time is None else OrderKey(time, "s", 0)


def claim(wanted: int, ended: int | None = None, granted: int | None = None) -> Claim:
    """Return a claim on Alice's license."""
    return Claim("alice@example.com", OrderKey(wanted, "s", 0), at(granted), at(ended))


def settled(limit: int, *, waits: bool = True, **claims: Claim) -> dict[str, int | None]:
    """Return from when on each meeting's claim is served."""
    ledger = Ledger({meeting: (found,) for meeting, found in claims.items()})
    right = {meeting: found.granted for meeting, found in claims.items()}
    right |= {meeting: served for meeting, _, served in misjudged(ledger, limit, waits=waits)}
    return {meeting: served.time if served else None for meeting, served in right.items()}


def test_claims_are_served_in_the_order_in_which_they_were_wanted() -> None:
    """The first two pay, the third waits; so it is whichever of them became known first."""
    assert settled(2, late=claim(30), first=claim(10), second=claim(20)) == {"first": 10, "second": 20, "late": None}


def test_who_waits_is_served_when_a_place_becomes_free() -> None:
    """From the end of the claim that ends first, and the one that waits longest comes first."""
    claims = {"a": claim(10, 60), "b": claim(20, 50), "c": claim(30), "d": claim(40)}
    assert settled(2, **claims) == {"a": 10, "b": 20, "c": 50, "d": 60}


def test_without_spill_back_a_claim_is_served_at_once_or_never() -> None:
    """A place that becomes free later helps only who asks then."""
    claims = {"a": claim(10, 50), "b": claim(20), "c": claim(50)}
    assert settled(1, waits=False, **claims) == {"a": 10, "b": None, "c": 50}


def test_who_gave_up_waiting_is_never_served() -> None:
    """A claim that ended before a place became free takes none."""
    assert settled(1, a=claim(10, 50), b=claim(20, 40), c=claim(30)) == {"a": 10, "b": None, "c": 50}
    assert settled(1, a=claim(10, 50), b=claim(20, 50), c=claim(30)) == {"a": 10, "b": None, "c": 50}


def test_a_claim_that_ended_at_once_tells_whether_it_could_have_been_served() -> None:
    """A meeting that took another license instead has to be decided anew where this one was free after all."""
    assert settled(1, a=claim(10), b=claim(20, 20)) == {"a": 10, "b": None}
    assert settled(1, b=claim(20, 20)) == {"b": 20}


def test_at_the_same_moment_the_meetings_have_an_order() -> None:
    """One record may end one claim and begin another; two that begin together are served by their names."""
    assert settled(1, a=claim(10), b=claim(10)) == {"a": 10, "b": None}
    assert settled(1, z=claim(10, 20), a=claim(20)) == {"z": 10, "a": 20}


def test_a_new_claim_sees_the_earlier_ones_of_its_own_meeting() -> None:
    """A meeting that emptied and fills again counts its own past, which others waited for."""
    ledger = Ledger({"m": (claim(10, 50, 10),), "n": (claim(20, None, None),)})
    ours = claim(60)
    assert grant(ledger, "m", ours, (claim(10, 50, 10),), 1) is None
    assert grant(ledger, "m", ours, (claim(10, 50, 10),), 1, waits=False) == at(60)
    assert grant(ledger, "m", ours, (), 1, waits=False) is None


def test_what_is_right_is_not_misjudged() -> None:
    """Claims that are served as they assume need no second look."""
    ledger = Ledger({"a": (claim(10, None, 10),), "b": (claim(20),)})
    assert list(misjudged(ledger, 1)) == []
    assert [meeting for meeting, _, _ in misjudged(ledger, 2)] == ["b"]


def test_the_meetings_that_a_license_pays_now() -> None:
    """Those whose claim was granted and has not ended."""
    assert Ledger({"a": (claim(1, None, 1),), "b": (claim(2),), "c": (claim(1, 2, 1),)}).paid == ["a"]


def test_claims_that_ended_long_ago_are_forgotten() -> None:
    """A ledger does not grow for ever."""
    ledger = Ledger()
    for hour in range(1000):
        ledger = with_claims(ledger, f"m{hour}", (claim(hour * HOUR, hour * HOUR + 1000, hour * HOUR),))
    assert len(ledger.claims) <= KEPT_MILLISECONDS / HOUR + 1
    assert with_claims(Ledger(), "m", ()).claims == {}


def test_a_meeting_that_goes_on_for_days_keeps_what_it_waited_for() -> None:
    """An old claim overlaps one that is live, so forgetting it would change when that was served."""
    ledger = Ledger({"old": (claim(0, HOUR, 0),), "live": (claim(60_000, None, HOUR),)})
    for hour in range(2, 200):
        ledger = with_claims(ledger, "another", (claim(hour * HOUR, hour * HOUR + 1, hour * HOUR),))
        assert {"old", "live"} <= set(ledger.claims)
        assert "live" not in [meeting for meeting, _, _ in misjudged(ledger, 1)]


def test_a_claim_that_is_settled_stays_as_it_was_served() -> None:
    """What it waited for may have been forgotten, so nothing is concluded from its absence."""
    days = 100 * HOUR
    ledger = Ledger({"unserved": (claim(10, HOUR),), "live": (claim(20, None, HOUR),), "new": (claim(days),)})
    assert [meeting for meeting, _, _ in misjudged(ledger, 2)] == ["live", "new"]
    served = {meeting: right for meeting, _, right in misjudged(ledger, 2)}
    assert served == {"live": at(20), "new": at(days)}


def test_a_clock_that_runs_ahead_settles_nothing_of_others() -> None:
    """A claim of tomorrow counts as one of now, so what ended an hour ago is neither settled nor forgotten."""
    now = 100 * HOUR
    ledger = Ledger({"first": (claim(now - 5 * HOUR, now - HOUR),), "second": (claim(now - 4 * HOUR, now - HOUR),)})
    ledger = with_claims(ledger, "ahead", (claim(now + 30 * HOUR, now + 31 * HOUR),), now)
    assert set(ledger.claims) == {"first", "second", "ahead"}
    assert next(right for meeting, _, right in misjudged(ledger, 1, now=now) if meeting == "first")
    assert grant(ledger, "late", claim(now - 3 * HOUR, now - HOUR), (), 2, now=now) is None
    days_later = now + 60 * HOUR
    assert "first" not in with_claims(ledger, "new", (claim(days_later),), days_later).claims


moments = st.integers(0, 30)
claims_of_meetings = st.dictionaries(
    st.sampled_from("abcdefgh"),
    st.tuples(moments, st.none() | moments).filter(lambda pair: pair[1] is None or pair[1] >= pair[0]),
)


@given(claims_of_meetings, st.integers(1, 3), st.booleans())
def test_never_more_than_the_limit_and_never_idle(
    wanted: dict[str, tuple[int, int | None]], limit: int, waits: bool
) -> None:
    """Served as they should be, at no time more claims are paid than allowed, and none waits in vain."""
    claims = {meeting: claim(*pair) for meeting, pair in wanted.items()}
    right = settled(limit, waits=waits, **claims)
    served = {meeting: replace(found, granted=at(right[meeting])) for meeting, found in claims.items()}
    assert list(misjudged(Ledger({meeting: (found,) for meeting, found in served.items()}), limit, waits=waits)) == []
    for moment in (OrderKey(time, "s", 0) for time in range(31)):
        paid = [c for c in served.values() if c.granted and c.granted <= moment and (not c.ended or c.ended > moment)]
        assert len(paid) <= limit
        waiting = [
            c
            for c in served.values()
            if c.wanted <= moment and (not c.granted or c.granted > moment) and (not c.ended or c.ended > moment)
        ]
        assert not (waits and waiting and len(paid) < limit)


@given(claims_of_meetings, st.integers(1, 3), st.booleans(), st.integers(0, 30), st.integers(0, 7))
def test_what_is_over_decides_nothing(
    wanted: dict[str, tuple[int, int | None]], limit: int, waits: bool, since: int, gone: int
) -> None:
    """Claims that change at some time, or come new, are served as if all claims before were looked at."""
    claims = {meeting: claim(*pair) for meeting, pair in wanted.items()}
    right = settled(limit, waits=waits, **claims)
    ledger = Ledger({meeting: (replace(c, granted=at(right[meeting])),) for meeting, c in claims.items()})
    new = claim(since)
    whole = Ledger({**ledger.claims, "new": (new,)})
    (served,) = [right for _, found, right in misjudged(whole, limit, at(0), waits=waits) if found is new] or [None]
    assert grant(ledger, "new", new, (), limit, waits=waits) == served
    later = {meeting for meeting, (found,) in ledger.claims.items() if found.wanted.time >= since}
    changed = with_claims(ledger, sorted(later)[gone % len(later)], ()) if later else ledger
    assert list(misjudged(changed, limit, at(since), waits=waits)) == list(misjudged(changed, limit, waits=waits))
