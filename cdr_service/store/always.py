"""Writes that go on while a store is full.

Past its `maxmemory` a store runs no script that may add to it, and a document is refused as a whole. What looks after
the books must go on all the same, since retention is what makes room: it takes and prolongs a lease, and writes less
than it removes. https://valkey.io/topics/eval-intro, script flags
"""

from importlib.resources import files
from typing import Any, Final

from cdr_service.store.connection import Connection, Script

COMMIT: Final = Script(files(__package__).joinpath("commit.lua").read_text())
COMMIT_ALWAYS: Final = Script(COMMIT.text.replace("#!lua", "#!lua flags=allow-oom", 1))
"""The same for what must go on while the store is full."""
ALWAYS: Final = Script(files(__package__).joinpath("always.lua").read_text())


async def write_always(connection: Connection, *commands: tuple[Any, ...]) -> None:
    """Run commands, each with the key that it writes as its first argument, all of them or none."""
    keys = list(dict.fromkeys(key for _, key, *_ in commands))
    arguments: list[Any] = []
    for name, key, *more in commands:
        arguments += (len(more) + 2, name, keys.index(key) + 1, *more)
    await connection.script(ALWAYS, keys, arguments)
