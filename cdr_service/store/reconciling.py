"""Where the comparison with the Meeting Server's own counts stands, written under the lease and read by everybody."""

from collections.abc import Sequence
from typing import Final

import msgspec

from cdr_service.domain.fitting import Fit
from cdr_service.domain.past import PastUse
from cdr_service.domain.receivers import NodeHealth
from cdr_service.domain.reconciling import Reconciliation
from cdr_service.store.connection import Connection
from cdr_service.store.keys import Keys

_encode: Final = msgspec.msgpack.Encoder().encode
_reconciliation: Final = msgspec.msgpack.Decoder(Reconciliation).decode
_nodes: Final = msgspec.msgpack.Decoder(list[NodeHealth]).decode
_fit: Final = msgspec.msgpack.Decoder(Fit).decode
_past_use: Final = msgspec.msgpack.Decoder(list[PastUse]).decode


class RedisReconciling:
    """What was found in all deployments. Every method raises StoreUnavailable."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def reconciliation(self, deployment: str) -> Reconciliation | None:
        """Return where the comparison stands; None where nothing was ever compared."""
        value = await self._connection.execute("GET", Keys(deployment).found("reconciliation"))
        return None if value is None else _reconciliation(value)

    async def fit(self, deployment: str) -> Fit | None:
        """Return how well the policies fit; None where nothing was ever observed."""
        value = await self._connection.execute("GET", Keys(deployment).found("fit"))
        return None if value is None else _fit(value)

    async def keep_reconciliation(self, deployment: str, now: Reconciliation) -> None:
        """Keep where the comparison stands."""
        await self._connection.execute("SET", Keys(deployment).found("reconciliation"), _encode(now))

    async def nodes(self, deployment: str) -> list[NodeHealth]:
        """Return how it stands with the Meeting Server's nodes; none where they were never asked."""
        value = await self._connection.execute("GET", Keys(deployment).found("nodes"))
        return [] if value is None else _nodes(value)

    async def keep_nodes(self, deployment: str, nodes: Sequence[NodeHealth]) -> None:
        """Keep how it stands with the nodes."""
        await self._connection.execute("SET", Keys(deployment).found("nodes"), _encode(nodes))

    async def keep_fit(self, deployment: str, fit: Fit) -> None:
        """Keep how well the policies fit."""
        await self._connection.execute("SET", Keys(deployment).found("fit"), _encode(fit))

    async def past_use(self, deployment: str) -> list[PastUse]:
        """Return what the Meeting Server says was in use, newest first; nothing where it never told."""
        value = await self._connection.execute("GET", Keys(deployment).found("past"))
        return [] if value is None else _past_use(value)

    async def keep_past_use(self, deployment: str, told: Sequence[PastUse]) -> None:
        """Keep what the Meeting Server says was in use."""
        await self._connection.execute("SET", Keys(deployment).found("past"), _encode(told))
