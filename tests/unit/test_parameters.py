"""Query parameters: read by the types of the filters, refused with a sentence that names the parameter."""

from typing import Annotated, Any

import pytest
from msgspec import Meta, Struct
from yarl import URL

from cdr_service.domain.filters import CallFilters, SwitchFilters
from cdr_service.domain.timeline import Cause
from cdr_service.errors import BadRequest
from cdr_service.web.parameters import Paging, read


def asked(query: str, kind: type[Any]) -> Any:
    """Return what this query asks for."""
    return read(URL(f"/v1/calls?{query}").query, [kind])[kind]


def test_filters_are_read_by_their_types() -> None:
    """Values become what the filters hold: times in milliseconds, choices as they are."""
    found = asked("state=all&name=stand&since=2026-01-05T09:00:00Z&until=2026-01-05T10:00:00%2B01:00", CallFilters)
    assert found == CallFilters(state="all", name="stand", since=1767603600000, until=1767603600000)


def test_members_that_are_python_words_have_their_own_names() -> None:
    """`from`, `to` and `cause` of switches are read under these names."""
    found = asked("from=SMP%2B&to=PMP%2B&cause=slot_freed", SwitchFilters)
    assert found == SwitchFilters(before="SMP+", after="PMP+", cause=Cause.SLOT_FREED)


def test_a_plus_sign_that_was_not_escaped_is_understood() -> None:
    """`license=SMP+` typed into a browser means SMP+, though a plus sign in a query is a space."""
    assert asked("license=SMP+", CallFilters).license == "SMP+"


@pytest.mark.parametrize(
    ("query", "parameter", "sentence"),
    [
        ("colour=red", "colour", "There is no parameter of this name here; those that exist: cospace, "),
        ("name=", "name", "name is empty: leave it out, or give it a value."),
        ("state=open", "state", "state must be one of active, ended, all."),
        ("license=gold", "license", "license must be one of SMP+, PMP+, none."),
        ("since=yesterday", "since", "since must be a time such as"),
        ("since=2026-01-05T09:00:00", "since", "since must be a time such as"),
        ("name=a&name=b", "name", "name may be given once."),
    ],
)
def test_what_is_not_understood_is_named(query: str, parameter: str, sentence: str) -> None:
    """An unknown parameter, a malformed value and a repeated one are refused, each by its name."""
    with pytest.raises(BadRequest, match=sentence.replace("+", r"\+")) as refused:
        asked(query, CallFilters)
    assert refused.value.parameter == parameter


class Steps(Struct, frozen=True):
    """Parameters without bounds, or with one."""

    some: int = 0
    many: Annotated[int, Meta(ge=3)] = 3


@pytest.mark.parametrize(("query", "wanted"), [("some=x", "a whole number."), ("many=2", "a whole number from 3.")])
def test_a_refusal_names_the_bounds_that_there_are(query: str, wanted: str) -> None:
    """Also where there is one or none."""
    with pytest.raises(BadRequest, match=f"must be {wanted}$"):
        asked(query, Steps)
    assert asked("some=-7&many=1234", Steps) == Steps(-7, 1234)


def test_a_type_that_is_no_parameter_is_the_programmers_mistake() -> None:
    """It is said by whatever reads the declaration, so the description of the API cannot be made with it."""

    class Wrong(Struct):
        flags: list[str] = []

    with pytest.raises(TypeError, match="a query parameter is a text"):
        asked("", Wrong)


@pytest.mark.parametrize("limit", ["0", "501", "-1", "ten", "1.5", "٣"])
def test_a_limit_is_a_whole_number_from_1_to_500(limit: str) -> None:
    """Another limit is refused, digits of another script too."""
    with pytest.raises(BadRequest, match="limit must be a whole number from 1 to 500"):
        asked(f"limit={limit}", Paging)


def test_paging_has_defaults() -> None:
    """A list gives 100 items from its beginning, unless asked otherwise."""
    assert asked("", Paging) == Paging(limit=100, cursor=None)
    assert asked("limit=500&cursor=x", Paging) == Paging(limit=500, cursor="x")
