"""The store's URL: every form that the README names, and a clear sentence without secrets for every other."""

from pathlib import Path

import pytest

from cdr_service.errors import StoreUrlError
from cdr_service.store.address import Kind, StoreAddress, parse_store_url


@pytest.mark.parametrize(
    ("url", "expected", "shown"),
    [
        ("redis://localhost", {"kind": Kind.SERVER, "hosts": (("localhost", 6379),)}, "redis://localhost:6379"),
        (
            "redis://alice:p%40ss%3A@store.example.com:7000/3",
            {
                "kind": Kind.SERVER,
                "hosts": (("store.example.com", 7000),),
                "database": 3,
                "username": "alice",
                "password": "p@ss:",
            },
            "redis://store.example.com:7000/3",
        ),
        (
            "redis://:p@ss@[::1]:7000?db=2&tls=yes",
            {"kind": Kind.SERVER, "hosts": (("::1", 7000),), "database": 2, "password": "p@ss", "tls": True},
            "redis://[::1]:7000/2",
        ),
        (
            "rediss://store.example.com/",
            {"kind": Kind.SERVER_TLS, "hosts": (("store.example.com", 6379),), "tls": True},
            "rediss://store.example.com:6379",
        ),
        ("unix:///run/a%20b@c.sock", {"kind": Kind.UNIX, "path": "/run/a b@c.sock"}, "unix:///run/a b@c.sock"),
        (
            "unix://alice:secret@/run/store.sock?db=1",
            {"kind": Kind.UNIX, "path": "/run/store.sock", "username": "alice", "password": "secret", "database": 1},
            "unix:///run/store.sock",
        ),
        (
            "redis+sentinel://:secret@one:1,two,[::1]:3/main/4?tls=true&sentinel_username=w&sentinel_password=p%26@q",
            {
                "kind": Kind.SENTINEL,
                "hosts": (("one", 1), ("two", 26379), ("::1", 3)),
                "service": "main",
                "database": 4,
                "password": "secret",
                "tls": True,
                "sentinel_username": "w",
                "sentinel_password": "p&@q",
            },
            "redis+sentinel://one:1,two:26379,[::1]:3/main/4",
        ),
        (
            "redis+cluster://alice:secret@one:1,two",
            {"kind": Kind.CLUSTER, "hosts": (("one", 1), ("two", 6379)), "username": "alice", "password": "secret"},
            "redis+cluster://one:1,two:6379",
        ),
        (
            "redis+cluster://one?replicas=2",
            {"kind": Kind.CLUSTER, "hosts": (("one", 6379),), "replicas": 2},
            "redis+cluster://one:6379",
        ),
    ],
)
def test_every_form_is_taken_apart(url: str, expected: dict[str, object], shown: str) -> None:
    """Each form gives its parts, and its text for logs has neither user, password nor options."""
    address = parse_store_url(url)
    assert address == StoreAddress(**expected)  # type: ignore[arg-type]
    assert str(address) == shown


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "must begin with one of redis://, rediss://, unix://, redis+sentinel://, redis+cluster://"),
        ("http://secret", "must begin with one of"),
        ("redis://", "is not host:port"),
        ("redis://:secret/part@host", "is not host:port; in a password, characters such as / ? @ must be percent-en"),
        ("redis://host:secret", "is not host:port"),
        ("redis://host:6379:secret", "is not host:port"),
        ("redis://one,two", "names several hosts, which needs redis+sentinel:// or redis+cluster://"),
        ("redis://host/secret", "the database must be a number"),
        ("redis://host/1/2", "more parts after the hosts than a database number"),
        ("redis://host?secret=1", "an option after ? that redis:// does not know; it knows ca, db, replicas, tls"),
        ("redis://host?replicas=secret", "replicas must be a number"),
        ("redis://host?replicas=-1", "replicas must be a number"),
        ("redis://host?tls=secret", "tls must be true or false"),
        ("redis://host?ca=/secret", "ca= needs TLS, so rediss:// or tls=true"),
        ("rediss://host?ca=/no/such/file", "the file of certificates /no/such/file does not exist"),
        ("unix://run/store.sock", "needs the socket's whole path: unix:///path/to/socket"),
        ("unix:///", "needs the socket's whole path"),
        ("unix:///run/store.sock?tls=true", "an option after ? that unix:// does not know"),
        ("redis+sentinel://host:1", "needs the service's name: redis+sentinel://host:port/service"),
        ("redis+sentinel://host:1/service/db", "the database must be a number"),
        ("redis+cluster://host:1/0", "must end after the hosts: a cluster has no database numbers"),
    ],
)
def test_anything_else_is_refused_in_one_sentence(url: str, reason: str) -> None:
    """Each mistake is one sentence that names the setting, and nothing that could be a secret is repeated."""
    with pytest.raises(StoreUrlError) as error:
        parse_store_url(url)
    assert str(error.value).startswith("CDR_REDIS_URL")
    assert reason in str(error.value)
    assert str(error.value).endswith(".")
    assert "secret" not in str(error.value)


def test_a_password_is_not_in_the_address_s_own_text(tmp_path: Path) -> None:
    """Printing the parts, as a traceback or a debugger does, shows no password; `ca` is kept as it was given."""
    (tmp_path / "ca.pem").touch()
    address = parse_store_url(f"redis+sentinel://:secret@h/s?sentinel_password=secret&tls=true&ca={tmp_path}/ca.pem")
    assert "secret" not in repr(address)
    assert address.ca == f"{tmp_path}/ca.pem"
