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
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from cdr_service.domain.causes import Scene, cause_of, was_learned_late
from cdr_service.domain.headcount import Headcount
from cdr_service.domain.identity import Identity
from cdr_service.domain.licensing import PERSONAL, SHARED, License, Member, Policy, Situation
from cdr_service.domain.options import Options
from cdr_service.domain.policies import POLICIES, decide, in_force, no_payer
from cdr_service.domain.records import OrderKey
from cdr_service.domain.slots import Claim
from cdr_service.domain.spaces import Circumstances
from cdr_service.domain.timeline import (
    Candidate,
    Cause,
    Kind,
    Occurrence,
    Standing,
    Timeline,
    Transition,
    slot_freed,
)
from cdr_service.domain.weights import shape_of


class SlotsView(Protocol):
    """What the fold asks about holders who pay several meetings."""

    def grant(self, policy: str, claim: Claim, before: tuple[Claim, ...]) -> OrderKey | None:
        """Return from when on the claim is served, given the earlier ones of the meeting; None while it waits."""
        ...


class Setting(NamedTuple):
    """What a fold starts from besides the timeline."""

    call_type: str | None = None
    known: Circumstances = Circumstances()
    """What is known beside the records; later knowledge is an occurrence."""
    options: Options = Options()
    policies: Mapping[str, Policy] = POLICIES


class Fold:
    """Folds occurrences into a timeline. Use once: construct, `run`, read `timeline`."""

    def __init__(self, start: Timeline, setting: Setting, slots: SlotsView, *, whole: bool) -> None:
        self._setting = setting
        self._options = setting.options
        self._slots = slots
        self._count = Headcount(start, whole=whole)
        self._horizon = start.horizon
        self._queue: list[Occurrence] = []
        self._standings = {name: start.standings.get(name, Standing()) for name in setting.policies}
        self._undo = start.undo
        self._now = self._scene(setting.known)
        self._before = self._now

    @property
    def timeline(self) -> Timeline:
        """The result so far."""
        return Timeline(
            self._horizon,
            self._count.participants,
            self._count.peak,
            dict(self._count.calls),
            dict(self._standings),
            self._count.attendance,
            undo=self._undo,
        )

    def run(self, occurrences: Iterable[Occurrence]) -> Timeline:
        """Fold all occurrences; raise NeedsWholeMeeting where the stored result does not suffice."""
        self._queue = sorted(occurrences)
        while self._queue:
            self._undo = None
            if len(self._queue) == 1 and self._queue[0].kind is Kind.JOINED:
                self._undo = self.timeline
            record = list(self._next_record())
            self._count.take(record)
            learned = [occurrence.circumstances for occurrence in record if occurrence.kind is Kind.LEARNED]
            self._before, self._now = self._now, self._scene(learned[-1] if learned else self._now.known)
            for occurrence in record:
                for policy in self._setting.policies.values():
                    self._consider(policy, occurrence)
        return self.timeline

    def _scene(self, known: Circumstances) -> Scene:
        shape = shape_of(self._setting.call_type, known, self._options)
        return Scene(known, shape, self._count.gathering)

    def _next_record(self) -> Iterator[Occurrence]:
        """Take from the queue what the next record causes."""
        self._horizon = max(self._horizon, self._queue[0].at)
        at = self._queue[0].at
        while self._queue and self._queue[0].at == at:
            yield heapq.heappop(self._queue)

    def _rules(self, policy: Policy) -> Policy:
        return in_force(policy, self._now.known, self._options)

    @property
    def _owner(self) -> Identity:
        return self._now.known.space.owner

    @property
    def _payable(self) -> bool:
        """May a PMP+ pay a meeting of this kind?"""
        return not no_payer(self._now.shape, self._options)

    def _pays_as_member(self, policy: Policy, identity: Identity) -> bool:
        """May the license of somebody who is in pay? Open is whether a member of the space is meant (join_scope)."""
        if identity.user is None or not (identity.holds_license and self._payable and self._rules(policy).members_pay):
            return False
        return self._options.join_scope == "any_participant" or identity.user in (self._now.known.space.members or ())

    def _consider(self, policy: Policy, occurrence: Occurrence) -> None:
        """Decide under one policy what the occurrence changes."""
        standing, at = self._standings[policy.id], occurrence.at
        if occurrence.kind is Kind.SLOT_FREED and occurrence.policy != policy.id:
            return
        if occurrence.kind in (Kind.JOINED, Kind.LEFT) and not occurrence.presence:
            return
        if not self._count.occupied:
            if standing.license is not None:
                self._standings[policy.id] = self._released(standing, occurrence)
            return
        paying = standing.license
        if paying is not None and paying.type == PERSONAL:
            if not self._is_open_again(policy, paying, occurrence):
                return
            if occurrence.kind is Kind.JOINED:
                standing = _with_payer_as_candidate(standing, paying)
            standing = self._reopened(policy, standing, at)
        elif occurrence.kind in (Kind.LEARNED, Kind.IDENTIFIED):
            standing = self._reopened(policy, standing, at)
        else:
            standing = self._with_joined_or_left(policy, standing, occurrence)
        standing = self._with_owner(policy, standing, at)
        self._standings[policy.id] = self._decided(policy, standing, occurrence)

    def _is_open_again(self, policy: Policy, paying: License, occurrence: Occurrence) -> bool:
        """Return whether a meeting that a PMP+ pays has to be decided anew. It stays, unless a setting says no.

        Source: no document says that it reverts; "has joined" reads as sticky (setting join_sticky).
        """
        holder, identity = paying.holder, occurrence.identity
        if occurrence.kind in (Kind.IDENTIFIED, Kind.LEARNED):
            return self._rules_changed(policy) or not (self._payable and self._still_holds(holder))
        if occurrence.kind is Kind.JOINED:
            overrides = self._options.join_overrides_owner and paying.rule != "member-joined"
            return overrides and identity.user != holder and self._pays_as_member(policy, identity)
        if self._options.join_sticky or occurrence.kind is not Kind.LEFT or paying.rule != "member-joined":
            return False
        holders = (person.holder() for person in self._count.everybody.values())
        return identity.user == holder and all(other is None or other.user != holder for other in holders)

    def _rules_changed(self, policy: Policy) -> bool:
        """Did what was learned of the server's release change the rule set?"""
        return in_force(policy, self._before.known, self._options) is not self._rules(policy)

    def _still_holds(self, holder: str | None) -> bool:
        """Is nothing known that speaks against the holder's license? Who left keeps what was known."""
        known = [i for p in self._count.everybody.values() for i in p.legs.values() if i.user == holder]
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
        wanted: dict[str, Candidate] = {}
        if self._payable and self._owner.holds_license and self._owner.user in waiting:
            wanted[self._owner.user] = Candidate(self._owner.user, (), at, waiting[self._owner.user])
        for person in self._count.everybody.values():
            holder = person.holder()
            if holder is None or holder.user is None or not self._pays_as_member(policy, holder):
                continue
            known = wanted.get(holder.user) or Candidate(holder.user, (), person.joined, Claim(holder.user, at))
            legs = tuple(leg for (_, leg), identity in person.legs.items() if identity.user == holder.user)
            joined = person.joined if known.is_owner else min(known.joined, person.joined)
            wanted[holder.user] = replace(known, legs=(*known.legs, *legs), joined=joined, sure=holder.sure)
        gone = tuple(c for c in standing.candidates if c.user not in wanted)
        standing = _without_claims(replace(standing, candidates=gone), at)
        candidates: list[Candidate] = []
        for candidate in sorted(wanted.values(), key=lambda c: (c.is_owner, c.joined, c.user)):
            claim = waiting.get(candidate.user)
            if claim is None and not any(c.claim.granted for c in candidates):
                claim = self._claim(policy, standing, candidate.user, at)
            if claim is not None:
                candidates.append(replace(candidate, claim=claim))
        return replace(standing, candidates=tuple(candidates))

    def _with_owner(self, policy: Policy, standing: Standing, at: OrderKey) -> Standing:
        """Add the owner to those who could pay, where no member can."""
        owner = self._owner
        if owner.user is None or not owner.holds_license or not self._payable:
            return standing
        if any(c.claim.granted or c.user == owner.user for c in standing.candidates):
            return standing
        candidate = Candidate(owner.user, (), at, self._claim(policy, standing, owner.user, at))
        return replace(standing, candidates=(*standing.candidates, candidate))

    def _with_joined_or_left(self, policy: Policy, standing: Standing, occurrence: Occurrence) -> Standing:
        """Return the standing of an unpaid meeting after somebody joined or left, or a slot became free."""
        identity, at = occurrence.identity, occurrence.at
        if occurrence.kind is Kind.SLOT_FREED:
            candidates = tuple(
                replace(c, claim=replace(c.claim, granted=at))
                if c.user == identity.user and self._granted(policy, standing, c.claim) == at
                else c
                for c in standing.candidates
            )
            return replace(standing, candidates=candidates)
        if identity.user is None or not occurrence.presence or not self._pays_as_member(policy, identity):
            return standing
        if occurrence.kind is Kind.JOINED:
            return self._with_member(policy, standing, occurrence, identity.user)
        if occurrence.kind is Kind.LEFT:
            return self._without_member(standing, occurrence, identity.user)
        return standing

    def _with_member(self, policy: Policy, standing: Standing, occurrence: Occurrence, user: str) -> Standing:
        """Return the standing with somebody who joined among those who could pay."""
        at = occurrence.at
        known = next((c for c in standing.candidates if c.user == user), None)
        others = tuple(c for c in standing.candidates if c is not known)
        sure = occurrence.identity.sure
        if known is None:
            known = Candidate(user, (occurrence.leg,), at, self._claim(policy, standing, user, at), sure)
        else:
            joined = at if known.is_owner else known.joined
            known = Candidate(user, (*known.legs, occurrence.leg), joined, known.claim, sure)
        return replace(standing, candidates=(*others, known))

    def _without_member(self, standing: Standing, occurrence: Occurrence, user: str) -> Standing:
        """Return the standing without the leg of somebody who left among those who could pay."""
        known = next((c for c in standing.candidates if c.user == user), None)
        if known is None or occurrence.leg not in known.legs:
            return standing
        others = tuple(c for c in standing.candidates if c is not known)
        legs = list(known.legs)
        legs.remove(occurrence.leg)
        if legs or (user == self._owner.user and self._owner.holds_license):
            return replace(standing, candidates=(*others, replace(known, legs=tuple(legs))))
        ended = replace(known.claim, ended=occurrence.at)
        return replace(standing, candidates=others, claims=(*standing.claims, ended))

    def _situation(self, standing: Standing, occurrence: Occurrence) -> Situation:
        served = [c for c in standing.candidates if c.claim.granted is not None]
        members = sorted((c for c in served if not c.is_owner), key=lambda c: (c.joined, c.user))
        waiting = sorted(c.user for c in standing.candidates if c.claim.granted is None and not c.is_owner)
        return Situation(
            shape=self._now.shape,
            known=self._now.known,
            members=tuple(Member(c.user, c.legs[0], c.joined, c.sure) for c in members),
            waiting=tuple(waiting),
            owner_can_pay=any(c.user == self._owner.user for c in served),
            freed=occurrence.identity.user if occurrence.kind is Kind.SLOT_FREED else None,
            everybody_known=self._count.attendance.unsure == 0,
            gathering=self._now.gathering,
            options=self._options,
        )

    def _decided(self, policy: Policy, standing: Standing, occurrence: Occurrence) -> Standing:
        """Return the standing after the rules were asked."""
        at, before = occurrence.at, standing.license
        rule, charge = decide(policy, self._situation(standing, occurrence))
        if charge.holder is not None:
            paying = next(c for c in standing.candidates if c.user == charge.holder and c.claim.granted)
            ended = [replace(c.claim, ended=at) for c in standing.candidates if c is not paying]
            standing = replace(standing, candidates=(), claims=(*standing.claims, *ended, paying.claim))
        sixths = charge.sixths
        if before is not None and self._keeps_its_weight(before, charge.type, occurrence):
            sixths = max(before.sixths, sixths)
        after = License(charge.type, charge.holder, sixths, rule.id, at, charge.reason, charge.status)
        if before is not None and after.same_charge(before):
            return replace(standing, license=replace(after, since=before.since))
        leg, user = (occurrence.leg or None), occurrence.identity.user
        cause = Cause.FIRST_PARTICIPANT
        if before is not None:
            rules_changed = self._rules_changed(policy)
            cause = cause_of(occurrence, (self._before, self._now), (before, after), rules_changed=rules_changed)
        transition = Transition(at, before, after, cause, rule.id, leg, user, charge.reason)
        return replace(standing, license=after, transitions=(*standing.transitions, transition))

    def _keeps_its_weight(self, before: License, after: str, occurrence: Occurrence) -> bool:
        """May the weight not fall? Open is whether the server lowers it (setting weight_drops_back)."""
        shared = before.type == after == SHARED
        return shared and not (self._options.weight_drops_back or was_learned_late(occurrence))

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


def _with_payer_as_candidate(standing: Standing, paying: License) -> Standing:
    """Return the standing as if nobody paid yet, in which who pays may go on with the place that it has."""
    claim = next(claim for claim in standing.claims if claim.holder == paying.holder and claim.ended is None)
    claims = tuple(other for other in standing.claims if other is not claim)
    return replace(standing, claims=claims, candidates=(Candidate(claim.holder, (), claim.wanted, claim),))


def _without_claims(standing: Standing, at: OrderKey) -> Standing:
    """Return the standing with every open claim ended; one that was served and given up at once tells nothing."""
    claims = (claim if claim.ended else replace(claim, ended=at) for claim in standing.all_claims)
    told = tuple(claim for claim in claims if claim.granted is None or claim.granted != claim.ended)
    return replace(standing, candidates=(), claims=told)
