"""The truth table: every kind of meeting, and the license that it takes under each policy, with the source.

alice holds PMP+ and owns spaces; carol holds PMP+ and owns none; bob holds no license. A meeting is described as for
`explain`, or, where that cannot describe it, given as its records. `docs/licensing.md` has the same rows.
"""

from typing import Any, NamedTuple

from cdr_service.domain.directory import Directory, User
from tests.feed import Record, call_end, call_start, join, leave

ALICE, BOB, CAROL = "alice@example.com", "bob@example.com", "carol@example.com"

DIRECTORY = Directory(
    [
        User(ALICE, holds_license=True, aliases=("1001", "alice@rooms.example.com"), spaces=("one", "two", "three")),
        User(CAROL, holds_license=True),
        User(BOB, holds_license=False),
    ]
)


class Row(NamedTuple):
    """A meeting, and what it takes."""

    case: str
    meeting: dict[str, Any] | list[Record]
    """A description, or records in which the meeting is `m`."""
    join: str
    """The licenses under `join`, one after the other."""
    owner: str
    source: str
    """Where it is documented, or what it rests on; short names as on the page."""


BOB_IN, CAROL_IN, ALICE_IN, GUEST = {"join": BOB}, {"join": CAROL}, {"join": ALICE}, {"join": None}
AUDIO = [{"join": BOB, "video": False}, {"join": None, "video": False}]


def waiting(leg: str, call: str, time: str) -> Record:
    """Return the update that finds a leg in the lobby."""
    content = (
        f"<callLeg id='{leg}'><state>connected</state><call>{call}</call><deactivated>true</deactivated></callLeg>"
    )
    return Record("callLegUpdate", time, content)


def space(name: str, call: str = "x", time: str = "09:00:00", meeting: str = "m") -> Record:
    """Return the start of a call in a space; the spaces one, two and three are alice's."""
    return call_start(call, time, meeting, callType="coSpace", coSpace=name)


def dialed(address: str, leg: str = "s") -> Record:
    """Return a leg that dials in by SIP."""
    return join(leg, "x", type="sip", remoteParty=address)


FIRST = [space("none"), join("bob", "x")]
ELSEWHERE = [
    record
    for number, call in enumerate("ab", 1)
    for record in (
        space("none", call, f"08:00:0{number}", call),
        join(f"carol-{call}", call, f"08:00:0{number}"),
    )
]
BUSY = [
    record
    for call, own in (("a", "two"), ("b", "three"))
    for record in (space(own, call, "08:00:00", call), join(f"bob-{call}", call, "08:00:01"))
]

J2981952 = "Cisco community 2981952"
O3338713 = "Cisco community 3338713"
KB390 = "Acano KB 390"
GUIDES = "recollection of Cisco guides"
OPEN = "open: a setting"

TABLE: dict[str, list[Row]] = {
    "A space that belongs to somebody": [
        Row(
            "bob meets in alice's own space, alice is not there",
            {"owner": ALICE, "steps": [BOB_IN]},
            "PMP+ of alice",
            "PMP+ of alice",
            O3338713,
        ),
        Row(
            "bob meets in another space that alice made",
            {"owner": ALICE, "steps": [BOB_IN, GUEST]},
            "PMP+ of alice",
            "PMP+ of alice",
            "inference from the owner fields",
        ),
        Row(
            "bob meets in alice's space, carol joins",
            {"owner": ALICE, "steps": [BOB_IN, CAROL_IN]},
            "PMP+ of alice",
            "PMP+ of alice",
            f"{J2981952}; {OPEN}",
        ),
        Row(
            "carol meets in alice's space, alice joins",
            {"owner": ALICE, "steps": [CAROL_IN, ALICE_IN]},
            "PMP+ of carol",
            "PMP+ of alice",
            J2981952,
        ),
        Row(
            "guests only meet in alice's space",
            {"owner": ALICE, "steps": [GUEST, GUEST]},
            "PMP+ of alice",
            "PMP+ of alice",
            O3338713,
        ),
        Row(
            "bob's own space (he holds no license), carol joins",
            {"owner": BOB, "steps": [BOB_IN, CAROL_IN]},
            "SMP+ → PMP+ of carol",
            "SMP+",
            J2981952,
        ),
    ],
    "A space without an owner (rendezvous, made by an administrator)": [
        Row("bob is alone in it", {"steps": [BOB_IN]}, "SMP+", "SMP+", "Cisco TAC 212326"),
        Row(
            "guests and strangers only",
            {"steps": [GUEST, {"join": CAROL, "guest": True}]},
            "SMP+",
            "SMP+",
            "Cisco TAC 212326",
        ),
        Row("bob is first, carol joins later", {"steps": [BOB_IN, CAROL_IN]}, "SMP+ → PMP+ of carol", "SMP+", J2981952),
        Row(
            "bob is first, carol joins later and leaves again",
            {"steps": [BOB_IN, CAROL_IN, {"leave": CAROL}]},
            "SMP+ → PMP+ of carol",
            "SMP+",
            OPEN,
        ),
        Row("carol is first, bob joins", {"steps": [CAROL_IN, BOB_IN]}, "PMP+ of carol", "SMP+", J2981952),
        Row(
            "bob is first, carol waits in the lobby",
            [*FIRST, join("carol", "x", "09:01:00"), waiting("carol", "x", "09:01:00")],
            "SMP+",
            "SMP+",
            OPEN,
        ),
        Row(
            "nobody got past the lobby or the IVR",
            [space("none"), join("carol", "x"), waiting("carol", "x", "09:00:00")],
            "nothing",
            "nothing",
            OPEN,
        ),
        Row(
            "carol and bob meet, all leave, and bob comes again",
            {"steps": [CAROL_IN, BOB_IN, {"leave": CAROL}, {"leave": BOB}, BOB_IN]},
            "PMP+ of carol → nothing → SMP+",
            "SMP+ → nothing → SMP+",
            "inference",
        ),
    ],
    "Ad hoc, escalated in CUCM": [
        Row(
            "alice escalates, bob is added",
            {"initiator": ALICE, "steps": [ALICE_IN, BOB_IN]},
            "PMP+ of alice",
            "PMP+ of alice",
            "Cisco community 3338713, 4097839",
        ),
        Row(
            "bob escalates, carol is added",
            {"initiator": BOB, "steps": [BOB_IN, CAROL_IN]},
            "SMP+ → PMP+ of carol",
            "SMP+",
            "seen once: Cisco community 3338713",
        ),
        Row(
            "bob escalates, nobody licensed is added",
            {"initiator": BOB, "steps": [BOB_IN, GUEST]},
            "SMP+",
            "SMP+",
            "Cisco TAC 212326",
        ),
    ],
    "Scheduled in TMS": [
        Row(
            "alice scheduled (TMS 15.6 or later), bob meets",
            {"scheduler": ALICE, "steps": [BOB_IN]},
            "PMP+ of alice",
            "PMP+ of alice",
            "Cisco community 4097839",
        ),
        Row(
            "bob scheduled, he meets a guest",
            {"scheduler": BOB, "steps": [BOB_IN, GUEST]},
            "SMP+",
            "SMP+",
            "Cisco TAC 212326",
        ),
        Row(
            "bob scheduled, carol attends",
            {"scheduler": BOB, "steps": [BOB_IN, CAROL_IN]},
            "SMP+ → PMP+ of carol",
            "SMP+",
            J2981952,
        ),
        Row(
            "alice scheduled by TMS before 15.6, which hands over no owner",
            {"steps": [BOB_IN]},
            "SMP+",
            "SMP+",
            "Cisco TAC 212298",
        ),
    ],
    "Lync and Skype, point-to-point": [
        Row(
            "a gateway or point-to-point call, also of carol's",
            {"call_type": "forwarding", "steps": [CAROL_IN, GUEST]},
            "1/6 SMP+",
            "1/6 SMP+",
            KB390,
        ),
        Row(
            "… and it is recorded or streamed",
            {"call_type": "forwarding", "steps": [CAROL_IN, GUEST, {"record": True}]},
            "1/6 SMP+ → SMP+",
            "1/6 SMP+ → SMP+",
            GUIDES,
        ),
        Row(
            "a SIP call into a Lync conference, mode gateway",
            {"call_type": "lyncConferencing", "lync_mode": "gateway", "steps": [BOB_IN]},
            "1/6 SMP+",
            "1/6 SMP+",
            KB390,
        ),
        Row(
            "dual-homed, mode dualHomeCluster, on two Call Bridges",
            {
                "call_type": "lyncConferencing",
                "lync_mode": "dualHomeCluster",
                "steps": [BOB_IN, {"join": None, "bridge": "b"}],
            },
            "SMP+",
            "SMP+",
            KB390,
        ),
        Row(
            "dual-homed, mode dualHomeCallBridge, on two Call Bridges",
            {
                "call_type": "lyncConferencing",
                "lync_mode": "dualHomeCallBridge",
                "steps": [BOB_IN, {"join": None, "bridge": "b"}],
            },
            "SMP+ → 2 SMP+",
            "SMP+ → 2 SMP+",
            KB390,
        ),
        Row(
            "a point-to-point call of two, and then three",
            {"call_type": "forwarding", "steps": [BOB_IN, GUEST, GUEST]},
            "1/6 SMP+ → SMP+",
            "1/6 SMP+ → SMP+",
            GUIDES,
        ),
        Row(
            "what is left of an ad hoc call: two people",
            {"call_type": "adHoc", "steps": [BOB_IN, GUEST]},
            "SMP+",
            "SMP+",
            OPEN,
        ),
    ],
    "Audio only, recorded, streamed": [
        Row(
            "bob and a guest use audio only",
            {"steps": AUDIO},
            "1/6 SMP+",
            "1/6 SMP+",
            GUIDES,
        ),
        Row(
            "… and somebody starts video, then nobody uses it",
            {"steps": [*AUDIO, {"video": True}, {"video": False}]},
            "1/6 SMP+ → SMP+ → 1/6 SMP+",
            "1/6 SMP+ → SMP+ → 1/6 SMP+",
            GUIDES,
        ),
        Row(
            "… and carol joins, audio only too",
            {"steps": [*AUDIO, {"join": CAROL, "video": False}]},
            "1/6 SMP+ → PMP+ of carol",
            "1/6 SMP+",
            J2981952,
        ),
        Row(
            "… and it is recorded",
            {"steps": [*AUDIO, {"record": True}]},
            "1/6 SMP+",
            "1/6 SMP+",
            OPEN,
        ),
        Row("bob's meeting is recorded", {"steps": [BOB_IN, {"record": True}]}, "SMP+", "SMP+", GUIDES),
        Row("bob's meeting is streamed", {"steps": [BOB_IN, {"stream": True}]}, "SMP+", "SMP+", GUIDES),
    ],
    "Who somebody is": [
        Row(
            "carol is signed in to the web app",
            [space("none"), join("carol", "x", subType="webApp")],
            "PMP+ of carol",
            "SMP+",
            J2981952,
        ),
        Row(
            "carol joins the web app as a guest",
            [space("none"), join("carol", "x", subType="webApp", guestConnection="true")],
            "SMP+",
            "SMP+",
            J2981952,
        ),
        Row(
            "a room system with an address of alice's",
            [space("none"), dialed("sip:alice@rooms.example.com")],
            "PMP+ of alice",
            "SMP+",
            "Cisco community 3023917",
        ),
        Row(
            "alice's directory number 1001",
            [space("none"), dialed("1001@10.0.0.5")],
            "PMP+ of alice",
            "SMP+",
            "the holders file",
        ),
        Row(
            "a room system that is nobody's",
            [space("none"), dialed("room12@example.com")],
            "SMP+",
            "SMP+",
            "Cisco community 3023917",
        ),
        Row(
            "a stranger with alice's name or number at another domain",
            [space("none"), dialed("alice@partner.example.net"), dialed("1001@partner.example.net", "t")],
            "SMP+",
            "SMP+",
            "inference",
        ),
    ],
    "One holder, several meetings; several Call Bridges": [
        Row(
            "carol is in two other meetings that she pays, and joins bob's",
            [*ELSEWHERE, *FIRST, join("carol", "x")],
            "SMP+",
            "SMP+",
            GUIDES,
        ),
        Row(
            "… and one of those two ends",
            [*ELSEWHERE, *FIRST, join("carol", "x"), leave("carol-a", "09:10:00"), call_end("a", "09:10:00")],
            "SMP+ → PMP+ of carol",
            "SMP+",
            OPEN,
        ),
        Row(
            "bob meets in alice's space while she pays two other meetings",
            [*BUSY, space("one"), join("bob", "x")],
            "SMP+",
            "SMP+",
            GUIDES,
        ),
        Row(
            "… and one of those two ends",
            [*BUSY, space("one"), join("bob", "x"), leave("bob-a", "09:10:00"), call_end("a", "09:10:00")],
            "SMP+ → PMP+ of alice",
            "SMP+ → PMP+ of alice",
            OPEN,
        ),
        Row(
            "one meeting on two Call Bridges of a cluster",
            {"steps": [BOB_IN, {"join": None, "bridge": "b"}]},
            "SMP+",
            "SMP+",
            "Cisco API reference 2020-09",
        ),
    ],
}
"""The rows by kind, as `docs/licensing.md` shows them."""
