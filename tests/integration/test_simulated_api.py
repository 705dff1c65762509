"""`simulate` with its REST API, and a service that gets its CDRs and asks that API: what anybody may try."""

import socket
from pathlib import Path

from tests.integration.command import run, running
from tests.integration.servers import eventually, free_port


def free_ports() -> int:
    """Return a free port after which the next one is free too."""
    while True:
        port = free_port()
        with socket.socket() as other:
            if other.connect_ex(("127.0.0.1", port + 1)) != 0:
                return port


def test_beside_a_service(tmp_path: Path) -> None:
    """Two Call Bridges of no cluster, busy at times: the service knows which is which, and agrees with their counts."""
    intake = free_port()
    playing, serving = tmp_path / "simulate", tmp_path / "serve"
    for folder in (playing, serving):
        folder.mkdir()
    how = ("--bridges", "2", "--rate", "60", "--busy", "0.1", "--lag", "1", "--api-port", str(free_ports()))
    with running(playing, "simulate", "--target", f"http://127.0.0.1:{intake}/cdr", *how) as simulated:
        eventually(lambda: "\n" in simulated.errors, "it says how its API is reached")
        settings = dict(one.split("=", 1) for one in simulated.errors.split())
        pacing = {"CDR_RECONCILE_INTERVAL_SECONDS": "0.5", "CDR_RECONCILE_SETTLE_SECONDS": "3"}
        settings |= {**pacing, "CDR_INTAKE_BIND": f"127.0.0.1:{intake}"}
        with running(serving, "serve", settings=settings) as service:
            nodes = zip(("cms1", "cms2"), settings["CDR_CMS_URL"].split(","), strict=True)
            known = [(name, "registered", node) for name, node in nodes]

            def both_are_known() -> bool:
                found = service.get("/v1/bridges")["items"]
                return [(one["call_bridge"], one["receiver"], one["node"]) for one in found] == known

            eventually(both_are_known, "both are known")
            eventually(lambda: service.get("/v1/calls")["items"], "calls come")
            (standing,) = eventually(
                lambda: [one for one in service.get("/v1/reconciliation")["items"] if one["state"] == "agreed"],
                "the counts agree",
            )
            assert standing["differences"] == []


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """That is said in one sentence; so is what does not go together."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        told = run(tmp_path, "simulate", "--target", "http://127.0.0.1:1/cdr", "--api-port", port)
    assert told.returncode == 1
    assert told.stderr == f"Error: Of the 1 ports from {port} on, one cannot be had: name another --api-port.\n"
    start = ("--from", "2026-01-05T09:00:00Z")
    told = run(tmp_path, "simulate", "--target", "http://127.0.0.1:1/cdr", "--api-port", port, *start)
    assert told.returncode == 2
    assert "leave out --from" in told.stderr
