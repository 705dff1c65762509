"""How things are written in the store: a version, then MessagePack of the fields in their order.

A thing that is over is packed (`packing`): most of what a store holds is, and it hardly ever changes again.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from cdr_service.domain.commit import Document
from cdr_service.domain.directory import Directory
from cdr_service.domain.upkeep import is_over
from cdr_service.domain.workspace import DIRECTORY, KINDS, Key, Thing
from cdr_service.store.packing import pack, unpack

VERSION_BYTES: Final = 8
ABSENT: Final = b""
"""The version of a thing that does not exist."""

PACKED_DOCUMENTS: Final = b"d"
"""The field of an entry in the stream of received documents that has those of one commit."""
_OF_LAYOUT_1: Final = b"b"

_encode = msgspec.msgpack.Encoder().encode
_decoders: Final[dict[str, Callable[[bytes], Any]]] = {
    **{kind: msgspec.msgpack.Decoder(thing).decode for kind, thing in KINDS.items()},
    DIRECTORY[0]: Directory.decode,
}


def encode(key: Key, thing: Thing, version: bytes) -> bytes:
    """Return a thing as it is stored; `version` has VERSION_BYTES bytes that no earlier value of it had."""
    if isinstance(thing, Directory):
        return version + thing.encode()
    return version + (pack(key, _encode(thing)) if is_over(thing) else _encode(thing))


def decode(key: Key, value: bytes | None) -> tuple[Any, bytes]:
    """Return the thing (None where there is none) and its version."""
    if value is None:
        return None, ABSENT
    return _decoders[key[0]](unpack(key, value[VERSION_BYTES:])), value[:VERSION_BYTES]


_kept: Final = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode


def pack_documents(documents: Iterable[Document]) -> bytes:
    """Return received documents as they are kept: together, because they are much alike and small."""
    return zlib.compress(_encode([(document.bridge, document.body) for document in documents]), 1)


def packed_in(entry: Mapping[bytes, bytes]) -> bytes:
    """Return the packed documents that an entry of their stream has, or the one that layout 1 put there."""
    return entry[_OF_LAYOUT_1] if _OF_LAYOUT_1 in entry else entry[PACKED_DOCUMENTS]


def kept_documents(entry: Mapping[bytes, bytes]) -> list[tuple[str, bytes]]:
    """Return the documents that an entry has, each with the `bridge` parameter of the URL that it came to."""
    unpacked = zlib.decompress(packed_in(entry))
    return [(entry[b"bridge"].decode(), unpacked)] if _OF_LAYOUT_1 in entry else _kept(unpacked)
