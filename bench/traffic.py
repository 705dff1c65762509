"""Documents as Call Bridges send them: a realistic mix of records and meetings, made beforehand."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final
from uuid import NAMESPACE_OID, uuid5

from bench.load import request
from cdr_service.simulator.records import Identity, NumberedRecord, document
from cdr_service.simulator.scenarios import documents, generate

START: Final = "2026-01-05T09:00:00Z"


def _in_order(seed: int, meetings: int, bridges: int) -> Iterator[tuple[Identity, NumberedRecord]]:
    scenario = generate(seed, meetings=meetings, bridges=bridges, rate=50, sessions=str(seed))
    for each in documents(scenario, largest=1):
        for record in each.records:
            yield each.bridge, record


def bodies(seed: int, size: int, *, meetings: int, bridges: int) -> tuple[list[tuple[str, bytes]], int]:
    """Return bridges' names and bodies of `size` records each, in the order of time, and how many records they hold."""
    held: dict[Identity, list[NumberedRecord]] = defaultdict(list)
    made: list[tuple[str, bytes]] = []
    count = 0
    for bridge, record in _in_order(seed, meetings, bridges):
        held[bridge].append(record)
        count += 1
        if len(held[bridge]) == size:
            made.append((bridge.name, document(bridge, held.pop(bridge)).body))
    made += [(bridge.name, document(bridge, records).body) for bridge, records in held.items()]
    return made, count


def requests(seed: int, size: int, *, meetings: int, bridges: int) -> tuple[list[list[bytes]], int]:
    """Return the requests of each bridge, in order, and how many records they hold."""
    made, count = bodies(seed, size, meetings=meetings, bridges=bridges)
    posts: dict[str, list[bytes]] = defaultdict(list)
    for bridge, body in made:
        posts[bridge].append(request(f"/cdr?bridge={bridge}", body))
    return list(posts.values()), count


def _id(name: str) -> str:
    return str(uuid5(NAMESPACE_OID, name))


class Meetings:
    """Meetings that begin and do not end, on one bridge: to see what a record costs as they become more."""

    def __init__(self, session: str = "growth") -> None:
        self._session = session
        self._next = 0

    def _record(self, kind: str, content: str) -> str:
        self._next += 1
        numbers = f'recordIndex="{self._next}" correlatorIndex="{self._next - 1}"'
        return f'<record type="{kind}" time="{START}" {numbers}>{content}</record>'

    def call(self, call: str) -> str:
        """Return the record that begins a call."""
        told = (
            f"<name>{call}</name><callType>coSpace</callType><callCorrelator>{_id(call + '/meeting')}</callCorrelator>"
        )
        return self._record("callStart", f'<call id="{_id(call)}">{told}</call>')

    def leg(self, call: str, leg: str) -> str:
        """Return the record by which a leg comes into a call."""
        who = f"<remoteParty>{leg}@example.com</remoteParty><displayName>{leg}</displayName>"
        told = f"{who}<type>sip</type><direction>incoming</direction><call>{_id(call)}</call>"
        return self._record("callLegStart", f'<callLeg id="{_id(leg)}">{told}</callLeg>')

    def update(self, call: str, leg: str) -> str:
        """Return the record that says that a leg is connected."""
        told = f"<state>connected</state><call>{_id(call)}</call>"
        return self._record("callLegUpdate", f'<callLeg id="{_id(leg)}">{told}</callLeg>')

    def end(self, leg: str) -> str:
        """Return the record that ends a leg."""
        told = "<reason>remoteTeardown</reason><durationSeconds>60</durationSeconds>"
        return self._record("callLegEnd", f'<callLeg id="{_id(leg)}">{told}</callLeg>')

    def call_end(self, call: str) -> str:
        """Return the record that ends a call."""
        return self._record("callEnd", f'<call id="{_id(call)}"><durationSeconds>60</durationSeconds></call>')

    def body(self, *records: str) -> bytes:
        """Return a document."""
        return f'<records session="{_id(self._session)}">{"".join(records)}</records>'.encode()
