"""Which CDR receivers are ours, and what has to change so that one is."""

import pytest

from cdr_service.domain.receivers import (
    Entry,
    bridge_name,
    bridge_names,
    change,
    is_ours,
    receiver_uri,
    registered,
    shown_uri,
)

OURS = "https://cdr.example.com:8080/cdr?token=one"


@pytest.mark.parametrize(
    ("uri", "deployment", "ours"),
    [
        (OURS, "default", True),
        ("http://10.0.0.1/cdr/", "default", True),
        ("http://10.0.0.1/behind/a/proxy/cdr/lab?token=x", "lab", True),
        (OURS, "lab", False),
        ("https://meeting-management.example.com/cdrs", "default", False),
        ("https://[nonsense/cdr", "default", False),
        (None, "default", False),
    ],
)
def test_which_are_ours(uri: str | None, deployment: str, *, ours: bool) -> None:
    """It is the path that tells, whatever the host and the token."""
    assert is_ours(uri, deployment) is ours


def test_who_is_registered() -> None:
    """With a token it has to be one that is accepted; without one the path suffices."""
    assert registered([None, "https://other.example.com/x"], "default", []) == "missing"
    assert registered([OURS], "default", []) == "registered"
    assert registered([OURS], "default", ["two", "one"]) == "registered"
    assert registered([OURS], "default", ["two"]) == "wrong_token"


def test_the_uri() -> None:
    """Token and name are written so that nothing in them can be taken for something else."""
    assert receiver_uri("https://cdr.example.com:8080/", "default", None) == "https://cdr.example.com:8080/cdr"
    found = receiver_uri("http://10.0.0.1", "lab", "a&b=c/ä", "cms 1")
    assert found == "http://10.0.0.1/cdr/lab?token=a%26b%3Dc%2F%C3%A4&bridge=cms%201"


def test_nothing_is_done_twice() -> None:
    """Where the URI is there, nothing has to be done, even where all slots are taken."""
    entries = [Entry(str(number), f"https://{number}.example.com/x") for number in range(3)]
    assert change([*entries, Entry("a", OURS)], 4, OURS, "default").does == "nothing"


def test_an_old_token_is_repaired() -> None:
    """An entry of ours on the same host is changed; one of another service's, on another host, is not."""
    wanted = OURS.replace("one", "two")
    found = change([Entry("x", "https://other.example.com/cdr"), Entry("a", OURS)], 4, wanted, "default")
    assert (found.does, found.receiver, found.before) == ("repair", "a", OURS)
    assert change([Entry("x", "https://other.example.com/cdr")], 4, wanted, "default").does == "add"


def test_no_slot_is_left() -> None:
    """Nobody else's entry is taken."""
    entries = [Entry(str(number), f"https://{number}.example.com/x") for number in range(4)]
    assert change(entries, 4, OURS, "default").does == "full"


def test_no_secret_is_shown() -> None:
    """Values of a query, and a password, are left out, but for a bridge's name; what could move a terminal is too."""
    assert shown_uri("https://user:secret@cdr.example.com/cdr?token=secret&bridge=a") == (
        "https://cdr.example.com/cdr?token=…&bridge=a"
    )
    assert "\x1b" not in shown_uri("http://a/\x1b[2J?x\x1b=1")


def test_names_for_bridges() -> None:
    """Call Bridges of no cluster are named by their hosts, and by the ports too where these are alike."""
    assert bridge_names(["https://cms1.example.com:445", "https://cms2.example.com"]) == {
        "https://cms1.example.com:445": "cms1.example.com",
        "https://cms2.example.com": "cms2.example.com",
    }
    one, other = bridge_names(["https://cms.example.com:445", "https://cms.example.com:446"]).values()
    assert (one, other) == ("cms.example.com:445", "cms.example.com:446")


def test_the_name_that_we_gave() -> None:
    """What our receiver URIs name a Call Bridge is its name, unless they disagree."""
    ours = receiver_uri("https://cdr.example.com", "default", "secret", "cms.example.com:445")
    assert bridge_name([None, "https://other.example.com/x?bridge=x", ours], "default") == "cms.example.com:445"
    assert bridge_name([ours, "https://cdr2.example.com/cdr"], "default") == "cms.example.com:445"
    assert bridge_name([ours, "https://cdr2.example.com/cdr?bridge=b"], "default") is None
    assert bridge_name([], "default") is None
