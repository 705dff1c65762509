"""`usage`: the licenses in use, now and over time."""

from typing import Any

import click

from cdr_service.cli.ask import print_hints, say_more
from cdr_service.cli.asking import ask, asking, print_json, repeat, watching
from cdr_service.cli.over_time import show_history, show_peak
from cdr_service.cli.tables import Row, show


@click.command()
@asking
@watching
@click.option("--history", is_flag=True, help="What was in use in each hour, or another --step.")
@click.option("--peak", is_flag=True, help="When most of the shared pool was in use, and by which meetings.")
@click.option("--step", type=click.Choice(["1m", "5m", "1h", "1d"]), help="Of the history.")
@click.option("--since", help="A time such as 2026-01-05T09:00:00Z.")
@click.option("--until", help="The same.")
@click.option("--deployment")
@click.option("--policy", help="Count as under this policy rather than the one that decides.")
@click.option("--limit", type=click.IntRange(1, 500), help="Steps of the history.")
def usage(url: str | None, as_json: bool, watch: bool, history: bool, peak: bool, **filters: Any) -> None:
    """Show the licenses in use now; or what was in use over time."""
    given = [name for name, value in filters.items() if value is not None]
    unfit = given if not (history or peak) else [name for name in given if peak and name in ("step", "limit")]
    if history and peak:
        raise click.UsageError("Ask for --history or for --peak.")
    if unfit:
        raise click.UsageError(f"--{unfit[0]} is for --history{'' if peak else ' or --peak'}.")

    def once() -> None:
        if history:
            _history(url, filters, as_json=as_json)
        elif peak:
            _peak(url, filters, as_json=as_json)
        else:
            _now(url, as_json=as_json)

    repeat(once, watch=watch)


def _history(url: str | None, filters: dict[str, Any], *, as_json: bool) -> None:
    answer = ask(url, "/v1/usage/history", filters)
    if as_json:
        print_json(answer)
        return
    show_history(answer)
    say_more(answer)


def _peak(url: str | None, filters: dict[str, Any], *, as_json: bool) -> None:
    answer = ask(url, "/v1/usage/peak", filters, member="shared_sixths")
    if as_json:
        print_json(answer)
        return
    show_peak(answer)


def _now(url: str | None, *, as_json: bool) -> None:
    answer = ask(url, "/v1/usage")
    if as_json:
        print_json(answer)
        return
    rows = [
        Row(
            (
                _of(f"{u['shared']['licenses']:g}", u["shared"]["limit"]),
                u["personal"]["meetings"],
                _of(
                    "-" if u["personal"]["assigned"] is None else str(u["personal"]["assigned"]), u["personal"]["limit"]
                ),
                u["calls"],
                u["participants"],
                u["policy"],
                u["deployment"],
            )
        )
        for u in answer["items"]
    ]
    head = ("SMP+ licenses", "PMP+ meetings", "PMP+ users", "calls", "people", "policy", "deployment")
    show(head, rows, "No deployments.")
    for used in answer["items"]:
        print_hints(used)


def _of(used: str, limit: int | None) -> str:
    return used if limit is None else f"{used} of {limit}"
