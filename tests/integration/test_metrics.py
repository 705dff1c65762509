"""`/metrics`: every name that dashboards rely on, over several processes, and while the store is away."""

import os
import re
import signal
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from cdr_service.metrics import BRIDGES_MAX, Metrics
from tests.feed import Feed, call_end, call_start, join
from tests.integration.command import Service, running
from tests.integration.servers import eventually, store_server

CONTRACT = {
    "cdr_documents_total": {"deployment", "outcome"},
    "cdr_records_total": {"deployment", "type", "outcome"},
    "cdr_records_missing_total": {"deployment", "call_bridge"},
    "cdr_document_seconds_bucket": {"deployment", "le"},
    "cdr_commit_seconds_bucket": {"deployment", "le"},
    "cdr_calls_active": {"deployment"},
    "cdr_participants_active": {"deployment"},
    "cdr_licenses_in_use": {"deployment", "type"},
    "cdr_license_limit": {"deployment", "type"},
    "cdr_license_switches_total": {"deployment", "from", "to", "cause", "late"},
    "cdr_bridge_last_record_timestamp_seconds": {"deployment", "call_bridge"},
    "cdr_dead_letters_total": {"deployment", "reason"},
    "cdr_store_up": set(),
    "cdr_store_used_bytes": set(),
    "cdr_store_limit_bytes": set(),
}
"""Names on the page and their labels. What comes with the Meeting Server's API, cdr_reconcile_drift, has no samples."""


def samples(page: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Return the values of a page by name and labels."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            values = found.setdefault(sample.name, {})
            assert labels not in values, f"{sample.name} {labels} twice"
            values[labels] = sample.value
    return found


def counted(service: Service, name: str, **labels: str) -> float:
    """Return the sum of a counter over what has these labels, as one scrape tells it."""
    values = samples(service.metrics()).get(name, {})
    return sum(value for own, value in values.items() if labels.items() <= dict(own).items())


def test_every_name_and_label(tmp_path: Path) -> None:
    """After a meeting that switches and a dead letter, every metric is there with its labels and no other."""
    holders = tmp_path / "holders.csv"
    holders.write_text("user,license,aliases,spaces\nalice@example.com,PMP+,,\n")
    settings = {"CDR_HOLDERS": str(holders), "CDR_LIMIT_SHARED": "3", "CDR_LIMIT_PERSONAL": "5"}
    with running(tmp_path, "serve", settings=settings) as service:
        feed = Feed(call_bridge="cb")
        start = feed.document(call_start("c"), join("bob-1", "c", "09:00:01"), join("alice-1", "c", "09:00:02"))
        assert service.post(start) == 200
        assert service.post(b"no XML") == 200
        page = samples(service.metrics())
    # A loss counts a minute after the gap: tests/faults/test_call_bridges.py.
    for name, labels in CONTRACT.items():
        if name != "cdr_records_missing_total":
            assert page.get(name), name
            for own in page[name]:
                assert {label for label, _ in own} == labels, name
    assert {name for name in page if not re.search(r"_(count|sum|bucket)$", name)} <= set(CONTRACT)
    assert page["cdr_license_switches_total"] == {
        (
            ("cause", "member_joined"),
            ("deployment", "default"),
            ("from", "SMP+"),
            ("late", "false"),
            ("to", "PMP+"),
        ): 1.0
    }
    assert page["cdr_dead_letters_total"][(("deployment", "default"), ("reason", "not_cdr"))] == 1.0
    assert page["cdr_dead_letters_total"][(("deployment", "default"), ("reason", "failed"))] == 0.0


def test_workers_count_together(tmp_path: Path) -> None:
    """Whichever worker is scraped tells of all; one that is killed takes no count with it and leaves no file behind."""
    (temporary := tmp_path / "temporary").mkdir()
    with running(tmp_path, "serve", "--workers", "2", settings={"TMPDIR": str(temporary)}) as service:
        feed = Feed()
        for number in range(20):
            assert service.post(feed.document(call_start(f"c{number}"), call_end(f"c{number}"))) == 200
        for _ in range(10):
            assert counted(service, "cdr_documents_total", outcome="accepted") == 20
            assert counted(service, "cdr_records_total", outcome="applied") == 40
            assert samples(service.metrics())["cdr_calls_active"] == {(("deployment", "default"),): 0.0}
        workers = [child for child in service.descendants() if child != service.process.pid and is_worker(child)]
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        service.wait_for("worker.ended")
        eventually(lambda: len([one for one in service.descendants() if is_worker(one)]) == 3, "there is another")
        for _ in range(10):
            assert counted(service, "cdr_documents_total", outcome="accepted") == 20
        assert len(list(temporary.glob("cdr-metrics-*/counter_*"))) == 2
        assert service.end() == 0
    assert list(temporary.iterdir()) == []


def is_worker(process: int) -> bool:
    """Whether a process is one of the service, supervisor or worker, rather than the store or its guard."""
    return b"cdr_service\0serve" in Path(f"/proc/{process}/cmdline").read_bytes()


def test_the_page_answers_while_the_store_is_away(tmp_path: Path) -> None:
    """Counts are told and `cdr_store_up` is 0, so that an alert can say so; what the store holds is left out."""
    with store_server() as server, running(tmp_path, "serve", settings={"CDR_REDIS_URL": server.url}) as service:
        assert service.post(Feed().document(call_start("c"))) == 200
        assert samples(service.metrics())["cdr_store_up"] == {(): 1.0}
        server.kill()
        assert service.post(Feed("late").document(call_start("d"))) == 503
        page = samples(service.metrics())
        assert page["cdr_store_up"] == {(): 0.0}
        assert page["cdr_documents_total"][(("deployment", "default"), ("outcome", "refused"))] == 1.0
        assert "cdr_calls_active" not in page
        server.start()
        eventually(lambda: samples(service.metrics())["cdr_store_up"] == {(): 1.0}, "the store is back")


def test_a_name_from_the_wire_is_a_label_only_so_often() -> None:
    """However many Call Bridges somebody invents, there are only so many series, each of them once."""
    metrics = Metrics(["default"])
    for number in range(BRIDGES_MAX + 50):
        metrics.missing.labels("default", metrics._bridge(f"bridge-{number}")).inc()
    found = samples(metrics.page([], []).decode())["cdr_records_missing_total"]
    assert len(found) == BRIDGES_MAX + 1
    assert found[(("call_bridge", "other"), ("deployment", "default"))] == 50.0
