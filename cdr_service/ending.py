"""How a task is ended."""

import asyncio
from typing import Any, Final

AGAIN_SECONDS: Final = 1.0


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait until it has ended; what it raised is not told.

    Before Python 3.12 `asyncio.wait_for`, through which redis-py writes, loses a cancellation that comes just as it is
    done (https://github.com/python/cpython/issues/86296). So the task is cancelled again until it has ended.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=AGAIN_SECONDS)
    await asyncio.gather(task, return_exceptions=True)
