"""How things are written in the store: a version, then MessagePack of the fields in their order."""

from typing import Any, Final

import msgspec

from cdr_service.domain.workspace import KINDS, Key, Thing

VERSION_BYTES: Final = 8
ABSENT: Final = b""
"""The version of a thing that does not exist."""

_encode = msgspec.msgpack.Encoder().encode
_decoders: Final = {kind: msgspec.msgpack.Decoder(thing) for kind, thing in KINDS.items()}


def encode(thing: Thing, version: bytes) -> bytes:
    """Return a thing as it is stored; `version` has VERSION_BYTES bytes that no earlier value of it had."""
    return version + _encode(thing)


def decode(key: Key, value: bytes | None) -> tuple[Any, bytes]:
    """Return the thing (None where there is none) and its version."""
    if value is None:
        return None, ABSENT
    return _decoders[key[0]].decode(memoryview(value)[VERSION_BYTES:]), value[:VERSION_BYTES]
