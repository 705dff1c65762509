"""`reconcile --past`: our history of use beside the Meeting Server's own, moment by moment."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from cdr_service.cli.asking import ask, print_json
from cdr_service.cli.tables import Row, moment, show
from cdr_service.domain.views import rfc3339

HOUR: Final = 3_600_000
NOTHING: Final = (
    "Nothing is kept of what the Meeting Server says was in use then. It is read where CDR_CMS_URL is set, from release"
    " 2.6, and kept for three days."
)


def show_past(url: str | None, hours: int, deployment: str | None, *, as_json: bool) -> None:
    """Print the table, newest first."""
    lines = list(_lines(url, hours, deployment))
    if as_json:
        print_json({"items": lines})
        return
    several = len({line["deployment"] for line in lines}) > 1
    rows = [
        Row(
            (
                moment(line["at"]),
                f"{line['personal']:g}",
                _shown(line["our_personal"]),
                f"{line['shared_licenses']:.3g}",
                _shown(line["our_shared_licenses"]),
                f"{line['full']:g} + {line['audio']:g} + {line['point_to_point']:g}",
                "differs" if line["differs"] else "",
                *([line["deployment"]] if several else ()),
            )
        )
        for line in lines
    ]
    head = ("at (UTC)", "PMP+", "ours", "SMP+", "ours", "full + audio + point-to-point", "")
    show((*head, "deployment") if several else head, rows, NOTHING)


def _lines(url: str | None, hours: int, deployment: str | None) -> Iterator[Mapping[str, Any]]:
    since = rfc3339(time.time_ns() // 1_000_000 - hours * HOUR)
    cursor = None
    while True:
        wanted = {"deployment": deployment, "since": since, "limit": 500, "cursor": cursor}
        answer = ask(url, "/v1/reconciliation/past", wanted)
        yield from answer["items"]
        cursor = answer["next"]
        if cursor is None:
            return


def _shown(count: float | None) -> str:
    return "-" if count is None else f"{count:g}"
