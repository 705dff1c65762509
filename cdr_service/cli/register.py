"""`register`: put our receiver URI on every Call Bridge of a deployment, after showing what that changes."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import click

from cdr_service.cli.serve import config_option
from cdr_service.cms.client import CmsClient
from cdr_service.cms.errors import CmsError
from cdr_service.cms.live import Live
from cdr_service.domain.receivers import Change, Entry, bridge_names, change, receiver_uri, shown_uri
from cdr_service.enquiries.informant import cms_client
from cdr_service.settings import DeploymentSettings, SettingsError, load_settings
from cdr_service.settings.models import setting_name


class Planned(NamedTuple):
    """What is to be done on one Call Bridge."""

    uri: str
    change: Change


@click.command()
@config_option
@click.option("--receiver", required=True, help="Where Call Bridges reach the intake: https://cdr.example.com:8080")
@click.option("--deployment", default="default", show_default=True)
@click.option("--yes", is_flag=True, help="Do not ask before anything is changed.")
def register(config: Path | None, receiver: str, deployment: str, yes: bool) -> None:
    """Put our receiver URI on every Call Bridge of a deployment, after showing the change."""
    given = load_settings(config).deployments
    if deployment not in given:
        raise SettingsError(f'There is no deployment "{deployment}"; those that exist: {", ".join(given)}.')
    client = cms_client(deployment, given[deployment])
    if client is None:
        raise SettingsError(f"{setting_name(deployment, 'cms_url')} is not set, so there is no Meeting Server to ask.")
    _check(receiver)
    asyncio.run(_register(client, given[deployment], receiver, deployment, yes=yes))


def _check(receiver: str) -> None:
    try:
        parts = urlsplit(receiver)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
        good = good and parts.username is None and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise click.UsageError("--receiver must be a URL such as https://cdr.example.com:8080, without a token.")


async def _register(client: CmsClient, given: DeploymentSettings, receiver: str, deployment: str, *, yes: bool) -> None:
    async with client:
        plans = await _planned(client, given, receiver, deployment)
        failed = _show(plans)
        wanted = {
            node: plan
            for node, plan in plans.items()
            if isinstance(plan, Planned) and plan.change.does in ("add", "repair")
        }
        if wanted and (yes or click.confirm(f"Change {len(wanted)} of {len(plans)} Call Bridges?")):
            failed += await _done(client, wanted)
        elif wanted:
            click.echo("Nothing was changed.")
            failed += len(wanted)
    if failed:
        raise click.ClickException(f"{failed} of {len(plans)} Call Bridges do not push to us.")


async def _planned(
    client: CmsClient, given: DeploymentSettings, receiver: str, deployment: str
) -> Mapping[str, Planned | CmsError]:
    token = given.intake_token[0].get_secret_value() if given.intake_token else None
    names = await _names(client, deployment)

    async def plan(node: str) -> Planned:
        uri = receiver_uri(receiver, deployment, token, names.get(node))
        told = await client.cdr_receivers(node)
        entries = [Entry(one.id, one.uri) for one in told.receivers]
        return Planned(uri, change(entries, told.maximum, uri, deployment))

    return await client.each(plan)


async def _names(client: CmsClient, deployment: str) -> dict[str, str]:
    """Return a name for each node that does not name itself: the one that it has, else one of ours."""
    live = Live(client, deployment)
    if await live.in_cluster():
        return {}
    # Several bridges that do not name themselves cannot be told apart without a name of ours.
    new = bridge_names(client.nodes) if len(client.nodes) > 1 else {}
    return new | {node: name for name, node in (await live.bridges()).items()}


def _show(plans: Mapping[str, Planned | CmsError]) -> int:
    """Print what is to be done; return on how many nodes it cannot be done."""
    failed = 0
    for node, plan in plans.items():
        if isinstance(plan, CmsError):
            failed += 1
            click.echo(str(plan))
            continue
        uri = shown_uri(plan.uri)
        match plan.change.does:
            case "nothing":
                click.echo(f"{node}: pushes to {uri} already")
            case "add":
                click.echo(f"{node}: add {uri}")
            case "repair":
                click.echo(f"{node}: change {shown_uri(plan.change.before or '')} to {uri}")
            case _:
                failed += 1
                click.echo(f"{node}: all slots for CDR receivers are taken, so remove one that is not needed")
    return failed


async def _done(client: CmsClient, plans: Mapping[str, Planned]) -> int:
    """Do what is planned; return on how many nodes it failed."""
    failed = 0
    for node, plan in plans.items():
        try:
            if plan.change.receiver is None:
                await client.create_cdr_receiver(node, plan.uri)
            else:
                await client.update_cdr_receiver(node, plan.change.receiver, plan.uri)
        except CmsError as problem:
            failed += 1
            click.echo(str(problem))
        else:
            click.echo(f"{node}: done")
    return failed
