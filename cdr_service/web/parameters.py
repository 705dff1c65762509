"""Query parameters: read by the types of the filters, and refused with a sentence that names the parameter."""

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeVar, get_args, get_type_hints

import msgspec
from aiohttp import web

from cdr_service.errors import BadRequest

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 500
TIMES: Final = ("since", "until")
"""Parameters that are times; the filters hold them in milliseconds."""
PAGING: Final = ("limit", "cursor")

T = TypeVar("T")


class Paging(msgspec.Struct, frozen=True):
    """Which part of a list is asked for."""

    limit: int
    cursor: str | None


def paging(request: web.Request) -> Paging:
    """Return the page that is asked for."""
    text = request.query.get("limit", str(LIMIT_DEFAULT))
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= LIMIT_MAX):
        raise BadRequest("limit", f"limit must be a whole number from 1 to {LIMIT_MAX}.")
    return Paging(int(text), request.query.get("cursor"))


def filters(request: web.Request, kind: type[T], *also: str) -> T:
    """Return the filters that are asked for; `also` names further parameters that the caller reads itself."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}  # type: ignore[arg-type]
    only(request, *fields, *also)
    types = get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, text in request.query.items():
        if name not in fields:
            continue
        field = fields[name].name
        if text in ("SMP ", "PMP "):
            text = text.replace(" ", "+")  # noqa: PLW2901 - a plus sign that was not escaped reads as a space
        if name in TIMES:
            values[field] = _milliseconds(name, text)
            continue
        try:
            values[field] = msgspec.convert(text, types[field], strict=False)
        except msgspec.ValidationError:
            raise BadRequest(name, f"{name} must be one of {_choices(types[field])}.") from None
    return kind(**values)


def only(request: web.Request, *known: str) -> None:
    """Refuse parameters that are not known, or that come twice."""
    for name in request.query:
        if name not in known:
            raise BadRequest(name, f"There is no parameter of this name here{_those(known)}.")
        if not request.query[name]:
            raise BadRequest(name, f"{name} is empty: leave it out, or give it a value.")
        if len(request.query.getall(name)) > 1:
            raise BadRequest(name, f"{name} may be given once.")


def _those(known: Collection[str]) -> str:
    return f"; those that exist: {', '.join(sorted(known))}" if known else ", nor any other"


def _milliseconds(name: str, text: str) -> int:
    try:
        # A plus sign in a query means a space, which a time zone would hardly be meant to begin with.
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        if moment.tzinfo is not None:
            return int(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        pass
    raise BadRequest(name, f"{name} must be a time such as 2026-01-05T09:00:00Z.")


def _choices(kind: Any) -> str:
    """Return the values that a parameter may have, from its type."""
    found: list[str] = []
    for part in get_args(kind) or [kind]:
        if isinstance(part, str):
            found.append(part)
        elif isinstance(part, type) and issubclass(part, StrEnum):
            found += [str(member) for member in part]
        elif get_args(part):
            found += [str(value) for value in get_args(part)]
    return ", ".join(found)
