"""What the settings say, as plain values that the rooms take."""

from __future__ import annotations

from cloud_bridge.protocol.residency import regions
from edge_agent.answer_cache import CacheRules
from edge_agent.consider import Policy
from edge_agent.escalate import Rules
from edge_agent.privacy.kinds import CUSTOM
from edge_agent.privacy.own_patterns import OwnPattern
from edge_agent.privacy.preferences import Preferences
from edge_agent.privacy.second_check import SecondCheck
from edge_agent.routing.rules import check_types
from edge_agent.routing.weigh import Weights
from edge_agent.settings import Privacy, Settings


def policy(settings: Settings, wanted: Preferences) -> Policy:
    """What is said of routing. Raises InvalidRequest where a rule names a type that nothing finds."""
    check_types(settings.routing.policy, wanted.types)
    first = settings.bridge.providers[0] if settings.bridge.providers else None
    return Policy(
        cloud=settings.routing.cloud,
        never_leave=frozenset(settings.privacy.never_leave),
        implicit=settings.privacy.implicit,
        residency=regions(settings.privacy.residency) or None,
        trusts_clock=settings.privacy.clock == "trusted",
        usd_per_day=settings.budget.usd_per_day,
        usd_per_mtok_in=first.usd_per_mtok_in if first else 0.0,
        usd_per_mtok_out=first.usd_per_mtok_out if first else 0.0,
        rules=settings.routing.policy,
        weights=Weights(**settings.routing.weights.model_dump()),
    )


def cache_rules(settings: Settings) -> CacheRules:
    """An answer of other providers, or of other models of theirs, is another answer."""
    cache, bridge = settings.cache, settings.bridge
    asked = (
        [bridge.url]
        if bridge.mode == "remote"
        else [f"{p.name} {p.kind} {p.base_url} {p.model} {p.region}" for p in bridge.providers]
    )
    return CacheRules(
        exact=cache.exact,
        scope=cache.scope,
        ttl_s=cache.ttl_s,
        max_entries=cache.max_entries,
        max_bytes=cache.max_mb << 20,
        semantic_threshold=cache.semantic_threshold,
        providers=(bridge.mode, *asked),
    )


def preferences(settings: Privacy) -> Preferences:
    """The user's say in what is masked. Raises InvalidRequest that names the key."""
    return Preferences.of(
        allow=settings.allow,
        deny=[(entry, CUSTOM) if isinstance(entry, str) else (entry.text, entry.type) for entry in settings.deny],
        thresholds=settings.thresholds,
        types=settings.types,
        not_masked=settings.not_masked,
        never_leave=settings.never_leave,
        patterns=[
            OwnPattern(own.type, own.pattern, f"recognizers.{index}", own.score, own.context, own.checksum)
            for index, own in enumerate(settings.recognizers)
        ],
    )


def escalation_rules(policy: Policy, settings: Settings, wanted: Preferences) -> Rules:
    """What is said of all that leaves."""
    return Rules(
        second_check=SecondCheck(wanted.wanted),
        never_leave=policy.never_leave,
        residency=policy.residency,
        timeout_s=settings.privacy.timeout_s,
        trusts_clock=policy.trusts_clock,
    )
