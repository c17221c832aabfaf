"""Which intents are routine: a device that is sure of one answers it itself, whatever the difficulty model thinks.

Difficulty was learned from examination questions, so it has nothing to say about small talk or "freeze my card".
"""

from __future__ import annotations

from cloud_bridge.protocol.report import Intent

ROUTINE_CONFIDENCE = 0.7
"""How sure the intent must be. Chosen, not measured; it holds while the device is uncalibrated and after."""

# A short text with one of these intents may still ask for knowledge, arithmetic or advice.
_ASKS_FOR_MORE = frozenset(
    {
        *("calculator", "measurement_conversion", "exchange_rate", "translate", "definition", "spelling"),
        *("taxes", "rollover_401k", "improve_credit_score", "international_visa", "vaccines", "travel_suggestion"),
        *("recipe", "ingredient_substitution", "nutrition_info", "calories", "fun_fact", "meaning_of_life"),
        *("oil_change_how", "jump_start", "tire_change", "what_song", "maybe", "yes", "no", "repeat"),
    }
)


def is_routine(intent: Intent | None) -> bool:
    """Whether `intent` alone is reason enough to answer here."""
    return (
        intent is not None
        and not intent.out_of_scope
        and intent.confidence >= ROUTINE_CONFIDENCE
        and intent.label not in _ASKS_FOR_MORE
    )
