"""Every event: in the stream, and on the log of some process."""

import json
from collections.abc import Sequence
from typing import Any

from tests.faults.service import LONG, Service, eventually
from tests.integration.servers import StoreServer


def stream(store: StoreServer) -> list[dict[str, Any]]:
    """Return the events of the event stream."""
    return [
        json.loads(fields[fields.index("e") + 1])
        for _, fields in store.ask("XRANGE", *("cdr:{default}:events", "-", "+"))
    ]


def printed(services: Sequence[Service]) -> set[str]:
    """Return the ids of all events that stand on a log."""
    return {line["event_id"] for one in services for line in one.lines() if "event_id" in line}


async def every_event_is_printed(
    store: StoreServer, services: Sequence[Service], events: Sequence[dict[str, Any]] | None = None
) -> None:
    """Wait until every event of the stream, or these, stands on a log: a dead process's are printed by another.

    Processes count as dead after a quarter of a minute, for which only the long form waits; in the short one all signs
    of life and leases are removed, of which the living take theirs again.
    """
    wanted = {event["event_id"] for event in (stream(store) if events is None else events)}
    for kind in () if LONG else ("alive", "lease"):
        for sign in store.ask("KEYS", f"cdr:{{default}}:{kind}:*"):
            store.ask("DEL", sign)
    await eventually(lambda: wanted <= printed(services), "every event is printed")
