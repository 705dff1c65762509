"""The service beside a Meeting Server that counts licenses by rules of its own: real processes, HTTP, TLS and store."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cdr_service.simulator.api_licenses import Rules
from cdr_service.simulator.api_model import CoSpace, Directory, example_directory
from tests.integration.command import Service, run, running
from tests.integration.meeting_server import MeetingServer, meeting_server
from tests.integration.servers import eventually
from tests.integration.test_metrics import samples

ALICE, BOB, CAROL = (f"{name}@example.com" for name in ("alice", "bob", "carol"))
OFTEN = {"CDR_RECONCILE_INTERVAL_SECONDS": "0.3", "CDR_RECONCILE_SETTLE_SECONDS": "1", "CDR_RECONCILE_POLLS": "2"}


def configured() -> Directory:
    """Make alice and carol, who hold PMP+, bob, who does not, a space of alice's and one of bob's."""
    made = example_directory(holders=[ALICE, CAROL], users=[BOB])
    for space, owner in (("space-alice", ALICE), ("space-bob", BOB)):
        user = made.find(owner)
        assert user is not None
        made.spaces[space] = CoSpace(space, space, user.id)
    return made


@contextmanager
def beside(tmp_path: Path, *, nodes: int = 1, **settings: str) -> Iterator[tuple[MeetingServer, Service]]:
    """Run the service beside a Meeting Server."""
    with beside_one_that(tmp_path, Rules(), nodes=nodes, **settings) as both:
        yield both


@contextmanager
def beside_one_that(
    tmp_path: Path, rules: Rules, *, nodes: int = 1, **settings: str
) -> Iterator[tuple[MeetingServer, Service]]:
    """Run the service beside a Meeting Server that follows some rules."""
    with (
        meeting_server(tmp_path / "cms", configured(), nodes=nodes, rules=rules) as server,
        running(tmp_path, "serve", settings={**server.settings, **OFTEN, **settings}) as service,
    ):
        yield server, service


def begin(server: MeetingServer, call: str, space: str, *, node: int = 0, meeting: str = "") -> None:
    """Let a call begin."""
    named = {"callType": "coSpace", "coSpace": space, "callCorrelator": meeting or f"meeting-{call}"}
    server.emit("callStart", call, node=node, name=call, **named)


def standing(service: Service) -> dict[str, Any]:
    """Ask where the comparison stands."""
    (found,) = service.get("/v1/reconciliation")["items"]
    return dict(found)


def fit(service: Service) -> dict[str, Any]:
    """Ask which rules the server follows."""
    (found,) = service.get("/v1/policies/fit")["items"]
    return dict(found)


def drifted(service: Service, count: str, holder: str | None) -> tuple[dict[tuple[str, str | None], Any], str]:
    """Wait until a drift of a count is told; return all that is told with it, and how loud."""

    def told() -> tuple[dict[tuple[str, str | None], Any], str] | None:
        for line in service.events("reconcile.drift"):
            found = {(one["count"], one["holder"]): one for one in line["differences"]}
            if (count, holder) in found:
                return found, line["level"]
        return None

    found: tuple[dict[tuple[str, str | None], Any], str] = eventually(told, f"a drift of {count} is told")
    return found


def agrees(service: Service) -> None:
    """Wait until the counts agree."""

    def agreed() -> bool:
        known = standing(service)
        return known["state"] == "agreed" and known["reason"] is None and not known["differences"]

    eventually(agreed, "the counts agree")


def test_a_license_is_reconciled(tmp_path: Path) -> None:
    """Where the server counts what we count, over two bridges, a license that was there long enough is reconciled."""
    with beside(tmp_path, nodes=2) as (server, service):
        for node in (0, 1):
            begin(server, f"call-{node}", "space-alice", node=node, meeting="m")
        server.join("leg-1", "call-0", BOB, node=0)
        server.join("leg-2", "call-1", CAROL, node=1)
        server.push(service, node=0)
        server.push(service, node=1)
        eventually(lambda: service.get("/v1/calls/call-0")["license"]["status"] == "reconciled", "it is reconciled")
        assert service.get("/v1/calls/call-1")["license"]["status"] == "reconciled"
        agrees(service)
        counts = {one["count"]: one["theirs"] for one in standing(service)["counts"]}
        assert counts == {"meetings": 1, "personal": 1, "shared": 0, "participants": 2}
        assert len(service.events("reconcile.agreed")) == 1
        assert not service.events("reconcile.drift")
        drifts = samples(service.metrics())["cdr_reconcile_drift"]
        assert {dict(labels)["count"]: off for labels, off in drifts.items()} == dict.fromkeys(counts, 0)


def test_a_server_with_other_rules_drifts(tmp_path: Path) -> None:
    """A server that follows owner while we run join is told as a drift, with whose license and which meeting."""
    with beside_one_that(tmp_path, Rules("owner")) as (server, service):
        begin(server, "call-1", "space-bob")
        server.join("leg-1", "call-1", CAROL)
        server.push(service)
        told, level = drifted(service, "personal", CAROL)
        assert told["personal", CAROL]["meetings"] == ["meeting-call-1"]
        assert told["shared", None]["theirs"] == 1
        assert level == "warning"
        drifts = samples(service.metrics())["cdr_reconcile_drift"]
        assert {dict(labels)["count"]: off for labels, off in drifts.items()} == {
            "meetings": 0,
            "personal": -1,
            "shared": 1,
            "participants": 0,
        }
        assert service.get("/v1/calls/call-1")["license"]["status"] != "reconciled"


def test_somebody_in_the_lobby_is_no_drift(tmp_path: Path) -> None:
    """A call that nobody is in but who waits may be counted by the server: that is told, and is no drift."""
    with beside(tmp_path) as (server, service):
        begin(server, "call-1", "space-bob")
        server.emit("callLegStart", "leg-1", call="call-1", remoteParty=BOB, type="acano", direction="incoming")
        server.emit("callLegUpdate", "leg-1", call="call-1", state="connected", deactivated=True)
        server.push(service)
        eventually(lambda: standing(service)["unoccupied"] == 1, "the call is seen")
        agrees(service)
        assert not service.events("reconcile.drift")


def test_a_receiver_that_is_added_in_mid_meeting(tmp_path: Path) -> None:
    """What is live already is read from the API: calls on two bridges, who is in, who owns. Records go on with it."""
    with meeting_server(tmp_path / "cms", configured(), nodes=2) as server:
        for node in (0, 1):
            begin(server, f"call-{node}", "space-bob", node=node, meeting="m")
        server.join("leg-1", "call-0", BOB, node=0)
        server.join("leg-2", "call-1", CAROL, node=1)
        server.emit("callLegStart", "leg-3", node=1, call="call-1", remoteParty=ALICE, type="acano")
        server.emit("callLegUpdate", "leg-3", node=1, call="call-1", state="connected", deactivated=True)
        server.lose(node=0)
        server.lose(node=1)
        with running(tmp_path, "serve", settings={**server.settings, **OFTEN}) as service:
            eventually(lambda: service.get("/v1/usage")["items"][0]["participants"] == 2, "both are in")
            found = service.get("/v1/meetings/m")
            assert (found["license"]["type"], found["license"]["holder"]) == ("PMP+", CAROL)
            assert (found["owner"], found["complete"], len(found["calls"])) == (BOB, False, 2)
            eventually(lambda: len(service.get("/v1/calls/call-1/legs")["items"]) == 2, "who waits is seen")
            legs = {leg["id"]: leg["state"] for leg in service.get("/v1/calls/call-1/legs")["items"]}
            assert legs == {"leg-2": "connected", "leg-3": "lobby"}
            agrees(service)
            server.emit("callLegUpdate", "leg-3", node=1, call="call-1", state="connected", deactivated=False)
            server.emit("callLegEnd", "leg-2", node=1, reason="remoteTeardown")
            server.push(service, node=1)
            assert service.get("/v1/usage")["items"][0]["participants"] == 2
            assert service.get("/v1/calls/call-1")["session"] == "session-1"
            agrees(service)


def test_what_the_server_no_longer_has_is_closed(tmp_path: Path) -> None:
    """A call and a leg whose ends were lost are ended, the call as an estimate; that is no end of anything else."""
    with beside(tmp_path) as (server, service):
        for number in (1, 2):
            begin(server, f"call-{number}", "space-bob")
            server.join(f"leg-{number}", f"call-{number}", CAROL)
        server.join("leg-3", "call-2", BOB)
        server.push(service)
        server.emit("callLegEnd", "leg-1", reason="remoteTeardown")
        server.emit("callEnd", "call-1")
        server.emit("callLegEnd", "leg-2", reason="remoteTeardown")
        server.lose()
        eventually(lambda: service.get("/v1/calls/call-1")["state"] == "ended", "it is closed")
        assert service.get("/v1/calls/call-1")["end_estimated"] is True
        eventually(lambda: service.get("/v1/calls/call-2")["participants"] == 1, "who left is out")
        assert service.get("/v1/calls/call-2")["state"] == "active"


def test_a_server_that_is_away(tmp_path: Path) -> None:
    """What cannot be compared is said with its reason, vouches for nothing, and is no drift; documents are taken."""
    with beside(tmp_path) as (server, service):
        begin(server, "call-1", "space-alice")
        server.join("leg-1", "call-1", BOB)
        server.push(service)
        eventually(lambda: service.get("/v1/calls/call-1")["license"]["status"] == "reconciled", "it is reconciled")
        server.go_away()
        eventually(lambda: standing(service)["reason"], "the server is missed")
        assert service.get("/v1/calls/call-1")["license"]["status"] == "confirmed"
        server.join("leg-2", "call-1", CAROL)
        server.push(service)
        assert service.get("/v1/calls/call-1")["participants"] == 2
        assert not service.events("reconcile.drift")


def past_uses(service: Service) -> list[dict[str, Any]]:
    """Return what the server says was in use."""
    return list(service.get("/v1/reconciliation/past")["items"])


def test_the_past(tmp_path: Path) -> None:
    """Past use of two nodes is summed up beside ours; a moment that is not as ours is marked."""
    with beside(tmp_path, nodes=2) as (server, service):
        for node in (0, 1):
            begin(server, f"call-{node}", "space-alice", node=node, meeting="m")
            server.join(f"leg-{node}", f"call-{node}", BOB, node=node)
        begin(server, "call-2", "space-bob")
        server.join("leg-2", "call-2", BOB)
        server.push(service, node=0)
        server.push(service, node=1)
        agrees(service)
        licenses = server.deployment.licenses
        now = datetime.now(UTC)
        licenses.entries[:] = [(now - timedelta(minutes=10), ()), (now, licenses.at(now))]
        eventually(lambda: len(past_uses(service)) == 2, "what the server tells is read")
        told = run(tmp_path, "reconcile", "--past", "1", "--json", "--url", service.api_url)
        assert told.returncode == 0, told.stderr
        newest, *older = json.loads(told.stdout)["items"]
        assert [newest, *older] == past_uses(service)
        pages = [service.get("/v1/reconciliation/past?limit=1")]
        pages.append(service.get(f"/v1/reconciliation/past?limit=1&cursor={pages[0]['next']}"))
        assert [page["items"] for page in pages] == [[newest], older]
        assert pages[1]["next"] is None
        table = service.raw("/v1/reconciliation/past?format=csv").splitlines()
        assert table[1].startswith(f"default,{newest['at']},1.0,1,1.0,1.0,")
        assert (newest["personal"], newest["full"], newest["shared_licenses"]) == (1, 1, 1)
        assert (newest["our_personal"], newest["our_shared_licenses"], newest["differs"]) == (1, 1, False)
        assert [(line["personal"], line["differs"]) for line in older] == [(0, False)]
        asked = len(server.asked("MPLicenseUsage"))
        licenses.entries[:] = [(now, licenses.at(now) * 3)]
        eventually(lambda: past_uses(service)[0]["differs"], "what it tells otherwise is read anew")
        assert len(past_uses(service)) == 2
        assert len(server.asked("MPLicenseUsage")) > asked
        told = run(tmp_path, "reconcile", "--past", "1", "--url", service.api_url)
        assert "differs" in told.stdout
        early = f"/v1/reconciliation/past?until={older[0]['at']}"
        assert service.get(early) == {"items": [], "next": None}
        shown = run(tmp_path, "reconcile", "--url", service.api_url)
        assert "default: agreed" in shown.stdout
        assert "pmp_calls_per_user" in shown.stdout


def tells(service: Service, count: int) -> None:
    """Wait until so many observations told the rules apart."""
    eventually(lambda: fit(service)["telling"] >= count, f"{count} observations tell the rules apart")


def test_a_fit_of_the_settings(tmp_path: Path) -> None:
    """A server whose licenses are not sticky, and pay one meeting at a time, is found out by who leaves and spills."""
    with beside_one_that(tmp_path, Rules("join", sticky=False, per_holder=1)) as (server, service):
        for number in (1, 2):
            begin(server, f"call-{number}", "space-bob")
            server.join(f"bob-{number}", f"call-{number}", BOB)
            server.join(f"carol-{number}", f"call-{number}", CAROL)
        server.push(service)
        tells(service, 1)
        begin(server, "call-3", "space-bob")
        server.join("bob-3", "call-3", BOB)
        server.join("alice-3", "call-3", ALICE)
        server.push(service)
        tells(service, 2)
        server.emit("callLegEnd", "alice-3", reason="remoteTeardown")
        server.push(service)
        tells(service, 3)
        chosen = {one["setting"]: one["recommended"] for one in fit(service)["choices"]}
        assert chosen == {"policy": "join", "join_sticky": "false", "pmp_calls_per_user": "1", "spill_back": None}


@pytest.mark.parametrize(
    ("rules", "policy"), [(Rules("join"), "join"), (Rules("owner"), "owner")], ids=["join", "owner"]
)
def test_the_fit_names_the_policy(tmp_path: Path, rules: Rules, policy: str) -> None:
    """Three meetings that holders join who do not own the space tell which rules the server follows."""
    with beside_one_that(tmp_path, rules) as (server, service):
        assert fit(service)["choices"][0]["sure"] == "cannot tell"
        for number, holder in enumerate((CAROL, ALICE, CAROL)):
            begin(server, f"call-{number}", "space-bob")
            server.join(f"leg-{number}", f"call-{number}", holder)
            server.push(service)
            tells(service, number + 1)
        chosen = fit(service)["choices"][0]
        assert (chosen["recommended"], chosen["sure"]) == (policy, "sure")
        assert fit(service)["unexplained"] == 0
