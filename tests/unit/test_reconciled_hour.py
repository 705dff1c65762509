"""An hour beside a server that counts by its own code, and trails by ten to fifteen seconds: what drifts, what fits."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import cache
from itertools import groupby, product
from typing import Any, Literal

import pytest

from cdr_service.domain.directory import Directory, User
from cdr_service.domain.options import Options
from cdr_service.simulator.api_licenses import Rules
from cdr_service.simulator.api_model import CoSpace, example_directory
from cdr_service.simulator.api_model import Directory as ServerDirectory
from cdr_service.simulator.api_nodes import Deployment
from cdr_service.simulator.bridge import Bridge
from cdr_service.simulator.meeting import Step
from cdr_service.simulator.people import HOLDERS, USERS
from cdr_service.simulator.records import Record, Value
from cdr_service.simulator.scenarios import START, generate, identities
from tests.unit.clockwork import played
from tests.unit.hours import Hour, Post

HOUR = 3600


def ours() -> Directory:
    """Return what we know of users: who holds PMP+."""
    return Directory([*(User(one, True) for one in HOLDERS), *(User(one, False) for one in USERS)])


def busy_hour(seed: int, bridges: int, **given: Any) -> Hour:
    """Make an hour of made-up meetings, whose server is busy and slow, and whose records come late and twice."""
    scenario = generate(seed, meetings=80, rate=1.5, bridges=bridges, cluster=bridges > 1)
    made = Hour(scenario.bridges, scenario.steps, theirs=example_directory(seed), ours=ours(), seed=seed, **given)
    made.post = Post(late=2.0, twice=0.1)
    for number, api in enumerate(made.apis):
        api.faults.busy, api.faults.slow = 0.05, 0.3
        api.faults.busy_status = (503, 429)[number % 2]
    return made


def set_all(hour: Hour, **faults: Any) -> Callable[[], None]:
    """Return what makes the API of all nodes so."""

    def change() -> None:
        for api in hour.apis:
            for name, value in faults.items():
                setattr(api.faults, name, value)

    return change


@pytest.mark.parametrize(("seed", "bridges", "ahead"), [(1, 1, 0.0), (2, 3, 7.0)])
def test_no_false_drift(seed: int, bridges: int, ahead: float) -> None:
    """Busy, slow, away or restarted, with a clock that is off: a server that follows what we run never drifts."""
    hour = busy_hour(seed, bridges, ahead=ahead)
    happens: dict[float, Callable[[], None]] = {
        900: set_all(hour, busy=0.6),
        1020: set_all(hour, busy=0.05),
        1500: set_all(hour, broken=True),
        1620: set_all(hour, broken=False),
        2100: set_all(hour, slow=4.0),
        2220: set_all(hour, slow=0.3),
        2700: lambda: hour.restart(bridges - 1),
    }
    played(hour.play(HOUR, happens))
    assert hour.drifts() == set()
    assert hour.standing is not None
    assert (hour.standing.state, hour.standing.reason) == ("agreed", None)
    assert hour.known_fit.unexplained == 0
    assert any(call.end_estimated for call in hour.books.calls.values())


def test_counts_that_took_long_to_read() -> None:
    """Where a poll takes twenty seconds its counts are so much older; none differs, however much goes on meanwhile."""
    scenario = generate(1, meetings=150, rate=8)
    hour = Hour(scenario.bridges, scenario.steps, theirs=example_directory(1), ours=ours(), seed=1)
    set_all(hour, slow=6.0)()
    played(hour.play(1200))
    assert [one.differences for one in hour.stood if one.differences] == []
    assert hour.standing is not None
    assert hour.standing.state == "agreed"


def test_a_backlog_is_no_loss() -> None:
    """Records that come later and later, minutes late at last, are on their way and not lost, as long as some come."""
    scenario = generate(1, meetings=200, rate=8)
    hour = Hour(scenario.bridges, scenario.steps, theirs=example_directory(1), ours=ours(), seed=1)
    hour.post = Post(late=3.0)
    played(hour.play(1000))
    assert hour.told("records.missing") == []
    assert hour.drifts() == set()
    assert hour.standing is not None
    assert (hour.standing.reason or "").endswith("are on their way")


class Story:
    """What happens on one Call Bridge, written down."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def meet(self, call: str, space: str, end: int, *stays: tuple[str, int, int]) -> None:
        """Let people meet: each with the seconds of coming and going, the first one coming first."""
        described = {"name": call, "callType": "coSpace", "coSpace": space, "callCorrelator": f"m-{call}"}
        self._note(stays[0][1], "callStart", call, **described)
        for user, come, go in stays:
            leg = f"{user}-{call}"
            named = {"call": call, "remoteParty": f"{user}@example.com", "type": "acano", "direction": "incoming"}
            self._note(come, "callLegStart", leg, **named)
            self._note(come, "callLegUpdate", leg, call=call, state="connected", deactivated=False)
            self._note(go, "callLegEnd", leg, reason="remoteTeardown")
        self._note(end, "callEnd", call)

    def _note(self, at: int, type_: str, id_: str, **fields: Value) -> None:
        self.steps.append(Step(at, 0, Record(type_, id_, fields)))

    @property
    def in_order(self) -> list[Step]:
        """All steps, the first one first."""
        return sorted(self.steps, key=lambda step: step.offset)


ROUND = 600
"""Seconds in which all that tells the rules apart happens once."""


def telling_story(rounds: int = 1) -> list[Step]:
    """Return meetings that tell all rules apart: who joins, who leaves, whose license is wanted more than once."""
    story = Story()
    for number in range(rounds):
        at = 60 + number * ROUND
        story.meet(f"c{number}", "space-bob", at + 301, ("bob", at, at + 300), ("carol", at + 30, at + 150))
        ends = (at + 150, at + 280, at + 410, at + 411)
        for place, end in enumerate(ends):
            host, guest = USERS[1 + place].partition("@")[0], USERS[5 + place].partition("@")[0]
            come = at + 10 + 5 * place
            story.meet(f"a{number}{place}", "space-bob", end + 1, (host, come, end), ("alice", come + 2, end))
            story.meet(f"e{number}{place}", f"space-erin-{place}", end + 6, (guest, come + 1, end + 5))
    return story.in_order


def plain_story() -> list[Step]:
    """Return meetings in which a holder meets others in a space of their own: all rules say the same of them."""
    story = Story()
    for number in range(3):
        at = 60 + number * 180
        story.meet(f"e{number}", "space-erin-0", at + 151, ("bob", at, at + 150), ("erin", at + 30, at + 140))
    return story.in_order


def policies_story() -> list[Step]:
    """Return meetings that tell join and owner apart, and nothing else: whoever joins stays, in one at a time."""
    story = Story()
    for number in range(3):
        at = 60 + number * 180
        story.meet(f"c{number}", "space-bob", at + 151, ("bob", at, at + 150), ("carol", at + 30, at + 149))
    return story.in_order


def their_directory() -> ServerDirectory:
    """Make users, a space of bob's, who holds no PMP+, and four of erin's, who does."""
    made = example_directory()
    for space, owner in (("space-bob", "bob"), *((f"space-erin-{place}", "erin") for place in range(4))):
        user = made.find(f"{owner}@example.com")
        assert user is not None
        made.spaces[space] = CoSpace(space, space, user.id)
    return made


def our_directory() -> Directory:
    """Return what we know of the same users and spaces."""
    erins = tuple(f"space-erin-{place}" for place in range(4))
    spaces = {"bob@example.com": ("space-bob",), "erin@example.com": erins}
    return Directory(
        [User(one, one in HOLDERS, spaces=spaces.get(one, ())) for one in (*HOLDERS, *USERS)],
    )


STORIES: dict[str, Callable[[], list[Step]]] = {
    "telling": telling_story,
    "policies": policies_story,
    "plain": plain_story,
}
ALL_RULES = [Rules("join", *values) for values in product((True, False), (1, 2, 3, 4), (True, False))]
ALL_RULES += [Rules("owner", True, *values) for values in product((1, 2, 3, 4), (True, False))]
SETTINGS = {"policy": "rule", "join_sticky": "sticky", "pmp_calls_per_user": "per_holder", "spill_back": "spill_back"}


@cache
def counted(story: str, rules: Rules) -> tuple[dict[str, int], ...]:
    """Return how many meetings a server that follows the rules puts down to each user, every ten seconds."""
    now = [START]

    def clock() -> datetime:
        return now[0]

    bridge = Bridge(identities(0)[0])
    server = Deployment([bridge], their_directory(), rules=rules, clock=clock)
    steps = iter(STORIES[story]())
    step = next(steps, None)
    found: list[dict[str, int]] = []
    for second in range(0, 60 + ROUND, 10):
        while step is not None and step.offset <= second:
            now[0] = START + timedelta(seconds=step.offset)
            bridge.emit(step.record, now[0])
            step = next(steps, None)
        now[0] = START + timedelta(seconds=second)
        server.refresh()
        payers = [meeting.payer for meeting in server.licenses.at(now[0]) if meeting.payer]
        found.append({payer: payers.count(payer) for payer in payers})
    return tuple(found)


def longest_apart(story: str, one: Rules, other: Rules) -> int:
    """Return for how many tens of seconds at most two servers count otherwise."""
    pairs = zip(counted(story, one), counted(story, other), strict=True)
    return max((len(list(run)) for differs, run in groupby(a != b for a, b in pairs) if differs), default=0)


def can_tell(story: str, rules: Rules, setting: str) -> Literal["yes", "no"]:
    """Say whether the counts rule out all other values of a setting."""
    field = SETTINGS[setting]
    if setting == "join_sticky" and rules.rule == "owner":
        return "no"
    others = [other for other in ALL_RULES if getattr(other, field) != getattr(rules, field)]
    if setting == "join_sticky":
        others = [other for other in ALL_RULES if other.rule == "owner" or other.sticky != rules.sticky]
    apart = [longest_apart(story, rules, other) for other in others]
    # What differs for a moment only, the service may see or not; no story here has such a thing.
    assert all(tens == 0 or tens > 6 for tens in apart)
    return "yes" if all(apart) else "no"


def beside(rules: Rules, steps: Sequence[Step], **given: Any) -> Hour:
    """Make a service beside a server that follows the rules, and is busy at times."""
    made = Hour(identities(0), steps, theirs=their_directory(), ours=our_directory(), rules=rules, **given)
    set_all(made, busy=0.05)()
    return made


def every_rule(story: str) -> Iterator[Any]:
    """Yield all rules beside the story."""
    for rules in ALL_RULES:
        sticky = "sticky" if rules.sticky else "not-sticky"
        back = "back" if rules.spill_back else "not-back"
        yield pytest.param(story, rules, id=f"{story}-{rules.rule}-{sticky}-{rules.per_holder}-{back}")


@pytest.mark.parametrize(
    ("story", "rules"), [*every_rule("telling"), *list(every_rule("policies"))[::3], *list(every_rule("plain"))[::9]]
)
def test_the_fit_is_right(story: str, rules: Rules) -> None:
    """What the counts can tell apart is named, and of what they cannot it is said that it cannot be told."""
    hour = played(beside(rules, STORIES[story]()).play(60 + ROUND))
    for setting, choice in hour.chosen().items():
        told = can_tell(story, rules, setting) == "yes"
        assert choice.recommended == (getattr(rules, SETTINGS[setting]) if told else None), choice
        assert (choice.sure != "cannot tell") is told
    assert hour.known_fit.unexplained == 0


@pytest.mark.parametrize("rules", [Rules("join", False, 1, False), Rules("owner", True, 3, True)], ids=str)
def test_the_fit_becomes_sure(rules: Rules) -> None:
    """What was seen three times is sure, and the rules that we run ourselves do not matter for what is found."""
    options = Options(join_sticky=not rules.sticky, pmp_calls_per_user=2, spill_back=not rules.spill_back)
    hour = played(beside(rules, telling_story(3), options=options).play(60 + 3 * ROUND))
    found = {setting: choice.sure for setting, choice in hour.chosen().items()}
    assert set(found.values()) == {"sure"} if rules.rule == "join" else found["policy"] == "sure"
    assert hour.chosen()["policy"].recommended == rules.rule
    assert hour.chosen()["spill_back"].recommended is rules.spill_back


def test_another_policy_drifts() -> None:
    """A server that follows owner drifts, by the licenses concerned and nothing else; its lists are seldom read."""
    hour = played(beside(Rules("owner"), telling_story()).play(60 + ROUND))
    assert hour.drifts() == {("shared", None), ("personal", "carol@example.com"), ("personal", "alice@example.com")}
    assert hour.chosen()["policy"].recommended == "owner"
    looked = sum("/calls?" in request for request in hour.apis[0].requests)
    assert looked < 20, "each new drift is looked into, and after that now and then"


@pytest.mark.parametrize(
    ("lost", "record", "count"),
    [
        (["carol-c0"], "callLegEnd", ("participants", None)),
        (["dave-a00", "alice-a00", "a00"], "callLegEnd", ("meetings", None)),
        (["carol-c0"], "callLegStart", ("personal", "carol@example.com")),
        (["e03", "peggy-e03"], "callStart", ("meetings", None)),
    ],
    ids=["a leaving", "an end", "a joining", "a beginning"],
)
def test_what_is_lost_is_told_and_mended(lost: list[str], record: str, count: tuple[str, str | None]) -> None:
    """Where a server (before 2.2) does not number its records, what is lost drifts, is told, and is mended."""
    hour = beside(Rules(), telling_story(), release="2.1")
    begun = next(step.offset for step in hour.steps if step.record.type == record and step.record.id in lost)
    happens: dict[float, Callable[[], None]] = {
        begun - 0.5: lambda: hour.lose(*lost),
        begun + 1.5: hour.lose,
    }
    played(hour.play(60 + ROUND, happens))
    assert count in hour.drifts()
    assert hour.standing is not None
    assert (hour.standing.state, hour.standing.differences) == ("agreed", ())


def test_what_is_lost_at_the_end_is_told() -> None:
    """Where records are numbered and nothing comes after those that are lost, they count as lost after a minute."""
    hour = beside(Rules(), plain_story())
    hour.lose("e2")
    played(hour.play(60 + ROUND + 90))
    assert [event.details["missing"] for event in hour.told("records.missing")] == [1]
    assert all(call.end is not None for call in hour.books.calls.values())
    assert hour.standing is not None
    assert hour.standing.state == "agreed"


def test_a_holder_of_whom_we_do_not_know_drifts() -> None:
    """Where the server knows of a license that we do not, each of the counts that it moves is told."""
    hour = beside(Rules(), telling_story())
    hour.books.directory = Directory([User(one, one in HOLDERS and not one.startswith("carol")) for one in HOLDERS])
    played(hour.play(60 + ROUND))
    assert {("personal", "carol@example.com"), ("shared", None)} <= hour.drifts()
