"""Writes what is made from the list of settings, the page and the chart's schema: `python docs/generate.py`."""  # noqa: INP001

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cdr_service.settings import DeploymentSettings, LicensingSettings, ServiceSettings
from cdr_service.settings.load import PREFIX, is_secret

_INTRODUCTION = """\
# Configuration

<!-- Made by docs/generate.py from cdr_service/settings/models.py; change that. -->

Settings are environment variables, or keys of a TOML file that `CDR_CONFIG` (or `--config`) names. The environment
wins; a variable that is empty counts as not set. Names that begin with `CDR_` and are no setting are errors, and so are
unknown keys of the file; only `CDR_SERVICE_…` (made by Kubernetes for a Service called `cdr-service`) and `CDR_TEST_…`
are ignored.

- Lists are separated by commas in the environment; in TOML they may also be arrays.
- A secret can be given as a file: `CDR_API_TOKEN_FILE=/run/secrets/token` (in TOML `api_token_file`). Line ends at the
  end of the file do not count.
- `~` is expanded in paths; a relative path starts from the working directory.
- Settings that are marked *per deployment* describe the deployment `default` when they are set in the environment or
  at the top level of the file. Each other deployment has its own table, and starts from the defaults below, not from
  what is set for `default`. Its name has up to 63 of `a-z`, `0-9`, `-` and `_`, and begins with a letter or digit.

```toml
intake_bind = "0.0.0.0:8080"
intake_token_file = "/run/secrets/intake"
holders = "/etc/cdr-service/holders.csv"

[licensing]
spill_back = false

[deployments.branch]
policy = "owner"
intake_allow = ["192.0.2.0/24"]

[deployments.branch.licensing]
claim_at = "first_leg"
```
"""

_SECTIONS: tuple[tuple[str, type[BaseModel], str], ...] = (
    ("The service", ServiceSettings, ""),
    ("Deployments", DeploymentSettings, ""),
    ("Choices where nothing is documented", LicensingSettings, "licensing"),
)


def configuration_page() -> str:
    """Return the text of `docs/configuration.md`."""
    return _INTRODUCTION + "".join(line for section in _SECTIONS for line in _section(*section))


def _section(title: str, model: type[BaseModel], table: str) -> Iterator[str]:
    yield f"\n## {title}\n\n"
    yield "| variable | TOML key | default | meaning | per deployment | secret |\n"
    yield "| --- | --- | --- | --- | --- | --- |\n"
    per_deployment = "no" if model is ServiceSettings else "yes"
    for key, field in model.model_fields.items():
        if key == "licensing":
            continue
        path = f"{table}.{key}" if table else key
        variable = PREFIX + path.replace(".", "_").upper()
        meaning = (field.description or "").replace("|", "\\|")
        secret = f"yes, or `{variable}_FILE`" if is_secret(field) else "no"
        yield f"| `{variable}` | `{path}` | {_default(field)} | {meaning} | {per_deployment} | {secret} |\n"


def _default(field: FieldInfo) -> str:
    said = field.json_schema_extra
    if isinstance(said, dict):
        return str(said["default"])
    value = field.default
    if value is None or value == ():
        return "unset"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{('.' if isinstance(value[0], int) else ',').join(map(str, value))}`"
    return f"`{value}`"


if __name__ == "__main__":
    from settings_schema import write_schema  # beside this script

    write_schema()
    Path(__file__).with_name("configuration.md").write_text(configuration_page(), encoding="utf-8")
