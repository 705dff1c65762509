"""What a scenario comes to where nothing goes wrong, and how a disturbed run compares with it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cdr_service.simulator.scenarios import Scenario, generate
from tests.faults.facts import facts, nothing_in_use
from tests.faults.senders import Load, keys
from tests.faults.service import LONG, SEED, Service, service

_known: dict[int, dict[str, Any]] = {}
_scenarios: dict[int, Scenario] = {}


class Outcome(NamedTuple):
    """The figures of a run."""

    records: int
    kills: int
    repeated: int
    """Records that were sent again."""
    lost: int
    doubled: int

    def __str__(self) -> str:
        return (
            f"{self.records} records, {self.kills} kills, {self.repeated} records sent again, "
            f"lost: {self.lost}, doubled: {self.doubled}"
        )


def scenario(meetings: int) -> Scenario:
    """Return so many meetings on a cluster of four Call Bridges, all of which come to an end."""
    if meetings not in _scenarios:
        _scenarios[meetings] = generate(SEED, meetings=meetings, bridges=4, cluster=True, rate=2)
    return _scenarios[meetings]


async def undisturbed(meetings: int) -> dict[str, Any]:
    """Return the facts of a scenario that one sender per Call Bridge told to one process that nobody killed."""
    if meetings not in _known:
        with tempfile.TemporaryDirectory() as folder, service(Path(folder)) as served:
            await served.start()
            await Load(scenario(meetings), served.intake_url).run()
            _known[meetings] = await facts(served)
            await served.stop()
    return _known[meetings]


def differences(right: Any, found: Any, place: str = "") -> Iterator[str]:
    """Name what differs, each by its place."""
    if isinstance(right, dict) and isinstance(found, dict) and right.keys() == found.keys():
        for name, value in right.items():
            yield from differences(value, found[name], f"{place}/{name}")
    elif right != found:
        yield f"{place}: {found} instead of {right}"


async def compared(name: str, meetings: int, load: Load, served: Service, kills: int) -> Outcome:
    """Compare what a service knows in the end with the undisturbed run; fails the test where anything differs."""
    expected, found = await undisturbed(meetings), await facts(served)
    taken = {bridge["session"]: bridge["records"] for bridge in found["bridges"].values()}
    missed = {session: sent - taken.get(session, 0) for session, sent in load.records.items()}
    outcome = Outcome(
        records=sum(load.records.values()),
        kills=kills,
        repeated=load.repeated,
        lost=sum(max(0, count) for count in missed.values()),
        doubled=sum(max(0, -count) for count in missed.values()),
    )
    if LONG:
        print(f"\n{name}: {outcome}\n  CDR_TEST_SEED={SEED} make test-faults")  # noqa: T201 - the figures of the long form
    told = f"with CDR_TEST_SEED={SEED}: {outcome}"
    assert (outcome.lost, outcome.doubled) == (0, 0), told
    assert len(keys(load.acknowledged)) == outcome.records, told
    wrong = list(differences(expected, found))
    assert not wrong, f"{len(wrong)} facts differ, {told}; the first: {wrong[0]}"
    assert nothing_in_use(found), told
    return outcome
