"""What is over is kept packed: whatever it says comes back, and what was packed once is read for ever."""

import zlib
from hashlib import blake2b
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from cdr_service.domain.calls import Call, Meeting, Recording
from cdr_service.domain.legs import Ending, Leg
from cdr_service.domain.records import OrderKey
from cdr_service.domain.timeline import CallCount, Timeline
from cdr_service.domain.upkeep import is_over
from cdr_service.domain.workspace import Key, Thing
from cdr_service.store.codec import VERSION_BYTES, decode, encode
from cdr_service.store.packing import IDS_MAX, pack, unpack
from cdr_service.store.phrases import DICTIONARIES

VERSION = b"12345678"
AT = OrderKey(1_767_604_000_000, "8924c1ff-7e5a-5359-b189-2a287e7bb815", 7)
LEG = Leg("297afff2-c68b-5f28-8654-d223944d90fa", remote_party="alice@example.com", ending=Ending("remoteTeardown"))
LEG_KEY = ("leg", LEG.id)

ids = some.uuids().map(str)
names = some.one_of(ids, ids.map(str.upper), some.text(), some.integers(0, 10**6).map("alice-{}@example.com".format))
values = some.recursive(
    some.one_of(names, ids.map("the last participant left (leg {})".format), some.integers(0, 2**63), some.none()),
    lambda inner: some.lists(inner, max_size=8),
    max_leaves=40,
)


@given(kind=some.sampled_from(sorted(DICTIONARIES[1])), own=names, fields=some.lists(values, max_size=20))
def test_whatever_it_says_comes_back(kind: str, own: str, fields: list[object]) -> None:
    """So it does byte for byte, whatever the ids, the names and the numbers, and whether it names its own id or not."""
    thing = msgspec.msgpack.encode([own, *fields])
    assert unpack((kind, own), pack((kind, own), thing)) == thing


@pytest.mark.parametrize("count", [IDS_MAX - 1, IDS_MAX, IDS_MAX + 1, 300])
def test_it_may_name_any_number_of_ids(count: int) -> None:
    """Those beyond the bound are kept as they stand."""
    thing = msgspec.msgpack.encode([str(UUID(int=number, version=4)) for number in range(count)])
    assert unpack(("meeting", "m"), pack(("meeting", "m"), thing)) == thing


def test_a_dictionary_never_changes() -> None:
    """What was packed with it could be read no more. A better one gets the next number; this list only grows."""
    digests = {
        number: blake2b(b"\0".join(part for kind in sorted(of) for part in of[kind]), digest_size=8).hexdigest()
        for number, of in DICTIONARIES.items()
    }
    assert digests == {1: "6470771112e1f06b"}


def test_what_an_earlier_release_packed_is_read() -> None:
    """The leg was packed with dictionary 1."""
    kept = bytes.fromhex("31323334353637380100235ae1848dc0a04e4e7548ad48cc2dc849d5033af9000c6075cf0164f70000")
    assert decode(LEG_KEY, kept) == (LEG, VERSION)


def test_ids_and_reasons_cost_little() -> None:
    """An id takes 16 bytes however often it stands there, and a reason that is known beforehand hardly any."""
    reason = "nobody in the meeting is known to hold PMP+, and no owner of a space is known"
    thing = msgspec.msgpack.encode([LEG.id, *[AT.session] * 5, *[f"{reason} (leg {AT.session})"] * 5])
    assert len(pack(("meeting", LEG.id), thing)) < 2 + 16 + 40 < len(zlib.compress(thing, 9))


CALL = Call("c", "s", AT)
OPEN = Timeline(calls={"c": CallCount(participants=1, inside=1), "d": CallCount()})


@pytest.mark.parametrize(
    ("key", "live", "over"),
    [
        (("call", "c"), CALL, msgspec.structs.replace(CALL, ended=AT)),
        (("call", "c"), CALL, msgspec.structs.replace(CALL, end_estimated=AT)),
        (LEG_KEY, msgspec.structs.replace(LEG, ending=None), LEG),
        (("recording", "r"), Recording("r", False, "c", AT), Recording("r", True, "c", AT, AT)),
        (("meeting", "m"), Meeting("m", timeline=OPEN), Meeting("m", timeline=Timeline(calls={"c": CallCount()}))),
        (("meeting", "m"), Meeting("m"), Meeting("m", timeline=Timeline(calls={"c": CallCount(last=AT)}))),
    ],
)
def test_only_what_is_over_is_packed(key: Key, live: Thing, over: Thing) -> None:
    """What goes on is kept as it is, so that no record of a live call has to wait for it; both are read alike."""
    assert (is_over(live), is_over(over)) == (False, True)
    for thing in (live, over):
        kept = encode(key, thing, VERSION)
        assert decode(key, kept) == (thing, VERSION)
        assert (kept[VERSION_BYTES:] == msgspec.msgpack.encode(thing)) is (thing is live)
