"""What a deployment is set to, as far as licenses depend on it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from cdr_service.domain.spaces import Release

if TYPE_CHECKING:
    from cdr_service.domain.licensing import Policy

LINK_SUB_TYPES: Final = ("distributionLink", "lyncDistribution")
"""subTypes of legs that link two Call Bridges (Cisco API reference, callLeg subtype)."""


class Options(NamedTuple):
    """The policy that decides, and named choices for what nobody has documented.

    Each has the name and the default of its setting `CDR_LICENSING_…`, where its meaning is described.
    """

    policy: str = "join"
    """The policy that decides: join, owner or auto. The others are computed and shown."""
    policy_changeover: Release = (2, 3)
    policy_if_release_unknown: Literal["join", "owner"] = "join"
    join_sticky: bool = True
    join_scope: Literal["any_participant", "space_member"] = "any_participant"
    join_overrides_owner: bool = False
    claim_at: Literal["first_leg", "activated"] = "activated"
    pmp_calls_per_user: int = 2
    spill_back: bool = True
    owner_change_applies: Literal["now", "next_call"] = "now"
    weight_when_media_unknown: Literal["full", "sixth"] = "full"
    temporary_space_is_permanent: bool = True
    recording_lifts_audio_only: bool = False
    weight_drops_back: bool = True
    sixths_from_release: Release = (2, 3)
    link_leg_subtypes: tuple[str, ...] = LINK_SUB_TYPES
    lync_mode_if_unknown: Literal["gateway", "dualHomeCluster", "dualHomeCallBridge"] = "gateway"
    gateway_has_payer: bool = False
    policies: "Mapping[str, Policy] | None" = None
    """Other policies to compute than those of `policies_of`; none of them where no license is to be decided."""
