"""How much memory the embedded store may take, and what is said of a store that has used up its own."""

from pathlib import Path

import pytest

from cdr_service.store.memory import MIB, Memory, embedded_limit, memory_of_machine

UNLIMITED = 9223372036854771712
"""What version 1 says where there is no limit."""


def machine(root: Path, cgroup: str, **limits: object) -> int:
    """Return what is found on a machine whose files say this; `__` stands for a slash."""
    for path, text in {"proc__self__cgroup": cgroup, **limits}.items():
        file = root / path.replace("__", "/").replace("_max", ".max").replace("_in_bytes", ".limit_in_bytes")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    return memory_of_machine(root)


def test_without_a_limit_it_is_what_the_machine_has(tmp_path: Path) -> None:
    """Also where the kernel knows no cgroups, or says that there is none."""
    whole = memory_of_machine(tmp_path)
    assert whole > 64 * MIB
    assert machine(tmp_path, "0::/pod", sys__fs__cgroup__pod__memory_max="max") == whole
    assert machine(tmp_path, "4:cpu,memory:/", sys__fs__cgroup__memory__memory_in_bytes=UNLIMITED) == whole


def test_a_container_has_less(tmp_path: Path) -> None:
    """Its own limit, or that of a group above it where that is tighter, by either version of cgroups."""
    two, one = tmp_path / "two", tmp_path / "one"
    assert machine(two, "0::/pod/container", sys__fs__cgroup__pod__container__memory_max=64 * MIB) == 64 * MIB
    assert machine(two, "0::/pod/container", sys__fs__cgroup__pod__memory_max=32 * MIB) == 32 * MIB
    assert machine(two, "0::/elsewhere", sys__fs__cgroup__memory_max=16 * MIB) == 16 * MIB
    assert machine(one, "4:cpu,memory:/x\n0::/", sys__fs__cgroup__memory__x__memory_in_bytes=8 * MIB) == 8 * MIB


def test_the_embedded_store_leaves_half_to_others() -> None:
    """The service needs some, and a rewrite of the append-only file needs what changes meanwhile twice."""
    assert embedded_limit() == memory_of_machine() // 2


@pytest.mark.parametrize(("used", "said"), [(0, None), (89, None), (90, "nearly full"), (100, "full"), (120, "full")])
def test_what_is_said_of_the_memory(used: int, said: str | None) -> None:
    """Nothing while there is room; then how large it may be, and which settings to change."""
    told = Memory(used * MIB, 100 * MIB).said("at unix:///socket")
    if said is None:
        assert told is None
    else:
        assert told is not None
        assert told.startswith(f"The store at unix:///socket is {said} (maxmemory 100 MiB), ")
        assert "CDR_STORE_MAX_MB" in told
