"""`reconcile`: does the Meeting Server count what we count, and which rules does it follow?"""

from collections.abc import Mapping
from typing import Any

import click

from cdr_service.cli.asking import ask, asking, print_json
from cdr_service.cli.past import show_past
from cdr_service.cli.tables import Row, moment, show
from cdr_service.settings.models import setting_name


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
        click.echo(f"Of ours, {standing['unoccupied']} go on with nobody in them; the server may count these or not.")
    for one in standing["differences"]:
        of = f" of {one['holder']}" if one["holder"] else ""
        told = "drift" if one["drift"] else "differs, and may be on its way"
        theirs, ours = f"{one['theirs']:g}", _band(one["fewest"], one["most"])
        click.echo(f"{told}: {one['count']}{of} since {moment(one['since'])}: the server {theirs}, we {ours}")
        click.echo(f"  {one['explanation']}")
        click.echo("".join(f"  cdr-service why {meeting}\n" for meeting in one["meetings"]), nl=False)


def _show_fit(fit: Mapping[str, Any]) -> None:
    """Print which rules the counts speak for, and what to set where that is sure and otherwise."""
    click.echo(
        f"Which rules does it follow? By its counts, in {fit['observations']} states in which a PMP+ was at stake, "
        f"{fit['telling']} of them telling:"
    )
    rows = [
        Row((one["setting"], one["configured"], one["recommended"], one["sure"]), one["reason"])
        for one in fit["choices"]
    ]
    show(("setting", "set to", "evidence says", "how sure"), rows, "Nothing was observed yet.", whole=True)
    if fit["unexplained"]:
        click.echo(
            f"Of these states, {fit['unexplained']} fit none of the rules: it follows a setting that is not scored, or "
            "knows a user or an owner otherwise than we do."
        )
    for one in fit["choices"]:
        if one["sure"] == "sure" and one["recommended"] != one["configured"]:
            click.echo(_advice(fit["deployment"], one))


def _advice(deployment: str, choice: Mapping[str, Any]) -> str:
    """Return what to set; what `auto` stands for is not known here."""
    between = "_" if deployment == "default" else "."
    key = choice["setting"] if choice["setting"] == "policy" else f"licensing{between}{choice['setting']}"
    name = setting_name(deployment, key)
    if choice["configured"] == "auto":
        return f"Where auto does not come to {choice['recommended']}, set {name}={choice['recommended']}."
    return f"To decide as the server does, set {name}={choice['recommended']}."


def _band(fewest: int | None, most: int | None) -> str:
    if fewest is None:
        return "-"
    return str(fewest) if fewest == most else f"{fewest} to {most}"
