"""The observer of an intake that works beside the service: it prints nothing, and remembers what went wrong."""

from collections.abc import Sequence

from cdr_service.domain.commit import Commit, Document
from cdr_service.domain.reception import Received
from cdr_service.errors import StoreUnavailable


class Watch:
    """Remembers the documents that a fault of ours kept from being taken in."""

    def __init__(self) -> None:
        self.problems: list[Exception] = []

    def committed(self, deployment: str, commit: Commit, received: Sequence[Received]) -> None:
        """Say nothing: the service prints the events (see `beside`)."""

    def unavailable(self, deployment: str, problem: StoreUnavailable) -> None:
        """Say nothing: whoever waits for the commit hears of it."""

    def failed(self, deployment: str, document: Document, problem: Exception) -> None:  # noqa: ARG002 - the protocol's
        """Remember the problem."""
        self.problems.append(problem)
