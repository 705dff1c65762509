"""How much memory a store may take, and what to say where it is used up.

A store that must lose nothing evicts nothing: past its `maxmemory` it refuses what would add to it, and the Call
Bridges keep their records. So the limit has to lie below what the machine or the container has, or the kernel ends
the store, and whatever runs beside it, in its place. https://docs.kernel.org/admin-guide/cgroup-v2.html
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

MIB: Final = 1 << 20
SHARE: Final = 2
"""The embedded store takes at most one part in so many: the service needs some, and while the server rewrites its
append-only file, what changes meanwhile is there twice."""
NEARLY_FULL: Final = 0.9


class Memory(NamedTuple):
    """How much of its `maxmemory` a store has used, in bytes."""

    used: int
    limit: int

    @property
    def share(self) -> float:
        """The part that is used."""
        return self.used / self.limit

    @property
    def is_full(self) -> bool:
        """Does the store refuse what would add to it?"""
        return self.used >= self.limit

    def said(self, where: str) -> str | None:
        """Return what to do about a store that is full or nearly so, as a sentence; None where there is room."""
        limit = f"maxmemory {self.limit // MIB} MiB"
        if self.is_full:
            return f"The store {where} is full ({limit}), so documents are refused with 503: {REMEDY}."
        if self.share >= NEARLY_FULL:
            return f"The store {where} is nearly full ({limit}), and then refuses every document: {REMEDY}."
        return None


REMEDY: Final = (
    "raise its maxmemory (of the embedded one CDR_STORE_MAX_MB), or keep less with CDR_RETENTION_DAYS, "
    "CDR_EVENT_MAX or CDR_RAW_MAX_MB"
)


def embedded_limit() -> int:
    """Return how many bytes the embedded store may take where no setting says so."""
    return memory_of_machine() // SHARE


def memory_of_machine(root: Path = Path("/")) -> int:
    """Return how many bytes there are for this process and those beside it: the machine's, or less in a container."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in _limits(root):
        with suppress(OSError, ValueError):  # there is none here, or it says `max`
            found.append(int(file.read_text()))
    return min(found)


def _limits(root: Path) -> Iterator[Path]:
    """Yield the files that may hold a limit of our cgroup or of one above it, of version 2 or 1."""
    groups = root / "sys/fs/cgroup"
    lines: list[str] = []
    with suppress(OSError):
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        top, name = (groups / "memory", "memory.limit_in_bytes") if kinds else (groups, "memory.max")
        inside = PurePosixPath(path.lstrip("/"))
        yield from (top / part / name for part in (inside, *inside.parents))
