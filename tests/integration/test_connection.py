"""The connection to the store: the same over all four forms, plain about failure, and back without our help."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
import trustme
from redis.exceptions import RedisClusterException, ResponseError

from cdr_service.errors import StoreUnavailable
from cdr_service.store.connection import COMMANDS_AT_ONCE, Connection, Script, connect
from cdr_service.store.memory import REMEDY
from cdr_service.store.safety import unsafe_settings
from tests.integration.servers import (
    Cluster,
    SentinelPair,
    StoreServer,
    cluster,
    debian_redis,
    eventually,
    free_port,
    make_sentinel,
    running,
    sentinel_pair,
    store_server,
)

KEY = "{default}:counter"
COUNT = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")


@asynccontextmanager
async def connected(url: str, **seconds: float) -> AsyncIterator[Connection]:
    """Connect for the length of the block."""
    connection = connect(url, **seconds)
    try:
        yield connection
    finally:
        await connection.close()


async def recovered(action: Callable[[], Awaitable[Any]]) -> Any:
    """Repeat `action` until the store is available again; nothing but `StoreUnavailable` may happen before."""
    async with asyncio.timeout(20):
        while True:
            with suppress(StoreUnavailable):
                return await action()
            await asyncio.sleep(0.05)


class Endpoint:
    """What stands between us and a server, as a provider's fixed address does."""

    def __init__(self, server: StoreServer) -> None:
        self.server = server
        self.url = ""
        self.lose_next_answer = False
        self.serving: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one client."""
        self.serving.add(asyncio.create_task(self.serve(reader, writer)))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join one client to the server of now."""
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self.server.port)
        ways = [
            asyncio.create_task(self.pass_on(reader, to_server, answers=False)),
            asyncio.create_task(self.pass_on(from_server, writer, answers=True)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.wait(ways)
        for end in (writer, to_server):
            end.close()
            with suppress(OSError):
                await end.wait_closed()

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        """Pass bytes one way until an end closes, or until an answer is to be lost."""
        with suppress(OSError):
            while data := await reader.read(65536):
                if answers and self.lose_next_answer:
                    self.lose_next_answer = False
                    return
                writer.write(data)
                await writer.drain()


@asynccontextmanager
async def endpoint(server: StoreServer) -> AsyncIterator[Endpoint]:
    """Stand before a server for the length of the block."""
    way = Endpoint(server)
    async with await asyncio.start_server(way.accept, "127.0.0.1") as listening:
        way.url = f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield way
        await asyncio.gather(*way.serving)


def is_busy(server: StoreServer) -> bool:
    """Whether the server refuses everything because of a script."""
    try:
        return not server.ask("PING")
    except ResponseError as error:
        return str(error).startswith("BUSY")


@pytest.fixture(scope="module")
def whole_cluster() -> Iterator[Cluster]:
    """Run a cluster for tests that leave it whole."""
    with cluster() as nodes:
        yield nodes


@pytest.fixture(scope="module", params=["tcp", "unix", "redis", "sentinel", "cluster"])
def store(request: pytest.FixtureRequest) -> Iterator[StoreServer | SentinelPair | Cluster]:
    """Run one store of each form, for tests that leave it whole."""
    if request.param == "redis" and debian_redis() is None:
        pytest.skip("this system has no redis-server")
    make: Callable[[], Any] = {
        "tcp": store_server,
        "unix": lambda: store_server(unix=True),
        "redis": lambda: store_server(binary=debian_redis()),
        "sentinel": sentinel_pair,
        "cluster": lambda: nullcontext(request.getfixturevalue("whole_cluster")),
    }[request.param]
    with make() as made:
        yield made


def serving(store: StoreServer | SentinelPair | Cluster) -> StoreServer:
    """Find the server that holds KEY."""
    if isinstance(store, Cluster):
        return store.master_of(KEY)
    return store.master if isinstance(store, SentinelPair) else store


class TestEveryForm:
    """What the rest of the store relies on, over a port, a unix socket, Redis itself, Sentinel and Cluster."""

    async def test_answers_are_raw(self, store: StoreServer) -> None:
        """Answers are bytes, integers, None and lists, never redis-py's own shapes."""
        async with connected(store.url) as connection:
            await connection.execute("DEL", KEY)
            assert await connection.execute("SET", KEY, "1") == b"OK"
            assert await connection.execute("GET", KEY) == b"1"
            assert await connection.execute("GET", f"{KEY}:none") is None
            assert await connection.execute("DEL", KEY) == 1
            assert await connection.execute("HSET", KEY, "a", "1", b"\xff", 2) == 2
            assert await connection.execute("HGETALL", KEY) == [b"a", b"1", b"\xff", b"2"]
            await connection.execute("DEL", KEY)

    async def test_ping_asks_whether_the_store_answers(self, store: StoreServer) -> None:
        """A store that answers passes, whatever its form."""
        async with connected(store.url) as connection:
            await connection.ping()

    async def test_a_pipeline_answers_in_order(self, store: StoreServer) -> None:
        """A pipeline returns one answer for each command, also over keys and scripts, and none for none."""
        async with connected(store.url) as connection:
            await connection.execute("DEL", KEY)
            await connection.script(COUNT, [KEY], [0])
            commands = [("INCR", KEY), ("EVALSHA", COUNT.sha, 1, KEY, 5), ("SET", f"{KEY}:other", "x"), ("GET", KEY)]
            assert await connection.pipeline(commands) == [1, 6, b"OK", b"6"]
            assert await connection.pipeline([]) == []

    async def test_a_command_whose_key_is_not_its_first_word_finds_its_node(self, store: StoreServer) -> None:
        """Reading streams works, where the key stands behind options, and waiting for what is not there ends."""
        stream = f"{KEY}:stream"
        async with connected(store.url) as connection:
            await connection.execute("DEL", stream)
            entry = await connection.execute("XADD", stream, "*", "event", "x")
            reading = ("XREAD", "COUNT", 1, "BLOCK", 10, "STREAMS", stream)
            assert await connection.execute(*reading, "0") == [[stream.encode(), [[entry, [b"event", b"x"]]]]]
            assert await connection.execute(*reading, entry) is None

    async def test_an_error_in_a_pipeline_is_raised_after_all_have_run(self, store: StoreServer) -> None:
        """One failed command of a pipeline raises its own error; the others have run."""
        async with connected(store.url) as connection:
            await connection.execute("DEL", KEY)
            with pytest.raises(ResponseError, match=r"^WRONGTYPE"):
                await connection.pipeline([("SET", KEY, "1"), ("LPUSH", KEY, "x"), ("INCR", KEY)])
            assert await connection.execute("GET", KEY) == b"2"

    async def test_our_own_mistakes_are_not_called_unavailable(self, store: StoreServer) -> None:
        """A wrong type, a bad script and an unknown command pass as what they are."""
        async with connected(store.url) as connection:
            await connection.execute("SET", KEY, "text")
            with pytest.raises(ResponseError, match="not an integer"):
                await connection.script(COUNT, [KEY], [1])
            with pytest.raises(ResponseError, match="compiling script"):
                await connection.script(Script("no lua"), [KEY], [])
            with pytest.raises(redis.RedisError):
                await connection.execute("NOSUCH", KEY)

    async def test_a_script_that_the_server_forgot_is_sent_again(self, store: StoreServer) -> None:
        """Where the server says NOSCRIPT the call succeeds all the same, and the server knows the script after it."""
        async with connected(store.url) as connection:
            await connection.execute("DEL", KEY)
            for expected in (1, 2):
                serving(store).ask("SCRIPT", "FLUSH")
                assert await connection.script(COUNT, [KEY], [1]) == expected
                assert serving(store).ask("SCRIPT", "EXISTS", COUNT.sha) == [1]

    async def test_a_durable_store_is_safe(self, store: StoreServer) -> None:
        """Where every write is synced and nothing is evicted, there is nothing to say."""
        async with connected(store.url) as connection:
            assert await connection.safety() == []

    async def test_many_commands_at_once_wait_for_their_turn(self, store: StoreServer) -> None:
        """A thousand commands at the same time all succeed, over a bounded number of connections."""
        async with connected(store.url) as connection:
            await connection.execute("DEL", KEY)
            await asyncio.gather(*(connection.execute("INCR", KEY) for _ in range(1000)))
            assert await connection.execute("GET", KEY) == b"1000"
            assert int(serving(store).info("clients")["connected_clients"]) <= COMMANDS_AT_ONCE + 10

    async def test_a_cancelled_command_leaves_no_answer_behind(self, store: StoreServer) -> None:
        """After a command is cancelled while it waits, the next ones get their own answers."""
        async with connected(store.url) as connection:
            await connection.pipeline([("DEL", KEY), ("DEL", f"{KEY}:list")])
            waiting = asyncio.ensure_future(connection.execute("BLPOP", f"{KEY}:list", 3))
            await asyncio.to_thread(
                eventually, lambda: int(serving(store).info("clients")["blocked_clients"]) == 1, "it waits"
            )
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await connection.execute("RPUSH", f"{KEY}:list", "late")
            assert [await connection.execute("INCR", KEY) for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize("unix", [False, True])
async def test_a_killed_store_is_unavailable_until_it_is_back(unix: bool) -> None:
    """SIGKILL of the server: `StoreUnavailable` in a sentence, then, once it is back on its address, all as before."""
    with store_server(unix=unix) as server:
        async with connected(server.url) as connection:
            assert await connection.script(COUNT, [KEY], [1]) == 1
            server.kill()
            for action in (
                lambda: connection.execute("GET", KEY),
                lambda: connection.pipeline([("GET", KEY)]),
                lambda: connection.script(COUNT, [KEY], [1]),
                connection.safety,
            ):
                with pytest.raises(StoreUnavailable) as error:
                    await action()
                assert re.fullmatch(
                    f"The store {connection.describe()} cannot be reached: Connection (refused|lost|closed by server).",
                    str(error.value),
                )
            await asyncio.to_thread(server.start)
            assert await connection.script(COUNT, [KEY], [1]) == 2
            assert await connection.pipeline([("GET", KEY)]) == [b"2"]


async def test_idle_connections_to_a_server_that_restarted_fail_nobody() -> None:
    """A restart between two requests is not noticed, however many connections had been open."""
    with store_server() as server:
        async with connected(server.url) as connection:
            await asyncio.gather(*(connection.execute("INCR", KEY) for _ in range(20)))
            server.kill()
            await asyncio.to_thread(server.start)
            assert max(await asyncio.gather(*(connection.execute("INCR", KEY) for _ in range(20)))) == 40


async def test_a_silent_store_is_unavailable_and_back_when_it_answers() -> None:
    """A server that does not answer, as behind a cut network, is given up in bounded time, for all that wait."""
    with store_server() as server:
        async with connected(server.url, read_seconds=0.3) as connection:
            await asyncio.gather(*(connection.execute("SET", f"{KEY}:{n}", n) for n in range(20)))
            server.freeze()
            results = await asyncio.gather(
                *(connection.execute("GET", f"{KEY}:{n % 20}") for n in range(300)), return_exceptions=True
            )
            assert {str(result) for result in results} == {
                f"The store {server.url} did not answer in time.",
                f"The store {server.url} is busy with other requests.",
            }
            assert {type(result) for result in results} == {StoreUnavailable}
            server.thaw()
            answers = await asyncio.gather(*(connection.execute("GET", f"{KEY}:{n}") for n in range(20)))
            assert answers == [str(n).encode() for n in range(20)]


async def test_a_command_whose_answer_is_lost_is_not_sent_again() -> None:
    """A write that was done, but whose answer was lost on the way, is reported, and done once only."""
    with store_server() as server:
        async with endpoint(server) as way, connected(way.url) as connection:
            for number, action in enumerate(
                (
                    lambda: connection.execute("INCR", KEY),
                    lambda: connection.pipeline([("INCR", KEY)]),
                    lambda: connection.script(Script(COUNT.text), [KEY], [1]),
                ),
                start=1,
            ):
                await connection.script(COUNT, [KEY], [0])
                way.lose_next_answer = True
                with pytest.raises(StoreUnavailable, match=r" cannot be reached: Connection closed by server\.$"):
                    await action()
                assert await connection.execute("GET", KEY) == str(number).encode()


async def test_an_address_that_leads_to_a_new_master_is_followed() -> None:
    """Where a provider keeps the address and changes the server behind it, open connections to the old are given up."""
    with store_server() as old, store_server() as new:
        async with endpoint(old) as way, connected(way.url) as connection:
            await asyncio.gather(*(connection.execute("INCR", KEY) for _ in range(10)))
            old.ask("REPLICAOF", "127.0.0.1", new.port)
            way.server = new
            with pytest.raises(StoreUnavailable, match=r" is a read-only replica\.$"):
                await connection.execute("INCR", KEY)
            answers = await asyncio.gather(*(connection.execute("INCR", KEY) for _ in range(10)))
            assert sorted(answers) == list(range(1, 11))


@pytest.mark.parametrize(
    ("spoil", "mend", "reason"),
    [
        ([("REPLICAOF", "127.0.0.1", "1")], [("REPLICAOF", "NO", "ONE")], "is a read-only replica"),
        (
            [("CONFIG", "SET", "maxmemory", "1")],
            [("CONFIG", "SET", "maxmemory", "0")],
            f"is out of memory: {REMEDY}",
        ),
        (
            [("CONFIG", "SET", "min-replicas-to-write", "1")],
            [("CONFIG", "SET", "min-replicas-to-write", "0")],
            "has too few replicas to accept a write",
        ),
        (
            [("ACL", "SETUSER", "default", "-@write")],
            [("ACL", "SETUSER", "default", "+@all")],
            "does not let the user in CDR_REDIS_URL run a command that is needed",
        ),
    ],
)
async def test_a_store_that_refuses_writes_is_unavailable(
    spoil: list[tuple[str, ...]], mend: list[tuple[str, ...]], reason: str
) -> None:
    """Each refusal that is the store's state, not our mistake, is one sentence; nothing is written; it mends itself."""
    with store_server() as server:
        async with connected(server.url) as connection:
            assert await connection.script(COUNT, [KEY], [1]) == 1
            for command in spoil:
                server.ask(*command)
            for action in (
                lambda: connection.execute("INCR", KEY),
                lambda: connection.script(COUNT, [KEY], [1]),
                lambda: connection.pipeline([("PING",), ("INCR", KEY)]),
            ):
                with pytest.raises(StoreUnavailable) as error:
                    await action()
                assert str(error.value) == f"The store {server.url} {reason}."
            for command in mend:
                server.ask(*command)
            assert await connection.script(COUNT, [KEY], [1]) == 2


async def test_a_store_that_cannot_write_its_disk_is_unavailable() -> None:
    """MISCONF, which a server says after a failed snapshot, is told as the disk's trouble."""
    with store_server(appendonly="no") as server:
        async with connected(server.url) as connection:
            await connection.execute("SET", KEY, "1")
            (server.folder / "dump.rdb").mkdir()
            server.ask("CONFIG", "SET", "save", "3600 1")
            server.ask("BGSAVE")
            await asyncio.to_thread(
                eventually, lambda: server.info("persistence")["rdb_last_bgsave_status"] == "err", "a failed snapshot"
            )
            with pytest.raises(StoreUnavailable, match=r" cannot write to its disk\.$"):
                await connection.execute("INCR", KEY)
            server.ask("CONFIG", "SET", "save", "")


async def test_a_replica_without_its_master_is_unavailable() -> None:
    """MASTERDOWN, which a replica says that will not serve what it has, is told as such."""
    with store_server(replica_serve_stale_data="no", replicaof="127.0.0.1 1") as server:
        async with connected(server.url) as connection:
            with pytest.raises(StoreUnavailable, match=r" has lost its master\.$"):
                await connection.execute("GET", KEY)


async def test_a_store_that_loads_its_data_is_unavailable() -> None:
    """LOADING is told as such, and the first command after it succeeds."""
    with store_server() as server:
        for number in range(250):
            server.ask("SET", f"{KEY}:{number}", "x" * 100)
        server.ask("BGREWRITEAOF")
        await asyncio.to_thread(
            eventually, lambda: server.info("persistence")["aof_rewrite_in_progress"] == "0", "the file is rewritten"
        )
        server.kill()
        server.options |= {"key-load-delay": "4000", "loading-process-events-interval-bytes": "1024"}
        async with connected(server.url) as connection:
            starting = asyncio.create_task(asyncio.to_thread(server.start))
            reasons = set()
            while not starting.done():
                try:
                    await connection.execute("GET", f"{KEY}:0")
                except StoreUnavailable as error:
                    reasons.add(str(error).removeprefix(f"The store {server.url} "))
                await asyncio.sleep(0.05)
            assert "is still loading its data." in reasons
            assert await connection.execute("GET", f"{KEY}:0") == b"x" * 100


async def test_a_store_that_is_stuck_in_a_script_is_unavailable() -> None:
    """BUSY is told as such."""
    with store_server(busy_reply_threshold="50") as server:
        async with connected(server.url) as connection:
            looping = asyncio.create_task(connection.script(Script("while true do end"), [KEY], []))
            await asyncio.to_thread(eventually, lambda: is_busy(server), "the script has run for long")
            with pytest.raises(StoreUnavailable, match=r" is busy with a script that does not end\.$"):
                await connection.execute("GET", KEY)
            server.ask("SCRIPT", "KILL")
            with pytest.raises(ResponseError, match="killed by user"):
                await looping
            assert await connection.execute("GET", KEY) is None


async def test_a_wrong_password_is_told_without_the_password() -> None:
    """A refused password is one sentence without it; the right one, percent-encoded, is taken."""
    with store_server(requirepass="p@ss/w?rd") as server:
        for user, reason in {
            ":wrong-secret@": "refuses the user or the password in CDR_REDIS_URL.",
            "": "refuses the user or the password in CDR_REDIS_URL.",
        }.items():
            async with connected(f"redis://{user}127.0.0.1:{server.port}") as connection:
                with pytest.raises(StoreUnavailable) as error:
                    await connection.ping()
                assert str(error.value) == f"The store redis://127.0.0.1:{server.port} {reason}"
        async with connected(f"redis://:p%40ss%2Fw%3Frd@127.0.0.1:{server.port}/3") as connection:
            assert await connection.execute("SET", KEY, "1") == b"OK"
            assert connection.describe() == f"redis://127.0.0.1:{server.port}/3"


async def test_a_port_that_is_no_store_is_unavailable() -> None:
    """Something else on the port is told as such."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1") as other:
        port = other.sockets[0].getsockname()[1]
        async with connected(f"redis://127.0.0.1:{port}") as connection:
            with pytest.raises(StoreUnavailable, match=r" does not speak the Redis protocol\.$"):
                await connection.ping()


@pytest.mark.skipif(debian_redis() is None, reason="the wheel's server has no TLS and this system has no redis-server")
async def test_tls_trusts_the_named_certificates_only(tmp_path: Path) -> None:
    """`rediss://` with `ca=` reaches a server of that authority, and no other."""
    authority, stranger = trustme.CA(), trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    names = {"ca": tmp_path / "ca.pem", "cert": tmp_path / "cert.pem", "key": tmp_path / "key.pem"}
    authority.cert_pem.write_to_path(names["ca"])
    stranger.cert_pem.write_to_path(tmp_path / "stranger.pem")
    certificate.private_key_pem.write_to_path(names["key"])
    certificate.cert_chain_pems[0].write_to_path(names["cert"])
    server = StoreServer(port=free_port(), binary=debian_redis())
    server.options |= {"port": "0", "tls-port": str(server.port), "tls-auth-clients": "no"}
    server.options |= {f"tls-{name}-file": str(path) for name, path in names.items() if name != "ca"}
    server.options |= {"tls-ca-cert-file": str(names["ca"])}
    with running(server):
        for url in (f"rediss://127.0.0.1:{server.port}", f"redis://127.0.0.1:{server.port}?tls=true&"):
            separator = "" if url.endswith("&") else "?"
            async with connected(f"{url}{separator}ca={names['ca']}") as connection:
                assert await connection.execute("GET", KEY) is None
            async with connected(f"{url}{separator}ca={tmp_path}/stranger.pem") as connection:
                with pytest.raises(StoreUnavailable, match=r"cannot be reached: .*certificate verify failed"):
                    await connection.ping()


class TestSafety:
    """What is said of a store that could lose what was acknowledged."""

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"maxmemory_policy": "allkeys-lru"}, "may evict keys (maxmemory-policy allkeys-lru)"),
            ({"appendonly": "no"}, "keeps no append-only file (appendonly no)"),
            ({"appendfsync": "everysec"}, "can lose the last seconds (appendfsync everysec): set appendfsync always"),
            ({"appendfsync": "no"}, "can lose half a minute or more (appendfsync no): set appendfsync always"),
            (
                {"user": "default on nopass ~* &* +@all -config"},
                "does not tell its settings (CONFIG GET), so it could not be checked",
            ),
        ],
    )
    async def test_each_unsafe_setting_is_one_sentence(self, options: dict[str, str], expected: str) -> None:
        """Each setting that can lose data is named with its value and what to set; a hidden one is said to be so."""
        with store_server(**options) as server:
            async with connected(server.url) as connection:
                (sentence,) = await connection.safety()
        assert sentence.startswith(f"The store {server.url} ")
        assert expected in sentence
        assert sentence.endswith(".")

    async def test_every_master_of_a_cluster_is_checked(self, whole_cluster: Cluster) -> None:
        """One unsafe master of three is named by its address; an unsafe replica is not."""
        unsafe, replica = whole_cluster.masters[1], whole_cluster.servers[3]
        for server in (unsafe, replica):
            server.ask("CONFIG", "SET", "appendfsync", "no")
        async with connected(whole_cluster.url) as connection:
            (sentence,) = await connection.safety()
        for server in (unsafe, replica):
            server.ask("CONFIG", "SET", "appendfsync", "always")
        assert sentence.startswith(f"The store at 127.0.0.1:{unsafe.port} has an append-only file but leaves syncing")

    def test_an_old_version_is_named(self) -> None:
        """Below 7.0 the version is said, beside what else is wrong; an unknown version is not guessed at."""
        safe = {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "always"}
        old = "The store x has version 6.2.16, but 7.0 or newer is needed."
        assert unsafe_settings("x", "6.2.16", safe) == [old]
        assert unsafe_settings("x", "10.0.1", safe) == []
        assert len(unsafe_settings("x", "6.2.16", {"maxmemory-policy": "noeviction"})) == 2
        assert unsafe_settings("x", None, safe) == []


class TestSentinel:
    """A failover under Sentinel."""

    async def test_a_killed_master_is_replaced_without_our_help(self) -> None:
        """SIGKILL of the master: unavailable, then the same connection reaches the new one, which knows no script."""
        with sentinel_pair() as pair:
            async with connected(pair.url) as connection:
                assert await connection.script(COUNT, [KEY], [1]) == 1
                old, new = pair.servers
                await asyncio.to_thread(old.wait_for_replica)
                assert new.ask("SCRIPT", "EXISTS", COUNT.sha) == [0]
                old.kill()
                with pytest.raises(StoreUnavailable):
                    await connection.script(COUNT, [KEY], [1])
                assert await recovered(lambda: connection.script(COUNT, [KEY], [1])) == 2
                assert new.ask("GET", KEY) == "2"
                assert await connection.pipeline([("INCR", KEY), ("GET", KEY)]) == [3, b"3"]

    async def test_a_master_that_was_cut_off_is_not_written_to_after_it_is_replaced(self) -> None:
        """One time-out gives up every connection to a master that fell silent; it may come back and not know better."""
        with sentinel_pair() as pair:
            async with connected(pair.url, read_seconds=0.3) as connection:
                await asyncio.gather(*(connection.execute("INCR", KEY) for _ in range(10)))
                old, _ = pair.servers
                await asyncio.to_thread(old.wait_for_replica)
                old.freeze()
                with pytest.raises(StoreUnavailable):
                    await connection.execute("GET", KEY)
                await asyncio.to_thread(pair.wait_for_failover, old)
                old.thaw()
                assert await recovered(lambda: connection.script(COUNT, [KEY], [1])) == 11
                for expected in range(12, 30):
                    assert await connection.execute("INCR", KEY) == expected

    async def test_sentinels_that_are_down_cost_little_and_all_down_is_told(self) -> None:
        """One Sentinel is enough; without any, new connections are refused in one sentence."""
        with sentinel_pair() as pair:
            async with connected(pair.url) as connection:
                for sentinel in pair.sentinels[:2]:
                    sentinel.kill()
                assert await connection.execute("SET", KEY, "1") == b"OK"
            pair.sentinels[2].kill()
            async with connected(pair.url) as connection:
                with pytest.raises(StoreUnavailable, match=r" has no master: no Sentinel answers, or none knows"):
                    await connection.ping()

    async def test_sentinels_with_a_password_of_their_own(self) -> None:
        """`sentinel_password` is sent to the Sentinels and the URL's password to the servers, each to none else."""
        with store_server(requirepass="of-server") as server:
            auth = "sentinel auth-pass test-master of-server"
            sentinel = make_sentinel(server.port or 0, auth, requirepass="of-sentinel")
            with running(sentinel):
                place = f"127.0.0.1:{sentinel.port}/test-master"
                url = f"redis+sentinel://:of-server@{place}?sentinel_password=of-sentinel"
                async with connected(url) as connection:
                    assert await recovered(lambda: connection.execute("SET", KEY, "1")) == b"OK"
                    assert connection.describe() == f"redis+sentinel://{place}"


class TestCluster:
    """A failover in a cluster."""

    async def test_a_killed_master_is_replaced_without_our_help(self) -> None:
        """SIGKILL of a master: unavailable, then scripts run on the new one, which knows no script."""
        with cluster() as nodes:
            async with connected(nodes.url) as connection:
                assert await connection.script(COUNT, [KEY], [1]) == 1
                old = nodes.master_of(KEY)
                await asyncio.to_thread(old.wait_for_replica)
                old.kill()
                with pytest.raises(StoreUnavailable):
                    await connection.script(COUNT, [KEY], [1])
                assert await recovered(lambda: connection.script(COUNT, [KEY], [1])) == 2
                assert nodes.master_of(KEY) is not old

    async def test_pipelines_alone_find_the_new_master(self) -> None:
        """Recovery does not need a single command in between, which redis-py's own pipeline would."""
        with cluster() as nodes:
            async with connected(nodes.url) as connection:
                assert await connection.pipeline([("INCR", KEY), ("INCR", KEY)]) == [1, 2]
                old = nodes.master_of(KEY)
                await asyncio.to_thread(old.wait_for_replica)
                old.kill()
                with pytest.raises(StoreUnavailable):
                    await connection.pipeline([("INCR", KEY), ("INCR", KEY)])
                assert await recovered(lambda: connection.pipeline([("INCR", KEY), ("INCR", KEY)])) == [3, 4]

    async def test_a_cluster_that_stopped_and_started_is_found_again(self) -> None:
        """With every node gone it is unavailable in one sentence; when they are back, all is as before."""
        with cluster() as nodes:
            async with connected(nodes.url) as connection:
                assert await connection.script(COUNT, [KEY], [1]) == 1
                for server in nodes.servers:
                    server.kill()
                for _ in range(3):
                    with pytest.raises(StoreUnavailable, match=" cannot be reached: Connection "):
                        await connection.pipeline([("GET", KEY)])
                with pytest.raises(StoreUnavailable, match=r" cannot be reached: Connection refused\.$"):
                    await connection.ping()
                for server in nodes.servers:
                    await asyncio.to_thread(server.start)
                assert await recovered(lambda: connection.script(COUNT, [KEY], [1])) == 2

    async def test_keys_of_two_nodes_are_our_own_mistake(self, whole_cluster: Cluster) -> None:
        """A script over keys that cannot be on one node is not called unavailable."""
        async with connected(whole_cluster.url) as connection:
            with pytest.raises(RedisClusterException, match="same key slot"):
                await connection.script(COUNT, ["{default}:a", "{other}:b"], [1])

    async def test_a_server_that_is_no_cluster_or_a_cluster_without_slots_is_told(self) -> None:
        """`redis+cluster://` to a server alone, or to nodes that were not joined, is one sentence; the latter mends."""
        with store_server() as server:
            async with connected(f"redis+cluster://127.0.0.1:{server.port}") as connection:
                with pytest.raises(StoreUnavailable, match="Cluster mode is not enabled on this node"):
                    await connection.ping()
        with store_server(cluster_enabled="yes", cluster_port=str(free_port()), requirepass="secret") as server:
            async with connected(f"redis+cluster://:wrong@127.0.0.1:{server.port}") as connection:
                with pytest.raises(StoreUnavailable, match=r" refuses the user or the password in CDR_REDIS_URL\.$"):
                    await connection.ping()
            async with connected(f"redis+cluster://:secret@127.0.0.1:{server.port}") as connection:
                with pytest.raises(StoreUnavailable, match="slots are not covered"):
                    await connection.ping()
                server.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
                assert await recovered(lambda: connection.execute("SET", KEY, "1")) == b"OK"

    @pytest.mark.skipif(sys.platform != "linux", reason="needs a second loopback address")
    async def test_a_cluster_that_moved_is_found_by_its_url(self) -> None:
        """When the addresses that the cluster told are all gone, those of the URL are asked again."""
        places = {"cluster_enabled": "yes", "bind": "127.0.0.1 127.0.0.2"}
        with store_server(**places, cluster_announce_ip="127.0.0.2", cluster_port=str(free_port())) as server:
            server.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            await asyncio.to_thread(
                eventually, lambda: "cluster_state:ok" in server.ask("CLUSTER", "INFO"), "the cluster takes commands"
            )
            async with connected(f"redis+cluster://127.0.0.1:{server.port}") as connection:
                assert await connection.execute("SET", KEY, "1") == b"OK"
                server.kill()
                server.options |= {"bind": "127.0.0.1", "cluster-announce-ip": "127.0.0.1"}
                await asyncio.to_thread(server.start)
                assert await recovered(lambda: connection.execute("GET", KEY)) == b"1"
