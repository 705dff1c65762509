"""The directory as a simulated Meeting Server tells it, over real HTTP."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cdr_service.cms.client import CmsClient
from cdr_service.cms.details import Details
from cdr_service.cms.directory import UNREAD, DirectoryReader
from cdr_service.cms.errors import CmsUnavailable, CmsUnusable
from cdr_service.cms.objects import User
from cdr_service.domain.identity import Identity
from cdr_service.domain.spaces import SCHEDULED, SpaceFacts
from cdr_service.simulator.api import PASSWORD, USERNAME, ApiServer, serving
from cdr_service.simulator.api_model import CoSpace, Directory, Tenant, example_directory
from cdr_service.simulator.api_nodes import Deployment
from cdr_service.simulator.bridge import Bridge
from cdr_service.simulator.records import Identity as BridgeIdentity
from tests.integration.test_cms_client import EAGER

ALICE, BOB, CAROL = (f"{name}@example.com" for name in ("alice", "bob", "carol"))


def configured(users: Sequence[str] = (BOB,), holders: Sequence[str] = (ALICE,)) -> Directory:
    """Make users, and a space of alice's."""
    made = example_directory(holders=holders, users=users)
    owner = made.find(holders[0])
    assert owner is not None
    made.spaces["space-a"] = CoSpace("space-a", "Standup", owner.id, [user.id for user in made.users.values()])
    return made


@asynccontextmanager
async def reading(directory: Directory, **options: Any) -> AsyncIterator[tuple[DirectoryReader, ApiServer]]:
    """Serve a directory, and read it."""
    deployment = Deployment([Bridge(BridgeIdentity("cms1", "session"))], directory)
    async with serving(deployment) as (server,), CmsClient([server.url], USERNAME, PASSWORD, pace=EAGER) as client:
        yield DirectoryReader(client, **options), server


class TestRead:
    """What is read."""

    async def test_users_and_spaces(self) -> None:
        """Users with their license, tag and id; spaces with owner and kind, and no members unless asked for."""
        configured_ = configured()
        configured_.spaces["space-b"] = CoSpace("space-b", "Booked", scheduler="Bob, by TMS")
        async with reading(configured_) as (reader, _):
            found = (await reader.read()).directory
        assert {user.address: (user.holds_license, user.doubt, user.tags) for user in found.users.values()} == {
            ALICE: (True, "", ("tag-alice",)),
            BOB: (False, "", ("tag-bob",)),
        }
        assert found.space("SPACE-A") == SpaceFacts(Identity(ALICE, None, True, True), known=True)
        assert found.space("space-b") == SpaceFacts(kind=SCHEDULED, known=True)

    async def test_members(self) -> None:
        """They are read where the settings need them."""
        async with reading(configured(), members=True) as (reader, _):
            assert (await reader.read()).directory.space("space-a").members == (ALICE, BOB)

    async def test_lync_mode(self) -> None:
        """The call profile of the space counts, else that of its tenant, else that of the system."""
        made = configured()
        made.call_profiles = {"own": "gateway", "tenant": "dualHomeCluster", "system": "dualHomeCallBridge"}
        made.tenants["t"] = Tenant("t", "Tenant", call_profile="tenant")
        made.call_profile = "system"
        made.spaces["space-b"] = CoSpace("space-b", "B", tenant="t")
        made.spaces["space-c"] = CoSpace("space-c", "C", tenant="t", call_profile="own")
        async with reading(made) as (reader, _):
            found = (await reader.read()).directory
        modes = [found.space(f"space-{letter}").lync_mode for letter in "abc"]
        assert modes == ["dualHomeCallBridge", "dualHomeCluster", "gateway"]

    async def test_more_than_a_page(self) -> None:
        """Nobody is missing where lists come in pages, the node is busy now and then, and lists hold bare ids."""
        names = [f"user{number}@example.com" for number in range(45)]
        async with reading(configured(names)) as (reader, server):
            server.faults.busy, server.faults.bare_lists = 0.2, True
            found = (await reader.read()).directory
        assert set(found.users) == {ALICE, *names}
        assert server.most_at_once == 1

    @pytest.mark.parametrize("oddity", ["gone_as_400", "no_total", "other_spellings", "strange", "no_reason"])
    async def test_oddities(self, oddity: str) -> None:
        """Whatever is odd about the answers, the directory is the same."""
        async with reading(configured()) as (reader, server):
            plain = (await reader.read()).directory
            setattr(server.faults, oddity, True)
            odd = (await reader.read()).directory
        assert odd.version == plain.version

    async def test_without_owner_fields(self) -> None:
        """A release that tells an owner in one way only is understood; one that tells none leaves none."""
        async with reading(configured()) as (reader, server):
            for hidden, owner in ((("ownerJid",), ALICE), (("ownerId",), ALICE), (("ownerJid", "ownerId"), None)):
                server.faults.hidden = frozenset(hidden)
                assert (await reader.read()).directory.space("space-a").owner.user == owner

    async def test_overlaps(self) -> None:
        """Imports that may bring the same users are told with the directory."""
        async with reading(configured()) as (reader, _):
            (sentence,) = (await reader.read()).overlaps
        assert "cn=pmp" in sentence


class TestAgain:
    """Reading it again."""

    async def test_changes(self) -> None:
        """An edited license, owner, and a user who came or went show at the next reading."""
        made = configured()
        async with reading(made) as (reader, _):
            await reader.read()
            alice, bob = made.find(ALICE), made.find(BOB)
            assert alice is not None
            assert bob is not None
            alice.profile = bob.profile
            made.spaces["space-a"].owner = bob.id
            found = (await reader.read()).directory
            assert (found.assigned, found.space("space-a").owner.user) == (0, BOB)
            del made.users[bob.id]
            found = (await reader.read()).directory
        assert set(found.users) == {ALICE}
        assert found.space("space-a").owner.user is None

    async def test_away_in_the_middle(self) -> None:
        """What was read until then is not read again."""
        async with reading(configured()) as (reader, server):
            await reader.read()
            server.requests.clear()
            await server.stop()
            with pytest.raises(CmsUnavailable):
                await reader.read()
            await server.start()
            assert (await reader.read()).directory.assigned == 1


class TestDetails:
    """Objects that are read by themselves, a bounded number each time."""

    def users(self, *ids: str) -> list[User]:
        """Make users as a list names them."""
        return [User(id=id_, jid=f"{id_}@example.com") for id_ in ids]

    async def test_incremental(self) -> None:
        """All at first, then the new ones, and of the others those that were not read for the longest time."""
        asked: list[str] = []

        async def read(id_: str) -> User:
            asked.append(id_)
            return User(id=id_, jid=f"{id_}@example.com", name="read")

        details = Details(read, again=2)
        found = await details.refreshed(self.users("a", "b", "c"))
        assert ([*found], asked) == (["a", "b", "c"], ["a", "b", "c"])
        asked.clear()
        for expected in (["d", "a", "b"], ["c", "d"], ["a", "b"]):
            await details.refreshed(self.users("a", "b", "c", "d"))
            assert asked == expected
            asked.clear()

    async def test_missing_in_a_list(self) -> None:
        """What a list leaves out is asked for by itself, and is gone only where the server says so."""
        there = {"a", "b"}

        async def read(id_: str) -> User | None:
            return self.users(id_)[0] if id_ in there else None

        details = Details(read)
        await details.refreshed(self.users("a", "b"))
        assert [*await details.refreshed(self.users("a"))] == ["b", "a"]
        there.discard("b")
        assert [*await details.refreshed(self.users("a"))] == ["a"]

    async def test_one_that_cannot_be_read(self) -> None:
        """It stays as it was known, or as the list names it; where none can be read, that is an error."""
        bad: set[str] = set()

        async def read(id_: str) -> User:
            if id_ in bad:
                raise CmsUnusable("no")
            return User(id=id_, name="read")

        details = Details(read)
        await details.refreshed(self.users("a"))
        bad |= {"a", "b"}
        found = await details.refreshed(self.users("a", "b", "c"))
        assert (found["a"].name, found["b"].name, details.unread) == ("read", None, {"b"})
        with pytest.raises(CmsUnusable):
            await Details(read).refreshed(self.users("a", "b"))

    async def test_what_is_not_read_is_not_sure(self) -> None:
        """A user of whom the server's answer cannot be used holds no license for certain."""
        async with reading(configured()) as (reader, _):
            client = reader._client
            whole = client.user

            async def user(id_: str) -> User | None:
                found = await whole(id_)
                if found and found.jid == ALICE:
                    raise CmsUnusable("no")
                return found

            reader._users = Details(user)
            assert (await reader.read()).directory.users[ALICE].doubt == UNREAD
