"""The decision: a pure function of the situation, so the same inputs give the same decision, and a record replays.

    asked for a local model ──▶ local, or refused where it cannot
    asked for the cloud     ──▶ cloud, or refused where it may not
    auto                    ──▶ the user's rules, then what was said of an intent of their own; what no local model
                                can do goes to the cloud, what may not leave stays; tools are used by the cloud where
                                it may be asked, else here; then the deadline, intent and difficulty against the bar,
                                and after generation, confidence against the threshold
    the cloud               ──▶ the cache, where it has answered the same before
    the cloud, unreachable  ──▶ `defer` decides: refused, queued, or answered here for now

The order of the code is the order of the rules; each rule that decides leaves its reason.
"""

from __future__ import annotations

from dataclasses import replace

from cloud_bridge.protocol.problems import NotFound, Problem
from edge_agent.routing import weigh
from edge_agent.routing.candidates import DEFAULT_THRESHOLD, HOLD_TOKENS, best_candidate
from edge_agent.routing.obstacles import (
    Obstacle,
    cloud_obstacle,
    cloud_unreachable,
    local_obstacle,
    matching_rule,
    not_in_cache,
    refused_by_intent,
    refused_by_rule,
)
from edge_agent.routing.routine import is_routine
from edge_agent.routing.rules import refuses_types
from edge_agent.routing.situation import Decision, Situation

__all__ = ["DEFAULT_THRESHOLD", "HOLD_TOKENS", "Decision", "Situation", "decide", "decide_after_local"]

CACHED_OFFLINE = "cache:offline"
"""Why an answer is given again that is too old for it, where nobody else can answer."""

Reasons = tuple[str, ...]


def decide(situation: Situation) -> Decision:
    """Where the answer comes from. Total: what cannot be answered is a decision, too, with its problem."""
    decision = _decided(situation)
    if not situation.cached_only or decision.route in {"cache", "refused"}:
        return decision
    return _kept_or_none(situation, decision.reasons)


def _decided(situation: Situation) -> Decision:
    requested = situation.requested_model
    reasons = (f"requested:{requested}",)
    if requested not in {"auto", "cloud", "local", *situation.known_local_models}:
        # What the client wrote is not repeated: it may be anything.
        return _refused(situation, ("requested:unknown_model",), _model_not_found())
    rule = matching_rule(situation)
    if rule is not None and rule.route == "refuse":
        return _refused(situation, (*reasons, f"rule:{rule.name}"), refused_by_rule(rule.name))
    failed = situation.privacy_problem
    if failed is not None and refuses_types(situation.rules):
        # Whether a type is there that the user refuses, nobody knows.
        return _refused(situation, (*reasons, f"privacy:failed:{failed.code}"), failed)
    if requested == "auto":
        return _automatic(situation, reasons)
    if requested == "cloud":
        return _cloud_asked(situation, reasons)
    return _local_asked(situation, situation.local_model if requested == "local" else requested, reasons)


def decide_after_local(decision: Decision, situation: Situation, confidence: float) -> Decision:
    """What to do with a local answer, or its first tokens, now that `confidence` in it is known.

    Keeps it, keeps it for now and queues the escalation, or drops it for the route of the new decision. An answer
    that the first decision made final (`stream_hold_tokens` 0) is kept as it was decided. `situation` must hold
    what privacy found; otherwise look, and call this again with the same `decision`, before anything is sent.
    """
    if decision.route != "local" or not decision.stream_hold_tokens:
        return decision
    threshold = decision.threshold
    enough = confidence >= threshold
    reasons = (*decision.reasons, _comparison("confidence", confidence, threshold))
    if enough:
        return replace(decision, reasons=reasons, stream_hold_tokens=0)
    closed = cloud_obstacle(situation)
    if closed is not None:
        return replace(decision, reasons=reasons + closed.reasons, stream_hold_tokens=0)
    return replace(_to_cloud(situation, reasons, fallback=decision.model), threshold=threshold)


def _local_asked(situation: Situation, model: str | None, reasons: Reasons) -> Decision:
    cannot = local_obstacle(situation, model)
    if cannot is not None:
        return _refused(situation, reasons + cannot.reasons, cannot.problem)
    return _here(situation, reasons, model)


def _cloud_asked(situation: Situation, reasons: Reasons) -> Decision:
    closed = cloud_obstacle(situation)
    if closed is not None:
        return _refused(situation, reasons + closed.reasons, closed.problem)
    cannot = local_obstacle(situation, situation.local_model)
    return _to_cloud(situation, reasons, fallback=None if cannot else situation.local_model)


def _automatic(situation: Situation, reasons: Reasons) -> Decision:
    situation = _with_best_model(situation)
    model = situation.local_model
    route, why, is_rule = _users_route(situation)
    reasons += why
    if route == "refuse":
        return _refused(situation, reasons, refused_by_intent(situation.intent.label if situation.intent else ""))
    cannot = local_obstacle(situation, model)
    if route in {"local", "local_task"} and not is_rule:
        # Said of this very intent: it stays here, and where it cannot, it is not sent instead.
        if route == "local_task" and situation.own_task is not None:
            # What a task is done with, the task knows: mostly no language model.
            return Decision("local", reasons, situation.threshold, model=model or "", task=situation.own_task)
        return _local_asked(situation, model, reasons)
    closed = cloud_obstacle(situation)
    if cannot is not None:
        return _cloud_only(situation, reasons + cannot.reasons, cannot, closed)
    if closed is not None:
        # The rule that keeps it here is told once.
        more = () if is_rule and closed.reasons == why else closed.reasons
        return _here(situation, reasons + more, model)
    if route == "cloud":
        return _to_cloud(situation, reasons, fallback=model)
    if situation.cloud_policy == "always":
        return _to_cloud(situation, (*reasons, "policy:cloud_always"), fallback=model)
    if situation.needs_tools or route == "tool":
        # A small model writes valid calls and often the wrong ones, and nothing here measures that yet.
        return _to_cloud(situation, (*reasons, "tools:cloud_preferred"), fallback=model)
    return _in_time(situation, reasons) or _judged(situation, reasons)


def _with_best_model(situation: Situation) -> Situation:
    """The same situation with the candidate that suits it as the local model; without candidates as it is."""
    best = best_candidate(
        situation.candidates,
        prompt_tokens=situation.prompt_tokens_estimate,
        enough=situation.worth_trying,
        deadline_ms=situation.deadline_ms,
    )
    if best is None:
        return situation
    return replace(
        situation,
        local_model=best.model,
        local_context_length=best.context_length,
        p_local_right=best.p_right if best.p_right is not None else situation.p_local_right,
        calibrated=best.calibrated,
        threshold=best.threshold,
        hold_tokens=best.hold_tokens,
        promise_broken=best.promise_broken,
    )


def _users_route(situation: Situation) -> tuple[str, Reasons, bool]:
    """What the user's rules, or else their own intents, say; "auto" where they leave it open; whether by a rule."""
    rule = matching_rule(situation)
    if rule is not None and rule.route != "auto":
        return rule.route, (f"rule:{rule.name}",), True
    if situation.kept_by is not None and situation.own_route not in {"refuse", "local", "local_task"}:
        return "local", (f"intent:{situation.kept_by}", "intent_route:local"), False
    intent = situation.intent
    if situation.own_route != "auto" and intent is not None and not intent.out_of_scope:
        return situation.own_route, (f"intent:{intent.label}", f"intent_route:{situation.own_route}"), False
    return "auto", (), False


def _cloud_only(situation: Situation, reasons: Reasons, cannot: Obstacle, closed: Obstacle | None) -> Decision:
    """The local model cannot; where the cloud may not either, name what this request can change."""
    if closed is None:
        return _to_cloud(situation, reasons, fallback=None)
    return _refused(situation, reasons + closed.reasons, cannot.problem if closed.lasting else closed.problem)


def _in_time(situation: Situation, reasons: Reasons) -> Decision | None:
    """The cloud, where it alone keeps the deadline; None where that is not so, or not known."""
    deadline, here, there = situation.deadline_ms, _local_ms(situation), situation.cloud_ms
    if deadline is None or here is None or there is None:
        return None
    if here > deadline >= there and situation.cloud_available:
        # Told apart: a queue is gone in a minute, a slow model stays slow.
        alone = _local_ms(situation, queued=False)
        why = "deadline:local_queue" if alone is not None and alone <= deadline else "deadline:local_too_slow"
        return _to_cloud(situation, (*reasons, why), fallback=situation.local_model)
    return None


def _leaves_no_time(situation: Situation) -> bool:
    """Whether a weak local answer could not be replaced in time."""
    deadline, here, there = situation.deadline_ms, _local_ms(situation), situation.cloud_ms
    return deadline is not None and here is not None and there is not None and here <= deadline < here + there


def _judged(situation: Situation, reasons: Reasons) -> Decision:
    """Here or there by how likely a local answer is to be good enough, before there is one."""
    intent, chance = situation.intent, situation.p_local_right
    if situation.promise_broken:
        reasons += ("promise:broken",)
    if not situation.calibrated:
        reasons += ("uncalibrated",)
    if intent is not None:
        reasons += ("intent:out_of_scope" if intent.out_of_scope else f"intent:{intent.label}",)
    hold = situation.hold_tokens
    if intent is not None and all(map(is_routine, intent.every)):
        # A floor under the chance, not a verdict: a bar above it still counts.
        chance = max(chance or 0.0, intent.confidence)
        reasons += ("routine",)
        # Until it is calibrated, confidence in the wording says too little to overrule a clear intent.
        hold = hold if situation.calibrated else 0
    if _leaves_no_time(situation):
        reasons += ("deadline:no_time_to_escalate",)
        hold = 0  # there is nothing to hold it back for
    bar = _bar(situation)
    reasons += bar.reasons
    why = "difficulty:unknown" if chance is None else _comparison("difficulty", chance, bar.value)
    if chance is None or chance >= bar.value:
        return _here(situation, (*reasons, why), situation.local_model, hold=hold)
    return _to_cloud(situation, (*reasons, why), fallback=situation.local_model)


def _bar(situation: Situation) -> weigh.Bar:
    return weigh.bar(
        situation.worth_trying,
        situation.weights,
        risk=situation.privacy_risk,
        cost_usd=situation.cost_estimate_usd,
        local_ms=_local_ms(situation),
        cloud_ms=situation.cloud_ms,
        low_battery=situation.low_battery,
    )


def _local_ms(situation: Situation, *, queued: bool = True) -> float | None:
    """Of the fastest model that could answer: by the chosen one's, a better chance could make a worse decision.

    `queued`: behind those who ask it already, as things are.
    """
    able = [each for each in situation.candidates if each.fits and each.can_read(situation.prompt_tokens_estimate)]
    measured = [(each.expected_ms, each.queue_ms) for each in able if each.expected_ms is not None]
    return min((expected if queued else expected - queue for expected, queue in measured), default=None)


def _here(situation: Situation, reasons: Reasons, model: str | None, *, hold: int = 0) -> Decision:
    """Answered here; `hold`: judged by that many tokens, or when it is whole where the client takes it back."""
    return Decision(
        "local",
        reasons,
        situation.threshold,
        stream_hold_tokens=hold,
        model=model,
        revisable=bool(hold) and situation.revisable,
        parameters=situation.parameters,
    )


def _to_cloud(situation: Situation, reasons: Reasons, *, fallback: str | None) -> Decision:
    """The cloud, or where it is unreachable, what `defer` allows. `fallback`: the local model that could answer."""
    threshold = situation.threshold
    cached = situation.cached
    if cached is not None and cached != CACHED_OFFLINE:
        return Decision("cache", (*reasons, cached), threshold)
    if situation.cloud_available:
        return Decision("cloud", reasons, threshold)
    reasons += ("cloud:unreachable", f"defer:{situation.defer}")
    if situation.defer == "always":
        return Decision("queued", reasons, threshold, queue=True)
    if situation.defer == "never" or fallback is None:
        if cached is not None:
            return Decision("cache", (*reasons, cached), threshold)
        return _refused(situation, reasons, cloud_unreachable(defer_helps=situation.defer == "allow"))
    return replace(_here(situation, reasons, fallback), queue=True, provisional=True)


def _kept_or_none(situation: Situation, reasons: Reasons) -> Decision:
    """For a client that has nobody asked, here or there (RFC 9111, 5.2.1.7)."""
    reasons += ("cache:only",)
    asks_anyone = situation.requested_model in {"auto", "cloud"}
    if situation.cached is not None and asks_anyone and cloud_obstacle(situation) is None:
        return Decision("cache", (*reasons, situation.cached), situation.threshold)
    return _refused(situation, reasons, not_in_cache())


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
