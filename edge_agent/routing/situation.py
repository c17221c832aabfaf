"""Everything that a decision may look at, and what it comes to. Both are data: recorded, and replayed later.

Who asks is not among it: there is no user, tenant or price tier to decide by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from cloud_bridge.protocol.problem_json import problem_from_json, problem_to_json
from cloud_bridge.protocol.problems import Problem
from cloud_bridge.protocol.report import Intent
from edge_agent.routing.candidates import DEFAULT_THRESHOLD, HOLD_TOKENS, Candidate
from edge_agent.routing.own_intents import OwnRoute
from edge_agent.routing.parameters import Parameters
from edge_agent.routing.rules import Facts, Rule
from edge_agent.routing.weigh import Weights

CloudPolicy = Literal["auto", "never", "always"]
Defer = Literal["never", "allow", "always"]
ImplicitPolicy = Literal["warn", "local", "refuse"]
DecidedRoute = Literal["local", "cloud", "cache", "queued", "refused"]

_NO_FACTS, _EVEN, _AS_ASKED = Facts(), Weights(), Parameters()


@dataclass(frozen=True, slots=True)
class Situation:
    """One request, the device and the policy, as they are at the moment of deciding.

    `known_local_models` may be asked for by id; `local_model` is the one that "auto" and "local" mean, None where
    none is installed. `local_context_length` is that of the model that would run, in tokens; None: not checked.
    `prompt_tokens_estimate` must not be too high, since a longer prompt is refused or escalated by it.
    `entity_types` are the types that privacy found; while it has not looked they are empty, so look before anything
    is sent and decide again. `implicit_identity`: the text describes somebody without naming them, which masking does
    not hide; `implicit_policy` says what follows from that. `privacy_problem`: looking failed, so nothing may leave.
    `cloud_refusal`: why no provider can be asked this, now or later. `p_local_right` is the chance that the local
    model's answer will be right, None where nobody estimated it. `worth_trying` is the chance from which one is
    begun, `threshold` the confidence from which it is kept, `hold_tokens` what has to be seen of it to know that;
    `calibrated`: these were measured on this device.
    Money is in US dollars; `usd_per_day` 0: no limit; `cost_estimate_usd`: what escalating this request may cost.
    `candidates` are the local models that "auto" may choose from, as the user prefers them; empty: `local_model` alone.
    `own_route`: what the user said of an intent of their own, `own_task` the routine task that answers it; `kept_by`:
    the one by which something said before, or in a long message, must stay here. `rules` are the user's policy, and
    `facts` what it asks for. `privacy_risk` is how much would leave, as of `weigh.privacy_risk`. `cached`: why an
    answer that the cloud gave before may be given again, None where there is none. `cloud_ms`: until the cloud's whole
    answer would be there, None where nobody measured it. `revisable`: the client takes back what it was shown.
    `parameters`: how a local model is to be run. `promise_broken`: the calibration was found wrong since, so
    `threshold` is the default again. `cached_only`: the client takes an answer that was given before, or none.
    """

    requested_model: str = "auto"
    known_local_models: frozenset[str] = frozenset()
    local_model: str | None = None
    local_available: bool = True
    local_context_length: int | None = None
    prompt_tokens_estimate: int = 0
    needs_tools: bool = False
    cloud_policy: CloudPolicy = "auto"
    cloud_configured: bool = False
    cloud_available: bool = False
    intent: Intent | None = None
    p_local_right: float | None = None
    entity_types: frozenset[str] = frozenset()
    never_leave: frozenset[str] = frozenset()
    implicit_identity: bool = False
    implicit_policy: ImplicitPolicy = "local"
    privacy_problem: Problem | None = None
    cloud_refusal: Problem | None = None
    defer: Defer = "allow"
    calibrated: bool = False
    threshold: float = DEFAULT_THRESHOLD
    hold_tokens: int = HOLD_TOKENS
    worth_trying: float = DEFAULT_THRESHOLD
    max_cost_usd: float | None = None
    cost_estimate_usd: float = 0.0
    spent_today_usd: float = 0.0
    usd_per_day: float = 0.0
    candidates: tuple[Candidate, ...] = ()
    own_route: OwnRoute = "auto"
    rules: tuple[Rule, ...] = ()
    own_task: str | None = None
    kept_by: str | None = None
    facts: Facts = _NO_FACTS
    weights: Weights = _EVEN
    privacy_risk: float = 0.0
    low_battery: bool = False
    deadline_ms: float | None = None
    cloud_ms: float | None = None
    cached: str | None = None
    revisable: bool = False
    parameters: Parameters = _AS_ASKED
    promise_broken: bool = False
    cached_only: bool = False

    def without_cloud(self) -> Situation:
        """The same situation after no provider answered."""
        return replace(self, cloud_available=False)

    def without_local(self, model: str) -> Situation:
        """The same situation after the local model `model` failed: another candidate may still answer."""
        left = tuple(each for each in self.candidates if each.model != model)
        next_best = left[0].model if left else self.local_model
        return replace(self, candidates=left, local_available=bool(left), local_model=next_best)

    def with_cloud_refusal(self, problem: Problem) -> Situation:
        """The same situation after it turned out that the cloud cannot be asked this."""
        return replace(self, cloud_refusal=problem)

    def to_json(self) -> dict[str, Any]:
        """An object that `from_json` reads back. Holds no text of the request."""
        values = {name: getattr(self, name) for name in _FIELDS}
        return values | {
            "known_local_models": sorted(self.known_local_models),
            "entity_types": sorted(self.entity_types),
            "never_leave": sorted(self.never_leave),
            "intent": None if self.intent is None else self.intent.to_json(),
            "candidates": [candidate.to_json() for candidate in self.candidates],
            "rules": [rule.to_json() for rule in self.rules],
            **{name: getattr(self, name).to_json() for name in _NESTED},
            "privacy_problem": None if self.privacy_problem is None else problem_to_json(self.privacy_problem),
            "cloud_refusal": None if self.cloud_refusal is None else problem_to_json(self.cloud_refusal),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Situation:
        """The inverse of `to_json`. A field that a later version added is ignored, one it lacks has its default."""
        values = {name: value for name, value in document.items() if name in _FIELDS}
        for name in ("known_local_models", "entity_types", "never_leave"):
            values[name] = frozenset(values.get(name, ()))
        if values.get("intent") is not None:
            values["intent"] = Intent.from_json(values["intent"])
        values["candidates"] = tuple(map(Candidate.from_json, values.get("candidates", ())))
        values["rules"] = tuple(map(Rule.from_json, values.get("rules", ())))
        values |= {name: kind.from_json(values[name]) for name, kind in _NESTED.items() if name in values}
        for name in ("privacy_problem", "cloud_refusal"):
            if values.get(name) is not None:
                values[name] = problem_from_json(values[name])
        return cls(**values)


_NESTED: Mapping[str, Any] = {"facts": Facts, "weights": Weights, "parameters": Parameters}
_FIELDS = frozenset(field.name for field in fields(Situation))


@dataclass(frozen=True, slots=True)
class Decision:
    """Where the answer comes from, and why: `reasons` are in the order in which they decided, and never empty.

    `model` is the local model to run, set exactly where the route is local. `stream_hold_tokens`: hold back that
    many tokens, or the whole answer if it is shorter, and ask `decide_after_local`; 0: the local answer is final.
    `queue`: the escalation goes into the outbox. `provisional`: it will revise the local answer that is given now.
    `revisable`: show the local answer as it comes, judge it when it is whole, and take it back if it is weak.
    `parameters` say how the local model is run; `task` is the routine task that it is asked for, if it is one.
    `problem` is set exactly where the route is refused.
    """

    route: DecidedRoute
    reasons: tuple[str, ...]
    threshold: float
    stream_hold_tokens: int = 0
    model: str | None = None
    queue: bool = False
    provisional: bool = False
    problem: Problem | None = None
    revisable: bool = False
    parameters: Parameters = _AS_ASKED
    task: str | None = None

    def to_json(self) -> dict[str, Any]:
        """For the record. Two decisions are the same where their JSON is."""
        return {
            "route": self.route,
            "reasons": list(self.reasons),
            "threshold": self.threshold,
            "stream_hold_tokens": self.stream_hold_tokens,
            "model": self.model,
            "queue": self.queue,
            "provisional": self.provisional,
            "problem": None if self.problem is None else problem_to_json(self.problem),
            "revisable": self.revisable,
            "parameters": self.parameters.to_json(),
            "task": self.task,
        }
