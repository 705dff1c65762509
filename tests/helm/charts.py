"""The chart and the programs with which it is looked at."""

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
CHART = PROJECT / "helm"
TOOLS = PROJECT / ".tools" / "charts"
CASES = sorted((CHART / "ci").glob("*-values.yaml"))

Objects = list[dict[str, Any]]


def helms() -> list[str]:
    """Return the helm programs to try: that of CDR_TEST_HELM, else those that were fetched, else the PATH's."""
    given = os.environ.get("CDR_TEST_HELM")
    found = [given] if given else [str(path) for path in sorted(TOOLS.glob("helm-*"))]
    return found or [path for path in [shutil.which("helm")] if path]


def promtool() -> str:
    """Return the promtool to use, or skip the test."""
    fetched = TOOLS / "promtool"
    found = str(fetched) if fetched.exists() else shutil.which("promtool")
    if not found:
        pytest.skip("no promtool: make helm fetches one on Debian")
    return found


def helm(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run helm to its end."""
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, cwd=PROJECT)


def render(program: str, *files: Path, values: Mapping[str, Any] | None = None, name: str = "cdr") -> Objects:
    """Return the objects of a release, as they would be sent to Kubernetes."""
    told = attempt(program, *files, values=values, name=name)
    assert told.returncode == 0, told.stderr
    return [one for one in yaml.safe_load_all(told.stdout) if one]


def attempt(
    program: str, *files: Path, values: Mapping[str, Any] | None = None, name: str = "cdr"
) -> subprocess.CompletedProcess[str]:
    """Render a release; also where that fails."""
    more = [part for file in files for part in ("-f", str(file))]
    more += [part for key, value in (values or {}).items() for part in ("--set-json", f"{key}={json.dumps(value)}")]
    return helm(program, "template", name, str(CHART), "--namespace", "voice", *more)


def refusal(program: str, **values: Any) -> str:
    """Return what helm says of values that it refuses; keys have `__` in place of a dot."""
    told = attempt(program, values={key.replace("__", "."): value for key, value in values.items()})
    assert told.returncode != 0, told.stdout
    return told.stderr


def of_kind(objects: Objects, kind: str, ending: str = "") -> dict[str, Any]:
    """Return the one object of a kind, or the one whose name ends so."""
    (found,) = (one for one in objects if one["kind"] == kind and one["metadata"]["name"].endswith(ending))
    return found


def container(objects: Objects) -> dict[str, Any]:
    """Return the service's container."""
    (found,) = of_kind(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    return dict(found)


def config(objects: Objects) -> str:
    """Return the TOML file of the service."""
    found = next(one for one in objects if one["kind"] == "ConfigMap" and "config.toml" in one["data"])
    return str(found["data"]["config.toml"])


def pods(objects: Objects) -> Iterator[dict[str, Any]]:
    """Yield the specification of every pod."""
    for one in objects:
        if one["kind"] in ("Deployment", "StatefulSet"):
            pod = one["spec"]["template"]["spec"]
            claimed = [{"name": claim["metadata"]["name"]} for claim in one["spec"].get("volumeClaimTemplates", ())]
            yield {**pod, "volumes": [*pod["volumes"], *claimed]}
        elif one["kind"] == "Pod":
            yield one["spec"]


@functools.cache
def defaults() -> Any:
    """Return the chart's own values."""
    return yaml.safe_load((CHART / "values.yaml").read_text())
