"""Where the comparison with the Meeting Server's own counts stands, written under the lease and read by everybody."""

from typing import Final

import msgspec

from cdr_service.domain.fitting import Fit
from cdr_service.domain.reconciling import Reconciliation
from cdr_service.store.connection import Connection
from cdr_service.store.keys import Keys

_encode: Final = msgspec.msgpack.Encoder().encode
_reconciliation: Final = msgspec.msgpack.Decoder(Reconciliation).decode
_fit: Final = msgspec.msgpack.Decoder(Fit).decode


class RedisReconciling:
    """What was found in all deployments. Every method raises StoreUnavailable."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def reconciliation(self, deployment: str) -> Reconciliation | None:
        """Return where the comparison stands; None where nothing was ever compared."""
        value = await self._connection.execute("GET", Keys(deployment).reconciliation)
        return None if value is None else _reconciliation(value)

    async def fit(self, deployment: str) -> Fit | None:
        """Return how well the policies fit; None where nothing was ever observed."""
        value = await self._connection.execute("GET", Keys(deployment).fit)
        return None if value is None else _fit(value)

    async def keep_reconciliation(self, deployment: str, now: Reconciliation) -> None:
        """Keep where the comparison stands."""
        await self._connection.execute("SET", Keys(deployment).reconciliation, _encode(now))

    async def keep_fit(self, deployment: str, fit: Fit) -> None:
        """Keep how well the policies fit."""
        await self._connection.execute("SET", Keys(deployment).fit, _encode(fit))
