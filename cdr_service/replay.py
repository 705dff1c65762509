"""Replay of captured CDR documents: read them from files and POST them to a receiver, in order.

A file holds one document, several XML documents one after another (comments between them do not matter), or JSON
lines; any of these may be compressed with gzip. What a file is shows in its first bytes, not in its name.
"""

import asyncio
import base64
import binascii
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import chain
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import aiohttp
from yarl import URL

from cdr_service.simulator.bridge import HEADERS, no_answer, receiver_url, refusal

TEXT_FIELDS = ("body", "data", "xml", "raw")
"""Where a JSON line may hold a document as text; the first one there counts."""
ATTEMPTS = 8
"""How often a document is offered to a receiver that is busy or does not answer."""
LONGEST_WAIT = 30.0
"""Seconds between two attempts, at most, whatever Retry-After says."""
REPORTED = 20
"""So many refusals are told one by one; beyond that they are only counted."""

_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_DECLARATION = re.compile(rb"(?=<\?xml\s)")
_SESSION = re.compile(rb"""(<(?:\w+:)?records\b[^>]*?\ssession\s*=\s*)(["'])(.*?)\2""", re.DOTALL)
# Every document after one of these would be answered alike.
_HOPELESS = {
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED,
}


class ReplayError(Exception):
    """A replay could not be done; the text is one sentence for the user and holds no secret."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A document that the receiver did not take."""

    file: Path
    number: int
    """Which document of its file, from 1."""
    status: int
    """What the receiver answered."""


@dataclass(slots=True)
class ReplaySummary:
    """What came of a replay, or how far it is."""

    total: int
    """Documents in all files."""
    accepted: int = 0
    """Documents answered with 200."""
    refused: int = 0
    """Documents answered with something else, and left at that."""
    repeats: int = 0
    """How often a document was sent again."""
    refusals: list[Refusal] = field(default_factory=list)
    """The first of those that were refused."""


async def replay(
    files: Sequence[Path | str],
    *,
    target: str,
    token: str | None = None,
    keep_sessions: bool = False,
    progress: Callable[[ReplaySummary], None] | None = None,
) -> ReplaySummary:
    """POST the documents of some files to a receiver, in order, one at a time.

    Each session becomes a new one, the same for all its documents, because a receiver takes what it saw before for
    duplicates; `keep_sessions` leaves the documents as they are. All files are read through before the first document
    is sent. `progress` is called after each document.

    Raises ReplayError where a file is missing or holds no documents, where the receiver cannot be reached or stays
    busy, and where it would refuse everything (a wrong path or token).
    """
    try:
        url = receiver_url(target, token=token)
    except ValueError as error:
        raise ReplayError(str(error)) from None
    paths = [Path(file) for file in files]
    summary = ReplaySummary(total=sum(_count(path) for path in paths))
    sessions: dict[bytes, bytes] | None = None if keep_sessions else {}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
        for path in paths:
            for number, body in enumerate(read_documents(path), 1):
                sent = body if sessions is None else _with_new_session(body, sessions)
                status = await _push(http, url, sent, summary)
                if status in _HOPELESS:
                    raise ReplayError(f"{refusal(url, status)} (document {number} of {path}).")
                if status == HTTPStatus.OK:
                    summary.accepted += 1
                else:
                    summary.refused += 1
                    summary.refusals += [Refusal(path, number, status)] if len(summary.refusals) < REPORTED else []
                if progress:
                    progress(summary)
    return summary


async def _push(http: aiohttp.ClientSession, url: URL, body: bytes, summary: ReplaySummary) -> int:
    """Offer a document until it is answered with anything but 503; return the status."""
    wait = 0.25
    for attempt in range(ATTEMPTS):
        if attempt:
            summary.repeats += 1
        try:
            async with http.post(url, data=body, headers=HEADERS, allow_redirects=False) as answer:
                if answer.status != HTTPStatus.SERVICE_UNAVAILABLE:
                    return answer.status
                trouble, pause = refusal(url, answer.status), _retry_after(answer, wait)
        except (aiohttp.ClientError, TimeoutError) as error:
            trouble, pause = no_answer(url, error), wait
        if attempt < ATTEMPTS - 1:
            await asyncio.sleep(pause)
            wait = min(2 * wait, LONGEST_WAIT)
    done = summary.accepted + summary.refused
    raise ReplayError(f"{trouble}, {ATTEMPTS} times in a row; {done} of {summary.total} documents were sent before.")


def _retry_after(answer: aiohttp.ClientResponse, otherwise: float) -> float:
    """Read the seconds of Retry-After, within bounds."""
    text = answer.headers.get("Retry-After", "")
    return min(float(text), LONGEST_WAIT) if text.isascii() and text.isdigit() else otherwise


def read_documents(path: Path) -> Iterator[bytes]:
    """Read a file's documents, in order, holding one at a time.

    Raises ReplayError where it is missing, unreadable or of no kind that we know.
    """
    try:
        with path.open("rb") as raw, _plain(raw) as file:
            first, lines = _peek(file)
            if first == b"{":
                yield from _json_lines(path, lines)
            elif first == b"<":
                yield from _xml_documents(lines)
            elif first:
                raise ReplayError(f"{path} holds neither XML documents nor JSON lines.")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ReplayError(f"{path} is a damaged gzip file ({error}).") from error
    except OSError as error:
        raise ReplayError(f"{path} cannot be read: {error.strerror or error}.") from error


def _plain(raw: BinaryIO) -> BinaryIO | gzip.GzipFile:
    compressed = raw.read(len(_GZIP)) == _GZIP
    raw.seek(0)
    return gzip.GzipFile(fileobj=raw) if compressed else raw


def _peek(lines: Iterable[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return the first byte that says something, and all lines, without a byte order mark."""
    seen = []
    rest = iter(lines)
    for line in rest:
        seen.append(line.removeprefix(_BOM))
        if text := seen[-1].lstrip():
            return text[:1], chain(seen, rest)
    return b"", rest


def _xml_documents(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Split where `<?xml` begins another document."""
    parts: list[bytes] = []
    for line in lines:
        rest, *begun = _DECLARATION.split(line)
        parts.append(rest)
        for start in begun:
            if document := _without_comments(b"".join(parts)):
                yield document
            parts = [start]
    if document := _without_comments(b"".join(parts)):
        yield document


def _without_comments(document: bytes) -> bytes:
    """Take away the comments before and behind a document."""
    document = document.strip()
    while document.startswith(b"<!--") and b"-->" in document:
        document = document.partition(b"-->")[2].lstrip()
    while document.endswith(b"-->") and b"<!--" in document:
        document = document.rpartition(b"<!--")[0].rstrip()
    return document


def _json_lines(path: Path, lines: Iterable[bytes]) -> Iterator[bytes]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"Line {number} of {path}"
        try:
            value = json.loads(line)
        except ValueError:
            raise ReplayError(f"{where} is not JSON.") from None
        yield _body(where, value if isinstance(value, dict) else {})


def _body(where: str, line: dict[str, object]) -> bytes:
    for name in TEXT_FIELDS:
        if isinstance(text := line.get(name), str):
            return text.encode("utf-8", "surrogatepass")
    if isinstance(encoded := line.get("body_base64"), str):
        try:
            return base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raise ReplayError(f"{where} holds no valid base64 in body_base64.") from None
    raise ReplayError(f"{where} has no document: it needs {', '.join(TEXT_FIELDS)} or body_base64.")


def _count(path: Path) -> int:
    count = sum(1 for _ in read_documents(path))
    if not count:
        raise ReplayError(f"{path} holds no documents.")
    return count


def _with_new_session(body: bytes, sessions: dict[bytes, bytes]) -> bytes:
    """Put a new session into the envelope, the same one for all documents of the old one."""

    def renamed(found: re.Match[bytes]) -> bytes:
        before, quote, old = found.groups()
        new = sessions.setdefault(old.strip().lower(), str(uuid4()).encode())
        return before + quote + new + quote

    return _SESSION.sub(renamed, body, count=1)
