"""`report`: what took shared licenses, how holders use theirs, and what would be with other holders."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from cdr_service.cli.asking import ask, asking, print_json
from cdr_service.cli.tables import Row, moment, show
from cdr_service.domain.text import printable

SECONDS: Final = 300
"""How long a report may take: it may look at every call leg of months, and wait for another report."""

F = Callable[..., None]


def _spanning(command: F) -> F:
    """Add the options that every report has."""
    for option in (
        click.option("--policy", help="Count as under this policy rather than the one that decides."),
        click.option("--deployment"),
        click.option("--until", help="The same."),
        click.option("--since", help="A time such as 2026-01-05T09:00:00Z; else all that is kept."),
    ):
        command = option(command)
    return asking(command)


@click.group()
def report() -> None:
    """Report on the use of licenses over time."""


@report.command()
@_spanning
@click.option(
    "--by", type=click.Choice(["cospace", "owner", "call_type", "user"]), default="cospace", show_default=True
)
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True)
def shared(url: str | None, as_json: bool, **filters: Any) -> None:
    """Rank the spaces, owners or kinds of meeting that took SMP+, or the users who were in them."""
    answer = ask(url, "/v1/reports/shared", filters, seconds=SECONDS)
    if as_json:
        print_json(answer)
        return
    rows = [
        Row(
            (
                f"{row['license_hours']:.2f}",
                f"{row['meeting_hours']:.2f}",
                row["meetings"],
                f"{row['share_of_peak']:.0%}",
                row["name"] or row["key"] or "none known",
            ),
            row["key"] if row["name"] else None,
        )
        for row in answer["items"]
    ]
    show(("SMP+ hours", "meeting hours", "meetings", "of the peak", filters["by"]), rows, "No SMP+ was used then.")


@report.command()
@_spanning
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True)
def holders(url: str | None, as_json: bool, **filters: Any) -> None:
    """Show how each PMP+ is used, and which never is."""
    answer = ask(url, "/v1/reports/holders", filters, seconds=SECONDS)
    if as_json:
        print_json(answer)
        return
    rows = [
        Row(
            (
                row["meetings"],
                f"{row['meeting_hours']:.2f}",
                row["most_at_once"],
                "never" if row["never_used"] else moment(row["last_used_at"]),
                row["user"] if row["holds_license"] else f"{row['user']} (holds none now)",
            )
        )
        for row in answer["items"]
    ]
    show(("meetings", "hours", "at once", "last (UTC)", "holder"), rows, "Nobody holds PMP+, and nobody's was used.")


@report.command("what-if")
@_spanning
@click.option("--assign", required=True, help="Users who are taken to hold PMP+, separated by commas.")
def what_if(url: str | None, as_json: bool, **filters: Any) -> None:
    """Decide the history anew, as if some users had held PMP+."""
    answer = ask(url, "/v1/reports/what-if", filters, seconds=SECONDS)
    if as_json:
        print_json(answer)
        return
    for item in answer["items"]:
        changed = f"{item['meetings_changed']} of {item['meetings']} meetings would have been charged otherwise"
        click.echo(f"{item['deployment']}, by the policy {item['policy']}: {changed}.")
        if item["unknown"]:
            click.echo(f"Not in the directory, found by address alone: {printable(', '.join(item['unknown']))}.")
        rows = [Row(_used(name, item[name])) for name in ("before", "after")]
        show(("", "SMP+ at most", "at (UTC)", "SMP+ hours", "meetings on PMP+ at most"), rows, "")
    if not answer["items"]:
        click.echo("Nothing was recorded then.")


def _used(name: str, use: Mapping[str, Any]) -> tuple[Any, ...]:
    licenses, hours = f"{use['shared_licenses']:g}", f"{use['shared_license_hours']:.2f}"
    return name, licenses, moment(use["at"]), hours, use["personal_peak"]
