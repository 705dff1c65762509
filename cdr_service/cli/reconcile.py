"""`reconcile`: does the Meeting Server count what we count, and which rules does it follow?"""

from collections.abc import Mapping
from typing import Any

import click

from cdr_service.cli.asking import ask, asking, print_json
from cdr_service.cli.past import show_past
from cdr_service.cli.tables import Row, moment, show


@click.command()
@asking
@click.option(
    "--past", type=click.IntRange(1, 72), metavar="HOURS", help="Past use, theirs beside ours, of so many hours."
)
@click.option("--deployment", help="Of --past.")
def reconcile(url: str | None, as_json: bool, past: int | None, deployment: str | None) -> None:
    """Compare our state with the license counts that the Meeting Server itself reports."""
    if past is not None:
        show_past(url, past, deployment, as_json=as_json)
        return
    compared, fits = ask(url, "/v1/reconciliation"), ask(url, "/v1/policies/fit")
    if as_json:
        print_json({"reconciliation": compared["items"], "fit": fits["items"]})
        return
    if not compared["items"]:
        click.echo("There is nothing to compare with: set CDR_CMS_URL, CDR_CMS_USERNAME and CDR_CMS_PASSWORD.")
        return
    for number, (standing, fit) in enumerate(zip(compared["items"], fits["items"], strict=True)):
        if number:
            click.echo()
        _show_standing(standing)
        _show_fit(fit)


def _show_standing(standing: Mapping[str, Any]) -> None:
    """Print the counts, theirs and ours, and what can explain where they differ."""
    since = f" since {moment(standing['since'])} (UTC)" if standing["since"] else ""
    at = f", compared at {moment(standing['compared_at'])}" if standing["compared_at"] else ""
    click.echo(f"{standing['deployment']}: {standing['state']}{since}{at}")
    if standing["reason"]:
        click.echo(f"The last poll could not be compared: {standing['reason']}")
    rows = [Row((one["count"], f"{one['theirs']:g}", _band(one["fewest"], one["most"]))) for one in standing["counts"]]
    show(("count", "Meeting Server", "ours"), rows, "Nothing was compared yet.")
    if standing["unoccupied"]:
        click.echo(f"Nobody is in {standing['unoccupied']} of our meetings; the server may count these.")
    for one in standing["differences"]:
        of = f" of {one['holder']}" if one["holder"] else ""
        told = "drift" if one["drift"] else "differs"
        click.echo(f"{told}: {one['count']}{of} since {moment(one['since'])}: {one['explanation']}")
        for meeting in one["meetings"]:
            click.echo(f"  {meeting}")


def _show_fit(fit: Mapping[str, Any]) -> None:
    """Print which rules the counts speak for."""
    click.echo(
        f"Rules: {fit['observations']} observations of holders, {fit['telling']} of them telling, "
        f"{fit['unexplained']} that no rule explains"
    )
    rows = [
        Row((one["setting"], one["configured"], one["recommended"], one["sure"]), one["reason"])
        for one in fit["choices"]
    ]
    show(("setting", "is", "evidence says", "how sure"), rows, "Nothing was observed yet.", whole=True)


def _band(fewest: int | None, most: int | None) -> str:
    if fewest is None:
        return "-"
    return str(fewest) if fewest == most else f"{fewest} to {most}"
