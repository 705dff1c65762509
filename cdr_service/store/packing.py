"""How a thing that is over is kept: compressed, with what such things have in common (`phrases`) known beforehand.

A packed thing is the number of its dictionary, how many ids it names, these ids in 16 bytes each, and the MessagePack
as a raw deflate stream. The texts of the ids go into the dictionary, so that each costs 16 bytes however often it
stands there, also within a reason. The first byte tells it from a thing that is not packed, which is an array.
"""

import re
import zlib
from collections.abc import Iterable
from itertools import islice
from typing import Final

from cdr_service.domain.workspace import Key
from cdr_service.store.phrases import DICTIONARIES

NEWEST: Final = max(DICTIONARIES)
"""The dictionary that is packed with."""
ARRAYS_FROM: Final = 0x90
"""The lowest first byte of a MessagePack array: https://github.com/msgpack/msgpack/blob/master/spec.md"""
IDS_MAX: Final = 64
"""Ids that are set apart; the few things that name more compress them as they stand."""

_ID: Final = re.compile(rb"\xd9\$([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")
"""An id as MessagePack has it: a text of 36 bytes."""
_DASHES: Final = (8, 12, 16, 20)
_ID_BYTES: Final = 16
_WINDOW: Final = -13
"""8 KiB for the dictionary and the thing, without zlib's header."""


def pack(key: Key, thing: bytes) -> bytes:
    """Return the MessagePack of a thing that is over as it is kept."""
    own = key[-1].encode()
    ids = list(islice((id_ for id_ in dict.fromkeys(_ID.findall(thing)) if id_ != own), IDS_MAX))
    known = _known(NEWEST, key[0], own, ids)
    deflate = zlib.compressobj(6, zlib.DEFLATED, _WINDOW, 6, zlib.Z_DEFAULT_STRATEGY, known)
    told = bytes.fromhex(b"".join(ids).replace(b"-", b"").decode())
    return b"".join((bytes((NEWEST, len(ids))), told, deflate.compress(thing), deflate.flush()))


def unpack(key: Key, kept: bytes) -> bytes:
    """Return the MessagePack of a thing, packed or not."""
    number = kept[0]
    if number >= ARRAYS_FROM:
        return kept
    end = 2 + kept[1] * _ID_BYTES
    ids = [_text(kept[at : at + _ID_BYTES].hex()).encode() for at in range(2, end, _ID_BYTES)]
    known = _known(number, key[0], key[-1].encode(), ids)
    return zlib.decompressobj(_WINDOW, known).decompress(kept[end:])


def _known(number: int, kind: str, own: bytes, ids: Iterable[bytes]) -> bytes:
    """Return what is known before a thing is read: the dictionary, then the ids as they stand in the thing."""
    dictionary = DICTIONARIES[number][kind]
    return dictionary.common + dictionary.before_id.join((dictionary.head + own, *ids))


def _text(id_: str) -> str:
    return "-".join(id_[start:end] for start, end in zip((0, *_DASHES), (*_DASHES, None), strict=True))
