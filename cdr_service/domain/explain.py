"""Explains which license a described meeting would take after each of its steps, under each policy, and why."""

from collections.abc import Iterator
from typing import Final

from msgspec import Struct
from msgspec.structs import asdict

from cdr_service.domain.description import Description, Step
from cdr_service.domain.directory import Directory
from cdr_service.domain.licensing import PERSONAL, SHARED, License
from cdr_service.domain.options import Options
from cdr_service.domain.policies import in_force, policies_of
from cdr_service.domain.rehearsal import Moment, Person, Play, own_address, rehearse, release_of
from cdr_service.domain.showing import license_view
from cdr_service.domain.spaces import Circumstances
from cdr_service.domain.variations import would_change
from cdr_service.domain.views import LicenseView

_NAMED_MAX: Final = 5
"""How many people a sentence names."""


class ExplainedLicense(LicenseView, frozen=True):
    """The license after a step, and where its rule comes from."""

    source: str
    """Where the rule is documented."""
    confidence: str
    """How sure it is that the rule is as stated."""


class ExplainedStep(Struct, frozen=True):
    """What a step makes of the license."""

    step: Step
    licenses: dict[str, ExplainedLicense | None]
    """By policy; null while nobody is in."""
    inputs: list[str]
    """What decided."""
    would_change: list[str]
    """What would have given another license, and which."""


class Explained(Struct, frozen=True):
    """The answer to a described meeting."""

    policy: str
    """The one that decides in this deployment."""
    items: list[ExplainedStep]
    """One for each step."""


def explain(description: Description, directory: Directory, options: Options, start: int) -> Explained:
    """Explain a described meeting that begins at `start` (milliseconds since 1970 UTC)."""
    play = Play(description, tuple((step,) for step in description.steps), _holders(description, directory), options)
    moments = rehearse(play, directory, start)
    changes = would_change(play, moments, directory, start)
    return Explained(
        options.policy,
        [
            ExplainedStep(step, _shown(play, moment), list(_inputs(play, moments, number)), changes[number])
            for number, (step, moment) in enumerate(zip(description.steps, moments, strict=True))
        ],
    )


def _holders(description: Description, directory: Directory) -> frozenset[str]:
    if description.holders is None:
        return frozenset(user.address for user in directory.users.values() if user.holds_license)
    return frozenset(filter(None, map(own_address, description.holders)))


def _shown(play: Play, moment: Moment) -> dict[str, ExplainedLicense | None]:
    return {id_: _explained(play, id_, license_now) for id_, license_now in moment.licenses.items()}


def _explained(play: Play, policy: str, license_now: License | None) -> ExplainedLicense | None:
    view = license_view(license_now, policy)
    if view is None:
        return None
    known = Circumstances(release=release_of(play.description))
    rules = in_force(policies_of(play.options)[policy], known, play.options).rules
    rule = next(rule for rule in rules if rule.id == view.rule)
    return ExplainedLicense(**asdict(view), source=rule.source, confidence=rule.confidence)


def _inputs(play: Play, moments: list[Moment], number: int) -> Iterator[str]:
    """Yield what decided after a step, as sentences."""
    moment = moments[number]
    licenses = [license_now for license_now in moment.licenses.values() if license_now is not None]
    rules = {license_now.rule for license_now in licenses}
    if not licenses:
        yield "Nobody is in the meeting, so it takes no license."
        return
    yield from _about_the_call(play)
    if rules - {"gateway"}:
        yield from _owners(play)
        yield _holders_in(play, moment.people)
        yield from _payers_who_left(licenses, moment.people)
    if any(license_now.type == SHARED for license_now in licenses):
        yield _what_weighs(moment)


def _about_the_call(play: Play) -> Iterator[str]:
    told = play.description
    if told.call_type != "coSpace":
        mode = f" ({told.lync_mode or 'no call profile known'})" if told.call_type == "lyncConferencing" else ""
        yield f"The callType is {told.call_type}{mode}."
    if told.release is not None:
        yield f"The Meeting Server runs {told.release}."


def _owners(play: Play) -> Iterator[str]:
    told = play.description
    if told.owner is None and told.initiator is None and told.scheduler is None:
        yield "The space has no owner."
    for role, named in (
        ("The owner of the space is", told.owner),
        ("The conference was escalated in CUCM by", told.initiator),
        ("The conference was scheduled in TMS by", told.scheduler),
    ):
        user = own_address(named)
        if user is not None:
            yield f"{role} {user}, who holds {'' if play.holds(user) else 'no '}PMP+."


def _holders_in(play: Play, people: tuple[Person, ...]) -> str:
    holders = [person for person in people if play.holds(person.user)]
    if not holders:
        return f"Of those who are in ({_named(people)}), nobody holds PMP+."
    told = [f"{_name(person)}, in since step {person.joined}" for person in holders[:_NAMED_MAX]]
    more = f"; and {len(holders) - _NAMED_MAX} more" if len(holders) > _NAMED_MAX else ""
    return f"Who is in and holds PMP+: {'; '.join(told)}{more}."


def _named(people: tuple[Person, ...]) -> str:
    known = [_name(person) for person in people if person.user]
    unknown = len(people) - len(known)
    told = known[:_NAMED_MAX] + ([f"{len(known) - _NAMED_MAX} more"] if len(known) > _NAMED_MAX else [])
    return ", ".join([*told, *([f"{unknown} unknown or guest"] if unknown else [])])


def _name(person: Person) -> str:
    return f"{person.user} ({person.named})" if person.named and person.named != person.user else str(person.user)


def _payers_who_left(licenses: list[License], people: tuple[Person, ...]) -> Iterator[str]:
    inside = {person.user for person in people}
    gone = {one.holder for one in licenses if one.type == PERSONAL and one.rule == "member-joined"} - inside
    for holder in sorted(filter(None, gone)):
        yield f"{holder}, who pays, has left; a PMP+ that pays goes on paying (CDR_LICENSING_JOIN_STICKY)."


def _what_weighs(moment: Moment) -> str:
    count, calls = len(moment.people), len({person.call for person in moment.people})
    where = f" on {calls} Call Bridges" if calls > 1 else ""
    video = "video is used" if any(person.video for person in moment.people) else "nobody uses video"
    doings = [word for word, done in (("recorded", moment.recorded), ("streamed", moment.streamed)) if done]
    return (
        f"{count} {'person is' if count == 1 else 'people are'} in{where}; {video}; the meeting is "
        f"{' and '.join(doings) if doings else 'neither recorded nor streamed'}."
    )
