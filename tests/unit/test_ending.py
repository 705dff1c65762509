"""How a task is ended."""

import asyncio

from cdr_service import ending


async def test_a_task_that_loses_a_cancellation_ends_all_the_same() -> None:
    """As `asyncio.wait_for` of Python 3.11 does, the task goes on after the first cancellation; it is told again."""
    lost = 0

    async def work() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                lost += 1
                if lost > 1:
                    raise

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    await ending.end(task)
    assert task.cancelled()
    assert lost == 2


async def test_what_a_task_raised_is_not_told() -> None:
    """A task that had failed before is ended without another word."""

    async def work() -> None:
        raise LookupError

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    await ending.end(task)
    assert isinstance(task.exception(), LookupError)
