"""Whether the service is alive, and whether it is ready to be sent anything."""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec


class Liveness(msgspec.Struct, frozen=True):
    """What a process tells that can answer at all."""

    status: Literal["alive"] = "alive"


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the service can do its work, and what is unsafe about how it does."""

    ok: bool
    """The store answers, and the service is not draining."""
    draining: bool
    """The service is about to stop and takes nothing more."""
    store: bool
    """The store answers."""
    unsafe: Sequence[str] = ()
    """What could make the store lose what it acknowledged, a sentence each. It does not make the service unready."""
    memory: str | None = None
    """What to do about a store that is full or nearly so, or null. It does not make the service unready: queries are
    answered, and each document gets its own 503."""


class Health(Protocol):
    """Who knows whether the service is well."""

    async def ready(self) -> Readiness:
        """Ask the store, within a second or so. Must not raise."""
        ...

    async def memory(self) -> tuple[int, int] | None:
        """Return how many bytes the store has used, and may use; None without a bound. Raises StoreUnavailable."""
        ...
