"""What is worth a look in a directory, before somebody wonders at a license: sentences for an administrator."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from cdr_service.domain.addresses import fold_case, normalize_address
from cdr_service.domain.directory import Directory

NAMED: Final = 5
"""So many users or spaces are named in a sentence; the others are counted."""


def audited(directory: Directory) -> Iterator[str]:
    """Yield a sentence for each thing to look at; those about the Meeting Server only where that was read."""
    yield from ambiguous(directory)
    if directory.from_server:
        yield from _of_users(directory)
        yield from _of_spaces(directory)


def ambiguous(directory: Directory) -> Iterator[str]:
    """Yield a sentence for each alias, cdrTag and space that several users have, and that therefore says nothing."""
    users = directory.users.values()
    aliases = ((normalize_address(alias) or fold_case(alias), user.address) for user in users for alias in user.aliases)
    tags = ((fold_case(tag), user.address) for user in users for tag in user.tags)
    spaces = ((space, user.address) for user in users for space in user.spaces)
    for what, claims in (("alias", aliases), ("cdrTag", tags), ("space", spaces)):
        for name, claimants in _shared(claims):
            yield f"the {what} {name} says nothing, because several users have it: {_some(claimants)}."


def _of_users(directory: Directory) -> Iterator[str]:
    users = directory.users.values()
    unknown = [user.address for user in users if user.id is None]
    if unknown:
        yield f"the holders file names users whom the Meeting Server does not know: {_some(unknown)}."
    reasons: defaultdict[str, list[str]] = defaultdict(list)
    for user in users:
        if user.doubt:
            reasons[user.doubt].append(user.address)
    for reason, doubtful in sorted(reasons.items()):
        yield f"whether they hold PMP+ is not certain, because {reason}: {_some(doubtful)}."


def _of_spaces(directory: Directory) -> Iterator[str]:
    claimed = {space for user in directory.users.values() for space in user.spaces}
    if unknown := sorted(claimed - directory.spaces.keys()):
        yield f"the holders file names spaces that are not on the Meeting Server: {_some(unknown)}."
    ownerless, without, foreign = [], [], []
    for space in directory.spaces.values():
        owner, name = directory.facts(space).owner, space.name or space.id
        if owner.user is None:
            ownerless.append(name)
        elif owner.user not in directory.users:
            foreign.append(f"{name} ({owner.user})")
        elif not owner.holds_license:
            without.append(f"{name} ({owner.user})")
    if ownerless:
        yield f"spaces without an owner, which no PMP+ pays unless a holder joins (join): {_some(ownerless)}."
    if without:
        yield f"spaces whose owner holds no PMP+: {_some(without)}."
    if foreign:
        yield f"spaces whose owner is no user of the Meeting Server: {_some(foreign)}."


def _shared(claims: Iterable[tuple[str, str]]) -> Iterator[tuple[str, list[str]]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for name, user in claims:
        found[name].add(user)
    return ((name, sorted(users)) for name, users in sorted(found.items()) if len(users) > 1)


def _some(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
