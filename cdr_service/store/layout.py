"""The layout of what is in a store, by which a release knows whether it can read it."""

from cdr_service.errors import StoreLayoutError
from cdr_service.store.connection import Connection
from cdr_service.store.keys import LAYOUT, Keys


async def read_layout(connection: Connection, keys: Keys) -> None:
    """Raise StoreLayoutError where a newer release wrote the store, or StoreUnavailable."""
    found = int(await connection.execute("GET", keys.layout) or LAYOUT)
    if found > LAYOUT:
        raise StoreLayoutError(
            f"The store was written by a newer release (layout {found}, this one knows {LAYOUT}); "
            "run that release, or set CDR_REDIS_URL or CDR_DATA_DIR to another store."
        )


async def check_layout(connection: Connection, keys: Keys) -> None:
    """Raise as `read_layout` does; note the layout in a store that is new."""
    await read_layout(connection, keys)
    await connection.execute("SET", keys.layout, LAYOUT, "NX")
