"""`simulate` and `replay`: they push documents at a receiver, as a Call Bridge does."""

import asyncio
import json
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import Console
from rich.progress import Progress

from cdr_service.cli.keep import retry_dead_letters
from cdr_service.cli.serve import config_option
from cdr_service.cli.serving_api import api_options, serving_api
from cdr_service.replay import ReplayError, ReplaySummary
from cdr_service.replay import replay as replay_files
from cdr_service.settings import DeploymentSettings, load_only
from cdr_service.simulator.beside import Api
from cdr_service.simulator.expected import Expected, known_answers
from cdr_service.simulator.run import Outage, Summary, together
from cdr_service.simulator.run import simulate as run_simulator


def _token() -> str | None:
    """Return the intake token; from the settings rather than an option, so that no process list shows it."""
    tokens = load_only(DeploymentSettings, "intake_token").intake_token
    return tokens[0].get_secret_value() if tokens else None


@click.command()
@click.option(
    "--target",
    "targets",
    required=True,
    multiple=True,
    metavar="URL",
    help="The receiver, such as http://127.0.0.1:8080/cdr. The token is taken from CDR_INTAKE_TOKEN. Given several"
    " times (/cdr/north, /cdr/south), each gets a Meeting Server of its own.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed places the same calls.")
@click.option("--bridges", type=click.IntRange(1, 24), default=1, show_default=True, help="How many Call Bridges.")
@click.option("--cluster", is_flag=True, help="They form one cluster, and meetings span them.")
@click.option("--meetings", type=click.IntRange(1), default=None, help="Stop after so many meetings; else go on.")
@click.option(
    "--rate", type=float, default=1.0, show_default=True, help="Meetings that begin in a minute of theirs, on average."
)
@click.option("--burst", type=click.IntRange(1), default=1, show_default=True, help="So many of them begin at once.")
@click.option("--speed", type=float, default=1.0, show_default=True, help="How much faster than real time.")
@click.option(
    "--outage",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Deliver nothing for so long, then all of it at once.",
)
@click.option(
    "--outage-after",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="When the outage begins.",
)
@click.option("--sessions", default=None, help="Take the sessions of this name again, as a Call Bridge re-sending.")
@click.option(
    "--from",
    "start",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%SZ"]),
    metavar="TIME",
    help="The records' clock begins there (2026-01-05T09:00:00Z) and runs with the meetings; else it is the real one.",
)
@click.option(
    "--answers",
    type=click.File("w", encoding="utf-8"),
    help="Write what must be known of each meeting once it is over, a JSON object a line. With --from.",
)
@api_options
def simulate(
    targets: tuple[str, ...],
    seed: int,
    outage: float | None,
    outage_after: float,
    start: datetime | None,
    answers: TextIO | None,
    api: Api | None,
    **how: Any,
) -> None:
    """Play a Meeting Server that pushes CDRs to a receiver as a real one does.

    Meetings begin at random, as independent people begin them. Holders of PMP+ are alice, carol, erin, grace, kim,
    niaj, quinn and walter at example.com; the known answers count on them, on no known owner of a space, and on the
    policy `join`. The options from --api-port on say what its REST API counts; the CDRs are the same whatever they say.
    """
    if answers is not None and start is None:
        raise click.UsageError("--answers needs --from: by the real clock no time is known beforehand.")
    if api is not None and (start is not None or len(targets) > 1):
        raise click.UsageError("--api-port goes with the real clock and one --target: leave out --from, and name one.")
    begins = start.replace(tzinfo=UTC) if start else None

    def write(known: Expected) -> None:
        if answers is not None and begins is not None:
            answers.write(json.dumps(known_answers(known, begins)) + "\n")

    async def play() -> list[Summary]:
        stop, progress = asyncio.Event(), _Progress(sys.stderr.isatty())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with serving_api(api, targets[0], seed=seed, token=_token(), **how) as made:
            servers = (
                run_simulator(
                    target,
                    seed=seed + number,
                    outage=Outage(outage_after, outage) if outage else None,
                    start=begins,
                    token=_token(),
                    on_progress=progress.of(target),
                    on_answers=write if answers else None,
                    stop=stop,
                    **{**how, **made},
                )
                for number, target in enumerate(targets)
            )
            return await asyncio.gather(*servers)

    try:
        summary = together(asyncio.run(play()))
    except ValueError as problem:
        raise click.UsageError(str(problem)) from problem
    click.echo(f"{summary.calls} calls, {summary.records} records in {summary.documents} documents were accepted.")
    if summary.waiting:
        raise click.ClickException(f"{summary.waiting} records were not accepted: {summary.trouble}")


class _Progress:
    """Says on a terminal how far all servers are."""

    def __init__(self, shown: bool) -> None:
        self._shown = shown
        self._servers: dict[str, Summary] = {}

    def of(self, target: str) -> Callable[[Summary], None] | None:
        """Return what is told how far the server of a target is."""
        return partial(self._say, target) if self._shown else None

    def _say(self, target: str, summary: Summary) -> None:
        self._servers[target] = summary
        _say_progress(together(self._servers.values()))


def _say_progress(summary: Summary) -> None:
    trouble = f"  {summary.trouble}" if summary.trouble else ""
    click.echo(
        f"\r{summary.records} records, {summary.live} live calls, {summary.waiting} waiting{trouble} ",
        nl=False,
        err=True,
    )


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--target", metavar="URL", help="The receiver; as for simulate.")
@click.option(
    "--keep-sessions", is_flag=True, help="Send the sessions as captured; what was seen then changes nothing."
)
@click.option("--dead-letters", is_flag=True, help="No files: try the dead letters of the store again.")
@config_option
def replay(
    files: tuple[Path, ...], target: str | None, keep_sessions: bool, dead_letters: bool, config: Path | None
) -> None:
    """Push captured CDR documents, in order: XML files, or JSON lines with a body field."""
    if dead_letters:
        if files or target or keep_sessions:
            raise click.UsageError("--dead-letters works on the settings' store: it takes no files and no target.")
        retry_dead_letters(config)
        return
    if not files:
        raise click.UsageError("Missing argument 'FILES...': name the files, or use --dead-letters.")
    if target is None:
        raise click.UsageError("Missing option '--target'.")
    console = Console(stderr=True)
    with Progress(console=console, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("documents")

        def show(summary: ReplaySummary) -> None:
            done = summary.accepted + summary.refused
            progress.update(bar, total=summary.total, completed=done)

        try:
            summary = asyncio.run(
                replay_files(files, target=target, token=_token(), keep_sessions=keep_sessions, progress=show)
            )
        except ReplayError as problem:
            raise click.ClickException(str(problem)) from problem
        except ValueError as problem:
            raise click.UsageError(str(problem)) from problem
    click.echo(f"{summary.accepted} of {summary.total} documents were accepted.")
    for refusal in summary.refusals:
        click.echo(str(refusal), err=True)
    if summary.accepted < summary.total:
        raise click.ClickException("Not all documents were accepted.")
