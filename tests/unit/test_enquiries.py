"""What is worth asking the Meeting Server, and how much of it at a time: no I/O but that of twins."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from cdr_service.cms.errors import CmsUnavailable
from cdr_service.domain.bookkeeping import Bookkeeper
from cdr_service.domain.calls import Call, Meeting
from cdr_service.domain.commit import Commit, Snapshot
from cdr_service.domain.directory import Directory, User
from cdr_service.domain.identity import GUEST, NOBODY, Identity
from cdr_service.domain.knowledge import Knowledge
from cdr_service.domain.legs import Leg, Observation, Seen
from cdr_service.domain.licensing import License
from cdr_service.domain.options import Options
from cdr_service.domain.records import OrderKey
from cdr_service.domain.spaces import Circumstances, Learned, SpaceFacts
from cdr_service.domain.timeline import CallCount, Standing, Timeline
from cdr_service.domain.upkeep import close_silent
from cdr_service.domain.workspace import HEARD, LEGS_OF, Key, Workspace
from cdr_service.enquiries import questions
from cdr_service.enquiries.informant import HoldersOnly, Listening
from cdr_service.enquiries.matters import begun, strangers, weighs_by_video
from cdr_service.enquiries.questions import Questions
from cdr_service.enquiries.sweep import Sweep
from cdr_service.holders import HoldersFile
from cdr_service.settings import DeploymentSettings

AT = OrderKey(1_000, "session", 1)
SHARED = License("SMP+", None, 6, "shared", AT, "nobody holds PMP+")
PERSONAL = License("PMP+", "alice@example.com", 0, "owner", AT, "alice@example.com owns the space")


def a_call(id_: str = "c", **facts: Any) -> Call:
    """Make a live call in a space, with its callStart."""
    return Call(id_, "session", AT, **{"started": AT, "cospace": "space", "correlator": f"m-{id_}", **facts})


def a_meeting(
    call: str = "c", *licenses: License, call_type: str = "coSpace", recorded: bool = False, space_known: bool = True
) -> Meeting:
    """Make a meeting of one call, with a license under each policy."""
    standings = {str(number): Standing(license=one) for number, one in enumerate(licenses)}
    counts = {call: CallCount(recordings=int(recorded))}
    known = Circumstances(SpaceFacts(known=space_known))
    learned = (Learned(AT, known),)
    return Meeting(
        f"m-{call}", (call,), call_type=call_type, learned=learned, timeline=Timeline(standings=standings, calls=counts)
    )


def a_leg(id_: str = "l", call: str = "c", seen: Seen = Seen.CONNECTED, **facts: Any) -> Leg:
    """Make a leg that is in a call."""
    return Leg(id_, (Observation(AT, seen, call),), direction="incoming", **facts)


def committed(changed: Iterable[Any], before: Iterable[Any] = ()) -> Commit:
    """Make a commit that changed some things."""
    workspace = Workspace({key_of(thing): thing for thing in before})
    for thing in changed:
        workspace.put(thing, *key_of(thing))
    return Commit(snapshot=Snapshot(), workspace=workspace, received=0)


def key_of(thing: Any) -> Key:
    """Return the key of a thing."""
    return (type(thing).__name__.lower(), thing.id)


class TestWhatMatters:
    """What is worth asking."""

    def test_calls_that_began(self) -> None:
        """A callStart is one whether the call was known from a leg before or not; later records are none."""
        assert [call.id for call in begun(committed([a_call()]))] == ["c"]
        assert [call.id for call in begun(committed([a_call()], [a_call(started=None)]))] == ["c"]
        assert not list(begun(committed([a_call(name="x")], [a_call()])))
        assert not list(begun(committed([a_call(started=None)])))
        assert not list(begun(committed([a_call(ended=AT)])))

    def test_strangers(self) -> None:
        """Somebody who is in a meeting that takes SMP+ under one policy, and of whom nobody knows who it is."""
        meeting = a_meeting("c", PERSONAL, SHARED)
        assert [leg.id for leg in strangers(committed([a_leg()], [a_call(), meeting]))] == ["l"]
        assert [leg.id for leg in strangers(committed([a_leg(), a_call(), meeting]))] == ["l"]

    @pytest.mark.parametrize(
        "leg",
        [
            a_leg(identity=Identity("bob@example.com", "jid")),
            a_leg(identity=GUEST),
            a_leg(guest=True),
            a_leg(recorder=True),
            a_leg(link=True),
            a_leg(seen=Seen.LOBBY),
            a_leg(seen=Seen.ENDED),
        ],
    )
    def test_who_is_none(self, leg: Leg) -> None:
        """Users, guests, recorders, links, and whoever waits or is gone."""
        assert not list(strangers(committed([leg], [a_call(), a_meeting("c", SHARED)])))

    def test_a_meeting_that_is_paid(self) -> None:
        """Who is in a meeting that a PMP+ pays under every policy changes nothing; nor in one without a license."""
        for meeting in (a_meeting("c", PERSONAL, PERSONAL), a_meeting("c")):
            assert not list(strangers(committed([a_leg()], [a_call(), meeting])))
        assert not list(strangers(committed([a_leg()])))

    def test_video(self) -> None:
        """It decides what an SMP+ meeting weighs, unless a gateway call or the recording does."""
        recorded = a_meeting("c", SHARED, recorded=True)
        assert weighs_by_video(a_meeting("c", SHARED), recording_lifts=True)
        assert weighs_by_video(recorded, recording_lifts=False)
        assert not weighs_by_video(recorded, recording_lifts=True)
        assert not weighs_by_video(a_meeting("c", SHARED, call_type="forwarding"), recording_lifts=False)
        assert not weighs_by_video(a_meeting("c", PERSONAL), recording_lifts=False)


class EnquiriesTwin:
    """Answers questions as a test says, and remembers them; reads from things in memory."""

    deployment = "default"

    def __init__(self, *things: Any) -> None:
        self.things_ = {key_of(thing): thing for thing in things}
        self.asked: list[tuple[str, str]] = []
        self.using: set[str] = set()
        self.away: set[str] = set()

    @property
    def reads(self) -> "EnquiriesTwin":
        """Where things are read from."""
        return self

    async def things(self, _deployment: str, keys: Sequence[Key]) -> list[Any]:
        """Return things."""
        return [self.things_.get(key) for key in keys]

    async def leg_ids(self, _deployment: str, calls: Sequence[str]) -> list[list[str]]:
        """Return the legs of calls."""
        legs = [thing for thing in self.things_.values() if isinstance(thing, Leg)]
        return [sorted(leg.id for leg in legs if call in leg.calls) for call in calls]

    async def live_calls(self) -> list[str]:
        """Return all calls."""
        return [id_ for kind, id_ in self.things_ if kind == "call"]

    def told(self) -> list[tuple[str, str]]:
        """Return what was asked since the last time."""
        asked, self.asked = self.asked, []
        return asked

    async def user(self, leg: str) -> None:
        """Hear a question."""
        self._hear("user", leg)

    async def video(self, leg: Leg, _bridge: str | None) -> bool:
        """Hear a question."""
        self._hear("video", leg.id)
        return leg.id in self.using

    async def space(self, call: str) -> None:
        """Hear a question."""
        self._hear("space", call)

    async def lives(self, call: str) -> bool:
        """Hear a question."""
        self._hear("lives", call)
        return call in self.using

    def _hear(self, what: str, about: str) -> None:
        self.asked.append((what, about))
        if about in self.away:
            raise CmsUnavailable("away")


def known(id_: str, call: str = "c") -> Leg:
    """Make the leg of a user."""
    return a_leg(id_, call, identity=Identity("bob@example.com", "jid"))


class TestSweep:
    """The questions about all live calls."""

    def sweep(self, twin: EnquiriesTwin, **options: Any) -> Sweep:
        """Make a sweep."""
        return Sweep(twin, twin.live_calls, **options)  # type: ignore[arg-type]

    async def test_audio_only(self) -> None:
        """While nobody uses video everybody is asked; once somebody does, only they, until they stop."""
        twin = EnquiriesTwin(a_call(), a_meeting("c", SHARED), known("a"), known("b"))
        sweep = self.sweep(twin)
        await sweep.once()
        assert twin.told() == [("video", "a"), ("video", "b")]
        twin.using.add("b")
        for _ in range(2):
            await sweep.once()
        assert twin.told() == [("video", "a"), ("video", "b"), ("video", "b")]
        twin.using.clear()
        for _ in range(2):
            await sweep.once()
        assert twin.told() == [("video", "b"), ("video", "a"), ("video", "b")]

    async def test_several_who_use_video(self) -> None:
        """One of them suffices."""
        twin = EnquiriesTwin(a_call(), a_meeting("c", SHARED), known("a"), known("b"))
        twin.using = {"a", "b"}
        sweep = self.sweep(twin)
        await sweep.once()
        twin.told()
        await sweep.once()
        assert twin.told() == [("video", "a")]

    async def test_strangers(self) -> None:
        """Somebody of whom nothing could be read is not asked for again so soon."""
        twin = EnquiriesTwin(a_call(), a_meeting("c", SHARED), a_leg())
        sweep = self.sweep(twin)
        for _ in range(2):
            await sweep.once()
        assert twin.told().count(("user", "l")) == 1

    async def test_what_needs_no_question(self) -> None:
        """Nothing is asked about meetings that a PMP+ pays, nor about legs that are in another call by now."""
        moved = Leg("m", (Observation(AT, Seen.CONNECTED, "c"), Observation(AT, Seen.CONNECTED, "d")))
        paid = EnquiriesTwin(a_call(), a_meeting("c", PERSONAL), a_leg())
        await self.sweep(paid).once()
        assert paid.told() == []
        twin = EnquiriesTwin(a_call("c"), a_meeting("c", SHARED), a_call("d"), a_meeting("d", PERSONAL), moved)
        await self.sweep(twin).once()
        assert twin.told() == []

    async def test_a_space_that_is_not_known(self) -> None:
        """It is asked for once more, in case the API was away when the call began, and then not so soon again."""
        twin = EnquiriesTwin(a_call(), a_meeting("c", SHARED, space_known=False))
        sweep = self.sweep(twin)
        for _ in range(2):
            await sweep.once()
        assert twin.told() == [("space", "c")]

    async def test_the_budget(self) -> None:
        """So many requests a sweep, and everybody gets their turn."""
        twin = EnquiriesTwin(a_call(), a_meeting("c", SHARED), *map(known, "abcde"))
        sweep = self.sweep(twin, requests=2)
        for expected in ("ab", "cd", "ea"):
            await sweep.once()
            assert "".join(leg for _, leg in twin.told()) == expected

    async def test_a_node_that_is_away(self) -> None:
        """It keeps nobody else from being asked."""
        twin = EnquiriesTwin(a_call(), a_meeting("c", SHARED), known("a"), known("b"))
        twin.away.add("a")
        await self.sweep(twin).once()
        assert twin.told() == [("video", "a"), ("video", "b")]


class TestQuestions:
    """The queue beside the intake."""

    async def asked(self, asking: Questions, twin: EnquiriesTwin) -> list[tuple[str, str]]:
        """Let everything be asked that waits; return it."""
        async with asking.asking(twin):  # type: ignore[arg-type]
            await asking._waiting.join()
        return sorted(twin.told())

    async def test_each_once(self) -> None:
        """A call is asked about when it begins, a stranger when they come, and neither again."""
        asking, twin = Questions("default"), EnquiriesTwin()
        for _ in range(2):
            asking.look_at(committed([a_call(), a_leg(), a_meeting("c", SHARED)]))
        assert await self.asked(asking, twin) == [("space", "c"), ("user", "l")]
        asking.look_at(committed([a_leg()], [a_call(), a_meeting("c", SHARED)]))
        assert await self.asked(asking, twin) == []

    async def test_calls_without_a_space(self) -> None:
        """They have nothing to ask for, unless it is a Lync conference."""
        asking, twin = Questions("default"), EnquiriesTwin()
        asking.look_at(committed([a_call(cospace=None), a_call("d", cospace=None, call_type="lyncConferencing")]))
        assert await self.asked(asking, twin) == [("space", "d")]

    async def test_what_finds_no_place_is_dropped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A commit never waits for the queue."""
        monkeypatch.setattr(questions, "WAITING_MAX", 2)
        asking, twin = Questions("default"), EnquiriesTwin()
        asking.look_at(committed([a_call(id_) for id_ in "abc"]))
        assert len(await self.asked(asking, twin)) == 2

    async def test_away(self) -> None:
        """A question that cannot be asked is dropped, and the others are asked."""
        asking, twin = Questions("default"), EnquiriesTwin()
        twin.away.add("a")
        asking.look_at(committed([a_call(id_) for id_ in "ab"]))
        assert await self.asked(asking, twin) == [("space", "a"), ("space", "b")]

    async def test_silent_calls(self) -> None:
        """The answer is there at the next question, counts once, and is unknown while the server is away."""
        asking, twin = Questions("default"), EnquiriesTwin()
        twin.using, twin.away = {"here"}, {"away"}
        for call in ("here", "gone", "away"):
            assert asking.lives(call) is None
        assert len(await self.asked(asking, twin)) == 3
        assert [asking.lives(call) for call in ("here", "gone", "away")] == [True, False, None]
        assert asking.lives("here") is None


class ObserverTwin:
    """Remembers what it heard."""

    def __init__(self) -> None:
        self.heard: list[Commit] = []

    def committed(self, _deployment: str, commit: Commit, _received: Sequence[Any]) -> None:
        """Hear of a commit."""
        self.heard.append(commit)


class TestListening:
    """Who lets the informant look at commits."""

    def test_a_fault_of_ours(self, capsys: pytest.CaptureFixture[str]) -> None:
        """What is worth asking is looked for after the commit was told, and a fault in that is only logged."""

        class Broken(HoldersOnly):
            def look_at(self, commit: Commit) -> None:
                raise LookupError(commit.received)

        observer, commit = ObserverTwin(), committed([])
        listening = Listening(observer, Broken(HoldersFile(DeploymentSettings(), "CDR_HOLDERS")))  # type: ignore[arg-type]
        listening.committed("default", commit, [])
        assert observer.heard == [commit]
        assert "upkeep.failed" in capsys.readouterr().out


class TestNoUser:
    """Somebody of whom the server said that they are no user."""

    def test_looked_up_again(self) -> None:
        """They stay so when the directory changes, unless that names them by now."""
        leg = a_leg(leg_type="sip", remote_party="1001@example.com", identity=GUEST)
        aware = Directory([User("alice@example.com", holds_license=True, aliases=("1001",))])
        assert Knowledge(Directory([]), Options()).identified_again(leg) == GUEST
        assert Knowledge(aware, Options()).identified_again(leg).user == "alice@example.com"
        stranger = a_leg(leg_type="sip", remote_party="1001@example.com")
        assert Knowledge(Directory([]), Options()).identified_again(stranger) == NOBODY


class TestCloseSilent:
    """Closing a call that the server no longer has."""

    @pytest.mark.parametrize(("heard", "closed"), [(499, True), (None, True), (500, False), (600, False)])
    def test_a_record_that_came_meanwhile(self, heard: int | None, closed: bool) -> None:
        """A call of which a record was received since then goes on."""
        workspace = self.books({(HEARD, "c"): heard})
        close_silent(self.keeper(workspace), workspace, "c", 500)
        call = workspace.call("c")
        assert call is not None
        assert (call.end is not None) == closed

    def test_a_record_of_the_same_commit(self) -> None:
        """So does one of which a record stands before the closing in the same commit."""
        workspace = self.books({(HEARD, "c"): 1})
        workspace.heard.add("c")
        close_silent(self.keeper(workspace), workspace, "c", 500)
        assert workspace.call("c") == a_call()

    def books(self, more: dict[Key, Any]) -> Workspace:
        """Make a workspace with a live call."""
        return Workspace(
            {("call", "c"): a_call(), ("meeting", "m-c"): a_meeting(), (LEGS_OF, "c"): frozenset(), **more}
        )

    def keeper(self, workspace: Workspace) -> Bookkeeper:
        """Make a keeper of these books."""
        return Bookkeeper(workspace, Directory([]), Options(), iter(map(str, range(99))))
