"""The decision: a pure function of the situation, so the same inputs give the same decision, and a record replays.

    asked for a local model ──▶ local, or refused where it cannot
    asked for the cloud     ──▶ cloud, or refused where it may not
    auto                    ──▶ what the local model cannot do goes to the cloud, what may not leave stays;
                                tools are used by the cloud where it may be asked, else here;
                                then intent and difficulty against the threshold, and after generation, confidence
    the cloud, unreachable  ──▶ `defer` decides: refused, queued, or answered here for now

The order of the code is the order of the rules; each rule that decides leaves its reason.
"""

from __future__ import annotations

from dataclasses import replace

from cloud_bridge.protocol.problems import NotFound, Problem
from edge_agent.routing.obstacles import Obstacle, cloud_obstacle, cloud_unreachable, local_obstacle
from edge_agent.routing.routine import is_routine
from edge_agent.routing.situation import DEFAULT_THRESHOLD, Decision, Situation

__all__ = ["DEFAULT_THRESHOLD", "HOLD_TOKENS", "Decision", "Situation", "decide", "decide_after_local"]

HOLD_TOKENS = 24
"""How much of a local answer is judged before a word of it is shown: 0.2 s at 120 tokens a second, 1 s at 24."""

Reasons = tuple[str, ...]


def decide(situation: Situation) -> Decision:
    """Where the answer comes from. Total: what cannot be answered is a decision, too, with its problem."""
    requested = situation.requested_model
    if requested == "auto":
        return _automatic(situation, ("requested:auto",))
    if requested == "cloud":
        return _cloud_asked(situation, ("requested:cloud",))
    if requested == "local":
        return _local_asked(situation, situation.local_model, ("requested:local",))
    if requested in situation.known_local_models:
        return _local_asked(situation, requested, (f"requested:{requested}",))
    # What the client wrote is not repeated: it may be anything.
    return _refused(situation, ("requested:unknown_model",), _model_not_found())


def decide_after_local(decision: Decision, situation: Situation, confidence: float) -> Decision:
    """What to do with a local answer, or its first tokens, now that `confidence` in it is known.

    Keeps it, keeps it for now and queues the escalation, or drops it for the route of the new decision. An answer
    that the first decision made final (`stream_hold_tokens` 0) is kept as it was decided. `situation` must hold
    what privacy found; otherwise look, and call this again with the same `decision`, before anything is sent.
    """
    if decision.route != "local" or not decision.stream_hold_tokens:
        return decision
    threshold = situation.threshold
    enough = confidence >= threshold
    reasons = (*decision.reasons, _comparison("confidence", confidence, threshold))
    if enough:
        return replace(decision, reasons=reasons, stream_hold_tokens=0)
    closed = cloud_obstacle(situation)
    if closed is not None:
        return replace(decision, reasons=reasons + closed.reasons, stream_hold_tokens=0)
    return _to_cloud(situation, reasons, fallback=decision.model)


def _local_asked(situation: Situation, model: str | None, reasons: Reasons) -> Decision:
    cannot = local_obstacle(situation, model)
    if cannot is not None:
        return _refused(situation, reasons + cannot.reasons, cannot.problem)
    return Decision("local", reasons, situation.threshold, model=model)


def _cloud_asked(situation: Situation, reasons: Reasons) -> Decision:
    closed = cloud_obstacle(situation)
    if closed is not None:
        return _refused(situation, reasons + closed.reasons, closed.problem)
    cannot = local_obstacle(situation, situation.local_model)
    return _to_cloud(situation, reasons, fallback=None if cannot else situation.local_model)


def _automatic(situation: Situation, reasons: Reasons) -> Decision:
    model = situation.local_model
    cannot = local_obstacle(situation, model)
    closed = cloud_obstacle(situation)
    if cannot is not None:
        return _cloud_only(situation, reasons + cannot.reasons, cannot, closed)
    if closed is not None:
        return Decision("local", reasons + closed.reasons, situation.threshold, model=model)
    if situation.cloud_policy == "always":
        return _to_cloud(situation, (*reasons, "policy:cloud_always"), fallback=model)
    if situation.needs_tools:
        # A small model writes valid calls and often the wrong ones, and nothing here measures that yet.
        return _to_cloud(situation, (*reasons, "tools:cloud_preferred"), fallback=model)
    return _judged(situation, reasons)


def _cloud_only(situation: Situation, reasons: Reasons, cannot: Obstacle, closed: Obstacle | None) -> Decision:
    """The local model cannot; where the cloud may not either, name what this request can change."""
    if closed is None:
        return _to_cloud(situation, reasons, fallback=None)
    return _refused(situation, reasons + closed.reasons, cannot.problem if closed.lasting else closed.problem)


def _judged(situation: Situation, reasons: Reasons) -> Decision:
    """Here or there by how likely a local answer is to be good enough, before there is one."""
    intent, chance, threshold = situation.intent, situation.p_local_right, situation.threshold
    if not situation.calibrated:
        reasons += ("uncalibrated",)
    if intent is not None:
        reasons += ("intent:out_of_scope" if intent.out_of_scope else f"intent:{intent.label}",)
    hold = HOLD_TOKENS
    if intent is not None and is_routine(intent):
        # A floor under the chance, not a verdict: a threshold above it still counts.
        chance = max(chance or 0.0, intent.confidence)
        reasons += ("routine",)
        # Until it is calibrated, confidence in the wording says too little to overrule a clear intent.
        hold = HOLD_TOKENS if situation.calibrated else 0
    why = "difficulty:unknown" if chance is None else _comparison("difficulty", chance, threshold)
    if chance is None or chance >= threshold:
        return Decision("local", (*reasons, why), threshold, stream_hold_tokens=hold, model=situation.local_model)
    return _to_cloud(situation, (*reasons, why), fallback=situation.local_model)


def _to_cloud(situation: Situation, reasons: Reasons, *, fallback: str | None) -> Decision:
    """The cloud, or where it is unreachable, what `defer` allows. `fallback`: the local model that could answer."""
    threshold = situation.threshold
    if situation.cloud_available:
        return Decision("cloud", reasons, threshold)
    reasons += ("cloud:unreachable", f"defer:{situation.defer}")
    if situation.defer == "always":
        return Decision("queued", reasons, threshold, queue=True)
    if situation.defer == "never" or fallback is None:
        return _refused(situation, reasons, cloud_unreachable(defer_helps=situation.defer == "allow"))
    return Decision("local", reasons, threshold, model=fallback, queue=True, provisional=True)


def _refused(situation: Situation, reasons: Reasons, problem: Problem) -> Decision:
    return Decision("refused", reasons, situation.threshold, problem=problem)


def _comparison(name: str, value: float, threshold: float) -> str:
    return f"{name}:{value:.2f}{'>=' if value >= threshold else '<'}{threshold:.2f}"


def _model_not_found() -> Problem:
    return NotFound(
        "There is no language model of that name here.",
        code="model_not_found",
        hint='Use "auto", "local", "cloud", the id of a language model, or BASE+ADAPTER: edge-agent models list',
        param="model",
    )
