"""Stores as releases left them, one for each layout, and how one is taken down and put up again.

`python -m tests.layouts` takes down today's. Until a release has a layout, that replaces its file; after that the file
stays as it is for good, and every later release must read it, by a migration where the layout is another.
"""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cdr_service.store.layout import LAYOUT
from tests.integration.command import Service, samples
from tests.integration.servers import StoreServer

FOLDER = Path(__file__).parent
FOR_EVER = {"CDR_RETENTION_DAYS": "18000", "CDR_STALE_CALL_HOURS": "400000", "CDR_RAW_RETENTION_HOURS": "400000"}
"""Settings under which nothing of an old store is removed for its age."""
FIRST = {"web-app-and-sip": 8, "two-bridges": 7, "switch": 4}
"""How many documents of each sample had been taken in; the meeting of the last one goes on."""
QUESTIONS = (
    *("/v1/calls?state=all", "/v1/switches?kind=all&late=all", "/v1/usage", "/v1/bridges", "/v1/dead-letters"),
    "/v1/usage/history?since=2024-03-12T00:00:00Z&until=2024-03-13T00:00:00Z&step=1h",
)
SHORT_LIVED = (":alive:", ":lease:", ":fence")


def file_of(layout: int) -> Path:
    """Return the file of a layout."""
    return FOLDER / f"layout-{layout}.json"


def post_first(service: Service) -> None:
    """Push what a store had taken in when it was taken down, also what cannot be read."""
    for case, count in FIRST.items():
        assert [service.post(body) for body in samples(case)[:count]] == [200] * count
    assert service.post(b"no XML") == 200


def post_rest(service: Service) -> None:
    """Push what had not come yet."""
    for case, count in FIRST.items():
        for body in samples(case)[count:]:
            assert service.post(body) == 200


def answers(service: Service) -> dict[str, Any]:
    """Return what the API says of everything."""
    found = {question: service.get(question) for question in QUESTIONS}
    for call in found["/v1/calls?state=all"]["items"]:
        for path in (f"/v1/calls/{call['id']}", f"/v1/calls/{call['id']}/legs", f"/v1/meetings/{call['meeting']}"):
            found[path] = service.get(path)
    return found


def take_down(server: StoreServer) -> dict[str, Any]:
    """Return all keys with their types and values."""
    asked = _binary(server)
    found = {}
    for name in sorted(key.decode() for key in asked("KEYS", "*")):
        if not any(part in name for part in SHORT_LIVED):
            kind = asked("TYPE", name).decode()
            found[name] = {"type": kind, "value": _text(asked(*_READ[kind](name)))}
    return found


def put_up(server: StoreServer, keys: dict[str, Any]) -> None:
    """Write keys as they were taken down."""
    asked = _binary(server)
    for name, entry in keys.items():
        value = _bytes(entry["value"])
        if entry["type"] == "stream":
            for number, fields in value:
                asked("XADD", name, number, *fields)
        elif entry["type"] == "zset":
            pairs = zip(value[::2], value[1::2], strict=True)
            asked("ZADD", name, *(part for member, score in pairs for part in (score, member)))
        else:
            command = {"string": "SET", "hash": "HSET", "set": "SADD"}[entry["type"]]
            asked(command, name, *([value] if entry["type"] == "string" else value))


_READ: dict[str, Callable[[str], tuple[Any, ...]]] = {
    "string": lambda name: ("GET", name),
    "hash": lambda name: ("HGETALL", name),
    "set": lambda name: ("SMEMBERS", name),
    "zset": lambda name: ("ZRANGE", name, 0, -1, "WITHSCORES"),
    "stream": lambda name: ("XRANGE", name, "-", "+"),
}


def _binary(server: StoreServer) -> Callable[..., Any]:
    return lambda *command: server.ask(*command, decode=False)


def _text(value: Any) -> Any:
    """Return bytes as text that JSON can hold, in base64 where they are none."""
    if isinstance(value, list):
        return [_text(part) for part in value]
    try:
        return value.decode("ascii")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [_bytes(part) for part in value]
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else value.encode()


def write(server: StoreServer, service: Service) -> Path:
    """Write down a store and what the API says of it."""
    file = file_of(LAYOUT)
    told = {"layout": LAYOUT, "keys": take_down(server), "answers": answers(service)}
    file.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return file
