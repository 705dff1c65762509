"""Are there records that the Meeting Server has generated and that have not reached us?

`cdrCorrelatorIndex` of a node's status is the number of its next record. What is missing at the end of a session is on
its way as long as newer records come, and for a while after the last of them; then it counts as lost until it comes
(the gaps in between are told by the records themselves).
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from cdr_service.cms.objects import Status
from cdr_service.domain.sessions import Gap, Session

LOST_MILLISECONDS: Final = 60_000
"""What did not come, although nothing else of its session came for so long, counts as lost."""


class Behind(NamedTuple):
    """Records of a session that have not come."""

    session: str
    gap: Gap
    since: int
    """Since when they are missing, in milliseconds of our clock."""

    def is_lost(self, now: int) -> bool:
        """Return whether they have been missing for too long to be on their way."""
        return now - self.since >= LOST_MILLISECONDS


class Watch:
    """Remembers since when records are missing, and how long the nodes run."""

    def __init__(self) -> None:
        self._waited: dict[str, tuple[int, int, int]] = {}
        """By session: the number that is waited for, the newest that came, and since when nothing newer did."""
        self._uptimes: dict[str, int] = {}

    def restarted(self, statuses: Mapping[str, Status]) -> bool:
        """Return whether a node was restarted since the last time: its calls are gone, and no record says so."""
        told = {node: status.uptime_seconds for node, status in statuses.items() if status.uptime_seconds is not None}
        found = any(uptime < self._uptimes.get(node, 0) for node, uptime in told.items())
        self._uptimes |= told
        return found

    def behind(self, pairs: Mapping[str, tuple[Status, Session]], now: int) -> list[Behind]:
        """Return what has not come, given each node's status and the newest session of its Call Bridge."""
        found: list[Behind] = []
        for status, session in pairs.values():
            newest = (status.cdr_correlator_index or 0) - 1
            if session.unnumbered or newest <= session.latest_number:
                self._waited.pop(session.id, None)
                continue
            came = session.latest_number
            awaited, latest, since = self._waited.get(session.id, (newest, came, now))
            if came > latest:  # A Call Bridge sends in order: what comes late is a backlog, and no loss.
                awaited, since = newest, now
            self._waited[session.id] = awaited, came, since
            gap = Gap(came + 1, awaited, session.ran_until, status.cdr_time or now, since)
            found.append(Behind(session.id, gap, since))
        return found
