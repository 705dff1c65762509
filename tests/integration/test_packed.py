"""Calls that are over are kept packed, which nobody sees: neither who asks for them, nor a record that comes late."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.feed import Feed, Record, call_end, call_start, join, leave
from tests.integration.command import running
from tests.integration.servers import StoreServer, store_server

ENDS = [leave("bob-1", "09:40:00"), leave("alice-1", "09:45:00"), call_end("c")]
RECORDS = [
    *(call_start("c", name="techsupport", callType="coSpace"), join("bob-1", "c"), join("alice-1", "c", "09:10:00")),
    Record(
        "callLegUpdate", "09:10:00", "<callLeg id='alice-1'><deactivated>true</deactivated><call>c</call></callLeg>"
    ),
    Record("callLegUpdate", "09:20:00", "<callLeg id='alice-1'><state>connected</state><call>c</call></callLeg>"),
    *(join("carol-1", "c", "09:30:00"), leave("carol-1", "09:35:00"), *ENDS),
]
LATE = (3, 5, 6)
"""That one leg waited in the lobby, and that another was there at all, is told when everything is over."""


def told(store: StoreServer, home: Path, parts: Sequence[Sequence[bytes]]) -> Any:
    """Push documents, part by part with a restart in between; return what is then said of the call."""
    home.mkdir()
    holders = home / "holders.csv"
    holders.write_text("user,license\nalice@example.com,PMP+\n")
    settings = {"CDR_REDIS_URL": store.url, "CDR_HOLDERS": str(holders), "CDR_RETENTION_DAYS": "18000"}
    found: Any = None
    for part in parts:
        with running(home, "serve", settings=settings) as service:
            assert [service.post(document) for document in part] == [200] * len(part)
            call, legs, meeting = (
                service.get(path) for path in ("/v1/calls/c", "/v1/calls/c/legs", "/v1/meetings/m-c")
            )
            for transition in (*call["transitions"], *meeting["transitions"]):
                del transition["late"]  # what comes late is told to have done so
            found = (call, legs, meeting)
    return found


def packed(store: StoreServer) -> dict[str, bool]:
    """Return for each call, leg and meeting whether it is kept packed: else it begins as a MessagePack array."""
    names = [name for name in store.ask("KEYS", "cdr:*") if name.split(":")[2] in ("call", "leg", "meeting")]
    return {name.removeprefix("cdr:{default}:"): store.ask("GET", name, decode=False)[8] < 0x90 for name in names}


def test_a_record_may_come_when_its_call_is_packed(tmp_path: Path) -> None:
    """It gives what it would have given in its place, also to a process that remembers nothing of the call."""
    feed = Feed()
    documents = [feed.document(record) for record in RECORDS]
    late = [documents[place] for place in LATE]
    early = [document for document in documents if document not in late]
    with store_server() as store:
        in_order = told(store, tmp_path / "in order", [documents])
    with store_server() as store:
        before = told(store, tmp_path / "before", [early])
        assert packed(store) == dict.fromkeys(["call:c", "leg:alice-1", "leg:bob-1", "meeting:m-c"], True)
        after = told(store, tmp_path / "late", [late, [*late, *early]])
        assert all(packed(store).values())
    assert before != in_order == after


def test_what_goes_on_is_not_packed(tmp_path: Path) -> None:
    """Nor is what begins anew: a leg of a call whose end came too early, as it seems, is in a live meeting again."""
    feed = Feed()
    with store_server() as store:
        told(store, tmp_path / "a", [[feed.document(*RECORDS[:2], join("alice-1", "c", "09:10:00"), ENDS[0])]])
        assert packed(store) == {"call:c": False, "leg:alice-1": False, "leg:bob-1": True, "meeting:m-c": False}
        told(store, tmp_path / "b", [[feed.document(ENDS[1])]])
        assert packed(store)["meeting:m-c"]
        call, *_ = told(store, tmp_path / "c", [[feed.document(join("bob-2", "c", "09:50:00"))]])
        assert (call["state"], call["license"]["type"], packed(store)["meeting:m-c"]) == ("active", "SMP+", False)
