"""Replay and the simulated Meeting Server over real sockets, against a small receiver that has its bad days."""

import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from aiohttp import web

from cdr_service.replay import ATTEMPTS, Refusal, ReplayError, ReplaySummary, replay
from cdr_service.simulator.bridge import Bridge, Sender, receiver_url
from cdr_service.simulator.expected import Expected
from cdr_service.simulator.records import Identity, Record
from cdr_service.simulator.run import Outage, Summary, simulate
from cdr_service.simulator.scenarios import START, documents, generate

SAMPLES = Path(__file__).parent.parent / "samples"
SECRET = "1f-secret-1f"


class Receiver:
    """A receiver that stores every body, and answers each request by the next entry of a plan, else with 200.

    A number is a status, "drop" cuts the connection without an answer, after storing.
    """

    def __init__(self, plan: Iterable[int | str]) -> None:
        self.plan = iter(plan)
        self.requests: list[tuple[bytes, int | str]] = []
        self.queries: list[dict[str, str]] = []
        self.content_types: set[str] = set()
        self.connections: set[object] = set()
        self.arrived = asyncio.Event()
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        """Take one push."""
        body = await request.read()
        outcome = next(self.plan, 200)
        self.requests.append((body, outcome))
        self.queries.append(dict(request.query))
        self.content_types.add(request.content_type)
        assert request.transport is not None
        self.connections.add(request.transport.get_extra_info("peername"))
        self.arrived.set()
        if outcome == "drop":
            request.transport.abort()
            return web.Response()
        headers = {503: {"Retry-After": "0"}, 307: {"Location": "/elsewhere"}}.get(int(outcome))
        return web.Response(status=int(outcome), headers=headers)

    async def elsewhere(self, request: web.Request) -> web.Response:
        """Take what was redirected here, though a Call Bridge is not known to follow."""
        await request.read()
        return web.Response()

    @property
    def taken(self) -> list[bytes]:
        """The bodies that were answered with 200, in order."""
        return [body for body, outcome in self.requests if outcome == 200]


Start = Callable[..., Awaitable[Receiver]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start receivers on free ports of loopback; end them with the test."""
    runners: list[web.AppRunner] = []

    async def start(plan: Iterable[int | str] = ()) -> Receiver:
        receiver = Receiver(plan)
        app = web.Application()
        app.router.add_post("/cdr", receiver.handle)
        app.router.add_post("/elsewhere", receiver.elsewhere)
        runners.append(web.AppRunner(app))
        await runners[-1].setup()
        await web.TCPSite(runners[-1], "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runners[-1].addresses[0][1]}/cdr"
        return receiver

    yield start
    for runner in runners:
        await runner.cleanup()


def keys(bodies: Iterable[bytes]) -> list[tuple[str | None, int]]:
    """Name the records in some documents by (session, correlatorIndex)."""
    roots = [ET.fromstring(body) for body in bodies]
    return [(root.get("session"), int(record.attrib["correlatorIndex"])) for root in roots for record in root]


def elements(bodies: Iterable[bytes]) -> set[tuple[str | None, bytes]]:
    """Name the records in some documents by session and content."""
    roots = [ET.fromstring(body) for body in bodies]
    return {(root.get("session"), ET.tostring(record).strip()) for root in roots for record in root}


def records(bodies: Iterable[bytes]) -> list[ET.Element]:
    """Return the records in some documents."""
    return [record for body in bodies for record in ET.fromstring(body)]


def session_of(body: bytes) -> str | None:
    """Read the session of a document."""
    return ET.fromstring(body).get("session")


async def test_the_simulator_sends_again_until_the_200(start: Start) -> None:
    """Busy answers and lost answers are followed by the very same bytes; in the end every record is there."""
    receiver = await start([200, 503, "drop", 503, 200, "drop", 500, 200, 204, 307] + [200, 200, "drop"] * 20)
    run = {"seed": 4, "bridges": 2, "cluster": True}
    summary = await simulate(receiver.url, **run, meetings=5, speed=1e9, start=START, sessions="x", drain=60)
    scenario = generate(**run, meetings=5, sessions="x")
    for bridge in scenario.bridges:
        pushed = [(body, outcome) for body, outcome in receiver.requests if session_of(body) == bridge.session]
        for (body, outcome), (following, _) in pairwise(pushed):
            assert (body == following) is (outcome != 200)
    assert elements(receiver.taken) == elements(sent.body for sent in documents(scenario))
    assert len(set(keys(receiver.taken))) == len(keys(receiver.taken)) == len(scenario.steps)
    failures = [outcome for _, outcome in receiver.requests if outcome != 200]
    assert summary.repeats == len(failures) > 10
    assert (summary.records, summary.documents) == (len(scenario.steps), len(receiver.taken))
    assert (summary.waiting, summary.live, summary.trouble) == (0, 0, None)
    assert summary.calls == sum(len(meeting.calls) for meeting in scenario.expected)


async def test_a_bridge_keeps_its_connection(start: Start) -> None:
    """One connection per bridge carries all documents, as XML."""
    receiver = await start()
    await simulate(receiver.url, seed=1, bridges=2, meetings=6, speed=1e9, start=START)
    assert len(receiver.requests) > 50
    assert len(receiver.connections) == 2
    assert receiver.content_types == {"text/xml"}


async def test_bridges_without_a_name_say_it_in_the_url(start: Start) -> None:
    """Token and bridge go into the query, beside what was there; a cluster's bridges name themselves in the body."""
    receiver = await start()
    await simulate(f"{receiver.url}?k=v", bridges=2, meetings=6, speed=1e9, start=START, token=SECRET)
    wanted = [{"k": "v", "token": SECRET, "bridge": name} for name in ("cms1", "cms2")]
    assert all(query in wanted for query in receiver.queries)
    assert all(query in receiver.queries for query in wanted)
    clustered = await start()
    await simulate(clustered.url, bridges=2, cluster=True, meetings=2, speed=1e9, start=START)
    assert clustered.queries[0] == {}


async def test_a_second_run_takes_new_sessions_unless_told(start: Start) -> None:
    """Two runs share no record; with the same `sessions` the second is a replay of the first."""
    plain, told = await start(), await start()
    for _ in range(2):
        await simulate(plain.url, seed=2, meetings=2, speed=1e9)
        await simulate(told.url, seed=2, meetings=2, speed=1e9, sessions="same")
    half = len(keys(plain.taken)) // 2
    assert not set(keys(plain.taken)[:half]) & set(keys(plain.taken)[half:])
    assert keys(told.taken)[:half] == keys(told.taken)[half:]


async def test_the_simulator_runs_until_it_is_stopped(start: Start) -> None:
    """Without a number of meetings it goes on for ever, tells how far it is, and ends when asked to."""
    receiver = await start()
    stop, told = asyncio.Event(), []

    def on_progress(summary: Summary) -> None:
        told.append(summary)
        stop.set()

    summary = await simulate(receiver.url, rate=60, speed=50, stop=stop, on_progress=on_progress)
    assert told[0].calls > 0
    assert summary.live > 0
    assert summary.records == len(keys(receiver.taken))


async def test_the_simulator_ends_after_its_duration(start: Start) -> None:
    """A duration ends it in the middle of its meetings, with everything delivered."""
    receiver = await start()
    summary = await simulate(receiver.url, rate=600, speed=10, duration=0.3)
    assert summary.live > 0
    assert summary.waiting == 0


async def test_nothing_arrives_in_an_outage_and_all_of_it_afterwards(start: Start) -> None:
    """The bridges go on and keep their records; once the outage is over, each sends them in order."""
    cut, mended = await start(), await start()
    run: dict[str, Any] = {"seed": 3, "bridges": 2, "meetings": 4, "speed": 1e9, "start": START, "sessions": "x"}
    summary = await simulate(cut.url, **run, outage=Outage(0, 3600), drain=0.3)
    assert cut.requests == []
    assert summary.waiting > 0 == summary.records
    after = await simulate(mended.url, **run, outage=Outage(0, 0.5), drain=60)
    assert (after.records, after.waiting) == (summary.waiting, 0)
    for session in {session for session, _ in keys(mended.taken)}:
        numbers = [number for of, number in keys(mended.taken) if of == session]
        assert numbers == list(range(len(numbers)))


async def test_the_known_answers_are_those_of_meetings_that_are_over(start: Start) -> None:
    """Each meeting of a whole run is told once, as it was planned; of one that was broken off only those that ended."""
    receiver = await start()
    run: dict[str, Any] = {"seed": 5, "speed": 1e9, "start": START, "sessions": "x"}
    told: list[Expected] = []
    await simulate(receiver.url, **run, meetings=6, on_answers=told.append)
    assert told == list(generate(5, meetings=6, sessions="x").expected)
    some: list[Expected] = []
    summary = await simulate(receiver.url, **run | {"speed": 20_000.0}, duration=0.3, drain=60, on_answers=some.append)
    ended = {record.find("call").get("id") for record in records(receiver.taken) if record.get("type") == "callEnd"}  # type: ignore[union-attr]
    assert summary.live > 0
    assert {call for meeting in some for call in meeting.calls} <= ended


async def test_the_simulator_says_what_is_wrong_without_the_token(start: Start, unused_tcp_port: int) -> None:
    """A refusing or missing receiver is named as trouble, what could not be delivered is counted, no secret is told."""
    refusing = await start([401] * 1000)
    summary = await simulate(refusing.url, meetings=1, speed=1e9, start=START, token=SECRET, drain=0.3)
    assert summary.waiting > 0
    assert "answered 401; it wants a token" in str(summary.trouble)
    target = f"http://127.0.0.1:{unused_tcp_port}/cdr?token={SECRET}"
    summary = await simulate(target, meetings=1, speed=1e9, start=START, drain=0.3)
    assert f"127.0.0.1:{unused_tcp_port} gave no answer" in str(summary.trouble)
    assert SECRET not in str(summary)


async def test_arguments_without_sense_are_refused() -> None:
    """No bridges, or time that stands still, is refused in one sentence."""
    with pytest.raises(ValueError, match="one bridge at least"):
        await simulate("http://127.0.0.1:1/cdr", bridges=0)


async def test_a_restart_takes_the_document_off_offer(start: Start) -> None:
    """A bridge that restarts while its receiver is busy never sends the old session again."""
    receiver = await start([503])
    bridge = Bridge(Identity("cms1", "old"))
    sender = Sender(bridge.add_receiver(), receiver_url(receiver.url), first_wait=0.01)
    record = Record("callEnd", "c", {"callLegsCompleted": 1})
    bridge.emit(record, START)
    async with asyncio.TaskGroup() as group:
        group.create_task(sender.run())
        await receiver.arrived.wait()
        bridge.restart("new")
        bridge.emit(record, START + timedelta(seconds=1))
        bridge.feeds[0].close()
    assert [(session_of(body), outcome) for body, outcome in receiver.requests] == [("old", 503), ("new", 200)]


def files_of(folder: Path, bodies: list[bytes]) -> dict[str, list[Path]]:
    """Write the same documents in every form that replay reads."""
    texts = [body.decode() for body in bodies]
    forms: dict[str, bytes] = {
        "several": b"\n".join(b"<!-- POST %d -->\n" % number + body for number, body in enumerate(bodies)),
        "close": b"".join(body.strip() for body in bodies),
        "marked": b"\xef\xbb\xbf" + b"".join(bodies),
        "base64": "".join(
            json.dumps({"body_base64": base64.b64encode(body).decode()}) + "\n" for body in bodies
        ).encode(),
    }
    for name in ("body", "data", "xml", "raw"):
        forms[name] = "".join(json.dumps({"at": 1, name: text}) + "\n\n" for text in texts).encode()
    forms["zipped"] = gzip.compress(forms["several"])
    forms["zipped lines"] = gzip.compress(forms["body"])
    files = {name: [folder / name] for name in forms}
    for name, content in forms.items():
        (folder / name).write_bytes(content)
    files["one each"] = [folder / f"{number:03}.xml" for number in range(len(bodies))]
    for path, body in zip(files["one each"], bodies, strict=True):
        path.write_bytes(body)
    return files


async def test_replay_reads_every_form(start: Start, tmp_path: Path) -> None:
    """One document per file, several in one, JSON lines, base64, gzip: all bring the same documents in order."""
    bodies = [sent.body for sent in documents(generate(3, meetings=2, hostile=True))]
    for form, files in files_of(tmp_path, bodies).items():
        receiver = await start()
        told: list[tuple[int, int]] = []
        summary = await replay(
            files,
            target=receiver.url,
            keep_sessions=True,
            progress=lambda now, told=told: told.append((now.accepted, now.total)),
        )
        assert [body.strip() for body in receiver.taken] == [body.strip() for body in bodies], form
        assert summary == ReplaySummary(total=len(bodies), accepted=len(bodies))
        assert told == [(number, len(bodies)) for number in range(1, len(bodies) + 1)]


async def test_replay_of_the_worked_flows(start: Start) -> None:
    """The samples with two bridges arrive byte for byte, sessions apart."""
    files = sorted((SAMPLES / "two-bridges").glob("*.xml"))
    receiver = await start()
    await replay(files, target=receiver.url, keep_sessions=True)
    assert receiver.taken == [path.read_bytes().strip() for path in files]


async def test_replay_takes_new_sessions(start: Start, tmp_path: Path) -> None:
    """Each session becomes one new session in all its documents, another one in a second replay; the rest stays."""
    scenario = generate(6, meetings=4, bridges=2, cluster=True)
    bodies = [sent.body for sent in documents(scenario)]
    # A GUID in capitals names the same session.
    bodies[-1] = bodies[-1].replace(str(session_of(bodies[-1])).encode(), str(session_of(bodies[-1])).upper().encode())
    files = files_of(tmp_path, bodies)["several"]
    receiver = await start()
    seen: set[str | None] = {bridge.session for bridge in scenario.bridges}
    for _ in range(2):
        receiver.requests.clear()
        await replay(files, target=receiver.url)
        pairs = {
            (str(session_of(old)).lower(), session_of(new)) for old, new in zip(bodies, receiver.taken, strict=True)
        }
        assert len(pairs) == 2
        assert not {new for _, new in pairs} & seen
        seen |= {new for _, new in pairs}
        for old, new in zip(bodies, receiver.taken, strict=True):
            assert new.replace(str(session_of(new)).encode(), str(session_of(old)).encode()) == old.strip()


async def test_replay_tries_again_where_that_helps(start: Start, tmp_path: Path) -> None:
    """Busy answers and lost answers are followed by the same document; others are reported and left at that."""
    bodies = [sent.body.strip() for sent in documents(generate(1, meetings=1))][:6]
    (file,) = files_of(tmp_path, bodies)["several"]
    receiver = await start([503, 503, 200, "drop", 200, 413, 200, 307])
    summary = await replay([file], target=receiver.url, keep_sessions=True)
    sent = [bodies[index] for index in (0, 0, 0, 1, 1, 2, 3, 4, 5)]
    assert [body for body, _ in receiver.requests] == sent
    refusals = [Refusal(file, 3, 413), Refusal(file, 5, 307)]
    assert summary == ReplaySummary(total=6, accepted=4, refused=2, repeats=3, refusals=refusals)


async def test_replay_gives_up_on_a_receiver_that_stays_busy(start: Start, tmp_path: Path) -> None:
    """The attempts are bounded, and the error says how many documents got through before."""
    files = files_of(tmp_path, [sent.body for sent in documents(generate(1, meetings=1))])["several"]
    receiver = await start([200, *[503] * 100])
    with pytest.raises(ReplayError, match=rf"answered 503.*{ATTEMPTS} times in a row; 1 of \d+ documents"):
        await replay(files, target=receiver.url)
    assert len(receiver.requests) == 1 + ATTEMPTS


@pytest.mark.parametrize("status", [401, 403, 404, 405])
async def test_replay_stops_where_every_document_would_be_refused(start: Start, tmp_path: Path, status: int) -> None:
    """A wrong token or path ends the replay at the first document, in a sentence without the token."""
    files = files_of(tmp_path, [sent.body for sent in documents(generate(1, meetings=1))])["several"]
    receiver = await start([status] * 100)
    with pytest.raises(ReplayError, match=rf"answered {status}; .* \(document 1 of .*several\)") as refused:
        await replay(files, target=receiver.url, token=SECRET)
    assert receiver.queries == [{"token": SECRET}]
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read: No such file or directory."),
        (b"", "holds no documents."),
        (b" \n\n", "holds no documents."),
        (b"<!-- nothing -->\n", "holds no documents."),
        (b"session,time\n", "holds neither XML documents nor JSON lines."),
        (b'{"body": "<records/>"}\n{"event": "x"}\n', "has no document: it needs body, data, xml, raw or body_base64."),
        (b'\n{"body": \n', "is not JSON."),
        (b'{"body_base64": "%"}', "holds no valid base64 in body_base64."),
        (gzip.compress(b"<records/>" * 9)[:-9], "is a damaged gzip file"),
    ],
)
async def test_replay_reads_all_files_before_it_sends(
    start: Start, tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    """A file that is missing or holds nothing sensible is named in one sentence before anything is sent."""
    good, bad = tmp_path / "good.xml", tmp_path / "bad"
    good.write_bytes(documents(generate(1, meetings=1))[0].body)
    if content is not None:
        bad.write_bytes(content)
    receiver = await start()
    with pytest.raises(ReplayError) as refused:
        await replay([good, bad], target=receiver.url)
    assert str(bad) in str(refused.value)
    assert sentence in str(refused.value)
    assert not receiver.requests


async def test_replay_names_a_wrong_target_without_its_secret(tmp_path: Path) -> None:
    """A target that is no URL is refused in one sentence."""
    with pytest.raises(ReplayError, match="must be a URL") as refused:
        await replay([tmp_path], target=f"localhost?token={SECRET}")
    assert SECRET not in str(refused.value)
