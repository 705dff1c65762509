"""`tail`: the event stream in a terminal, followed on and on, also through a restart of the service."""

import sys
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPException, HTTPResponse
from typing import Any, Final, NamedTuple

import click
import msgspec
from rich.console import Console
from rich.text import Text

from cdr_service.cli.asking import Place, Unanswered, asking, find_place
from cdr_service.cli.tables import UNCUT, moment
from cdr_service.domain.text import printable

AGAIN_SECONDS: Final = 2.0
LICENSE_COLORS: Final = {"SMP+": "yellow", "PMP+": "cyan"}
"""Told apart by people who see few colors, too."""


class Arrived(NamedTuple):
    """An event as it came."""

    id: str
    event: str
    data: str


@click.command()
@asking
@click.option("--types", help="Names of events, separated by commas; license.* for all that begin so.")
@click.option("--deployment")
@click.option("--call", help="Id of a call.")
@click.option("--after", "after", metavar="ID", help="Begin after the event of this stream id, rather than now.")
def tail(url: str | None, as_json: bool, after: str | None, **filters: str | None) -> None:
    """Follow what happens, from now on, until Ctrl-C."""
    place = find_place(url)
    console = Console(width=None if sys.stdout.isatty() else UNCUT, highlight=False)
    try:
        for arrived in followed(place, filters, after or ""):
            if as_json:
                click.echo(arrived.data)
            else:
                console.print(line_of(msgspec.json.decode(arrived.data)), soft_wrap=True)
    except KeyboardInterrupt:
        return


def followed(place: Place, filters: Mapping[str, str | None], last: str) -> Iterator[Arrived]:
    """Give events for ever; a service that is away for a while is waited for, and nothing is lost by it."""
    known = away = False
    while True:
        try:
            headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
            with place.open("/v1/events", filters, headers) as response:
                if response.headers.get_content_type() != "text/event-stream":
                    raise click.ClickException(place.is_another)
                if away:
                    click.echo("The service is back.", err=True)
                known, away = True, False
                for arrived in events_of(response):
                    last = arrived.id
                    if arrived.event:
                        yield arrived
        except Unanswered:
            if not known:
                raise
            if not away:
                click.echo("The service does not answer; waiting for it.", err=True)
            away = True
        except (HTTPException, OSError):
            pass  # the connection was cut
        time.sleep(AGAIN_SECONDS)


def events_of(response: HTTPResponse) -> Iterator[Arrived]:
    """Read events as the standard says (WHATWG HTML, section 9.2). One without a name only brings its id."""
    fields: dict[str, str] = {}
    id_ = ""
    for raw in response:
        line = raw.decode().rstrip("\r\n")
        if not line:
            if fields:
                id_ = fields.get("id", id_)
                yield Arrived(id_, fields.get("event", ""), fields.get("data", ""))
            fields = {}
        elif not line.startswith((":", "retry:")):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")


def line_of(told: Mapping[str, Any]) -> Text:
    """Return an event as one line for people, and for what explains it another."""
    line = Text()
    line.append(f"{moment(told.get('record_time') or told['timestamp'])}  ", style="dim")
    warns = told.get("level") == "warning"
    line.append(f"{_safe(told['event']):<22}  ", style="bold red" if warns else "bold")
    if told["event"].startswith("license."):
        if "from" in told:
            _append_license(line, told["from"], told.get("from_holder"))
            line.append(" → ")
        _append_license(line, told.get("to"), told.get("holder"))
        line.append(f"  {_safe(told.get('name'))}")
    else:
        who = told.get("user") or told.get("display_name") or told.get("remote_party") or told.get("name")
        line.append(_safe(who or told.get("call_bridge") or ""))
        if told.get("holds_license"):
            line.append(" holds PMP+", style=LICENSE_COLORS["PMP+"])
    line.append(f"  {_safe(_call(told))}", style="dim")
    if reason := told.get("reason"):
        line.append(f"\n          {_safe(reason)}", style="dim")
    return line


def _append_license(line: Text, license_: str | None, holder: str | None) -> None:
    line.append(license_ or "none", style=LICENSE_COLORS.get(license_ or "", "dim"))
    if holder:
        line.append(f" of {_safe(holder)}")


def _call(told: Mapping[str, Any]) -> str | None:
    calls = told.get("calls") or ()
    return told.get("call") or (calls[0] if calls else None)


def _safe(text: object) -> str:
    return "" if text is None else printable(str(text))
