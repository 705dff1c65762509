"""What the integration tests share."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop


def pytest_asyncio_loop_factories(
    config: pytest.Config,  # noqa: ARG001 - pytest names the arguments
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the tests of a module with `ON_BOTH_LOOPS` also on uvloop, which the service runs on where it can."""
    module = getattr(item, "module", None)
    both = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return both if getattr(module, "ON_BOTH_LOOPS", False) else {"asyncio": asyncio.new_event_loop}
