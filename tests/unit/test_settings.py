"""The settings do what the contract says of them, and what is wrong with them is said in one sentence."""

import json
import re
import runpy
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from platformdirs import user_data_dir

from cdr_service.domain.text import printable
from cdr_service.settings import (
    Bind,
    DeploymentSettings,
    LicensingSettings,
    ServiceSettings,
    Settings,
    SettingsError,
    load_settings,
)

ROOT = Path(__file__).parents[2]
Toml = Callable[[str], Path]
PUBLIC = {"CDR_INTAKE_BIND": "0.0.0.0:8080"}
SECRETS = {
    "CDR_INTAKE_TOKEN": "s3cr3t-intake",
    "CDR_API_TOKEN": "s3cr3t-api",
    "CDR_CMS_PASSWORD": "s3cr3t-password",
    "CDR_REDIS_URL": "redis://:s3cr3t-store@redis.example.com",
}


@pytest.fixture
def toml(tmp_path: Path) -> Toml:
    """Write a TOML file and return its path."""

    def write(text: str) -> Path:
        path = tmp_path / "cdr.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refusal(environ: dict[str, str] | None = None, config: Path | None = None) -> str:
    """Return the one sentence with which the settings are refused."""
    with pytest.raises(SettingsError) as caught:
        load_settings(config, environ or {})
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith((".", "?"))
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return sentence


def outcome(load: Callable[[], Settings]) -> str:
    """Return the sentence of a refusal, or nothing."""
    try:
        load()
    except SettingsError as error:
        return str(error)
    return ""


def default(environ: dict[str, str] | None = None, config: Path | None = None) -> DeploymentSettings:
    """Return the deployment `default` of good settings."""
    return load_settings(config, environ or {}).deployments["default"]


def test_the_defaults_are_those_of_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any setting, everything has the default that the contract lists."""
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    settings = load_settings(None, {})
    assert settings.intake_bind == Bind("127.0.0.1", 8080)
    assert settings.api_bind == Bind("127.0.0.1", 8081)
    assert settings.redis_url is settings.api_token is settings.log_format is None
    assert settings.data_dir == Path(user_data_dir("cdr-service"))
    assert settings.log_level == "info"
    assert list(settings.deployments) == ["default"]
    deployment = settings.deployments["default"]
    assert deployment == DeploymentSettings()
    assert deployment.model_dump(exclude={"licensing"}) == {
        "policy": "join",
        "holders": None,
        "sip_domains": (),
        "intake_token": (),
        "intake_allow": (),
        "trusted_proxies": (),
        "intake_open": False,
        "intake_max_bytes": 8 * 1024 * 1024,
        "cms_url": (),
        "cms_username": None,
        "cms_password": None,
        "cms_ca": None,
        "limit_personal": None,
        "limit_shared": None,
        "retention_days": 90,
        "stale_call_hours": 24,
        "directory_interval_seconds": 300,
        "reconcile_interval_seconds": 10,
        "reconcile_settle_seconds": 20,
        "reconcile_polls": 2,
        "raw_retention_hours": 24,
        "raw_max_mb": 256,
        "dead_letter_max": 10_000,
        "event_max": 1_000_000,
    }
    assert deployment.raw_max_bytes == 256 * 1024 * 1024


def test_the_license_choices_and_their_defaults_are_those_of_the_reference() -> None:
    """Each open point of the license rules is a setting with the suggested default."""
    assert LicensingSettings().model_dump() == {
        "policy_changeover": (2, 3),
        "policy_if_release_unknown": "join",
        "join_sticky": True,
        "join_scope": "any_participant",
        "join_overrides_owner": False,
        "claim_at": "activated",
        "pmp_calls_per_user": 2,
        "spill_back": True,
        "owner_change_applies": "now",
        "weight_when_media_unknown": "full",
        "temporary_space_is_permanent": True,
        "recording_lifts_audio_only": False,
        "weight_drops_back": True,
        "sixths_from_release": (2, 3),
        "link_leg_subtypes": ("distributionLink", "lyncDistribution"),
        "lync_mode_if_unknown": "gateway",
        "gateway_has_payer": False,
        "sip_user_match": "uri",
    }


def test_every_setting_says_what_it_means() -> None:
    """No field is without a description, which the documentation is made from."""
    for model in (ServiceSettings, DeploymentSettings, LicensingSettings):
        for key, field in model.model_fields.items():
            assert field.description or key == "licensing", key


def test_the_configuration_page_is_made_from_the_code() -> None:
    """docs/configuration.md is what docs/generate.py writes; after a change run `python docs/generate.py`."""
    page = runpy.run_path(str(ROOT / "docs/generate.py"))["configuration_page"]()
    assert (ROOT / "docs/configuration.md").read_text(encoding="utf-8") == page


def test_the_example_of_the_configuration_page_is_accepted(toml: Toml, tmp_path: Path) -> None:
    """Who copies the TOML example of the page, with files of their own, gets what it says."""
    (secret := tmp_path / "intake").write_text("s3cr3t\n")
    (holders := tmp_path / "holders.csv").write_text("user,license,aliases,spaces\n")
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    example = re.search(r"```toml\n(.*?)```", page, re.DOTALL)[1]
    example = example.replace("/run/secrets/intake", str(secret)).replace("/etc/cdr-service/holders.csv", str(holders))
    settings = load_settings(toml(example), {})
    assert settings.deployments["default"].holders == holders
    assert settings.deployments["branch"].licensing.claim_at == "first_leg"


def test_the_environment_wins_over_the_file(toml: Toml) -> None:
    """A variable overrides its key, and a key that no variable names stays, in the table `licensing` too."""
    config = toml("policy = 'owner'\nretention_days = 30\n[licensing]\nspill_back = false\njoin_sticky = false")
    deployment = default({"CDR_POLICY": "auto", "CDR_LICENSING_SPILL_BACK": "true"}, config)
    assert (deployment.policy, deployment.retention_days) == ("auto", 30)
    assert (deployment.licensing.spill_back, deployment.licensing.join_sticky) == (True, False)


def test_the_file_is_named_by_the_option_or_by_the_environment(toml: Toml, tmp_path: Path) -> None:
    """--config wins over CDR_CONFIG, and either names the file."""
    config = toml("policy = 'owner'")
    assert default({"CDR_CONFIG": str(config)}).policy == "owner"
    assert default({"CDR_CONFIG": str(tmp_path / "other.toml")}, config).policy == "owner"


def test_a_file_that_cannot_be_read_is_refused(toml: Toml, tmp_path: Path) -> None:
    """A file that is missing, a folder, no text or no TOML is said to be so, with its name."""
    missing = tmp_path / "missing.toml"
    assert refusal({"CDR_CONFIG": str(missing)}) == (
        f"CDR_CONFIG (--config) names {missing}, which cannot be read: No such file or directory."
    )
    assert "Is a directory" in refusal(config=tmp_path)
    assert "is not TOML: Invalid value (at line 1, column 10)" in refusal(config=toml("policy = join"))
    (bad := tmp_path / "bad.toml").write_bytes(b"policy = '\xff'")
    assert "is not UTF-8 text" in refusal(config=bad)
    assert "no such home folder" in refusal({"CDR_CONFIG": "~nobody-of-this-name/cdr.toml"})


def test_an_empty_variable_counts_as_not_set() -> None:
    """`CDR_X=` in a compose file or a Kubernetes manifest is not a value."""
    assert default({"CDR_POLICY": "", "CDR_INTAKE_TOKEN": " ", "CDR_CONFIG": ""}) == DeploymentSettings()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("CDR_POLCY", "; did you mean CDR_POLICY?"),
        ("CDR_LICENSING_SPIL_BACK", "; did you mean CDR_LICENSING_SPILL_BACK?"),
        ("CDR_CONFIGURATION", ""),
        ("CDR_DEPLOYMENTS", ""),
        ("CDR_LICENSING", ""),
        ("CDR_POLICY_FILE", ""),  # not a secret
    ],
)
def test_an_unknown_variable_is_refused(name: str, hint: str) -> None:
    """A name that begins with CDR_ and is no setting is an error, with the nearest name; its value is not shown."""
    sentence = refusal({name: "s3cr3t"})
    assert sentence.startswith(f"{name} is not a setting")
    assert hint in sentence
    assert "s3cr3t" not in sentence


def test_names_that_are_not_ours_are_ignored() -> None:
    """What Kubernetes makes for a Service of our name, what steers the tests, and everything else is left alone."""
    assert load_settings(None, {"CDR_SERVICE_HOST": "x", "CDR_SERVICE_PORT_8080_TCP": "x", "CDR_TEST_FAULTS": "long"})
    assert load_settings(None, {"PATH": "x", "cdr_policy": "x", "XCDR_POLICY": "x"})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("polcy = 1", "polcy in FILE is not a setting; did you mean policy?"),
        ("CDR_POLICY = 'join'", "CDR_POLICY in FILE is not a setting: remove it, or correct its name."),
        ("spill_back = true", "spill_back in FILE is not a setting: remove it, or correct its name."),
        ("[licensing]\nspil_back = 1", "licensing.spil_back in FILE is not a setting; did you mean spill_back?"),
        ("[deployments.a]\npolcy = 1", "deployments.a.polcy in FILE is not a setting; did you mean policy?"),
        (
            "[deployments.a.licensing]\nspil_back = 1",
            "deployments.a.licensing.spil_back in FILE is not a setting; did you mean spill_back?",
        ),
        (
            "[deployments.a]\napi_token = 's3cr3t'",
            "deployments.a.api_token in FILE cannot be set per deployment: move api_token to the top level",
        ),
        (
            "[deployments.default]\npolicy = 'join'",
            "The top level describes the deployment default: move [deployments.default] up there.",
        ),
        ("licensing = 1", "licensing must be a table in the TOML file, as in [licensing]."),
        ("deployments = 1", "deployments must be a table in the TOML file, as in [deployments]."),
        ("deployments.a = 1", "deployments.a in FILE must be a table."),
        ("[deployments.licensing]\npolicy = 'x'", "deployments.licensing.policy in FILE must be 'join', 'owner' or "),
    ],
)
def test_a_wrong_key_of_the_file_is_refused(toml: Toml, text: str, sentence: str) -> None:
    """The path of the key and the file are named, and what to do."""
    config = toml(text)
    assert refusal(config=config).startswith(sentence.replace("FILE", str(config)))


@pytest.mark.parametrize("name", SECRETS)
def test_every_secret_can_be_given_as_a_file(name: str, tmp_path: Path) -> None:
    """`..._FILE` names a file whose content, without the line end, is the secret."""
    cms = {"CDR_CMS_URL": "https://cms.example.com", "CDR_CMS_USERNAME": "api", "CDR_CMS_PASSWORD": "x"}
    (path := tmp_path / "secret").write_text(SECRETS[name] + "\r\n")
    given = {key: value for key, value in cms.items() if key != name}
    settings = load_settings(None, given | {f"{name}_FILE": str(path)})
    key = name.removeprefix("CDR_").lower()
    value = getattr(settings, key, None) or getattr(settings.deployments["default"], key)
    value = value[0] if isinstance(value, tuple) else value
    assert value.get_secret_value() == SECRETS[name]


def test_a_secret_file_counts_where_it_is_named(toml: Toml, tmp_path: Path) -> None:
    """In TOML too, at the top level and per deployment; a file named in the environment beats a value of the file."""
    for name in ("top", "branch", "environment"):
        (tmp_path / name).write_text(name)
    config = toml(
        f"api_token = 'x'\nintake_token_file = '{tmp_path / 'top'}'\n"
        f"[deployments.branch]\nintake_token_file = '{tmp_path / 'branch'}'"
    )
    settings = load_settings(config, {"CDR_API_TOKEN_FILE": str(tmp_path / "environment")})
    assert settings.api_token.get_secret_value() == "environment"
    tokens = {name: one.intake_token[0].get_secret_value() for name, one in settings.deployments.items()}
    assert tokens == {"default": "top", "branch": "branch"}


def test_a_secret_file_that_says_nothing_is_refused(toml: Toml, tmp_path: Path) -> None:
    """Missing, empty, no text, or beside the value itself: one sentence, and no secret."""
    (empty := tmp_path / "empty").write_text("\n")
    (binary := tmp_path / "binary").write_bytes(b"\xff")
    assert refusal({"CDR_API_TOKEN_FILE": str(empty)}).endswith("which is empty: write the secret into it.")
    assert "is not UTF-8 text" in refusal({"CDR_API_TOKEN_FILE": str(binary)})
    assert "cannot be read: No such file" in refusal({"CDR_API_TOKEN_FILE": str(tmp_path / "missing")})
    assert refusal({"CDR_API_TOKEN_FILE": str(empty), "CDR_API_TOKEN": "s3cr3t"}) == (
        "CDR_API_TOKEN and CDR_API_TOKEN_FILE are both set: keep one of them."
    )
    config = toml("[deployments.a]\nintake_token = 's3cr3t'\nintake_token_file = 'x'")
    assert refusal(config=config) == (
        "deployments.a.intake_token and deployments.a.intake_token_file are both set: keep one of them."
    )
    assert "must be the path of a file" in refusal(config=toml("api_token_file = 1"))
    assert "cannot be read" in refusal(config=toml('api_token_file = "\\u0000"'))


@pytest.mark.parametrize(
    ("environ", "bad"),
    [
        ({"CDR_INTAKE_TOKEN": "s3cr3t one,s3cr3t"}, "CDR_INTAKE_TOKEN"),
        ({"CDR_INTAKE_TOKEN": "s3cr3t,s3cr3t2,s3cr3t3"}, "CDR_INTAKE_TOKEN"),
        ({"CDR_INTAKE_TOKEN": ","}, "CDR_INTAKE_TOKEN"),
        ({"CDR_API_TOKEN": "s3cr3t é"}, "CDR_API_TOKEN"),
        ({"CDR_REDIS_URL": "http://:s3cr3t@redis.example.com"}, "CDR_REDIS_URL"),
        ({"CDR_REDIS_URL": "redis://:s3cr3t@"}, "CDR_REDIS_URL"),
        ({"CDR_REDIS_URL": "s3cr3t"}, "CDR_REDIS_URL"),
        ({"CDR_CMS_PASSWORD": "s3cr3t"}, "CDR_CMS_URL"),
        ({"CDR_CMS_URL": "https://api:s3cr3t@cms.example.com"}, "CDR_CMS_URL"),
        ({"CDR_CMS_URL": "ftp://api:s3cr3t@cms.example.com"}, "CDR_CMS_URL"),
        ({"CDR_CMS_URL": "https://api:s3cr3t@[cms"}, "CDR_CMS_URL"),
    ],
)
def test_no_refusal_shows_a_secret(environ: dict[str, str], bad: str) -> None:
    """A secret that is itself wrong is named by its setting only, also where it hides in a URL."""
    sentence = refusal(environ)
    assert sentence.startswith(bad)
    assert "s3cr3t" not in sentence


def test_a_secret_of_the_wrong_type_is_not_shown(toml: Toml) -> None:
    """A number where a secret's text is wanted, or a secret in the wrong place, stays unseen."""
    for text in ("cms_password = 53237", "api_token = 53237", "intake_token = [53237]", "policy = {x = 53237}"):
        assert "53237" not in refusal(config=toml(text))


def test_settings_can_be_printed_without_a_secret() -> None:
    """repr, str and a dump for a log show no secret."""
    settings = load_settings(None, SECRETS | {"CDR_CMS_URL": "https://cms.example.com", "CDR_CMS_USERNAME": "api"})
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert "s3cr3t" not in shown


def test_lists_are_separated_by_commas_or_are_arrays(toml: Toml) -> None:
    """Both forms give the same, and white space does not matter."""
    environ = {"CDR_SIP_DOMAINS": "Example.COM, .example.org", "CDR_INTAKE_ALLOW": "192.0.2.0/24, 2001:db8::/32,::1"}
    config = toml('sip_domains = ["example.com", "*.example.org"]\nintake_allow = "192.0.2.0/24,2001:db8::/32,::1/128"')
    assert default(environ) == default(config=config)
    assert default(environ).sip_domains == ("example.com", "example.org")
    assert default(environ).intake_allow == tuple(map(ip_network, ("192.0.2.0/24", "2001:db8::/32", "::1/128")))
    assert [token.get_secret_value() for token in default({"CDR_INTAKE_TOKEN": "old, new"}).intake_token] == [
        "old",
        "new",
    ]
    assert default({"CDR_LICENSING_LINK_LEG_SUBTYPES": "a,b"}).licensing.link_leg_subtypes == ("a", "b")
    assert default({"CDR_INTAKE_ALLOW": "any"}).intake_allow == ()


def test_a_list_that_says_nothing_or_nonsense_is_refused(toml: Toml) -> None:
    """An empty allow-list is not read as everybody, nor an address within a network as the network."""
    assert "intake_allow in" in refusal(config=toml("intake_allow = []"))
    assert "is empty" in refusal(config=toml("intake_allow = ''"))
    assert "must be a list of texts" in refusal(config=toml("intake_allow = [1]"))
    assert refusal({"CDR_INTAKE_ALLOW": "192.0.2.7/24"}) == (
        "CDR_INTAKE_ALLOW holds 192.0.2.7/24, an address inside a network: write 192.0.2.0/24 for the network."
    )
    assert "must hold networks such as 192.0.2.0/24, not 'example.com'" in refusal({"CDR_INTAKE_ALLOW": "example.com"})
    assert "must hold domains such as example.com" in refusal({"CDR_SIP_DOMAINS": "alice@example.com"})


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, True),
        ("127.8.8.8:0", "127.8.8.8", 0, True),
        (":0", "127.0.0.1", 0, True),
        ("localhost:65535", "localhost", 65535, True),
        ("[::1]:8080", "::1", 8080, True),
        ("[::]:8080", "::", 8080, False),
        ("0.0.0.0:8080", "0.0.0.0", 8080, False),
        ("cdr.example.com:8080", "cdr.example.com", 8080, False),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1, False),
    ],
)
def test_a_bind_is_read_and_written_alike(text: str, host: str, port: int, *, loopback: bool) -> None:
    """Host and port are told apart, IPv6 has brackets, and what only this machine reaches is known."""
    bind = load_settings(None, {"CDR_INTAKE_BIND": text, "CDR_INTAKE_OPEN": "true"}).intake_bind
    assert (bind, bind.is_loopback) == (Bind(host, port), loopback)
    assert str(bind) == (text if not text.startswith(":") else f"127.0.0.1{text}")


@pytest.mark.parametrize(
    "text", ["8080", "127.0.0.1", "::1:8080", "[::1]", "[nonsense]:1", "a:65536", "a:-1", "*:80", "a b:1"]
)
def test_a_bind_that_is_none_is_refused(text: str) -> None:
    """The sentence shows both forms."""
    assert refusal({"CDR_API_BIND": text}) == (
        "CDR_API_BIND must be host:port, such as 127.0.0.1:8080, or [::1]:8080 for IPv6."
    )


def test_both_ports_cannot_be_one() -> None:
    """One address for both would show the API to whoever may push; free ports are always two."""
    same = {"CDR_INTAKE_BIND": "127.0.0.1:8081"}
    assert refusal(same).startswith("CDR_INTAKE_BIND and CDR_API_BIND are both 127.0.0.1:8081")
    assert load_settings(None, {"CDR_INTAKE_BIND": ":0", "CDR_API_BIND": ":0"})


def test_an_intake_that_anybody_reaches_is_refused_with_a_fresh_token() -> None:
    """Off loopback, with neither token nor allow-list, the refusal suggests a token that was never used before."""
    first, second = refusal(PUBLIC), refusal(PUBLIC)
    assert first.startswith("CDR_INTAKE_BIND is 0.0.0.0:8080, where anybody could push to the deployment default")
    tokens = [re.search(r"set CDR_INTAKE_TOKEN, for example to ([\w-]{40,}),", text)[1] for text in (first, second)]
    assert tokens[0] != tokens[1]
    assert load_settings(None, PUBLIC | {"CDR_INTAKE_TOKEN": tokens[0]})


@pytest.mark.parametrize(
    "door", [{"CDR_INTAKE_TOKEN": "x"}, {"CDR_INTAKE_ALLOW": "192.0.2.0/24"}, {"CDR_INTAKE_OPEN": "true"}]
)
def test_an_intake_off_loopback_is_accepted_with_a_door(door: dict[str, str]) -> None:
    """A token, an allow-list, or the word that it shall be open is enough."""
    assert load_settings(None, PUBLIC | door).intake_bind == Bind("0.0.0.0", 8080)


@pytest.mark.parametrize("allow", ["any", "0.0.0.0/0", "192.0.2.0/24,::/0"])
def test_an_allow_list_of_everybody_is_no_door(allow: str) -> None:
    """A list that lets a whole address family in is as open as none."""
    assert "anybody could push" in refusal(PUBLIC | {"CDR_INTAKE_ALLOW": allow})


def test_every_deployment_needs_its_door(toml: Toml) -> None:
    """A token of `default` does not guard another deployment, and the sentence names that one's settings."""
    config = toml("[deployments.branch]\npolicy = 'owner'")
    sentence = refusal(PUBLIC | {"CDR_INTAKE_TOKEN": "x"}, config)
    assert "to the deployment branch: set deployments.branch.intake_token, for example to " in sentence
    assert "deployments.branch.intake_open=true" in sentence
    guarded = toml("[deployments.branch]\nintake_token = 'y'")
    assert load_settings(guarded, PUBLIC | {"CDR_INTAKE_TOKEN": "x"})
    assert "to the deployment default" in refusal(PUBLIC, guarded)


def test_the_api_needs_a_token_off_loopback() -> None:
    """Who makes the API reachable must say who may read it."""
    sentence = refusal({"CDR_API_BIND": "[::]:8081"})
    assert sentence.startswith("CDR_API_BIND is [::]:8081, which others can reach: set CDR_API_TOKEN")
    assert load_settings(None, {"CDR_API_BIND": "[::]:8081", "CDR_API_TOKEN": "x"})
    assert load_settings(None, {"CDR_API_BIND": "[::1]:8081"})


@pytest.mark.parametrize("port", ["INTAKE", "API"])
def test_a_certificate_comes_with_its_key(port: str, tmp_path: Path) -> None:
    """Either without the other is refused, and so is a file that is not there."""
    (file := tmp_path / "file.pem").write_text("x")
    certificate, key = {f"CDR_{port}_TLS_CERT": str(file)}, {f"CDR_{port}_TLS_KEY": str(file)}
    assert refusal(certificate) == f"CDR_{port}_TLS_CERT is set without CDR_{port}_TLS_KEY: set both or neither."
    assert refusal(key) == f"CDR_{port}_TLS_KEY is set without CDR_{port}_TLS_CERT: set both or neither."
    assert load_settings(None, certificate | key)
    file.unlink()
    assert "cannot be read" in refusal(certificate | key)


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "rediss://user:p%40ss@redis.example.com",
        "unix:///run/redis/redis.sock",
        "redis+sentinel://a.example.com:26379,b.example.com:26379/service",
        "redis+cluster://a.example.com:7000,b.example.com:7000",
    ],
)
def test_the_store_urls_of_the_contract_are_accepted(url: str) -> None:
    """Each of the five forms is kept as it was given."""
    assert load_settings(None, {"CDR_REDIS_URL": url}).redis_url.get_secret_value() == url


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("memcached://127.0.0.1", "must begin with one of redis://, rediss://, unix://"),
        ("127.0.0.1:6379", "must begin with one of"),
        ("redis://", "has a host that is not host:port"),
        ("redis+sentinel://a.example.com:26379", "needs the service's name"),
        ("unix://", "needs the socket's whole path"),
    ],
)
def test_another_store_url_is_refused(url: str, reason: str) -> None:
    """The sentence shows the form that was meant."""
    assert refusal({"CDR_REDIS_URL": url}).startswith(f"CDR_REDIS_URL {reason}")


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"CDR_POLICY": "jion"}, "CDR_POLICY must be 'join', 'owner' or 'auto', not 'jion'."),
        ({"CDR_INTAKE_OPEN": "maybe"}, "CDR_INTAKE_OPEN must be true or false, not 'maybe'."),
        ({"CDR_RETENTION_DAYS": "0"}, "CDR_RETENTION_DAYS must be greater than 0, not '0'."),
        ({"CDR_RETENTION_DAYS": "nan"}, "CDR_RETENTION_DAYS must be greater than 0, not 'nan'."),
        ({"CDR_LIMIT_SHARED": "1.5"}, "CDR_LIMIT_SHARED must be a whole number, not '1.5'."),
        (
            {"CDR_LICENSING_PMP_CALLS_PER_USER": "x"},
            "CDR_LICENSING_PMP_CALLS_PER_USER must be a whole number, not 'x'.",
        ),
        ({"CDR_INTAKE_MAX_BYTES": "8 parsec"}, "CDR_INTAKE_MAX_BYTES must be a size, such as 8388608 or 8 MiB."),
        ({"CDR_LOG_FORMAT": "xml"}, "CDR_LOG_FORMAT must be 'json' or 'console', not 'xml'."),
        (
            {"CDR_HOLDERS": "/nowhere.csv"},
            "CDR_HOLDERS names /nowhere.csv, which cannot be read: No such file or directory.",
        ),
        ({"CDR_POLICY": "a\nb\x1b"}, "CDR_POLICY must be 'join', 'owner' or 'auto', not 'a\\nb\\x1b'."),
        (
            {"CDR_CMS_URL": "https://cms.example.com", "CDR_CMS_USERNAME": "api"},
            "CDR_CMS_PASSWORD is missing: set all of CDR_CMS_URL, CDR_CMS_USERNAME, CDR_CMS_PASSWORD, or none.",
        ),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(environ: dict[str, str], sentence: str) -> None:
    """The setting, what it must be, and what it was."""
    assert refusal(environ) == sentence


def test_a_truth_value_is_no_number(toml: Toml) -> None:
    """`true` is not taken as 1."""
    for key in ("retention_days", "limit_shared", "intake_max_bytes", "raw_max_mb"):
        assert f"{key} in " in refusal(config=toml(f"{key} = true"))


@pytest.mark.parametrize(
    ("text", "size"), [("8388608", 8388608), ("8 MiB", 8388608), ("64kib", 65536), ("1 MB", 1000000), ("10B", 10)]
)
def test_a_size_has_a_unit_or_is_in_bytes(text: str, size: int) -> None:
    """Bytes whatever was written."""
    assert default({"CDR_INTAKE_MAX_BYTES": text}).intake_max_bytes == size


def test_a_release_compares_as_numbers(toml: Toml) -> None:
    """2.10 is newer than 2.9; without quotes TOML would read it as 2.1, so that is refused."""
    releases = [
        default({"CDR_LICENSING_POLICY_CHANGEOVER": text}).licensing.policy_changeover for text in ("2.9", "2.10")
    ]
    assert releases == [(2, 9), (2, 10)] == sorted(releases)
    assert 'must be a release in quotes, such as "2.3".' in refusal(config=toml("licensing.policy_changeover = 2.10"))


def test_several_meeting_servers_and_paths_with_a_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cluster's URLs are a list without slashes at the end, and `~` is the user's home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "holders.csv").write_text("user,license,aliases,spaces\n")
    environ = {
        "CDR_CMS_URL": "https://a.example.com:445/, https://b.example.com",
        "CDR_CMS_USERNAME": "api",
        "CDR_CMS_PASSWORD": "x",
        "CDR_HOLDERS": "~/holders.csv",
        "CDR_DATA_DIR": "~/data",
    }
    settings = load_settings(None, environ)
    assert settings.deployments["default"].cms_url == ("https://a.example.com:445", "https://b.example.com")
    assert settings.deployments["default"].holders == tmp_path / "holders.csv"
    assert settings.data_dir == tmp_path / "data"


def test_a_named_deployment_starts_from_the_defaults(toml: Toml) -> None:
    """What is set for `default`, in the environment or at the top level, does not reach another deployment."""
    config = toml(
        "retention_days = 30\nlicensing.spill_back = false\n"
        "[deployments.branch_2]\npolicy = 'owner'\n[deployments.branch_2.licensing]\njoin_sticky = false"
    )
    settings = load_settings(config, {"CDR_LIMIT_SHARED": "3", "CDR_INTAKE_TOKEN": "x"})
    assert settings.deployments["default"].retention_days == 30
    assert settings.deployments["branch_2"] == DeploymentSettings(
        policy="owner", licensing=LicensingSettings(join_sticky=False)
    )


@pytest.mark.parametrize("name", ["Branch", "-a", "_a", "a b", "a{b}", "é", "a" * 64, "", "a/b"])
def test_a_deployment_has_a_name_that_is_safe(toml: Toml, name: str) -> None:
    """A name goes into keys, URLs and labels, so only plain ones are taken."""
    config = toml(f"[deployments.{json.dumps(name)}]\npolicy = 'join'")
    assert "must have another name: up to 63 of a-z" in refusal(config=config)
    assert load_settings(toml(f"[deployments.{'a' * 63}]"), {})


def test_default_is_there_even_when_settings_are_made_by_hand() -> None:
    """Whoever builds Settings in code gets `default` too, and the same refusals."""
    assert set(Settings(deployments={"branch": DeploymentSettings()}).deployments) == {"default", "branch"}
    with pytest.raises(ValueError, match="anybody could push"):
        Settings(intake_bind=Bind("0.0.0.0", 8080))


VARIABLES = [
    f"CDR_{table}{key.upper()}{suffix}"
    for table, model in (("", ServiceSettings), ("", DeploymentSettings), ("LICENSING_", LicensingSettings))
    for key in model.model_fields
    for suffix in ("", "_FILE")
]


@given(st.dictionaries(st.sampled_from(VARIABLES), st.text(st.characters(exclude_characters="\0"))))
def test_whatever_the_environment_holds_ends_in_settings_or_one_sentence(environ: dict[str, str]) -> None:
    """No value of any variable makes another error, or a sentence of two lines."""
    sentence = outcome(lambda: load_settings(None, environ))
    assert sentence == printable(sentence, 5000)


SCALARS = st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()
VALUES = SCALARS | st.lists(SCALARS, max_size=3)
KEYS = [variable.removeprefix("CDR_").removeprefix("LICENSING_").lower() for variable in VARIABLES]
TABLES = st.sampled_from(["", "licensing.", "deployments.a.", "deployments.a.licensing.", "deployments.", "x."])


@given(st.dictionaries(st.tuples(TABLES, st.sampled_from(KEYS)), VALUES, max_size=4))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_file_holds_ends_in_settings_or_one_sentence(
    toml: Toml, given_keys: dict[tuple[str, str], Any]
) -> None:
    """No value of any key makes another error, or a sentence of two lines."""
    text = "".join(f"{table}{key} = {json.dumps(value)}\n" for (table, key), value in given_keys.items())
    sentence = outcome(lambda: load_settings(toml(text), {}))
    assert sentence == printable(sentence, 5000)
