"""What the fields of a struct mean: the docstrings under them, which Python keeps in the source alone."""

import ast
import importlib
import inspect
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from typing import Any, get_origin

from msgspec import Struct
from msgspec.inspect import StructType, type_info


@cache
def meanings(kind: Any) -> Mapping[str, str]:
    """Return what each field of a struct means, where a docstring says it, by its name in Python."""
    found: dict[str, str] = {}
    for base in reversed((get_origin(kind) or kind).__mro__):
        if issubclass(base, Struct) and base is not Struct:
            found |= _of_module(base.__module__).get(base.__name__, {})
    return found


@cache
def _of_module(module: str) -> Mapping[str, Mapping[str, str]]:
    """Return the docstrings under the fields of a module's classes."""
    tree = ast.parse(inspect.getsource(importlib.import_module(module)))
    return {node.name: dict(_documented(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _documented(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, below in pairwise(node.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, " ".join(text.split())


def structs_in(kind: Any) -> Iterator[StructType]:
    """Give every struct that a type is made of, itself and those of its fields' types."""
    seen = set()
    waiting: list[Any] = [type_info(kind)]
    while waiting:
        part = waiting.pop()
        if isinstance(part, StructType):
            if part.cls in seen:
                continue
            seen.add(part.cls)
            yield part
        if isinstance(part, Struct):
            waiting += (getattr(part, name) for name in part.__struct_fields__)
        elif isinstance(part, tuple):
            waiting += part
