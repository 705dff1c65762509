"""`check`, `rebuild` and `replay --dead-letters`: what would fail, and what to do about what failed before."""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.progress import Progress

from cdr_service.check import findings
from cdr_service.cli.serve import config_option
from cdr_service.compose import now, options_of
from cdr_service.domain.directory import Directory
from cdr_service.domain.policies import POLICIES
from cdr_service.domain.text import printable
from cdr_service.holders import HoldersFile
from cdr_service.repair.beside import Beside, beside
from cdr_service.repair.derivation import Derivation
from cdr_service.repair.letters import Retried, try_again
from cdr_service.repair.rebuild import Rebuild, Report
from cdr_service.repair.watching import Watch
from cdr_service.settings import Settings, load_settings
from cdr_service.store.kept import RedisKept

SENTENCES_MAX: Final = 50
"""Differences said to a person; programs get them all."""
REASONS_MAX: Final = 20
_DAY: Final = 24 * 3_600_000


@click.command()
@config_option
def check(config: Path | None) -> None:
    """Look at the settings, the holders file and the store, and say what would fail."""
    settings = load_settings(config)

    async def look() -> list[bool]:
        fails = []
        async for finding in findings(settings):
            click.echo(f"{'FAILS' if finding.fails else 'note '} {printable(finding.sentence, 1000)}")
            fails.append(finding.fails)
        return fails

    fails = asyncio.run(look())
    if any(fails):
        raise click.ClickException("The service would not do its work with these settings.")
    click.echo("Nothing would fail.")


def retry_dead_letters(config: Path | None) -> None:
    """Try the dead letters of the settings' store again, and say what came of it."""
    settings = load_settings(config)

    async def work() -> list[Retried]:
        watch, found = Watch(), []
        async with beside(settings) as store:
            for name in settings.deployments:
                async with store.intake(name, watch).running() as intake:
                    found.append(await try_again(intake, RedisKept(store.connection), watch))
        return found

    retried = asyncio.run(work())
    stay = sum((each.stay for each in retried), Counter[str]())
    click.echo(f"{sum(each.taken for each in retried)} dead letters were taken in, {stay.total()} stay.")
    for reason, count in stay.most_common(REASONS_MAX):
        click.echo(f"  {count}: {printable(reason)}")
    if len(stay) > REASONS_MAX:
        click.echo(f"  And {len(stay) - REASONS_MAX} reasons more; see /v1/dead-letters.")


@click.command()
@config_option
@click.option("--deployment", default=None, help="Only this one; else all.")
@click.option(
    "--policy", type=click.Choice(sorted(POLICIES)), help="Decide by this policy, not by the one that is set."
)
@click.option(
    "--holders",
    type=click.Path(path_type=Path),
    help="Decide anew who is who, by this file; else it stays as it was known.",
)
@click.option("--write", is_flag=True, help="Put right what differs; else it is only said.")
@click.option("--json", "as_json", is_flag=True, help="All that differs, for programs.")
def rebuild(
    config: Path | None, deployment: str | None, policy: str | None, holders: Path | None, write: bool, as_json: bool
) -> None:
    """Derive anew the calls that lie wholly inside the kept documents, and say what differs."""
    settings = load_settings(config)
    names = [deployment] if deployment else list(settings.deployments)
    if unknown := [name for name in names if name not in settings.deployments]:
        known = ", ".join(settings.deployments)
        raise click.UsageError(f"There is no deployment {unknown[0]}; those that exist: {known}.")
    if holders is not None and len(names) > 1:
        raise click.UsageError("--holders needs --deployment: each deployment has users of its own.")
    if write and policy and (by := {options_of(settings.deployments[name]).policy for name in names} - {policy}):
        raise click.UsageError(f"--write needs the policy that the service decides by, which is {', '.join(by)}.")
    directories = {name: _directory(settings, name, holders) for name in names} if holders else {}

    async def work() -> list[Report]:
        async with beside(settings) as store:
            return [await _rebuilt(store, name, policy, directories.get(name), write=write) for name in names]

    reports = asyncio.run(work())
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode({"items": reports})).decode())
        return
    for report in reports:
        _say(report, write=write)


def _directory(settings: Settings, deployment: str, holders: Path) -> Directory:
    given = settings.deployments[deployment].model_copy(update={"holders": holders})
    file = HoldersFile(given, "--holders")
    file.require()
    return file.read() or Directory([])


async def _rebuilt(store: Beside, name: str, policy: str | None, directory: Directory | None, *, write: bool) -> Report:
    options = store.options(name)
    stored = await store.upkeeps[name].directory() or Directory([])
    derivation = Derivation(RedisKept(store.connection), name, directory or stored)
    rebuild = Rebuild(
        derivation,
        store.store,
        options._replace(policy=policy or options.policy),
        decided_by=options.policy,
        known_anew=directory is not None,
        kept_since=now() - int(store.settings.deployments[name].retention_days * _DAY),
    )
    async with derivation.intake.running():
        with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
            bar = progress.add_task("documents", total=None)
            await derivation.go_on(lambda count: progress.update(bar, completed=count))
            report = await rebuild.compare()
        if write:
            async with store.intake(name, Watch()).running() as intake:
                await rebuild.write(report, intake)
    return report


def _say(report: Report, *, write: bool) -> None:
    span = f", received from {report.received_from} to {report.received_until}" if report.received_from else ""
    click.echo(f"{report.deployment}: {report.documents} kept documents{span}.")
    for what, count in _counts(report):
        if count:
            click.echo(f"  {what}: {count}")
    for difference in report.differences[:SENTENCES_MAX]:
        click.echo(f"  {printable(difference.sentence, 1000)}")
    if len(report.differences) > SENTENCES_MAX:
        click.echo(f"  And {len(report.differences) - SENTENCES_MAX} differences more; --json tells all.")
    if report.different and not write:
        click.echo("Nothing was changed; --write puts it right.")


def _counts(report: Report) -> Iterable[tuple[str, int]]:
    return (
        ("documents not taken in, through a fault of the service", report.failed),
        ("meetings as the documents say", report.same),
        ("meetings that differ", report.different),
        ("meetings that lie only partly inside the documents, left alone", report.outside),
        ("meetings that waited for a license longer ago than is remembered, left alone", report.settled),
        ("meetings that changed meanwhile, left alone (run it again)", report.overtaken),
        ("meetings put right", report.written),
    )
