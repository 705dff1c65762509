"""`reconcile --past`: our history of use beside the Meeting Server's own, moment by moment."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from cdr_service.cli.asking import ask, print_json
from cdr_service.cli.tables import Row, moment, show
from cdr_service.cms.client import CmsClient
from cdr_service.cms.errors import CmsError
from cdr_service.cms.past import PastUse, past_use
from cdr_service.domain.views import rfc3339
from cdr_service.enquiries.informant import cms_client
from cdr_service.settings import SettingsError, load_settings
from cdr_service.settings.models import setting_name

MINUTE: Final = 60_000
NEAR: Final = 0.05
"""Licenses that are no difference: theirs have two decimals."""


def cms_of(config: Path | None, deployment: str) -> CmsClient:
    """Return a client of a deployment's API. Raises SettingsError where there is none."""
    settings = load_settings(config)
    given = settings.deployments.get(deployment)
    if given is None:
        names = ", ".join(settings.deployments)
        raise SettingsError(f'There is no deployment "{deployment}"; those that exist: {names}.')
    client = cms_client(deployment, given)
    if client is None:
        raise SettingsError(f"{setting_name(deployment, 'cms_url')} is not set, so there is no Meeting Server to ask.")
    return client


async def show_past(client: CmsClient, url: str | None, deployment: str, hours: int, *, as_json: bool) -> None:
    """Print the table, newest first."""
    until = time.time_ns() // 1_000_000
    since = until - hours * 60 * MINUTE
    async with client:
        try:
            theirs = await past_use(client, since, until)
        except CmsError as problem:
            raise click.ClickException(str(problem)) from None
    ours = _ours(url, deployment, since - MINUTE, until)
    lines = [_line(use, ours) for use in theirs]
    if as_json:
        print_json({"items": lines})
        return
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
            )
        )
        for line in lines
    ]
    head = ("at (UTC)", "PMP+", "ours", "SMP+", "ours", "full + audio + point-to-point", "")
    show(head, rows, "The Meeting Server tells of no past use then.")


def _ours(url: str | None, deployment: str, since: int, until: int) -> Mapping[str, Mapping[str, Any]]:
    """Return the most that was in use in each minute, by its start."""
    found: dict[str, Mapping[str, Any]] = {}
    cursor = None
    while True:
        wanted = {"deployment": deployment, "step": "1m", "since": rfc3339(since), "until": rfc3339(until)}
        answer = ask(url, "/v1/usage/history", {**wanted, "limit": 500, "cursor": cursor})
        found |= {step["start"]: step for step in answer["items"]}
        cursor = answer["next"]
        if cursor is None:
            return found


def _line(use: PastUse, ours: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return a moment with theirs and ours: the server trails, so the minute before counts as well."""
    minutes = [ours.get(rfc3339((use.at // MINUTE - back) * MINUTE)) for back in (0, 1)]
    known = [minute for minute in minutes if minute is not None]
    now = known[0] if known else None
    personal = [minute["personal_peak"] for minute in known]
    shared = [minute["shared_licenses_peak"] for minute in known]
    return {
        "at": rfc3339(use.at),
        "personal": float(use.personal),
        "our_personal": now and now["personal_peak"],
        "shared_licenses": round(use.shared_licenses, 3),
        "our_shared_licenses": now and now["shared_licenses_peak"],
        "full": float(use.full),
        "audio": float(use.audio),
        "point_to_point": float(use.point_to_point),
        "differs": bool(known) and not (_near(float(use.personal), personal) and _near(use.shared_licenses, shared)),
    }


def _near(theirs: float, ours: list[float]) -> bool:
    return any(abs(theirs - one) <= NEAR for one in ours)


def _shown(count: float | None) -> str:
    return "-" if count is None else f"{count:g}"
