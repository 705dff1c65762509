"""Our clock, as everything here reads it that is not given another."""

import time


def milliseconds() -> int:
    """Return the time in milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000
