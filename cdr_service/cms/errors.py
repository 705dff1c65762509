"""What asking a Meeting Server can end in. Each message is one whole sentence without a secret."""


class CmsError(Exception):
    """The REST API gave no usable answer."""

    def __init__(self, sentence: str, *, codes: tuple[str, ...] = ()) -> None:
        super().__init__(sentence)
        self.codes = codes
        """The server's own reasons, such as `tooManyCdrReceivers`, where it named any."""


class CmsRefused(CmsError):  # noqa: N818 - what the server did, rather than a fault of ours
    """The server does not let this user in (401) or does not let them do this (403): asking again is no use."""


class CmsUnavailable(CmsError):  # noqa: N818 - the name says what to do: come again later
    """No answer, a busy server, or an answer that cannot be used: asking later may help."""


class CmsUnusable(CmsUnavailable):
    """The server answered, and the answer is of no use; what else it is asked may well be."""


class CmsSpent(CmsError):  # noqa: N818 - a bound of our own, and no fault
    """The node was asked as often as the budget allows; no request was sent, and asking later may succeed."""
