"""Pages of lists that change while they are read: places in a listing, and the cursors that remember them.

A cursor names the last entry that was given by its place and id, not by a count, so entries that come and go before it
move nothing. What comes after it is found even where that entry is gone.
"""

import base64
import binascii
from enum import StrEnum
from typing import Generic, NamedTuple, Self, TypeVar

import msgspec
from msgspec import Struct

T = TypeVar("T")


class Listing(StrEnum):
    """An ordered list of a deployment."""

    LIVE = "live"
    """Ids of live calls by start."""
    ENDED = "ended"
    """Ids of ended calls by end."""
    SWITCHES = "switches"
    """Changes from one license to another by time."""
    LEGS = "legs"
    """Ids of the legs of one call by start."""
    USAGE = "usage"
    """The deployments, as they are set."""
    REPORT = "report"
    """The rows of a report by rank."""
    HISTORY = "history"
    """Steps of the history by start."""
    BRIDGES = "bridges"
    """Call Bridges by deployment and id."""
    PAST = "past"
    """What the Meeting Server says was in use, by time."""
    POLICIES = "policies"
    """The policies by id."""


class Place(NamedTuple):
    """Where an entry stands in a listing. Newest first means the largest first."""

    time: int
    """Milliseconds since 1970 UTC."""
    id: str


class Page(Struct, Generic[T], frozen=True):
    """A part of a list."""

    items: list[T]
    next: str | None = None
    """The cursor that gives what follows; null at the end of the list."""


class Cursor(Struct, frozen=True, array_like=True):
    """How far a list was given."""

    listing: Listing
    place: Place
    deployment: str
    given: int = 0
    """How many items of the entry at that place were given."""

    def encode(self) -> str:
        """Return the cursor as text that may stand in a URL."""
        return base64.urlsafe_b64encode(msgspec.msgpack.encode(self)).rstrip(b"=").decode()

    @classmethod
    def decode(cls, text: str) -> Self:
        """Return the cursor that `encode` gave. Raises ValueError for anything else."""
        padded = text + "=" * (-len(text) % 4)
        try:
            return msgspec.msgpack.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=cls)
        except (binascii.Error, msgspec.DecodeError, UnicodeError) as error:
            raise ValueError("no cursor") from error
