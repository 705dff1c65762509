"""The policies, as the query API shows them."""

from msgspec import Struct

from cdr_service.domain.licensing import Policy


class RuleView(Struct, frozen=True):
    """One rule of a policy."""

    id: str
    """As `license.rule` names it."""
    text: str
    """The rule, in one sentence."""
    releases: str
    """The releases of Meeting Server that it holds for."""
    source: str
    """Where it is written."""
    confidence: str
    """How sure it is that Meeting Server does so: high, medium or low, or between two of them."""


class PolicyView(Struct, frozen=True):
    """A set of rules by which licenses are assigned."""

    id: str
    """As `CDR_POLICY` and `license.policy` name it."""
    text: str
    """The policy, in one sentence."""
    rules: list[RuleView]
    """The first that applies decides."""


def policy_view(policy: Policy) -> PolicyView:
    """Return a policy with its rules, in their order."""
    rules = [RuleView(rule.id, rule.text, rule.releases, rule.source, rule.confidence) for rule in policy.rules]
    return PolicyView(policy.id, policy.text, rules)
