"""Reads the settings from the environment and a TOML file, and says in one sentence what is wrong with them."""

import difflib
import os
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from cdr_service.domain.text import printable
from cdr_service.settings.models import DeploymentSettings, LicensingSettings, ServiceSettings, Settings
from cdr_service.settings.values import read_text

PREFIX = "CDR_"
_NOT_OURS = ("CDR_SERVICE_", "CDR_TEST_")
"""CDR_SERVICE_... is made by Kubernetes for a Service of our name; CDR_TEST_... steers the tests."""
_LONGEST_SECRET = 64 * 1024


class SettingsError(Exception):
    """The settings are wrong. The text is one sentence that names the setting and what to change, never a secret."""


class TopLevel(BaseSettings, DeploymentSettings, ServiceSettings):
    """What the environment and the top level of the file can say: the service, and the deployment `default`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="_",
        env_nested_max_split=1,
        enable_decoding=False,  # our lists are separated by commas, not JSON
    )


def load_settings(config: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read and check all settings. `config` is the TOML file (`--config`); without it, the one that CDR_CONFIG names.

    Raises SettingsError.
    """
    ours, named = _ours(environ)
    config = config or named
    variables = _from_environment(ours)
    file = _from_file(config) if config else {}
    deployments = _table(file.pop("deployments", {}), "deployments")
    if "default" in deployments:
        raise SettingsError("The top level describes the deployment default: move [deployments.default] up there.")
    top = file | variables
    top["licensing"] = _table(file.get("licensing", {}), "licensing") | variables.get("licensing", {})
    given = {key: value for key, value in top.items() if key not in DeploymentSettings.model_fields}
    default = {key: value for key, value in top.items() if key in DeploymentSettings.model_fields}
    try:
        return Settings.model_validate(given | {"deployments": {**deployments, "default": default}})
    except ValidationError as error:
        raise SettingsError(_sentence(error.errors()[0], ours, config)) from None


M = TypeVar("M", ServiceSettings, DeploymentSettings)


def load_only(model: type[M], *keys: str, environ: Mapping[str, str] = os.environ) -> M:
    """Read a few settings for a command that needs no others; of those, only the variables' names are checked.

    Where a client runs, the service's files need not be readable, and a mistake in its other settings is none of the
    client's business. Raises SettingsError.
    """
    ours, config = _ours(environ)
    _check_names(ours)
    secret: list[str] = [key for key in keys if key in _SECRETS]
    wanted = {*keys, *(f"{key}_file" for key in secret)}
    variables = {name: value for name, value in ours.items() if name.removeprefix(PREFIX).lower() in wanted}
    variables = _secrets_read(variables, {f"{PREFIX}{key.upper()}_FILE": PREFIX + key.upper() for key in secret})
    file = {key: value for key, value in (_toml(config) if config else {}).items() if key in wanted}
    given = _secrets_read(file, {f"{key}_file": key for key in secret})
    given |= {name.removeprefix(PREFIX).lower(): value for name, value in variables.items()}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise SettingsError(_sentence(error.errors()[0], ours, config)) from None


def _ours(environ: Mapping[str, str]) -> tuple[dict[str, str], Path | None]:
    """Return the variables that are settings by their prefix, and the file that one of them names."""
    ours = {name: value for name, value in environ.items() if name.startswith(PREFIX) and value.strip()}
    ours = {name: value for name, value in ours.items() if not name.startswith(_NOT_OURS)}
    named = ours.pop("CDR_CONFIG", None)
    return ours, Path(named) if named else None


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting must never be shown, and can be given as a file."""
    return _mentions_secret(field.annotation)


def _mentions_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(_mentions_secret(part) for part in get_args(annotation))


_SECRETS = [key for key, field in TopLevel.model_fields.items() if is_secret(field)]


def _variables() -> set[str]:
    keys = [key for key in TopLevel.model_fields if key != "licensing"]
    keys += [f"{key}_file" for key in _SECRETS]
    keys += [f"licensing_{key}" for key in LicensingSettings.model_fields]
    return {PREFIX + key.upper() for key in keys}


def _check_names(ours: Mapping[str, str]) -> None:
    known = _variables()
    for name in ours:
        if name not in known:
            raise SettingsError(f"{printable(name, 80)} is not a setting{_meant(name, {*known, 'CDR_CONFIG'})}")


def _from_environment(ours: Mapping[str, str]) -> dict[str, Any]:
    _check_names(ours)
    source = EnvSettingsSource(TopLevel)
    resolved = _secrets_read(ours, {f"{PREFIX}{key.upper()}_FILE": PREFIX + key.upper() for key in _SECRETS})
    source.env_vars = {name.lower(): value for name, value in resolved.items()}
    return source()


def _toml(config: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(config))
    except tomllib.TOMLDecodeError as error:
        where = printable(str(config))
        raise SettingsError(
            f"CDR_CONFIG (--config) names {where}, which is not TOML: {printable(str(error))}."
        ) from None
    except ValueError as error:
        raise SettingsError(f"CDR_CONFIG (--config) {error}.") from None


def _from_file(config: Path) -> dict[str, Any]:
    file = _toml(config)
    names = {f"{key}_file": key for key in _SECRETS}
    deployments = file.get("deployments")
    if isinstance(deployments, dict):
        file["deployments"] = {
            name: _secrets_read(one, names, f"deployments.{printable(name, 80)}.") if isinstance(one, dict) else one
            for name, one in deployments.items()
        }
    return _secrets_read(file, names)


def _table(value: object, key: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SettingsError(f"{key} must be a table in the TOML file, as in [{key}].")
    return value


def _secrets_read(given: Mapping[str, Any], names: Mapping[str, str], where: str = "") -> dict[str, Any]:
    """Replace each entry that names a secret's file by the secret."""
    result = dict(given)
    for file_key, key in names.items():
        if file_key not in result:
            continue
        if key in result:
            raise SettingsError(f"{where}{key} and {where}{file_key} are both set: keep one of them.")
        result[key] = _read_secret(result.pop(file_key), where + file_key)
    return result


def _read_secret(path: object, name: str) -> str:
    if not isinstance(path, str):
        raise SettingsError(f"{name} must be the path of a file.")
    try:
        secret = read_text(Path(path), _LONGEST_SECRET).strip("\r\n")
    except ValueError as error:
        raise SettingsError(f"{name} {error}.") from None
    if not secret.strip():
        raise SettingsError(f"{name} names {printable(path)}, which is empty: write the secret into it.")
    return secret


_PHRASES = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "path_type": "must be a path",
    "model_type": "must be a table",
    "string_type": "must be a text",
}


def _sentence(error: ErrorDetails, variables: Collection[str], config: Path | None) -> str:
    loc = [str(part) for part in error["loc"] if part != "[key]"]
    if not loc:  # a rule between settings, which speaks for itself
        return str(error["ctx"]["error"])
    deployment = loc[1] if loc[0] == "deployments" else "default"
    path = loc[2:] if loc[0] == "deployments" else loc
    path = path[: 2 if path[:1] == ["licensing"] else 1]  # what follows is a place inside the value
    name = ".".join(path if deployment == "default" else ["deployments", deployment, *path])
    name = f"{printable(name, 120)} in {printable(str(config))}"
    variable = PREFIX + "_".join(path).upper()
    if deployment == "default" and {variable, f"{variable}_FILE"} & set(variables):
        name = variable
    model: type[BaseModel] = DeploymentSettings if deployment != "default" else TopLevel
    model = LicensingSettings if len(path) > 1 else model
    if error["type"] == "extra_forbidden":
        return f"{name} {_unknown(path[-1], model)}"
    if error["type"] == "value_error":
        message = printable(str(error["ctx"]["error"]))
        return message if message.startswith(PREFIX) else f"{name} {message}."  # the store's URL is named already
    phrase = _PHRASES.get(error["type"]) or error["msg"].replace("Input should", "must", 1)
    field = model.model_fields.get(path[-1]) if path else None
    if field is not None and not is_secret(field) and isinstance(error["input"], str | int | float):
        phrase += f", not {printable(repr(error['input']), 60)}"
    return f"{name} {phrase}."


def _unknown(key: str, model: type[BaseModel]) -> str:
    if model is DeploymentSettings and key in ServiceSettings.model_fields:
        return f"cannot be set per deployment: move {key} to the top level of the file."
    return f"is not a setting{_meant(key, model.model_fields)}"


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {close[0]}?" if close else ": remove it, or correct its name."
