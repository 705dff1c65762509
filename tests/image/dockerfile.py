"""Runs a Dockerfile's own steps in an empty folder, as a user who is not root: what can be tried without an engine.

A step is run as it is written, so the file must keep to what is understood here: RUN, COPY, WORKDIR, ENV and a few that
only describe. Absolute paths are taken to lie in the folder. What is not tried is the base image itself.
"""

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

USER = 10001
PASSED_ON = ("PIP_", "UV_INDEX", "UV_DEFAULT_INDEX", "SSL_", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
"""Where packages come from is the machine's affair."""


def instructions(file: Path) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile with their arguments, continued lines joined."""
    lines = [line for line in file.read_text().splitlines() if line.strip() and not line.startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ")
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in whole.splitlines())]


def context(project: Path, target: Path) -> Path:
    """Copy what .dockerignore lets through: names after a `!`, without caches."""
    target.mkdir()
    for line in (project / ".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            source = project / line[1:]
            if source.is_dir():
                shutil.copytree(source, target / source.name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target / source.name)
    return target


@dataclass
class Stage:
    """One stage of a Dockerfile, in a folder that stands for the root of its file system."""

    root: Path
    context: Path
    python: str
    """The interpreter that stands for the base image's `python3`."""
    workdir: Path = field(init=False)
    env: dict[str, str] = field(default_factory=dict)
    user: str = ""
    entrypoint: str = ""
    command: str = ""
    labels: str = ""

    def __post_init__(self) -> None:
        self.workdir = self.root
        shims = self.root / "usr" / "local" / "bin"
        shims.mkdir(parents=True)
        (shims / "python3").symlink_to(self.python)
        passed = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
        self.env = {**passed, "HOME": str(self.root / "home"), "PATH": f"{shims}:/usr/bin:/bin"}
        (self.root / "home").mkdir()
        hand_over(self.root)

    def inside(self, path: str) -> Path:
        """Return where a path of the image is."""
        return self.root / path.lstrip("/") if path.startswith("/") else self.workdir / path

    def apply(self, name: str, rest: str, stages: dict[str, "Stage"]) -> None:
        """Do what one instruction says."""
        getattr(self, f"_{name.lower()}")(rest, stages)

    def _workdir(self, rest: str, _stages: dict[str, "Stage"]) -> None:
        self.workdir = self.inside(rest)
        self.workdir.mkdir(parents=True, exist_ok=True)
        hand_over(self.workdir)

    def _env(self, rest: str, _stages: dict[str, "Stage"]) -> None:
        for pair in shlex.split(rest):
            name, _, value = pair.partition("=")
            for folder in ("/app", "/data"):
                value = value.replace(folder, str(self.root) + folder)
            self.env[name] = value.replace("$PATH", self.env["PATH"])

    def _copy(self, rest: str, stages: dict[str, "Stage"]) -> None:
        *sources, target = rest.split()
        origin = None
        if sources[0].startswith("--from="):
            origin = stages[sources.pop(0).removeprefix("--from=")]
        for source in sources:
            found = origin.inside(source) if origin else self.context / source
            placed = self.inside(target) / found.name if target.endswith("/") else self.inside(target)
            if found.is_dir():
                shutil.copytree(found, placed, symlinks=True)
            else:
                shutil.copy(found, placed)
            hand_over(placed)

    def _run(self, rest: str, _stages: dict[str, "Stage"]) -> None:
        for folder in ("/data",):
            rest = rest.replace(f" {folder}", f" {self.root}{folder}")
        as_root = rest.startswith("install -d -o") and os.geteuid() == 0
        if os.geteuid() != 0:
            rest = rest.replace(f"-o {USER} -g {USER} ", "")
        done = subprocess.run(
            ["/bin/sh", "-c", rest],
            cwd=self.workdir,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            user=None if as_root else user(),
            group=None if as_root else user(),
            extra_groups=None if as_root or user() is None else [],
        )
        assert done.returncode == 0, f"{rest}\n{done.stdout}{done.stderr}"

    def _user(self, rest: str, _stages: dict[str, "Stage"]) -> None:
        self.user = rest

    def _entrypoint(self, rest: str, _stages: dict[str, "Stage"]) -> None:
        self.entrypoint = rest

    def _cmd(self, rest: str, _stages: dict[str, "Stage"]) -> None:
        self.command = rest

    def _label(self, rest: str, _stages: dict[str, "Stage"]) -> None:
        self.labels = rest

    def _describes(self, rest: str, stages: dict[str, "Stage"]) -> None:
        """Change nothing: it only describes."""

    _arg = _volume = _expose = _stopsignal = _describes


def user() -> int | None:
    """Return the user as whom steps are run: never root."""
    return USER if os.geteuid() == 0 else None


def hand_over(path: Path) -> None:
    """Make the steps' user the owner of a path, where that is another than ours."""
    if os.geteuid() == 0:
        for one in (path, *path.rglob("*")):
            os.chown(one, USER, USER, follow_symlinks=False)


def build(project: Path, folder: Path, python: str) -> Stage:
    """Run all steps of a project's Dockerfile; return the last stage."""
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    copied = context(project, folder / "context")
    for name, rest in instructions(project / "Dockerfile"):
        if name == "FROM":
            # Every stage stands at the same place while its steps run: what is copied between them holds paths.
            if stage is not None:
                stage.root = stage.root.rename(folder / f"stage-{len(stages)}")
            stage = stages[rest.partition(" AS ")[2]] = Stage(folder / "root", copied, python)
        elif stage is not None:
            stage.apply(name, rest, stages)
    assert stage is not None
    return stage
