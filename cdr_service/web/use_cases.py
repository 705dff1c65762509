"""What stands behind the query API: the use cases that its endpoints call."""

from typing import NamedTuple

from cdr_service.metrics import Metrics
from cdr_service.reading.collection import Collection
from cdr_service.reading.event_stream import EventStream
from cdr_service.reading.explaining import Explaining
from cdr_service.reading.history import History
from cdr_service.reading.past import Past
from cdr_service.reading.queries import Queries
from cdr_service.reading.reconciling import Reconciling
from cdr_service.reading.reports import Reports
from cdr_service.web.health import Health


class UseCases(NamedTuple):
    """The first argument of every endpoint."""

    queries: Queries
    history: History
    reports: Reports
    explaining: Explaining
    collection: Collection
    event_stream: EventStream
    health: Health
    metrics: Metrics
    reconciling: Reconciling
    past: Past
