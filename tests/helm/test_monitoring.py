"""Alerts and dashboard: read by Prometheus' own parser, tried on series, and resting on metrics that we have."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cdr_service.metrics import Metrics
from tests.helm.charts import CHART, PROJECT, of_kind, promtool, render

ON = {"metrics.rules.enabled": True, "metrics.dashboard.enabled": True, "metrics.serviceMonitor.enabled": True}
SERIES = 'namespace="voice",job="cdr-cdr-service-api",pod="a"'
ALERTS = {
    *("CdrBridgeSilent", "CdrRecordsMissing", "CdrDeadLetters", "CdrSharedUseHigh", "CdrSharedUseAboveLimit"),
    *("CdrReconcileDrift", "CdrStoreUnavailable", "CdrStoreFull", "CdrServiceAbsent"),
}


def rules(program: str, **values: Any) -> dict[str, Any]:
    """Return the groups of alerts, as Prometheus reads them."""
    given = {**ON, **{f"metrics.rules.{key}": value for key, value in values.items()}}
    return {"groups": of_kind(render(program, values=given), "PrometheusRule")["spec"]["groups"]}


def check(*arguments: object) -> str:
    """Run promtool to its good end."""
    told = subprocess.run([promtool(), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


def fires(program: str, tmp_path: Path, alert: str, at: str, series: dict[str, str], values: Any = None) -> list[str]:
    """Return the texts of an alert at a time, given series by name and labels in promtool's short form."""
    file, test = tmp_path / "rules.yaml", tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump(rules(program, **(values or {}))))
    given = [{"series": name, "values": numbers} for name, numbers in series.items()]
    case = {"interval": "1m", "input_series": given, "alert_rule_test": [{"eval_time": at, "alertname": alert}]}
    test.write_text(yaml.safe_dump({"rule_files": [str(file)], "evaluation_interval": "1m", "tests": [case]}))
    told = subprocess.run([promtool(), "test", "rules", str(test)], capture_output=True, text=True, check=False)
    # Nothing is expected, so that promtool tells what it got instead.
    return re.findall(r'description="([^"]*)"', told.stdout + told.stderr)


def of(name: str, **labels: str) -> str:
    """Return the name of a series of our job."""
    return f"{name}{{{SERIES}{''.join(f',{label}={json.dumps(value)}' for label, value in labels.items())}}}"


def test_prometheus_reads_the_rules(program: str, tmp_path: Path) -> None:
    """Its own parser finds nothing wrong, also with a condition of the user's; each alert of the list is there."""
    for values in ({}, {"silentBridgeOnlyWhen": "hour() >= 8 < 17 and day_of_week() >= 1 < 6"}):
        found = rules(program, **values)
        file = tmp_path / "rules.yaml"
        file.write_text(yaml.safe_dump(found))
        check("check", "rules", file)
        assert {rule["alert"] for group in found["groups"] for rule in group["rules"]} == ALERTS


def test_prometheus_reads_the_dashboard(program: str, tmp_path: Path) -> None:
    """Each panel's query parses once Grafana has put in what it puts in; panels have names and numbers of their own."""
    dashboard = json.loads(of_kind(render(program, values=ON), "ConfigMap", "-dashboard")["data"]["cdr-service.json"])
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels) > 10
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    filled = [query.replace("$deployment", ".*").replace("$__rate_interval", "2m") for query in queries]
    records = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(filled)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": records}]}))
    check("check", "rules", file)


def known() -> set[str]:
    """Return the names on our page, as they are stored."""
    metrics = Metrics(["default"])
    names = set(re.findall(r"^# TYPE (cdr_\w+)", metrics.page([], []).decode(), re.MULTILINE))
    return names | {f"{name}_{part}" for name in names for part in ("bucket", "sum", "count")}


def test_every_metric_is_one_of_ours(program: str) -> None:
    """Whatever alerts and panels look at is on `/metrics`."""
    objects = render(program, values=ON)
    expressions = [
        rule["expr"] for group in of_kind(objects, "PrometheusRule")["spec"]["groups"] for rule in group["rules"]
    ]
    expressions.append(of_kind(objects, "ConfigMap", "-dashboard")["data"]["cdr-service.json"])
    used = {name for text in expressions for name in re.findall(r"\bcdr_\w+", text)}
    assert used <= known()


def test_every_alert_is_explained() -> None:
    """docs/operating.md has a heading for each alert, so that whoever is woken knows what to do."""
    page = (PROJECT / "docs" / "operating.md").read_text()
    assert {line.removeprefix("### ") for line in page.splitlines() if line.startswith("### Cdr")} == ALERTS


def test_prometheus_finds_the_service(program: str) -> None:
    """The ServiceMonitor chooses the API's Service alone, and brings the token; its job is that of the alerts."""
    objects = render(program, CHART / "ci" / "external-values.yaml")
    monitor = of_kind(objects, "ServiceMonitor")["spec"]
    chosen = [
        one["metadata"]["name"]
        for one in objects
        if one["kind"] == "Service" and monitor["selector"]["matchLabels"].items() <= one["metadata"]["labels"].items()
    ]
    assert chosen == ["cdr-cdr-service-api"]
    (endpoint,) = monitor["endpoints"]
    assert (endpoint["port"], endpoint["path"], endpoint["scheme"]) == ("api", "/metrics", "https")
    assert endpoint["authorization"]["credentials"] == {"name": "cdr-tokens", "key": "api-token"}
    assert f'job="{chosen[0]}"' in json.dumps(of_kind(objects, "PrometheusRule")).replace("\\", "")


class TestAlerts:
    """Each alert on series: when it fires, and when it does not."""

    def test_a_silent_bridge(self, program: str, tmp_path: Path) -> None:
        """After the minutes that are set; not one that talks, nor the chart's own test, nor one long gone."""
        last = "cdr_bridge_last_record_timestamp_seconds"
        series = {
            of(last, deployment="default", call_bridge="quiet"): "0x3000",
            of(last, deployment="default", call_bridge="talks"): "0+60x3000",
            of(last, deployment="default", call_bridge="helm-test"): "0x3000",
        }
        values = {"silentBridgeMinutes": 60, "silentBridgeForgetDays": 1}
        assert fires(program, tmp_path, "CdrBridgeSilent", "59m", series, values) == []
        (text,) = fires(program, tmp_path, "CdrBridgeSilent", "70m", series, values)
        assert text == "Call Bridge quiet of deployment default has sent nothing for 1h 10m 0s."
        assert fires(program, tmp_path, "CdrBridgeSilent", "25h", series, values) == []

    def test_a_bridge_that_may_be_silent_at_night(self, program: str, tmp_path: Path) -> None:
        """With a condition on the hour nothing fires outside it; promtool's clock begins at midnight UTC."""
        series = {of("cdr_bridge_last_record_timestamp_seconds", deployment="default", call_bridge="a"): "0x3000"}
        values = {"silentBridgeMinutes": 60, "silentBridgeOnlyWhen": "hour() >= 8 < 17"}
        assert fires(program, tmp_path, "CdrBridgeSilent", "7h", series, values) == []
        assert len(fires(program, tmp_path, "CdrBridgeSilent", "8h10m", series, values)) == 1
        assert fires(program, tmp_path, "CdrBridgeSilent", "18h", series, values) == []

    def test_missing_records(self, program: str, tmp_path: Path) -> None:
        """Also the first loss of a bridge, with which its series begins; an hour later all is quiet again."""
        series = {of("cdr_records_missing_total", deployment="default", call_bridge="a"): "_x10 3x200"}
        assert fires(program, tmp_path, "CdrRecordsMissing", "9m", series) == []
        assert len(fires(program, tmp_path, "CdrRecordsMissing", "12m", series)) == 1
        assert fires(program, tmp_path, "CdrRecordsMissing", "100m", series) == []
        series = {of("cdr_records_missing_total", deployment="default", call_bridge="a"): "3x100 4x100"}
        assert fires(program, tmp_path, "CdrRecordsMissing", "90m", series) == []
        assert len(fires(program, tmp_path, "CdrRecordsMissing", "103m", series)) == 1

    def test_dead_letters(self, program: str, tmp_path: Path) -> None:
        """The first one counts, because the counter begins at nought."""
        series = {of("cdr_dead_letters_total", deployment="default", reason="record"): "0x10 1x200"}
        assert fires(program, tmp_path, "CdrDeadLetters", "9m", series) == []
        (text,) = fires(program, tmp_path, "CdrDeadLetters", "15m", series)
        assert "(record)" in text
        assert fires(program, tmp_path, "CdrDeadLetters", "100m", series) == []

    @pytest.mark.parametrize(
        ("used", "high", "above"),
        [("8", False, False), ("8.5", True, False), ("10", True, False), ("10.2", True, True)],
    )
    def test_shared_licenses(self, program: str, tmp_path: Path, used: str, high: bool, above: bool) -> None:
        """Of ten: more than eight are high, more than ten above the limit; two pods tell the same and count once."""
        series = {
            of("cdr_licenses_in_use", deployment="default", type="SMP+").replace('"a"', pod): f"{used}x60"
            for pod in ('"a"', '"b"')
        }
        series[of("cdr_license_limit", deployment="default", type="SMP+")] = "10x60"
        series[of("cdr_licenses_in_use", deployment="default", type="PMP+")] = "500x60"
        assert len(fires(program, tmp_path, "CdrSharedUseHigh", "20m", series)) == high
        assert len(fires(program, tmp_path, "CdrSharedUseAboveLimit", "20m", series)) == above

    def test_without_a_limit_none_is_exceeded(self, program: str, tmp_path: Path) -> None:
        """Where nobody said how many were bought, neither alert fires."""
        series = {of("cdr_licenses_in_use", deployment="default", type="SMP+"): "50x60"}
        for alert in ("CdrSharedUseHigh", "CdrSharedUseAboveLimit"):
            assert fires(program, tmp_path, alert, "20m", series) == []

    def test_drift(self, program: str, tmp_path: Path) -> None:
        """A difference that lasts, in either direction."""
        series = {
            of("cdr_reconcile_drift", deployment="default", count="shared"): "0x10 -1x60",
            of("cdr_reconcile_drift", deployment="default", count="personal"): "0x100",
        }
        assert fires(program, tmp_path, "CdrReconcileDrift", "20m", series) == []
        assert len(fires(program, tmp_path, "CdrReconcileDrift", "30m", series)) == 1

    def test_a_store_that_is_away(self, program: str, tmp_path: Path) -> None:
        """One pod that cannot reach it suffices; one scrape does not."""
        series = {of("cdr_store_up"): "1x60", of("cdr_store_up").replace('"a"', '"b"'): "1x10 0x1 1x8 0x40"}
        assert fires(program, tmp_path, "CdrStoreUnavailable", "19m", series) == []
        assert len(fires(program, tmp_path, "CdrStoreUnavailable", "25m", series)) == 1

    def test_a_store_that_is_nearly_full(self, program: str, tmp_path: Path) -> None:
        """From nine tenths on; a store without a limit is never full."""
        used, limit = of("cdr_store_used_bytes"), of("cdr_store_limit_bytes")
        assert fires(program, tmp_path, "CdrStoreFull", "9m", {used: "89x10 90x40", limit: "100x60"}) == []
        assert len(fires(program, tmp_path, "CdrStoreFull", "15m", {used: "89x10 90x40", limit: "100x60"})) == 1
        assert fires(program, tmp_path, "CdrStoreFull", "15m", {of("cdr_store_up"): "1x60"}) == []

    def test_a_service_that_is_gone(self, program: str, tmp_path: Path) -> None:
        """Nothing scraped for minutes; another release does not hide it."""
        other = of("cdr_store_up").replace("voice", "other")
        assert fires(program, tmp_path, "CdrServiceAbsent", "20m", {of("cdr_store_up"): "1x60"}) == []
        assert len(fires(program, tmp_path, "CdrServiceAbsent", "20m", {other: "1x60"})) == 1
