"""What the REST API tells, as values: frozen, and None wherever the server said nothing.

Field names are ours, meanings are Cisco's (API reference 2020-09; releases in parentheses). Ids are in lower case,
because ids are the same whatever their case; JIDs stay as written and must be compared ignoring case. Times are
milliseconds since 1970 UTC. What is weighted is exact (`Decimal`), for it is summed up over bridges. Enumerations are
open: any text may come. Entries of a list hold less than the object itself; which fields a list lacks is said there.
"""

import re
from decimal import Decimal
from typing import Any

from msgspec import Struct

ZERO = Decimal(0)


class User(Struct, frozen=True, kw_only=True):
    """A user, imported from a directory. A list has id, JID and tenant only."""

    id: str
    jid: str | None = None
    tenant: str | None = None
    name: str | None = None
    email: str | None = None
    cdr_tag: str | None = None
    profile: str | None = None
    """The user profile (2.0) that decides first; whether an LDAP source's profile shows here is not documented."""


class UserProfile(Struct, frozen=True, kw_only=True):
    """What users with this profile may do."""

    id: str
    has_license: bool | None = None
    """Whether they have a PMP+ (2.0); None: not set at this level."""


class Tenant(Struct, frozen=True, kw_only=True):
    """A customer of a shared server."""

    id: str
    name: str | None = None
    user_profile: str | None = None
    """Of all users of this tenant who have none of their own."""
    call_profile: str | None = None


class LdapSource(Struct, frozen=True, kw_only=True):
    """Where users are imported from: the usual way to hand out PMP+."""

    id: str
    server: str | None = None
    mapping: str | None = None
    base_dn: str | None = None
    filter: str | None = None
    tenant: str | None = None
    user_profile: str | None = None
    """Given to the users of this source at the next sync (2.0)."""


class SystemProfiles(Struct, frozen=True, kw_only=True):
    """The profiles that hold where nothing more specific does."""

    user_profile: str | None = None
    call_profile: str | None = None


class CallProfile(Struct, frozen=True, kw_only=True):
    """How calls behave."""

    id: str
    lync_mode: str | None = None
    """`gateway`, `dualHomeCluster` or `dualHomeCallBridge` (2.3)."""


class CoSpace(Struct, frozen=True, kw_only=True):
    """A space. A list has id, name, tenant and `auto_generated` only. Its secret and passcode are never read."""

    id: str
    name: str | None = None
    tenant: str | None = None
    owner_id: str | None = None
    """The owner's user id (2.0)."""
    owner_jid: str | None = None
    meeting_scheduler: str | None = None
    """Free text, needs be no user (2.2): a license is never decided on it."""
    cdr_tag: str | None = None
    auto_generated: bool | None = None
    """Made by the LDAP sync."""
    call_profile: str | None = None


class CoSpaceMember(Struct, frozen=True, kw_only=True):
    """A member of a space."""

    id: str
    """Of the membership, not of the user."""
    user_id: str | None = None
    user_jid: str | None = None
    auto_generated: bool | None = None


class CallBridge(Struct, frozen=True, kw_only=True):
    """A node of a cluster, as all nodes know it. A list has id and name only."""

    id: str
    """The `callBridge` of CDRs."""
    name: str | None = None
    address: str | None = None
    sip_domain: str | None = None
    group: str | None = None


class Cluster(Struct, frozen=True, kw_only=True):
    """What a node knows of its own place in the cluster."""

    unique_name: str | None = None
    """This node's name in the list of Call Bridges; None: it is not clustered."""


class Status(Struct, frozen=True, kw_only=True):
    """The state of one node."""

    software_version: str | None = None
    cdr_time: int | None = None
    """The clock behind the times of CDRs."""
    cdr_correlator_index: int | None = None
    """Index of the next CDR (2.2); 0 when none was sent."""
    host_id: str | None = None
    """This node's id in MPLicenseUsage, which need not be its Call Bridge id."""
    uptime_seconds: int | None = None
    """A drop means a restart, and therefore a new CDR session."""
    cluster_enabled: bool | None = None
    cluster_id: str | None = None
    """Has a value on a single server too (3.0)."""
    call_legs_active: int | None = None
    call_legs_completed: int | None = None

    @property
    def release(self) -> tuple[int, int] | None:
        """Major and minor release, from `3.0.1` or `2.0(RC)`; what follows is free text."""
        found = re.match(r"([0-9]{1,4})\.([0-9]{1,4})", self.software_version or "")
        return (int(found[1]), int(found[2])) if found else None


class Call(Struct, frozen=True, kw_only=True):
    """A live call on one node. A list has id, name, space, correlator and tenant only."""

    id: str
    name: str | None = None
    cospace: str | None = None
    correlator: str | None = None
    tenant: str | None = None
    call_type: str | None = None
    owner_name: str | None = None
    """For display, as in CDRs."""
    duration_seconds: int | None = None
    legs: int | None = None
    participants_local: int | None = None
    participants_remote: int | None = None
    distributed_instances: int | None = None
    """How many other nodes host participants."""
    recording: bool | None = None
    """Configured to be recorded."""
    streaming: bool | None = None


class CallLeg(Struct, frozen=True, kw_only=True):
    """A live call leg on one node. A list has id, name, both remote parties, call and tenant only."""

    id: str
    name: str | None = None
    remote_party: str | None = None
    original_remote_party: str | None = None
    call: str | None = None
    tenant: str | None = None
    type: str | None = None
    """`sip` or `acano`."""
    sub_type: str | None = None
    """`lync`, `avaya`, `distributionLink`, `lyncDistribution`, in whatever letter case the server writes."""
    lync_sub_type: str | None = None
    direction: str | None = None
    owner_id: str | None = None
    """A tag of whoever made the leg by the API; not a user."""
    can_move: bool | None = None
    moved_call_leg: str | None = None
    moved_call_leg_call_bridge: str | None = None
    state: str | None = None
    """`initial`, `ringing`, `connected` or `onHold`."""
    duration_seconds: int | None = None
    group_id: str | None = None
    """The participant's id."""
    sip_call_id: str | None = None
    recording: bool | None = None
    streaming: bool | None = None
    deactivated: bool | None = None
    """In the lobby."""
    rx_audio: bool | None = None
    """Whether the server receives audio from the leg now; the media are None where the answer has no status."""
    tx_audio: bool | None = None
    rx_video: bool | None = None
    """Main video, not shared content."""
    tx_video: bool | None = None
    rx_presentation: bool | None = None
    tx_presentation: bool | None = None


class Participant(Struct, frozen=True, kw_only=True):
    """A person in a live call; all nodes of a meeting list all of them. A list has id, name, call, tenant, bridge."""

    id: str
    """The `groupId` of their legs."""
    name: str | None = None
    call: str | None = None
    tenant: str | None = None
    call_bridge: str | None = None
    """Who hosts them, where it is another node."""
    uri: str | None = None
    original_uri: str | None = None
    user_jid: str | None = None
    """Which user it is: the authoritative answer."""
    legs: int | None = None
    """Of local participants only."""
    is_activator: bool | None = None
    """Can activate others: no guest in the lobby."""
    moved_participant: str | None = None
    moved_participant_call_bridge: str | None = None
    state: str | None = None


class MultipartyLicensing(Struct, frozen=True, kw_only=True):
    """What one node counts now (2.0). Weighted values are divided over the nodes that a call spans."""

    timestamp: int | None = None
    """Not to be trusted: samples trail the real time by hours."""
    users: int | None = None
    personal_licenses: int | None = None
    participants_active: int | None = None
    calls_active: int | None = None
    weighted_calls_active: Decimal | None = None
    calls_without_personal_license: int | None = None
    weighted_calls_without_personal_license: Decimal | None = None
    capacity_unit_usage: Decimal | None = None
    personal_license_limit: int | None = None
    """Purchased; deprecated in 3.0."""
    shared_license_limit: int | None = None


class ActivePersonalLicense(Struct, frozen=True, kw_only=True):
    """A user whose PMP+ is used on one node now. Which of the two names the user is not documented."""

    user_id: str | None = None
    user_jid: str | None = None
    calls_active: int | None = None
    weighted_calls_active: Decimal | None = None


class MpLicenseUsage(Struct, frozen=True, kw_only=True):
    """Licenses in use at a moment (2.6), normalized over nodes. The server leaves zeros out."""

    time: int
    pmp: Decimal = ZERO
    pmp_assigned: int | None = None
    """PMP+ assigned in the cluster (3.0)."""
    smp_audio: Decimal = ZERO
    """SMP+ calls that are audio only."""
    smp_point_to_point: Decimal = ZERO
    """SMP+ calls that are point to point and not audio only."""
    smp_full: Decimal = ZERO
    recording: Decimal = ZERO
    streaming: Decimal = ZERO


class Alarm(Struct, frozen=True, kw_only=True):
    """Something that a node complains of now."""

    id: str
    type: str | None = None
    """`cdrConnectionFailure`, `callBridgeConnectionFailure` and others."""
    active_seconds: int | None = None
    failure_reason: str | None = None
    call_bridge: str | None = None
    call_bridge_name: str | None = None
    call: str | None = None


class CdrReceiver(Struct, frozen=True, kw_only=True):
    """Where a node pushes its CDRs. The URI holds a secret, so it is not in the `repr`."""

    id: str
    uri: str | None = None

    def __repr__(self) -> str:
        return f"CdrReceiver(id={self.id!r}, uri={'…' if self.uri else None})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("id", self.id), ("uri", "…" if self.uri else None)]


class CdrReceivers(Struct, frozen=True, kw_only=True):
    """All receivers of one node."""

    receivers: tuple[CdrReceiver, ...] = ()
    maximum: int = 4
    """How many there can be."""
