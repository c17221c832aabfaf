"""Everything that a decision may look at, and what it comes to. Both are data: recorded, and replayed later.

Who asks is not among it: there is no user, tenant or price tier to decide by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from cloud_bridge.protocol.problem_json import problem_from_json, problem_to_json
from cloud_bridge.protocol.problems import Problem
from cloud_bridge.protocol.report import Intent

CloudPolicy = Literal["auto", "never", "always"]
Defer = Literal["never", "allow", "always"]
ImplicitPolicy = Literal["warn", "local", "refuse"]
DecidedRoute = Literal["local", "cloud", "queued", "refused"]

DEFAULT_THRESHOLD = 0.5
"""What counts as good enough until `edge-agent calibrate` has measured it on this device."""


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
    model's answer will be right, None where nobody estimated it. `threshold` is the least chance that is good enough,
    before and after generation; `calibrated` says whether it was measured on this device.
    Money is in US dollars; `usd_per_day` 0: no limit; `cost_estimate_usd`: what escalating this request may cost.
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
    max_cost_usd: float | None = None
    cost_estimate_usd: float = 0.0
    spent_today_usd: float = 0.0
    usd_per_day: float = 0.0

    def without_cloud(self) -> Situation:
        """The same situation after no provider answered."""
        return replace(self, cloud_available=False)

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
            "intent": None if self.intent is None else asdict(self.intent),
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
            values["intent"] = Intent(**values["intent"])
        for name in ("privacy_problem", "cloud_refusal"):
            if values.get(name) is not None:
                values[name] = problem_from_json(values[name])
        return cls(**values)


_FIELDS = frozenset(field.name for field in fields(Situation))


@dataclass(frozen=True, slots=True)
class Decision:
    """Where the answer comes from, and why: `reasons` are in the order in which they decided, and never empty.

    `model` is the local model to run, set exactly where the route is local. `stream_hold_tokens`: hold back that
    many tokens, or the whole answer if it is shorter, and ask `decide_after_local`; 0: the local answer is final.
    `queue`: the escalation goes into the outbox. `provisional`: it will revise the local answer that is given now.
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
        }
