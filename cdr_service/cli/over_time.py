"""Tables of what was in use over time."""

from collections.abc import Mapping
from typing import Any

import click

from cdr_service.cli.tables import Row, moment, show


def show_history(answer: Mapping[str, Any]) -> None:
    """Print the steps of the history, newest first."""
    rows = [
        Row(
            (
                moment(step["start"]),
                f"{step['shared_licenses_peak']:g}",
                step["personal_peak"],
                step["participants_peak"],
                step["deployment"],
            )
        )
        for step in answer["items"]
    ]
    show(("from (UTC)", "SMP+ at most", "meetings on PMP+", "people", "deployment"), rows, "Nothing was recorded then.")


def show_peak(answer: Mapping[str, Any]) -> None:
    """Print when most of each shared pool was in use, and by which meetings."""
    every = [answer, *answer["others"]]
    for place, peak in enumerate(every):
        if place:
            click.echo()
        _show_one(peak, f"{peak['deployment']}: " if len(every) > 1 else "")


def _show_one(peak: Mapping[str, Any], of: str) -> None:
    """Print the peak of a deployment."""
    if peak["at"] is None:
        click.echo(f"{of}No SMP+ was used then.")
        return
    click.echo(f"{of}{peak['shared_licenses']:g} SMP+ at {moment(peak['at'])} (UTC), by the policy {peak['policy']}")
    rows = [
        Row((meeting["weight"], moment(meeting["since"]), meeting["owner"], meeting["name"]), meeting["id"])
        for meeting in peak["meetings"]
    ]
    show(("SMP+", "since (UTC)", "owner", "meeting"), rows, "The meetings that made it are no longer kept.")
