"""The use case: explain which license a described meeting would take, by what a deployment knows."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from cdr_service.domain.description import Description, DescriptionError, check
from cdr_service.domain.directory import Directory
from cdr_service.domain.explain import Explained, explain
from cdr_service.errors import BadRequest
from cdr_service.reading.queries import Queried


class Directories(Protocol):
    """Where directories are read. May raise StoreUnavailable."""

    async def directory(self, deployment: str) -> Directory:
        """Return the directory of a deployment; an empty one where none was ever stored."""
        ...


class Explaining:
    """Explains described meetings by the users and settings of the deployments."""

    def __init__(self, deployments: Iterable[Queried], directories: Directories, clock: Callable[[], int]) -> None:
        """`clock` returns milliseconds since 1970 UTC."""
        self._deployments = {deployment.name: deployment for deployment in deployments}
        self._directories = directories
        self._clock = clock

    async def explain(self, description: Description) -> Explained:
        """Explain a described meeting that begins now. Raises BadRequest, whose parameter is the key that is wrong."""
        try:
            check(description)
        except DescriptionError as problem:
            raise BadRequest(problem.key, str(problem)) from None
        name = next(iter(self._deployments)) if description.deployment is None else description.deployment
        if name not in self._deployments:
            names = ", ".join(self._deployments)
            raise BadRequest("deployment", f'There is no deployment "{name}"; those that exist: {names}.')
        directory = await self._directories.directory(name)
        options = self._deployments[name].options
        # It plays the meeting some dozens of times, which must not hold up the intake.
        return await asyncio.to_thread(explain, description, directory, options, self._clock())
