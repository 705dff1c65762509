"""Every event: in the stream, and on the log of some process."""

import json
from collections.abc import Sequence
from typing import Any

from tests.faults.service import Service, eventually
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


async def every_event_is_printed(store: StoreServer, services: Sequence[Service]) -> None:
    """Wait until every event of the stream stands on a log: a dead process's events are printed by another."""
    wanted = {event["event_id"] for event in stream(store)}
    await eventually(lambda: wanted <= printed(services), "every event is printed")
