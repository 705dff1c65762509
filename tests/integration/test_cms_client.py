"""The client of the Meeting Server's REST API over real HTTP and TLS, against a simulated server and a scripted one."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from cdr_service.cms.client import AT_ONCE, CmsClient
from cdr_service.cms.errors import CmsError, CmsRefused, CmsUnavailable
from cdr_service.cms.node import LARGEST_ANSWER, Pace
from cdr_service.simulator.api import PASSWORD, USERNAME, ApiServer, serving
from cdr_service.simulator.api_model import CoSpace, Tenant, User
from cdr_service.simulator.api_nodes import Alarm, Deployment
from cdr_service.simulator.bridge import Bridge
from cdr_service.simulator.scenarios import START, generate

ON_BOTH_LOOPS = True
EAGER = Pace(first_wait=0.0, rest=0.0, refused_rest=0.0)
"""Asks again without a pause."""
PATIENT = Pace(first_wait=0.0, rest=3600.0, longest_rest=3600.0, refused_rest=3600.0)
"""Does not come back in the time of a test."""
SECRET = "token-5f1c"


def played(*, seconds: int = 400, **options: Any) -> Deployment:
    """Play the first minutes of a scenario on two nodes of a cluster; the clock stands still then."""
    scenario = generate(3, meetings=20, bridges=2, cluster=True, rate=3)
    clock = [START]
    bridges = [Bridge(identity) for identity in scenario.bridges]
    deployment = Deployment(bridges, clock=lambda: clock[0], **options)
    for step in scenario.steps:
        if step.offset <= seconds:
            clock[0] = START + timedelta(seconds=step.offset)
            bridges[step.bridge].emit(step.record, clock[0])
    clock[0] = START + timedelta(seconds=seconds)
    return deployment


@asynccontextmanager
async def asking(
    servers: Iterable[ApiServer], *, pace: Pace = EAGER, password: str = PASSWORD, ca: Path | None = None
) -> AsyncIterator[CmsClient]:
    """Open a client of some simulated nodes."""
    async with CmsClient([server.url for server in servers], USERNAME, password, ca=ca, pace=pace) as client:
        yield client


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def scripted(*handlers: Handler, pace: Pace = EAGER) -> AsyncIterator[CmsClient]:
    """Open a client of nodes that answer as a test says, one handler each."""
    runners, urls = [], []
    for handler in handlers:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        runners.append(web.AppRunner(app, shutdown_timeout=0.1))
        await runners[-1].setup()
        await web.TCPSite(runners[-1], "127.0.0.1", 0).start()
        urls.append(f"http://127.0.0.1:{runners[-1].addresses[0][1]}")
    try:
        async with CmsClient(urls, USERNAME, PASSWORD, pace=pace) as client:
            yield client
    finally:
        for runner in runners:
            await runner.cleanup()


def answers(*plan: web.Response | str) -> tuple[Handler, list[web.Request]]:
    """Make a handler that gives one answer after the other, the last one for ever; a text is a body."""
    requests: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        answer = plan[min(len(requests), len(plan) - 1)]
        requests.append(request)
        if isinstance(answer, str):
            return web.Response(text=answer, content_type="text/xml")
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    return handler, requests


async def everything(client: CmsClient) -> dict[str, Any]:
    """Read all that there is to read."""
    spaces, users = await client.cospaces(), await client.users()
    found: dict[str, Any] = {
        "users": users,
        "each user": [await client.user(user.id) for user in users],
        "profiles": await client.user_profiles(),
        "sources": await client.ldap_sources(),
        "tenants": await client.tenants(),
        "system": await client.system_profiles(),
        "spaces": spaces,
        "each space": [await client.cospace(space.id) for space in spaces],
        "members": [await client.cospace_members(space.id) for space in spaces],
        "bridges": await client.call_bridges(),
        "call profile": await client.call_profile("profile-1"),
        "nothing": [await client.user("nobody"), await client.cospace("none"), await client.cospace_members("none")],
    }
    for node in client.nodes:
        calls, legs = await client.calls(node), await client.call_legs(node)
        assert legs is not None
        people = await client.participants(node)
        assert people is not None
        found[f"node {client.nodes.index(node)}"] = {
            "status": await client.status(node),
            "cluster": await client.cluster(node),
            "alarms": await client.alarms(node),
            "calls": calls,
            "each call": [await client.call(node, call.id) for call in calls],
            "legs": legs,
            "each leg": [await client.call_leg(node, leg.id) for leg in legs],
            "legs of calls": [await client.call_legs(node, call.id) for call in calls],
            "people": people,
            "each person": [await client.participant(node, person.id) for person in people],
            "people of calls": [await client.participants(node, call.id) for call in calls],
            "licensing": await client.multiparty_licensing(node),
            "personal": await client.active_personal_licenses(node),
            "usage": await client.mp_license_usage(node),
            "receivers": await client.cdr_receivers(node),
            "nothing": [
                await client.call(node, "x"),
                await client.call_leg(node, "x"),
                await client.participant(node, "x"),
            ],
            "nothing listed": [await client.call_legs(node, "x"), await client.participants(node, "x")],
        }
    return found


def furnished() -> Deployment:
    """Play a deployment that has some of everything."""
    deployment = played()
    directory = deployment.directory
    alice, bob = directory.find("alice@example.com"), directory.find("bob@example.com")
    assert alice is not None
    assert bob is not None
    directory.tenants["tenant-1"] = Tenant("tenant-1", "One", user_profile=alice.profile)
    directory.user_profile, directory.call_profile = bob.profile, "profile-1"
    directory.call_profiles["profile-1"] = "gateway"
    directory.spaces["space-1"] = CoSpace(
        "space-1", "Owned", owner=alice.id, members=[alice.id, bob.id], scheduler="alice", tenant="tenant-1"
    )
    bob.tenant = "tenant-1"
    for node in deployment.nodes:
        node.alarms.append(Alarm("cdrConnectionFailure", START, "connectFailure", id="alarm-1"))
        node.receivers["receiver-1"] = "https://other.example.com/cdr"
    return deployment


class TestReading:
    """What the server has is read, whatever its habits are."""

    async def test_users_profiles_and_spaces(self) -> None:
        """What is configured is read with all that decides who holds a license and who owns a space."""
        deployment = furnished()
        async with serving(deployment) as servers, asking(servers) as client:
            users = {user.jid: await client.user(user.id) for user in await client.users()}
            assert users.keys() == {user.jid for user in deployment.directory.users.values()}
            profiles = {profile.id: profile.has_license for profile in await client.user_profiles()}
            alice, bob = users["alice@example.com"], users["bob@example.com"]
            assert alice is not None
            assert bob is not None
            assert (profiles[alice.profile or ""], profiles[bob.profile or ""]) == (True, False)
            assert (bob.tenant, bob.email, bob.cdr_tag) == ("tenant-1", "bob@example.com", "tag-bob")
            assert [source.user_profile for source in await client.ldap_sources()] == [alice.profile, bob.profile]
            assert [tenant.user_profile for tenant in await client.tenants()] == [alice.profile]
            assert (await client.system_profiles()).user_profile == bob.profile
            space = await client.cospace("SPACE-1")
            assert space is not None
            assert (space.owner_id, space.owner_jid, space.meeting_scheduler) == (alice.id, alice.jid, "alice")
            members = await client.cospace_members("space-1")
            assert members is not None
            assert [(member.user_id, member.user_jid) for member in members] == [
                (alice.id, alice.jid),
                (bob.id, bob.jid),
            ]
            profile = await client.call_profile("profile-1")
            assert profile is not None
            assert profile.lync_mode == "gateway"

    async def test_live_objects_of_every_node(self) -> None:
        """Each node tells its own calls and legs, and all participants of its meetings with their users."""
        deployment = furnished()
        async with serving(deployment) as servers, asking(servers) as client:
            for node, of in zip(client.nodes, deployment.nodes, strict=True):
                calls, legs = await client.calls(node), await client.call_legs(node)
                assert legs is not None
                assert {call.id for call in calls} == of.live.calls.keys()
                assert {leg.id for leg in legs} == of.live.legs.keys()
                assert {call.correlator for call in calls} == {call.correlator for call in of.live.calls.values()}
                media = [await client.call_leg(node, leg.id) for leg in legs]
                assert {leg.id for leg in media if leg and leg.rx_video} == {
                    leg.id for leg in of.live.legs.values() if leg.connected and leg.video
                }
                users = deployment.directory.users.values()
                people = await client.participants(node)
                assert people is not None
                told = {person.id: await client.participant(node, person.id) for person in people}
                known = {user.jid for user in users}
                assert {person.user_jid for person in told.values() if person} - {None} <= known
                status = await client.status(node)
                assert status.cdr_correlator_index == of.bridge.next_index
                assert status.cdr_time == int(deployment.clock().timestamp() * 1000)
                bridges = {bridge.name: bridge.id for bridge in await client.call_bridges()}
                assert bridges[(await client.cluster(node)).unique_name] == of.identity.call_bridge

    async def test_counts_of_all_nodes_add_up(self) -> None:
        """The weighted counts of all nodes, asked at the same time, add up to the distinct meetings and payers."""
        deployment = furnished()
        async with serving(deployment) as servers, asking(servers) as client:
            counts = await client.each(client.multiparty_licensing)
            licenses = await client.each(client.active_personal_licenses)
        meetings = deployment.licenses.at(deployment.clock())
        paid = [meeting for meeting in meetings if meeting.payer]
        every = [count for count in counts.values() if count and not isinstance(count, CmsError)]
        assert sum(count.weighted_calls_active or 0 for count in every) == Decimal(len(meetings))
        shared = sum(count.weighted_calls_without_personal_license or 0 for count in every)
        assert shared == Decimal(len(meetings) - len(paid))
        users = [entry for node in licenses.values() if node and not isinstance(node, CmsError) for entry in node]
        assert {user.user_id for user in users} == {meeting.payer for meeting in paid}
        assert sum(user.weighted_calls_active or 0 for user in users) == Decimal(len(paid))

    async def test_odd_habits_change_nothing(self) -> None:
        """Other spellings, bare ids, no totals, unknown elements, capitals, errors as 400: the same is read."""
        async with serving(furnished()) as servers, asking(servers) as client:
            plain = await everything(client)
            for server in servers:
                faults = server.faults
                faults.strange = faults.other_spellings = faults.no_total = faults.gone_as_400 = True
                faults.busy = 0.1
            odd = await everything(client)
            assert odd == plain
            for server in servers:
                server.faults.busy = 0.0
                server.faults.bare_lists = True
            bare = await everything(client)
        # Whoever reads each object by itself knows more of it than its list tells.
        for name in ("each user", "profiles", "sources", "tenants", "each space", "members", "bridges", "nothing"):
            assert bare[name] == plain[name]
        assert bare["users"] == tuple(plain["each user"])
        assert bare["node 0"]["calls"] == tuple(plain["node 0"]["each call"])
        assert bare["node 1"]["legs"] == tuple(plain["node 1"]["each leg"])
        assert bare["node 1"]["people"] == tuple(plain["node 1"]["each person"])

    async def test_missing_elements_are_no_failure(self) -> None:
        """Where a server leaves out half of everything, what it does tell is read."""
        async with serving(furnished()) as servers, asking(servers) as client:
            for server in servers:
                server.faults.missing = 0.5
            assert len((await everything(client))["users"]) == 20

    async def test_unclustered_server(self) -> None:
        """A server alone has no list of Call Bridges and no name in one."""
        deployment = Deployment([Bridge(identity) for identity in generate(1, meetings=1).bridges])
        async with serving(deployment) as servers, asking(servers) as client:
            assert await client.call_bridges() == ()
            assert (await client.cluster(client.nodes[0])).unique_name is None

    async def test_past_usage_of_a_host_and_a_span(self) -> None:
        """Past usage is read page by page, of a host and between two moments, both included."""
        deployment = played(seconds=12_000)
        async with serving(deployment) as servers, asking(servers) as client:
            node = client.nodes[0]
            whole = await client.mp_license_usage(node)
            assert whole is not None
            assert len(whole) > 30
            host = (await client.status(node)).host_id
            times = [entry.time for entry in whole]
            assert times == sorted(times, reverse=True)
            some = await client.mp_license_usage(node, host=host, since=times[5], until=times[2])
            assert some == whole[2:6]

    async def test_release_without_a_feature(self) -> None:
        """What a release does not have is None, not a failure."""
        async with serving(played(release="2.5")) as servers, asking(servers) as client:
            assert await client.mp_license_usage(client.nodes[0]) is None
            assert await client.multiparty_licensing(client.nodes[0]) is not None


class TestPages:
    """Lists come in pages of the server's own size."""

    async def test_offset_advances_by_what_came(self) -> None:
        """However much is asked for, the server gives 20; the next page begins where this one ended."""
        deployment = played()
        users = {f"user-{number}": User(f"user-{number}", f"{number}@example.com", "") for number in range(45)}
        deployment.directory.users = users
        async with serving(deployment) as servers, asking(servers) as client:
            assert {user.id for user in await client.users()} == users.keys()

            def offsets() -> list[str]:
                return [request.rpartition("=")[2] for request in servers[0].requests]

            assert offsets() == ["0", "20", "40"]
            servers[0].faults.no_total = True
            assert len(await client.users()) == 45
            assert offsets()[3:] == ["0", "20", "40", "45"]

    async def test_list_that_shifts_between_pages(self) -> None:
        """An entry that comes twice counts once, and the first page's word holds."""

        def page(total: int, **users: str) -> str:
            entries = (f'<user id="{name}"><userJid>{jid}</userJid></user>' for name, jid in users.items())
            return f'<users total="{total}">{"".join(entries)}</users>'

        pages = page(4, a="a@b.c", b="b@b.c"), page(5, B="x@b.c", c="c@b.c"), page(5, d="d@b.c")
        handler, requests = answers(*pages)
        async with scripted(handler) as client:
            assert [user.jid for user in await client.users()] == ["a@b.c", "b@b.c", "c@b.c", "d@b.c"]
        assert [request.query["offset"] for request in requests] == ["0", "2", "4"]

    @pytest.mark.parametrize("total", ["", ' total="3"'])
    async def test_server_that_pays_no_heed_to_the_offset(self, total: str) -> None:
        """The same page again and again comes to an end."""
        handler, requests = answers(f'<users{total}><user id="a"><userJid>a@b.c</userJid></user></users>')
        async with scripted(handler) as client:
            assert len(await client.users()) == 1
        assert len(requests) <= 3

    async def test_list_that_breaks_off_is_no_list(self) -> None:
        """Where a page fails, nobody takes the pages before it for the whole."""
        page = '<users total="2"><user id="a"><userJid>a@b.c</userJid></user></users>'
        for failure in (web.Response(status=500), web.Response(status=404), "<html/>"):
            handler, _ = answers(page, failure)
            async with scripted(handler) as client:
                with pytest.raises(CmsUnavailable):
                    await client.users()


class TestTrouble:
    """Busy, refusing, slow and dead nodes: bounded trying, one sentence, no pressing."""

    async def test_busy_node_is_asked_again(self) -> None:
        """A node that is busy twice is asked a third time."""
        async with serving(played()) as servers, asking(servers) as client:
            servers[0].faults.busy_next = 2
            assert (await client.status(client.nodes[0])).release == (3, 0)
            assert len(servers[0].requests) == 3

    async def test_busy_node_is_left_alone_in_the_end(self) -> None:
        """A node that stays busy is given up after four attempts, and nobody else asks it for a while."""
        async with serving(played()) as servers, asking(servers, pace=PATIENT) as client:
            node = client.nodes[0]
            servers[0].faults.busy_next = 1000
            results = await asyncio.gather(*(client.calls(node) for _ in range(5)), return_exceptions=True)
            assert [str(result) for result in results] == [f"{node} stays busy (503)."] * 5
            assert all(isinstance(result, CmsUnavailable) for result in results)
            assert len(servers[0].requests) == 4

    async def test_database_that_is_not_ready_is_busy(self) -> None:
        """`databaseNotReady` means later, with whatever status; it never means that an object is not there."""
        not_ready = web.Response(status=400, text="<failureDetails><databaseNotReady/></failureDetails>")
        handler, requests = answers(not_ready, '<user id="a"><userJid>a@b.c</userJid></user>')
        async with scripted(handler) as client:
            assert (await client.user("a")) is not None
        assert len(requests) == 2

    async def test_node_says_when_to_come_back(self) -> None:
        """`Retry-After` is taken for the pause, within our bound."""
        busy = web.Response(status=503, headers={"Retry-After": "86400"})
        handler, requests = answers(busy, "<status><softwareVersion>3.1</softwareVersion></status>")
        async with scripted(handler, pace=Pace(longest_wait=0.01)) as client:
            assert (await client.status(client.nodes[0])).release == (3, 1)
        assert len(requests) == 2

    @pytest.mark.parametrize("fault", ["password", "forbidden"])
    async def test_refusal_is_not_repeated(self, fault: str) -> None:
        """A wrong password, or a user without the role, is tried once on each node and then not for a long while."""
        async with (
            serving(played()) as servers,
            asking(servers, pace=PATIENT, password="wrong" if fault == "password" else PASSWORD) as client,
        ):
            for server in servers:
                server.faults.forbidden = fault == "forbidden"
            for ask in (client.users, client.cospaces, client.users):
                with pytest.raises(CmsRefused, match="401" if fault == "password" else "403"):
                    await ask()
            results = await asyncio.gather(*(client.calls(client.nodes[0]) for _ in range(5)), return_exceptions=True)
            assert {type(result) for result in results} == {CmsRefused}
            assert [len(server.requests) for server in servers] == [1, 1]

    async def test_refusal_ends_when_the_password_is_right_again(self) -> None:
        """After its rest a node is asked again, and one good answer makes all well."""
        async with serving(played()) as servers, asking(servers) as client:
            for server in servers:
                server.faults.forbidden = True
            with pytest.raises(CmsRefused):
                await client.users()
            for server in servers:
                server.faults.forbidden = False
            assert len(await client.users()) == 20

    async def test_dead_node_is_passed_over(self) -> None:
        """What is configured comes from the next node; while the dead one rests it is not tried first."""
        async with serving(played()) as servers, asking(servers, pace=PATIENT) as client:
            await servers[0].stop()
            assert len(await client.users()) == 20
            await servers[0].start()
            assert len(await client.users()) == 20
            assert not servers[0].requests
            each = await client.each(client.status)
            assert isinstance(each[client.nodes[0]], CmsUnavailable)
            assert not isinstance(each[client.nodes[1]], CmsError)

    async def test_node_that_came_back_is_asked(self) -> None:
        """A node that was away serves again as soon as its rest is over."""
        async with serving(played()) as servers, asking(servers) as client:
            await servers[0].stop()
            with pytest.raises(CmsUnavailable, match="does not answer"):
                await client.status(client.nodes[0])
            await servers[0].start()
            assert (await client.status(client.nodes[0])).release == (3, 0)

    async def test_rest_grows_with_each_failure_in_a_row(self) -> None:
        """Each failure of the same kind doubles the rest; a good answer, or trouble of another kind, begins anew."""
        busy, refused, good = web.Response(status=503), web.Response(status=401), "<status/>"
        handler, _ = answers(busy, busy, busy, good, busy, refused, refused)
        pace = Pace(attempts=1, rest=0.0, refused_rest=0.0)
        doubled = []
        async with scripted(handler, pace=pace) as client:
            for _ in range(7):
                await client.each(client.status)
                doubled.append(client._nodes[client.nodes[0]]._rests)
        assert doubled == [0, 1, 2, 0, 0, 0, 1]

    async def test_all_nodes_dead_and_one_refusing(self) -> None:
        """Where nobody answers, a refusal is told rather than the silence of the others: a person can mend it."""
        async with serving(played()) as servers, asking(servers, password="wrong") as client:
            await servers[1].stop()
            with pytest.raises(CmsRefused):
                await client.users()
            await servers[0].stop()
            with pytest.raises(CmsUnavailable, match="does not answer"):
                await client.users()

    async def test_slow_node(self) -> None:
        """A node that takes too long is given up, and what is configured comes from another one."""
        async with serving(played()) as servers, asking(servers, pace=Pace(total=1.0, rest=0.0)) as client:
            servers[0].faults.slow = 60
            with pytest.raises(CmsUnavailable, match="nothing in time"):
                await client.status(client.nodes[0])
            assert len(await client.users()) == 20

    async def test_answer_that_trickles(self) -> None:
        """An answer that never ends is given up as well."""

        async def trickle(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(b"<users>")
                await asyncio.sleep(0.02)

        async with scripted(trickle, pace=Pace(total=0.3)) as client:
            with pytest.raises(CmsUnavailable, match="nothing in time"):
                await client.users()

    async def test_answer_that_is_cut_or_too_large(self) -> None:
        """A connection that is cut, and a body beyond all measure, are no answers."""
        async with serving(played()) as servers, asking(servers) as client:
            servers[0].faults.broken = True
            with pytest.raises(CmsUnavailable, match="closed the connection"):
                await client.status(client.nodes[0])
        handler, _ = answers("<users>" + " " * LARGEST_ANSWER + "</users>")
        async with scripted(handler) as client:
            with pytest.raises(CmsUnavailable, match="too large"):
                await client.users()

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (web.Response(status=500), "answered 500 to /users."),
            (web.Response(status=302, headers={"Location": "http://192.0.2.1/"}), "answered 302 to /users."),
            (web.Response(status=404), "has nothing at /users: check that CDR_CMS_URL"),
            ("<html><form/></html>", "cannot be read: its root element is <html>, not <users>."),
            ("OK", "cannot be read: the body is not well-formed XML"),
            ("<!DOCTYPE x [<!ENTITY a 'b'>]><users>&a;</users>", "has a DOCTYPE"),
            (
                web.Response(status=400, text="<failureDetails><parameterError/></failureDetails>"),
                "answered 400 to /users: parameterError.",
            ),
        ],
    )
    async def test_failure_is_one_sentence(self, answer: web.Response | str, reason: str) -> None:
        """Whatever is wrong, one sentence says on which node, at which path and what, and names no secret."""
        handler, requests = answers(answer)
        async with scripted(handler) as client:
            with pytest.raises(CmsUnavailable) as failure:
                await client.users()
        assert reason in str(failure.value)
        assert str(failure.value).endswith(".")
        assert PASSWORD not in str(failure.value)
        assert len(requests) == 1

    @pytest.mark.parametrize("status", [404, 400])
    @pytest.mark.parametrize("body", ["", "<failureDetails><callLegDoesNotExist/></failureDetails>"])
    async def test_object_that_ended_is_none(self, status: int, body: str) -> None:
        """404, and 400 with a reason, mean that there is no such object; 400 without one is a failure."""
        handler, _ = answers(web.Response(status=status, text=body))
        async with scripted(handler) as client:
            if status == 400 and not body:
                with pytest.raises(CmsUnavailable, match="answered 400"):
                    await client.call_leg(client.nodes[0], "a")
            else:
                assert await client.call_leg(client.nodes[0], "a") is None
                assert await client.call_legs(client.nodes[0], "a") is None

    @pytest.mark.parametrize("odd", ["../system/cdrReceivers", "..", "a/b", "a?b=c", "a#b", "", "a%2fb", "a\nb", "é"])
    async def test_id_that_would_lead_elsewhere_is_never_sent(self, odd: str) -> None:
        """An id comes from outside; one that is more than a word names nothing, and no request is made."""
        handler, requests = answers('<coSpace id="x"/>')
        async with scripted(handler) as client:
            assert await client.cospace(odd) is None
            assert await client.cospace_members(odd) is None
            assert await client.call_leg(client.nodes[0], odd) is None
        assert requests == []


class TestPace:
    """One request at a time on a node, several nodes at the same time."""

    async def test_one_request_at_a_time_on_a_node(self) -> None:
        """However many ask a node, it sees one request after the other."""
        async with serving(played()) as servers, asking(servers) as client:
            servers[0].faults.slow = 0.01
            await asyncio.gather(*(client.status(client.nodes[0]) for _ in range(20)))
            assert (len(servers[0].requests), servers[0].most_at_once) == (20, 1)

    async def test_nodes_are_asked_at_the_same_time(self) -> None:
        """Two nodes that each wait for a request to the other are both content."""
        met = [asyncio.Event(), asyncio.Event()]

        def handler(number: int) -> Handler:
            async def handle(_: web.Request) -> web.Response:
                met[number].set()
                await met[1 - number].wait()
                return web.Response(text="<status/>")

            return handle

        async with scripted(handler(0), handler(1)) as client:
            assert not [one for one in (await client.each(client.status)).values() if isinstance(one, CmsError)]

    async def test_many_nodes_are_not_asked_all_at_once(self) -> None:
        """No more than AT_ONCE requests are under way, whatever the number of nodes."""
        under_way = most = 0

        async def handle(_: web.Request) -> web.Response:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.05)
            under_way -= 1
            return web.Response(text="<status/>")

        async with scripted(*[handle] * (AT_ONCE * 2)) as client:
            each = await client.each(client.status)
        assert len(each) == AT_ONCE * 2
        assert 1 < most <= AT_ONCE


class TestTls:
    """The server's certificate is checked, always."""

    @pytest.fixture
    def authority(self) -> trustme.CA:
        """Make an authority."""
        return trustme.CA()

    @pytest.fixture
    def ca(self, tmp_path: Path, authority: trustme.CA) -> Path:
        """Write its certificate to a file."""
        path = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(path)
        return path

    def serve_as(self, authority: trustme.CA, name: str) -> ssl.SSLContext:
        """Make a server's context with a certificate for a name."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(name).configure_cert(context)
        return context

    async def test_everything_over_tls(self, authority: trustme.CA, ca: Path) -> None:
        """With the authority named, all of it works over TLS as it does without."""
        deployment = furnished()
        async with serving(deployment) as servers, asking(servers) as client:
            plain = await everything(client)
        async with (
            serving(deployment, tls=self.serve_as(authority, "127.0.0.1")) as servers,
            asking(servers, ca=ca) as client,
        ):
            assert all(node.startswith("https://") for node in client.nodes)
            assert await everything(client) == plain

    async def test_certificate_of_a_stranger_is_refused(self, authority: trustme.CA, ca: Path) -> None:
        """A certificate by another authority, or for another name, gets no password; the sentence says what to set."""
        for tls in (self.serve_as(trustme.CA(), "127.0.0.1"), self.serve_as(authority, "cms.example.com")):
            async with serving(played(), tls=tls) as servers, asking(servers, ca=ca) as client:
                with pytest.raises(CmsUnavailable, match="certificate is not trusted: CDR_CMS_CA"):
                    await client.users()
                assert not any(server.requests for server in servers)

    async def test_file_without_certificates(self, tmp_path: Path) -> None:
        """A file that is no authority's certificate is said to be none, by the setting's name."""
        path = tmp_path / "ca.pem"
        path.write_text("nothing of the kind")
        for bad in (path, tmp_path / "missing.pem"):
            with pytest.raises(ValueError, match="CDR_CMS_CA"):
                CmsClient(["https://cms.example.com"], USERNAME, PASSWORD, ca=bad)


class TestReceivers:
    """CDR receivers are put on a node and seen to be there."""

    URI = f"https://cdr.example.com/cdr?token={SECRET}&bridge=cms1"

    async def test_create_and_update(self) -> None:
        """A receiver is made with its URI as it stands, changed under its id, and others are not touched."""
        async with serving(furnished()) as servers, asking(servers) as client:
            node = client.nodes[0]
            for strange in (False, True):
                servers[0].faults.strange = strange
                made = await client.create_cdr_receiver(node, self.URI)
                assert made.uri == self.URI
                assert servers[0].node.receivers[made.id] == self.URI
                changed = await client.update_cdr_receiver(node, made.id, "http://other.example.com/cdr")
                assert changed.id == made.id
                assert servers[0].node.receivers[made.id] == "http://other.example.com/cdr"
            assert servers[0].node.receivers["receiver-1"] == "https://other.example.com/cdr"
            assert list(servers[1].node.receivers) == ["receiver-1"]
            assert (await client.cdr_receivers(node)).maximum == 4

    async def test_server_that_wants_the_other_field(self) -> None:
        """Where `uri` came to nothing, `url` is tried on the same id."""
        async with serving(played()) as servers, asking(servers) as client:
            servers[0].faults.receiver_field = "url"
            made = await client.create_cdr_receiver(client.nodes[0], self.URI)
            assert servers[0].node.receivers == {made.id: self.URI}

    async def test_all_slots_taken(self) -> None:
        """A fifth receiver is refused with the server's reason, and the sentence has no secret in it."""
        async with serving(played()) as servers, asking(servers) as client:
            for _ in range(4):
                await client.create_cdr_receiver(client.nodes[0], self.URI)
            with pytest.raises(CmsUnavailable) as failure:
                await client.create_cdr_receiver(client.nodes[0], self.URI)
            assert failure.value.codes == ("tooManyCdrReceivers",)
            assert "all slots for CDR receivers are taken" in str(failure.value)
            assert SECRET not in f"{failure.value!r} {await client.cdr_receivers(client.nodes[0])}"

    async def test_receiver_that_is_gone(self) -> None:
        """Changing what somebody deleted is told by the server's reason."""
        async with serving(played()) as servers, asking(servers) as client:
            with pytest.raises(CmsUnavailable) as failure:
                await client.update_cdr_receiver(client.nodes[0], "gone", self.URI)
            assert failure.value.codes == ("cdrReceiverDoesNotExist",)

    async def test_server_that_keeps_nothing(self) -> None:
        """A server that says 200 and lists nothing is not believed."""
        handler, _ = answers("<cdrReceivers/>")
        async with scripted(handler) as client:
            with pytest.raises(CmsUnavailable, match="does not list it"):
                await client.create_cdr_receiver(client.nodes[0], self.URI)

    async def test_user_who_may_only_read_goes_on_reading(self) -> None:
        """A refused change is no reason not to read."""

        async def handler(request: web.Request) -> web.Response:
            return web.Response(text="<status/>") if request.method == "GET" else web.Response(status=403)

        async with scripted(handler, pace=PATIENT) as client:
            with pytest.raises(CmsRefused, match="403"):
                await client.create_cdr_receiver(client.nodes[0], self.URI)
            await client.status(client.nodes[0])


async def test_url_may_name_the_api_already() -> None:
    """A URL that ends in /api/v1, or in a slash, is the same as one that does not."""
    async with serving(played()) as servers:
        for end in ("", "/", "/api/v1", "/api/v1/"):
            async with CmsClient([servers[0].url + end], USERNAME, PASSWORD) as client:
                assert (await client.status(client.nodes[0])).release == (3, 0)
