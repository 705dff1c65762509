"""The settings of the service: environment variables `CDR_...`, or a TOML file; the environment wins.

`models` is the list of settings and of the rules between them, `values` what a value may look like, `load` reads
them. `docs/configuration.md` is made from `models` by `docs/generate.py`.
"""

from cdr_service.settings.load import SettingsError, load_only, load_settings
from cdr_service.settings.models import DeploymentSettings, LicensingSettings, ServiceSettings, Settings
from cdr_service.settings.values import Bind

__all__ = [
    "Bind",
    "DeploymentSettings",
    "LicensingSettings",
    "ServiceSettings",
    "Settings",
    "SettingsError",
    "load_only",
    "load_settings",
]
