"""The simulated Meeting Server's own view of itself: who is live, and which licenses it counts."""

from datetime import timedelta
from fractions import Fraction
from itertools import count, groupby
from typing import Any

import pytest

from cdr_service.simulator.api_licenses import Rules
from cdr_service.simulator.api_model import Directory, UserProfile, example_directory, plain_address
from cdr_service.simulator.api_nodes import Deployment
from cdr_service.simulator.api_paths import look_up
from cdr_service.simulator.api_views import Many, NotThere, One
from cdr_service.simulator.bridge import Bridge
from cdr_service.simulator.records import Identity, Record
from cdr_service.simulator.scenarios import START, Scenario, generate

SHAPES = [{"bridges": 1}, {"bridges": 3}, {"bridges": 2, "cluster": True}, {"bridges": 4, "cluster": True}]
SCENARIOS = [generate(seed, meetings=25, rate=0.5, **SHAPES[seed % 4]) for seed in range(12)]

Timeline = list[tuple[int, str | None, str | None]]


def counted(scenario: Scenario, rules: Rules | None = None) -> dict[str, Timeline]:
    """Play a scenario, and say for each meeting when the server counted which license, second by second."""
    clock = [START]
    bridges = [Bridge(identity) for identity in scenario.bridges]
    deployment = Deployment(bridges, rules=rules, clock=lambda: clock[0])
    found: dict[str, Timeline] = {}
    for offset, steps in groupby(scenario.steps, key=lambda step: int(step.offset)):
        for step in steps:
            clock[0] = START + timedelta(seconds=step.offset)
            bridges[step.bridge].emit(step.record, clock[0])
        clock[0] = START + timedelta(seconds=offset + 1)
        deployment.refresh()
        live = {meeting.correlator: meeting for meeting in deployment.licenses.at(clock[0])}
        for correlator in found.keys() | live.keys():
            meeting = live.get(correlator)
            somebody = meeting is not None and any(meeting.participants.values())
            payer = deployment.directory.users[meeting.payer].jid if meeting and meeting.payer else None
            now = ("PMP+" if payer else "SMP+") if somebody else None
            timeline = found.setdefault(correlator, [])
            if (now, payer) != (timeline[-1][1:] if timeline else (None, None)):
                timeline.append((offset, now, payer))
    return found


def test_counts_are_the_known_answers() -> None:
    """What the server counts, following records alone, is what each meeting's plan says: two ways to one answer."""
    for scenario in SCENARIOS:
        timelines = counted(scenario)
        for meeting in scenario.expected:
            known = [(change.at, change.type, change.holder) for change in meeting.licenses]
            assert timelines[meeting.correlator] == known, (meeting.story, meeting.correlator)


class Stage:
    """A deployment on which a test plays by hand; each record comes a second after the last one."""

    def __init__(self, *, bridges: int = 1, cluster: bool = False, **options: Any) -> None:
        self.now = START
        names = [f"cms{number}" for number in range(1, bridges + 1)]
        ids = [Identity(name, f"session-{name}", f"bridge-{name}" if cluster else None) for name in names]
        self.bridges = [Bridge(identity) for identity in ids]
        self.deployment = Deployment(self.bridges, clock=lambda: self.now, **options)
        self.numbers = count(1)

    @property
    def directory(self) -> Directory:
        """What is configured."""
        return self.deployment.directory

    def emit(self, kind: str, subject: str, bridge: int = 0, **fields: Any) -> str:
        """Let a second pass and a bridge generate a record."""
        self.now += timedelta(seconds=1)
        self.bridges[bridge].emit(Record(kind, subject, fields), self.now)
        return subject

    def call(self, meeting: str, bridge: int = 0, **fields: Any) -> str:
        """Begin a call."""
        given = {"callType": "coSpace", "coSpace": f"space-{meeting}", "callCorrelator": meeting, **fields}
        return self.emit("callStart", f"call-{meeting}-{bridge}", bridge, name=meeting, **given)

    def join(self, call: str, address: str, bridge: int = 0, **fields: Any) -> str:
        """Let somebody come into a call by the app."""
        leg = f"leg-{next(self.numbers)}"
        given = {"remoteParty": address, "type": "acano", "direction": "incoming", "call": call, "groupId": leg}
        self.emit("callLegStart", leg, bridge, **given, **fields)
        return self.emit("callLegUpdate", leg, bridge, state="connected", call=call, deactivated=False, groupId=leg)

    def leave(self, leg: str, bridge: int = 0) -> None:
        """End a leg."""
        self.emit("callLegEnd", leg, bridge, reason="remoteTeardown")

    def own(self, meeting: str, owner: str) -> None:
        """Give the space of a meeting an owner."""
        user = self.directory.find(owner)
        assert user is not None
        self.directory.spaces[f"space-{meeting}"].owner = user.id

    def get(self, path: str, node: int = 0, **query: str) -> Any:
        """Ask a node for what is at a path."""
        found = look_up(self.deployment.nodes[node], path, query)
        return found.fields if isinstance(found, One) else list(found.entries)

    def payers(self) -> dict[str, str | None]:
        """Who pays for each meeting."""
        now = self.deployment.refresh()
        users = self.directory.users
        return {
            meeting.correlator: users[meeting.payer].jid if meeting.payer else None
            for meeting in self.deployment.licenses.at(now)
        }


def test_owner_pays_without_being_there() -> None:
    """Under the rule `owner` the owner of the space pays, who need not join, and nobody who joins does."""
    stage = Stage(rules=Rules(rule="owner"))
    for meeting, owner in (("a", "alice@example.com"), ("b", "bob@example.com"), ("c", None)):
        call = stage.call(meeting)
        if owner:
            stage.own(meeting, owner)
        stage.join(call, "carol@example.com")
    assert stage.payers() == {"a": "alice@example.com", "b": None, "c": None}


def test_owner_pays_where_no_member_joined() -> None:
    """Under the rule `join` the owner comes second, and keeps paying once paying (J1, J2)."""
    stage = Stage()
    call = stage.call("a")
    stage.own("a", "alice@example.com")
    stage.join(call, "bob@example.com")
    assert stage.payers() == {"a": "alice@example.com"}
    stage.join(call, "carol@example.com")
    assert stage.payers() == {"a": "alice@example.com"}


@pytest.mark.parametrize(("sticky", "payer"), [(True, "alice@example.com"), (False, None)])
def test_payer_who_leaves(sticky: bool, payer: str | None) -> None:
    """A payer who left pays on if licenses are sticky, and not otherwise; an empty meeting begins anew."""
    stage = Stage(rules=Rules(sticky=sticky))
    call = stage.call("a")
    bob, alice = stage.join(call, "bob@example.com"), stage.join(call, "sip:ALICE@example.com:5061;transport=tls")
    assert stage.payers() == {"a": "alice@example.com"}
    stage.leave(alice)
    assert stage.payers() == {"a": payer}
    stage.leave(bob)
    assert stage.payers() == {"a": None}


@pytest.mark.parametrize(("spill_back", "after"), [(True, "alice@example.com"), (False, None)])
def test_holder_in_more_meetings_than_a_license_pays(spill_back: bool, after: str | None) -> None:
    """The meeting beyond the limit spills; the oldest spilled one gets the license when it is free, if that is so."""
    stage = Stage(rules=Rules(per_holder=2, spill_back=spill_back))
    legs = [stage.join(stage.call(meeting), "alice@example.com") for meeting in "abcd"]
    alice = "alice@example.com"
    assert stage.payers() == {"a": alice, "b": alice, "c": None, "d": None}
    stage.leave(legs[0])
    assert stage.payers() == {"a": None, "b": alice, "c": after, "d": None}


def test_who_holds_a_license() -> None:
    """The user's profile decides, else the tenant's, else the system's; one that does not say is passed over."""
    directory = example_directory()
    alice, bob = directory.find("alice@example.com"), directory.find("Bob@Example.com")
    assert alice is not None
    assert bob is not None
    assert (directory.holds(alice.id), directory.holds(bob.id), directory.holds("nobody")) == (True, False, False)
    directory.user_profiles["silent"] = UserProfile("silent")
    bob.profile = "silent"
    assert not directory.holds(bob.id)
    directory.user_profile = alice.profile
    assert directory.holds(bob.id)


@pytest.mark.parametrize(
    "address",
    [
        "alice@example.com",
        "SIP:Alice@Example.com",
        "sips:alice@example.com:5061;transport=tls",
        " alice@example.com?a=b",
    ],
)
def test_addresses_are_matched_however_they_are_written(address: str) -> None:
    """Scheme, port, parameters, case and white space do not matter."""
    assert plain_address(address) == "alice@example.com"


def test_guest_with_a_users_address_is_nobody() -> None:
    """A guest is no user, whatever is typed."""
    stage = Stage()
    stage.join(stage.call("a"), "alice@example.com", guestConnection=True)
    assert stage.payers() == {"a": None}


def test_weighted_counts_add_up_over_the_nodes() -> None:
    """A call over three nodes is a third of one on each, written with three decimals; the plain counts are whole."""
    stage = Stage(bridges=3, cluster=True)
    calls = [stage.call("a", bridge) for bridge in range(3)]
    for bridge, call in enumerate(calls):
        stage.join(call, "bob@example.com", bridge)
    stage.join(stage.call("b"), "alice@example.com")
    told = [stage.get("system/multipartyLicensing", node) for node in range(3)]
    assert [one["callsActive"] for one in told] == [2, 1, 1]
    assert [one["weightedCallsActive"] for one in told] == ["1.333", "0.333", "0.333"]
    assert [one["callsWithoutPersonalLicense"] for one in told] == [1, 1, 1]
    assert [one["participantsActive"] for one in told] == [2, 1, 1]
    assert told[0]["personalLicenses"] == 8
    (paid,) = stage.get("system/multipartyLicensing/activePersonalLicenses")
    assert (paid["callsActive"], paid["weightedCallsActive"]) == (1, "1.000")
    assert stage.directory.users[paid["@id"]].jid == "alice@example.com"
    assert stage.get("system/multipartyLicensing/activePersonalLicenses", 1) == []


def test_counts_trail_by_the_lag() -> None:
    """With a lag the counts say what was true so many seconds ago, on each node by a lag of its own."""
    stage = Stage(bridges=2, lag=(10.0, 15.0), seed=4)
    assert len({lag for lag in stage.deployment.lags if 10 <= lag.total_seconds() <= 15}) == 2
    stage.join(stage.call("a"), "bob@example.com")

    def calls() -> int:
        return int(stage.get("system/multipartyLicensing")["callsActive"])

    assert calls() == 0
    stage.now += timedelta(seconds=7)
    assert calls() == 0
    stage.now += timedelta(seconds=8)
    assert calls() == 1


def test_lobby_and_automatic_legs_do_not_count() -> None:
    """Whoever waits, records or links bridges is a leg and no participant; the call counts all the same."""
    stage = Stage()
    call = stage.call("a")
    stage.emit("callLegStart", "w", remoteParty="alice@example.com", direction="incoming", call=call, groupId="w")
    stage.emit("callLegUpdate", "w", state="connected", call=call, deactivated=True, groupId="w")
    stage.join(call, "recorder.example.com", recording=True)
    stage.join(call, "cms2.example.com", subType="distributionLink")
    told = stage.get("system/multipartyLicensing")
    assert (told["participantsActive"], told["callsActive"]) == (0, 1)
    assert len(stage.get(f"calls/{call}/callLegs")) == 3
    assert [entry["@id"] for entry in stage.get("participants")] == ["w"]
    assert stage.payers() == {"a": None}


def test_every_node_of_a_meeting_lists_all_of_its_people() -> None:
    """In a cluster each node lists all participants, and names the Call Bridge of those who are elsewhere."""
    stage = Stage(bridges=2, cluster=True)
    legs = [stage.join(stage.call("a", bridge), address, bridge) for bridge, address in enumerate(("bob@b.c", "x@b.c"))]
    for node, (here, there) in enumerate((legs, legs[::-1])):
        people = {entry["@id"]: entry for entry in stage.get("participants", node)}
        assert people.keys() == {here, there}
        assert {entry["call"] for entry in people.values()} == {f"call-a-{node}"}
        assert [people[leg]["callBridge"] for leg in (here, there)] == [None, f"bridge-cms{2 - node}"]
        assert stage.get(f"participants/{there}", node)["numCallLegs"] is None
        call = stage.get(f"calls/call-a-{node}", node)
        assert (call["numParticipantsLocal"], call["numParticipantsRemote"]) == (1, 1)
        assert call["numDistributedInstances"] == 1


def test_past_usage_has_an_entry_every_five_minutes() -> None:
    """The newest entry comes first, each tells classes of use at its time, zeros are left out, a host can be named."""
    stage = Stage(bridges=2)
    stage.get("system/status")
    stage.join(stage.call("full"), "bob@example.com")
    phone = stage.join(stage.call("audio"), "+15551234@partner.example.net")
    stage.join(stage.call("two", callType="adHoc", coSpace=""), "carol@partner.example.net")
    stage.join(stage.call("paid"), "alice@example.com")
    stage.emit("recordingStart", "r", call="call-full-0", callLeg="x")
    stage.now += timedelta(minutes=6)
    stage.leave(phone)
    stage.now += timedelta(minutes=5)
    newest, before, first = stage.get("system/MPLicenseUsage")
    assert before == {
        "@time": "2026-01-05T09:05:00Z",
        "pmp": "1.00",
        "smpAud": "1.00",
        "smpFull": "1.00",
        "smpPtP": "1.00",
        "pmpAssigned": 8,
        "rec": 1,
    }
    assert newest["@time"] == "2026-01-05T09:10:00Z"
    assert first == {"@time": "2026-01-05T09:00:00Z", "pmpAssigned": 8}
    assert stage.get("system/MPLicenseUsage", startTime=newest["@time"]) == [newest]
    assert stage.get("system/MPLicenseUsage", endTime=first["@time"]) == [first]
    hosts = [entry["@id"] for entry in stage.get("system/MPLicenseUsage/knownHosts", 1)]
    assert stage.get("system/MPLicenseUsage", 1, hostId=hosts[0])[1] == before
    assert stage.get("system/MPLicenseUsage", 1)[1] == {"@time": "2026-01-05T09:05:00Z", "pmpAssigned": 8}


def test_restart_forgets_every_call() -> None:
    """After a restart the node has no calls, counts up from the start again, and its calls no longer count."""
    stage = Stage(bridges=2, cluster=True)
    for bridge in range(2):
        stage.join(stage.call("a", bridge), "bob@example.com", bridge)
    assert stage.get("system/status")["cdrCorrelatorIndex"] == 3
    stage.now += timedelta(seconds=5)
    stage.bridges[0].restart("session-new")
    status = stage.get("system/status")
    assert (status["cdrCorrelatorIndex"], status["uptimeSeconds"], status["callLegsActive"]) == (0, 0, 0)
    assert stage.get("calls") == []
    assert stage.get("system/multipartyLicensing", 1)["weightedCallsActive"] == "1.000"


def test_release_decides_what_there_is() -> None:
    """A release has neither paths nor elements that came later, and tells limits that went."""
    old, new = Stage(release="2.1", limits=(200, 3)), Stage(release="3.9", limits=(200, 3))
    with pytest.raises(NotThere, match="unrecognizedObject"):
        old.get("system/MPLicenseUsage")
    assert old.get("system/status")["cdrCorrelatorIndex"] is None
    assert old.get("system/multipartyLicensing")["sharedLicenseLimit"] == 3
    assert "sharedLicenseLimit" not in new.get("system/multipartyLicensing")


def test_what_is_not_there() -> None:
    """An unknown id is told by what it would be, an unknown path by a reason of its own; ids have no case."""
    stage = Stage()
    call = stage.call("a")
    for path, reason in {
        "calls/x": "callDoesNotExist",
        "users/x": "userDoesNotExist",
        "coSpaces/x/coSpaceUsers": "coSpaceDoesNotExist",
        "nonsense": "unrecognizedObject",
        f"calls/{call}/nonsense": "unrecognizedObject",
    }.items():
        with pytest.raises(NotThere, match=reason):
            stage.get(path)
    assert stage.get(f"calls/{call.upper()}")["@id"] == call


def test_a_space_is_there_once_a_call_takes_place_in_it() -> None:
    """A call begins in a space that the server knows, without an owner unless one was given."""
    stage = Stage()
    stage.call("a")
    space = stage.get("coSpaces/space-a")
    assert (space["name"], space["ownerId"], space["ownerJid"]) == ("a", None, None)
    listed = look_up(stage.deployment.nodes[0], "coSpaces", {})
    assert isinstance(listed, Many)
    assert "ownerJid" not in listed.entries[0]
    stage.own("a", "bob@example.com")
    assert stage.get("coSpaces/space-a")["ownerJid"] == "bob@example.com"


def test_terse_sender_is_believed_after_a_second() -> None:
    """A leg that starts in a call is in once a second passed or another record came; until then it may be waiting."""
    stage = Stage()
    call = stage.call("a")
    stage.emit("callLegStart", "l", remoteParty="alice@example.com", direction="incoming", call=call, groupId="l")
    assert stage.payers() == {"a": None}
    stage.now += timedelta(seconds=1)
    assert stage.payers() == {"a": "alice@example.com"}
    assert sum((meeting.share for meeting in stage.deployment.licenses.at(stage.now)), Fraction(0)) == 1


def test_records_may_be_followed_from_the_middle() -> None:
    """Whoever begins to watch late meets updates and ends of what never began, and takes no harm."""
    stage = Stage()
    stage.emit("callLegUpdate", "l", state="connected", call="gone", deactivated=False)
    stage.emit("callLegEnd", "m", reason="remoteTeardown")
    stage.emit("callEnd", "gone")
    stage.emit("recordingStart", "r", call="gone")
    stage.emit("recordingEnd", "r")
    assert stage.payers() == {}
