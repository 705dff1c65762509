"""Errors that cross a room's border. Each message is one whole sentence that a user can act on."""


class StoreUnavailable(Exception):  # noqa: N818  the name says what the sender is told: come again later
    """The store could not do what was asked, or its answer was lost, so nothing may be acknowledged.

    What was asked may have happened all the same: only a command that is harmless when repeated may be sent again.
    """


class StoreUrlError(ValueError):
    """The store's URL (setting `CDR_REDIS_URL`) cannot be understood. The message never repeats the URL's secrets."""


class EmbeddedServerError(Exception):
    """The embedded store could not start."""
