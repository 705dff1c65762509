"""The endpoints of the reports on the use over time."""

from typing import Final

from cdr_service.domain.filters import PeakFilters, SharedReportFilters, WhatIfFilters
from cdr_service.domain.pages import Page
from cdr_service.domain.report_views import HolderUseView, SharedUseView, WhatIfUse, WhatIfView
from cdr_service.web.endpoints import get
from cdr_service.web.parameters import Paging
from cdr_service.web.use_cases import UseCases

SHARED_COLUMNS: Final = SharedUseView.__struct_fields__
HOLDER_COLUMNS: Final = HolderUseView.__struct_fields__
WHAT_IF_COLUMNS: Final = (
    *("deployment", "policy", "assign", "unknown", "meetings", "meetings_changed"),
    *(f"{when}.{what}" for when in ("before", "after") for what in WhatIfUse.__struct_fields__),
)


@get("/v1/reports/shared", csv=SHARED_COLUMNS)
async def shared(use: UseCases, wanted: SharedReportFilters, page: Paging) -> Page[SharedUseView]:
    """Rank the spaces, owners or kinds of meeting that took SMP+, or the users who were in them.

    Those come first that took most.
    """
    return await use.reports.shared(wanted, page.limit, page.cursor)


@get("/v1/reports/holders", csv=HOLDER_COLUMNS)
async def holders(use: UseCases, wanted: PeakFilters, page: Paging) -> Page[HolderUseView]:
    """Tell how each PMP+ is used, and which never is.

    The most used come first.
    """
    return await use.reports.holders(wanted, page.limit, page.cursor)


@get("/v1/reports/what-if", csv=WHAT_IF_COLUMNS)
async def what_if(use: UseCases, wanted: WhatIfFilters) -> Page[WhatIfView]:
    """Decide the history anew, as if other users had held PMP+.

    There is one item per deployment. It may take some seconds.
    """
    return await use.reports.what_if(wanted)


REPORTS: Final = (shared, holders, what_if)
