"""A twin of Kubernetes' API, as far as helm asks it: no release, and the Secrets that a test puts there."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import yaml

KINDS = {
    "v1": ("ConfigMap", "PersistentVolumeClaim", "Pod", "Secret", "Service", "ServiceAccount"),
    "apps/v1": ("Deployment", "StatefulSet"),
    "policy/v1": ("PodDisruptionBudget",),
    "networking.k8s.io/v1": ("Ingress", "NetworkPolicy"),
    "monitoring.coreos.com/v1": ("PrometheusRule", "ServiceMonitor"),
}
"""What the chart makes, by group and version."""


def _resources(group: str) -> dict[str, Any]:
    plural = {"Ingress": "ingresses", "NetworkPolicy": "networkpolicies"}
    resources = [
        {
            "name": plural.get(kind, f"{kind.lower()}s"),
            "singularName": kind.lower(),
            "namespaced": True,
            "kind": kind,
            "verbs": ["get", "list", "create"],
        }
        for kind in KINDS[group]
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": resources}


def _group(group: str) -> dict[str, Any]:
    version = {"groupVersion": group, "version": group.partition("/")[2]}
    return {"name": group.partition("/")[0], "versions": [version], "preferredVersion": version}


class Twin(BaseHTTPRequestHandler):
    """So much of Kubernetes' API as helm asks for while it renders: which kinds there are, and which Secrets."""

    secrets: ClassVar[dict[str, Any]] = {}
    """By name, in the namespace `voice`."""

    def do_GET(self) -> None:
        """Answer one question."""
        path = self.path.partition("?")[0]
        groups = [group for group in KINDS if group != "v1"]
        answers: dict[str, Any] = {
            "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(group) for group in groups]},
            "/api/v1": _resources("v1"),
            **{f"/apis/{group}": _resources(group) for group in groups},
            "/api/v1/namespaces/voice/secrets": {"kind": "SecretList", "apiVersion": "v1", "items": []},
        }
        found = answers.get(path) or self.secrets.get(path.removeprefix("/api/v1/namespaces/voice/secrets/"))
        body = json.dumps(found or {"kind": "Status", "apiVersion": "v1", "reason": "NotFound", "code": 404}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def twin(folder: Path) -> Iterator[Path]:
    """Run the twin; yield the file that leads helm to it, which it puts into the folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Twin)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    file = folder / "kubeconfig"
    entry = {"name": "twin", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
    context = {"name": "twin", "context": {"cluster": "twin", "user": "twin"}}
    file.write_text(yaml.safe_dump({"clusters": [entry], "contexts": [context], "current-context": "twin"}))
    try:
        yield file
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
