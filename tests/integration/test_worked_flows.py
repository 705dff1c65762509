"""The worked flows, posted one by one to a service that runs as a process: every field, at every decisive moment.

What is expected is written down by hand from the records and the rules, in `docs/cdr.md` and `docs/licensing.md`.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.command import Service, running, samples

Json = dict[str, Any]

NOBODY = "nobody in the meeting is known to hold PMP+, and "
SMP = {"type": "SMP+", "holder": None, "weight": "1"}
NOT_USED: Json = {"meetings": 0, "sixths": 0, "licenses": 0.0, "limit": None}
ONE_SHARED: Json = {"meetings": 1, "sixths": 6, "licenses": 1.0, "limit": None}


class Flow:
    """A sample that is posted document by document; each document `repeats` times."""

    def __init__(self, service: Service, case: str, repeats: int) -> None:
        self.service = service
        self._documents = iter(samples(case))
        self._repeats = repeats
        self._records = 0

    def post(self, count: int = 1) -> None:
        """Push the next documents; each is acknowledged however often it comes."""
        for _ in range(count):
            document = next(self._documents)
            self._records += document.count(b"<record ")
            assert [self.service.post(document) for _ in range(self._repeats)] == [200] * self._repeats

    def finish(self) -> None:
        """Make sure that the sample has no more documents, and that each record was applied once."""
        assert next(self._documents, None) is None
        counted = re.findall(
            r'^cdr_records_total\{.*outcome="applied".*\} (\S+)$', self.service.metrics(), re.MULTILINE
        )
        assert sum(map(float, counted)) == self._records

    def call(self, call: str) -> Json:
        """Return a call, and hold the list to what it says of the same call. Hints are guesses, tested elsewhere."""
        found: Json = self.service.get(f"/v1/calls/{call}")
        del found["hints"]
        listed = self.service.get("/v1/calls?state=all")["items"]
        assert [one for one in listed if one["id"] == call] == [
            {name: value for name, value in found.items() if name not in ("transitions", "reported")}
        ]
        return found

    def active(self) -> list[str]:
        """Return the ids of the live calls."""
        return [call["id"] for call in self.service.get("/v1/calls")["items"]]

    def legs(self, call: str) -> list[Json]:
        """Return the legs of a call."""
        page = self.service.get(f"/v1/calls/{call}/legs")
        assert page["next"] is None
        return list(page["items"])

    def usage(self) -> Json:
        """Return what is in use, but for the time of the answer and hints."""
        (item,) = self.service.get("/v1/usage")["items"]
        del item["at"], item["hints"]
        return dict(item)


Start = Callable[..., AbstractContextManager[Flow]]


@pytest.fixture(params=[1, 2], ids=["each POST once", "each POST twice"])
def flow(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    """Start a service with some holders, to which a sample is then posted."""

    @contextmanager
    def start(case: str, holders: str = "") -> Iterator[Flow]:
        file = tmp_path / "holders.csv"
        file.write_text(f"user,license,aliases,spaces\n{holders}")
        with running(tmp_path, "serve", settings={"CDR_HOLDERS": str(file)}) as service:
            yield Flow(service, case, request.param)
            assert service.end() == 0

    return start


def usage(*, calls: int, participants: int, assigned: int = 0, **used: Any) -> Json:
    """Return the usage of a deployment in which the policy `join` decides."""
    personal = {"meetings": 0, "holders": [], **used.get("personal", {}), "assigned": assigned, "limit": None}
    return {
        "deployment": "default",
        "policy": "join",
        "personal": personal,
        "shared": used.get("shared", NOT_USED),
        "participants": participants,
        "calls": calls,
    }


def license_of(policy: str, rule: str, since: str, reason: str, holder: str | None = None) -> Json:
    """Return a license as calls show it."""
    paid = {"type": "PMP+", "holder": holder, "weight": "0"} if holder else SMP
    return {**paid, "policy": policy, "rule": rule, "status": "provisional", "since": since, "reason": reason}


def leg(id_: str, call: str | None, started: str, **members: Any) -> Json:
    """Return a leg that is in by the app, or as `members` say; with `joined` (and `left`) it has one stay."""
    joined, left = members.pop("joined", None), members.pop("left", None)
    return {
        "id": id_,
        "call": call,
        "state": "connected",
        "counted": True,
        "user": None,
        "holds_license": False,
        "matched_by": None,
        "remote_party": None,
        "remote_address": None,
        "display_name": None,
        "type": "acano",
        "sub_type": None,
        "direction": "incoming",
        "guest": False,
        "started_at": started,
        "joined_at": joined,
        "left_at": left,
        "end_reason": None,
        "media": None,
        "stays": [{"call": call, "joined_at": joined, "left_at": left}] if joined else [],
        **members,
    }


def transition(seq: int, at: str, before: Json | None, after: Json | None, cause: str, **members: Any) -> Json:
    """Return a transition."""
    told = {"rule": None, "leg": None, "user": None, "late": False, **members}
    return {"seq": seq, "at": at, "from": before, "to": after, "cause": cause, **told}


class TestWebAppAndSip:
    """`docs/cdr.md`, first flow: a web-app user starts a space call, a SIP user joins, both leave."""

    CALL = "7d6111cd-462b-441d-8742-b109ce308a93"
    MEETING = "9b46730e-ff76-428c-86f1-1d91137c6c70"
    SPACE = "97015761-60d6-4229-b9d8-9f99607b2556"
    WEB = "d144e20c-9922-4a03-8f62-24f54c035755"
    SIP = "465087db-e357-42cb-96f4-73d58f63db1a"
    USER = "webuser1@example.com"
    BEGIN, JOINED, LEFT, END = (f"2024-03-12T09:{time}Z" for time in ("00:00", "02:10", "20:40", "21:05"))
    NO_OWNER = f"the owner {USER} holds no PMP+"

    def call(self, **members: Any) -> Json:
        """Return the call while one is in, or as `members` say."""
        return {
            "id": self.CALL,
            "deployment": "default",
            "call_bridge": None,
            "session": "c74d8c46-36aa-4683-ae73-26a4055dd8f7",
            "meeting": self.MEETING,
            "name": "Team standup",
            "call_type": "coSpace",
            "cospace": self.SPACE,
            "owner_name": "Web User One",
            "owner": self.USER,
            "tenant": None,
            "cdr_tag": "emp-1001",
            "state": "active",
            "started_at": self.BEGIN,
            "ended_at": None,
            "end_estimated": False,
            "participants": 1,
            "participants_peak": 1,
            "legs": 1,
            "recording": False,
            "streaming": False,
            "complete": True,
            "reported": None,
            "license": license_of("join", "shared", self.BEGIN, f"{NOBODY}{self.NO_OWNER}"),
            "alternatives": {"owner": license_of("owner", "shared", self.BEGIN, self.NO_OWNER)},
            "transitions": [self.first()],
            **members,
        }

    def first(self) -> Json:
        """Return the transition of the first participant."""
        known = {"rule": "shared", "leg": self.WEB, "user": self.USER, "reason": f"{NOBODY}{self.NO_OWNER}"}
        return transition(1, self.BEGIN, None, SMP, "first_participant", **known)

    def web(self, **members: Any) -> Json:
        """Return the web user's leg."""
        known = {"user": self.USER, "matched_by": "jid", "remote_party": self.USER, "display_name": "Web User One"}
        return leg(self.WEB, self.CALL, self.BEGIN, joined=self.BEGIN, sub_type="webApp", **known, **members)

    def sip(self, **members: Any) -> Json:
        """Return the room's leg once it is on the call."""
        room = "room12@example.com"
        known = {"remote_party": room, "remote_address": room, "display_name": "Room 12", "type": "sip"}
        return leg(self.SIP, self.CALL, self.JOINED, joined=self.JOINED, **known, **members)

    def test_a_user_without_license(self, flow: Start) -> None:
        """One meeting, 09:00:00 to 09:21:05, two participants, peak two, on SMP+; who moved what is in every field."""
        with flow("web-app-and-sip", f"{self.USER},,,{self.SPACE}\n") as run:
            run.post()
            empty = {"participants": 0, "participants_peak": 0, "legs": 0, "transitions": []}
            assert run.call(self.CALL) == self.call(**empty, license=None, alternatives={"owner": None})
            assert run.usage() == usage(calls=1, participants=0)
            assert run.legs(self.CALL) == []
            run.post()
            assert run.call(self.CALL) == self.call()
            run.post()
            assert run.call(self.CALL) == self.call()
            assert run.legs(self.CALL) == [self.web()]
            assert run.usage() == usage(calls=1, participants=1, shared=ONE_SHARED)
            run.post()
            assert run.call(self.CALL) == self.call(), "the SIP leg is on no call yet"
            run.post()
            assert run.call(self.CALL) == self.call(participants=2, participants_peak=2, legs=2)
            assert run.legs(self.CALL) == [self.sip(), self.web()]
            assert run.usage() == usage(calls=1, participants=2, shared=ONE_SHARED)
            run.post()
            assert run.call(self.CALL) == self.call(participants_peak=2, legs=2)
            video = {"audio": True, "video": True, "presentation": False}
            gone = {"state": "ended", "end_reason": "remoteTeardown", "media": video}
            assert run.legs(self.CALL) == [self.sip(left=self.LEFT, **gone), self.web()]
            run.post()
            assert run.call(self.CALL) == self.call(participants_peak=2, legs=2), "an update without state is no end"
            assert run.legs(self.CALL)[1] == self.web()
            run.post()
            self.check_end(run, gone)
            run.finish()

    def check_end(self, run: Flow, gone: Json) -> None:
        """Check what is left when both have gone."""
        assert run.call(self.CALL) == self.call(
            state="ended",
            ended_at=self.END,
            participants=0,
            participants_peak=2,
            legs=2,
            license=None,
            alternatives={"owner": None},
            reported={"legs_completed": 2, "legs_max_active": 2, "duration_seconds": 1265},
            transitions=[
                self.first(),
                transition(
                    *(2, self.END, SMP, None, "participant_left"),
                    leg=self.WEB,
                    user=self.USER,
                    reason=f"the last participant left (leg {self.WEB})",
                ),
            ],
        )
        assert run.active() == []
        assert run.legs(self.CALL) == [self.sip(left=self.LEFT, **gone), self.web(left=self.END, **gone)]
        assert run.service.get("/v1/switches?kind=all&late=all") == {"items": [], "next": None}
        assert run.usage() == usage(calls=0, participants=0)
        (bridge,) = run.service.get("/v1/bridges")["items"]
        assert (bridge["call_bridge"], bridge["records"], bridge["missing"]) == (None, 9, 0)

    def test_a_holder_who_is_first(self, flow: Start) -> None:
        """A PMP+ holder who is first pays at once: no SMP+ stage, no switch, and nothing is taken from the pool."""
        reason = f"{self.USER}, who holds PMP+, joined as leg {self.WEB}"
        with flow("web-app-and-sip", f"{self.USER},PMP+,,{self.SPACE}\n") as run:
            run.post(5)
            found = run.call(self.CALL)
            assert found["license"] == license_of("join", "member-joined", self.BEGIN, reason, self.USER)
            owns = f"{self.USER}, who owns the space, holds PMP+"
            assert found["alternatives"] == {"owner": license_of("owner", "owner", self.BEGIN, owns, self.USER)}
            paid = {"meetings": 1, "holders": [self.USER]}
            assert run.usage() == usage(calls=1, participants=2, assigned=1, personal=paid)
            run.post(3)
            run.finish()
            pmp = {"type": "PMP+", "holder": self.USER, "weight": "0"}
            known = {"leg": self.WEB, "user": self.USER}
            left = f"the last participant left (leg {self.WEB})"
            assert run.call(self.CALL)["transitions"] == [
                transition(1, self.BEGIN, None, pmp, "first_participant", rule="member-joined", reason=reason, **known),
                transition(2, self.END, pmp, None, "member_left", reason=left, **known),
            ]
            assert run.service.events("license.switched") == []
            assert len(run.service.events("license.assigned")) == len(run.service.events("license.released")) == 1
            assert run.usage() == usage(calls=0, participants=0, assigned=1)


class TestTwoBridges:
    """`docs/cdr.md`, second flow: SIP legs that start without a call, on two bridges of a cluster."""

    A = "47a99854-2e51-4ffe-ac1e-8133b5dc1929"
    B = "511e58ef-a0b4-4644-806c-07103503ba0f"
    MEETING = "8bf71dd3-ee76-457e-9a88-adf342310e97"
    LEG_A = "06832d8e-ec82-4d99-8d36-718d63e4e538"
    LEG_B = "d03bbed5-7263-415e-b5d9-9945f18bf26d"
    BEGIN, RANG, BEGIN_B, END_A, END = (
        f"2024-03-12T10:{time}Z" for time in ("00:03", "01:15", "01:29", "30:00", "31:00")
    )
    NO_OWNER = "no owner of a space is known"

    def first(self) -> Json:
        """Return the transition of the first participant."""
        known = {"rule": "shared", "leg": self.LEG_A, "reason": f"{NOBODY}{self.NO_OWNER}"}
        return transition(1, self.BEGIN, None, SMP, "first_participant", **known)

    def meeting(self, **members: Any) -> Json:
        """Return what the meeting and its calls have in common while somebody is in."""
        return {
            "deployment": "default",
            "name": "Project review",
            "call_type": "coSpace",
            "cospace": "24f0ed08-2a1c-42b5-9cd1-100f4db6e1c0",
            "owner": None,
            "tenant": None,
            "state": "active",
            "ended_at": None,
            "end_estimated": False,
            "participants": 1,
            "participants_peak": 1,
            "legs": 1,
            "recording": False,
            "streaming": False,
            "complete": True,
            "license": license_of("join", "shared", self.BEGIN, f"{NOBODY}{self.NO_OWNER}"),
            "alternatives": {"owner": license_of("owner", "shared", self.BEGIN, self.NO_OWNER)},
            "transitions": [self.first()],
            **members,
        }

    def call_a(self, **members: Any) -> Json:
        """Return the call on bridge A."""
        own = {"id": self.A, "call_bridge": "85039a39-1afe-4035-95a1-f62a9b30d30a", "started_at": self.BEGIN}
        return self.meeting(**{**own, "session": "c8550dc2-72cc-4692-89f9-371e824aedd3", **self.of_a_call(), **members})

    def call_b(self, **members: Any) -> Json:
        """Return the call on bridge B."""
        own = {"id": self.B, "call_bridge": "a871b64e-dfad-4f7f-9817-49855dd28081", "started_at": self.BEGIN_B}
        return self.meeting(**{**own, "session": "fc2e9569-1cb3-4187-8e87-b2620b857093", **self.of_a_call(), **members})

    def of_a_call(self) -> Json:
        """Return what only calls have."""
        return {"meeting": self.MEETING, "owner_name": None, "cdr_tag": None, "reported": None}

    def leg_a(self, **members: Any) -> Json:
        """Return the leg on bridge A."""
        address = "sipuser2@example.com"
        known = {"remote_party": address, "remote_address": address, "type": "sip"}
        return leg(self.LEG_A, self.A, self.BEGIN, joined=self.BEGIN, **known, **members)

    def leg_b(self, **members: Any) -> Json:
        """Return the leg on bridge B, which came by an IVR."""
        address = "guestroom@partner.example.com"
        known = {"remote_party": address, "remote_address": address, "type": "sip"}
        return leg(self.LEG_B, self.B, self.RANG, joined=self.BEGIN_B, **known, **members)

    def test_one_meeting_on_two_bridges(self, flow: Start) -> None:
        """One meeting, 10:00:03 to 10:31:00, of two calls: two participants, peak two, charged once."""
        with flow("two-bridges") as run:
            run.post()
            assert run.active() == []
            assert run.usage() == usage(calls=0, participants=0), "a leg without a call is nowhere"
            run.post()
            assert run.call(self.A) == self.call_a()
            assert run.legs(self.A) == [self.leg_a()]
            run.post(2)
            assert run.active() == [self.A]
            assert run.usage() == usage(calls=1, participants=1, shared=ONE_SHARED), "who is in the IVR is not in"
            run.post()
            assert run.call(self.A) == self.call_a()
            assert run.call(self.B) == self.call_b()
            assert run.legs(self.B) == [self.leg_b()]
            both = {"id": self.MEETING, "started_at": self.BEGIN, "participants": 2, "participants_peak": 2, "legs": 2}
            self.check_meeting(run, self.meeting(**both))
            assert run.usage() == usage(calls=2, participants=2, shared=ONE_SHARED)
            run.post()
            gone = {"state": "ended", "participants": 0, "license": None, "alternatives": {"owner": None}}
            reported = {"legs_completed": 1, "legs_max_active": 1, "duration_seconds": 1797}
            assert run.call(self.A) == self.call_a(**gone, ended_at=self.END_A, reported=reported)
            assert run.call(self.B) == self.call_b(), "the call on A is over, the meeting is not"
            self.check_meeting(run, self.meeting(**{**both, "participants": 1}))
            assert run.usage() == usage(calls=1, participants=1, shared=ONE_SHARED)
            run.post()
            self.check_end(run, both, gone)
            run.finish()

    def check_meeting(self, run: Flow, expected: Json) -> None:
        """Check the meeting, by its own id and by that of a call, and that it shows its calls as they are."""
        found = run.service.get(f"/v1/meetings/{self.MEETING}")
        assert run.service.get(f"/v1/meetings/{self.B}") == found
        del found["hints"]
        calls = found.pop("calls")
        assert found == expected
        listed = run.service.get(f"/v1/calls?state=all&meeting={self.MEETING}")["items"]
        assert calls == sorted(listed, key=lambda call: call["started_at"])
        assert [call["id"] for call in calls] == [self.A, self.B]

    def check_end(self, run: Flow, both: Json, gone: Json) -> None:
        """Check what is left when all have gone: by the ends of its legs nobody used video, so it took a sixth."""
        sixth = {**SMP, "weight": "1/6"}
        reason = f"{NOBODY}{self.NO_OWNER}; nobody uses video, so a sixth is taken"
        first = {**self.first(), "to": sixth, "reason": reason, "late": True}
        last = transition(
            *(2, self.END, sixth, None, "participant_left"),
            leg=self.LEG_B,
            reason=f"the last participant left (leg {self.LEG_B})",
        )
        over = {**gone, "transitions": [first, last]}
        reported = {"legs_completed": 1, "legs_max_active": 1, "duration_seconds": 1797}
        assert run.call(self.A) == self.call_a(**over, ended_at=self.END_A, reported=reported)
        assert run.call(self.B) == self.call_b(
            **over, ended_at=self.END, reported={**reported, "duration_seconds": 1771}
        )
        self.check_meeting(run, self.meeting(**{**both, **over, "ended_at": self.END}))
        audio = {"audio": True, "video": False, "presentation": False}
        ended = {"state": "ended", "media": audio}
        assert run.legs(self.A) == [self.leg_a(left=self.END_A, end_reason="remoteTeardown", **ended)]
        assert run.legs(self.B) == [self.leg_b(left=self.END, end_reason="localTeardown", **ended)]
        assert run.active() == []
        assert run.service.get("/v1/switches?kind=all&late=all") == {"items": [], "next": None}
        assert run.usage() == usage(calls=0, participants=0)
        bridges = run.service.get("/v1/bridges")["items"]
        assert [(bridge["records"], bridge["missing"]) for bridge in bridges] == [(5, 0), (6, 0)]


class TestSwitch:
    """`tests/samples/switch`: bob, who holds nothing, is first; alice, who holds PMP+, joins later and leaves first."""

    CALL = "b8a1c1e4-5f0b-4c53-8b52-0d6f2a9be001"
    MEETING = "e3c1c9b0-7f0e-4d0c-9a57-2f5a4d3b7a02"
    BOB = "0c7b5d7e-9c55-4f1b-8b0e-5d4f7c1a2b04"
    ALICE = "4e2d9f60-1b7a-4c8f-a3d2-6e5b8f9c0d05"
    BEGIN, SWITCHED, END = (f"2024-03-12T11:{time}Z" for time in ("00:00", "01:12", "25:30"))
    PMP: Json = {"type": "PMP+", "holder": "alice@example.com", "weight": "0"}  # noqa: RUF012 - never changed
    REASON = f"alice@example.com, who holds PMP+, joined as leg {ALICE}"

    def switch(self) -> Json:
        """Return the switch as `/v1/switches` shows it."""
        return {
            "deployment": "default",
            "meeting": self.MEETING,
            "calls": [self.CALL],
            "name": "techsupport",
            "at": self.SWITCHED,
            "from": SMP,
            "to": self.PMP,
            "kind": "type",
            "cause": "member_joined",
            "rule": "member-joined",
            "leg": self.ALICE,
            "user": "alice@example.com",
            "reason": self.REASON,
            "late": False,
        }

    def transitions(self) -> list[Json]:
        """Return the transitions while somebody is in."""
        shared = f"{NOBODY}no owner of a space is known"
        bob = {"rule": "shared", "leg": self.BOB, "user": "bob@example.com", "reason": shared}
        alice = {"rule": "member-joined", "leg": self.ALICE, "user": "alice@example.com", "reason": self.REASON}
        return [
            transition(1, self.BEGIN, None, SMP, "first_participant", **bob),
            transition(2, self.SWITCHED, SMP, self.PMP, "member_joined", **alice),
        ]

    def test_a_holder_who_joins_later(self, flow: Start) -> None:
        """SMP+ becomes PMP+ at the holder's join, which is said once with who, why and when, and stays to the end."""
        with flow("switch", "alice@example.com,PMP+,,\nbob@example.com,,,\n") as run:
            run.post(3)
            shared = license_of("join", "shared", self.BEGIN, f"{NOBODY}no owner of a space is known")
            assert run.call(self.CALL)["license"] == shared
            assert run.usage() == usage(calls=1, participants=1, assigned=1, shared=ONE_SHARED)
            assert run.service.get("/v1/switches") == {"items": [], "next": None}
            run.post(2)
            found = run.call(self.CALL)
            paid = license_of("join", "member-joined", self.SWITCHED, self.REASON, "alice@example.com")
            assert found["license"] == paid
            assert found["alternatives"]["owner"]["type"] == "SMP+"
            assert found["transitions"] == self.transitions()
            pays = {"meetings": 1, "holders": ["alice@example.com"]}
            assert run.usage() == usage(calls=1, participants=2, assigned=1, personal=pays)
            assert run.service.get("/v1/switches") == {"items": [self.switch()], "next": None}
            self.check_log(run.service)
            run.post()
            assert run.call(self.CALL)["license"] == paid, "she left, and still pays (CDR_LICENSING_JOIN_STICKY)"
            run.post()
            run.finish()
            left = f"the last participant left (leg {self.BOB})"
            bob = {"leg": self.BOB, "user": "bob@example.com", "reason": left}
            last = transition(3, self.END, self.PMP, None, "participant_left", **bob)
            assert run.call(self.CALL)["transitions"] == [*self.transitions(), last]
            assert run.usage() == usage(calls=0, participants=0, assigned=1)
            assert run.service.get("/v1/switches") == {"items": [self.switch()], "next": None}
            self.check_log(run.service)

    def check_log(self, service: Service) -> None:
        """Check the one line of the switch."""
        (line,) = service.events("license.switched")
        assert line.pop("event_id")
        assert line.pop("timestamp")
        assert line == {
            "event": "license.switched",
            "level": "info",
            "deployment": "default",
            "meeting": self.MEETING,
            "calls": [self.CALL],
            "name": "techsupport",
            "leg": self.ALICE,
            "user": "alice@example.com",
            "record_time": self.SWITCHED,
            "from": "SMP+",
            "from_holder": None,
            "to": "PMP+",
            "holder": "alice@example.com",
            "weight": "0",
            "rule": "member-joined",
            "cause": "member_joined",
            "reason": self.REASON,
            "late": False,
        }
