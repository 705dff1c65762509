"""The Call Bridges of a simulated deployment as their REST API shows them: what each knows, and what they share."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_URL, uuid4, uuid5

from cdr_service.simulator.api_licenses import Change, Counted, Licenses, Rules
from cdr_service.simulator.api_live import LiveState
from cdr_service.simulator.api_model import Directory, example_directory
from cdr_service.simulator.bridge import Bridge
from cdr_service.simulator.records import Identity, NumberedRecord

MOST_RECEIVERS = 4
"""CDR receivers that a node takes."""


@dataclass(slots=True)
class Alarm:
    """Something that a node complains of."""

    type: str
    since: datetime
    failure_reason: str | None = None
    id: str = field(default_factory=lambda: str(uuid4()))


class ApiNode:
    """One Call Bridge; follows the records that it generates."""

    def __init__(self, deployment: "Deployment", number: int, bridge: Bridge) -> None:
        self.deployment = deployment
        self.number = number
        self.bridge = bridge
        self.host_id = str(uuid5(NAMESPACE_URL, f"host:{bridge.identity.name}"))
        self.live = LiveState()
        self.started = deployment.clock()
        self.receivers: dict[str, str | None] = {}
        """URIs by id; None where there is an entry without one."""
        self.alarms: list[Alarm] = []
        bridge.watchers.append(self)

    @property
    def identity(self) -> Identity:
        """Who the bridge is in this run."""
        return self.bridge.identity

    def put(self, record: NumberedRecord) -> None:
        """Follow a record."""
        self.deployment.licenses.advance(record.time)
        fields = record.record.fields
        if record.record.type == "callStart" and isinstance(space := fields.get("coSpace"), str):
            self.deployment.directory.adopt(space, str(fields.get("name", "")))
        self.deployment.licenses.follow([self._change(self.live.apply(record))], record.time)

    def restart(self, bridge: Identity) -> None:  # noqa: ARG002 - it is known where it is needed
        """Forget all calls."""
        now = self.deployment.clock()
        gone = set(self.live.calls)
        self.live = LiveState()
        self.started = now
        self.deployment.licenses.follow([self._change(gone)], now)

    def changed_since(self, now: datetime) -> Change:
        """Return what may have changed since the last record: by time, by media, and by what is configured."""
        return self._change(self.live.settle(now) | set(self.live.calls))

    def counted(self) -> tuple[Counted, ...]:
        """Say what this node says of licenses now, which may be what was true a while ago."""
        return self.deployment.licenses.at(self.deployment.clock() - self.deployment.lags[self.number])

    def _change(self, changed: set[str]) -> Change:
        return Change(self.number, self.live.calls, changed)


class Deployment:
    """A simulated Meeting Server: one Call Bridge or several, and what is configured on them."""

    def __init__(
        self,
        bridges: Sequence[Bridge],
        directory: Directory | None = None,
        *,
        rules: Rules | None = None,
        lag: tuple[float, float] = (0.0, 0.0),
        release: str = "3.0.1",
        limits: tuple[int, int] | None = None,
        seed: int = 0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Watch bridges from now on; `clock` must be that of the records.

        `lag` are the fewest and most seconds by which the license counts of a node may trail; `limits` the purchased
        personal and shared licenses, which releases before 3.0 tell.
        """
        self.clock = clock
        self.release = release
        self.limits = limits
        self.directory = example_directory(seed) if directory is None else directory
        self.licenses = Licenses(rules or Rules(), self.directory)
        chance = random.Random(f"{seed}/lags")  # noqa: S311 (repeatable by its seed, guards nothing)
        self.lags = [timedelta(seconds=chance.uniform(*lag)) for _ in bridges]
        self.nodes = [ApiNode(self, number, bridge) for number, bridge in enumerate(bridges)]

    def since(self, *release: int) -> bool:
        """Whether the server's release is this one or a later one."""
        return tuple(int(part) for part in self.release.split(".")[: len(release)]) >= release

    def refresh(self) -> datetime:
        """Bring everything up to now, and say when that is."""
        now = self.clock()
        self.licenses.advance(now)
        self.licenses.follow([node.changed_since(now) for node in self.nodes], now)
        return now
