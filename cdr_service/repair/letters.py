"""Tries dead letters again: after a fix, what could not be taken in is taken in, past the marks of what was seen.

Each letter holds the whole document that it came in. That is read again, and where its problem is gone the document is
taken in as a whole; the records of it that were taken before change nothing. The letter is removed after the commit:
where this process dies in between, it is only tried once more.
"""

from collections import Counter
from hashlib import blake2b
from typing import NamedTuple, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from cdr_service.domain.commit import Document, read
from cdr_service.repair.watching import Watch
from cdr_service.service import Intake


class KeptLetter(NamedTuple):
    """A dead letter with all that is needed to try it again."""

    id: str
    kind: str
    """not_cdr (the whole document), record (one record of a good one), or failed (our own fault)."""
    reason: str
    content: bytes
    """What was set aside: the body, or the record as JSON."""
    bridge: str
    body: bytes
    """The whole document."""


class Letters(Protocol):
    """What is needed of the store. Every method may raise StoreUnavailable."""

    async def newest_letter(self, deployment: str) -> str | None:
        """Return the id of the newest dead letter, or None where there is none."""
        ...

    async def letter(self, deployment: str, after: str | None, last: str) -> KeptLetter | None:
        """Return the oldest dead letter after the one entry, and no later than the other."""
        ...

    async def remove_letter(self, deployment: str, letter: str) -> None:
        """Remove a dead letter."""
        ...


class Retried(Struct):
    """What came of trying dead letters again."""

    taken: int = 0
    """Letters whose problem is gone; they were removed."""
    stay: Counter[str] = field(default_factory=Counter)
    """Letters that are as bad as before, by reason."""


async def try_again(intake: Intake, letters: Letters, watch: Watch) -> Retried:
    """Try the dead letters of the intake's deployment again, oldest first; those that come meanwhile are left alone.

    `watch` is the intake's observer. Raises StoreUnavailable; what was done until then stays done.
    """
    deployment, done = intake.deployment.name, Retried()
    newest = await letters.newest_letter(deployment)
    after: str | None = None
    taken: set[bytes] = set()
    while newest and (letter := await letters.letter(deployment, after, newest)):
        after = letter.id
        document = _readable(letter)
        if isinstance(document, str):
            done.stay[document] += 1
            continue
        # A document of a thousand bad records has a thousand letters, but is taken in once.
        digest = blake2b(f"{letter.kind} {letter.bridge} ".encode() + letter.body).digest()
        failures = len(watch.problems)
        if digest not in taken:
            await intake.receive(document, again=True)
        if len(watch.problems) > failures:
            # The intake has set it aside anew, with the reason of now; that letter stands for this one.
            done.stay[f"The service failed on this document ({type(watch.problems[-1]).__name__})."] += 1
        else:
            taken.add(digest)
            done.taken += 1
        await letters.remove_letter(deployment, letter.id)
    return done


def _readable(letter: KeptLetter) -> Document | str:
    """Return the document to take in, or why the letter is as bad as before."""
    try:
        document = read(letter.body, letter.bridge)
    except Exception as problem:  # noqa: BLE001 - as at the intake: it is our fault, and must not stop the others
        return f"The service failed on this document ({type(problem).__name__})."
    if document.batch is None:
        return document.problem
    if letter.kind != "record":
        return document
    for reject in document.batch.rejected:
        if reject.content.encode() == letter.content:
            return reject.reason
    # Records of it that are bad still have letters of their own.
    return replace(document, batch=replace(document.batch, rejected=()))
