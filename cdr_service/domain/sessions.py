"""Sessions of Call Bridges: which of their records were seen, what is missing, and which session replaced which.

A session is one run of a Call Bridge. Its records are numbered without gaps (correlatorIndex), so the numbers seen are
kept as ranges: in-order delivery needs one range however many records come, and a gap between two ranges is a loss that
another feed may still fill. (session, correlatorIndex) is the key against duplicates over all receivers; only a sender
that has none is told apart by recordIndex and feed (`docs/cdr.md`).
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations, pairwise
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from cdr_service.domain.records import OrderKey, Record

RANGES_MAX: Final = 4096
"""Ranges kept per session and feed. Beyond it the oldest are forgotten, which is safe: a record that is taken again
changes nothing, because legs and calls keep what each record said."""

TOLD_MAX: Final = 256
"""Losses kept per session that its bridge told of; the oldest are forgotten first."""

FEEDS_MAX: Final = 16
"""Feeds told apart per session, where records have no correlatorIndex. Beyond it the one known longest is forgotten,
which is as safe as forgetting ranges."""


INTERLEAVED: Final = (
    "Several Call Bridges push here without naming themselves: give each its own ?bridge=NAME in its receiver URL, "
    "so that a restart of one can be told from the others."
)
"""What to change where sessions without a name run at the same time."""


class Range(Struct, frozen=True, array_like=True, gc=False):
    """Record numbers that were all seen."""

    first: int
    last: int
    first_time: int
    """Record time of the first, milliseconds."""
    last_time: int
    noticed: int = 0
    """When the gap before it was noticed, in milliseconds of our clock."""


class Told(Struct, frozen=True, array_like=True, gc=False):
    """The bridge said that it dropped `count` records just before this one (numPreceedingRecordsMissing)."""

    number: int
    count: int
    time: int
    """Record time, milliseconds."""
    feed: str = ""
    """Of a record without correlatorIndex: the feed within which it is numbered."""
    after: int = 0
    """Record time of the record before it in its feed, where it is known and has no correlatorIndex."""

    def concerns(self, gap: "Gap") -> bool:
        """Is something of the gap among what was dropped? What has no number of the session goes by its time."""
        if self.feed:
            return gap.after <= self.time <= gap.before
        return self.number - self.count <= gap.last and gap.first < self.number


class Gap(NamedTuple):
    """Records that were never seen, and the record times between which they were generated."""

    first: int
    last: int
    after: int
    before: int
    noticed: int
    seen: int = 0
    """How many of these were seen all the same."""

    @property
    def missing(self) -> int:
        """How many are missing."""
        return self.last - self.first + 1 - self.seen


class Session(Struct, frozen=True, array_like=True, gc=False):
    """One run of a Call Bridge, as far as its records came."""

    id: str
    bridge: str = ""
    """Its callBridge, or the `bridge` parameter of the receiver URL; empty where it does not name itself."""
    first: OrderKey | None = None
    """Its earliest record."""
    last: int = 0
    """Record time of its latest record, milliseconds."""
    seen: dict[str, tuple[Range, ...]] = {}
    """By feed; the feed is empty for records that have a correlatorIndex."""
    told: tuple[Told, ...] = ()
    replaced: OrderKey | None = None
    """The first record of the session that replaced it: from then on nothing of this one goes on."""
    records: int = 0
    """How many records were taken in."""
    settled: int = 0
    """Gaps noticed before then, by our clock, were told as lost."""
    unnumbered: bool = False
    """It never sent a correlatorIndex, so a loss that it tells of cannot be seen to heal."""
    forgotten: Gap | None = None
    """The numbers up to the first range that is kept, where there were too many: what is missing among them is lost."""
    ending: str | None = None
    """Calls with greater ids than this are still to be ended, or gone on with, as `replaced` says; None: none are."""
    owed: Gap | None = None
    """Records at its end that the Meeting Server says it generated, and that did not come in time."""

    @property
    def latest_number(self) -> int:
        """The highest correlatorIndex seen, and one more for each record that came without one after it; else -1."""
        ranges = self.seen.get("", ())
        return ranges[-1].last + self._placed()[1] if ranges else -1

    @property
    def ran_until(self) -> int:
        """Record time of the record that its bridge wrote last, milliseconds.

        That is the one with the highest number, and not the latest where the bridge's clock was set back.
        """
        ranges = self.seen.get("", ())
        return max(one[-1].last_time for one in (ranges, self._uncounted) if one) if ranges else self.last

    @property
    def _uncounted(self) -> tuple[Range, ...]:
        """What came without a correlatorIndex, by the feed that brought most of it: others bring the same."""
        feeds = [ranges for feed, ranges in self.seen.items() if feed]
        return max(feeds, key=lambda ranges: sum(map(_size, ranges)), default=())

    def has(self, feed: str, number: int) -> bool:
        """Was the record seen before?"""
        ranges = self.seen.get(feed, ())
        if ranges and number > ranges[-1].last:
            return False
        return any(r.first <= number <= r.last for r in ranges)

    def with_record(self, feed: str, number: int, time: int, now: int, dropped: int = 0) -> "Session":
        """Return the session with one more number seen, before which its bridge says that it dropped so many.

        `time` is the record's, `now` our clock, both in milliseconds.
        """
        ranges = self.seen.get(feed, ())
        if self.has(feed, number) or (self.forgotten is not None and not feed and number <= self.forgotten.last):
            return self
        told = self.told
        if feed:  # the numbers show no gap, so what lies around a loss is noted, whichever comes first
            told = tuple(replace(t, after=time) if (t.feed, t.number) == (feed, number + 1) else t for t in told)
        if dropped:
            after = next((r.last_time for r in ranges if r.last == number - 1), 0) if feed else 0
            told = (*told, Told(number, dropped, time, feed, after))[-TOLD_MAX:]
        ranges, forgotten = _added(ranges, number, time, now), self.forgotten
        if len(ranges) > RANGES_MAX:
            if not feed:
                forgotten = _forgotten(forgotten, *ranges[:2])
            ranges = ranges[1:]
        seen = {**self.seen, feed: ranges}
        if len(seen) > FEEDS_MAX:
            del seen[next(known for known in seen if known)]
        return replace(self, seen=seen, told=told, forgotten=forgotten, unnumbered="" not in seen)

    def gaps(self) -> Iterator[Gap]:
        """Yield the gaps in the numbers seen. What came before the first is history that we were never owed.

        A record without its correlatorIndex had a number all the same, which is missing among those seen; so it stands
        for one of the gap that its time lies in.
        """
        return (gap for gap in self._placed()[0] if gap.missing)

    def _placed(self) -> tuple[list[Gap], int]:
        """Return the gaps with what came of each without a number, and how much such came after the last number."""
        gaps: list[Gap] = []
        ranges, uncounted = self.seen.get("", ()), deque(self._uncounted)
        for before, after in pairwise(ranges):
            gap = Gap(before.last + 1, after.first - 1, before.last_time, after.first_time, after.noticed)
            while uncounted and uncounted[0].last_time < gap.after:
                uncounted.popleft()
            while uncounted and uncounted[0].last_time <= gap.before and _size(uncounted[0]) <= gap.missing:
                gap = gap._replace(seen=gap.seen + _size(uncounted.popleft()))
            gaps.append(gap)
        return gaps, sum(_size(one) for one in uncounted if ranges and one.first_time >= ranges[-1].last_time)

    def losses(self, settled_before: int) -> Iterator[Gap]:
        """Yield what is known to be lost: gaps that the bridge told of, and gaps noticed before that moment."""
        if self.forgotten is not None:
            yield self.forgotten
        gaps = list(self.gaps())
        for gap in gaps:
            if gap.noticed < settled_before or any(loss.concerns(gap) for loss in self.told):
                yield gap
        ranges = self.seen.get("", ())
        counted_until = ranges[-1].last_time if ranges else 0
        for loss in self.told:
            # Once a number came after it, the gaps tell what is missing, and whether that heals.
            if loss.feed and loss.time >= counted_until and not any(loss.concerns(gap) for gap in gaps):
                yield Gap(loss.number - loss.count, loss.number - 1, loss.after, loss.time, 0)
        if self.owed is not None and self.owed.last > self.latest_number:
            yield self.owed._replace(first=max(self.owed.first, self.latest_number + 1))
        begins = next(iter(ranges), None)
        told = [loss.number - loss.count for loss in self.told if not loss.feed]
        owed = min(told, default=0)
        if told and begins is not None and owed < begins.first and self.forgotten is None:
            yield Gap(owed, begins.first - 1, 0, begins.first_time, 0)


class Bridge(Struct, frozen=True, array_like=True, gc=False):
    """A Call Bridge of a deployment, and its newest sessions."""

    id: str
    sessions: tuple[str, ...] = ()
    interleaved: bool = False
    """They were seen to run at the same time without a name, which was told."""


SESSIONS_MAX: Final = 16
"""Sessions kept per bridge; a bridge that restarts more often than that within the retention time loses the oldest."""


def _size(one: Range) -> int:
    return one.last - one.first + 1


def _added(ranges: tuple[Range, ...], number: int, time: int, now: int) -> tuple[Range, ...]:
    """Return the ranges with one more number, merged with its neighbors."""
    if ranges and number == ranges[-1].last + 1:
        return (*ranges[:-1], replace(ranges[-1], last=number, last_time=time))
    behind = next((place for place, known in enumerate(ranges) if number < known.first), len(ranges))
    if behind == 0 and ranges:  # what lies before the first was no gap until now
        ranges = (replace(ranges[0], noticed=now), *ranges[1:])
    # A number within a gap parts it in two, and makes neither a new one.
    noticed = ranges[behind].noticed if behind < len(ranges) else now
    new = Range(number, number, time, time, noticed)
    merged: list[Range] = []
    for candidate in (*ranges[:behind], new, *ranges[behind:]):
        before = merged[-1] if merged else None
        if before is not None and before.last + 1 == candidate.first:
            merged[-1] = replace(before, last=candidate.last, last_time=candidate.last_time)
        else:
            merged.append(candidate)
    return tuple(merged)


def _forgotten(before: Gap | None, gone: Range, kept: Range) -> Gap:
    """Return what is known of all forgotten numbers once another range goes; `kept` is the one that follows it."""
    first, after, seen = (before.first, before.after, before.seen) if before else (gone.first, gone.last_time, 0)
    return Gap(first, kept.first - 1, after, kept.first_time, 0, seen + gone.last - gone.first + 1)


def numbered(record: Record, feed: str) -> tuple[str, int]:
    """Return the record's number, and the feed within which it is unique (empty: over all feeds)."""
    if record.correlator_index is not None:
        return "", record.correlator_index
    return f"feed:{feed}", record.record_index or 0


def replacements(bridge: str, sessions: Iterable[Session]) -> Mapping[str, OrderKey | None]:
    """Return for each session of one bridge the first record of the session that replaced it, if one did.

    A session ends when one begins that is newer than everything it sent. Only record times count, so a lagging feed's
    old session never looks new, and a later-dated record of the old session takes the replacement back. Sessions of
    bridges that do not name themselves may belong to several bridges: as soon as two of them are seen to run at the
    same time, none of them ends another.
    """
    begun = _begun(sessions)
    if not bridge and _overlap(begun):
        return {session.id: None for session in begun}
    return {
        session.id: next((o.first for o in begun if o.first and o.first.time > session.ran_until), None)
        for session in begun
    }


def interleaved(bridge: str, sessions: Iterable[Session]) -> bool:
    """Return whether sessions that name no bridge were seen to run at the same time."""
    begun = _begun(sessions)
    return not bridge and _overlap(begun)


def _begun(sessions: Iterable[Session]) -> list[Session]:
    """Return the sessions that sent anything, in the order of their first records."""
    return sorted((s for s in sessions if s.first is not None), key=lambda s: (s.first, s.id))


def _overlap(begun: list[Session]) -> bool:
    return any(a.ran_until >= b.first.time for a, b in combinations(begun, 2) if b.first)
