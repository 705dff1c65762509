"""Prometheus metrics of this process. Labels come from settings and closed sets, so their number is bounded."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from cdr_service.domain.commit import Commit, Snapshot
from cdr_service.domain.licensing import PERSONAL, SHARED
from cdr_service.domain.reception import Received
from cdr_service.domain.views import UsageView
from cdr_service.domain.weights import SIXTHS
from cdr_service.domain.workspace import Key
from cdr_service.reading.collection import BridgeView
from cdr_service.service import Store

KNOWN_TYPES: Final = frozenset(
    {
        "callStart",
        "callEnd",
        "callLegStart",
        "callLegUpdate",
        "callLegEnd",
        "recordingStart",
        "recordingEnd",
        "streamingStart",
        "streamingEnd",
    }
)
BRIDGES_MAX: Final = 500
"""Call Bridges that have labels of their own; a cluster has at most 24."""
_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Metrics:
    """What this process counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._bridges: set[str] = set()
        self.documents = Counter(
            "cdr_documents", "Documents answered.", ("deployment", "outcome"), registry=self.registry
        )
        self.records = Counter(
            "cdr_records", "Records received.", ("deployment", "type", "outcome"), registry=self.registry
        )
        self.missing = Counter(
            "cdr_records_missing",
            "Records known to be lost before they reached us.",
            ("deployment", "call_bridge"),
            registry=self.registry,
        )
        self.document_seconds = Histogram(
            "cdr_document_seconds",
            "From a document that has arrived to its answer.",
            ("deployment",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.commit_seconds = Histogram(
            "cdr_commit_seconds",
            "How long the store took for a commit.",
            ("deployment",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.switches = Counter(
            "cdr_license_switches",
            "Changes from one license to another.",
            ("deployment", "from", "to", "cause", "late"),
            registry=self.registry,
        )
        self.dead_letters = Counter(
            "cdr_dead_letters", "Documents and records set aside.", ("deployment", "reason"), registry=self.registry
        )

    def _bridge(self, name: str | None) -> str:
        """Return the label of a Call Bridge. Names come from the wire, so only so many become labels."""
        if name is None or name in self._bridges:
            return name or ""
        if len(self._bridges) >= BRIDGES_MAX:
            return "other"
        self._bridges.add(name)
        return name

    def answered(self, deployment: str, outcome: str, seconds: float) -> None:
        """Count a document that was answered: accepted, or refused because the store or the service was not ready."""
        self.documents.labels(deployment, outcome).inc()
        self.document_seconds.labels(deployment).observe(seconds)

    def page(self, usage: Iterable[UsageView], bridges: Iterable[BridgeView]) -> bytes:
        """Return what this process counted, and what the store holds, in Prometheus' text form."""
        state = CollectorRegistry()
        calls = Gauge("cdr_calls_active", "Live calls.", ("deployment",), registry=state)
        people = Gauge("cdr_participants_active", "People in live meetings.", ("deployment",), registry=state)
        in_use = Gauge(
            "cdr_licenses_in_use", "Meetings on PMP+; SMP+ licenses taken.", ("deployment", "type"), registry=state
        )
        limit = Gauge("cdr_license_limit", "Licenses bought.", ("deployment", "type"), registry=state)
        last = Gauge(
            "cdr_bridge_last_record_timestamp_seconds",
            "Record time of a Call Bridge's latest record.",
            ("deployment", "call_bridge"),
            registry=state,
        )
        for used in usage:
            calls.labels(used.deployment).set(used.calls)
            people.labels(used.deployment).set(used.participants)
            in_use.labels(used.deployment, PERSONAL).set(used.personal.meetings)
            in_use.labels(used.deployment, SHARED).set(used.shared.sixths / SIXTHS)
            for kind, bought in ((PERSONAL, used.personal.limit), (SHARED, used.shared.limit)):
                if bought is not None:
                    limit.labels(used.deployment, kind).set(bought)
        for bridge in bridges:
            if bridge.last_record_at:
                seconds = datetime.fromisoformat(bridge.last_record_at).timestamp()
                last.labels(bridge.deployment, self._bridge(bridge.call_bridge)).set(seconds)
        return generate_latest(self.registry) + generate_latest(state)

    def received(self, deployment: str, received: Sequence[Received]) -> None:
        """Count what became of the records of documents."""
        for outcome in received:
            for record in outcome.taken:
                kind = record.type if record.type in KNOWN_TYPES else "unknown"
                self.records.labels(deployment, kind, "applied").inc()
            if outcome.duplicates:
                self.records.labels(deployment, "any", "duplicate").inc(outcome.duplicates)
            if outcome.rejected:
                self.records.labels(deployment, "any", "rejected").inc(len(outcome.rejected))

    def committed(self, deployment: str, commit: Commit) -> None:
        """Count what a commit brought."""
        for letter in commit.dead_letters:
            self.dead_letters.labels(deployment, letter.kind).inc()
        for event in commit.events:
            details = event.details
            if event.event == "records.missing":
                self.missing.labels(deployment, self._bridge(event.call_bridge)).inc(details["missing"])
            elif event.event == "license.switched":
                late = "true" if details["late"] else "false"
                self.switches.labels(deployment, details["from"], details["to"], details["cause"], late).inc()


class TimedStore:
    """A store whose commits are timed."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    async def load(self, deployment: str, snapshot: Snapshot, keys: Iterable[Key]) -> None:
        """Add things to the snapshot; errors as the store's."""
        await self._store.load(deployment, snapshot, keys)

    async def commit(self, deployment: str, commit: Commit) -> None:
        """Commit; errors as the store's."""
        with self._metrics.commit_seconds.labels(deployment).time():
            await self._store.commit(deployment, commit)
