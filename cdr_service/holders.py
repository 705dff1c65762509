"""The holders file: who holds PMP+, as an administrator wrote it down."""

from pathlib import Path

import structlog

from cdr_service.domain.directory import Directory
from cdr_service.domain.holders_file import parse_holders
from cdr_service.settings import DeploymentSettings, SettingsError


class HoldersFile:
    """The holders file of a deployment, read again when it changes."""

    def __init__(self, settings: DeploymentSettings, named_by: str) -> None:
        """`named_by` is the setting or option that names the file."""
        self._setting = named_by
        self._settings = settings
        self._stamp: tuple[int, int] | None = None
        self._directory: Directory | None = None
        self._told: str | None = None
        """The problem that was told last."""
        self._log = structlog.get_logger().bind()

    def require(self) -> None:
        """Read the file, where one is set; raise SettingsError where it cannot be used."""
        try:
            self.read()
        except (OSError, ValueError) as problem:
            reason = str(getattr(problem, "strerror", None) or problem).rstrip(".")
            raise SettingsError(
                f"{self._setting} names {self._settings.holders}, which cannot be used: {reason}."
            ) from problem

    def read(self) -> Directory | None:
        """Return the directory, or None where there is no file; one that cannot be read leaves the last good one."""
        path = self._settings.holders
        if path is None:
            return None
        try:
            found = path.stat()
            stamp = (found.st_mtime_ns, found.st_size)
            if stamp != self._stamp:
                self._directory = self._parse(path)
                self._stamp = stamp
            self._told = None
        except (OSError, ValueError) as problem:
            if self._directory is None:
                raise
            if str(problem) != self._told:  # the file is looked at every few seconds
                self._told = str(problem)
                self._log.warning("directory.unreadable", file=str(path), reason=self._told)
        return self._directory

    def _parse(self, path: Path) -> Directory:
        return parse_holders(
            path.read_text(encoding="utf-8-sig"),
            format="toml" if path.suffix == ".toml" else "csv",
            sip_domains=self._settings.sip_domains,
            sip_user_match=self._settings.licensing.sip_user_match,
        )
