"""What an error of redis-py means to us: why the store is unavailable, and whether another server may know better."""

import os

from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ClusterError,
    InvalidResponse,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    SlotNotCoveredError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from cdr_service.store.memory import REMEDY


class TooFewReplicasError(RedisError):
    """A write was done, but fewer replicas than the URL asks for have it in time."""


FORBIDDEN = "does not let the user in CDR_REDIS_URL run a command that is needed"
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (AuthenticationError, "refuses the user or the password in CDR_REDIS_URL"),
    (NoPermissionError, FORBIDDEN),
    (BusyLoadingError, "is still loading its data"),
    (RedisTimeoutError, "did not answer in time"),
    (TimeoutError, "did not answer in time"),
    (MasterNotFoundError, "has no master: no Sentinel answers, or none knows that service, or it is being replaced"),
    (ReadOnlyError, "is a read-only replica"),
    (OutOfMemoryError, f"is out of memory: {REMEDY}"),
    (MasterDownError, "has lost its master"),
    (ClusterDownError, "is a cluster that is down"),
    (TryAgainError, "is moving these keys between nodes"),
    (AskError, "has these keys at another node now"),
    (TooFewReplicasError, "has too few replicas that took the write in time"),
    (ClusterError, "is a cluster whose nodes disagree"),
    (SlotNotCoveredError, "is a cluster that does not cover these keys"),
    (InvalidResponse, "does not speak the Redis protocol"),
)
"""What a redis-py error means to us. The first that fits counts, so a subclass stands before its parent."""

_NO_REPLICAS = "NOREPLICAS "
_NO_MASTER = (ReadOnlyError, ClusterDownError, AskError)
"""Answers by which a server says that it is not, or no longer, the one to ask."""
_REASONS_BY_TEXT = {
    "MISCONF ": "cannot write to its disk",
    _NO_REPLICAS: "has too few replicas to accept a write",
    "BUSY ": "is busy with a script that does not end",
    "ACL failure in script": FORBIDDEN,
    "The user executing the script can't ": FORBIDDEN,  # Redis 7.0
}
"""Errors that redis-py gives no type of their own, by how the answer begins."""


def leads_astray(error: Exception) -> bool:
    """Say whether what led to this server should be forgotten: it is gone, or another may be the master now."""
    if not isinstance(error, ResponseError) or isinstance(error, _NO_MASTER):
        return True
    return str(error).startswith(_NO_REPLICAS)  # they may follow another master


def reason_of(error: Exception) -> str | None:
    """Why the store is unavailable, as the end of a sentence; None where the error is our own fault."""
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    if isinstance(error, ResponseError):
        return next((reason for begin, reason in _REASONS_BY_TEXT.items() if str(error).startswith(begin)), None)
    if isinstance(error, RedisConnectionError | OSError):
        return f"cannot be reached: {_detail(error)}"
    if isinstance(error, RedisClusterException) and isinstance(error.__cause__, Exception):
        return reason_of(error.__cause__) or f"cannot be reached: {_detail(error)}"
    return None


def _detail(error: BaseException) -> str:
    """Find what the operating system said, where it said something."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, OSError):
        found = found.__cause__ or found.__context__
    if isinstance(found, ConnectionError) and found.errno is not None:
        return os.strerror(found.errno)  # asyncio's own text has the address but not the reason
    if isinstance(found, OSError) and found.strerror is not None:
        return found.strerror
    return str(found or error).strip().rstrip(".")
