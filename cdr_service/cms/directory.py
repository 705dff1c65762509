"""The directory as the Meeting Server tells it: its users, who of them holds PMP+, its spaces and who owns them."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from cdr_service.cms.assignment import Assignment
from cdr_service.cms.client import CmsClient
from cdr_service.cms.details import Details
from cdr_service.cms.errors import CmsUnusable
from cdr_service.cms.objects import CallProfile, CoSpace, CoSpaceMember, LdapSource, Tenant, User
from cdr_service.domain.directory import Directory
from cdr_service.domain.directory import User as KnownUser
from cdr_service.domain.spaces import Space

UNREAD: Final = "what the Meeting Server says of them cannot be read"


class Told(NamedTuple):
    """What a pass over the server gave."""

    directory: Directory
    overlaps: tuple[str, ...]
    """Sentences about imports that make a license a matter of chance."""


class DirectoryReader:
    """Reads the directory of one deployment, again and again; it remembers what it read."""

    def __init__(self, client: CmsClient, *, members: bool = False) -> None:
        """With `members`, the members of each space are read too."""
        self._client = client
        self._users = Details(client.user)
        self._spaces = Details(client.cospace)
        self._profiles = Details(client.call_profile)
        self._members: Details[Members] | None = Details(self._members_of) if members else None

    async def read(self) -> Told:
        """Read the directory. Raises CmsError; what was read until then need not be read again."""
        client = self._client
        system, profiles = await client.system_profiles(), await client.user_profiles()
        tenants = {tenant.id: tenant for tenant in await self._tenants()}
        assignment = Assignment(profiles, tenants, system.user_profile, await self._sources())
        users = await self._users.refreshed(await client.users())
        spaces = await self._spaces.refreshed(await client.cospaces())
        members: Mapping[str, Members] = {}
        if self._members is not None:
            members = await self._members.refreshed(Members(id_) for id_ in spaces)
        named = {space.call_profile for space in spaces.values()} | {tenant.call_profile for tenant in tenants.values()}
        call_profiles = {CallProfile(id=id_) for id_ in (*named, system.call_profile) if id_}
        modes = {id_: found.lync_mode for id_, found in (await self._profiles.refreshed(call_profiles)).items()}

        def mode(space: CoSpace) -> str | None:
            tenant = tenants.get(space.tenant or "")
            levels = (space.call_profile, tenant.call_profile if tenant else None, system.call_profile)
            return next(filter(None, (modes.get(level) for level in levels if level)), None)

        known = [_known(user, assignment, unread=user.id in self._users.unread) for user in users.values() if user.jid]
        jids = {user.id: user.jid for user in users.values() if user.jid}
        return Told(
            Directory(
                known,
                spaces=[
                    told_space(space, jids, members.get(space.id), mode(space))
                    for space in spaces.values()
                    # One that cannot be read may have an owner; nothing is known of it.
                    if space.id not in self._spaces.unread
                ],
            ),
            tuple(assignment.overlaps()),
        )

    async def _tenants(self) -> Iterable[Tenant]:
        try:
            return await self._client.tenants()
        except CmsUnusable:
            return ()  # a server without tenants works as one whose users have none

    async def _sources(self) -> Iterable[LdapSource]:
        try:
            return await self._client.ldap_sources()
        except CmsUnusable:
            return ()  # they only tell what is doubtful

    async def _members_of(self, cospace: str) -> "Members | None":
        found = await self._client.cospace_members(cospace)
        return None if found is None else Members(cospace, found)


class Members(NamedTuple):
    """The members of a space."""

    id: str
    found: tuple[CoSpaceMember, ...] | None = None


def told_space(
    space: CoSpace, jids: Mapping[str, str], members: Members | None = None, lync_mode: str | None = None
) -> Space:
    """Return a space as the directory knows it, given the users' JIDs by id."""
    found = members.found if members else None
    return Space(
        space.id,
        space.name,
        jids.get(space.owner_id or "") or space.owner_jid,
        space.meeting_scheduler is not None,
        None
        if found is None
        else tuple(jid for one in found if (jid := jids.get(one.user_id or "") or one.user_jid) is not None),
        lync_mode,
    )


def _known(user: User, assignment: Assignment, *, unread: bool) -> KnownUser:
    verdict = assignment.verdict(user)
    return KnownUser(
        user.jid or "",
        holds_license=verdict.holds,
        tags=(user.cdr_tag,) if user.cdr_tag else (),
        id=user.id,
        doubt=UNREAD if unread else verdict.doubt,
    )
