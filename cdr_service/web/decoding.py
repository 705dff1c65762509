"""Bodies that were compressed for the way, unpacked within bounds."""

import zlib
from typing import Final

PLAIN: Final = frozenset({"", "identity"})
"""Values of `Content-Encoding` that mean a body as it is."""

_PIECE_BYTES: Final = 64 * 1024
_MEMBERS_MAX: Final = 1024
"""Parts that a gzip body may consist of; each costs time even where it holds nothing."""
_WINDOW_BITS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}


class BodyTooLarge(Exception):  # noqa: N818 - nothing of ours went wrong
    """A body is larger than is taken, as it came or unpacked."""


class UndecodableBody(Exception):  # noqa: N818 - nothing of ours went wrong
    """A body is not what its `Content-Encoding` says. The message is a sentence for whoever reads dead letters."""


def decode(body: bytes, coding: str, limit: int) -> bytes:
    """Unpack a body of the coding `gzip`, `x-gzip` or `deflate` to at most `limit` bytes.

    Raises BodyTooLarge as soon as it would be more, so that a small body which unpacks to gigabytes costs no more than
    `limit` bytes, or UndecodableBody.
    """
    bits = _WINDOW_BITS.get(coding)
    if bits is None:
        raise UndecodableBody("The body's Content-Encoding is none of gzip, deflate and identity.")
    if coding == "deflate" and body[:1] and body[0] & 0x0F != 8:  # noqa: PLR2004 - no zlib header (RFC 1950, 2.2)
        bits = -zlib.MAX_WBITS  # what some senders take deflate to mean
    unpacked = bytearray()
    position = members = 0
    try:
        while position < len(body):
            members += 1
            if members > _MEMBERS_MAX:
                raise UndecodableBody(f"The body has more than {_MEMBERS_MAX} gzip members.")
            position = _unpack_member(body, position, bits, unpacked, limit)
    except zlib.error:
        raise UndecodableBody(f"The body is not the {coding} that its Content-Encoding says.") from None
    return bytes(unpacked)


def _unpack_member(body: bytes, position: int, bits: int, unpacked: bytearray, limit: int) -> int:
    """Unpack one member (RFC 1952, 2.2) onto `unpacked`; return where the next one begins."""
    decoder = zlib.decompressobj(bits)
    while not decoder.eof:
        # Piece by piece, because zlib copies whatever follows the end of a member.
        piece = body[position : position + _PIECE_BYTES]
        if not piece:
            raise UndecodableBody("The compressed body ends too early.")
        unpacked += decoder.decompress(piece, limit + 1 - len(unpacked))
        if len(unpacked) > limit:
            raise BodyTooLarge
        position += len(piece) - len(decoder.unconsumed_tail) - len(decoder.unused_data)
    return position
