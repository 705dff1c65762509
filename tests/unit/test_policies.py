"""The policies as the API lists them."""

import msgspec
import pytest

from cdr_service.domain.policies import POLICIES
from cdr_service.domain.policy_views import policy_view
from cdr_service.errors import BadRequest
from cdr_service.reading.policies import policies


def test_a_policy_is_shown_with_its_rules_in_their_order() -> None:
    """All that is data of a rule is shown, word for word, and nothing else."""
    shown = msgspec.to_builtins(policy_view(POLICIES["owner"]))
    assert (shown["id"], shown["text"]) == ("owner", POLICIES["owner"].text)
    names = ("id", "text", "releases", "source", "confidence")
    assert shown["rules"] == [{name: getattr(rule, name) for name in names} for rule in POLICIES["owner"].rules]


def test_the_policies_are_pages_like_every_list() -> None:
    """One after the other or all at once; what is no cursor of theirs is refused."""
    assert [policy.id for policy in policies(100).items] == ["join", "owner"]
    first = policies(1)
    second = policies(1, first.next)
    assert [policy.id for policy in (*first.items, *second.items)] == ["join", "owner"]
    assert second.next is None
    with pytest.raises(BadRequest, match="not one that this list gave"):
        policies(1, "x")
