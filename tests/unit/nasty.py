"""Made-up record sets that are nastier than what a Meeting Server sends, and ways to deliver them."""

from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any, Final, NamedTuple, TypeVar

from hypothesis import strategies as st
from msgspec.structs import asdict

from cdr_service.domain.bookkeeping import Source
from cdr_service.domain.directory import Directory, User
from cdr_service.domain.events import Event
from cdr_service.domain.identity import NOBODY, Identity
from cdr_service.domain.options import Options
from cdr_service.domain.records import (
    CallEnd,
    CallLegEnd,
    CallLegStart,
    CallLegUpdate,
    CallStart,
    Media,
    OrderKey,
    Record,
    RecordingEnd,
    RecordingStart,
    StreamingEnd,
    StreamingStart,
)
from cdr_service.domain.spaces import AD_HOC, SCHEDULED, Release, SpaceFacts
from tests.unit.books import Books, Parcel

T = TypeVar("T")
R = TypeVar("R", bound=Record)

EPOCH: Final = 1_767_600_000
"""When the record sets begin, in seconds since 1970 UTC."""

HOLDERS: Final = ("alice@example.com", "carol@example.com")
PEOPLE: Final = (*HOLDERS, "bob@example.com", None)
"""Who comes: two holders, a user without a license, a guest."""

SPACES: Final = ("space-of-alice", "space-of-bob", "space-of-nobody")

DIRECTORY: Final = Directory(
    [
        User("alice@example.com", holds_license=True, aliases=("1001",), spaces=("space-of-alice",)),
        User("carol@example.com", holds_license=True),
        User("bob@example.com", holds_license=False, spaces=("space-of-bob",)),
    ]
)

DIRECTORIES: Final = (
    DIRECTORY,
    Directory([User("bob@example.com", holds_license=True, spaces=("space-of-nobody",))]),
    Directory([User("carol@example.com", holds_license=True, aliases=("1001",), spaces=("space-of-alice",))]),
)


class Sent(NamedTuple):
    """A record, and where it came from."""

    source: Source
    record: Record

    @property
    def order(self) -> OrderKey:
        """Its place among all records."""
        return self.record.order(self.source.session)

    def __repr__(self) -> str:
        """Show what matters of it, so that a failure can be read."""
        return f"{self.source.session}{_shown(self.record)}"


def _shown(record: Record) -> str:
    told = {name: value for name, value in asdict(record).items() if value not in (None, {}, False, 0)}
    number, seconds = record.order("").number, told.pop("time") // 1000 - EPOCH
    about = [f"{name}={told[name]!r}" for name in told if name not in ("type", "record_index", "correlator_index")]
    return f"#{number}@{seconds} {record.type}({', '.join(about)})"


class Writer:
    """Writes the records of one session in order; a test gives the seconds and what happened."""

    def __init__(self, session: str, call_bridge: str | None = None, feed: str = "", *, numbered: bool = True) -> None:
        self.source = Source(session, call_bridge, feed)
        self.numbered = numbered
        self.sent: list[Sent] = []
        self.next = 0

    def write(self, kind: type[Record], seconds: int, *, missing: int = 0, **fields: Any) -> Sent:
        """Write a record of a kind at so many seconds from the beginning."""
        record = kind(
            type=kind.__name__[0].lower() + kind.__name__[1:],
            time=(EPOCH + seconds) * 1000,
            correlator_index=self.next if self.numbered else None,
            record_index=self.next + 1,
            missing=missing,
            **fields,
        )
        self.next += 1
        self.sent.append(Sent(self.source, record))
        return self.sent[-1]


def in_order(sent: Iterable[Sent]) -> list[Sent]:
    """Return records in the order (time, session, correlatorIndex)."""
    return sorted(sent, key=lambda one: one.order)


def person(who: str | None, *, sip: bool = False) -> dict[str, Any]:
    """Return what callLegStart says of somebody."""
    if who is None:
        return {"remote_party": "guest123@example.com", "leg_type": "acano", "guest": True}
    if sip:
        return {"remote_party": f"sip:{who.upper()}:5061", "leg_type": "sip"}
    return {"remote_party": who, "leg_type": "acano", "sub_type": "webApp"}


class _Leg(NamedTuple):
    id: str
    writer: int
    call: str | None
    lync: str | None


class _Choices:
    """Chooses by bytes that were drawn: hypothesis then shrinks a walk by dropping whole steps of it."""

    def __init__(self, step: bytes = b"") -> None:
        self.bytes = iter(step)

    def pick(self, values: Sequence[T]) -> T:
        """Choose one of the values, the first where no byte is left."""
        return values[next(self.bytes, 0) % len(values)]


class _Walk(_Choices):
    """A walk through what may happen on some Call Bridges, step by step."""

    def __init__(self, setting: bytes, acts: Sequence[str]) -> None:
        super().__init__(setting)
        self.acts = acts
        self.seconds = 0
        self.naming = self.pick(("cluster", "cluster", "feed", "feed from some time on", "none"))
        self.numbered = self.pick((True, True, True, False))
        self.roles = self.pick((ROLES, ROLES, (None, "moved", "moved"), (None, "lync"), ("moved", "lync")))
        self.current: list[int] = []
        """The session that runs on each bridge."""
        self.writers: list[Writer] = []
        for bridge in range(self.pick((1, 2, 2, 3))):
            self.current.append(bridge)
            self.new_session(bridge)
        self.meetings = [
            {"call_correlator": f"meeting-{number}", "cospace": self.pick(SPACES), "call_type": self.pick(TYPES)}
            for number in range(self.pick((1, 2, 3) if acts is ACTS else (3, 4)))
        ]
        self.calls: dict[tuple[int, int], str] = {}
        """Calls that go on, by session and meeting."""
        self.call_of: dict[str, int] = {}
        """The session of every call."""
        self.open: list[_Leg] = []
        self.ended: list[str] = []
        self.recordings: list[tuple[int, str, bool]] = []
        self.count = 0

    def id(self, kind: str) -> str:
        self.count += 1
        return f"{kind}-{self.count}"

    def new_session(self, bridge: int) -> None:
        self.current[bridge] = len(self.writers)
        self.writers.append(
            Writer(
                f"session-{len(self.writers)}",
                f"bridge-{bridge}" if self.naming == "cluster" else None,
                f"bridge-{bridge}" if self.naming.startswith("feed") else "",
                numbered=self.numbered,
            )
        )

    def write(self, writer: int, kind: type[Record], **fields: Any) -> None:
        lost = bool(self.writers[writer].sent) and self.pick((False,) * 19 + (True,))
        missing = self.pick((0,) * 30 + (1, 2))
        sent = self.writers[writer].sent
        written = self.writers[writer].write(kind, self.seconds, missing=missing, **fields)
        if lost:
            sent.pop()
        elif self.naming == "feed from some time on" and self.pick((True, False)):
            sent[-1] = written._replace(source=written.source._replace(feed=""))

    def step(self, choices: bytes) -> None:
        self.bytes = iter(choices)
        self.seconds += self.pick((0, 0, 0, 1, 1, 1, 2, 9))
        act = self.pick(self.acts)
        writer = self.current[self.pick(range(len(self.current)))]
        if act == "restart":
            self.seconds += 1
            self.new_session(self.current.index(writer))
        elif act == "call":
            self.call(writer, self.pick(range(len(self.meetings))))
        elif act == "call again" and self.calls:
            of, meeting = key = self.pick(sorted(self.calls))
            about = {**self.meetings[meeting], "call_type": self.pick(TYPES)}
            self.write(of, CallStart, call=self.calls[key], name="Another meeting", **about)
        elif act == "leg":
            self.leg(writer)
        elif act == "recording":
            self.recording(writer)
        elif act == "end call" and self.calls:
            key = self.pick(sorted(self.calls))
            self.write(key[0], CallEnd, call=self.calls.pop(key), legs_completed=1)
        elif act == "end recording" and self.recordings:
            ending = self.pick(self.recordings)
            self.recordings.remove(ending)
            kind, field = (StreamingEnd, "streaming") if ending[2] else (RecordingEnd, "recording")
            self.write(ending[0], kind, **{field: ending[1]})
        elif self.open:
            leg = self.pick(self.open)
            self.end_leg(leg) if act == "end leg" else self.update(leg)

    def call(self, writer: int, meeting: int) -> str:
        key = (writer, meeting)
        if key not in self.calls:
            self.calls[key] = self.id("call")
            self.call_of[self.calls[key]] = writer
            self.write(writer, CallStart, call=self.calls[key], name="A meeting", **self.meetings[meeting])
        return self.calls[key]

    def some_call(self, writer: int) -> str | None:
        """Return a call of the session, perhaps one that has ended; None where there is none."""
        calls = [call for call, of in self.call_of.items() if of == writer]
        going_on = [call for (of, _), call in self.calls.items() if of == writer]
        return self.pick([*going_on, *going_on, *going_on, *calls]) if calls else None

    def leg(self, writer: int) -> None:
        who, id_ = self.pick(PEOPLE), self.id("leg")
        if not any(of == writer for of, _ in self.calls):
            self.call(writer, self.pick(range(len(self.meetings))))
        call = self.some_call(writer) if self.pick((True, True, True, False)) else None
        fields = person(who, sip=self.pick((False, True)))
        role = self.pick(self.roles)
        lync = None
        if role in ("recording", "streaming"):
            fields = {"remote_party": "recorder.example.com", "leg_type": "sip", role: True}
        elif role == "link":
            fields["sub_type"] = "distributionLink"
        elif role == "lync":
            lync = self.pick(("group-1", "group-2"))
            fields |= {"sub_type": "lync", "leg_type": "sip", "group_id": self.pick((lync, None))}
        elif role == "moved" and (legs := [*self.ended, *(leg.id for leg in self.open)]):
            fields["moved_from"] = self.pick(legs)
        fields["direction"] = self.pick(("incoming", "incoming", "incoming", "outgoing"))
        fields["ivr"] = call is None and self.pick((False, True))
        self.open.append(_Leg(id_, writer, call, lync))
        self.write(writer, CallLegStart, leg=id_, call=call, **fields)

    def update(self, leg: _Leg) -> None:
        call = self.some_call(leg.writer) if leg.call is None or self.pick((False,) * 5 + (True,)) else leg.call
        fields = self.pick(UPDATES)
        if fields.get("ivr"):
            call = None
        self.open[self.open.index(leg)] = leg._replace(call=call or leg.call)
        tag = self.pick((None, None, None, "1001"))
        self.write(leg.writer, CallLegUpdate, leg=leg.id, call=call, group_id=leg.lync, cdr_tag=tag, **fields)

    def end_leg(self, leg: _Leg) -> None:
        self.open.remove(leg)
        self.ended.append(leg.id)
        reason = self.pick(("remoteTeardown", "callMoved", "callMoved", "remoteBusy"))
        duration, activated = self.pick((0, 1, 10)), self.pick((None, None, 0, 3))
        self.write(
            leg.writer,
            CallLegEnd,
            leg=leg.id,
            reason=reason,
            duration_seconds=duration,
            activated_duration=activated,
            **self.pick(({}, AUDIO, AUDIO, VIDEO)),
        )

    def recording(self, writer: int) -> None:
        streaming, id_ = self.pick((False, True)), self.id("recording")
        self.recordings.append((writer, id_, streaming))
        kind, field = (StreamingStart, "streaming") if streaming else (RecordingStart, "recording")
        leg = self.pick([None, None, *(leg.id for leg in self.open)])
        self.write(writer, kind, **{field: id_, "call": self.some_call(writer), "leg": leg})


TYPES: Final = ("coSpace", "coSpace", "coSpace", "adHoc", "forwarding", "lyncConferencing")
AUDIO, VIDEO = {"rx_audio": Media(codec="opus")}, {"rx_audio": Media(codec="opus"), "rx_video": Media(codec="h264")}
ROLES: Final = (*(None,) * 14, "recording", "streaming", "link", "lync", "lync", "moved", "moved")
ACTS: Final = (
    *("leg",) * 12,
    *("update",) * 14,
    *("end leg",) * 7,
    *("call",) * 3,
    *("end call", "end call", "recording", "recording", "end recording", "restart", "call again"),
)
RESTARTING: Final = (*ACTS, *("restart",) * 3, *("call",) * 6)
UPDATES: Final = (
    {"state": "connected", "deactivated": False},
    {"state": "connected", "deactivated": False},
    {"state": "connected", "deactivated": False},
    {"state": "connected", "deactivated": True},
    {"state": "connected", "ivr": True},
    {"deactivated": False},
    {},
)


_choices = st.binary(min_size=16, max_size=16)
_steps = st.lists(_choices, max_size=12) | st.lists(_choices, min_size=12, max_size=60)
_long = st.lists(_choices, min_size=15, max_size=50)


@st.composite
def record_sets(draw: st.DrawFn, *, long: bool = False) -> list[Sent]:
    """Draw a record set, in order: several bridges that restart, moves, lobbies, lost records, and worse.

    A `long` one is never short, and its bridges restart more often.
    """
    walk = _Walk(draw(_choices), RESTARTING if long else ACTS)
    for choices in draw(_long if long else _steps):
        walk.step(choices)
    return in_order(sent for writer in walk.writers for sent in writer.sent)


class _Rush(_Choices):
    """A few holders who come to many meetings at a time."""

    def __init__(self, setting: bytes) -> None:
        super().__init__(setting)
        self.writers = [Writer(f"session-{number}", f"bridge-{number}") for number in range(self.pick((1, 2)))]
        self.spaces = [self.pick(SPACES) for _ in range(self.pick((2, 3, 4, 6)))]
        self.legs: list[tuple[int, int, str]] = []
        self.calls: dict[tuple[int, int], str] = {}
        self.seconds = self.count = 0

    def step(self, choices: bytes) -> None:
        self.bytes = iter(choices)
        self.seconds += self.pick((0, 0, 1, 1, 7))
        if self.legs and self.pick((False, False, True)):
            self.leave(*self.pick(self.legs))
        else:
            self.join(self.pick(range(len(self.writers))), self.pick(range(len(self.spaces))))

    def join(self, writer: int, meeting: int) -> None:
        self.count += 1
        if (writer, meeting) not in self.calls:
            self.calls[writer, meeting] = f"call-{self.count}"
            about = {"call_correlator": f"meeting-{meeting}", "cospace": self.spaces[meeting], "call_type": "coSpace"}
            self.writers[writer].write(CallStart, self.seconds, call=self.calls[writer, meeting], **about)
        leg, call, who = f"leg-{self.count}", self.calls[writer, meeting], person(self.pick(PEOPLE))
        self.legs.append((writer, meeting, leg))
        self.writers[writer].write(CallLegStart, self.seconds, leg=leg, call=call, direction="incoming", **who)

    def leave(self, writer: int, meeting: int, leg: str) -> None:
        self.legs.remove((writer, meeting, leg))
        self.writers[writer].write(CallLegEnd, self.seconds, leg=leg, reason="remoteTeardown")
        if not any(other[:2] == (writer, meeting) for other in self.legs) and self.pick((False, True)):
            self.writers[writer].write(CallEnd, self.seconds, call=self.calls.pop((writer, meeting)))

    def end(self) -> None:
        for (writer, _), call in self.calls.items():
            self.writers[writer].write(CallEnd, self.seconds + 1, call=call)


@st.composite
def contentions(draw: st.DrawFn, *, all_end: bool | None = None) -> list[Sent]:
    """Draw a record set in which a few holders come to many meetings at a time; nothing is lost."""
    rush = _Rush(draw(_choices))
    for choices in draw(_steps):
        rush.step(choices)
    if draw(st.booleans()) if all_end is None else all_end:
        rush.end()
    return in_order(sent for writer in rush.writers for sent in writer.sent)


options: Final = st.builds(
    Options,
    policy=st.sampled_from(("join", "owner", "auto")),
    policy_if_release_unknown=st.sampled_from(("join", "owner")),
    join_sticky=st.sampled_from((True, True, False)),
    join_scope=st.sampled_from(("any_participant", "any_participant", "space_member")),
    join_overrides_owner=st.booleans(),
    claim_at=st.sampled_from(("activated", "activated", "first_leg")),
    pmp_calls_per_user=st.sampled_from((1, 2)),
    spill_back=st.booleans(),
    owner_change_applies=st.sampled_from(("now", "next_call")),
    weight_when_media_unknown=st.sampled_from(("full", "sixth")),
    temporary_space_is_permanent=st.booleans(),
    recording_lifts_audio_only=st.booleans(),
    weight_drops_back=st.sampled_from((True, True, False)),
    lync_mode_if_unknown=st.sampled_from(("gateway", "dualHomeCluster", "dualHomeCallBridge")),
    gateway_has_payer=st.booleans(),
)
"""Every choice but those that only compare a release."""

Batches = list[list[Parcel]]


@st.composite
def deliveries(draw: st.DrawFn, sent: Sequence[Sent]) -> Batches:
    """Draw a way to deliver records: shuffled, repeated, over two feeds, as documents in batches."""
    number = len(sent)
    way = draw(st.sampled_from(("in order", "some come last", "a little out of order", "two feeds", "any order")))
    copies = list(enumerate(sent))
    if way == "any order":
        copies = [copies[place] for place in draw(st.permutations(range(number)))]
    elif way == "some come last":
        last = draw(st.sets(st.sampled_from(range(number)), max_size=3)) if number else set()
        copies.sort(key=lambda copy: copy[0] in last)
    elif way == "a little out of order":
        late = draw(st.lists(st.sampled_from((0, 0, 0, 0, 1, 3, 10)), min_size=number, max_size=number))
        copies.sort(key=lambda copy: (copy[0] + late[copy[0]], -copy[0]))
    elif way == "two feeds":
        behind = draw(st.integers(0, number))
        feeds = [(place + lag, lag, copy) for lag in (0, behind) for place, copy in enumerate(copies)]
        copies = [copy for _, _, copy in sorted(feeds, key=lambda one: one[:2])]
    if copies:
        copies += draw(st.lists(st.sampled_from(copies), max_size=3))
    return _packed(draw, [one for _, one in copies])


def _packed(draw: st.DrawFn, sent: Sequence[Sent]) -> Batches:
    """Put records into documents, each of one session, and documents into batches."""
    breaks = draw(st.lists(st.sampled_from("dddb-"), min_size=len(sent), max_size=len(sent)))
    batches: Batches = [[]]
    document: list[Record] = []
    source: Source | None = None
    for one, broken in zip(sent, breaks, strict=True):
        if document and source and (one.source != source or broken != "-"):
            batches[-1].append(Parcel(source, document))
            document = []
            if broken == "b":
                batches.append([])
        source = one.source
        document = [*document, one.record]
    if document and source:
        batches[-1].append(Parcel(source, document))
    return [batch for batch in batches if batch]


def scattered(sent: Sequence[Sent], chance: Random) -> Batches:
    """Deliver a longer record set by chance: over two feeds, far out of order, in documents and batches."""
    reach = chance.choice((0, 3, 30, len(sent)))
    feeds = [(place + chance.randint(0, reach), one) for _ in range(2) for place, one in enumerate(sent)]
    batches: Batches = [[]]
    for _, one in sorted(feeds, key=lambda copy: copy[0]):
        last = batches[-1][-1] if batches[-1] else None
        if last is not None and last.source == one.source and chance.random() < 0.5:
            batches[-1][-1] = last._replace(records=[*last.records, one.record])
        else:
            batches[-1].append(Parcel(one.source, [one.record]))
        if chance.random() < 0.3:
            batches.append([])
    return [batch for batch in batches if batch]


class Learning(NamedTuple):
    """Something that no record tells, and which of the calls or legs it is about."""

    what: Directory | SpaceFacts | Release | bool | str
    """A directory, the space of a call, the server's release, whether a leg uses video, the user behind a leg."""
    about: int = 0

    def take(self, books: Books, at: OrderKey) -> list[Event]:
        """Take it into the books; return what happened."""
        match self.what:
            case Directory() as directory:
                return books.change_directory(directory, at)
            case SpaceFacts() as facts:
                return books.learn(lambda keeper: keeper.know_space(self._one_of(books.calls), facts, at))
            case bool(video):
                return books.learn(lambda keeper: keeper.know_video(self._one_of(books.legs), video, at))
            case str(user):
                return books.learn(lambda keeper: keeper.know_user(self._one_of(books.legs), user, at))
            case release:
                happened = books.learn(lambda keeper: keeper.know_release(release, at))
                return happened + books.learn(lambda keeper: books.look_up_again(keeper, at))

    def _one_of(self, known: Mapping[str, object]) -> str:
        return sorted(known)[self.about % len(known)] if known else ""


_facts = st.builds(
    SpaceFacts,
    owner=st.sampled_from((NOBODY, Identity("alice@example.com", None, True, True), Identity("bob@example.com"))),
    kind=st.sampled_from((None, AD_HOC, SCHEDULED)),
    members=st.sampled_from((None, (), ("alice@example.com", "carol@example.com"))),
    lync_mode=st.sampled_from((None, "gateway", "dualHomeCluster", "dualHomeCallBridge")),
    known=st.just(True),
)

learnings: Final = st.builds(
    Learning,
    st.sampled_from(DIRECTORIES)
    | _facts
    | st.sampled_from(((2, 2), (2, 3), (3, 8)))
    | st.booleans()
    | st.sampled_from(("alice@example.com", "bob@example.com")),
    st.integers(0, 5),
)
