"""The endpoints of the comparison with the Meeting Server's own counts."""

from cdr_service.domain.pages import Page
from cdr_service.domain.reconciling_views import FitView, ReconciliationView
from cdr_service.web.endpoints import get
from cdr_service.web.parameters import Paging
from cdr_service.web.use_cases import UseCases


@get("/v1/reconciliation")
async def reconciliation(use: UseCases, page: Paging) -> Page[ReconciliationView]:
    """Tell, per deployment, whether the Meeting Server's own license counts agree with ours, and what differs."""
    return await use.reconciling.reconciliations(page.limit, page.cursor)


@get("/v1/policies/fit")
async def policies_fit(use: UseCases, page: Paging) -> Page[FitView]:
    """Tell, per deployment, which policy and settings the Meeting Server's own counts speak for, and how surely."""
    return await use.reconciling.fits(page.limit, page.cursor)
