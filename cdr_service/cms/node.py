"""One node's REST API over HTTP: one request at a time, in bounded time, and no pressing where it is busy or refuses.

A node that refuses us, does not answer or stays busy rests for a while, longer each time in a row. Whoever asks it
meanwhile gets at once what the last one got, and no request is sent.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, TypeVar

import aiohttp
from yarl import URL

from cdr_service.cms import budget
from cdr_service.cms.errors import CmsError, CmsRefused, CmsSpent, CmsUnavailable, CmsUnusable
from cdr_service.cms.parsing import UnreadableAnswer, failure_codes

T = TypeVar("T")
E = TypeVar("E", bound=CmsError)

API_PATH: Final = "/api/v1"
LARGEST_ANSWER: Final = 4 << 20
"""Bytes; pages have 10 to 20 entries."""

_REFUSALS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
# 503 is the server's own way to say so (Cisco API reference); 429 is that of whatever may stand before it.
_BUSY = frozenset({HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS})
_BUSY_CODE = "databasenotready"
# A 400 for one of these says that the request is wrong, not that the object is gone.
_WRONG_REQUEST = frozenset({"parametererror", "invalidoperation"})
_MOST_DOUBLINGS = 10
_HINTS = {
    "toomanycdrreceivers": "all slots for CDR receivers are taken, so remove one that is not needed",
    _BUSY_CODE: "its database is not ready",
}


@dataclass(frozen=True, slots=True)
class Pace:
    """How long we wait, and how hard we try. All times in seconds."""

    connect: float = 5.0
    total: float = 20.0
    """For one attempt, from the connection to the last byte."""
    attempts: int = 4
    """How often a busy node is asked."""
    first_wait: float = 0.5
    """Before a busy node is asked again; doubles each time, with jitter."""
    longest_wait: float = 8.0
    rest: float = 2.0
    """After a node did not answer or stayed busy; doubles each time in a row."""
    longest_rest: float = 30.0
    refused_rest: float = 60.0
    """After a node refused our user; doubles each time in a row."""
    longest_refused_rest: float = 900.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes
    location: str = ""
    retry_after: str = ""


class Node:
    """A Call Bridge's web admin."""

    def __init__(
        self, url: str, http: aiohttp.ClientSession, pace: Pace, others: AbstractAsyncContextManager[object]
    ) -> None:
        """`others` is held during each attempt: it bounds what is asked of all nodes at a time."""
        base = URL(url.rstrip("/")).with_user(None)
        self.name = str(base)
        self._base = self.name.removesuffix(API_PATH) + API_PATH
        self._http = http
        self._pace = pace
        self._others = others
        self._one_at_a_time = asyncio.Lock()
        self._trouble: CmsError | None = None
        self._rests_until = 0.0
        self._rests = 0
        """How often its rest was doubled."""

    async def get(self, path: str, read: Callable[[bytes], T], query: Mapping[str, str] | None = None) -> T | None:
        """Read what is at a path, None where there is nothing. Raises CmsError."""
        answer = await self._ask("GET", path, query=query)
        if not _is_good(answer.status):
            codes = failure_codes(answer.body)
            if _is_not_there(answer.status, codes):
                return None
            raise self._failure(answer.status, path, codes)
        try:
            return read(answer.body)
        except UnreadableAnswer as unreadable:
            raise CmsUnusable(f"The answer of {self.name} to /{path} cannot be read: {unreadable}.") from None

    async def write(self, method: str, path: str, form: Mapping[str, str]) -> str:
        """POST or PUT a form; return the path of what came of it, empty where none is told. Raises CmsError."""
        answer = await self._ask(method, path, form=form)
        if not _is_good(answer.status):
            raise self._failure(answer.status, path, failure_codes(answer.body))
        return answer.location

    async def _ask(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, form: Mapping[str, str] | None = None
    ) -> Answer:
        async with self._one_at_a_time:
            if self._trouble is not None and asyncio.get_running_loop().time() < self._rests_until:
                raise type(self._trouble)(str(self._trouble), codes=self._trouble.codes)
            wait = self._pace.first_wait
            for attempts_left in reversed(range(self._pace.attempts)):
                answer = await self._attempt(method, path, query, form)
                if answer.status in _REFUSALS:
                    raise self._refused(method, answer.status)
                if not _is_busy(answer):
                    self._trouble, self._rests = None, 0
                    return answer
                if attempts_left:
                    await asyncio.sleep(self._jittered(answer, wait))
                    wait *= 2
            raise self._resting(CmsUnavailable(f"{self.name} stays busy ({answer.status})."))

    async def _attempt(
        self, method: str, path: str, query: Mapping[str, str] | None, form: Mapping[str, str] | None
    ) -> Answer:
        bound = budget.current()
        if bound is not None and not bound.take(self.name):
            raise CmsSpent(f"{self.name} was asked {bound.requests} times already, as often as it may be at a time.")
        # Ids come from outside: what is in the path stays as the caller quoted it.
        url = URL(f"{self._base}/{path}", encoded=True).with_query(query)
        try:
            async with (
                self._others,
                self._http.request(method, url, data=form, allow_redirects=False) as response,
            ):
                body = await _bounded(response)
                headers = response.headers
                return Answer(response.status, body, headers.get("Location", ""), headers.get("Retry-After", ""))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._resting(CmsUnavailable(f"{self.name} does not answer ({_why(error)}).")) from None

    def _refused(self, method: str, status: int) -> CmsRefused:
        if status == HTTPStatus.UNAUTHORIZED:
            sentence = f"{self.name} does not accept our user and password (401): check CDR_CMS_USERNAME and _PASSWORD."
        else:
            sentence = f"{self.name} does not let our user do this (403): the user needs the role api."
        # A user who may read but not write is no reason to stop reading.
        if method != "GET" and status == HTTPStatus.FORBIDDEN:
            return CmsRefused(sentence)
        return self._resting(CmsRefused(sentence))

    def _resting(self, trouble: E) -> E:
        """Begin a rest, and return why, to be raised."""
        pace, again = self._pace, type(trouble) is type(self._trouble)
        self._rests = min(self._rests + 1, _MOST_DOUBLINGS) if again else 0
        refused = isinstance(trouble, CmsRefused)
        first, longest = (pace.refused_rest, pace.longest_refused_rest) if refused else (pace.rest, pace.longest_rest)
        self._trouble = trouble
        self._rests_until = asyncio.get_running_loop().time() + min(first * 2**self._rests, longest)
        return trouble

    def _jittered(self, answer: Answer, wait: float) -> float:
        told = answer.retry_after
        wanted = float(told) if told.isascii() and told.isdigit() else wait
        # Several of us may wait for the same node; they shall not come back together.
        return min(wanted, self._pace.longest_wait) * random.uniform(1.0, 1.5)  # noqa: S311 - guards nothing

    def _failure(self, status: int, path: str, codes: tuple[str, ...]) -> CmsUnusable:
        told = "; ".join(_HINTS.get(code.lower(), code) for code in codes)
        return CmsUnusable(f"{self.name} answered {status} to /{path}{f': {told}' if told else ''}.", codes=codes)


_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (
        aiohttp.ClientConnectorCertificateError,
        "its certificate is not trusted: CDR_CMS_CA names the authority to trust",
    ),
    (aiohttp.ConnectionTimeoutError, "no connection in time"),
    (TimeoutError, "nothing in time"),
    (aiohttp.ClientConnectorDNSError, "its name cannot be resolved"),
    (aiohttp.ClientPayloadError, "what came was cut off, or too large"),
    (aiohttp.ServerDisconnectedError, "it closed the connection"),
)


def _why(error: Exception) -> str:
    """Say what went wrong without what the error itself says, which may be anything."""
    if found := next((reason for kind, reason in _REASONS if isinstance(error, kind)), None):
        return found
    cause = error.os_error.strerror if isinstance(error, aiohttp.ClientConnectorError) else None
    return cause or type(error).__name__


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > LARGEST_ANSWER:
            raise aiohttp.ClientPayloadError
    return bytes(body)


def _is_good(status: int) -> bool:
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def _is_busy(answer: Answer) -> bool:
    if _is_good(answer.status):
        return False
    return answer.status in _BUSY or _BUSY_CODE in map(str.lower, failure_codes(answer.body))


def _is_not_there(status: int, codes: tuple[str, ...]) -> bool:
    """Whether there is no such object: 404, or as one client author met it 400 with reasons."""
    if status == HTTPStatus.BAD_REQUEST:
        return bool(codes) and not _WRONG_REQUEST.intersection(map(str.lower, codes))
    return status == HTTPStatus.NOT_FOUND
