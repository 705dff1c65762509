"""`calls`, `call`, `switches` and `usage`: the query API in a terminal."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

import click
from rich.console import Console
from rich.table import Table

from cdr_service.domain.text import printable
from cdr_service.settings import load_settings

SECONDS: Final = 30
"""How long an answer may take."""

F = Callable[..., None]


def _asking(command: F) -> F:
    """Add the options that every querying command has."""
    url = click.option("--url", default=None, help="Where the API is; else CDR_API_BIND. A token: CDR_API_TOKEN.")
    as_json = click.option("--json", "as_json", is_flag=True, help="The API's own answer, for programs.")
    return url(as_json(command))


def ask(url: str | None, path: str, parameters: Mapping[str, Any] | None = None) -> Any:
    """Return the API's answer; end with one sentence where there is none."""
    token = os.environ.get("CDR_API_TOKEN")
    if url is None:
        settings = load_settings()
        url = f"{'https' if settings.api_tls_cert else 'http'}://{settings.api_bind}"
        token = settings.api_token.get_secret_value() if settings.api_token else None
    query = urlencode({name: value for name, value in (parameters or {}).items() if value is not None})
    target = f"{url.rstrip('/')}{path}" + (f"?{query}" if query else "")
    if not target.startswith(("http://", "https://")):
        raise click.UsageError("--url must begin with http:// or https://.")
    request = Request(target, headers={"Authorization": f"Bearer {token}"} if token else {})  # noqa: S310 - see above
    try:
        with urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 - checked above
            return json.load(answer)
    except HTTPError as problem:
        raise click.ClickException(_detail(problem)) from None
    except (URLError, OSError) as problem:
        reason = getattr(problem, "reason", problem)
        raise click.ClickException(f"No service answers at {url} ({reason}); start it, or name it by --url.") from None
    except json.JSONDecodeError:
        raise click.ClickException(f"What answers at {url} is not this service's API.") from None


def _detail(problem: HTTPError) -> str:
    try:
        return str(json.load(problem)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"The service answered {problem.code}."


def _show(columns: Sequence[str], rows: Sequence[Sequence[Any]], nothing: str) -> None:
    """Print a table; text from the wire can do nothing in it."""
    console = Console()
    if not rows:
        console.print(nothing)
        return
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(printable("" if cell is None else str(cell)) for cell in row))
    console.print(table, markup=False)


def _license(license_: Mapping[str, Any] | None) -> str:
    if license_ is None:
        return "none"
    if license_["holder"]:
        return f"{license_['type']} of {license_['holder']}"
    return license_["type"] if license_["weight"] == "1" else f"{license_['weight']} {license_['type']}"


@click.command()
@_asking
@click.option("--state", type=click.Choice(["active", "ended", "all"]), default="active", show_default=True)
@click.option("--license", "license_", type=click.Choice(["SMP+", "PMP+", "none"]))
@click.option("--holder", help="Whose PMP+ pays or paid.")
@click.option("--participant", help="A user, an address or a number.")
@click.option("--name", help="A part of the name.")
@click.option("--meeting", help="Id of a meeting.")
@click.option("--deployment")
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True)
def calls(url: str | None, as_json: bool, license_: str | None, **filters: Any) -> None:
    """List calls with the license that each uses."""
    answer = ask(url, "/v1/calls", {"license": license_, **filters})
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    rows = [
        (
            c["name"],
            c["participants"],
            _license(c["license"]),
            (c["license"] or {}).get("reason"),
            c["started_at"],
            c["id"],
        )
        for c in answer["items"]
    ]
    _show(("name", "people", "license", "why", "since", "call"), rows, "No calls.")


@click.command()
@_asking
@click.argument("id_", metavar="ID")
def call(url: str | None, as_json: bool, id_: str) -> None:
    """Show one call: its license, and how that came about."""
    answer = ask(url, f"/v1/calls/{quote(id_, safe='')}")
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    lines = {
        "name": answer["name"],
        "state": answer["state"],
        "from": answer["started_at"],
        "to": answer["ended_at"],
        "people": f"{answer['participants']}, at most {answer['participants_peak']}",
        "license": _license(answer["license"]),
        "why": (answer["license"] or {}).get("reason"),
        **{f"under {policy}": _license(other) for policy, other in answer["alternatives"].items()},
        "meeting": answer["meeting"],
        "complete": "yes" if answer["complete"] else "no, records that could belong to it are lost",
    }
    for name, value in lines.items():
        click.echo(f"{name:<13} {printable('-' if value is None else str(value))}")
    click.echo()
    rows = [(t["at"], _license(t["from"]), _license(t["to"]), t["cause"], t["reason"]) for t in answer["transitions"]]
    _show(("at", "from", "to", "cause", "why"), rows, "No license was taken yet.")


@click.command()
@_asking
@click.option("--kind", type=click.Choice(["type", "holder", "weight", "all"]), default="type", show_default=True)
@click.option("--late", type=click.Choice(["false", "true", "all"]), default="false", show_default=True)
@click.option("--holder", help="Whose PMP+ it was or became.")
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True)
def switches(url: str | None, as_json: bool, **filters: Any) -> None:
    """List the moments at which meetings went from one license to another."""
    answer = ask(url, "/v1/switches", filters)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    rows = [(s["at"], s["name"], _license(s["from"]), _license(s["to"]), s["reason"]) for s in answer["items"]]
    _show(("at", "name", "from", "to", "why"), rows, "No switches.")


@click.command()
@_asking
def usage(url: str | None, as_json: bool) -> None:
    """Show the licenses in use now."""
    answer = ask(url, "/v1/usage")
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    rows = [
        (
            u["deployment"],
            u["policy"],
            f"{u['shared']['licenses']:g} of {u['shared']['limit'] if u['shared']['limit'] is not None else '?'}",
            u["personal"]["meetings"],
            u["calls"],
            u["participants"],
        )
        for u in answer["items"]
    ]
    _show(("deployment", "policy", "SMP+", "meetings on PMP+", "calls", "people"), rows, "No deployments.")
