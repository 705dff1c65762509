"""`bridges`: the health of each Call Bridge."""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from cdr_service.cli.asking import ask, asking, print_json, repeat, watching
from cdr_service.cli.tables import Row, moment, show


@click.command()
@asking
@watching
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True)
def bridges(url: str | None, as_json: bool, watch: bool, limit: int) -> None:
    """Show what came from each Call Bridge, what is missing, what came twice, and what is wrong with it."""

    def once() -> None:
        answer = ask(url, "/v1/bridges", {"limit": limit})
        if as_json:
            print_json(answer)
            return
        rows = [
            Row(
                (
                    one["call_bridge"] or "(no name)",
                    moment(one["last_received_at"]) or "-",
                    one["records"],
                    one["missing"],
                    one["duplicates"],
                    one["release"] or "-",
                    one["deployment"],
                ),
                " ".join(_troubles(one)) or None,
            )
            for one in answer["items"]
        ]
        head = ("Call Bridge", "last received (UTC)", "records", "missing", "duplicates", "release", "deployment")
        show(head, rows, "No Call Bridge has pushed anything yet.", whole=True)
        if answer["next"]:
            click.echo("There are more; --limit takes up to 500.")

    repeat(once, watch=watch)


def _troubles(one: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong, a sentence each."""
    if one["warning"]:
        yield one["warning"]
    if one["receiver"] == "missing":
        yield "None of its CDR receivers is ours."
    if one["receiver"] == "wrong_token":
        yield "Its CDR receiver of ours has another token than we take."
    if one["alarms"]:
        yield f"Its alarms: {', '.join(one['alarms'])}."
    if one["problem"]:
        yield one["problem"]
