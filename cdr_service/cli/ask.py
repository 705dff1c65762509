"""`calls`, `call`, `switches` and `usage`: the query API in a terminal."""

import json
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

import click

from cdr_service.cli.over_time import show_history, show_peak
from cdr_service.cli.tables import Row, moment, show, show_facts
from cdr_service.domain.text import printable
from cdr_service.settings import ServiceSettings, SettingsError, load_only

SECONDS: Final = 30
"""How long an answer may take."""
UNAUTHORIZED: Final = 401

F = Callable[..., None]


class _NoRedirect(HTTPRedirectHandler):
    """Follows no redirect: the token is for the API that was named, and for nobody whom it names."""

    def redirect_request(self, *_: Any) -> None:
        """Take a redirect for the end."""


def asking(command: F) -> F:
    """Add the options that every querying command has."""
    url = click.option("--url", default=None, help="Where the API is; else CDR_API_BIND. A token: CDR_API_TOKEN.")
    as_json = click.option("--json", "as_json", is_flag=True, help="The API's own answer, for programs.")
    return url(as_json(command))


def ask(
    url: str | None,
    path: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    member: str = "items",
    body: Any = None,
    seconds: float = SECONDS,
) -> Any:
    """Return the API's answer, which has `member`; end with one sentence where there is none. A `body` is posted."""
    url, token = _place(url)
    query = urlencode({name: value for name, value in (parameters or {}).items() if value is not None})
    target = f"{url.rstrip('/')}{path}" + (f"?{query}" if query else "")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    data = None
    if body is not None:
        headers["Content-Type"], data = "application/json", json.dumps(body).encode()
    request = Request(target, data, headers)  # noqa: S310 - see _place
    where = printable(url)
    try:
        with _opener().open(request, timeout=seconds) as response:
            answer = json.load(response)
    except HTTPError as problem:
        raise click.ClickException(_detail(problem)) from None
    except (URLError, OSError) as problem:
        reason = getattr(problem, "reason", problem)
        raise click.ClickException(
            f"No service answers at {where} ({reason}); start it, or name its API by --url."
        ) from None
    except (HTTPException, ValueError):
        answer = None
    if not isinstance(answer, dict) or member not in answer:
        raise click.ClickException(f"What answers at {where} is not this service's API; name it by --url.")
    return answer


def _place(url: str | None) -> tuple[str, str | None]:
    """Return where the API is, and the token that lets in. Of the settings only those that tell this are read."""
    if url is None:
        settings = load_only(ServiceSettings, "api_bind", "api_tls_cert", "api_token")
        bind = settings.api_bind
        if bind.port == 0:
            raise SettingsError("CDR_API_BIND takes any free port: name the API by --url, as service.started says it.")
        url = f"{'https' if settings.api_tls_cert else 'http'}://{bind}"
    else:
        settings = load_only(ServiceSettings, "api_token")
    try:
        request = Request(url)  # noqa: S310 - what comes of it is checked here
        good = request.type in ("http", "https") and bool(request.host) and not set(url) & set("?# ")
    except ValueError:
        good = False
    if not good:
        raise click.UsageError("--url must be a URL such as http://127.0.0.1:8081.")
    return url, settings.api_token.get_secret_value() if settings.api_token else None


def _opener() -> OpenerDirector:
    # No proxy: the API is on this machine or near it, and its token is not for a proxy to read.
    return build_opener(ProxyHandler({}), _NoRedirect)


def _detail(problem: HTTPError) -> str:
    if problem.code == UNAUTHORIZED:
        return "The API wants its token: set CDR_API_TOKEN to it."
    try:
        return printable(str(json.load(problem)["detail"]))
    except (ValueError, KeyError, TypeError, OSError):
        return f"The service answered {problem.code}."


def license_text(license_: Mapping[str, Any] | None) -> str:
    """Return a license of the API in short."""
    if license_ is None:
        return "none"
    if license_["holder"]:
        return f"{license_['type']} of {license_['holder']}"
    return license_["type"] if license_["weight"] == "1" else f"{license_['weight']} {license_['type']}"


def print_json(answer: Any) -> None:
    """Print the API's own answer."""
    click.echo(json.dumps(answer, indent=2))


def _print_hints(shown: Mapping[str, Any]) -> None:
    for hint in shown["hints"]:
        click.echo(f"Look at: {printable(hint, 2000)}")


def _say_more(answer: Mapping[str, Any]) -> None:
    if answer["next"]:
        click.echo(f"These are the newest {len(answer['items'])}; there are more. --limit takes up to 500.")


@click.command()
@asking
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
        print_json(answer)
        return
    rows = [
        Row(
            (moment(c["started_at"]), c["participants"], license_text(c["license"]), c["name"]),
            f"{c['id']}  {c['license']['reason'] if c['license'] else c['state']}",
        )
        for c in answer["items"]
    ]
    show(("started (UTC)", "people", "license", "name"), rows, "No calls.", below="id  why this license")
    _say_more(answer)


@click.command()
@asking
@click.argument("id_", metavar="ID")
@click.option("--deployment", help="Where the id is known in several.")
def call(url: str | None, as_json: bool, id_: str, deployment: str | None) -> None:
    """Show one call: its license, and how that came about."""
    answer = ask(url, f"/v1/calls/{quote(id_, safe='')}", {"deployment": deployment}, member="transitions")
    if as_json:
        print_json(answer)
        return
    show_facts(
        {
            "call": answer["id"],
            "name": answer["name"],
            "state": answer["state"],
            "from (UTC)": moment(answer["started_at"]),
            "to (UTC)": moment(answer["ended_at"]),
            "people": f"{answer['participants']}, at most {answer['participants_peak']}",
            "license": license_text(answer["license"]),
            "why": (answer["license"] or {}).get("reason"),
            **{f"under {policy}": license_text(other) for policy, other in answer["alternatives"].items()},
            "meeting": answer["meeting"],
            "complete": "yes" if answer["complete"] else "no, records that could belong to it are lost",
        }
    )
    click.echo()
    rows = [
        Row((moment(t["at"]), license_text(t["from"]), license_text(t["to"]), t["cause"]), t["reason"])
        for t in answer["transitions"]
    ]
    show(("at (UTC)", "from", "to", "cause"), rows, "No license was taken yet.", below="why", whole=True)
    _print_hints(answer)


@click.command()
@asking
@click.option("--kind", type=click.Choice(["type", "holder", "weight", "all"]), default="type", show_default=True)
@click.option("--late", type=click.Choice(["false", "true", "all"]), default="false", show_default=True)
@click.option("--holder", help="Whose PMP+ it was or became.")
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True)
def switches(url: str | None, as_json: bool, **filters: Any) -> None:
    """List the moments at which meetings went from one license to another."""
    answer = ask(url, "/v1/switches", filters)
    if as_json:
        print_json(answer)
        return
    rows = [
        Row(
            (moment(s["at"]), license_text(s["from"]), license_text(s["to"]), s["name"]),
            f"{' '.join(s['calls'][:1])}  {s['reason']}",
        )
        for s in answer["items"]
    ]
    show(("at (UTC)", "from", "to", "name"), rows, "No switches.", below="id of a call  why")
    _say_more(answer)


@click.command()
@asking
@click.option("--history", is_flag=True, help="What was in use in each hour, or another --step.")
@click.option("--peak", is_flag=True, help="When most of the shared pool was in use, and by which meetings.")
@click.option("--step", type=click.Choice(["1m", "5m", "1h", "1d"]), help="Of the history.")
@click.option("--since", help="A time such as 2026-01-05T09:00:00Z.")
@click.option("--until", help="The same.")
@click.option("--deployment")
@click.option("--policy", help="Count as under this policy rather than the one that decides.")
@click.option("--limit", type=click.IntRange(1, 500), help="Steps of the history.")
def usage(url: str | None, as_json: bool, history: bool, peak: bool, **filters: Any) -> None:
    """Show the licenses in use now; or what was in use over time."""
    given = [name for name, value in filters.items() if value is not None]
    unfit = given if not (history or peak) else [name for name in given if peak and name in ("step", "limit")]
    if history and peak:
        raise click.UsageError("Ask for --history or for --peak.")
    if unfit:
        raise click.UsageError(f"--{unfit[0]} is for --history{'' if peak else ' or --peak'}.")
    if history or peak:
        path, member = ("/v1/usage/history", "items") if history else ("/v1/usage/peak", "shared_sixths")
        answer = ask(url, path, filters, member=member)
        if as_json:
            print_json(answer)
        elif peak:
            show_peak(answer)
        else:
            show_history(answer)
            _say_more(answer)
        return
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
    for item in answer["items"]:
        _print_hints(item)


def _of(used: str, limit: int | None) -> str:
    return used if limit is None else f"{used} of {limit}"
