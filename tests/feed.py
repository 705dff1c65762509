"""A Call Bridge for tests: writes CDR documents whose records are numbered as a real one numbers them."""

from itertools import count
from typing import NamedTuple


class Record(NamedTuple):
    """A record without its numbers."""

    type: str
    time: str
    """HH:MM:SS on 12 March 2024."""
    content: str
    missing: int = 0


class Feed:
    """One session of one Call Bridge, seen by a receiver that was there from the start."""

    def __init__(self, session: str = "s", call_bridge: str | None = None) -> None:
        self._head = f'session="{session}"' + (f' callBridge="{call_bridge}"' if call_bridge else "")
        self._indices = count(1)
        self.next_correlator = 0
        """Raise it to lose records on the way."""

    def document(self, *records: Record) -> bytes:
        """Return one document with these records."""
        return f"<records {self._head}>{''.join(map(self._numbered, records))}</records>".encode()

    def _numbered(self, record: Record) -> str:
        missing = f' numPreceedingRecordsMissing="{record.missing}"' if record.missing else ""
        numbers = f'recordIndex="{next(self._indices)}" correlatorIndex="{self.next_correlator}"{missing}'
        self.next_correlator += 1
        return f'<record type="{record.type}" time="2024-03-12T{record.time}Z" {numbers}>{record.content}</record>'


def call_start(call: str, time: str = "09:00:00", meeting: str | None = None, **elements: str) -> Record:
    """Return a callStart; the meeting is `m-` and the call's id where none is given."""
    told = {"callCorrelator": meeting or f"m-{call}", **elements}
    return Record("callStart", time, f"<call id='{call}'>{_elements(told)}</call>")


def call_end(call: str, time: str = "10:00:00") -> Record:
    """Return a callEnd."""
    return Record("callEnd", time, f"<call id='{call}'/>")


def join(leg: str, call: str, time: str = "09:00:00", **elements: str) -> Record:
    """Return the callLegStart of a signed-in app user, `alice` for `alice@example.com`, who is in at once."""
    told = {"type": "acano", "direction": "incoming", "remoteParty": f"{leg.partition('-')[0]}@example.com", **elements}
    return Record("callLegStart", time, f"<callLeg id='{leg}'>{_elements({**told, 'call': call})}</callLeg>")


def leave(leg: str, time: str = "09:30:00") -> Record:
    """Return a callLegEnd."""
    return Record("callLegEnd", time, f"<callLeg id='{leg}'><reason>remoteTeardown</reason></callLeg>")


def _elements(told: dict[str, str]) -> str:
    return "".join(f"<{name}>{value}</{name}>" for name, value in told.items())
