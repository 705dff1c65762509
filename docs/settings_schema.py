"""The part of the chart's schema that describes `settings`, made from the service's own list of settings.

`python docs/generate.py` writes it into helm/values.schema.json.
"""  # noqa: INP001 - a script

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cdr_service.settings import DeploymentSettings, LicensingSettings, ServiceSettings
from cdr_service.settings.load import is_secret

FILE = Path(__file__).parents[1] / "helm" / "values.schema.json"
LEFT_TO_THE_CHART = {
    *("intake_bind", "api_bind", "intake_tls_cert", "intake_tls_key", "api_tls_cert", "api_tls_key"),
    *("redis_url", "data_dir"),
}
"""What values other than `settings` say."""
TEXTS = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
NUMBERS = {"limit_personal", "limit_shared", "store_max_mb"}


def settings_definitions() -> dict[str, Any]:
    """Return the definitions of the settings at the top level, of a further deployment, and of the license rules."""
    deployment = properties(DeploymentSettings, without={"licensing"})
    licensing = {"$ref": "#/$defs/licensing"}
    name = "^[a-z0-9][a-z0-9_-]{0,62}$"
    further = {"propertyNames": {"pattern": name, "not": {"const": "default"}}}
    return {
        "licensing": closed(properties(LicensingSettings)),
        "deployment": closed({**deployment, "licensing": licensing}),
        "settings": closed(
            {
                **properties(ServiceSettings, without=LEFT_TO_THE_CHART),
                **deployment,
                "licensing": licensing,
                "deployments": {
                    "type": "object",
                    **further,
                    "additionalProperties": {"$ref": "#/$defs/deployment"},
                },
            }
        ),
    }


def closed(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of an object that has these properties and no other."""
    return {"type": "object", "additionalProperties": False, "properties": dict(members)}


def properties(model: type[BaseModel], without: Iterable[str] = ()) -> dict[str, Any]:
    """Return the schemas of a model's settings; secrets are never among them."""
    fields = {key: field for key, field in model.model_fields.items() if key not in without and not is_secret(field)}
    return {key: {"description": field.description, **kind(key, field)} for key, field in fields.items()}


def kind(key: str, field: FieldInfo) -> dict[str, Any]:
    """Return what a setting may be, as far as JSON can tell; the service itself checks the rest."""
    choices = choices_of(field.annotation)
    if choices:
        return {"enum": choices}
    if isinstance(field.default, bool):
        return {"type": "boolean"}
    if isinstance(field.default, tuple):
        return {"type": "string"} if field.default and isinstance(field.default[0], int) else TEXTS
    if key == "intake_max_bytes":
        return {"type": ["integer", "string"]}
    if isinstance(field.default, int) or key in NUMBERS:
        return {"type": "number"}
    return {"type": "string"}


def choices_of(annotation: Any) -> list[str]:
    """Return the words between which a setting chooses."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [choice for part in get_args(annotation) for choice in choices_of(part)]


def write_schema() -> None:
    """Write the definitions into the chart's schema."""
    schema = json.loads(FILE.read_text())
    schema["$defs"].update(settings_definitions())
    FILE.write_text(json.dumps(schema, indent=2) + "\n")
