"""The fold of a meeting: occurrences in, timeline out.

Theory of operation. A meeting's facts (stays of legs, recordings, what is known of its owner) become *occurrences*,
each at its place in the order (time, session, correlatorIndex). Folding them in that order gives who is in, the peaks,
and under each policy the license and every transition with its reason. Occurrences that come in order are folded onto
the stored result, at a cost that does not depend on the meeting's size. One that comes late makes the caller fold the
whole meeting again (`whole=True`), and so does a decision that needs everybody who is in. Both ways run this same
code, so they cannot disagree.
"""

import heapq
from collections.abc import Iterable, Mapping
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

    def grant(self, policy: str, claim: Claim) -> OrderKey | None:
        """Return from when on the claim is served; None while it waits."""
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
        self.legs: dict[str, Identity] = {}

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

    @property
    def timeline(self) -> Timeline:
        """The result so far."""
        return Timeline(self._horizon, self._participants, self._peak, self._calls, self._standings)

    def run(self, occurrences: Iterable[Occurrence]) -> Timeline:
        """Fold all occurrences; raise NeedsWholeMeeting where the stored result does not suffice."""
        self._queue = sorted(occurrences)
        while self._queue:
            occurrence = heapq.heappop(self._queue)
            self._count(occurrence)
            self._horizon = max(self._horizon, occurrence.at)
            for policy in self._setting.policies.values():
                self._consider(policy, occurrence)
        return self.timeline

    def _count(self, occurrence: Occurrence) -> None:
        """Keep the books of who is in and what is recorded."""
        call = self._calls.get(occurrence.call, CallCount())
        entered = {Kind.JOINED: 1, Kind.LEFT: -1}.get(occurrence.kind, 0)
        recordings = {Kind.RECORDING_STARTED: 1, Kind.RECORDING_STOPPED: -1}.get(occurrence.kind, 0)
        streamings = {Kind.STREAMING_STARTED: 1, Kind.STREAMING_STOPPED: -1}.get(occurrence.kind, 0)
        if not (entered or recordings or streamings):
            if occurrence.kind is Kind.OWNER_KNOWN:
                self._owner = occurrence.identity
            elif occurrence.kind is Kind.IDENTIFIED:
                self._everybody()[occurrence.presence].legs[occurrence.leg] = occurrence.identity
            return
        on_call = call.participants
        if entered and occurrence.presence:
            self._participants += self._change_of_presence(occurrence)
            on_call += entered
            self._peak = max(self._peak, self._participants)
        self._calls[occurrence.call] = CallCount(
            on_call,
            max(call.participants_peak, on_call),
            call.inside + entered,
            call.recordings + recordings,
            call.streamings + streamings,
            max(call.last, occurrence.at),
        )

    def _change_of_presence(self, occurrence: Occurrence) -> int:
        """Return by how much the number of people changes; two legs of one person count once."""
        if self._people is None:
            return 1 if occurrence.kind is Kind.JOINED else -1
        if occurrence.kind is Kind.JOINED:
            person = self._people.setdefault(occurrence.presence, _Person(occurrence.at))
            person.legs[occurrence.leg] = occurrence.identity
            return 1 if len(person.legs) == 1 else 0
        person = self._people[occurrence.presence]
        person.legs.pop(occurrence.leg, None)
        if person.legs:
            return 0
        del self._people[occurrence.presence]
        return -1

    def _everybody(self) -> dict[str, _Person]:
        if self._people is None:
            raise NeedsWholeMeeting
        return self._people

    def _consider(self, policy: Policy, occurrence: Occurrence) -> None:
        """Decide under one policy what the occurrence changes."""
        standing, at = self._standings[policy.id], occurrence.at
        if occurrence.kind is Kind.SLOT_FREED and occurrence.policy != policy.id:
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

    def _claim(self, policy: Policy, user: str, at: OrderKey) -> Claim:
        """Put in a claim on the user's license; a slot that is known to become free later is an occurrence then."""
        claim = Claim(user, at)
        granted = self._slots.grant(policy.id, claim)
        if granted is not None and granted > at:
            heapq.heappush(self._queue, slot_freed(policy.id, user, granted))
            return claim
        return replace(claim, granted=granted)

    def _reopened(self, policy: Policy, standing: Standing, at: OrderKey) -> Standing:
        """Return the standing with everybody who is in looked at anew; who waits keeps the place in the queue."""
        owner = self._owner.user if self._owner.holds_license else None
        waiting = {c.user: c for c in standing.candidates}
        members = {c.user: c for c in standing.candidates if c.is_owner and c.user == owner}
        for known_owner in members:
            del waiting[known_owner]
        for person in self._everybody().values():
            user = person.holder()
            if user is None or not policy.members_pay or self._is_gateway(policy):
                continue
            legs = tuple(leg for leg, identity in person.legs.items() if identity.user == user)
            known = members.get(user)
            if known:
                members[user] = replace(known, legs=(*known.legs, *legs), joined=min(known.joined, person.joined))
            else:
                claim = waiting.pop(user).claim if user in waiting else self._claim(policy, user, at)
                members[user] = Candidate(user, legs, person.joined, claim)
        gone = replace(standing, candidates=tuple(waiting.values()))
        return replace(_without_claims(gone, at), candidates=tuple(members.values()))

    def _with_owner(self, policy: Policy, standing: Standing, at: OrderKey) -> Standing:
        """Add the owner to those who could pay, where no member can."""
        owner = self._owner
        if owner.user is None or not owner.holds_license or self._is_gateway(policy):
            return standing
        if any(c.claim.granted or c.user == owner.user for c in standing.candidates):
            return standing
        candidate = Candidate(owner.user, (), at, self._claim(policy, owner.user, at))
        return replace(standing, candidates=(*standing.candidates, candidate))

    def _with_joined_or_left(self, policy: Policy, standing: Standing, occurrence: Occurrence) -> Standing:
        """Return the standing of an unpaid meeting after somebody joined or left, or a slot became free."""
        user, at = occurrence.identity.user, occurrence.at
        if occurrence.kind is Kind.SLOT_FREED:
            candidates = tuple(
                replace(c, claim=replace(c.claim, granted=at))
                if c.user == user and self._slots.grant(policy.id, c.claim) == at
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
                known = Candidate(user, (occurrence.leg,), at, self._claim(policy, user, at))
            else:
                joined = at if known.is_owner else known.joined
                known = Candidate(user, (*known.legs, occurrence.leg), joined, known.claim)
            return replace(standing, candidates=(*others, known))
        if occurrence.kind is Kind.LEFT and known is not None and occurrence.leg in known.legs:
            legs = tuple(leg for leg in known.legs if leg != occurrence.leg)
            if legs:
                return replace(standing, candidates=(*others, replace(known, legs=legs)))
            ended = replace(known.claim, ended=at)
            return self._with_owner(policy, replace(standing, candidates=others, claims=(*standing.claims, ended)), at)
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
            # A claim that was served but not used took no slot; one that never waited either tells nothing.
            ended = [
                replace(c.claim, granted=None, ended=at)
                for c in standing.candidates
                if c is not paying and c.claim.wanted < at
            ]
            standing = replace(standing, candidates=(), claims=(*standing.claims, *ended, paying.claim))
        if after.same_charge(before):
            return standing
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
    """Return the standing with every open claim ended."""
    claims = tuple(claim if claim.ended else replace(claim, ended=at) for claim in standing.all_claims)
    return replace(standing, candidates=(), claims=claims)


def _cause(occurrence: Occurrence) -> Cause:
    if occurrence.kind is Kind.LEFT:
        return Cause.CALL_ENDED if occurrence.call_ended else Cause.MEMBER_LEFT
    return _CAUSES[occurrence.kind]
