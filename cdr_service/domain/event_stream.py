"""The event stream as its readers see it: how far each has read, and which events it wants."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple, Self

import msgspec
from msgspec import Struct

from cdr_service.domain.events import EVENTS

RESET: Final = "reset"
"""The event that says that continuity was lost. Every reader gets it, whatever its filters."""

_ENTRY: Final = re.compile(r"(\d{1,20}-\d{1,20})(?::([0-9a-f]{8}))?", re.ASCII)
_TYPE: Final = re.compile(r"[a-z_]+(?:\.[a-z_]+)*(?:\.\*)?|\*", re.ASCII)


class Point(NamedTuple):
    """How far the stream of one deployment was read: its last entry, or the place where the stream was to begin."""

    entry: str
    check: str | None = None
    """Check of what the entry held. Entries are named by the store's clock, so after a failover the new master may
    give another entry the name of one that was lost. None where nothing was read yet."""

    def __str__(self) -> str:
        return f"{self.entry}:{self.check}" if self.check else self.entry

    @property
    def order(self) -> tuple[int, int]:
        """What sorts points as the stream does."""
        time, _, number = self.entry.partition("-")
        return int(time), int(number)


START: Final = Point("0-0")
"""Before the first entry."""

Points = Mapping[str, Point]
"""How far each deployment's stream was read."""


def encode_points(points: Points) -> str:
    """Return points as the text of an event id: `deployment=entry:check`, separated by commas."""
    return ",".join(f"{deployment}={point}" for deployment, point in points.items())


def decode_points(text: str) -> dict[str, Point]:
    """Return what `encode_points` was given. Raises ValueError for any other text."""
    points: dict[str, Point] = {}
    for part in text.split(","):
        deployment, equals, point = part.partition("=")
        found = _ENTRY.fullmatch(point)
        if not equals or found is None or deployment in points:
            raise ValueError("no event id")
        points[deployment] = Point(found[1], found[2])
    return points


class Told(Struct, frozen=True):
    """What filters look at in an event."""

    event: str
    call: str | None = None
    calls: tuple[str, ...] = ()


read_told: Final = msgspec.json.Decoder(Told).decode


class EventFilter(Struct, frozen=True):
    """Which events a reader wants."""

    types: tuple[str, ...] = ()
    """Names of events, or beginnings of such (`license.*`); none means all."""
    deployment: str | None = None
    call: str | None = None
    """In lower case."""

    @classmethod
    def of(cls, types: str | None, deployment: str | None, call: str | None) -> Self:
        """Return the filter of a query. Raises ValueError, with a sentence, where no event has one of the `types`."""
        names = tuple(sorted({name.strip() for name in types.split(",")})) if types is not None else ()
        for name in names:
            if not (_TYPE.fullmatch(name) and any(_is_of(event, name) for event in EVENTS)):
                known = ", ".join(sorted(EVENTS))
                raise ValueError(
                    f'No event is called "{name[:64]}"; there are {known}, and license.* for all of a kind.'
                )
        return cls(names, deployment, call.lower() if call is not None else None)

    def wants(self, deployment: str, told: Told) -> bool:
        """Is the event wanted?"""
        if self.deployment not in (None, deployment):
            return False
        if self.call is not None and self.call != told.call and self.call not in told.calls:
            return False
        return not self.types or any(_is_of(told.event, name) for name in self.types)


def _is_of(event: str, name: str) -> bool:
    return name == event or (name.endswith("*") and event.startswith(name[:-1]))
