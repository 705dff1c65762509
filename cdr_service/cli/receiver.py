"""The receiver URL to paste into the Meeting Server, and the token in it.

The token is for a terminal only. A file, a pipe or a container's log gets the name of the file that holds it instead.
"""

import os
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cdr_service.compose import Running
from cdr_service.settings import Settings, SettingsError

KEPT_TOKEN: Final = "intake-token"  # noqa: S105 - the name of a file
"""Where in the data folder the token of a first run is kept."""
_ANY_ADDRESS: Final = ("0.0.0.0", "[::]")  # noqa: S104 - compared only


def kept_token(folder: Path) -> Path:
    """Return the file of the intake token in a data folder; one without a token is made anew. Raises SettingsError."""
    kept = folder / KEPT_TOKEN
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if kept.exists() and not kept.read_text(encoding="utf-8").strip():
            kept.unlink()
        if not kept.exists():
            with os.fdopen(os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(secrets.token_urlsafe(24))
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SettingsError(
            f"The intake token cannot be kept in {kept} ({why}): set CDR_DATA_DIR to a folder that this user can write,"
            " or CDR_INTAKE_TOKEN."
        ) from error
    return kept


def where_to_push(settings: Settings, service: Running, environ: Mapping[str, str], *, on_terminal: bool) -> str:
    """Return what to paste into the Meeting Server. Without a terminal it has no token, but says where that is."""
    intake_url = service.intake_url
    for address in _ANY_ADDRESS:
        if address in intake_url:
            intake_url = intake_url.replace(address, _own_name())
    token = settings.deployments["default"].intake_token
    shown = token[0].get_secret_value() if token and on_terminal else "TOKEN"
    query = f"?token={shown}" if token else ""
    lines = [
        "Receiver URL for the Meeting Server (Configuration > CDR settings, on every Call Bridge):",
        f"  {intake_url}/cdr{query}",
    ]
    if token and not on_terminal:
        file = environ.get("CDR_INTAKE_TOKEN_FILE")
        lines.append(f"TOKEN is in the file {file}." if file else "TOKEN is the intake token of the settings.")
    lines.append(f"Not clustered? Then add {'&' if query else '?'}bridge=NAME, another one on each Call Bridge.")
    lines.append(f"  the page:    {service.api_url}/")
    lines.append(f"  live calls:  {curl(settings, f'{service.api_url}/v1/calls')}")
    return "\n".join(["", *lines, ""])


def curl(settings: Settings, url: str) -> str:
    """Return the command that asks the query API."""
    header = '-H "Authorization: Bearer $CDR_API_TOKEN" ' if settings.api_token else ""
    return f"curl {header}{url}"


def _own_name() -> str:
    name = socket.getfqdn()
    return "NAME-OF-THIS-MACHINE" if not name or "localhost" in name else name
