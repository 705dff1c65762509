"""`serve` and `demo`: the service, and the service with everything that shows what it does."""

import asyncio
import contextlib
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import click
import structlog

from cdr_service.compose import Running, opened, running, say_started
from cdr_service.logs import configure_logging
from cdr_service.settings import Settings, load_settings
from cdr_service.simulator.people import HOLDERS
from cdr_service.simulator.run import simulate
from cdr_service.supervisor import Supervisor, supervisor_gone, taken_over

DEMO_SPEED: Final = 40.0
"""Simulated meetings run so much faster than real ones, so that something happens while one looks."""
DEMO_SECONDS_TO_SAY_AGAIN: Final = 20.0
"""How often the demo says on a terminal where to look."""

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
    if handed is not None:
        _run(lambda: _work(settings, handed))
    elif workers > 1:
        arguments = ("--config", str(config)) if config else ()
        _run(lambda: _supervise(settings, arguments, workers))
    else:
        _run(lambda: _serve(settings))


@click.command()
@click.option("--seed", type=int, default=None, help="The same seed places the same calls.")
def demo(seed: int | None) -> None:
    """Run everything on free loopback ports, with sample holders and a simulated Meeting Server that places calls."""
    with tempfile.TemporaryDirectory(prefix="cdr-demo-") as folder:
        holders = Path(folder, "holders.csv")
        rows = "".join(f"{user},PMP+,,\n" for user in HOLDERS)
        holders.write_text(f"user,license,aliases,spaces\n{rows}")
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CDR_")},
            **{name: os.environ[name] for name in ("CDR_LOG_FORMAT", "CDR_LOG_LEVEL") if name in os.environ},
            "CDR_DATA_DIR": folder,
            "CDR_INTAKE_BIND": os.environ.get("CDR_INTAKE_BIND", "127.0.0.1:0"),
            "CDR_API_BIND": os.environ.get("CDR_API_BIND", "127.0.0.1:0"),
            "CDR_HOLDERS": str(holders),
            "CDR_LIMIT_SHARED": "20",
        }
        settings = load_settings(None, environ)
        _run(lambda: _demo(settings, seed if seed is not None else secrets.randbelow(10**6)))


def _with_first_run(config: Path | None, environ: dict[str, str]) -> dict[str, str]:
    """Return the environment with all interfaces and a kept token, as far as it says nothing else."""
    given = load_settings(config, {**environ, "CDR_INTAKE_OPEN": "true"})
    if "intake_bind" not in given.model_fields_set:
        environ["CDR_INTAKE_BIND"] = "0.0.0.0:8080"
    if not given.deployments["default"].intake_token:
        folder = given.data_dir
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = folder / "intake-token"
        if not kept.exists():
            descriptor = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(24))
        environ["CDR_INTAKE_TOKEN"] = kept.read_text().strip()
    return environ


def _run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        asyncio.run(work())
    else:
        uvloop.run(work())


def _set_up_logging(settings: Settings) -> None:
    form = settings.log_format or ("console" if sys.stdout.isatty() else "json")
    configure_logging(form, settings.log_level, sys.stdout)


async def _serve(settings: Settings) -> None:
    _set_up_logging(settings)
    stop = _stop_signal()
    async with opened(settings) as outside, running(settings, outside) as service:
        say_started(settings, service.intake_url, service.api_url)
        _say_where(settings, service)
        await stop.wait()
    structlog.get_logger().info("service.stopped")


async def _supervise(settings: Settings, arguments: tuple[str, ...], workers: int) -> None:
    _set_up_logging(settings)
    await Supervisor(settings, arguments, workers).run(_stop_signal())
    structlog.get_logger().info("service.stopped")


async def _work(settings: Settings, handed: str) -> None:
    """Work for a supervisor until it says stop, or is gone."""
    _set_up_logging(settings)
    stop = asyncio.create_task(_stop_signal().wait())
    gone = asyncio.create_task(supervisor_gone())
    async with running(settings, taken_over(handed, settings)):
        await asyncio.wait([stop, gone], return_when=asyncio.FIRST_COMPLETED)
    for task in (stop, gone):
        task.cancel()


async def _demo(settings: Settings, seed: int) -> None:
    _set_up_logging(settings)
    stop = _stop_signal()
    async with opened(settings) as outside, running(settings, outside) as service:
        say_started(settings, service.intake_url, service.api_url)
        command = sys.argv[0] if Path(sys.argv[0]).name == "cdr-service" else "cdr-service"
        target = f"{service.intake_url}/cdr"
        sending = asyncio.create_task(simulate(target, seed=seed, rate=1.5, speed=DEMO_SPEED, stop=stop, drain=1.0))
        while not stop.is_set():
            click.echo(
                f"\nA simulated Meeting Server (seed {seed}) places calls, {DEMO_SPEED:g} times as fast as real ones.\n"
                f"  live calls:  curl {service.api_url}/v1/calls\n"
                f"  switches:    curl {service.api_url}/v1/switches\n"
                f"  as tables:   {command} calls --url {service.api_url}\n"
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
    structlog.get_logger().info("service.stopped")


def _say_where(settings: Settings, service: Running) -> None:
    """Print the receiver URL to paste into the Meeting Server; on a terminal only, because it holds the token."""
    if not sys.stderr.isatty() and not os.environ.get("CDR_TEST_SAY_WHERE"):
        return
    token = settings.deployments["default"].intake_token
    query = f"?token={token[0].get_secret_value()}" if token else ""
    url = service.intake_url.replace("0.0.0.0", _own_name()).replace("[::]", _own_name())  # noqa: S104 - compared only
    click.echo(
        f"\nReceiver URL for the Meeting Server (Configuration > CDR settings, on every Call Bridge):\n"
        f"  {url}/cdr{query}\n"
        f"Not clustered? Then add {'&' if query else '?'}bridge=NAME, another one on each Call Bridge.\n"
        f"  live calls:  curl {service.api_url}/v1/calls\n",
        err=True,
    )


def _own_name() -> str:
    import socket  # noqa: PLC0415 - only here

    name = socket.getfqdn()
    return "NAME-OF-THIS-MACHINE" if not name or name.startswith("localhost") else name


def _stop_signal() -> asyncio.Event:
    """Return an event that SIGTERM or SIGINT sets; a second one changes nothing, so that what is due is finished."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
