"""A described meeting: what may be left out, and what is refused, by which key."""

from typing import Any

import msgspec
import pytest

from cdr_service.domain.description import STEPS_MAX, DescriptionError, read_description

BOB = {"join": "bob@example.com"}

WRONG: list[tuple[Any, str, str]] = [
    ([], "", "Expected `object`"),
    ({}, "", "missing required field `steps`"),
    ({"steps": []}, "steps", "length >= 1"),
    ({"steps": [BOB] * (STEPS_MAX + 1)}, "steps", "length <= 100"),
    ({"steps": BOB}, "steps", "Expected `array`"),
    ({"steps": ["bob@example.com"]}, "steps[0]", "Expected `object`"),
    ({"steps": [BOB, {}]}, "steps[1]", "must do one thing"),
    ({"steps": [{**BOB, "record": True}]}, "steps[0]", "must do one thing"),
    ({"steps": [{"joins": "bob@example.com"}]}, "steps[0]", "unknown field `joins`"),
    ({"steps": [{"join": 1001}]}, "steps[0].join", "Expected `str"),
    ({"steps": [{"join": "bob@"}]}, "steps[0].join", "must be an address"),
    ({"steps": [{"join": ""}]}, "steps[0].join", "must be an address"),
    ({"steps": [BOB, {"leave": "carol@example.com"}]}, "steps[1].leave", 'names "carol@example.com", who is not in'),
    ({"steps": [BOB, {"leave": None}]}, "steps[1].leave", "names somebody unknown, who is not in"),
    ({"steps": [BOB, {"leave": "bob@example.com"}, {"leave": "bob@example.com"}]}, "steps[2].leave", "not in"),
    ({"steps": [{"record": "yes"}]}, "steps[0].record", "Expected `bool"),
    ({"steps": [{"record": True, "guest": True}]}, "steps[0]", "only beside join"),
    ({"steps": [{"end": False}]}, "steps[0].end", "must be true"),
    ({"steps": [BOB, {"end": True}, BOB]}, "steps[2]", "after the end"),
    ({"steps": [BOB], "owners": ["bob@example.com"]}, "", "unknown field `owners`"),
    ({"steps": [BOB], "owner": "bob"}, "owner", "a user's own address"),
    ({"steps": [BOB], "scheduler": "1001"}, "scheduler", "a user's own address"),
    ({"steps": [BOB], "holders": ["alice@example.com", "1001"]}, "holders[1]", "a user's own address"),
    ({"steps": [BOB], "holders": "alice@example.com"}, "holders", "Expected `array"),
    ({"steps": [BOB], "call_type": "space"}, "call_type", "Invalid enum value 'space'"),
    ({"steps": [BOB], "lync_mode": "dual"}, "lync_mode", "Invalid enum value 'dual'"),
    ({"steps": [BOB], "release": "three"}, "release", "matching regex"),
]


@pytest.mark.parametrize(("data", "key", "told"), WRONG)
def test_what_is_wrong_is_named(data: Any, key: str, told: str) -> None:
    """One sentence names the key and says what is wrong with it."""
    with pytest.raises(DescriptionError) as refused:
        read_description(data)
    assert refused.value.key == key
    assert str(refused.value).startswith(key)
    assert told in str(refused.value)
    assert str(refused.value).endswith(".")


def test_a_step_is_told_as_it_was_written() -> None:
    """Of a step only what was said is repeated, null included."""
    steps = [{"join": "Bob@Example.com", "video": False}, {"join": None, "guest": True}, {"leave": None}, {"end": True}]
    found = read_description({"steps": steps})
    assert msgspec.to_builtins(found.steps) == steps
    assert [step.does for step in found.steps] == ["join", "join", "leave", "end"]
    assert [step.who for step in found.steps] == ["bob@example.com", None, None, None]


def test_every_key_but_the_steps_may_be_left_out_or_null() -> None:
    """What is null is as if it were left out, as the contract's example writes it."""
    nothing = dict.fromkeys(("owner", "initiator", "scheduler", "holders", "members", "lync_mode", "release"))
    assert read_description({**nothing, "steps": [BOB]}) == read_description({"steps": [BOB]})
