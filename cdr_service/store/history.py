"""The history of use in the store: read at one moment, settled hour by hour, and forgotten after a time.

A commit adds its steps to the fresh ones of their hours. Once an hour is over, its steps are summed up and packed; a
late record makes it fresh again, and it is summed up anew from both.
"""

import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib.resources import files
from itertools import takewhile
from typing import Any, Final

import msgspec

from cdr_service.domain.history import HOUR, LENGTHS, Before, Recorded, hours_of, summed_up
from cdr_service.domain.steps import Step, Steps
from cdr_service.errors import StoreUnavailable
from cdr_service.store.connection import Connection, Script
from cdr_service.store.keys import Keys

READ: Final = Script(files(__package__).joinpath("history.lua").read_text())
SETTLE: Final = Script(files(__package__).joinpath("settle.lua").read_text())
FORGET: Final = Script(files(__package__).joinpath("forget_hours.lua").read_text())

REMOVED: Final = b"before"
READS_MAX: Final = 10
"""So often a read begins again because steps came for hours that it had not asked for."""
AT_ONCE: Final = 50
"""Hours settled or forgotten in one round, so that upkeep never stalls the intake."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode_before: Final = msgspec.msgpack.Decoder(Before).decode
_peaks: Final = msgspec.msgpack.Decoder(dict[str, tuple[int, ...]]).decode
_packed: Final = msgspec.msgpack.Decoder(list[tuple[int, str, int]]).decode


class _Settled(msgspec.Struct, frozen=True, array_like=True):
    """How a settled hour is kept."""

    changes: dict[str, int]
    at: int
    """When it was settled, in milliseconds of our clock: retention counts from there."""


_settled: Final = msgspec.msgpack.Decoder(_Settled).decode


class RedisHistory:
    """The history of all deployments. Every method raises StoreUnavailable."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def recorded(
        self, deployment: str, until: int, peaks: Collection[int] = (), steps: Collection[int] = ()
    ) -> Recorded:
        """Return the history before a time: the peaks of some hours and the steps of others with it."""
        keys = Keys(deployment)
        fresh = {int(hour) for hour in await self._connection.execute("HKEYS", keys.history_fresh)}
        for _ in range(READS_MAX):
            whole = sorted({hour for hour in fresh if hour * HOUR < until} | set(steps))
            named = [*_names(keys), *map(keys.fresh_steps, whole)]
            wanted = sorted(set(peaks))
            answer = await self._connection.script(READ, named, [len(whole), *whole, *wanted])
            now = {int(hour) for hour in answer[1][::2]}
            if all(hour in whole or hour * HOUR >= until for hour in now):
                return _recorded(answer, whole, wanted)
            fresh = now
        raise StoreUnavailable("the history changes faster than it can be read")

    async def settle(self, deployment: str, now: int, known: Mapping[int, bytes] | None = None) -> Mapping[int, bytes]:
        """Sum up hours with fresh steps that are over by now, in milliseconds; return the fresh ones as found.

        With `known`, fresh hours as they were found the time before, those that were changed since are left for the
        next time: a backlog goes on with the same hour for long, and each of its commits would undo the work.
        """
        keys = Keys(deployment)
        found = await self._connection.execute("HGETALL", keys.history_fresh)
        fresh = {int(hour): commits for hour, commits in zip(found[::2], found[1::2], strict=True)}
        over = (hour for hour in fresh if (hour + 1) * HOUR <= now)
        for hour in sorted(hour for hour in over if known is None or known.get(hour) == fresh[hour])[:AT_ONCE]:
            names = [*_names(keys), keys.fresh_steps(hour)]
            answer = await self._connection.script(READ, names, [1, hour])
            steps = _steps(hour, *answer[3])
            one = summed_up(hour, steps)
            commits = dict(zip(answer[1][::2], answer[1][1::2], strict=True)).get(str(hour).encode(), b"")
            packed = zlib.compress(_encode([(step.time - hour * HOUR, step.series, n) for step, n in steps.items()]))
            values = (_encode(_Settled(one.changes, now)), _encode(one.peaks), packed)
            await self._connection.script(SETTLE, names, [hour, commits, *values])
        return fresh

    async def forget(self, deployment: str, since: int) -> None:
        """Remove the oldest hours, up to the first that was settled since then (milliseconds)."""
        keys = Keys(deployment)
        found = await self._connection.execute("HGETALL", keys.history_hours)
        hours = dict(zip(found[::2], found[1::2], strict=True))
        before = hours.pop(REMOVED, b"")
        settled = {hour: _settled(value) for hour, value in hours.items()}
        old = list(takewhile(lambda hour: settled[hour].at < since, sorted(hours, key=int)))[:AT_ONCE]
        if not old:
            return
        total = Counter(_before(before).levels)
        for hour in old:
            total.update(settled[hour].changes)
        kept = _encode(Before(int(old[-1]) + 1, {series: level for series, level in total.items() if level}))
        names = [keys.history_hours, keys.history_peaks, keys.history_steps]
        seen = [part for hour in old for part in (hour, hours[hour])]
        await self._connection.script(FORGET, names, [before, kept, *seen])

    async def meetings(self, deployment: str, since: int, until: int, most: int) -> list[str]:
        """Return the ids of meetings that took licenses in a span, and of some that ended shortly before.

        Where there are more than `most`, one more than that are given.
        """
        keys = Keys(deployment)
        found: dict[str, None] = {}
        # The longest first: a meeting that ends while we read goes to a list that is still to be read.
        for length in reversed(range(LENGTHS)):
            hours = hours_of(length)
            oldest = "-inf" if hours is None else since - hours * HOUR
            ids = await self._connection.execute(
                *("ZRANGE", keys.spans(length), oldest, f"({until}", "BYSCORE", "LIMIT", 0, most + 1 - len(found))
            )
            found |= dict.fromkeys(id_.decode() for id_ in ids)
            if len(found) > most:
                break
        return list(found)


def _names(keys: Keys) -> list[str]:
    return [keys.history_hours, keys.history_fresh, keys.history_peaks, keys.history_steps]


def _recorded(answer: Sequence[Any], whole: Sequence[int], wanted: Sequence[int]) -> Recorded:
    settled = dict(zip(answer[0][::2], answer[0][1::2], strict=True))
    before = _before(settled.pop(REMOVED, b""))
    changes = {int(hour): _settled(value).changes for hour, value in settled.items()}
    peaks = {hour: _peaks(value) for hour, value in zip(wanted, answer[2], strict=True) if value is not None}
    steps = {hour: _steps(hour, *answer[3][2 * place : 2 * place + 2]) for place, hour in enumerate(whole)}
    for hour, found in steps.items():
        if found or hour in changes:
            one = summed_up(hour, found)
            changes[hour], peaks[hour] = one.changes, one.peaks
    return Recorded(before=before, changes=changes, peaks=peaks, steps=steps)


def _before(packed: bytes) -> Before:
    return _decode_before(packed) if packed else Before()


def _steps(hour: int, packed: bytes | None, fresh: Sequence[bytes]) -> Steps:
    """Return the steps of an hour, settled and fresh together."""
    steps: Steps = Counter()
    for offset, series, change in _unpacked(packed):
        steps[Step(hour * HOUR + offset, series)] += change
    for name, added in zip(fresh[::2], fresh[1::2], strict=True):
        place, _, series = name.decode().partition(" ")
        steps[Step(hour * HOUR + int(place), series)] += int(added)
    return Counter({step: change for step, change in steps.items() if change})


def _unpacked(packed: bytes | None) -> Iterable[tuple[int, str, int]]:
    return _packed(zlib.decompress(packed)) if packed is not None else ()
