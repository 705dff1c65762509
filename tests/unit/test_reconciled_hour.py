"""An hour of simulated meetings, compared every ten seconds with a server that counts by its own code, and trails."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest

from cdr_service.domain.counting import Possible, ServerCounts, counted, participants_band, possible
from cdr_service.domain.directory import Directory, User
from cdr_service.domain.fitting import Fit, choices, is_at_stake, observed, predicted, standings
from cdr_service.domain.reconciling import Poll, Reconciliation, compared
from cdr_service.domain.showing import standing_of
from cdr_service.simulator.api_licenses import Rules
from cdr_service.simulator.api_nodes import Deployment
from cdr_service.simulator.api_paths import look_up
from cdr_service.simulator.api_views import Many, One
from cdr_service.simulator.bridge import Bridge
from cdr_service.simulator.people import HOLDERS, USERS
from cdr_service.simulator.scenarios import START, generate
from tests.unit.books import Books

INTERVAL, SETTLE, POLLS = 10, 20, 2


class Hour:
    """A deployment that plays a scenario, the books that get its records, and what is found poll by poll."""

    def __init__(self, seed: int, rules: Rules, *, cluster: int = 1, lose: str = "", scores: bool = False) -> None:
        self.scores = scores
        self.now = START
        scenario = generate(seed, meetings=80, rate=1.5, bridges=cluster, cluster=cluster > 1)
        self.scenario, self.lose = scenario, lose
        self.bridges = [Bridge(identity) for identity in scenario.bridges]
        clock = {"clock": lambda: self.now}
        self.server = Deployment(self.bridges, rules=rules, lag=(10.0, 15.0), seed=seed, **clock)
        self.feeds = [bridge.add_receiver() for bridge in self.bridges]
        self.books = Books(Directory([*(User(one, True) for one in HOLDERS), *(User(one, False) for one in USERS)]))
        self.standing = Reconciliation(polls=POLLS)
        self.fit = Fit()
        self.told: list[str] = []
        self.seen: list[dict[str, int]] = []

    def play(self, seconds: int = 3600) -> "Hour":
        """Let so much time pass."""
        steps = iter([*self.scenario.steps, None])
        step = next(steps)
        for second in range(0, seconds, INTERVAL):
            while step is not None and step.offset <= second:
                self.now = START + timedelta(seconds=step.offset)
                self.bridges[step.bridge].emit(step.record, self.now)
                self.push(lost=step.record.type == self.lose)
                step = next(steps)
            self.now = START + timedelta(seconds=second)
            self.server.refresh()
            self.poll()
        return self

    def push(self, *, lost: bool) -> None:
        """Take in what was generated, or lose it."""
        for feed in self.feeds:
            while offered := feed.document():
                if not lost:
                    self.books.post(offered.body)
                feed.delivered(offered)

    def counts(self) -> ServerCounts:
        """Ask all nodes what they count."""
        sums = {"weightedCallsActive": Decimal(), "weightedCallsWithoutPersonalLicense": Decimal()}
        sums |= {"participantsActive": Decimal(), "callsActive": Decimal()}
        personal: dict[str, Decimal] = {}
        for node in self.server.nodes:
            told, payers = (
                look_up(node, f"system/multipartyLicensing{path}", {}) for path in ("", "/activePersonalLicenses")
            )
            assert isinstance(told, One)
            assert isinstance(payers, Many)
            for name in sums:
                sums[name] += Decimal(str(told.fields[name]))
            for user in payers.entries:
                jid = self.server.directory.users[str(user["@id"])].jid
                personal[jid] = personal.get(jid, Decimal()) + Decimal(str(user["weightedCallsActive"]))
        return ServerCounts(
            meetings=sums["weightedCallsActive"],
            shared=sums["weightedCallsWithoutPersonalLicense"],
            personal=personal,
            participants=int(sums["participantsActive"]),
            calls=int(sums["callsActive"]),
        )

    def poll(self) -> None:
        """Compare and score once."""
        at = int(self.now.timestamp() * 1000)
        since, theirs = at - SETTLE * 1000, self.counts()
        meetings = list(self.possible(since))
        self.seen.append({one.id: one.timeline.participants for one in self.books.meetings.values()})
        looked = SETTLE // INTERVAL + 1
        band = participants_band(self.seen[-looked:]) if len(self.seen) >= looked else None
        poll = Poll(at, since, theirs, counted(meetings), meetings, band)
        self.standing, news = compared(self.standing, poll)
        self.told += [str(news)] if news else []
        if self.scores:
            self.score(at, since, theirs)

    def score(self, at: int, since: int, theirs: ServerCounts) -> None:
        """Score the policies by one poll."""
        at_stake = {one.id for one in self.books.meetings.values() if is_at_stake(one)}
        calls = {id_ for id_, call in self.books.calls.items() if call.meeting in at_stake and not call.end}
        live = {self.books.calls[call].meeting for call in calls}
        things = {key: thing for key, thing in self.books.things.items() if key[0] != "meeting" or key[1] in live}
        if live:
            predictions = predicted(things, standings(things, self.books.options), since, self.books.options)
            self.fit = observed(self.fit, at, theirs, predictions, POLLS)

    def possible(self, since: int) -> Iterator[Possible]:
        """Yield as what each meeting may count."""
        for meeting in self.books.meetings.values():
            calls = [call for call in self.books.calls.values() if call.meeting == meeting.id]
            one = possible(meeting, calls, standing_of(meeting, "join"), since, self.books.options)
            if one is not None:
                yield one


@pytest.mark.parametrize(("seed", "cluster"), [(1, 1), (2, 3)])
def test_no_false_drift(seed: int, cluster: int) -> None:
    """A server that follows what we run, and trails by ten to fifteen seconds, never drifts."""
    hour = Hour(seed, Rules(), cluster=cluster).play()
    assert not [told for told in hour.told if "reconcile.drift" in told]
    assert hour.standing.state == "agreed"


@pytest.mark.parametrize("lost", ["callLegEnd", "callStart"])
def test_what_is_lost_drifts(lost: str) -> None:
    """Where records are lost for good and nothing is mended, that is told."""
    assert "reconcile.drift" in str(Hour(1, Rules(), lose=lost).play(1200).told)


@pytest.mark.parametrize("rules", [Rules(), Rules(sticky=False), Rules("owner"), Rules(per_holder=1)], ids=str)
def test_the_fit_is_never_wrong(rules: Rules) -> None:
    """Whatever the server follows, what is recommended is that, or nothing where the meetings do not tell it."""
    hour = Hour(3, rules, scores=True).play(1200)
    truth = {"policy": rules.rule, "join_sticky": rules.sticky, "pmp_calls_per_user": rules.per_holder}
    for choice in choices(hour.fit, hour.books.options):
        assert choice.recommended in (None, truth[choice.setting]), (choice, hour.fit)
        if choice.setting == "policy":
            assert choice.recommended == rules.rule
