"""Arbitrary situations, for properties that hold in all of them."""

from __future__ import annotations

from hypothesis import strategies as st

from cloud_bridge.protocol.problems import Broken, InvalidRequest
from cloud_bridge.protocol.report import Intent
from edge_agent.routing.candidates import Candidate
from edge_agent.routing.parameters import Parameters
from edge_agent.routing.rules import Rule
from edge_agent.routing.situation import Situation
from edge_agent.routing.weigh import Weights

TYPES = ("PERSON", "EMAIL_ADDRESS", "US_SSN", "IBAN_CODE")
MODELS = ("small", "large")

chances = st.floats(0, 1)
intents = st.builds(
    Intent,
    label=st.sampled_from(["greeting", "freeze_account", "calculator", "maybe"]),
    confidence=chances,
    out_of_scope=st.booleans(),
)
privacy_problems = st.builds(
    Broken, st.just("The detector failed."), code=st.just("detector_failed"), hint=st.just("Look at doctor.")
)
cloud_refusals = st.builds(
    InvalidRequest,
    st.just("Nobody can be asked this."),
    code=st.just("unsupported_value"),
    hint=st.just("Leave it out."),
)
times = st.none() | st.floats(0, 60_000)
candidates = st.builds(
    Candidate,
    model=st.sampled_from(MODELS),
    runtime=st.sampled_from(["gguf", "onnx"]),
    context_length=st.none() | st.integers(1, 100),
    fits=st.booleans(),
    p_right=st.none() | chances,
    expected_ms=times,
    calibrated=st.booleans(),
    threshold=chances,
    hold_tokens=st.sampled_from([24, 1 << 30]),
    promise_broken=st.booleans(),
    queue_ms=st.floats(0, 60_000),
)
rules = st.builds(
    Rule,
    name=st.sampled_from(["one", "two"]),
    route=st.sampled_from(["local", "cloud", "refuse", "auto"]),
    entity_types=st.frozensets(st.sampled_from(TYPES), max_size=2),
)
situations = st.builds(
    Situation,
    requested_model=st.sampled_from(["auto", "auto", "local", "cloud", *MODELS, "gpt-9"]),
    known_local_models=st.just(frozenset(MODELS)),
    local_model=st.sampled_from([*MODELS, None]),
    local_available=st.booleans(),
    local_context_length=st.none() | st.integers(1, 100),
    prompt_tokens_estimate=st.integers(0, 200),
    needs_tools=st.booleans(),
    cloud_policy=st.sampled_from(["auto", "never", "always"]),
    cloud_configured=st.booleans(),
    cloud_available=st.booleans(),
    intent=st.none() | intents,
    p_local_right=st.none() | chances,
    entity_types=st.frozensets(st.sampled_from(TYPES)),
    never_leave=st.frozensets(st.sampled_from(TYPES)),
    implicit_identity=st.booleans(),
    implicit_policy=st.sampled_from(["warn", "local", "refuse"]),
    privacy_problem=st.none() | privacy_problems,
    cloud_refusal=st.none() | cloud_refusals,
    defer=st.sampled_from(["never", "allow", "always"]),
    calibrated=st.booleans(),
    threshold=chances,
    hold_tokens=st.sampled_from([24, 1 << 30]),
    worth_trying=chances,
    max_cost_usd=st.none() | st.floats(0, 1),
    cost_estimate_usd=st.floats(0, 1),
    spent_today_usd=st.floats(0, 2),
    usd_per_day=st.floats(0, 2),
    candidates=st.lists(candidates, max_size=2, unique_by=lambda each: each.model).map(tuple),
    kept_by=st.sampled_from([None, None, "invoice"]),
    own_task=st.none() | st.just("sentiment"),
    own_route=st.sampled_from(["auto", "auto", "local", "local_task", "cloud", "tool", "refuse"]),
    rules=st.lists(rules, max_size=2).map(tuple),
    weights=st.builds(Weights, privacy=chances, cost=chances, latency=chances),
    privacy_risk=chances,
    low_battery=st.booleans(),
    deadline_ms=times,
    cloud_ms=times,
    cached=st.sampled_from([None, None, "cache:exact", "cache:offline"]),
    revisable=st.booleans(),
    parameters=st.builds(Parameters, temperature=st.none() | chances, samples=st.integers(1, 3)),
    promise_broken=st.booleans(),
    cached_only=st.sampled_from([False, False, False, True]),
)
