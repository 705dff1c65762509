"""What Call Bridges send: a realistic mix of records and meetings, made by the simulator in the order of time.

It is made a piece at a time, so that a backlog of any size takes little memory, and what must be known of it once a
piece is delivered is worked out beside it from the simulator's plans.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import groupby, islice
from typing import Final, NamedTuple

from bench.load import request
from bench.truth import Charge, Known, shown_time
from cdr_service.simulator import people
from cdr_service.simulator.expected import Expected
from cdr_service.simulator.records import Identity, NumberedRecord, document
from cdr_service.simulator.scenarios import START, Arrival, arrivals, identities, in_order

HOLDERS: Final = (*people.HOLDERS, *(f"holder{number}@example.com" for number in range(1, 193)))
"""Who holds PMP+: enough that a fifth of the meetings that go on is paid by one."""
RATE: Final = 50.0
"""Meetings that begin in a minute, on average; some 700 go on at a time."""


class Piece(NamedTuple):
    """A part of the traffic."""

    bodies: list[tuple[Identity, bytes]]
    """Documents in the order of time, and who sends each."""
    records: int

    def requests(self, path: str = "/cdr") -> list[list[bytes]]:
        """Return the requests of each bridge, in order. Bridges that do not name themselves do so in the URL."""
        posts: dict[Identity, list[bytes]] = defaultdict(list)
        for bridge, body in self.bodies:
            posts[bridge].append(request(path if bridge.call_bridge else f"{path}?bridge={bridge.name}", body))
        return list(posts.values())


class Traffic:
    """The traffic of one Meeting Server: of standing-alone Call Bridges, or of a cluster whose meetings span them."""

    def __init__(
        self, seed: int, *, bridges: int, meetings: int | None = None, cluster: bool = False, rate: float = RATE
    ) -> None:
        self._bridges = identities(seed, bridges=bridges, cluster=cluster, sessions=str(seed))
        coming = arrivals(seed, self._bridges, rate=rate, sessions=str(seed), holders=HOLDERS)
        steps = in_order(self._noted(islice(coming, meetings)))
        # All records of a second go into one piece: what is known is known to the second.
        self._seconds = groupby(steps, key=lambda step: int(step.offset))
        self._now = 0
        self._next = [0] * bridges
        self._records = 0
        self._live: dict[str, str] = {}
        self._under_way: list[Expected] = []
        self._charges: dict[str, list[Charge]] = {}

    def take(self, size: int, records: int | None = None) -> Piece:
        """Return what comes next, `size` records a document: some `records` of them, or all that there are."""
        held: dict[int, list[NumberedRecord]] = defaultdict(list)
        made: list[tuple[Identity, bytes]] = []
        before = self._records
        for second, steps in self._seconds:
            self._now = second
            for step in steps:
                time = START + timedelta(seconds=step.offset)
                index = self._next[step.bridge]
                held[step.bridge].append(NumberedRecord(step.record, time, index, index + 1))
                self._next[step.bridge] += 1
                self._records += 1
                if step.record.type == "callStart":
                    self._live[step.record.id] = str(step.record.fields["callCorrelator"])
                elif step.record.type == "callEnd":
                    del self._live[step.record.id]
                if len(held[step.bridge]) == size:
                    made.append(self._document(step.bridge, held.pop(step.bridge)))
            if records is not None and self._records - before >= records:
                break
        made += [self._document(bridge, rest) for bridge, rest in held.items()]
        return Piece(made, self._records - before)

    def known(self) -> Known:
        """Return what must be known once everything that was taken so far is delivered."""
        now = self._now
        stays = (stay for one in self._under_way for presence in one.presences for stay in presence.stays)
        participants = sum(start <= now < end for start, end in stays)
        for one in self._under_way:
            if charges := [
                Charge(shown_time(START + timedelta(seconds=taken.at)), taken.type, taken.holder)
                for taken in one.licenses
                if taken.at <= now
            ]:
                self._charges[one.correlator] = charges
        self._under_way = [one for one in self._under_way if one.end > now]
        return Known(self._records, participants, dict(self._live), self._charges)

    def _document(self, bridge: int, records: list[NumberedRecord]) -> tuple[Identity, bytes]:
        return self._bridges[bridge], document(self._bridges[bridge], records).body

    def _noted(self, coming: Iterable[Arrival]) -> Iterator[Arrival]:
        for arrival in coming:
            self._under_way += arrival.expected
            yield arrival


def bodies(seed: int, size: int, *, meetings: int, bridges: int) -> tuple[list[tuple[str, bytes]], int]:
    """Return bridges' names and bodies of `size` records each, in the order of time, and how many records they hold."""
    piece = Traffic(seed, bridges=bridges, meetings=meetings).take(size)
    return [(bridge.name, body) for bridge, body in piece.bodies], piece.records
