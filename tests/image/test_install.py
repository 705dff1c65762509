"""Without containers: the built wheel in an empty environment, and the systemd unit."""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdr_service.settings import load_settings
from tests.feed import Feed, call_start
from tests.integration.command import environment, running

PROJECT = Path(__file__).parents[2]
UNIT = PROJECT / "packaging" / "cdr-service.service"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Build the wheel and install it with plain pip into an empty environment; return that."""
    folder = tmp_path_factory.mktemp("install")
    wheels, target = folder / "wheels", folder / "environment"
    run(sys.executable, "-m", "venv", str(target))
    pip = str(target / "bin" / "pip")
    run(pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), str(PROJECT))
    (wheel,) = wheels.iterdir()
    run(pip, "install", "--quiet", f"{wheel}[embedded]")
    yield target
    shutil.rmtree(folder)


def run(*words: str) -> str:
    """Run a command to its good end."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_wheel_runs_by_itself(installed: Path, tmp_path: Path) -> None:
    """What pip or pipx installs starts with its own store, takes in a call and answers for it."""
    program = [str(installed / "bin" / "cdr-service")]
    with running(tmp_path, "serve", "--workers", "2", program=program) as service:
        assert service.wait_for("service.started")["store"] == "embedded"
        assert service.post(Feed().document(call_start("c", name="test"))) == 200
        assert service.get("/v1/calls/c")["name"] == "test"
        assert service.end() == 0


def test_the_wheel_has_the_scripts_and_no_tests(installed: Path) -> None:
    """The scripts of the store are in it; tests, benchmarks and tools are not."""
    (wheel,) = (installed.parent / "wheels").iterdir()
    names = zipfile.ZipFile(wheel).namelist()
    assert "cdr_service/store/commit.lua" in names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"cdr_service"}


def unit() -> dict[str, list[str]]:
    """Return what the unit's [Service] says; a word may stand there several times."""
    said: dict[str, list[str]] = {}
    for line in UNIT.read_text().partition("[Service]")[2].partition("[Install]")[0].splitlines():
        name, sign, value = line.partition("=")
        if sign and not line.startswith("#"):
            said.setdefault(name, []).append(value)
    return said


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """Systemd finds nothing wrong with it, and rates what it leaves open as little."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze on this machine")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/usr/local/bin/cdr-service", sys.executable))
    verified = subprocess.run([analyze, "verify", "--man=no", copy], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    rated = subprocess.run(
        [analyze, "security", "--offline=yes", "--no-pager", "--threshold=20", copy],
        capture_output=True,
        text=True,
        check=False,
    )
    assert rated.returncode == 0, rated.stdout


def test_the_unit_ends_the_service_before_its_store() -> None:
    """SIGTERM reaches the service alone, and it has longer than its workers take at most to end."""
    said = unit()
    assert said["KillMode"] == ["mixed"]
    assert int(said["TimeoutStopSec"][0]) > 30
    assert said["RestartPreventExitStatus"] == ["2"]


def test_the_units_settings_are_settings(tmp_path: Path) -> None:
    """The sample file with what the unit adds is what the service starts with; each secret is a file."""
    said = unit()
    variables = dict(entry.split("=", 1) for entry in said["Environment"])
    given = {}
    for name, value in variables.items():
        if value.startswith("%d/"):
            credential = value.removeprefix("%d/")
            assert any(entry.startswith(f"{credential}:/etc/cdr-service/") for entry in said["LoadCredential"])
            (tmp_path / credential).write_text("s" * 32)
            value = str(tmp_path / credential)  # noqa: PLW2901 - what systemd would put there
        given[name] = value.replace("%S", "/var/lib")
    given["CDR_CONFIG"] = str(PROJECT / "packaging" / "config.toml")
    settings = load_settings(None, environment(tmp_path, **given))
    assert str(settings.intake_bind) == "0.0.0.0:8080"
    assert settings.api_bind.is_loopback
    assert settings.data_dir == Path("/var/lib/cdr-service")
