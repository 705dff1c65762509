"""A meeting as somebody describes it to ask which license it would take; what cannot be is refused by its key.

Every key but `steps` may be left out. A step does one thing: somebody joins or leaves, recording, streaming or video
begins or ends, or the call ends.
"""

from collections.abc import Iterable
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from cdr_service.domain.addresses import normalize_address
from cdr_service.domain.text import misfit

STEPS_MAX: Final = 100
"""So that one question never keeps the service from its work for long."""

CallType = Literal["coSpace", "adHoc", "lyncConferencing", "forwarding"]
LyncMode = Literal["gateway", "dualHomeCluster", "dualHomeCallBridge"]


class DescriptionError(ValueError):
    """A description cannot be understood. The message is one sentence that names the key and says what to change."""

    def __init__(self, key: str, sentence: str) -> None:
        """`key` is where it is wrong, such as `steps[2].join`; empty where the whole is."""
        super().__init__(f"{key} {sentence}" if key else sentence)
        self.key = key


class Step(Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that happens: one of join, leave, record, stream, video (without join) and end."""

    join: str | UnsetType | None = UNSET
    """Who joins: a user's address, another address or a number; null is somebody unknown."""
    leave: str | UnsetType | None = UNSET
    """Who leaves, as named on joining."""
    record: bool | UnsetType = UNSET
    """Recording begins, or ends."""
    stream: bool | UnsetType = UNSET
    """Streaming begins, or ends."""
    video: bool | UnsetType = UNSET
    """With `join`: does that one use video? Yes, unless said. Alone: all who are in do so from now on, or nobody."""
    end: bool | UnsetType = UNSET
    """The call ends; always true, and the last step."""
    guest: bool | UnsetType = UNSET
    """With `join`: as a guest rather than signed in?"""
    bridge: str | UnsetType = UNSET
    """With `join`: on which Call Bridge of the cluster; any name."""

    @property
    def does(self) -> str:
        """What happens; empty where that is not just one thing."""
        done = [name for name in ("join", "leave", "record", "stream", "video", "end") if self.says(name)]
        if done == ["join", "video"]:
            return "join"
        return done[0] if len(done) == 1 else ""

    def says(self, name: str) -> bool:
        """Was this key given?"""
        return getattr(self, name) is not UNSET

    @property
    def who(self) -> str | None:
        """Who joins or leaves, in the one spelling of an address; None for somebody unknown."""
        named = self.leave if self.says("leave") else self.join
        return normalize_address(named) if isinstance(named, str) else None


class Description(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A described meeting."""

    steps: Annotated[list[Step], Meta(min_length=1, max_length=STEPS_MAX)]
    """What happens, in order."""
    call_type: CallType = "coSpace"
    owner: str | None = None
    """The user who owns the space."""
    initiator: str | None = None
    """The user who escalated an ad hoc conference in CUCM."""
    scheduler: str | None = None
    """The user whom TMS hands over as the owner of a scheduled conference."""
    holders: list[str] | None = None
    """Who holds PMP+; left out: those whom the deployment knows."""
    members: list[str] | None = None
    """Members of the space, where only these may pay."""
    lync_mode: LyncMode | None = None
    """lyncConferenceMode of the call profile."""
    release: Annotated[str, Meta(pattern=r"^[0-9]+(\.[0-9]+)*")] | None = None
    """The release of the Meeting Server, such as 2.9; left out: not known."""
    deployment: str | None = None
    """Whose users, spaces and settings count; left out: the first."""


def read_description(data: object) -> Description:
    """Return the description that a decoded JSON or TOML document holds. Raises DescriptionError."""
    try:
        description = msgspec.convert(data, Description)
    except msgspec.ValidationError as problem:
        key, what = misfit(problem)
        raise DescriptionError(key, f"cannot be read: {what}." if key else f"{what}.") from None
    check(description)
    return description


def check(description: Description) -> None:
    """Refuse what cannot be. Raises DescriptionError."""
    named = {name: getattr(description, name) for name in ("owner", "initiator", "scheduler")}
    for name in ("holders", "members"):
        named |= {f"{name}[{number}]": user for number, user in enumerate(getattr(description, name) or ())}
    for key, user in named.items():
        if user is not None and "@" not in (normalize_address(user) or ""):
            raise DescriptionError(key, "must be a user's own address such as alice@example.com.")
    _check_steps(description.steps)


def _check_steps(steps: Iterable[Step]) -> None:
    """Refuse a step that does nothing or several things, who leaves without being in, and what comes after the end."""
    inside: list[str | None] = []
    ended = False
    for number, step in enumerate(steps):
        key = f"steps[{number}]"
        if not step.does:
            raise DescriptionError(key, "must do one thing: join, leave, record, stream, video or end.")
        if ended:
            raise DescriptionError(key, "comes after the end of the call; make the end the last step.")
        if step.does != "join" and (step.says("guest") or step.says("bridge")):
            raise DescriptionError(key, "may name guest and bridge only beside join.")
        if step.does == "end" and not step.end:
            raise DescriptionError(f"{key}.end", "must be true; leave the step out where the call goes on.")
        ended = step.does == "end"
        if step.does in ("join", "leave"):
            _check_person(f"{key}.{step.does}", step, inside)


def _check_person(key: str, step: Step, inside: list[str | None]) -> None:
    named = step.join if step.does == "join" else step.leave
    if named is not None and step.who is None:
        raise DescriptionError(
            key, "must be an address such as bob@example.com, a number, or null for somebody unknown."
        )
    if step.does == "join":
        inside.append(step.who)
    elif step.who in inside:
        inside.remove(step.who)
    else:
        who = f'"{named}"' if named else "somebody unknown"
        raise DescriptionError(key, f"names {who}, who is not in the meeting at this step.")
