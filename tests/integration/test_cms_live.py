"""Questions about live calls to the simulated nodes of a cluster, over real HTTP."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from cdr_service.cms.client import CmsClient
from cdr_service.cms.errors import CmsUnavailable
from cdr_service.cms.live import Live
from cdr_service.domain.spaces import Space
from cdr_service.simulator.api import PASSWORD, USERNAME, ApiServer, serving
from cdr_service.simulator.api_model import CoSpace, Directory, Tenant, example_directory
from cdr_service.simulator.api_nodes import Deployment
from cdr_service.simulator.bridge import Bridge
from cdr_service.simulator.records import Identity, Record
from tests.integration.test_cms_client import EAGER

ALICE = "alice@example.com"


@asynccontextmanager
async def asking(
    *, clustered: bool = True, directory: Directory | None = None, release: str = "3.0.1"
) -> AsyncIterator[tuple[Live, list[ApiServer]]]:
    """Ask two nodes; the second one has a call with a leg of alice's."""
    named = [Identity(f"cms{n}", f"session-{n}", f"bridge-{n}" if clustered else None) for n in (1, 2)]
    deployment = Deployment([Bridge(identity) for identity in named], directory or example_directory(), release=release)
    second = deployment.nodes[1].bridge
    second.emit(Record("callStart", "call", {"callType": "coSpace", "callCorrelator": "m"}), datetime.now(UTC))
    fields = {"call": "call", "remoteParty": ALICE, "type": "acano", "direction": "incoming"}
    second.emit(Record("callLegStart", "leg", fields), datetime.now(UTC))
    second.emit(Record("callLegUpdate", "leg", {"call": "call", "state": "connected"}), datetime.now(UTC))
    async with (
        serving(deployment) as servers,
        CmsClient([server.url for server in servers], USERNAME, PASSWORD, pace=EAGER) as client,
    ):
        yield Live(client, "default"), servers


def asked(servers: Sequence[ApiServer], text: str) -> list[int]:
    """Return how many requests with a text each node got."""
    return [sum(text in request for request in server.requests) for server in servers]


class TestWhichNode:
    """Live objects are a node's own."""

    async def test_the_node_of_the_bridge(self) -> None:
        """Where a Call Bridge names itself, only its node is asked; which one that is, is asked once."""
        async with asking() as (live, servers):
            for _ in range(2):
                assert await live.has_call("call", "bridge-2")
            assert not await live.has_call("call", "bridge-1")
            assert asked(servers, "/calls/call") == [1, 2]
            assert sum(asked(servers, "/system/configuration/cluster")) == 2

    async def test_the_name_in_our_receiver_uri(self) -> None:
        """A node of no cluster is the Call Bridge that our receiver URI there names; another's URI does not count."""
        async with asking(clustered=False) as (live, servers):
            for server in servers:
                name = server.node.identity.name
                server.node.receivers["ours"] = f"https://cdr.example.com/cdr?token=x&bridge={name}"
                server.node.receivers["other"] = "https://meeting-management.example.com/cdrs?bridge=other"
            assert await live.bridges() == {"cms1": servers[0].url, "cms2": servers[1].url}
            assert await live.has_call("call", "cms2")
            assert asked(servers, "/calls/call") == [0, 1]

    @pytest.mark.parametrize("uri", ["https://cdr.example.com/cdr", "https://cdr.example.com/cdr?bridge=same"])
    async def test_names_that_tell_nothing_apart(self, uri: str) -> None:
        """Where our receiver URIs name no Call Bridge, or two alike, it is not known which node is which."""
        async with asking(clustered=False) as (live, servers):
            for server in servers:
                server.node.receivers["ours"] = uri
            assert await live.bridges() == {}

    @pytest.mark.parametrize("clustered", [True, False])
    async def test_all_nodes(self, clustered: bool) -> None:
        """Where it does not, or is not known, all are asked."""
        async with asking(clustered=clustered) as (live, servers):
            for bridge in (None, "bridge-9"):
                assert await live.has_call("call", bridge)
                assert not await live.has_call("other", bridge)
            assert asked(servers, "/calls/call") == [2, 2]

    async def test_one_node_is_away(self) -> None:
        """What another node has is there all the same; that nobody has it cannot be said."""
        async with asking(clustered=False) as (live, servers):
            await servers[0].stop()
            assert await live.has_call("call", None)
            with pytest.raises(CmsUnavailable):
                await live.has_call("other", None)

    async def test_the_nodes_cannot_be_told_apart(self) -> None:
        """While a node that would name itself is away, all are asked."""
        async with asking() as (live, servers):
            await servers[1].stop()
            with pytest.raises(CmsUnavailable):
                await live.has_call("call", "bridge-2")


class TestAnswers:
    """What is asked about one leg, one space, and the server."""

    async def test_participant(self) -> None:
        """With the user's JID; None where nobody of that id is there."""
        async with asking() as (live, _):
            found = await live.participant("leg", "bridge-2")
            assert found is not None
            assert found.user_jid == ALICE
            assert await live.participant("other", "bridge-2") is None

    async def test_video(self) -> None:
        """Main video and content count; in the lobby it is not known, nor of a leg that is gone."""
        async with asking() as (live, servers):
            leg = servers[1].node.live.legs["leg"]
            told = []
            for leg.video, leg.presentation, leg.deactivated in (
                (True, False, False),
                (False, True, False),
                (False, False, False),
                (True, True, True),
            ):
                told.append(await live.video("leg", "bridge-2"))
            assert told == [True, True, False, None]
            assert await live.video("other", "bridge-2") is None

    async def test_space(self) -> None:
        """As the directory has it, also where only the owner's id is told; members where they are wanted."""
        directory = example_directory()
        owner = directory.find(ALICE)
        assert owner is not None
        directory.spaces["space"] = CoSpace("space", "Booked", owner.id, [owner.id], scheduler="by TMS")
        async with asking(directory=directory) as (live, servers):
            expected = Space("space", "Booked", ALICE, scheduled=True)
            assert await live.space("space") == expected
            for server in servers:
                server.faults.hidden = frozenset({"ownerJid"})
            assert await live.space("space") == expected
            with_members = await live.space("space", members=True)
            assert with_members is not None
            assert with_members.members == (ALICE,)
            assert await live.space("gone") is None

    async def test_lync_mode(self) -> None:
        """Of the call profile that is most specific and tells one."""
        directory = example_directory()
        directory.call_profiles = {"own": "gateway", "tenant": "dualHomeCluster", "system": "dualHomeCallBridge"}
        directory.tenants["t"] = Tenant("t", "Tenant", call_profile="tenant")
        directory.call_profile = "system"
        directory.spaces["space"] = CoSpace("space", "Lync", call_profile="own", tenant="t")
        async with asking(directory=directory) as (live, _):
            levels = [("own", "t"), (None, "t"), ("gone", None), (None, None)]
            modes = [await live.lync_mode(*level) for level in levels]
            assert modes == ["gateway", "dualHomeCluster", "dualHomeCallBridge", "dualHomeCallBridge"]
            space = await live.space("space", lync=True)
            assert space is not None
            assert space.lync_mode == "gateway"

    async def test_release(self) -> None:
        """That of the nodes that answer; an error where none does."""
        async with asking(release="2.9.1") as (live, servers):
            assert await live.release() == (2, 9)
            await servers[0].stop()
            assert await live.release() == (2, 9)
            await servers[1].stop()
            with pytest.raises(CmsUnavailable):
                await live.release()
