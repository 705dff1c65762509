"""Who tells the caretaker what no record tells (its `Informant`): a deployment's API, or its holders file alone."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final, Protocol

import structlog

from cdr_service.cms.client import CmsClient
from cdr_service.cms.counts import CountsReader
from cdr_service.cms.directory import DirectoryReader
from cdr_service.cms.health import node_health
from cdr_service.cms.live import Live
from cdr_service.domain.commit import Commit, Document
from cdr_service.domain.directory import Directory
from cdr_service.domain.options import Options
from cdr_service.domain.policies import AUTO
from cdr_service.domain.reception import Received
from cdr_service.domain.workspace import SERVER
from cdr_service.ending import end
from cdr_service.enquiries.enquiries import Enquiries
from cdr_service.enquiries.following import Following
from cdr_service.enquiries.healing import Healing
from cdr_service.enquiries.looking_back import POLLS, KeptUse, LookingBack
from cdr_service.enquiries.questions import Questions
from cdr_service.enquiries.reconciling import Kept, Means, Pacing, Reconciler
from cdr_service.enquiries.state import Bookreader, Reads
from cdr_service.enquiries.sweep import Sweep
from cdr_service.errors import StoreUnavailable
from cdr_service.holders import HoldersFile
from cdr_service.service import Intake, Observer
from cdr_service.settings import DeploymentSettings, SettingsError
from cdr_service.settings.models import setting_name
from cdr_service.store.upkeep import Upkeep

FIRST_SECONDS: Final = 5.0
"""So long the first document waits at most for the first reading of the API."""
RELEASE_SECONDS: Final = 30.0
"""So long it waits at most for the release, where that decides by which policy and no release was ever read."""


class KeptHere(Kept, KeptUse, Protocol):
    """Where what the Meeting Server tells is kept. Every method may raise StoreUnavailable."""


def cms_client(name: str, settings: DeploymentSettings) -> CmsClient | None:
    """Return a client of a deployment's API, or None where that is not configured. Raises SettingsError."""
    if not settings.cms_url or settings.cms_password is None:
        return None
    try:
        return CmsClient(
            settings.cms_url,
            settings.cms_username or "",
            settings.cms_password.get_secret_value(),
            ca=settings.cms_ca,
        )
    except ValueError as problem:
        raise SettingsError(str(problem).replace("CDR_CMS_CA", setting_name(name, "cms_ca"))) from problem


def needs_members(settings: DeploymentSettings) -> bool:
    """Return whether the members of spaces decide anything."""
    return settings.licensing.join_scope == "space_member"


def nobody(settings: DeploymentSettings) -> Directory:
    """Return a directory without users that has the settings, to go over what the Meeting Server tells."""
    return Directory([], sip_domains=settings.sip_domains, sip_user_match=settings.licensing.sip_user_match)


class HoldersOnly:
    """Tells what the holders file says, where the API is not configured."""

    release: tuple[int, ...] | None = None

    def __init__(self, file: HoldersFile) -> None:
        self._file = file

    @asynccontextmanager
    async def running(self, intake: Intake) -> AsyncIterator[None]:  # noqa: ARG002 - as of the other
        """Do nothing beside."""
        yield

    async def directory(self) -> Directory | None:
        """Return the directory of the file; None where there is none."""
        return await asyncio.to_thread(self._file.read)

    def lead(self, *, leading: bool) -> None:
        """Do nothing: every process reads the file."""

    def lives(self, call: str) -> bool | None:  # noqa: ARG002 - the protocol's
        """Say that it does not: nobody can be asked, and nothing was heard of the call."""
        return False

    async def first(self) -> bool:
        """Say that there is nothing to wait for."""
        return False

    def look_at(self, commit: Commit) -> None:
        """Do nothing: nobody can be asked."""


class ServerInformant:
    """Tells what the Meeting Server's API and the holders file say (an `Informant`), and hears of commits."""

    def __init__(
        self,
        name: str,
        settings: DeploymentSettings,
        client: CmsClient,
        upkeep: Upkeep,
        reads: Reads,
        file: HoldersFile,
        options: Options,
        kept: KeptHere,
    ) -> None:
        self._options = options
        self._tokens = [token.get_secret_value() for token in settings.intake_token or ()]
        self._kept = kept
        self._pacing = Pacing(
            settings.reconcile_interval_seconds, settings.reconcile_settle_seconds, settings.reconcile_polls
        )
        self._members = needs_members(settings)
        self._by_release = settings.policy == AUTO.id
        self._recording_lifts = settings.licensing.recording_lifts_audio_only
        self._name = name
        self._client = client
        self._live = Live(client, name)
        self._reads = reads
        self._upkeep = upkeep
        self._questions = Questions(name)
        self._following = Following(
            name,
            DirectoryReader(client, members=self._members),
            self._live,
            upkeep,
            file.read,
            interval=settings.directory_interval_seconds,
            nobody=nobody(settings),
        )

    @asynccontextmanager
    async def running(self, intake: Intake) -> AsyncIterator[None]:
        """Ask while the context lasts, and hand the answers to the intake."""
        enquiries = Enquiries(self._name, self._live, self._reads, intake.perform, members=self._members)
        sweep = Sweep(enquiries, self._upkeep.live_calls, recording_lifts=self._recording_lifts)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._client)
            await stack.enter_async_context(self._questions.asking(enquiries))
            leading = self._following.leading
            reconciler = self._reconciler(enquiries, intake)
            past = LookingBack(self._name, self._client, self._kept, POLLS * self._pacing.interval)
            for work in (self._following.run(), sweep.run(leading), reconciler.run(leading), past.run(leading)):
                stack.push_async_callback(end, asyncio.create_task(work))
            yield

    def _reconciler(self, enquiries: Enquiries, intake: Intake) -> Reconciler:
        book = Bookreader(self._name, self._reads)
        means = Means(
            self._client.nodes,
            self._live,
            CountsReader(self._client),
            book,
            self._kept,
            Healing(self._client, book, enquiries, intake.perform),
            self._upkeep.live_calls,
            intake.perform,
            partial(node_health, self._client, self._name, self._tokens),
        )
        return Reconciler(self._name, means, self._options, self._pacing)

    async def directory(self) -> Directory | None:
        """Return the directory of the Meeting Server with the holders file over it."""
        return await self._following.directory()

    def lead(self, *, leading: bool) -> None:
        """Hear whether this process has the lease."""
        self._following.lead(leading=leading)

    @property
    def release(self) -> tuple[int, ...] | None:
        """Which release the Meeting Server runs; None while that is not known."""
        return self._following.release

    def lives(self, call: str) -> bool | None:
        """Say whether the Meeting Server still has a call; None while that is not known."""
        return self._questions.lives(call)

    async def first(self) -> bool:
        """Wait a little for the first reading, so that the first decisions need not be corrected."""
        leading = await self._following.tried(FIRST_SECONDS)
        if leading and self._by_release:
            (server,) = await self._reads.things(self._name, [SERVER])
            if server is None:
                await self._following.told_release(RELEASE_SECONDS - FIRST_SECONDS)
        return leading

    def look_at(self, commit: Commit) -> None:
        """Find what is worth asking in what was just committed."""
        self._questions.look_at(commit)


def informant_of(
    name: str,
    settings: DeploymentSettings,
    upkeep: Upkeep,
    reads: Reads,
    file: HoldersFile,
    options: Options,
    kept: KeptHere,
) -> ServerInformant | HoldersOnly:
    """Return who tells of a deployment. Raises SettingsError."""
    client = cms_client(name, settings)
    if client is None:
        return HoldersOnly(file)
    return ServerInformant(name, settings, client, upkeep, reads, file, options, kept)


class Listening:
    """An observer of an intake that passes on what it hears, and lets an informant find what is worth asking."""

    def __init__(self, observer: Observer, informant: ServerInformant | HoldersOnly) -> None:
        self._observer = observer
        self._informant = informant

    def committed(self, deployment: str, commit: Commit, received: Sequence[Received]) -> None:
        """Hear of a commit that is in the store."""
        self._observer.committed(deployment, commit, received)
        try:
            self._informant.look_at(commit)
        except Exception:  # noqa: BLE001 - what is only worth asking must not keep anything from being acknowledged
            structlog.get_logger().exception("upkeep.failed", deployment=deployment)

    def unavailable(self, deployment: str, problem: StoreUnavailable) -> None:
        """Pass it on."""
        self._observer.unavailable(deployment, problem)

    def failed(self, deployment: str, document: Document, problem: Exception) -> None:
        """Pass it on."""
        self._observer.failed(deployment, document, problem)
