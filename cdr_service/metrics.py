"""Prometheus metrics: what this process and its fellow workers counted, and what the store holds.

Labels come from settings and closed sets, so their number is bounded. What is counted is of one machine and is to be
summed over machines; what the store holds is the same wherever it is asked for, and must not be summed.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest, values
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from cdr_service.domain.commit import Commit, Snapshot
from cdr_service.domain.licensing import PERSONAL, SHARED
from cdr_service.domain.reception import Received
from cdr_service.domain.text import printable
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
DOCUMENT_OUTCOMES: Final = ("accepted", "not_cdr", "refused")
DEAD_LETTER_KINDS: Final = ("not_cdr", "record", "failed")
_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Counting(NamedTuple):
    """Where the workers of one supervisor count together, so that whichever is asked can tell for all."""

    folder: str
    """With a few files of each worker; it goes with the supervisor."""
    worker: int
    """A number that no other living worker has. Its successor goes on with its counts, so that none ever falls."""


class _State(Collector):
    """The gauges of one page, as prometheus-client collects them."""

    def __init__(self, gauges: Sequence[GaugeMetricFamily]) -> None:
        self.gauges = gauges

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield from self.gauges


class Metrics:
    """What this process counts. There is one in a process."""

    def __init__(self, deployments: Iterable[str] = (), counting: Counting | None = None) -> None:
        """Count for these deployments, and with other workers where there are some."""
        disable_created_metrics()  # type: ignore[no-untyped-call]
        if counting is not None:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = counting.folder
            values.ValueClass = values.MultiProcessValue(lambda: counting.worker)  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._counting = counting
        self._bridges: set[str] = set()
        self._duplicates: dict[str, dict[str, int]] = {}
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
        for deployment in deployments:
            # A counter that begins with its first event has no rise that an alert could see.
            for kind in DEAD_LETTER_KINDS:
                self.dead_letters.labels(deployment, kind)
            for outcome in DOCUMENT_OUTCOMES:
                self.documents.labels(deployment, outcome)

    def _bridge(self, name: str | None) -> str:
        """Return the label of a Call Bridge. Names come from the wire, so only so many become labels."""
        name = printable(name or "")
        if not name or name in self._bridges:
            return name
        if len(self._bridges) >= BRIDGES_MAX:
            return "other"
        self._bridges.add(name)
        return name

    def answered(self, deployment: str, outcome: str, seconds: float) -> None:
        """Count a document that was answered: accepted, or refused because the store or the service was not ready."""
        self.documents.labels(deployment, outcome).inc()
        self.document_seconds.labels(deployment).observe(seconds)

    def page(
        self,
        usage: Iterable[UsageView],
        bridges: Iterable[BridgeView],
        drifts: Mapping[tuple[str, str], float] | None = None,
        memory: tuple[int, int] | None = None,
        *,
        store: bool = True,
    ) -> bytes:
        """Return what was counted, and what the store holds where it could be asked, in Prometheus' text form."""
        counted: CollectorRegistry | Collector = self.registry
        if self._counting is not None:
            counted = MultiProcessCollector(None, self._counting.folder)  # type: ignore[no-untyped-call]
        whole = CollectorRegistry()
        whole.register(counted)
        whole.register(_State([*self._gauges(usage, bridges, store=store), _drift(drifts or {}), *_memory(memory)]))
        return generate_latest(whole)

    def _gauges(
        self, usage: Iterable[UsageView], bridges: Iterable[BridgeView], *, store: bool
    ) -> Sequence[GaugeMetricFamily]:
        up = GaugeMetricFamily("cdr_store_up", "1 if the store answered just now, else 0.", value=float(store))
        calls = GaugeMetricFamily("cdr_calls_active", "Live calls.", labels=["deployment"])
        people = GaugeMetricFamily("cdr_participants_active", "People in live meetings.", labels=["deployment"])
        in_use = GaugeMetricFamily(
            "cdr_licenses_in_use", "Meetings on PMP+; SMP+ licenses taken.", labels=["deployment", "type"]
        )
        limit = GaugeMetricFamily("cdr_license_limit", "Licenses bought.", labels=["deployment", "type"])
        last = GaugeMetricFamily(
            "cdr_bridge_last_record_timestamp_seconds",
            "Record time of a Call Bridge's latest record.",
            labels=["deployment", "call_bridge"],
        )
        for used in usage:
            calls.add_metric([used.deployment], used.calls)
            people.add_metric([used.deployment], used.participants)
            in_use.add_metric([used.deployment, PERSONAL], used.personal.meetings)
            in_use.add_metric([used.deployment, SHARED], used.shared.sixths / SIXTHS)
            for kind, bought in ((PERSONAL, used.personal.limit), (SHARED, used.shared.limit)):
                if bought is not None:
                    limit.add_metric([used.deployment, kind], bought)
        for (deployment, name), seconds in self._latest(bridges).items():
            last.add_metric([deployment, name], seconds)
        return up, calls, people, in_use, limit, last

    def _latest(self, bridges: Iterable[BridgeView]) -> dict[tuple[str, str], float]:
        """Return the time of the latest record by deployment and label; those past the limit share one."""
        latest: dict[tuple[str, str], float] = {}
        for bridge in bridges:
            if bridge.last_record_at:
                labels = (bridge.deployment, self._bridge(bridge.call_bridge))
                seconds = datetime.fromisoformat(bridge.last_record_at).timestamp()
                latest[labels] = max(seconds, latest.get(labels, 0.0))
        return latest

    def received(self, deployment: str, received: Sequence[Received]) -> None:
        """Count what became of the records of documents."""
        for outcome in received:
            for record in outcome.taken:
                kind = record.type if record.type in KNOWN_TYPES else "unknown"
                self.records.labels(deployment, kind, "applied").inc()
            if outcome.duplicates:
                self.records.labels(deployment, "any", "duplicate").inc(outcome.duplicates)
                by_bridge = self._duplicates.setdefault(deployment, {})
                by_bridge[outcome.bridge] = by_bridge.get(outcome.bridge, 0) + outcome.duplicates
            if outcome.rejected:
                self.records.labels(deployment, "any", "rejected").inc(len(outcome.rejected))

    def take_duplicates(self) -> dict[str, dict[str, int]]:
        """Return how many duplicates each Call Bridge sent since this was last asked, by deployment and its id."""
        taken, self._duplicates = self._duplicates, {}
        return taken

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


def _drift(drifts: Mapping[tuple[str, str], float]) -> GaugeMetricFamily:
    """Return by how much the server's counts are above ours (or below, negative), where that has lasted."""
    gauge = GaugeMetricFamily(
        "cdr_reconcile_drift",
        "By how much the Meeting Server's own count is above (or below, negative) what it may be by ours.",
        labels=["deployment", "count"],
    )
    for labels, off in drifts.items():
        gauge.add_metric(labels, off)
    return gauge


def _memory(memory: tuple[int, int] | None) -> Sequence[GaugeMetricFamily]:
    """Return how much memory the store has used, and how much it may use, where something bounds it."""
    used = GaugeMetricFamily("cdr_store_used_bytes", "Memory that the store has used of its limit.")
    limit = GaugeMetricFamily("cdr_store_limit_bytes", "Memory that the store may use; past it, it refuses documents.")
    if memory is not None:
        used.add_metric([], memory[0])
        limit.add_metric([], memory[1])
    return used, limit


class TimedStore:
    """A store whose commits are timed."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    async def load(self, deployment: str, snapshot: Snapshot, keys: Iterable[Key], new: Collection[Key] = ()) -> None:
        """Add things to the snapshot; errors as the store's."""
        await self._store.load(deployment, snapshot, keys, new)

    async def commit(self, deployment: str, commit: Commit) -> None:
        """Commit; errors as the store's."""
        with self._metrics.commit_seconds.labels(deployment).time():
            await self._store.commit(deployment, commit)
