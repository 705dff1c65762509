"""Meetings that go on and on, placed as a measurement wants them: to see what a record costs as they become more."""

from collections import Counter
from typing import Final
from uuid import NAMESPACE_OID, uuid5

from bench.truth import Charge, Known

START: Final = "2026-01-05T09:00:00Z"


def _id(name: str) -> str:
    return str(uuid5(NAMESPACE_OID, name))


class Meetings:
    """The meetings of one Call Bridge, of people whom nobody knows; each record that is asked for counts as sent."""

    def __init__(self, bridge: str = "growth") -> None:
        self.bridge = bridge
        self._next = 0
        self._call_of: dict[str, str] = {}
        self._people: Counter[str] = Counter()

    def _record(self, kind: str, content: str) -> str:
        self._next += 1
        numbers = f'recordIndex="{self._next}" correlatorIndex="{self._next - 1}"'
        return f'<record type="{kind}" time="{START}" {numbers}>{content}</record>'

    def call(self, call: str) -> str:
        """Return the record that begins a call."""
        self._people[call] = 0
        told = (
            f"<name>{call}</name><callType>coSpace</callType><callCorrelator>{_id(call + '/meeting')}</callCorrelator>"
        )
        return self._record("callStart", f'<call id="{_id(call)}">{told}</call>')

    def leg(self, call: str, leg: str) -> str:
        """Return the record by which a leg comes into a call."""
        self._call_of[leg] = call
        self._people[call] += 1
        who = f"<remoteParty>{leg}@example.com</remoteParty><displayName>{leg}</displayName>"
        told = f"{who}<type>sip</type><direction>incoming</direction><call>{_id(call)}</call>"
        return self._record("callLegStart", f'<callLeg id="{_id(leg)}">{told}</callLeg>')

    def update(self, call: str, leg: str) -> str:
        """Return the record that says that a leg is connected."""
        told = f"<state>connected</state><call>{_id(call)}</call>"
        return self._record("callLegUpdate", f'<callLeg id="{_id(leg)}">{told}</callLeg>')

    def end(self, leg: str) -> str:
        """Return the record that ends a leg."""
        self._people[self._call_of.pop(leg)] -= 1
        told = "<reason>remoteTeardown</reason><durationSeconds>60</durationSeconds>"
        return self._record("callLegEnd", f'<callLeg id="{_id(leg)}">{told}</callLeg>')

    def call_end(self, call: str) -> str:
        """Return the record that ends a call in which nobody is."""
        del self._people[call]
        return self._record("callEnd", f'<call id="{_id(call)}"><durationSeconds>60</durationSeconds></call>')

    def body(self, *records: str) -> bytes:
        """Return a document."""
        return f'<records session="{_id(self.bridge)}">{"".join(records)}</records>'.encode()

    def known(self) -> Known:
        """Return what must be known once all records are delivered: each call that somebody is in takes SMP+."""
        calls = {_id(call): _id(call + "/meeting") for call in self._people}
        taken = [Charge(START, "SMP+", None)]
        charges = {_id(call + "/meeting"): taken for call, people in self._people.items() if people}
        return Known(self._next, self._people.total(), calls, charges)


def known_of(bridges: list[Meetings]) -> Known:
    """Return what must be known of several bridges, which share no meeting."""
    all_known = [bridge.known() for bridge in bridges]
    return Known(
        sum(known.records for known in all_known),
        sum(known.participants for known in all_known),
        {call: meeting for known in all_known for call, meeting in known.calls.items()},
        {meeting: taken for known in all_known for meeting, taken in known.charges.items()},
    )
