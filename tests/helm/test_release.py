"""What a release says and does: its notes, its own test against a real service, and tokens that an upgrade keeps."""

import base64
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.helm.charts import CASES, CHART, Objects, config, helm, of_kind, render
from tests.helm.kubernetes import Twin, twin
from tests.integration.command import Service, command, environment, running
from tests.integration.servers import free_port, store_server


def notes(program: str, *files: Path) -> str:
    """Return what helm prints after an installation."""
    more = [part for file in files for part in ("-f", str(file))]
    with tempfile.TemporaryDirectory() as folder, twin(Path(folder)) as kubeconfig:
        command_line = ["--kubeconfig", str(kubeconfig), "--dry-run=client", "--namespace", "voice", *more]
        command_line.append("--disable-openapi-validation")
        told = helm(program, "install", "cdr", str(CHART), *command_line)
    assert told.returncode == 0, told.stderr
    return told.stdout.partition("NOTES:\n")[2]


def test_the_notes_tell_the_receiver_url(program: str) -> None:
    """For each way in, the URL to enter in the Web Admin, with where its token is."""
    trial, cluster, external = (
        notes(program, CHART / "ci" / f"{name}-values.yaml") for name in ("trial", "cluster", "external")
    )
    assert 'echo "https://cdr.example.com/cdr"' in trial
    assert 'echo "http://$HOST:$PORT/cdr?token=$TOKEN"' in cluster
    assert "get secret cdr-cdr-service -o jsonpath='{.data.intake-token}'" in cluster
    assert 'echo "https://$HOST:8080/cdr?token=$TOKEN"' in external
    assert "https://127.0.0.1:8081/ by this tunnel" in external
    assert "Deployment branch: …/cdr/branch?token=… with the key branch.intake-token" in external
    for text in (trial, cluster, external, notes(program)):
        assert "Configuration > CDR settings" in text
        assert "bridge=NAME" in text
        assert "helm -n voice test cdr" in text
        assert "port-forward service/cdr-cdr-service-api 8081:8081" in text


def test_the_notes_warn_of_a_store_that_keeps_nothing(program: str) -> None:
    """With no volume under it, and only then."""
    for case in CASES:
        assert ("The store keeps nothing" in notes(program, case)) == (case.name == "trial-values.yaml")


def test_the_notes_say_what_is_missing(program: str) -> None:
    """Who holds PMP+, where neither a file nor the Meeting Server tells; an image, where no registry is named."""
    cases = {case.name.partition("-")[0]: notes(program, case) for case in CASES}
    assert "Nobody holds PMP+ yet" in notes(program)
    assert "--set image.repository=REGISTRY/cdr-service" in notes(program)
    assert "image.repository" not in cases["external"]
    assert {name for name, text in cases.items() if "within the pod's memory limit" in text} == {"embedded"}
    assert {name for name, text in cases.items() if "Nobody holds PMP+ yet" in text} == {"trial"}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write("{settings: {cms_url: 'https://cms1.example.com:445', cms_username: a}, cms: {existingSecret: b}}")
        file.flush()
        assert "Nobody holds PMP+ yet" not in notes(program, Path(file.name))


def test_the_notes_name_objects_that_are_there(program: str) -> None:
    """Every name in the commands is that of a rendered object."""
    names = {(one["kind"].lower(), one["metadata"]["name"]) for one in render(program)}
    found = set(re.findall(r"(deployment|secret|service)[/ ](cdr-[a-z-]+)", notes(program)))
    assert found
    assert found <= names


@contextmanager
def released(home: Path, objects: Objects, store: str) -> Iterator[tuple[Service, Path]]:
    """Run the service as the chart's pod runs it, with its files elsewhere; yield it and where the files are."""
    files = home / "files"
    for path in re.findall(r'"(/etc/cdr-service/[^"]+)"', config(objects)):
        file = files / path.removeprefix("/etc/cdr-service/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(store if path.endswith("redis-url") else f"token-{'x' * 32}-of-{file.name}\n")
    text = config(objects).replace("/etc/cdr-service", str(files))
    text = re.sub(r'"0\.0\.0\.0:\d+"', lambda _: f'"0.0.0.0:{free_port()}"', text)
    (home / "config.toml").write_text(text)
    settings = {"CDR_CONFIG": str(home / "config.toml"), "CDR_INTAKE_BIND": "", "CDR_API_BIND": ""}
    with running(home, "serve", settings=settings) as service:
        service.wait_for("service.started")
        yield service, files


def test_the_release_test_posts_and_reads_back(program: str, tmp_path: Path) -> None:
    """The script of the chart's own test passes against the service with the chart's settings, and fails elsewhere.

    The command of the notes works with the same settings, and the call of the test took no license.
    """
    objects = render(program)
    (pod,) = (one["spec"] for one in objects if one["kind"] == "Pod")
    (test,) = pod["containers"]
    variables = {entry["name"]: entry["value"] for entry in test["env"]}
    assert variables["INTAKE_URL"] == "http://cdr-cdr-service-intake:8080"
    assert variables["API_URL"] == "http://cdr-cdr-service-api:8081"
    assert {mount["mountPath"] for mount in test["volumeMounts"]} == {variables["TOKENS"]}
    with store_server() as store, released(tmp_path, objects, store.url) as (service, files):
        urls = {"INTAKE_URL": service.intake_url.removesuffix("/cdr"), "API_URL": service.api_url}
        given = {**environment(tmp_path), **urls, "TOKENS": str(files / "secrets")}
        script = [sys.executable, *test["command"][1:], *test["args"]]
        told = subprocess.run(script, env=given, capture_output=True, text=True, check=False)
        assert (told.returncode, told.stderr) == (0, "")
        assert "was taken in and read back" in told.stdout
        wrong = subprocess.run(script, env={**given, "TOKENS": "/nowhere"}, capture_output=True, text=True, check=False)
        assert (wrong.returncode, wrong.stdout) == (1, "")
        assert "/cdr cannot be used: it answers 401" in wrong.stderr
        client = {"CDR_CONFIG": str(tmp_path / "config.toml")}
        for arguments in (["calls", "--json"], ["usage", "--json"]):
            asked = subprocess.run(
                command(*arguments), env=environment(tmp_path, **client), capture_output=True, text=True, check=False
            )
            assert asked.returncode == 0, asked.stderr
        assert json.loads(asked.stdout)["items"][0]["shared"]["sixths"] == 0


def test_the_release_test_respects_the_allowed_networks(program: str, tmp_path: Path) -> None:
    """Where the bridges' networks alone may push, the test's pod may not: it says so, and still tries the API."""
    objects = render(program, values={"settings.intake_allow": ["192.0.2.0/24"]})
    (pod,) = (one["spec"] for one in objects if one["kind"] == "Pod")
    (test,) = pod["containers"]
    with store_server() as store, released(tmp_path, objects, store.url) as (service, files):
        urls = {"INTAKE_URL": service.intake_url.removesuffix("/cdr"), "API_URL": service.api_url}
        given = {**environment(tmp_path), **urls, "TOKENS": str(files / "secrets")}
        script = [sys.executable, *test["command"][1:], *test["args"]]
        told = subprocess.run(script, env=given, capture_output=True, text=True, check=False)
        assert (told.returncode, told.stderr) == (0, "")
        assert "settings.intake_allow has no pod of this cluster" in told.stdout
        (files / "secrets" / "api-token").write_text("another")
        wrong = subprocess.run(script, env=given, capture_output=True, text=True, check=False)
        assert (wrong.returncode, wrong.stdout) == (1, "")
        assert "/v1/usage cannot be used: it answers 401" in wrong.stderr


def test_an_upgrade_keeps_the_tokens(program: str, tmp_path: Path) -> None:
    """What the cluster has stays; only a token of a deployment that is new is made."""

    def rendered() -> dict[str, dict[str, str]]:
        with twin(tmp_path) as kubeconfig:
            told = helm(
                *(program, "template", "cdr", str(CHART), "--kubeconfig", str(kubeconfig), "--namespace", "voice"),
                *("--dry-run=server", "--disable-openapi-validation"),
                *("--set-json", 'settings={"deployments": {"branch": {}}}'),
            )
        assert told.returncode == 0, told.stderr
        found = [one for one in yaml.safe_load_all(told.stdout) if one and one["kind"] == "Secret"]
        return {one["metadata"]["name"]: one["data"] for one in found}

    Twin.secrets.clear()
    first = rendered()
    assert rendered() != first
    release = {"meta.helm.sh/release-name": "cdr", "meta.helm.sh/release-namespace": "voice"}
    managed = {"app.kubernetes.io/managed-by": "Helm"}
    for name, data in first.items():
        metadata = {"name": name, "namespace": "voice", "annotations": release, "labels": managed}
        Twin.secrets[name] = {"kind": "Secret", "apiVersion": "v1", "metadata": metadata, "data": data}
    assert rendered() == first
    del Twin.secrets["cdr-cdr-service"]["data"]["branch.intake-token"]
    later = rendered()
    for name in ("api-token", "intake-token"):
        assert later["cdr-cdr-service"][name] == first["cdr-cdr-service"][name]
    assert len(base64.b64decode(later["cdr-cdr-service"]["branch.intake-token"])) == 40
    Twin.secrets.clear()


def test_the_password_of_the_bundled_redis_is_one(program: str) -> None:
    """What Redis asks for is what the service says; it needs no escaping in a URL."""
    objects = render(program)
    data = of_kind(objects, "Secret", "-redis")["data"]
    asked = base64.b64decode(data["password.conf"]).decode().removeprefix("requirepass ")
    assert asked.isalnum()
    service = of_kind(objects, "Service", "-redis")
    url = f"redis://:{asked}@{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    assert base64.b64decode(data["redis-url"]).decode() == url


def test_the_bundled_redis_starts_with_its_file(program: str, tmp_path: Path) -> None:
    """The rendered file is one that a real server takes, and the service finds nothing unsafe in it."""
    objects = render(program)
    password = tmp_path / "password.conf"
    password.write_text("requirepass secret\n")
    text = of_kind(objects, "ConfigMap", "-redis")["data"]["redis.conf"]
    text = text.replace("/etc/redis/password.conf", str(password)).replace("dir /data", f"dir {tmp_path}")
    conf = tmp_path / "redis.conf"
    conf.write_text(text)
    with store_server(include=str(conf), requirepass="secret") as server:
        asked = server.ask("CONFIG", "GET", "maxmemory")
    assert asked == ["maxmemory", str(512 * 1024 * 1024)]
