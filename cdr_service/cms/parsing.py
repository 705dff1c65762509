"""Answers of the REST API in, objects out. Tolerant: what we do not know is skipped, what is missing is None."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from cdr_service.cms.kinds import CDR_RECEIVER, Kind
from cdr_service.cms.objects import CdrReceivers
from cdr_service.domain.elements import read, table, whole
from cdr_service.domain.safe_xml import UnsafeXml, parse_xml

T = TypeVar("T")

_LIST = table(("@total", "total", whole), ("@maximum", "maximum", whole))


class UnreadableAnswer(Exception):  # noqa: N818 - it says what the answer is, not that we failed
    """A body that is not what was asked for. The message says why, and quotes nothing of it but an element's name."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list."""

    items: dict[Any, T]
    """By what tells them apart."""
    received: int
    """How many entries there were, readable or not: the next page begins so much further."""
    total: int | None
    """How many the whole list has, where the server says so."""


def read_one(kind: Kind[T], body: bytes, object_id: str | None = None) -> T:
    """Read one object, whose id is taken as known if the answer does not repeat it. Raises UnreadableAnswer."""
    name, content = _root(body)
    if name != kind.element:
        raise UnreadableAnswer(f"its root element is <{name[:64]}>, not <{kind.element}>")
    fields, _ = read(kind.table, content)
    if "id" in kind.key:
        fields.setdefault("id", object_id)
    if kind.key and _key(kind, fields) is None:
        raise UnreadableAnswer(f"its <{kind.element}> has no id")
    return kind.make(**fields)


def read_page(kind: Kind[T], body: bytes) -> Page[T]:
    """Read a part of a list; entries that nothing tells apart are only counted. Raises UnreadableAnswer."""
    name, content = _root(body)
    if name not in kind.lists:
        raise UnreadableAnswer(f"its root element is <{name[:64]}>, not <{kind.lists[0]}>")
    found: Any = next((inner for name, inner in content.items() if name.lower() == kind.element), [])
    entries = found if isinstance(found, list) else [found]
    items: dict[Any, T] = {}
    for entry in entries:
        fields, _ = read(kind.table, _attributes(entry))
        key = _key(kind, fields)
        if key is not None:
            items.setdefault(key, kind.make(**fields))
    return Page(items, len(entries), read(_LIST, content)[0].get("total"))


def read_cdr_receivers(body: bytes) -> CdrReceivers:
    """Read a node's list of CDR receivers, which has no pages. Raises UnreadableAnswer."""
    receivers = tuple(read_page(CDR_RECEIVER, body).items.values())
    fields, _ = read(_LIST, _root(body)[1])
    return CdrReceivers(receivers=receivers, maximum=fields.get("maximum", 4))


def failure_codes(body: bytes) -> tuple[str, ...]:
    """Read the reasons of an error answer, which are the names of empty elements; none where there is no such body."""
    try:
        name, content = _root(body)
    except UnreadableAnswer:
        return ()
    # An element's name cannot break a line, so only its length needs a bound.
    return tuple(code[:64] for code in content if code[0] not in "@#")[:8] if name == "failuredetails" else ()


def _root(body: bytes) -> tuple[str, dict[str, Any]]:
    try:
        ((name, content),) = parse_xml(body).items()
    except UnsafeXml as unsafe:
        raise UnreadableAnswer(unsafe.reason[:1].lower() + unsafe.reason[1:].rstrip(".")) from None
    return name.lower(), _attributes(content)


def _attributes(value: Any) -> dict[str, Any]:
    """Return an element's content as a dict; one that holds nothing but text may be a bare id."""
    if isinstance(value, dict):
        return value
    return {"@id": value} if isinstance(value, str) else {}


def _key(kind: Kind[Any], fields: dict[str, Any]) -> Any:
    return next((fields[name] for name in kind.key if fields.get(name) is not None), None)
