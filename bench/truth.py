"""The check that follows a load: does the service know what the simulator knows? A mismatch ends the run."""

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from http.client import HTTPConnection
from itertools import pairwise
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlsplit

SAMPLE: Final = 200
"""So many meetings of a deployment are compared change by change, drawn anew in each run."""
_COUNTED: Final = re.compile(
    r'^cdr_records_total\{deployment="([^"]*)",outcome="([^"]*)",type="[^"]*"\} (\S+)$', re.MULTILINE
)


class Mismatch(Exception):  # noqa: N818 - it says what is wrong
    """The state is not what the load must have led to."""


class Charge(NamedTuple):
    """What a meeting takes from a moment on."""

    at: str
    """As the API shows it."""
    type: str | None
    """SMP+, PMP+, or None while nobody is in."""
    holder: str | None


class Known(NamedTuple):
    """What must be known of a deployment once everything that was sent to it is answered."""

    records: int
    """Each counted once."""
    participants: int
    calls: Mapping[str, str]
    """The live calls, each with its meeting."""
    charges: Mapping[str, Sequence[Charge]]
    """How the license of each meeting changed, the earliest first."""

    @property
    def now(self) -> dict[str, Charge]:
        """What each meeting that has a live call takes now."""
        nothing = Charge("", None, None)
        return {meeting: self.charges.get(meeting, [nothing])[-1] for meeting in self.calls.values()}


def verify(apis: Sequence[str], known: Mapping[str, Known], *, lists: bool = True) -> None:
    """Compare the state of deployments, by name, with what is known of them. Raises Mismatch.

    `apis` are all replicas, since each counts the records that it took. Without `lists` only counts are compared.
    """
    clients = [_Api(url) for url in apis]
    used = {item["deployment"]: item for item in clients[0].items("/v1/usage")}
    counted: dict[tuple[str, str], float] = {}
    for client in clients:
        for deployment, outcome, count in _COUNTED.findall(client.text("/metrics")):
            counted[deployment, outcome] = counted.get((deployment, outcome), 0.0) + float(count)
    for name, one in known.items():
        _same(f"{name}: records applied", counted.get((name, "applied"), 0), one.records)
        for outcome in ("duplicate", "rejected"):
            _same(f"{name}: records {outcome}", counted.get((name, outcome), 0), 0)
        paying = [charge.type for charge in one.now.values()]
        shown = used[name]
        _same(f"{name}: live calls", shown["calls"], len(one.calls))
        _same(f"{name}: participants", shown["participants"], one.participants)
        _same(f"{name}: meetings on PMP+", shown["personal"]["meetings"], paying.count("PMP+"))
        _same(f"{name}: meetings on SMP+", shown["shared"]["meetings"], paying.count("SMP+"))
        if lists:
            _lists(clients[-1], name, one)


def _lists(api: "_Api", name: str, known: Known) -> None:
    """Compare every live call, every switch, and the whole course of some meetings."""
    calls = list(api.items(f"/v1/calls?deployment={name}"))
    _same(f"{name}: live calls and their meetings", {call["id"]: call["meeting"] for call in calls}, known.calls)
    licenses = {call["meeting"]: _taken(call["license"]) for call in calls}
    _same(f"{name}: licenses now", licenses, {meeting: charge[1:] for meeting, charge in known.now.items()})
    switches = sorted(
        (found["meeting"], Charge(found["at"], *_taken(found["to"])))
        for found in api.items(f"/v1/switches?kind=all&late=all&deployment={name}")
        if found["kind"] != "weight"
    )
    _same(f"{name}: switches", switches, sorted(_switches(known)))
    for meeting in random.sample(sorted(known.charges), min(SAMPLE, len(known.charges))):
        shown = api.json(f"/v1/meetings/{quote(meeting)}?deployment={name}")
        _same(f"{name}: licenses of meeting {meeting}", _course(shown["transitions"]), list(known.charges[meeting]))


def _switches(known: Known) -> Iterator[tuple[str, Charge]]:
    for meeting, charges in known.charges.items():
        for before, after in pairwise(charges):
            if before.type is not None and after.type is not None:
                yield meeting, after


def _course(transitions: Sequence[Mapping[str, Any]]) -> list[Charge]:
    """Return the changes of license or holder; those of the weight alone are left out."""
    return [Charge(t["at"], *_taken(t["to"])) for t in transitions if _taken(t["from"]) != _taken(t["to"])]


def _taken(shown: Mapping[str, Any] | None) -> tuple[str | None, str | None]:
    return (shown["type"], shown["holder"]) if shown else (None, None)


def shown_time(moment: datetime) -> str:
    """Return a whole second as the API shows it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _same(what: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise Mismatch(f"{what}: found {_difference(found, expected)}")


def _difference(found: Any, expected: Any) -> str:
    """Say in which entries two things differ, the first few of them."""
    if isinstance(found, dict):
        found, expected = ([*thing.items()] for thing in (found, expected))
    if not isinstance(found, list):
        return f"{found}, not {expected}"
    more, less = ([one for one in these if one not in those] for these, those in ((found, expected), (expected, found)))
    return f"{len(more)} that should not be, such as {more[:3]}; {len(less)} are missing, such as {less[:3]}"


class _Api:
    """The query API of one replica, over one connection."""

    def __init__(self, url: str) -> None:
        self._connection = HTTPConnection(urlsplit(url).netloc, timeout=60)

    def text(self, path: str) -> str:
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        text = answer.read().decode()
        if answer.status != 200:
            raise Mismatch(f"{path} answered {answer.status}: {text}")
        return text

    def json(self, path: str) -> Any:
        return json.loads(self.text(path))

    def items(self, path: str) -> Iterator[Any]:
        """Yield what a list shows, page by page."""
        more = f"{path}{'&' if '?' in path else '?'}limit=500"
        cursor = ""
        while True:
            page = self.json(f"{more}&cursor={quote(cursor)}" if cursor else more)
            yield from page["items"]
            cursor = page["next"]
            if cursor is None:
                return
