"""What may be odd about a simulated node's REST API: all of it was documented or met, none of it is malice."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from cdr_service.simulator.api_views import Fields
from cdr_service.simulator.records import Value

_OTHER_SPELLINGS = {
    "subtype": "subType",
    "sipCallId": "sipCallID",
    "coSpace": "coSpaceId",
    "uri": "url",
}
_OTHER_LISTS = {
    "usercoSpaces": ("userCoSpaces", "userCoSpace"),
    "activePersonalLicenses": ("activePersonalLicensing", "user"),
}


@dataclass(slots=True)
class Faults:
    """Switches, each off at first. They may be changed while the API is served."""

    seed: int = 0
    busy: float = 0.0
    """Share of requests that find the node busy."""
    busy_next: int = 0
    """So many requests from now on find it busy."""
    busy_status: int = 503
    """What a busy node answers; whatever stands before it may say 429."""
    slow: float = 0.0
    """Seconds before each answer."""
    broken: bool = False
    """Connections are cut without an answer."""
    forbidden: bool = False
    """The user may do nothing (403)."""
    gone_as_400: bool = False
    """An unknown id is 400 and not 404."""
    no_reason: bool = False
    """Errors come without a body."""
    bare_lists: bool = False
    """Lists of what has an id hold nothing but ids."""
    no_total: bool = False
    """Lists do not say how many entries they have."""
    other_spellings: bool = False
    """Where documents disagree about a name, the less likely one is written."""
    strange: bool = False
    """Unknown elements, ids in upper case, white space around text, no XML declaration."""
    missing: float = 0.0
    """Share of elements that are left out."""
    hidden: frozenset[str] = frozenset()
    """Elements that are always left out."""
    receiver_field: Literal["uri", "url"] = "uri"
    """The field of the form that sets a CDR receiver's URI; another one is taken for none."""
    _chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._chance = random.Random(f"{self.seed}/faults")  # noqa: S311 (repeatable by its seed, guards nothing)

    def is_busy(self) -> bool:
        """Draw whether this request finds the node busy."""
        if self.busy_next > 0:
            self.busy_next -= 1
            return True
        return self._chance.random() < self.busy

    def list_names(self, name: str, item: str) -> tuple[str, str]:
        """Return the names to write for a list and for an entry of it."""
        return _OTHER_LISTS.get(name, (name, item)) if self.other_spellings else (name, item)

    def written(self, fields: Fields) -> dict[str, Value]:
        """Return an object as it is to be written; what is None is left out."""
        told = {name: value for name, value in fields.items() if value is not None and self._tells(name)}
        if self.strange:
            told["futureThing"] = {"@since": "9.9", "deeper": [1, 2]}
        return self._renamed(told)

    def _renamed(self, fields: Mapping[str, Value]) -> dict[str, Value]:
        spellings = _OTHER_SPELLINGS if self.other_spellings else {}
        return {spellings.get(name, name): self._value(name, value) for name, value in fields.items()}

    def _tells(self, name: str) -> bool:
        # A draw for each element, so that one switch does not change what another one does.
        missing = self._chance.random() < self.missing
        return name.startswith("@") or not (missing or name in self.hidden)

    def _value(self, name: str, value: Value) -> Value:
        if isinstance(value, Mapping):
            return self._renamed(value)
        if not self.strange or not isinstance(value, str):
            return value
        if name == "@id":
            return value.upper()
        return value if name.startswith("@") or not value else f"\n  {value} "
