"""What would have changed a described meeting's license: it is played again, each time with one thing otherwise.

Nothing here knows a rule. A variation is told where playing it gives another license, and only there.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from msgspec import UNSET
from msgspec.structs import replace

from cdr_service.domain.description import Description, Step
from cdr_service.domain.directory import Directory
from cdr_service.domain.licensing import License
from cdr_service.domain.rehearsal import Moment, Play, own_address, rehearse, release_of, user_of
from cdr_service.domain.spaces import dotted

SOMEBODY: Final = "somebody@invalid"
"""Stands for a user whom the description does not name; the domain is nobody's (RFC 2606)."""

PEOPLE_MAX: Final = 20
"""Of how many people it is asked what their license would change."""

_BEFORE_ALL: Final = "0"
"""A release before every limit."""
_SETTINGS: Final = (
    "join_sticky",
    "join_overrides_owner",
    "temporary_space_is_permanent",
    "recording_lifts_audio_only",
    "weight_drops_back",
    "gateway_has_payer",
)
"""Settings that are yes or no, and that a described meeting can turn on."""


class Variation(NamedTuple):
    """One thing that could be otherwise."""

    text: str
    """The condition of a sentence: "If bob@example.com held PMP+"."""
    play: Play
    stands_for: str = ""
    """How to name SOMEBODY in what would follow."""


def would_change(play: Play, moments: Sequence[Moment], directory: Directory, start: int) -> list[list[str]]:
    """Return for each step the sentences that tell what else the license would be, and if what."""
    told: list[list[str]] = [[] for _ in moments]
    for variation in variations(play, directory):
        for sentences, was, now in zip(told, moments, rehearse(variation.play, directory, start), strict=True):
            changed = _changed(was.licenses, now.licenses, variation.stands_for)
            if changed:
                sentences.append(f"{variation.text}: {changed}.")
    return told


def variations(play: Play, directory: Directory) -> Iterator[Variation]:
    """Yield everything that is tried."""
    yield from _who_holds(play, directory)
    yield from _who_owns(play, directory)
    yield from _what_happens(play)
    yield from _server(play)
    yield from _settings(play)


def _changed(was: Mapping[str, License | None], now: Mapping[str, License | None], stands_for: str) -> str:
    """Return the licenses that are others, with the policies under which they are."""
    policies: dict[str, list[str]] = {}
    for policy, license_now in now.items():
        before = was[policy]
        if before is None:
            continue  # nobody is in: no input decided that
        if license_now is None or not license_now.same_charge(before):
            policies.setdefault(license_text(license_now, stands_for), []).append(f"`{policy}`")
    return ", ".join(f"{text} under {' and '.join(names)}" for text, names in policies.items())


def license_text(license_now: License | None, stands_for: str = "") -> str:
    """Return a license in words; `stands_for` names SOMEBODY."""
    if license_now is None:
        return "no license"
    if license_now.holder is None:
        return license_now.type if license_now.weight == "1" else f"{license_now.weight} {license_now.type}"
    return f"{license_now.type} of {stands_for if license_now.holder == SOMEBODY else license_now.holder}"


def _who_holds(play: Play, directory: Directory) -> Iterator[Variation]:
    description = play.description
    joined = [user_of(step.who, directory) for step in _steps(play) if step.does == "join" and step.guest is not True]
    named = [own_address(user) for user in (description.owner, description.initiator, description.scheduler)]
    for user in list(dict.fromkeys(user for user in (*named, *joined) if user is not None))[:PEOPLE_MAX]:
        if play.holds(user):
            yield Variation(f"If {user} held no PMP+", play._replace(holders=play.holders - {user}))
        else:
            yield Variation(f"If {user} held PMP+", play._replace(holders=play.holders | {user}))
    if any(step.does == "join" and step.who is None for step in _steps(play)):
        matched = _with_steps(play, _known_by_name)
        yield Variation(
            "If somebody unknown were matched to a user who holds PMP+",
            matched._replace(holders=play.holders | {SOMEBODY}),
            "that user",
        )


def _known_by_name(step: Step) -> Step:
    if step.does == "join" and step.join is None:
        return replace(step, join=SOMEBODY)
    return replace(step, leave=SOMEBODY) if step.does == "leave" and step.leave is None else step


def _who_owns(play: Play, directory: Directory) -> Iterator[Variation]:
    owner = own_address(play.description.owner)
    if owner is None:
        owned = _described(play, owner=SOMEBODY)
        holders = play.holders | {SOMEBODY}
        yield Variation("If the space had an owner who holds PMP+", owned._replace(holders=holders), "the owner")
    else:
        yield Variation("If the space had no owner", _described(play, owner=None))
    joined = [user_of(step.who, directory) for step in _steps(play) if step.does == "join" and step.guest is not True]
    for user in list(dict.fromkeys(user for user in joined if user is not None and play.holds(user)))[:PEOPLE_MAX]:
        if user != owner:
            yield Variation(f"If {user} owned the space", _described(play, owner=user))


def _what_happens(play: Play) -> Iterator[Variation]:
    steps = list(_steps(play))
    uses_video = any(step.does == "join" and step.video is not False for step in steps)
    text = "If nobody used video" if uses_video else "If video were used"
    yield Variation(text, _with_steps(play, lambda step: _with_video(step, not uses_video)))
    if any(step.does in ("record", "stream") for step in steps):
        silent = _with_steps(play, lambda step: Step() if step.does in ("record", "stream") else step)
        yield Variation("If it were neither recorded nor streamed", silent)
    else:
        yield Variation("If it were recorded", _with_first(play, Step(record=True)))
    yield Variation("If one more person were in", _with_first(play, Step(join=None, video=uses_video)))


def _with_video(step: Step, used: bool) -> Step:
    if step.does == "video":
        return Step()
    return replace(step, video=UNSET if used else False) if step.does == "join" else step


def _server(play: Play) -> Iterator[Variation]:
    """Yield other releases and, for Lync, other call profiles."""
    told, release = play.description, release_of(play.description)
    for limit in dict.fromkeys((play.options.sixths_from_release, play.options.policy_changeover)):
        if release is None or release >= limit:
            text = f"If the Meeting Server ran a release before {dotted(limit)}"
            yield Variation(text, _described(play, release=_BEFORE_ALL))
        else:
            yield Variation(f"If the Meeting Server ran {dotted(limit)}", _described(play, release=dotted(limit)))
    if told.call_type == "lyncConferencing":
        for mode in ("gateway", "dualHomeCluster", "dualHomeCallBridge"):
            if mode != told.lync_mode:
                yield Variation(f"If lyncConferenceMode were {mode}", _described(play, lync_mode=mode))


def _settings(play: Play) -> Iterator[Variation]:
    """Yield what nobody has documented (section 8 of `docs/licensing.md`), set otherwise."""
    options = play.options
    for name in _SETTINGS:
        other: Any = not getattr(options, name)
        text = f"With CDR_LICENSING_{name.upper()}={str(other).lower()}"
        yield Variation(text, play._replace(options=options._replace(**{name: other})))


def _steps(play: Play) -> Iterable[Step]:
    return (step for deeds in play.deeds for step in deeds)


def _with_steps(play: Play, change: Callable[[Step], Step]) -> Play:
    return play._replace(deeds=tuple(tuple(change(step) for step in deeds) for deeds in play.deeds))


def _with_first(play: Play, step: Step) -> Play:
    """Return the play in which something more is done at the first step."""
    first, *others = play.deeds
    return play._replace(deeds=((*first, step), *others))


def _described(play: Play, **fields: object) -> Play:
    described: Description = replace(play.description, **fields)
    return play._replace(description=described)
