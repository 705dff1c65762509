"""Errors that cross a room's border. Each message is one whole sentence that a user can act on."""


class StoreUnavailable(Exception):  # noqa: N818  the name says what the sender is told: come again later
    """The store could not do what was asked, or its answer was lost, so nothing may be acknowledged.

    What was asked may have happened all the same: only a command that is harmless when repeated may be sent again.
    """


class StoreFull(StoreUnavailable):
    """The store takes no more; what it has it still tells."""


class StoreUrlError(ValueError):
    """The store's URL (setting `CDR_REDIS_URL`) cannot be understood. The message never repeats the URL's secrets."""


class EmbeddedServerError(Exception):
    """The embedded store could not start."""


class StoreConflict(Exception):  # noqa: N818  nothing is wrong: the work is to be done anew
    """Something that a commit rests on was changed by another process; nothing was changed by the commit."""


class Draining(Exception):  # noqa: N818  nothing is wrong: the sender is to come again
    """The service is about to stop and takes nothing more."""


class NotFound(Exception):  # noqa: N818  an answer rather than a fault
    """What was asked for by its id does not exist, or no longer."""


class BadRequest(Exception):  # noqa: N818  the name that HTTP gives it
    """A parameter of a query cannot be understood."""

    def __init__(self, parameter: str, sentence: str) -> None:
        """`parameter` is the name as the caller wrote it; `sentence` says what to change."""
        super().__init__(sentence)
        self.parameter = parameter
        self.sentence = sentence


class StoreLayoutError(StoreUnavailable):
    """The store was written by a release whose layout this one does not know. It is left as it is."""
