"""What was set aside last, so that it is known again where nothing in it tells it apart.

A record is known by its number. What is no CDR document, or has no number, is told apart by its content, and only from
the latest: it comes again soon or never, namely where our answer to it was lost.
"""

from hashlib import blake2b
from typing import Final

from msgspec import Struct

REMEMBERED: Final = 256
"""So many are remembered: four kilobytes of digests."""

RECENT: Final = ("recent", "letters")
"""The key of the one that there is."""


class Recent(Struct, frozen=True, array_like=True, gc=False):
    """Digests of what was set aside last, the newest at the end."""

    digests: tuple[bytes, ...] = ()

    def has(self, digest: bytes) -> bool:
        """Was it set aside lately?"""
        return digest in self.digests

    def with_digest(self, digest: bytes) -> "Recent":
        """Return what is remembered with one more."""
        return Recent((*self.digests, digest)[-REMEMBERED:])


def digest_of(kind: str, *content: bytes) -> bytes:
    """Return what tells apart what is set aside; the kind is part of it."""
    return blake2b(b"\0".join((kind.encode(), *content)), digest_size=16).digest()
