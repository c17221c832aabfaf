"""What stands in the way of an answer from here, or from the cloud, with the error that says so."""

from __future__ import annotations

from dataclasses import dataclass

from cloud_bridge.protocol.problems import InvalidRequest, NeverLeaves, NotAllowed, Problem, Unavailable
from edge_agent.routing.rules import Rule, first_match
from edge_agent.routing.situation import Situation


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a route is closed. `lasting`: by how the device is set up, and not by what this request holds or costs."""

    reasons: tuple[str, ...]
    problem: Problem
    lasting: bool = False


def local_obstacle(situation: Situation, model: str | None) -> Obstacle | None:
    """Why `model` cannot answer here, or None."""
    if model is None or not situation.local_available:
        return Obstacle(("capability:no_local_model",), no_local_model(), lasting=True)
    own = next((each for each in situation.candidates if each.model == model), None)
    if own is not None and not own.fits:
        return Obstacle(("capability:memory",), _no_memory())
    limit = own.context_length if own is not None else situation.local_context_length
    if limit is not None and situation.prompt_tokens_estimate > limit:
        return Obstacle(("capability:context_length",), _context_length_exceeded(limit))
    return None


def cloud_obstacle(situation: Situation) -> Obstacle | None:
    """Why the request may not be escalated, or None. That no provider answers just now is not one: see `defer`."""
    if situation.cloud_policy == "never":
        return Obstacle(("policy:cloud_never",), _cloud_disabled(), lasting=True)
    rule = matching_rule(situation)
    if rule is not None and rule.route == "local":
        return Obstacle((f"rule:{rule.name}",), kept_by_rule(rule.name))
    if situation.privacy_problem is not None:
        return Obstacle((f"privacy:failed:{situation.privacy_problem.code}",), situation.privacy_problem)
    kept = sorted(situation.entity_types & situation.never_leave)
    if kept:
        return Obstacle(tuple(f"privacy:never_leave:{name}" for name in kept), never_leaves(kept))
    if _keeps_implicit(situation):
        return Obstacle(("privacy:implicit_identity",), _implicit_identity(situation))
    if not situation.cloud_configured:
        return Obstacle(("cloud:not_configured",), _cloud_not_configured(), lasting=True)
    if situation.cloud_refusal is not None:
        return Obstacle((f"cloud:refused:{situation.cloud_refusal.code}",), situation.cloud_refusal)
    return _money_obstacle(situation)


def matching_rule(situation: Situation) -> Rule | None:
    """The first of the user's rules that holds, with the types that were found in the text so far."""
    return first_match(situation.rules, situation.facts.with_types(situation.entity_types))


def _keeps_implicit(situation: Situation) -> bool:
    """Whoever asks for the cloud by name has decided; `auto` keeps here what masking cannot hide."""
    policy = situation.implicit_policy
    return situation.implicit_identity and (
        policy == "refuse" or (policy == "local" and situation.requested_model != "cloud")
    )


def _money_obstacle(situation: Situation) -> Obstacle | None:
    estimate, limit = situation.cost_estimate_usd, situation.max_cost_usd
    if limit is not None and estimate > limit:
        return Obstacle(("budget:max_cost_usd",), _over_max_cost())
    day = situation.usd_per_day
    if day > 0 and (situation.spent_today_usd >= day or situation.spent_today_usd + estimate > day):
        return Obstacle(("budget:exhausted",), _budget_exhausted())
    return None


def cloud_unreachable(defer_helps: bool) -> Unavailable:
    """No provider answers, and the request may not, or cannot, be answered in another way."""
    hint = 'Try again later, or let it be queued: "edge": {"defer": "always"}.' if defer_helps else "Try again later."
    return Unavailable("No cloud provider can be reached.", code="cloud_unreachable", hint=hint, retry_after_s=30)


def not_in_cache() -> Unavailable:
    """The client takes a kept answer or none, and none is kept."""
    return Unavailable(
        "No answer to this is kept that may be given again.",
        code="not_in_cache",
        hint="Ask without only-if-cached in Cache-Control, or with a longer max-age.",
    )


def kept_by_rule(name: str) -> NotAllowed:
    """A rule of the user keeps the request on the device."""
    return NotAllowed(
        f"The routing rule {name!r} keeps this request on the device.",
        code="rule_keeps_local",
        hint='Ask for "model": "local", or change [[routing.rules]] in config.toml.',
        param="model",
    )


def refused_by_rule(name: str) -> NotAllowed:
    """A rule of the user refuses the request."""
    return NotAllowed(
        f"The routing rule {name!r} refuses this request.",
        code="rule_refuses",
        hint="Change [[routing.rules]] in config.toml if it should be answered.",
    )


def refused_by_intent(label: str) -> NotAllowed:
    """The user refuses requests of one of their own intents."""
    return NotAllowed(
        f"Requests of the intent {label!r} are refused on this device.",
        code="intent_refused",
        hint="Change the route of that intent, or remove it: edge-agent intents rm NAME",
    )


def never_leaves(kept: list[str]) -> NeverLeaves:
    """The policy keeps a type of what was found here."""
    return NeverLeaves(
        f"The request holds what must never leave this device: {', '.join(kept)}.",
        code="never_leaves",
        hint='Ask for "model": "local", take it out of the request, or change [privacy] never_leave in config.toml.',
        param="messages",
    )


def _implicit_identity(situation: Situation) -> NeverLeaves:
    """Shown where the device cannot answer, and where the policy is to refuse."""
    anyway = 'send it with "model": "cloud"' if situation.implicit_policy == "local" else 'ask for "model": "local"'
    return NeverLeaves(
        "The request describes somebody who can be recognised without a name, and masking does not hide that.",
        code="implicit_identity",
        hint=f"Describe nobody in particular, {anyway}, or change [privacy] implicit in config.toml. "
        "POST /edge/v1/explain shows which passages.",
        param="messages",
    )


def no_local_model() -> Problem:
    """There is none that could answer."""
    return Unavailable(
        "No local language model is installed.", code="no_local_model", hint="Run: edge-agent models pull --default"
    )


def _no_memory() -> Problem:
    return Unavailable(
        "The local model needs more memory than models may take.",
        code="no_memory",
        hint="Raise `models.ram_budget_mb`, or pull a smaller model: edge-agent models list",
    )


def _context_length_exceeded(limit: int) -> Problem:
    return InvalidRequest(
        f"The prompt is longer than the local model's context of {limit} tokens.",
        code="context_length_exceeded",
        hint='Shorten the prompt, or ask for "model": "cloud" with a provider configured.',
        param="messages",
    )


def _cloud_disabled() -> Problem:
    return NotAllowed(
        "Escalating to the cloud is switched off on this device.",
        code="cloud_disabled",
        hint='Ask for "model": "local", or set [routing] cloud = "auto" in config.toml.',
        param="model",
    )


def _cloud_not_configured() -> Problem:
    return Unavailable(
        "No cloud provider is configured on this device.",
        code="cloud_not_configured",
        hint='Ask for "model": "local", or add one to config.toml: [[bridge.providers]] with name, base_url and model.',
    )


def _over_max_cost() -> Problem:
    return NotAllowed(
        "Escalating may cost more than the request allows.",
        code="max_cost_exceeded",
        hint='Ask for "model": "local", or raise "max_cost_usd" in "edge".',
        param="edge.max_cost_usd",
    )


def _budget_exhausted() -> Problem:
    return NotAllowed(
        "The day's budget for the cloud is used up.",
        code="budget_exhausted",
        hint='Ask for "model": "local", wait for tomorrow, or raise [budget] usd_per_day in config.toml.',
    )
