"""Looks at all that the service will need, and says what would fail, before anybody relies on it."""

from collections.abc import AsyncIterator, Iterator
from typing import Final, NamedTuple

from cdr_service.cms.client import CmsClient
from cdr_service.cms.directory import DirectoryReader, Told
from cdr_service.cms.errors import CmsError
from cdr_service.cms.health import node_health
from cdr_service.cms.live import Live
from cdr_service.domain.audit import audited
from cdr_service.domain.directory import Directory
from cdr_service.domain.receivers import UNNAMED, NodeHealth
from cdr_service.enquiries.informant import cms_client, needs_members, nobody
from cdr_service.errors import EmbeddedServerError, StoreLayoutError, StoreUnavailable
from cdr_service.holders import HoldersFile
from cdr_service.repair.beside import store_url
from cdr_service.settings import DeploymentSettings, Settings, SettingsError
from cdr_service.settings.models import setting_name
from cdr_service.store.connection import connect
from cdr_service.store.keys import Keys
from cdr_service.store.layout import read_layout
from cdr_service.web.tls import TlsError, TlsFiles

CLOCK_MILLISECONDS: Final = 5000
"""A clock that is off by more is told; the API tells whole seconds."""


class Finding(NamedTuple):
    """One thing to look at."""

    fails: bool
    """The service would not do its work; else it would, but less safely or less well than it could."""
    sentence: str


async def findings(settings: Settings) -> AsyncIterator[Finding]:
    """Yield what is found; nothing where all is well. The store is only read."""
    for certificate, key in (
        (settings.intake_tls_cert, settings.intake_tls_key),
        (settings.api_tls_cert, settings.api_tls_key),
    ):
        if certificate and key:
            try:
                TlsFiles(certificate, key).load()
            except TlsError as problem:
                yield Finding(True, str(problem))
    for name, given in settings.deployments.items():
        for finding in _of_intake(name, given):
            yield finding
        async for finding in _of_directory(name, given):
            yield finding
    async for finding in _of_store(settings):
        yield finding


def _of_intake(name: str, given: DeploymentSettings) -> Iterator[Finding]:
    if given.intake_open and not (given.intake_token or given.intake_allow):
        yield Finding(
            False,
            f"Anybody who reaches the intake may push to the deployment {name} ({setting_name(name, 'intake_open')}): "
            f"set {setting_name(name, 'intake_token')} or {setting_name(name, 'intake_allow')}.",
        )


async def _of_directory(name: str, given: DeploymentSettings) -> AsyncIterator[Finding]:
    """Yield what is found about who holds PMP+: by the holders file, by the API, or by both."""
    setting = setting_name(name, "holders")
    holders = HoldersFile(given, setting)
    try:
        holders.require()
        client = cms_client(name, given)
    except SettingsError as problem:
        yield Finding(True, str(problem))
        return
    file = holders.read()
    if client is None:
        for finding in _of_holders(setting, given, file):
            yield finding
        return
    try:
        told, nodes = await _told(client, name, given)
    except CmsError as problem:
        yield Finding(True, str(problem))
        return
    directory = (file or nobody(given)).over(told.directory)
    if not directory.assigned:
        yield Finding(False, f"By the Meeting Server's API nobody in the deployment {name} holds PMP+.")
    for sentence in (*audited(directory), *told.overlaps):
        yield Finding(False, f"Directory of {name}: {sentence}")
    for node in nodes:
        for sentence in _of_node(name, node):
            yield Finding(False, sentence)
        if len(nodes) > 1 and node.receiver == "registered" and node.call_bridge is None:
            yield Finding(False, f"{node.node}: {UNNAMED}")


def _of_node(name: str, node: NodeHealth) -> Iterator[str]:
    """Yield what keeps a Call Bridge's CDRs from us."""
    if node.receiver == "missing":
        yield f"{node.node} does not push its CDRs to the deployment {name}: `cdr-service register` changes that."
    if node.receiver == "wrong_token":
        yield (
            f"{node.node} pushes its CDRs with a token that {setting_name(name, 'intake_token')} does not have: "
            "`cdr-service register` changes that."
        )
    for alarm in node.alarms:
        yield f"{node.node} raises the alarm {alarm}: it cannot reach one of its CDR receivers."
    if node.clock_offset is not None and abs(node.clock_offset) > CLOCK_MILLISECONDS:
        yield f"The clock of {node.node} is {node.clock_offset / 1000:+.0f} seconds off ours: check NTP on both."


def _of_holders(setting: str, given: DeploymentSettings, directory: Directory | None) -> Iterator[Finding]:
    if directory is None:
        yield Finding(
            False,
            f"Neither {setting} nor the API of the Meeting Server is set, so nobody is known to hold PMP+ and every "
            "meeting takes SMP+.",
        )
        return
    if not directory.assigned:
        yield Finding(False, f"{setting} names {given.holders}, in which nobody holds PMP+.")
    for sentence in audited(directory):
        yield Finding(False, f"{given.holders}: {sentence}")


async def _told(client: CmsClient, name: str, given: DeploymentSettings) -> tuple[Told, list[NodeHealth]]:
    """Read the directory, and the state of every node: each must be reached for what is live on it."""
    tokens = [token.get_secret_value() for token in given.intake_token or ()]
    async with client:
        for status in (await client.each(client.status)).values():
            if isinstance(status, CmsError):
                raise status
        bridges = {node: bridge for bridge, node in (await Live(client, name).bridges()).items()}
        nodes = await node_health(client, name, tokens, bridges)
        return await DirectoryReader(client, members=needs_members(given)).read(), nodes


async def _of_store(settings: Settings) -> AsyncIterator[Finding]:
    try:
        async with store_url(settings) as url:
            connection = connect(url)
            try:
                await connection.ping()
                for sentence in await connection.safety():
                    yield Finding(False, sentence)
                memory = await connection.memory()
                if memory is not None and (said := memory.said(connection.describe())):
                    yield Finding(memory.is_full, said)
                for name in settings.deployments:
                    await read_layout(connection, Keys(name))
            finally:
                await connection.close()
    except (EmbeddedServerError, StoreUnavailable, StoreLayoutError) as problem:
        yield Finding(True, str(problem))
