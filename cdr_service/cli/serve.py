"""`serve` and `demo`: the service, and the service with everything that shows what it does."""

import asyncio
import contextlib
import gc
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import click

from cdr_service.cli.receiver import curl, kept_token, where_to_push
from cdr_service.compose import Running, opened, running, say_started, say_stopped
from cdr_service.logs import configure_logging
from cdr_service.settings import Settings, load_settings
from cdr_service.simulator.api import PASSWORD, USERNAME, serving
from cdr_service.simulator.api_model import example_directory
from cdr_service.simulator.api_nodes import Deployment
from cdr_service.simulator.beside import OWNERS
from cdr_service.simulator.people import HOLDERS
from cdr_service.simulator.run import new_bridges, simulate
from cdr_service.supervisor import Supervisor, supervisor_gone, taken_over

DEMO_SPEED: Final = 40.0
"""Simulated meetings run so much faster than real ones, so that something happens while one looks."""
DEMO_BRINGS: Final = (
    *("CDR_CONFIG", "CDR_DATA_DIR", "CDR_REDIS_URL", "CDR_HOLDERS", "CDR_SIP_DOMAINS", "CDR_CMS_"),
    *("CDR_INTAKE_ALLOW", "CDR_TRUSTED_PROXIES", "CDR_INTAKE_TLS_", "CDR_API_TLS_"),
)
"""Settings, or how they begin, that the demo does not take from the environment."""
DEMO_DEFAULTS: Final = {
    "CDR_INTAKE_BIND": "127.0.0.1:0",
    "CDR_API_BIND": "127.0.0.1:0",
    "CDR_LIMIT_SHARED": "20",
    "CDR_DIRECTORY_INTERVAL_SECONDS": "20",
    # Its meetings last seconds, and its server counts at once.
    "CDR_RECONCILE_INTERVAL_SECONDS": "2",
    "CDR_RECONCILE_SETTLE_SECONDS": "2",
}
DEMO_SECONDS_TO_SAY_AGAIN: Final = 20.0
"""How often the demo says on a terminal where to look."""

Say = Callable[[Running], Awaitable[None]]

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="TOML file with settings; the environment wins. Also CDR_CONFIG.",
)


@click.command()
@config_option
@click.option(
    "--first-run",
    is_flag=True,
    help="Listen for bridges on all interfaces, with an intake token that is made once and kept in CDR_DATA_DIR.",
)
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes that share the work."
)
@click.option("--worker", "handed", hidden=True, help="What a supervisor hands to a worker.")
def serve(config: Path | None, first_run: bool, workers: int, handed: str | None) -> None:
    """Run the service: CDR intake and query API."""
    environ = dict(os.environ)
    if first_run:
        environ = _with_first_run(config, environ)
        os.environ.update(environ)  # workers read their settings from here
    settings = load_settings(config, environ)

    async def say(service: Running) -> None:
        say_started(settings, service, **({"workers": workers} if workers > 1 else {}))
        on_terminal = sys.stderr.isatty()
        if first_run or on_terminal:
            # It asks for this machine's name, which may take long where name servers are away.
            told = await asyncio.to_thread(where_to_push, settings, service, environ, on_terminal=on_terminal)
            with contextlib.suppress(OSError):
                click.echo(told, err=True)

    if handed is not None:
        _run(lambda: _work(settings, handed))
    elif workers > 1:
        arguments = ("--config", str(config)) if config else ()
        _run(lambda: _supervise(settings, arguments, workers, say))
    else:
        _run(lambda: _serve(settings, say))


@click.command()
@click.option("--seed", type=int, default=None, help="The same seed places the same calls.")
def demo(seed: int | None) -> None:
    """Run everything on free loopback ports, with sample holders and a simulated Meeting Server that places calls."""
    with tempfile.TemporaryDirectory(prefix="cdr-demo-") as folder:
        holders = Path(folder, "holders.csv")
        rows = "".join(f"{user},PMP+,,\n" for user in HOLDERS)
        holders.write_text(f"user,license,aliases,spaces\n{rows}")
        environ = {name: value for name, value in os.environ.items() if value.strip()}
        if ignored := sorted(name for name in environ if name.startswith(DEMO_BRINGS)):
            click.echo(f"cdr-service: the demo does not use {', '.join(ignored)} of the environment.", err=True)
        given = {name: value for name, value in environ.items() if name not in ignored}
        environ = {**DEMO_DEFAULTS, **given, "CDR_DATA_DIR": folder, "CDR_HOLDERS": str(holders)}
        _run(lambda: _demo(environ, seed if seed is not None else secrets.randbelow(10**6)))


def _with_first_run(config: Path | None, environ: dict[str, str]) -> dict[str, str]:
    """Return the environment with all interfaces and a kept token, as far as it says nothing else."""
    given = load_settings(config, {**environ, "CDR_INTAKE_OPEN": "true"})
    if "intake_bind" not in given.model_fields_set:
        environ["CDR_INTAKE_BIND"] = "0.0.0.0:8080"
    if not given.deployments["default"].intake_token:
        environ["CDR_INTAKE_TOKEN_FILE"] = str(kept_token(given.data_dir))
    return environ


def _run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    # What was imported stays for good. A look for garbage need not go through it again and again, for 40 ms each time.
    gc.freeze()
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        asyncio.run(work())
    else:
        uvloop.run(work())


def _set_up_logging(settings: Settings) -> None:
    form = settings.log_format or ("console" if sys.stdout.isatty() else "json")
    configure_logging(form, settings.log_level, sys.stdout)


async def _serve(settings: Settings, say: Say) -> None:
    _set_up_logging(settings)
    stop = _stop_signal()
    async with opened(settings) as outside, running(settings, outside) as service:
        await say(service)
        await stop.wait()
    say_stopped()


async def _supervise(settings: Settings, arguments: tuple[str, ...], workers: int, say: Say) -> None:
    _set_up_logging(settings)
    await Supervisor(settings, arguments, workers).run(_stop_signal(), say)
    say_stopped()


async def _work(settings: Settings, handed: str) -> None:
    """Work for a supervisor until it says stop, or is gone."""
    _set_up_logging(settings)
    stop = asyncio.create_task(_stop_signal().wait())
    gone = asyncio.create_task(supervisor_gone())
    async with running(settings, taken_over(handed, settings)):
        await asyncio.wait([stop, gone], return_when=asyncio.FIRST_COMPLETED)
    for task in (stop, gone):
        task.cancel()


async def _demo(environ: Mapping[str, str], seed: int) -> None:
    """Run the service beside a simulated Meeting Server: its CDRs, and its REST API with users and spaces."""
    sessions = secrets.token_hex(16)
    bridges = new_bridges(seed, sessions=sessions)
    directory = example_directory(seed)
    directory.owners = OWNERS
    async with AsyncExitStack() as stack:
        deployment = Deployment(bridges, directory, seed=seed)
        (api,) = await stack.enter_async_context(serving(deployment))
        cms = {"CDR_CMS_URL": api.url, "CDR_CMS_USERNAME": USERNAME, "CDR_CMS_PASSWORD": PASSWORD}
        settings = load_settings(None, {**environ, **cms})
        _set_up_logging(settings)
        stop = _stop_signal()
        outside = await stack.enter_async_context(opened(settings))
        for node in deployment.nodes:
            # As `register` would leave it, so that the service finds itself among the receivers.
            node.receivers["demo"] = f"http://127.0.0.1:{outside.intake.getsockname()[1]}/cdr"
        service = await stack.enter_async_context(running(settings, outside))
        say_started(settings, service)
        command = sys.argv[0] if Path(sys.argv[0]).name == "cdr-service" else "cdr-service"
        target = f"{service.intake_url}/cdr"
        tokens = settings.deployments["default"].intake_token
        sending = asyncio.create_task(
            simulate(
                target,
                seed=seed,
                rate=1.5,
                speed=DEMO_SPEED,
                token=tokens[0].get_secret_value() if tokens else None,
                stop=stop,
                drain=1.0,
                sessions=sessions,
                made=bridges,
            )
        )
        while not stop.is_set():
            click.echo(
                f"\nA simulated Meeting Server (seed {seed}) places calls, {DEMO_SPEED:g} times as fast as real ones.\n"
                f"  the page:    {service.api_url}/\n"
                f"  live calls:  {curl(settings, f'{service.api_url}/v1/calls')}\n"
                f"  switches:    {curl(settings, f'{service.api_url}/v1/switches')}\n"
                f"  as tables:   {command} calls --url {service.api_url}\n"
                f"  its own API: curl -u {USERNAME}:{PASSWORD} {api.url}/api/v1/coSpaces\n"
                f"  to end it:   Ctrl-C\n",
                err=True,
            )
            # The log scrolls it away; a file needs it once.
            again = DEMO_SECONDS_TO_SAY_AGAIN if sys.stderr.isatty() else None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), again)
        await asyncio.wait([sending], timeout=5)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    say_stopped()


def _stop_signal() -> asyncio.Event:
    """Return an event that SIGTERM or SIGINT sets; a second one changes nothing, so that what is due is finished."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
