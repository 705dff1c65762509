"""The shapes of what the query API shows of the use over time."""

from msgspec import Struct

from cdr_service.domain.views import Time


class HistoryView(Struct, frozen=True, kw_only=True):
    """The most that was in use in one step of the history, by record time."""

    deployment: str
    start: Time
    """When the step begins."""
    personal_peak: int
    """Meetings on PMP+."""
    shared_sixths_peak: int
    """Taken from the shared pool, exact, in sixths of a license."""
    shared_licenses_peak: float
    """The same in licenses, rounded to three decimals."""
    participants_peak: int
    """People in all calls."""


class SharedMeetingView(Struct, frozen=True, kw_only=True):
    """A meeting that took SMP+ at one moment."""

    id: str
    name: str | None
    call_type: str | None
    cospace: str | None
    owner: str | None
    weight: str
    """What it took from the shared pool, an exact fraction of a license."""
    since: Time
    """Since when it took that."""


class DeploymentPeakView(Struct, frozen=True, kw_only=True):
    """The highest use of a deployment's shared pool in a span."""

    deployment: str
    policy: str
    at: Time | None
    """When it was reached first; null where no SMP+ was used."""
    shared_sixths: int
    """Taken from the shared pool, exact, in sixths of a license."""
    shared_licenses: float
    """The same in licenses, rounded to three decimals."""
    meetings: list[SharedMeetingView]
    """The meetings that made it, the largest first; those that are no longer kept are left out."""


class PeakView(DeploymentPeakView, frozen=True, kw_only=True):
    """The highest use of a shared pool in a span, of the deployment in which it was highest."""

    others: list[DeploymentPeakView]
    """The same of every other deployment that was asked for, the highest first: each has a pool of its own."""
