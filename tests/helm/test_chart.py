"""The rendered objects: valid by Kubernetes' own schemas, restricted, and put together as the service needs it."""

import json
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from cdr_service.settings import load_settings
from tests.helm.charts import (
    CASES,
    CHART,
    PROJECT,
    Objects,
    config,
    container,
    defaults,
    helm,
    of_kind,
    pods,
    refusal,
    render,
)
from tests.integration.command import environment

EXTERNAL = CHART / "ci" / "external-values.yaml"
KUBERNETES = ("1.25.0", "1.34.0")
"""The oldest that Chart.yaml names, and a recent one."""
CIDRS = ["192.0.2.0/24"]
OPERATOR = {"ServiceMonitor", "PrometheusRule"}
"""Kinds that Kubernetes has no schemas for."""
SAMPLES = ["defaults", *[case.name for case in CASES]]


def sample(program: str, case: str) -> Objects:
    """Render with the defaults, or with the values of a file in helm/ci."""
    return render(program) if case == "defaults" else render(program, CHART / "ci" / case)


@pytest.mark.parametrize("case", SAMPLES)
def test_lint_finds_nothing(program: str, case: str) -> None:
    """`helm lint --strict` passes with the defaults and with every file of values."""
    more = () if case == "defaults" else ("-f", str(CHART / "ci" / case))
    told = helm(program, "lint", "--strict", str(CHART), *more)
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.parametrize("case", SAMPLES)
def test_every_object_is_valid(program: str, case: str) -> None:
    """Each object passes Kubernetes' own schema, strictly, in the oldest and a recent release."""
    objects = sample(program, case)
    names = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(set(names)) == len(names)
    for one in objects:
        if one["kind"] not in OPERATOR:
            for version in KUBERNETES:
                kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("case", SAMPLES)
def test_every_pod_is_restricted(program: str, case: str) -> None:
    """What the restricted Pod Security Standard asks for, a read-only root, no token, and no variables of Services."""
    for pod in pods(sample(program, case)):
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for one in pod["containers"]:
            context = one["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert one["resources"]["limits"]["memory"]
            mounts = {mount["name"] for mount in one["volumeMounts"]}
            assert mounts <= {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("case", SAMPLES)
def test_the_service_starts_with_the_rendered_settings(program: str, case: str, tmp_path: Path) -> None:
    """The TOML file is what the service itself accepts, once the files are where it expects them."""
    text = config(sample(program, case))
    folder = tmp_path / "etc"
    for path in re.findall(r'"(/etc/cdr-service/[^"]+)"', text):
        file = folder / path.removeprefix("/etc/cdr-service/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("redis://redis" if path.endswith("redis-url") else "s" * 40)
    given = tmp_path / "config.toml"
    given.write_text(text.replace("/etc/cdr-service", str(folder)))
    settings = load_settings(given, environment(tmp_path))
    assert str(settings.intake_bind) == "0.0.0.0:8080"
    assert settings.api_token is not None
    if case == EXTERNAL.name:
        assert set(settings.deployments) == {"default", "branch", "lab"}
        default, branch = settings.deployments["default"], settings.deployments["branch"]
        assert (default.policy, default.limit_shared, default.event_max) == ("owner", 20, 2_000_000)
        assert (default.licensing.spill_back, branch.licensing.claim_at) == (False, "first_leg")
        assert default.cms_password is not None
        assert branch.holders == folder / "holders" / "branch.toml"


@pytest.mark.parametrize("case", SAMPLES)
def test_no_secret_is_in_sight(program: str, case: str) -> None:
    """Tokens and passwords are in Secrets and files, never in a variable, an argument or a ConfigMap."""
    objects = sample(program, case)
    secrets = [value for one in objects if one["kind"] == "Secret" for value in one["data"].values()]
    shown = json.dumps([one for one in objects if one["kind"] != "Secret"])
    assert not [value for value in secrets if value in shown]
    keys = tomllib.loads(config(objects))
    assert not {"api_token", "intake_token", "cms_password"} & set(keys)
    assert "@" not in keys.get("redis_url", "")


def test_every_file_is_mounted(program: str) -> None:
    """Each path of the settings lies on a mounted volume, and each volume has what the path names."""
    objects = render(program, EXTERNAL)
    mounted = {mount["mountPath"] for mount in container(objects)["volumeMounts"]}
    for path in re.findall(r'"(/etc/cdr-service/[^"]+)"', config(objects)):
        assert path.rpartition("/")[0] in mounted, path


def test_two_replicas_take_turns(program: str) -> None:
    """By default there are two, none is missing during an update, they are spread, and drains leave one."""
    objects = render(program)
    spec = of_kind(objects, "Deployment")["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    keys = [one["topologyKey"] for one in spec["template"]["spec"]["topologySpreadConstraints"]]
    assert keys == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    assert of_kind(objects, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    selector = spec["selector"]["matchLabels"]
    assert of_kind(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == selector
    assert selector.items() <= spec["template"]["metadata"]["labels"].items()


def test_a_pod_that_leaves_finishes_first(program: str) -> None:
    """It goes on for some seconds, then gets SIGTERM itself, and has the time that draining may take."""
    objects = render(program)
    pod = of_kind(objects, "Deployment")["spec"]["template"]["spec"]
    (wait,) = (int(word) for word in container(objects)["lifecycle"]["preStop"]["exec"]["command"] if word.isdigit())
    assert 0 < wait + 40 < pod["terminationGracePeriodSeconds"]
    assert "command" not in container(objects)
    assert container(objects)["args"][0] == "serve"


def test_probes_leave_the_store_alone(program: str) -> None:
    """Over HTTP: alive does not depend on the store, ready does."""
    one = container(render(program))
    assert one["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "api", "scheme": "HTTP"}
    assert one["startupProbe"]["httpGet"]["path"] == "/healthz"
    assert one["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container(render(program, EXTERNAL))["livenessProbe"]["httpGet"]["scheme"] == "HTTPS"


def test_intake_and_api_are_apart(program: str) -> None:
    """Each has a Service of its own, so that one can be let out without the other."""
    objects = render(program, EXTERNAL)
    intake, api = of_kind(objects, "Service", "-intake"), of_kind(objects, "Service", "-api")
    assert [port["targetPort"] for port in intake["spec"]["ports"]] == ["intake"]
    assert [port["targetPort"] for port in api["spec"]["ports"]] == ["api"]
    assert (intake["spec"]["type"], api["spec"]["type"]) == ("LoadBalancer", "ClusterIP")
    assert intake["spec"]["externalTrafficPolicy"] == "Local"


def test_the_network_lets_in_whom_it_should(program: str) -> None:
    """Call Bridges reach the intake alone, scrapers the API alone."""
    rules = of_kind(render(program, EXTERNAL), "NetworkPolicy")["spec"]["ingress"]
    by_port = {tuple(port["port"] for port in rule["ports"]): rule["from"] for rule in rules}
    assert [peer["ipBlock"]["cidr"] for peer in by_port["intake",]] == ["192.0.2.0/24", "2001:db8::/32"]
    assert by_port["api",] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    ((peer,),) = [by_port[ports] for ports in by_port if len(ports) == 2]
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "test"


def test_the_bundled_redis_keeps_what_it_is_given(program: str) -> None:
    """A synced append-only file on a volume, nothing evicted, a password, and only the service gets to it."""
    objects = render(program)
    conf = of_kind(objects, "ConfigMap", "-redis")["data"]["redis.conf"].splitlines()
    assert {"appendonly yes", "appendfsync always", "maxmemory-policy noeviction"} <= set(conf)
    stateful = of_kind(objects, "StatefulSet")["spec"]
    assert stateful["replicas"] == 1
    assert stateful["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] == "5Gi"
    (peer,) = of_kind(objects, "NetworkPolicy", "-redis")["spec"]["ingress"][0]["from"]
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "service"
    assert set(of_kind(objects, "Secret", "-redis")["data"]) == {"password.conf", "redis-url"}


def test_the_bundled_redis_takes_up_its_settings(program: str) -> None:
    """It reads its file at its start, so a change of what is in there starts it anew, and nothing else does."""

    def template(**values: Any) -> dict[str, Any]:
        spec = of_kind(render(program, values=values), "StatefulSet")["spec"]["template"]["metadata"]
        return dict(spec)

    assert template(**{"store.bundled.maxMemory": "1gb"}) != template()
    assert template(**{"settings.policy": "owner"}) == template()


def test_a_holders_file_may_be_named_outright(program: str) -> None:
    """One that no deployment is called after counts where the settings name it."""
    values = {"holders.files": {"all.csv": "user,license"}, "settings.holders": "/etc/cdr-service/holders/all.csv"}
    assert "/etc/cdr-service/holders/all.csv" in config(render(program, values=values))


def test_the_embedded_store_belongs_to_one_pod(program: str) -> None:
    """One replica, never two at a time, and a volume that outlives the release."""
    objects = render(program, CHART / "ci" / "embedded-values.yaml")
    spec = of_kind(objects, "Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    claim = of_kind(objects, "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert {"name": "data", "mountPath": "/data"} in container(objects)["volumeMounts"]
    assert not [one for one in objects if one["kind"] in ("PodDisruptionBudget", "StatefulSet")]


def test_tokens_are_made_once(program: str) -> None:
    """There is one for the API and one for each deployment; the Secret outlives the release."""
    values: dict[str, Any] = {"settings": {"deployments": {"branch": {}}}}
    secret = next(one for one in render(program, values=values) if one["kind"] == "Secret")
    assert set(secret["data"]) == {"api-token", "intake-token", "branch.intake-token"}
    assert len(set(secret["data"].values())) == 3
    assert secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert not [one for one in render(program, EXTERNAL) if one["kind"] == "Secret"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"store.kind": "embedded"}, "replicaCount is 2, but the embedded store belongs to one pod: set store.kind"),
        ({"store.kind": "external"}, "set store.external.url, or store.external.existingSecret."),
        (
            {"store.kind": "external", "store.external.url": "redis://user:secret@host"},
            "store.external.url holds a user or password: put the whole URL into a Secret",
        ),
        (
            {"store.kind": "external", "store.external.url": "redis+sentinel://host/name?sentinel_password=secret"},
            "store.external.url holds a user or password: put the whole URL into a Secret",
        ),
        ({"store.external.url": "redis://host"}, "store.kind is bundled: set store.kind to external"),
        ({"networkPolicy.enabled": True}, "lets nobody push: set networkPolicy.callBridges"),
        ({"settings.cms_url": "https://cms"}, "settings.cms_url is set without a password"),
        (
            {"settings.cms_url": "https://cms", "cms.existingSecret": "cms"},
            "settings.cms_url is set without a user: set settings.cms_username.",
        ),
        (
            {"settings.deployments": {"branch": {"cms_url": "https://cms"}}},
            "settings.deployments.branch.cms_url is set without a password: name a Secret that has it in",
        ),
        ({"secrets.intakeTokens": False}, "Anybody could push to the deployment default: set secrets.intakeTokens"),
        ({"holders.existingConfigMap": "a", "holders.existingSecret": "b"}, "are both set: keep one of them."),
        (
            {"holders.files": {"brnch.csv": ""}, "settings.deployments": {"branch": {}}},
            "The holders file brnch.csv belongs",
        ),
        (
            {"holders.files": {"default.csv": ""}},
            "The holders file default.csv belongs to no deployment: name it holders.csv",
        ),
        (
            {"networkPolicy": {"enabled": True, "callBridges": CIDRS}, "metrics.serviceMonitor.enabled": True},
            "networkPolicy lets nobody reach the API",
        ),
        (
            {"networkPolicy": {"enabled": True, "callBridges": CIDRS}, "ingress.api.enabled": True},
            "networkPolicy lets nobody reach the API",
        ),
        (
            {"ingress.intake.enabled": True, "settings.intake_allow": CIDRS},
            "be refused by settings.intake_allow: set settings.trusted_proxies to the controller's networks.",
        ),
        (
            {"ingress.intake.enabled": True, "settings.deployments": {"branch": {"intake_allow": "192.0.2.1"}}},
            "Every push to the deployment branch would come from the Ingress controller and be refused by",
        ),
        ({"preStopSeconds": 55}, "leaves no time to finish what is in flight: set it to 65 or more."),
    ],
)
def test_values_that_do_not_go_together(program: str, values: dict[str, Any], reason: str) -> None:
    """One sentence says what to change."""
    told = refusal(program, **{key.replace(".", "__"): value for key, value in values.items()})
    assert reason in told


@pytest.mark.parametrize(
    "settings",
    [
        {"intake_allow": CIDRS, "trusted_proxies": "10.0.0.0/8"},
        {"intake_allow": "any"},
        {"intake_allow": ["any"]},
        {},
    ],
)
def test_an_ingress_may_stand_before_the_intake(program: str, settings: dict[str, Any]) -> None:
    """Where the controller is trusted to name the sender, or no sender is kept out by the address."""
    objects = render(program, values={"ingress": {"intake": {"enabled": True}}, "settings": settings})
    assert of_kind(objects, "Ingress")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("replicacount", 3),
        ("replicaCount", "two"),
        ("replicaCount", 0),
        ("store.kind", "sqlite"),
        ("store.external.url", "http://host"),
        ("settings.polcy", "join"),
        ("settings.policy", "whoever"),
        ("settings.intake_token", "secret"),
        ("settings.api_bind", "0.0.0.0:1"),
        ("settings.licensing.spill_bak", False),
        ("settings.deployments.branch.log_level", "debug"),
        ("settings.deployments.Branch", {}),
        ("networkPolicy.callBridges", ["192.0.2.1"]),
        ("holders.files", {"holders.txt": ""}),
        ("service.intake.type", "Loadbalancer"),
        ("metrics.rules.sharedUsePercent", 120),
        ("image.digest", "sha256:short"),
    ],
)
def test_a_value_that_is_none(program: str, key: str, value: object) -> None:
    """A misspelled key or a value out of place is refused by the schema, which names it."""
    told = refusal(program, **{key.replace(".", "__"): value})
    assert "values don't meet the specifications of the schema" in told
    words = (key.rpartition(".")[2], str(value), "Branch", "holders.txt")
    assert any(word in told for word in words)


def test_the_schema_knows_every_value_and_no_other() -> None:
    """Each default is in the schema and passes it, no object of ours is open, and settings are the service's own."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    made = runpy.run_path(str(PROJECT / "docs" / "settings_schema.py"))["settings_definitions"]()
    assert schema["$defs"] == made, "run python docs/generate.py"

    def compare(values: object, part: dict[str, Any], where: str) -> None:
        if isinstance(values, dict) and part.get("additionalProperties") is False:
            assert set(values) == set(part["properties"]) - {"global"}, where
            for key, value in values.items():
                compare(value, part["properties"][key], f"{where}.{key}")

    compare(defaults(), schema, "values")

    def walk(part: dict[str, Any], where: str) -> None:
        if "properties" in part:
            assert part["additionalProperties"] is False, where
            for key, inner in part["properties"].items():
                walk(inner, f"{where}.{key}")

    walk(schema, "values")


def test_every_value_has_a_comment() -> None:
    """Right above each value, whatever it is, a comment says what it is for."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    lines = (CHART / "values.yaml").read_text().splitlines()
    path: list[str] = []
    silent, told = [], 0
    for at, line in enumerate(lines):
        key = re.match(r"( *)([A-Za-z]+):", line)
        if key is None:
            continue
        path = [*path[: len(key[1]) // 2], key[2]]
        part: dict[str, Any] = schema
        for name in path:
            part = part.get("properties", {}).get(name, {})
        if part and "properties" not in part:
            told += 1
            if not lines[at - 1].strip().startswith("#"):
                silent.append(".".join(path))
    assert silent == []
    assert told > 80


def test_yamllint_finds_nothing() -> None:
    """The files that are plain YAML are tidy."""
    linter = Path(sys.executable).with_name("yamllint")
    rules = "{extends: default, rules: {line-length: {max: 200}, document-start: disable}}"
    files = [CHART / "values.yaml", CHART / "Chart.yaml", CHART / "ci", CHART.parent / "compose.yaml"]
    told = subprocess.run([linter, "-s", "-d", rules, *files], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (0, "")


def test_names_keep_apart(program: str) -> None:
    """Two releases in a namespace share no name; a long name still makes valid ones."""
    first = {(one["kind"], one["metadata"]["name"]) for one in render(program, name="a")}
    second = {(one["kind"], one["metadata"]["name"]) for one in render(program, name="b")}
    assert not first & second
    for one in render(program, name="x" * 53):
        assert len(one["metadata"]["name"]) <= 63
        assert yaml.safe_dump(one)
