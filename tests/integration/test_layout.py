"""The layout of the store: what each layout held is read for ever, and nobody writes into one that it does not know."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cdr_service.domain.workspace import KINDS
from cdr_service.errors import StoreLayoutError, StoreUnavailable
from cdr_service.store.codec import VERSION_BYTES, decode
from cdr_service.store.connection import Connection
from cdr_service.store.kept import RedisKept
from cdr_service.store.keys import Keys
from cdr_service.store.layout import LAYOUT, MIGRATIONS, Layouts
from cdr_service.store.packing import unpack
from tests.feed import Feed, call_start, join
from tests.integration.command import Service, run, running, samples
from tests.integration.servers import StoreServer, eventually, store_server
from tests.integration.test_connection import connected
from tests.layouts import FIRST, FOR_EVER, answers, file_of, post_first, post_rest, put_up

KEY = Keys("default").layout
THINGS = "cdr:{default}:thing"
VOLATILE = {"at", "last_received_at", "received_at", "id", "reason", "warning"}
"""Members of an answer that tell our clock, or that name an entry by it, or that are words of ours."""
OF_RECORDS = {
    *(
        "call_bridge",
        "session",
        "meeting",
        "name",
        "state",
        "started_at",
        "ended_at",
        "legs",
        "participants",
        "complete",
    ),
    *("participants_peak", "recording", "joined_at", "left_at", "end_reason", "remote_party", "counted", "stays"),
}
"""What follows from records by no rule that a release may change; licenses that were decided stay as they were."""


def holders(home: Path) -> dict[str, str]:
    """Return the settings of a service to which the samples were posted."""
    file = home / "holders.csv"
    file.write_text("user,license,aliases,spaces\nalice@example.com,PMP+,,\nbob@example.com,,,\n")
    return {**FOR_EVER, "CDR_HOLDERS": str(file)}


def hold(kept: Any, now: Any, path: str) -> None:
    """Fail unless all that was told when the store was taken down is told now; there may be more."""
    if isinstance(kept, dict):
        for name, value in kept.items():
            if name not in VOLATILE:
                hold(value, now[name], f"{path}.{name}")
    elif isinstance(kept, list):
        assert len(kept) == len(now), path
        for number, value in enumerate(kept):
            hold(value, now[number], f"{path}[{number}]")
    else:
        assert kept == now, path


def facts(answer: Any) -> Any:
    """Return what an answer says of calls and legs by the records alone."""
    if isinstance(answer, dict):
        return {name: facts(value) for name, value in answer.items() if name in {"items", *OF_RECORDS}}
    return [facts(each) for each in answer] if isinstance(answer, list) else answer


async def kept_bodies(url: str) -> set[bytes]:
    """Return the received documents that a store keeps."""
    async with connected(url) as connection:
        return {document.body for document in await RedisKept(connection).documents("default", None, 1000)}


def all_today(service: Service) -> dict[str, Any]:
    """Push everything and return what the API then says."""
    post_first(service)
    post_rest(service)
    return answers(service)


class TestStoresOfEarlierReleases:
    """A store as it was left by a release of each layout."""

    @pytest.mark.parametrize("layout", range(1, LAYOUT + 1))
    def test_it_is_read_and_gone_on_with(self, tmp_path: Path, layout: int) -> None:
        """Every answer is what it was then, and what comes next adds to it as if everything had come today.

        Where this fails for a layout that was released, the layout has changed: see `store/layout.py`. Before its
        release, `python -m tests.layouts` takes it down anew.
        """
        kept = json.loads(file_of(layout).read_text(encoding="utf-8"))
        old, new = tmp_path / "old", tmp_path / "new"
        old.mkdir()
        new.mkdir()
        with store_server() as server:
            put_up(server, kept["keys"])
            with running(old, "serve", settings={**holders(old), "CDR_REDIS_URL": server.url}) as service:
                for path, answer in kept["answers"].items():
                    hold(answer, service.get(path), path)
                assert server.ask("GET", KEY) == str(LAYOUT)
                first = {body for case, count in FIRST.items() for body in samples(case)[:count]}
                assert first <= asyncio.run(kept_bodies(server.url)), "the documents are there to be taken in anew"
                post_rest(service)
                later = answers(service)
        with store_server() as server:
            settings = {**holders(new), "CDR_REDIS_URL": server.url}
            with running(new, "serve", settings=settings) as service:
                today = all_today(service)
        assert later.keys() == today.keys()
        for path in today:
            if path.startswith("/v1/calls"):
                assert facts(later[path]) == facts(today[path]), path

    def test_each_layout_has_its_store_and_its_way_to_the_next(self) -> None:
        """There is a file for each layout that ever was, and a migration from each but the newest."""
        assert set(MIGRATIONS) == set(range(1, LAYOUT))
        assert all(file_of(layout).exists() for layout in range(1, LAYOUT + 1))


class Migrated:
    """Migrations for the test: each writes down what it did, a thing at a time."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.dies = False

    def by(self, start: int) -> Any:
        """Return the migration that leads from a version to the next."""

        async def migration(connection: Connection, keys: Keys) -> AsyncIterator[None]:
            self.begun.append(start)
            for number in range(3):
                await connection.execute("HSET", THINGS, f"{start}-{number}", "1")
                if self.dies:
                    raise RuntimeError("the process died")
                yield
                await self.gate.wait()
            assert await connection.execute("GET", keys.layout) == f"{start}>{start + 1}".encode()

        return migration

    def layouts(self, connection: Connection, process: str, newest: int = LAYOUT + 2) -> Layouts:
        """Return what a process of a later release has."""
        return Layouts(connection, process, newest, {start: self.by(start) for start in range(LAYOUT, newest)})


class TestMigration:
    """A store of an older layout, and a release that has a newer one."""

    async def test_a_new_store_begins_with_the_newest(self) -> None:
        """Nothing is migrated; the version stands there before anything else does."""
        migrated = Migrated()
        with store_server() as server:
            async with connected(server.url) as connection:
                await migrated.layouts(connection, "a").settle("default")
            assert (server.ask("GET", KEY), migrated.begun) == (str(LAYOUT + 2), [])

    async def test_an_older_one_is_brought_up_step_by_step(self) -> None:
        """One migration after the other, once, however many processes come at the same time."""
        migrated = Migrated()
        with store_server() as server:
            server.ask("SET", KEY, LAYOUT)
            async with connected(server.url) as connection:

                async def start(process: str) -> None:
                    layouts = migrated.layouts(connection, process)
                    while True:
                        try:
                            await layouts.settle("default")
                        except StoreUnavailable:
                            await asyncio.sleep(0.01)
                        else:
                            return

                await asyncio.gather(*(start(name) for name in "abc"))
            assert (server.ask("GET", KEY), migrated.begun) == (str(LAYOUT + 2), [LAYOUT, LAYOUT + 1])
            assert server.ask("HLEN", THINGS) == 6

    async def test_one_that_died_is_followed_by_another(self) -> None:
        """A migration that was cut off is begun anew once its lease is over; until then the store is not used."""
        migrated = Migrated()
        with store_server() as server:
            server.ask("SET", KEY, LAYOUT)
            async with connected(server.url) as connection:
                migrated.dies = True
                with pytest.raises(RuntimeError):
                    await migrated.layouts(connection, "dies").settle("default")
                migrated.dies = False
                assert server.ask("GET", KEY) == f"{LAYOUT}>{LAYOUT + 1}"
                other = migrated.layouts(connection, "other")
                with pytest.raises(StoreUnavailable, match="by another process"):
                    await other.settle("default")
                assert server.ask("DEL", Keys("default").lease("layout")) == 1  # as if its time were over
                await other.settle("default")
            assert (server.ask("GET", KEY), migrated.begun) == (str(LAYOUT + 2), [LAYOUT, LAYOUT, LAYOUT + 1])

    async def test_a_newer_one_is_refused(self) -> None:
        """Also one that a newer release is just bringing up; it is left as it is."""
        sentence = rf"newer release \(layout {LAYOUT + 1}, this one knows {LAYOUT}\): run that release"
        with store_server() as server:
            for found in (str(LAYOUT + 1), f"{LAYOUT}>{LAYOUT + 1}"):
                server.ask("SET", KEY, found)
                async with connected(server.url) as connection:
                    with pytest.raises(StoreLayoutError, match=sentence):
                        await Layouts(connection, "old").settle("default")
                assert server.ask("GET", KEY) == found
                assert server.ask("DBSIZE") == 1


def test_a_field_that_a_later_release_adds_is_passed_over() -> None:
    """A thing with more fields at its end is read as it is without them, so such a field needs no new layout."""
    kept = json.loads(file_of(LAYOUT).read_text(encoding="utf-8"))["keys"]
    seen = set()
    for name, entry in kept.items():
        kind, *rest = name.removeprefix("cdr:{default}:").split(":")
        if kind in KINDS:
            value = base64.b64decode(entry["value"]["base64"])
            fields = msgspec.msgpack.decode(unpack((kind, *rest), value[VERSION_BYTES:]))
            longer = value[:VERSION_BYTES] + msgspec.msgpack.encode([*fields, "of a later release"])
            assert decode((kind, *rest), longer) == decode((kind, *rest), value)
            seen.add(kind)
    assert {"call", "leg", "meeting", "session", "bridge"} <= seen


class TestRollingUpdate:
    """A release that runs while the next one brings its store up."""

    async def test_the_old_release_steps_aside(self, tmp_path: Path) -> None:
        """It takes nothing in from the first step on, is not ready, says why, and gives up what only one may do."""
        migrated = Migrated()
        with store_server() as server, running(tmp_path, "serve", settings={"CDR_REDIS_URL": server.url}) as service:
            feed = Feed()
            assert service.post(feed.document(call_start("c"), join("alice-1", "c"))) == 200
            assert service.status("/readyz") == 200
            async with connected(server.url) as connection:
                migrated.gate.clear()
                task = asyncio.create_task(migrated.layouts(connection, "new").settle("default"))
                await asyncio.to_thread(eventually, lambda: ">" in server.ask("GET", KEY), "it is under way")
                before = things(server)
                late = feed.document(join("bob-1", "c", "09:00:05"))
                assert await asyncio.to_thread(service.post, late) == 503
                assert await asyncio.to_thread(service.status, "/readyz") == 503
                migrated.gate.set()
                await task
            assert service.post(late) == 503
            assert things(server) == before
            assert "newer release (layout" in service.events("store.unavailable")[-1]["reason"]
            eventually(lambda: not server.ask("EXISTS", Keys("default").lease("upkeep")), "the lease is given up", 30)
            self.goes_on_when_the_layout_is_its_own(server, service, late)

    def goes_on_when_the_layout_is_its_own(self, server: StoreServer, service: Service, late: bytes) -> None:
        """Without a restart, once the backup of before the update is put back."""
        server.ask("SET", KEY, LAYOUT)
        assert service.post(late) == 200
        assert service.status("/readyz") == 200
        assert service.get("/v1/calls/c")["legs"] == 2

    def test_the_old_release_does_not_start(self, tmp_path: Path) -> None:
        """It ends with exit code 1 and one sentence, and changes nothing."""
        with store_server() as server:
            server.ask("SET", KEY, LAYOUT + 1)
            told = run(tmp_path, "serve", CDR_REDIS_URL=server.url, CDR_INTAKE_BIND="127.0.0.1:0", CDR_API_BIND=":0")
            assert told.returncode == 1
            assert "The store was written by a newer release" in told.stderr
            assert "Traceback" not in told.stderr
            assert server.ask("KEYS", "*") == [KEY]

    def test_a_store_that_was_emptied_is_a_new_one(self, tmp_path: Path) -> None:
        """A process that runs meanwhile notes the layout again, with the next document."""
        with store_server() as server, running(tmp_path, "serve", settings={"CDR_REDIS_URL": server.url}) as service:
            assert service.post(Feed().document(call_start("c"))) == 200
            server.ask("FLUSHALL")
            assert service.post(Feed("other").document(call_start("d"))) == 200
            assert server.ask("GET", KEY) == str(LAYOUT)


def things(server: StoreServer) -> dict[str, bytes]:
    """Return what is stored of calls, legs, meetings and sessions."""
    kinds = ("call", "leg", "meeting", "session")
    names = [name for name in server.ask("KEYS", "cdr:*") if name.split(":")[2] in kinds]
    return {name: server.ask("GET", name, decode=False) for name in names}
