"""The endpoints of the comparison with the Meeting Server's own counts."""

from typing import Final

from cdr_service.domain.filters import PastUseFilters
from cdr_service.domain.pages import Page
from cdr_service.domain.past import PastUseView
from cdr_service.domain.reconciling_views import FitView, ReconciliationView
from cdr_service.web.endpoints import get
from cdr_service.web.parameters import Paging
from cdr_service.web.use_cases import UseCases


@get("/v1/reconciliation")
async def reconciliation(use: UseCases, page: Paging) -> Page[ReconciliationView]:
    """Tell, per deployment, whether the Meeting Server's own license counts agree with ours, and what differs."""
    return await use.reconciling.reconciliations(page.limit, page.cursor)


PAST_COLUMNS: Final = PastUseView.__struct_fields__


@get("/v1/reconciliation/past", csv=PAST_COLUMNS)
async def past_uses(use: UseCases, wanted: PastUseFilters, page: Paging) -> Page[PastUseView]:
    """List what the Meeting Server itself says was in use, every five minutes of the last three days, beside ours.

    Newest first. It is answered from what was read before, so the Meeting Server is not asked. It has none of
    deployments whose API is not set, or whose release is older than 2.6.
    """
    return await use.past.uses(wanted, page.limit, page.cursor)


@get("/v1/policies/fit")
async def policies_fit(use: UseCases, page: Paging) -> Page[FitView]:
    """Tell, per deployment, which policy and settings the Meeting Server's own counts speak for, and how surely."""
    return await use.reconciling.fits(page.limit, page.cursor)
