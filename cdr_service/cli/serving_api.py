"""The options of `simulate` by which it serves its REST API too, and how that counts licenses."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import wraps
from typing import Any, Final
from uuid import uuid4

import click

from cdr_service.simulator.api import PASSWORD, USERNAME
from cdr_service.simulator.api_licenses import Rules
from cdr_service.simulator.beside import Api, api_of
from cdr_service.simulator.run import new_bridges

_OPTIONS: Final = (
    click.option(
        "--api-port",
        type=click.IntRange(1, 65535),
        help="Serve its REST API on loopback too, one port for each Call Bridge from this one on; prints the settings.",
    ),
    click.option(
        "--rules",
        type=click.Choice(["join", "owner"]),
        default="join",
        show_default=True,
        help="The policy that its license counts follow.",
    ),
    click.option(
        "--sticky/--not-sticky", default=True, show_default=True, help="Does a PMP+ pay on once its holder has left?"
    ),
    click.option(
        "--per-holder",
        type=click.IntRange(1),
        default=2,
        show_default=True,
        help="How many meetings a PMP+ pays at a time.",
    ),
    click.option(
        "--spill-back/--no-spill-back",
        default=True,
        show_default=True,
        help="Does a meeting that found no free PMP+ take one that becomes free?",
    ),
    click.option(
        "--lag",
        type=click.FloatRange(0, 60),
        default=12,
        show_default=True,
        metavar="SECONDS",
        help="By how much its counts trail.",
    ),
    click.option(
        "--busy",
        type=click.FloatRange(0, 0.9),
        default=0,
        show_default=True,
        metavar="SHARE",
        help="Which share of requests is answered 503.",
    ),
)


def api_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options; the command gets them as `api`, None where no API is wanted."""

    @wraps(command)
    def with_api(*, api_port: int | None, lag: float, busy: float, **others: Any) -> None:
        rules = Rules(*(others.pop(name) for name in ("rules", "sticky", "per_holder", "spill_back")))
        command(api=None if api_port is None else Api(api_port, rules, lag, busy), **others)

    wrapped: Callable[..., None] = with_api
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


@asynccontextmanager
async def serving_api(
    api: Api | None,
    target: str,
    *,
    seed: int,
    token: str | None,
    bridges: int,
    cluster: bool,
    sessions: str | None,
    **_: Any,
) -> AsyncIterator[dict[str, Any]]:
    """Serve the API, and print how it is reached; yield what `simulate` needs so that it plays the same bridges."""
    if api is None:
        yield {}
        return
    named = sessions or uuid4().hex
    made = new_bridges(seed, sessions=named, bridges=bridges, cluster=cluster)
    async with AsyncExitStack() as stack:
        try:
            served = api_of(made, api, target, seed=seed, cluster=cluster, token=token)
            servers = await stack.enter_async_context(served)
        except OSError:
            raise click.ClickException(
                f"Of the {bridges} ports from {api.port} on, one cannot be had: name another --api-port."
            ) from None
        urls = ",".join(server.url for server in servers)
        click.echo(f"CDR_CMS_URL={urls} CDR_CMS_USERNAME={USERNAME} CDR_CMS_PASSWORD={PASSWORD}", err=True)
        yield {"made": made, "sessions": named}
