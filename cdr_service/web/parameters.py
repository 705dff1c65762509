"""Query parameters: fields of structs, read by their types, and refused with a sentence that names the parameter."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from functools import cache
from types import NoneType
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct
from multidict import MultiMapping

from cdr_service.domain.filters import Time
from cdr_service.errors import BadRequest

_WHOLE_NUMBER: Final = re.compile(r"-?[0-9]{1,18}")


class Paging(Struct, frozen=True):
    """Which part of a list is asked for."""

    limit: Annotated[int, Meta(ge=1, le=500)] = 100
    """How many items at most."""
    cursor: str | None = None
    """The `next` of the page before, with the same filters; left out, the list begins at its start."""


class Within(Struct, frozen=True):
    """Which of the deployments is asked that have the same id."""

    deployment: str | None = None
    """The deployment that is meant; needed where several have this id."""


class Format(Struct, frozen=True):
    """How a list is written."""

    format: Literal["json", "csv"] | None = None
    """`csv` for spreadsheets. Left out, the header `Accept: text/csv` asks for it, too."""


class Parameter(NamedTuple):
    """A field of a struct, as a parameter of a URL."""

    name: str
    field: str
    kind: Any
    """Its type, without None."""
    default: Any
    """msgspec's NODEFAULT where it has to be given."""
    schema: Mapping[str, Any]
    """What may be given, as JSON Schema. The sentence of a refusal is made of it, too."""

    def read(self, text: str) -> Any:
        """Return the value that was given. Raises BadRequest."""
        try:
            if self.schema.get("format") == "date-time":
                return _milliseconds(text)
            if self.schema["type"] == "integer":
                return _whole_number(text, self.kind)
            # A plus sign that was not escaped reads as a space.
            return msgspec.convert(text.replace(" ", "+") if "enum" in self.schema else text, self.kind)
        except (ValueError, OverflowError):
            raise BadRequest(self.name, f"{self.name} must be {_wanted(self.schema)}.") from None


@cache
def parameters_of(kind: type[Struct]) -> tuple[Parameter, ...]:
    """Return the parameters that a struct holds."""
    kinds = {name: _without_none(hint) for name, hint in get_type_hints(kind, include_extras=True).items()}
    return tuple(
        Parameter(field.encode_name, field.name, kinds[field.name], field.default, _schema(kinds[field.name]))
        for field in msgspec.structs.fields(kind)
    )


def read(query: MultiMapping[str], kinds: Iterable[type[Struct]]) -> Mapping[type[Struct], Any]:
    """Return what is asked for, a struct of each kind. Raises BadRequest, also for parameters that no kind has."""
    wanted = {kind: parameters_of(kind) for kind in kinds}
    known = sorted(parameter.name for parameters in wanted.values() for parameter in parameters)
    for name in query:
        if name not in known:
            those = f"; those that exist: {', '.join(known)}" if known else ", nor any other"
            raise BadRequest(name, f"There is no parameter of this name here{those}.")
        if not query[name]:
            raise BadRequest(name, f"{name} is empty: leave it out, or give it a value.")
        if len(query.getall(name)) > 1:
            raise BadRequest(name, f"{name} may be given once.")
    return {kind: _read_struct(query, kind, parameters) for kind, parameters in wanted.items()}


def _read_struct(query: Mapping[str, str], kind: type[Struct], parameters: Iterable[Parameter]) -> Struct:
    values = {}
    for parameter in parameters:
        if parameter.name in query:
            values[parameter.field] = parameter.read(query[parameter.name])
        elif parameter.default is msgspec.NODEFAULT:
            raise BadRequest(parameter.name, f"{parameter.name} is needed: {_wanted(parameter.schema)}.")
    return kind(**values)


def _milliseconds(text: str) -> int:
    # A plus sign in a query means a space, which a time zone would hardly be meant to begin with.
    moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    if moment.tzinfo is None:
        raise ValueError
    return int(moment.timestamp() * 1000)


def _whole_number(text: str, kind: Any) -> int:
    if not _WHOLE_NUMBER.fullmatch(text):
        raise ValueError
    number: int = msgspec.convert(int(text), kind)
    return number


def _wanted(schema: Mapping[str, Any]) -> str:
    """Continue "… must be " with what may be given."""
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    if schema.get("format") == "date-time":
        return "a time such as 2026-01-05T09:00:00Z"
    if schema["type"] == "integer":
        ends = {"from": "minimum", "to": "maximum"}
        return " ".join(["a whole number", *(f"{word} {schema[end]}" for word, end in ends.items() if end in schema)])
    return "a text"


def _schema(kind: Any) -> dict[str, Any]:
    if kind == Time:
        return {"type": "string", "format": "date-time"}
    if choices := _choices(kind):
        return {"type": "string", "enum": choices}
    schema = msgspec.json.schema(kind)
    if schema.get("type") not in ("string", "integer"):
        raise TypeError(f"a query parameter is a text, a whole number, a Time or one of several texts, not {kind}")
    return {**schema, "minLength": 1} if schema["type"] == "string" else schema


def _choices(kind: Any) -> list[str]:
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    return [str(member) for member in kind] if isinstance(kind, type) and issubclass(kind, StrEnum) else []


def _without_none(kind: Any) -> Any:
    parts = tuple(part for part in get_args(kind) if part is not NoneType)
    return Union[parts] if NoneType in get_args(kind) else kind  # noqa: UP007 - of parts that only running tells
