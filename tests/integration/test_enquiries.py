"""The service beside a simulated Meeting Server: its REST API over TLS, real processes, a real store."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from cdr_service.simulator.api_model import CoSpace, Directory, example_directory
from cdr_service.simulator.records import Value
from tests.integration.command import Service, running
from tests.integration.meeting_server import MeetingServer, meeting_server
from tests.integration.servers import StoreServer, eventually, store_server

ALICE, BOB, CAROL = (f"{name}@example.com" for name in ("alice", "bob", "carol"))
SPACE, CALL, LEG = "space-a", "call-1", "leg-1"


def configured() -> Directory:
    """Make alice and carol, who hold PMP+, bob, who does not, and a space of alice's."""
    made = example_directory(holders=[ALICE, CAROL], users=[BOB])
    give(made, SPACE, ALICE)
    return made


def give(directory: Directory, space: str, owner: str | None) -> None:
    """Make a space, or give it to somebody."""
    user = directory.find(owner) if owner else None
    directory.spaces[space] = CoSpace(space, "Standup", user.id if user else None)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MeetingServer]:
    """Run a Meeting Server with one Call Bridge."""
    with meeting_server(tmp_path / "cms", configured()) as made:
        yield made


def begin(
    server: MeetingServer,
    service: Service,
    *,
    space: str = SPACE,
    party: str = BOB,
    call: str = CALL,
    leg: str = LEG,
    **fields: Value,
) -> None:
    """Let a meeting begin in a space."""
    server.emit("callStart", call, name="Standup", callType="coSpace", coSpace=space, callCorrelator=f"meeting-{call}")
    server.join(leg, call, party, **fields)
    server.push(service)


def call(service: Service, call_id: str = CALL) -> dict[str, Any]:
    """Ask for a call."""
    found: dict[str, Any] = service.get(f"/v1/calls/{call_id}")
    return found


def license_of(service: Service, call_id: str = CALL) -> tuple[str, str | None]:
    """Ask what a live call takes, and of whom."""
    found = call(service, call_id)["license"]
    return found["type"], found["holder"]


class TestDirectory:
    """Who holds PMP+ and who owns a space, from the server."""

    def test_without_a_holders_file(self, tmp_path: Path, server: MeetingServer) -> None:
        """The owner pays from the first participant on, because the API was read before the first document."""
        with running(tmp_path, "serve", settings=server.settings) as service:
            begin(server, service)
            assert license_of(service) == ("PMP+", ALICE)
            assert call(service)["owner"] == ALICE
            assert call(service)["license"]["status"] == "confirmed"
            assert service.get("/v1/usage")["items"][0]["personal"]["assigned"] == 2
            (changed,) = service.events("directory.changed")
            assert (changed["users"], changed["assigned"]) == (3, 2)
        assert not [line for line in service.lines if server.settings["CDR_CMS_PASSWORD"] in str(line)]

    def test_the_holders_file_goes_over_it(self, tmp_path: Path, server: MeetingServer) -> None:
        """The file takes a license away, and gives a space to somebody; the rest is the server's."""
        file = tmp_path / "holders.csv"
        file.write_text(f"user,license,aliases,spaces\n{ALICE},,,\n{CAROL},server,,{SPACE}\n")
        with running(tmp_path, "serve", settings={**server.settings, "CDR_HOLDERS": str(file)}) as service:
            begin(server, service)
            assert license_of(service) == ("PMP+", CAROL)
            assert service.get("/v1/usage")["items"][0]["personal"]["assigned"] == 1

    def test_a_change_is_seen(self, tmp_path: Path, server: MeetingServer) -> None:
        """Who loses the license at the server loses it in a live meeting, at the next reading."""
        settings = {**server.settings, "CDR_DIRECTORY_INTERVAL_SECONDS": "1"}
        with running(tmp_path, "serve", settings=settings) as service:
            begin(server, service)
            assert license_of(service) == ("PMP+", ALICE)
            for profile in server.directory.user_profiles.values():
                profile.has_license = False
            eventually(lambda: license_of(service) == ("SMP+", None), "the license is gone")
            assert len(service.events("directory.changed")) == 2

    def test_away_and_back(self, tmp_path: Path, server: MeetingServer) -> None:
        """While the API is away the last good copy serves, after a restart and with a changed holders file too.

        That it is away is said once, and that it is back as well.
        """
        settings = {**server.settings, "CDR_DIRECTORY_INTERVAL_SECONDS": "1"}
        with running(tmp_path, "serve", settings=settings) as service:
            service.wait_for("directory.changed")
        server.go_away()
        file = tmp_path / "holders.csv"
        file.write_text(f"user,license,aliases,spaces\n{BOB},PMP+,,\n")
        with running(tmp_path, "serve", settings={**settings, "CDR_HOLDERS": str(file)}) as service:
            begin(server, service, party="sip:desk@elsewhere.example", type="sip")
            assert license_of(service) == ("PMP+", ALICE)
            assert service.wait_for("directory.changed")["assigned"] == 3
            assert service.wait_for("directory.unreadable")["source"] == "api"
            server.come_back()
            server.directory.spaces[SPACE].owner = None
            service.wait_for("directory.readable")
            eventually(lambda: call(service)["owner"] is None, "the owner is gone")
            assert len(service.events("directory.unreadable")) == 1
            assert len(service.events("directory.changed")) == 2

    def test_never_there(self, tmp_path: Path, server: MeetingServer) -> None:
        """Where the API was never reached, the holders file alone decides."""
        server.go_away()
        file = tmp_path / "holders.csv"
        file.write_text(f"user,license,aliases,spaces\n{BOB},PMP+,,\n")
        with running(tmp_path, "serve", settings={**server.settings, "CDR_HOLDERS": str(file)}) as service:
            begin(server, service)
            assert license_of(service) == ("PMP+", BOB)

    def test_a_wrong_password(self, tmp_path: Path, server: MeetingServer) -> None:
        """It is said which settings to look at, once, and the server is not pressed."""
        settings = {**server.settings, "CDR_CMS_PASSWORD": "wrong", "CDR_DIRECTORY_INTERVAL_SECONDS": "1"}
        with running(tmp_path, "serve", settings=settings) as service:
            assert "check CDR_CMS_USERNAME and _PASSWORD" in service.wait_for("directory.unreadable")["reason"]
            begin(server, service)
            assert license_of(service) == ("SMP+", None)
            assert len(server.asked("")) == 1


class TestAuto:
    """The policy by the release that the server runs."""

    def test_the_first_decision_waits_for_the_release(self, tmp_path: Path, server: MeetingServer) -> None:
        """An API that is away when the service starts, and back before long: nothing has to be decided anew."""
        server.go_away()
        back = Timer(8.0, server.come_back)  # longer than any first decision waits for users and spaces
        back.start()
        settings = {**server.settings, "CDR_POLICY": "auto", "CDR_DIRECTORY_INTERVAL_SECONDS": "1"}
        with running(tmp_path, "serve", settings=settings) as service:
            begin(server, service, space="space-of-nobody", party=CAROL)
            back.join()
            decided = call(service)
            assert (decided["license"]["policy"], decided["license"]["type"]) == ("auto", "SMP+")
            assert "(policy auto: owner, because the server runs 3.0)" in decided["license"]["reason"]
            assert [transition["cause"] for transition in decided["transitions"]] == ["first_participant"]
            assert set(decided["alternatives"]) == {"join", "owner"}

    def test_advice(self, tmp_path: Path, server: MeetingServer) -> None:
        """With join set, a release that points to owner is told once, also over a restart."""
        for said in (1, 0):
            with running(tmp_path, "serve", settings=server.settings) as service:
                service.wait_for("service.started")
                advice = service.events("policy.advice")
                assert [line["advised"] for line in advice] == ["owner"] * said


class TestTrouble:
    """An API that has its bad days holds up nothing."""

    def test_one_that_never_answers(self, tmp_path: Path, server: MeetingServer) -> None:
        """The service starts, takes documents in, and ends when it is told to."""
        server.servers[0].faults.slow = 3600.0
        with running(tmp_path, "serve", settings=server.settings) as service:
            begin(server, service)
            assert license_of(service) == ("SMP+", None)
            assert service.end() == 0

    def test_one_that_is_odd(self, tmp_path: Path, server: MeetingServer) -> None:
        """Busy now and then, elements missing, bare ids, unknown ids as 400: what can be read is, and nothing fails."""
        faults = server.servers[0].faults
        faults.busy, faults.missing, faults.bare_lists, faults.gone_as_400 = 0.2, 0.3, True, True
        settings = {**server.settings, "CDR_DIRECTORY_INTERVAL_SECONDS": "0.2", "CDR_STALE_CALL_HOURS": "0.0003"}
        with running(tmp_path, "serve", settings=settings) as service:
            begin(server, service, party="sip:desk@elsewhere.example", type="sip")
            asked = len(server.asked("/userProfiles?"))
            eventually(lambda: len(server.asked("/userProfiles?")) > asked + 2, "it is read again and again")
            eventually(lambda: server.asked(f"/calls/{CALL}"), "the silent call is asked for")
            assert not service.events("upkeep.failed")
            assert call(service)["id"] == CALL


class TestOneReads:
    """Of several processes one reads, and another goes on when that is gone."""

    @pytest.fixture
    def store(self) -> Iterator[StoreServer]:
        """Run a store for both."""
        with store_server() as made:
            yield made

    def test_hand_over(self, tmp_path: Path, server: MeetingServer, store: StoreServer) -> None:
        """Only the holder of the lease reads; when it is killed, the other one does, and sees what changed since."""
        settings = {**server.settings, "CDR_REDIS_URL": store.url, "CDR_DIRECTORY_INTERVAL_SECONDS": "1"}
        with ExitStack() as stack:
            homes = [tmp_path / name for name in ("one", "two")]
            for home in homes:
                home.mkdir()
            first = stack.enter_context(running(homes[0], "serve", settings=settings))
            first.wait_for("directory.changed")
            second = stack.enter_context(
                running(homes[1], "serve", settings={**settings, "CDR_DIRECTORY_INTERVAL_SECONDS": "1"})
            )
            assert second.wait_for("service.started")
            begin(server, second)
            assert license_of(second) == license_of(first) == ("PMP+", ALICE)
            assert second.get("/v1/usage")["items"][0]["personal"]["assigned"] == 2
            assert not second.events("directory.changed")
            first.end(signal.SIGKILL)
            server.directory.spaces[SPACE].owner = None
            second.wait_for("directory.changed")
            eventually(lambda: call(second)["owner"] is None, "the other one decides by what it read")


class TestSilentCalls:
    """Calls of which nothing was heard for too long."""

    def test_one_that_is_still_there(self, tmp_path: Path, server: MeetingServer) -> None:
        """It is kept as long as the server has it or does not answer, and closed once that says that it is gone."""
        settings = {**server.settings, "CDR_STALE_CALL_HOURS": "0.0003"}
        with running(tmp_path, "serve", settings=settings) as service:
            begin(server, service)
            eventually(lambda: len(server.asked(f"/calls/{CALL}")) > 1, "it is asked for more than once")
            assert call(service)["state"] == "active"
            server.go_away()
            server.emit("callEnd", CALL)
            time.sleep(3)
            assert call(service)["state"] == "active"
            server.come_back()
            eventually(lambda: call(service)["state"] == "ended", "it is closed", 60)
            assert call(service)["end_estimated"]

    def test_one_that_is_gone(self, tmp_path: Path, server: MeetingServer) -> None:
        """A call that the server does not have is closed as an estimate."""
        with running(tmp_path, "serve", settings={**server.settings, "CDR_STALE_CALL_HOURS": "0.0003"}) as service:
            begin(server, service)
            server.emit("callEnd", CALL)
            eventually(lambda: call(service)["end_estimated"], "it is closed")


class TestLiveCalls:
    """What is asked about calls while they go on."""

    def test_a_space_that_came_since(self, tmp_path: Path, server: MeetingServer) -> None:
        """A space is looked up when a call begins in it; so its owner is known though the directory was read before."""
        with running(tmp_path, "serve", settings=server.settings) as service:
            service.wait_for("directory.changed")
            give(server.directory, "temporary", CAROL)
            begin(server, service, space="temporary")
            eventually(lambda: call(service)["owner"] == CAROL, "the owner is known")
            assert license_of(service) == ("PMP+", CAROL)

    def test_who_somebody_is(self, tmp_path: Path, server: MeetingServer) -> None:
        """Somebody who cannot be matched is looked up among the participants, and turns out to be a holder."""
        give(server.directory, SPACE, None)
        settings = {**server.settings, "CDR_LICENSING_SIP_USER_MATCH": "off"}
        with running(tmp_path, "serve", settings=settings) as service:
            begin(server, service, party=f"sip:{CAROL}", type="sip")
            eventually(lambda: license_of(service) == ("PMP+", CAROL), "the server's word counts")
            (leg,) = service.get(f"/v1/calls/{CALL}/legs")["items"]
            assert leg["user"] == CAROL

    def test_who_nobody_knows(self, tmp_path: Path, server: MeetingServer) -> None:
        """Once the server says that a stranger is no user, and that there is video, SMP+ is confirmed; it stays so."""
        give(server.directory, SPACE, None)
        settings = {**server.settings, "CDR_DIRECTORY_INTERVAL_SECONDS": "1"}
        with running(tmp_path, "serve", settings=settings) as service:
            begin(server, service, party="sip:desk@elsewhere.example", type="sip")
            eventually(lambda: call(service)["license"]["status"] == "confirmed", "all that decides is known")
            assert license_of(service) == ("SMP+", None)
            for profile in server.directory.user_profiles.values():
                profile.has_license = False
            eventually(lambda: len(service.events("directory.changed")) == 2, "everybody is looked up again")
            assert call(service)["license"]["status"] == "confirmed"
            (leg,) = service.get(f"/v1/calls/{CALL}/legs")["items"]
            assert (leg["user"], leg["matched_by"]) == (None, None)

    def test_video(self, tmp_path: Path, server: MeetingServer) -> None:
        """A meeting that uses no video takes a sixth; it takes a whole license once the server sees video."""
        give(server.directory, SPACE, None)
        with running(tmp_path, "serve", settings=server.settings) as service:
            begin(server, service, party="+15550100", type="sip")
            eventually(lambda: call(service)["license"]["weight"] == "1/6", "it is known to be audio only")
            server.deployment.nodes[0].live.legs[LEG].video = True
            eventually(lambda: call(service)["license"]["weight"] == "1", "it is known to use video")
            causes = [transition["cause"] for transition in call(service)["transitions"]]
            assert causes[-1] == "video_started"

    def test_who_pays_alone_is_asked(self, tmp_path: Path, server: MeetingServer) -> None:
        """Nothing is asked about the legs of a meeting that a PMP+ pays under both policies."""
        with running(tmp_path, "serve", settings=server.settings) as service:
            begin(server, service, party="sip:desk@elsewhere.example", type="sip")
            give(server.directory, "nobodys", None)
            begin(server, service, space="nobodys", call="other", leg="leg-2")
            eventually(lambda: server.asked("/callLegs/leg-2"), "the other meeting is asked about")
            assert license_of(service) == ("PMP+", ALICE)
            assert not server.asked(f"/callLegs/{LEG}")
            assert not server.asked(f"/participants/{LEG}")
