"""Every setting of the service: its name, type, default and meaning, and the rules that hold between settings.

The fields are the one list of settings. The names of environment variables, the keys of the TOML file and
`docs/configuration.md` are derived from it.
"""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from platformdirs import user_data_dir
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from cdr_service.settings.values import (
    MIB,
    Bind,
    BindSetting,
    CmsUrls,
    Count,
    DeploymentName,
    Domains,
    Folder,
    LogFormat,
    LogLevel,
    Networks,
    Policy,
    Positive,
    ReadableFile,
    Release,
    Size,
    Span,
    StoreUrl,
    Token,
    Tokens,
    Words,
)


def _means(text: str) -> dict[str, Any]:
    """How the documentation says a default that depends on the machine or on other settings."""
    return {"default": text}


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class LicensingSettings(_Model):
    """What nobody has documented about license use, as named choices (`docs/licensing.md`, section 8).

    Every default is this product's choice, to be revised when a live server has been observed.
    """

    policy_changeover: Release = Field(
        default=(2, 3),
        description="With `CDR_POLICY=auto`, the first release that follows `owner` instead of `join`; open is which "
        "release that was.",
    )
    policy_if_release_unknown: Policy = Field(
        default="join",
        description="With `CDR_POLICY=auto`, the policy while the server's release is not known; open is what such a "
        "server follows.",
    )
    join_sticky: bool = Field(
        default=True,
        description="Whether a meeting stays on PMP+ when the PMP+ member who paid leaves; open is whether it goes "
        "back to SMP+.",
    )
    join_scope: Literal["any_participant", "space_member"] = Field(
        default="any_participant",
        description="Who counts as a member that joined; open is whether that is anyone in the call or only a member "
        "of the space.",
    )
    join_overrides_owner: bool = Field(
        default=False,
        description="Whether a holder who joins takes over from an owner who already pays; open is whether the charge "
        "moves from one PMP+ to another.",
    )
    claim_at: Literal["first_leg", "activated"] = Field(
        default="activated",
        description="When a meeting takes a license: at its first leg, or at the first participant past lobby and "
        "IVR; open is which of them.",
    )
    pmp_calls_per_user: Positive = Field(
        default=2,
        description="How many meetings at a time one PMP+ pays before SMP+ is used; open is whether the tolerance is "
        "two in every release.",
    )
    spill_back: bool = Field(
        default=True,
        description="Whether a meeting that spilled to SMP+ returns to PMP+ when another of the holder's meetings "
        "ends; open is whether it returns, and which one first.",
    )
    owner_change_applies: Literal["now", "next_call"] = Field(
        default="now",
        description="When an edited owner or PMP+ assignment counts; open is whether it changes a running call.",
    )
    weight_when_media_unknown: Literal["full", "sixth"] = Field(
        default="full",
        description="What an SMP+ meeting weighs while nobody can tell whether video is used; open without access to "
        "the CMS API is whether it is audio only.",
    )
    temporary_space_is_permanent: bool = Field(
        default=True,
        description="Whether a temporary space counts as permanent, so that two people in it are charged in full; open "
        "is whether what is left of a CUCM ad hoc call is point-to-point.",
    )
    recording_lifts_audio_only: bool = Field(
        default=False,
        description="Whether recording or streaming an audio-only meeting of a space makes it weigh in full; open is "
        "whether the exception for point-to-point calls holds here too.",
    )
    weight_drops_back: bool = Field(
        default=True,
        description="Whether the weight falls again when its reason ends, such as video or a third participant; open "
        "is whether the server lowers it.",
    )
    sixths_from_release: Release = Field(
        default=(2, 3),
        description="The first release that charges a sixth for audio-only and point-to-point calls; open is what "
        "earlier ones charge, which are taken at full weight.",
    )
    link_leg_subtypes: Words = Field(
        default=("distributionLink", "lyncDistribution"),
        description="Values of `subType` that mark a leg between Call Bridges, compared ignoring case; open is how "
        "CDRs report such legs.",
    )
    lync_mode_if_unknown: Literal["gateway", "dualHomeCluster", "dualHomeCallBridge"] = Field(
        default="gateway",
        description="How a Lync conference is charged while its call profile cannot be read; open is which mode it "
        "has.",
    )
    gateway_has_payer: bool = Field(
        default=False,
        description="Whether a PMP+ can pay a gateway or point-to-point call (`callType` `forwarding`); open, since "
        "sources name SMP+ only.",
    )
    sip_user_match: Literal["off", "uri"] = Field(
        default="uri",
        description="Whether SIP legs are matched to users by their address; open is how far the server's own "
        "matching goes.",
    )


class DeploymentSettings(_Model):
    """What can be set per deployment. One that is not `default` starts from the defaults here, not from the others."""

    policy: Literal["join", "owner", "auto"] = Field(
        default="join",
        description="The policy that decides: `join` (a PMP+ holder who joins pays), `owner` (the space's owner pays), "
        "or `auto` (by the server's release).",
    )
    holders: ReadableFile | None = Field(
        default=None, description="CSV or TOML file of users: who holds PMP+, aliases, spaces owned."
    )
    sip_domains: Domains = Field(
        default=(),
        description="Hosts whose SIP addresses and directory numbers may be matched to users, with their subdomains.",
        json_schema_extra=_means("the domains of the users' addresses, with their subdomains"),
    )
    intake_token: Tokens = Field(
        default=(),
        description="If set, a push must carry `?token=…`; two tokens, separated by a comma, allow rotation.",
    )
    intake_allow: Networks = Field(
        default=(),
        description="Networks (CIDR) or addresses that may push, or `any`.",
        json_schema_extra=_means("any"),
    )
    trusted_proxies: Networks = Field(
        default=(), description="Networks (CIDR) or addresses of proxies whose `X-Forwarded-For` counts."
    )
    intake_open: bool = Field(
        default=False,
        description="Off loopback, with neither token nor allow-list, the service refuses to start unless this is "
        "`true`.",
    )
    intake_max_bytes: Size = Field(
        default=8 * MIB,
        description="Largest body of a push, also after decompression, in bytes or with a unit such as `8 MiB`.",
        json_schema_extra=_means("8 MiB"),
    )
    cms_url: CmsUrls = Field(
        default=(), description="Base URL of the Meeting Server's REST API; for a cluster those of all Call Bridges."
    )
    cms_username: str | None = Field(default=None, description="User of the REST API; comes with URL and password.")
    cms_password: SecretStr | None = Field(default=None, description="Password of that user.")
    cms_ca: ReadableFile | None = Field(
        default=None,
        description="PEM file of the authority that signed the REST API's certificate.",
        json_schema_extra=_means("the system's authorities"),
    )
    limit_personal: Count | None = Field(
        default=None, description="Purchased PMP+ licenses, where the API does not tell."
    )
    limit_shared: Count | None = Field(
        default=None, description="Purchased SMP+ licenses, where the API does not tell."
    )
    retention_days: Span = Field(
        default=90,
        description="How long ended calls and the usage history are kept, in days from the time that we received the "
        "end.",
    )
    stale_call_hours: Span = Field(
        default=24, description="A live call from which nothing was received for so many hours is closed and marked."
    )
    directory_interval_seconds: Span = Field(
        default=300, description="How often users, profiles and spaces are read again, in seconds."
    )
    reconcile_interval_seconds: Span = Field(
        default=10, description="How often the server's own license counts are read, in seconds."
    )
    reconcile_settle_seconds: Span = Field(
        default=20, description="How old a state must be to be compared with the server's counts, in seconds."
    )
    reconcile_polls: Positive = Field(
        default=2, description="How many polls in a row must differ before a difference is reported."
    )
    raw_retention_hours: Span = Field(
        default=24, description="How long the received documents are kept (compressed) for replay, in hours."
    )
    raw_max_mb: Positive = Field(
        default=256,
        description="How much of the received documents is kept (compressed), in MiB, and as much of dead letters.",
    )
    dead_letter_max: Positive = Field(
        default=10_000,
        description="How many rejected documents and records are kept; the oldest go first, counted and logged.",
    )
    event_max: Positive = Field(
        default=1_000_000, description="How many events the stream keeps; the oldest go first, counted and logged."
    )
    licensing: LicensingSettings = LicensingSettings()

    @property
    def raw_max_bytes(self) -> int:
        """`raw_max_mb` in bytes."""
        return self.raw_max_mb * MIB


class ServiceSettings(_Model):
    """What the service as a whole has once: the binds, TLS, the API token, the store and the log."""

    intake_bind: BindSetting = Field(
        default=Bind("127.0.0.1", 8080),
        description="Where Call Bridges push; for a real CMS `0.0.0.0:8080` with a token; `:0` takes a free port; "
        "without a host, 127.0.0.1.",
    )
    intake_tls_cert: ReadableFile | None = Field(
        default=None,
        description="PEM file of the intake's certificate chain; with it the intake speaks TLS 1.2 or newer.",
    )
    intake_tls_key: ReadableFile | None = Field(default=None, description="PEM file of that certificate's private key.")
    api_bind: BindSetting = Field(
        default=Bind("127.0.0.1", 8081),
        description="Query API, live page, metrics, health; `:0` takes a free port; without a host, 127.0.0.1.",
    )
    api_tls_cert: ReadableFile | None = Field(
        default=None, description="PEM file of the API's certificate chain; with it the API speaks TLS 1.2 or newer."
    )
    api_tls_key: ReadableFile | None = Field(default=None, description="PEM file of that certificate's private key.")
    api_token: Token | None = Field(
        default=None,
        description="Bearer token of the query API; needed when the API binds to anything but loopback.",
    )
    redis_url: StoreUrl | None = Field(
        default=None,
        description="`redis://`, `rediss://`, `unix://`, `redis+sentinel://host:port,host:port/service` or "
        "`redis+cluster://host:port,host:port`; `?replicas=N` waits for so many replicas before each 200.",
        json_schema_extra=_means("the embedded server"),
    )
    data_dir: Folder = Field(
        default_factory=lambda: Path(user_data_dir("cdr-service")),
        description="Where the embedded server keeps its append-only file.",
        json_schema_extra=_means("the platform's user data folder"),
    )
    store_max_mb: Positive | None = Field(
        default=None,
        description="How much memory the embedded server may take, in MiB. Past it documents are refused with 503, and "
        "the Call Bridges keep them.",
        json_schema_extra=_means("half of what the machine or the container has"),
    )
    log_format: LogFormat | None = Field(
        default=None,
        description="`json`: one object a line; `console`: columns for people.",
        json_schema_extra=_means("`json`, or `console` on a terminal"),
    )
    log_level: LogLevel = Field(
        default="info", description="Least level logged: debug, info, warning, error or critical."
    )

    @property
    def store_max_bytes(self) -> int | None:
        """`store_max_mb` in bytes."""
        return self.store_max_mb and self.store_max_mb * MIB


class Settings(ServiceSettings):
    """All settings, checked: a value of this type is safe to start with."""

    deployments: Mapping[DeploymentName, DeploymentSettings] = {"default": DeploymentSettings()}
    """By name; `default` is always there."""

    @field_validator("deployments")
    @classmethod
    def _with_default(cls, given: Mapping[str, DeploymentSettings]) -> Mapping[str, DeploymentSettings]:
        return {"default": DeploymentSettings(), **given}

    @model_validator(mode="after")
    def _rules(self) -> Self:
        _check_pair("intake_tls_cert", self.intake_tls_cert, "intake_tls_key", self.intake_tls_key)
        _check_pair("api_tls_cert", self.api_tls_cert, "api_tls_key", self.api_tls_key)
        if self.intake_bind.port and self.intake_bind == self.api_bind:
            raise ValueError(f"CDR_INTAKE_BIND and CDR_API_BIND are both {self.api_bind}: give each its own port.")
        if not self.api_bind.is_loopback and self.api_token is None:
            raise ValueError(
                f"CDR_API_BIND is {self.api_bind}, which others can reach: set CDR_API_TOKEN, "
                f"for example to {secrets.token_urlsafe()}, or bind to 127.0.0.1."
            )
        for name, deployment in self.deployments.items():
            _check_cms(name, deployment)
            _check_intake(name, deployment, self.intake_bind)
        return self


def setting_name(deployment: str, key: str) -> str:
    """Return the name by which a user sets `key` of a deployment: a variable for `default`, else a TOML path."""
    return f"CDR_{key.upper()}" if deployment == "default" else f"deployments.{deployment}.{key}"


def _check_pair(first: str, one: object, second: str, other: object) -> None:
    if (one is None) != (other is None):
        given, missing = (second, first) if one is None else (first, second)
        raise ValueError(f"CDR_{given.upper()} is set without CDR_{missing.upper()}: set both or neither.")


def _check_cms(name: str, deployment: DeploymentSettings) -> None:
    keys = ("cms_url", "cms_username", "cms_password")
    missing = [setting_name(name, key) for key in keys if not getattr(deployment, key)]
    if 0 < len(missing) < len(keys):
        wanted = ", ".join(setting_name(name, key) for key in keys)
        raise ValueError(f"{missing[0]} is missing: set all of {wanted}, or none.")


def _check_intake(name: str, deployment: DeploymentSettings, bind: Bind) -> None:
    allowed = deployment.intake_allow
    # A list that lets a whole address family in keeps nobody out.
    limited = bool(allowed) and all(network.prefixlen for network in allowed)
    if bind.is_loopback or deployment.intake_token or limited or deployment.intake_open:
        return
    token, allow, is_open = (setting_name(name, key) for key in ("intake_token", "intake_allow", "intake_open"))
    raise ValueError(
        f"CDR_INTAKE_BIND is {bind}, where anybody could push to the deployment {name}: set {token}, for example to "
        f"{secrets.token_urlsafe()}, or {allow} to the Call Bridges' networks, or {is_open}=true to accept that."
    )
