"""The fold of a meeting: occurrences in, timeline out.

Theory of operation. A meeting's facts (stays of legs, recordings, what is known of its owner) become *occurrences*,
each at its place in the order (time, session, correlatorIndex). Folding them in that order gives who is in, the peaks,
and under each policy the license and every transition with its reason. What one record causes is counted together and
then decided, so that somebody who moves inside a meeting never leaves it. Occurrences in order are folded onto
the stored result, at a cost that does not depend on the meeting's size. One that comes late makes the caller fold the
whole meeting again (`whole=True`), and so does a decision that needs everybody who is in. Both ways run this same
code, so they cannot disagree.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple, Protocol

from msgspec.structs import replace

from cdr_service.domain.identity import NOBODY, Identity
from cdr_service.domain.licensing import PERSONAL, POLICIES, License, Member, Policy, Situation
from cdr_service.domain.records import OrderKey
from cdr_service.domain.slots import Claim
from cdr_service.domain.timeline import (
    CallCount,
    Candidate,
    Cause,
    Kind,
    Occurrence,
    Standing,
    Timeline,
    Transition,
    slot_freed,
)

_CAUSES: Final = {
    Kind.OWNER_KNOWN: Cause.DIRECTORY_CHANGED,
    Kind.IDENTIFIED: Cause.DIRECTORY_CHANGED,
    Kind.JOINED: Cause.MEMBER_JOINED,
    Kind.RECORDING_STARTED: Cause.RECORDING_STARTED,
    Kind.RECORDING_STOPPED: Cause.RECORDING_STOPPED,
    Kind.STREAMING_STARTED: Cause.RECORDING_STARTED,
    Kind.STREAMING_STOPPED: Cause.RECORDING_STOPPED,
    Kind.SLOT_FREED: Cause.SLOT_FREED,
}


class SlotsView(Protocol):
    """What the fold asks about holders who pay several meetings."""

    def grant(self, policy: str, claim: Claim, before: tuple[Claim, ...]) -> OrderKey | None:
        """Return from when on the claim is served, given the earlier ones of the meeting; None while it waits."""
        ...


class Setting(NamedTuple):
    """What is fixed for a whole fold."""

    call_type: str | None = None
    owner: Identity = NOBODY
    """The owner as known when the meeting became known; later knowledge is an occurrence."""
    join_sticky: bool = True
    policies: Mapping[str, Policy] = POLICIES


class NeedsWholeMeeting(Exception):  # noqa: N818 - a question to the caller, not an error
    """The decision needs everybody who is in, so the meeting has to be folded as a whole."""


class _Person:
    """Somebody who is in; only a fold of the whole meeting knows them all."""

    def __init__(self, joined: OrderKey) -> None:
        self.joined = joined
        self.legs: dict[tuple[str, str], Identity] = {}
        """By call and leg."""

    def on(self, call: str) -> int:
        """Return by how many legs the person is on a call."""
        return sum(call == on for on, _ in self.legs)

    def holder(self) -> str | None:
        """Return the user if the person is known to hold PMP+."""
        return next((i.user for i in self.legs.values() if i.holds_license and i.user), None)


class Fold:
    """Folds occurrences into a timeline. Use once: construct, `run`, read `timeline`."""

    def __init__(self, start: Timeline, setting: Setting, slots: SlotsView, *, whole: bool) -> None:
        self._setting = setting
        self._slots = slots
        self._owner = setting.owner
        self._participants = start.participants
        self._peak = start.participants_peak
        self._calls = dict(start.calls)
        self._horizon = start.horizon
        self._people: dict[str, _Person] | None = {} if whole else None
        self._queue: list[Occurrence] = []
        self._standings = {name: start.standings.get(name, Standing()) for name in setting.policies}
        self._undo = start.undo

    @property
    def timeline(self) -> Timeline:
        """The result so far."""
        return Timeline(
            self._horizon, self._participants, self._peak, dict(self._calls), dict(self._standings), self._undo
        )

    def run(self, occurrences: Iterable[Occurrence]) -> Timeline:
        """Fold all occurrences; raise NeedsWholeMeeting where the stored result does not suffice."""
        self._queue = sorted(occurrences)
        while self._queue:
            self._undo = None
            if len(self._queue) == 1 and self._queue[0].kind is Kind.JOINED:
                self._undo = self.timeline
            record = list(self._next_record())
            for occurrence in record:
                self._count(occurrence)
            self._note_peaks({occurrence.call for occurrence in record})
            for occurrence in record:
                for policy in self._setting.policies.values():
                    self._consider(policy, occurrence)
        return self.timeline

    def _next_record(self) -> Iterator[Occurrence]:
        """Take from the queue what the next record causes."""
        self._horizon = max(self._horizon, self._queue[0].at)
        at = self._queue[0].at
        while self._queue and self._queue[0].at == at:
            yield heapq.heappop(self._queue)

    def _count(self, occurrence: Occurrence) -> None:
        """Keep the books of who is in and what is recorded."""
        entered = {Kind.JOINED: 1, Kind.LEFT: -1}.get(occurrence.kind, 0)
        recordings = {Kind.RECORDING_STARTED: 1, Kind.RECORDING_STOPPED: -1}.get(occurrence.kind, 0)
        streamings = {Kind.STREAMING_STARTED: 1, Kind.STREAMING_STOPPED: -1}.get(occurrence.kind, 0)
        if not (entered or recordings or streamings):
            if occurrence.kind is Kind.OWNER_KNOWN:
                self._owner = occurrence.identity
            elif occurrence.kind is Kind.IDENTIFIED:
                person = self._everybody()[occurrence.presence]
                person.legs[occurrence.call, occurrence.leg] = occurrence.identity
            return
        people = self._moved_in_or_out(occurrence) if entered and occurrence.presence else (0, 0)
        self._participants += people[0]
        call = self._calls.get(occurrence.call, CallCount())
        self._calls[occurrence.call] = replace(
            call,
            participants=call.participants + people[1],
            inside=call.inside + entered,
            recordings=call.recordings + recordings,
            streamings=call.streamings + streamings,
            last=max(call.last, occurrence.at),
        )

    def _moved_in_or_out(self, occurrence: Occurrence) -> tuple[int, int]:
        """Return by how much the number of people changes, in the meeting and on the call.

        Somebody who is in by several legs counts once.
        """
        change = 1 if occurrence.kind is Kind.JOINED else -1
        if self._people is None:
            return change, change
        person = self._people.setdefault(occurrence.presence, _Person(occurrence.at))
        before = len(person.legs), person.on(occurrence.call)
        if change > 0:
            person.legs[occurrence.call, occurrence.leg] = occurrence.identity
        else:
            del person.legs[occurrence.call, occurrence.leg]
        if not person.legs:
            del self._people[occurrence.presence]
        after = len(person.legs), person.on(occurrence.call)
        return bool(after[0]) - bool(before[0]), bool(after[1]) - bool(before[1])

    def _note_peaks(self, calls: Iterable[str]) -> None:
        self._peak = max(self._peak, self._participants)
        for id_ in calls:
            call = self._calls.get(id_)
            if call is not None and call.participants > call.participants_peak:
                self._calls[id_] = replace(call, participants_peak=call.participants)

    def _everybody(self) -> dict[str, _Person]:
        if self._people is None:
            raise NeedsWholeMeeting
        return self._people

    def _consider(self, policy: Policy, occurrence: Occurrence) -> None:
        """Decide under one policy what the occurrence changes."""
        standing, at = self._standings[policy.id], occurrence.at
        if occurrence.kind is Kind.SLOT_FREED and occurrence.policy != policy.id:
            return
        if occurrence.kind in (Kind.JOINED, Kind.LEFT) and not occurrence.presence:
            return
        if self._participants == 0:
            if standing.license is not None:
                self._standings[policy.id] = self._released(standing, occurrence)
            return
        paying = standing.license
        if paying is not None and paying.type == PERSONAL:
            if not self._lost_its_payer(paying, occurrence):
                return
            standing = self._reopened(policy, standing, at)
        elif occurrence.kind in (Kind.OWNER_KNOWN, Kind.IDENTIFIED):
            standing = self._reopened(policy, standing, at)
        else:
            standing = self._with_joined_or_left(policy, standing, occurrence)
        standing = self._with_owner(policy, standing, at)
        self._standings[policy.id] = self._decided(policy, standing, occurrence)

    def _lost_its_payer(self, paying: License, occurrence: Occurrence) -> bool:
        """Return whether a meeting that a PMP+ pays has to be decided anew. It stays, unless a setting says no.

        Source: no document says that it reverts; "has joined" reads as sticky (setting join_sticky).
        """
        holder = paying.holder
        if occurrence.kind in (Kind.IDENTIFIED, Kind.OWNER_KNOWN):
            return not self._still_holds(holder)
        if self._setting.join_sticky or occurrence.kind is not Kind.LEFT or paying.rule != "member-joined":
            return False
        return occurrence.identity.user == holder and all(p.holder() != holder for p in self._everybody().values())

    def _still_holds(self, holder: str | None) -> bool:
        """Is nothing known that speaks against the holder's license? Who left keeps what was known."""
        known = [i for p in self._everybody().values() for i in p.legs.values() if i.user == holder]
        if self._owner.user == holder:
            known.append(self._owner)
        return all(identity.holds_license for identity in known)

    def _claim(self, policy: Policy, standing: Standing, user: str, at: OrderKey) -> Claim:
        """Put in a claim on the user's license; a slot that is known to become free later is an occurrence then."""
        claim = Claim(user, at)
        granted = self._granted(policy, standing, claim)
        if granted is not None and granted > at:
            heapq.heappush(self._queue, slot_freed(policy.id, user, granted))
            return claim
        return replace(claim, granted=granted)

    def _granted(self, policy: Policy, standing: Standing, claim: Claim) -> OrderKey | None:
        before = tuple(c for c in standing.claims if c.holder == claim.holder)
        return self._slots.grant(policy.id, claim, before)

    def _reopened(self, policy: Policy, standing: Standing, at: OrderKey) -> Standing:
        """Return the standing with everybody who is in looked at anew; who waits keeps the place in the queue."""
        waiting = {c.user: c.claim for c in standing.candidates}
        wanted: dict[str, tuple[tuple[str, ...], OrderKey]] = {}
        if self._owner.holds_license and self._owner.user in waiting:
            wanted[self._owner.user] = (), at
        for person in self._everybody().values() if policy.members_pay and not self._is_gateway(policy) else ():
            user = person.holder()
            if user is not None:
                legs, joined = wanted.get(user) or ((), person.joined)
                legs += tuple(leg for (_, leg), identity in person.legs.items() if identity.user == user)
                wanted[user] = legs, min(joined, person.joined)
        gone = tuple(c for c in standing.candidates if c.user not in wanted)
        standing = _without_claims(replace(standing, candidates=gone), at)
        candidates: list[Candidate] = []
        for user, (legs, joined) in sorted(wanted.items(), key=lambda one: (not one[1][0], one[1][1], one[0])):
            claim = waiting.get(user)
            if claim is None and not any(c.claim.granted for c in candidates):
                claim = self._claim(policy, standing, user, at)
            if claim is not None:
                candidates.append(Candidate(user, legs, joined, claim))
        return replace(standing, candidates=tuple(candidates))

    def _with_owner(self, policy: Policy, standing: Standing, at: OrderKey) -> Standing:
        """Add the owner to those who could pay, where no member can."""
        owner = self._owner
        if owner.user is None or not owner.holds_license or self._is_gateway(policy):
            return standing
        if any(c.claim.granted or c.user == owner.user for c in standing.candidates):
            return standing
        candidate = Candidate(owner.user, (), at, self._claim(policy, standing, owner.user, at))
        return replace(standing, candidates=(*standing.candidates, candidate))

    def _with_joined_or_left(self, policy: Policy, standing: Standing, occurrence: Occurrence) -> Standing:
        """Return the standing of an unpaid meeting after somebody joined or left, or a slot became free."""
        user, at = occurrence.identity.user, occurrence.at
        if occurrence.kind is Kind.SLOT_FREED:
            candidates = tuple(
                replace(c, claim=replace(c.claim, granted=at))
                if c.user == user and self._granted(policy, standing, c.claim) == at
                else c
                for c in standing.candidates
            )
            return replace(standing, candidates=candidates)
        if not policy.members_pay or not occurrence.identity.holds_license or user is None or not occurrence.presence:
            return standing
        known = next((c for c in standing.candidates if c.user == user), None)
        others = tuple(c for c in standing.candidates if c is not known)
        if occurrence.kind is Kind.JOINED and not self._is_gateway(policy):
            if known is None:
                known = Candidate(user, (occurrence.leg,), at, self._claim(policy, standing, user, at))
            else:
                joined = at if known.is_owner else known.joined
                known = Candidate(user, (*known.legs, occurrence.leg), joined, known.claim)
            return replace(standing, candidates=(*others, known))
        if occurrence.kind is Kind.LEFT and known is not None and occurrence.leg in known.legs:
            legs = list(known.legs)
            legs.remove(occurrence.leg)
            if legs or (user == self._owner.user and self._owner.holds_license):
                return replace(standing, candidates=(*others, replace(known, legs=tuple(legs))))
            ended = replace(known.claim, ended=at)
            return replace(standing, candidates=others, claims=(*standing.claims, ended))
        return standing

    def _is_gateway(self, policy: Policy) -> bool:
        return policy.rules[0].applies(Situation(call_type=self._setting.call_type)) is not None

    def _decided(self, policy: Policy, standing: Standing, occurrence: Occurrence) -> Standing:
        """Return the standing after the rules were asked."""
        at, before = occurrence.at, standing.license
        served = [c for c in standing.candidates if c.claim.granted is not None]
        members = sorted((c for c in served if not c.is_owner), key=lambda c: (c.joined, c.user))
        situation = Situation(
            call_type=self._setting.call_type,
            owner=self._owner.user,
            owner_holds_license=self._owner.holds_license,
            members=tuple(Member(c.user, c.legs[0], c.joined) for c in members),
            owner_can_pay=any(c.user == self._owner.user for c in served),
            recorded=any(count.recordings or count.streamings for count in self._calls.values()),
        )
        rule, charge = policy.decide(situation)
        after = License(charge.type, charge.holder, charge.sixths, rule.id, at, charge.reason)
        if charge.holder is not None:
            paying = next(c for c in served if c.user == charge.holder)
            ended = [replace(c.claim, ended=at) for c in standing.candidates if c is not paying]
            standing = replace(standing, candidates=(), claims=(*standing.claims, *ended, paying.claim))
        if before is not None and after.same_charge(before):
            return replace(standing, license=replace(after, since=before.since))
        leg, user = (occurrence.leg or None), occurrence.identity.user
        cause = Cause.FIRST_PARTICIPANT if before is None else _cause(occurrence)
        transition = Transition(at, before, after, cause, rule.id, leg, user, charge.reason)
        return replace(standing, license=after, transitions=(*standing.transitions, transition))

    def _released(self, standing: Standing, occurrence: Occurrence) -> Standing:
        """Return the standing of a meeting that nobody is in any more."""
        before = standing.license
        user = occurrence.identity.user
        if occurrence.call_ended:
            cause, reason = Cause.CALL_ENDED, "the call ended"
        else:
            held = before is not None and user is not None and before.holder == user
            cause = Cause.MEMBER_LEFT if held else Cause.PARTICIPANT_LEFT
            reason = f"the last participant left (leg {occurrence.leg})"
        transition = Transition(occurrence.at, before, None, cause, None, occurrence.leg or None, user, reason)
        standing = _without_claims(standing, occurrence.at)
        return replace(standing, license=None, transitions=(*standing.transitions, transition))


def _without_claims(standing: Standing, at: OrderKey) -> Standing:
    """Return the standing with every open claim ended; one that was served and given up at once tells nothing."""
    claims = (claim if claim.ended else replace(claim, ended=at) for claim in standing.all_claims)
    told = tuple(claim for claim in claims if claim.granted is None or claim.granted != claim.ended)
    return replace(standing, candidates=(), claims=told)


def _cause(occurrence: Occurrence) -> Cause:
    if occurrence.kind is Kind.LEFT:
        return Cause.CALL_ENDED if occurrence.call_ended else Cause.MEMBER_LEFT
    return _CAUSES[occurrence.kind]
