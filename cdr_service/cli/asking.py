"""How commands ask the query API: where it is, by which token, and what to say where there is no answer."""

import json
import ssl
import sys
import time
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request, build_opener

import click

from cdr_service.domain.text import printable
from cdr_service.settings import ServiceSettings, SettingsError, load_only

SECONDS: Final = 30
"""How long an answer may take."""
WATCH_SECONDS: Final = 2.0
UNAUTHORIZED: Final = 401

F = Callable[..., None]


class Unanswered(click.ClickException):
    """Nobody answers now; later somebody may."""


class Place(NamedTuple):
    """Where the API is."""

    url: str
    token: str | None
    certificate: Path | None = None
    """That of the API, where the settings of the service say it."""

    def open(
        self,
        path: str,
        parameters: Mapping[str, Any],
        headers: Mapping[str, str],
        body: Any = None,
        seconds: float = SECONDS,
    ) -> HTTPResponse:
        """Return the answer to a request. Raises ClickException with one sentence where there is none."""
        query = urlencode({name: value for name, value in parameters.items() if value is not None})
        target = f"{self.url.rstrip('/')}{path}" + (f"?{query}" if query else "")
        sent = {**headers, **({"Authorization": f"Bearer {self.token}"} if self.token else {})}
        data = None
        if body is not None:
            sent["Content-Type"], data = "application/json", json.dumps(body).encode()
        request = Request(target, data, sent)  # noqa: S310 - checked by `find_place`
        where = printable(self.url)
        try:
            answer: HTTPResponse = _opener(self.certificate).open(request, timeout=seconds)
        except HTTPError as problem:
            kind = Unanswered if problem.code >= 500 else click.ClickException  # noqa: PLR2004 - HTTP's own limit
            raise kind(_detail(problem)) from None
        except (URLError, OSError) as problem:
            reason = getattr(problem, "reason", problem)
            raise Unanswered(f"No service answers at {where} ({reason}); start it, or name its API by --url.") from None
        except (HTTPException, ValueError):
            raise click.ClickException(self.is_another) from None
        return answer

    @property
    def is_another(self) -> str:
        """What to say of an answer that is not this service's."""
        return f"What answers at {printable(self.url)} is not this service's API; name it by --url."


class _NoRedirect(HTTPRedirectHandler):
    """Follows no redirect: the token is for the API that was named, and for nobody whom it names."""

    def redirect_request(self, *_: Any) -> None:
        """Take a redirect for the end."""


def _opener(certificate: Path | None) -> OpenerDirector:
    # No proxy: the API is on this machine or near it, and its token is not for a proxy to read.
    direct = (ProxyHandler({}), _NoRedirect)
    return build_opener(*direct, HTTPSHandler(context=_trusting(certificate))) if certificate else build_opener(*direct)


def _trusting(certificate: Path) -> ssl.SSLContext:
    """Return a client's context for which only this certificate is good, whoever signed it.

    It is not asked for the host: CDR_API_BIND says where the API listens, such as 0.0.0.0, which no certificate names.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # Those of the authorities behind it are left out: they signed others, too.
    own, end, _ = certificate.read_text("ascii", "ignore").partition("-----END CERTIFICATE-----")
    context.load_verify_locations(cadata=own + end)
    return context


def asking(command: F) -> F:
    """Add the options that every querying command has."""
    url = click.option("--url", default=None, help="Where the API is; else CDR_API_BIND. A token: CDR_API_TOKEN.")
    as_json = click.option("--json", "as_json", is_flag=True, help="The API's own answer, for programs.")
    return url(as_json(command))


watching: Final = click.option("--watch", is_flag=True, help="Ask again every two seconds, until Ctrl-C.")


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
    place = find_place(url)
    try:
        with place.open(path, parameters or {}, {}, body, seconds) as response:
            answer = json.load(response)
    except (HTTPException, ValueError, OSError):
        answer = None
    if not isinstance(answer, dict) or member not in answer:
        raise click.ClickException(place.is_another)
    return answer


def repeat(once: Callable[[], None], *, watch: bool) -> None:
    """Show something once, or again and again; then a service that is away for a while ends nothing."""
    once()
    try:
        while watch:
            time.sleep(WATCH_SECONDS)
            _again(once)
    except KeyboardInterrupt:
        return


def _again(once: Callable[[], None]) -> None:
    if sys.stdout.isatty():
        click.clear()
    try:
        once()
    except Unanswered as problem:
        problem.show()


def find_place(url: str | None) -> Place:
    """Return where the API is, and the token that lets in. Of the settings only those that tell this are read."""
    certificate = None
    if url is None:
        settings = load_only(ServiceSettings, "api_bind", "api_tls_cert", "api_token")
        bind = settings.api_bind
        if bind.port == 0:
            raise SettingsError("CDR_API_BIND takes any free port: name the API by --url, as service.started says it.")
        certificate = settings.api_tls_cert
        url = f"{'https' if certificate else 'http'}://{bind}"
    else:
        settings = load_only(ServiceSettings, "api_token")
    try:
        request = Request(url)  # noqa: S310 - what comes of it is checked here
        good = request.type in ("http", "https") and bool(request.host) and not set(url) & set("?# ")
    except ValueError:
        good = False
    if not good:
        raise click.UsageError("--url must be a URL such as http://127.0.0.1:8081.")
    return Place(url, settings.api_token.get_secret_value() if settings.api_token else None, certificate)


def print_json(answer: Any) -> None:
    """Print the API's own answer."""
    click.echo(json.dumps(answer, indent=2))


def _detail(problem: HTTPError) -> str:
    if problem.code == UNAUTHORIZED:
        return "The API wants its token: set CDR_API_TOKEN to it."
    try:
        return printable(str(json.load(problem)["detail"]))
    except (ValueError, KeyError, TypeError, OSError):
        return f"The service answered {problem.code}."
