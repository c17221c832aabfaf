"""The rules, one by one, as a user meets them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloud_bridge.protocol.problems import Broken, InvalidRequest, NeverLeaves, NotAllowed, Problem, Unavailable
from cloud_bridge.protocol.report import Intent
from edge_agent.routing.decide import HOLD_TOKENS, Decision, Situation, decide, decide_after_local
from edge_agent.routing.situation import Defer

GREETING = Intent("greeting", 0.98, out_of_scope=False)
OPEN = Situation(
    known_local_models=frozenset({"small", "large"}),
    local_model="small",
    local_context_length=8192,
    prompt_tokens_estimate=20,
    cloud_configured=True,
    cloud_available=True,
    intent=Intent("calculator", 0.4, out_of_scope=True),
    p_local_right=0.31,
    never_leave=frozenset({"US_SSN"}),
)
SECRET = frozenset({"US_SSN", "PERSON"})


def problem_of(decision: Decision, kind: type[Problem], code: str) -> Problem:
    assert decision.route == "refused"
    assert type(decision.problem) is kind
    assert decision.problem.code == code
    return decision.problem


def test_a_hard_request_goes_to_the_cloud_and_says_why() -> None:
    decision = decide(OPEN)
    assert decision.route == "cloud"
    assert decision.reasons == ("requested:auto", "uncalibrated", "intent:out_of_scope", "difficulty:0.31<0.50")


def test_an_easy_request_stays_and_is_judged_by_its_answer() -> None:
    decision = decide(replace(OPEN, p_local_right=0.8, calibrated=True))
    assert (decision.route, decision.model, decision.stream_hold_tokens) == ("local", "small", HOLD_TOKENS)
    assert decision.reasons[-1] == "difficulty:0.80>=0.50"
    assert "uncalibrated" not in decision.reasons


def test_a_routine_intent_stays_whatever_the_difficulty() -> None:
    decision = decide(replace(OPEN, intent=GREETING))
    assert decision.route == "local"
    assert decision.reasons == ("requested:auto", "uncalibrated", "intent:greeting", "routine", "difficulty:0.98>=0.50")
    assert decision.stream_hold_tokens == 0
    assert decide(replace(OPEN, intent=GREETING, calibrated=True)).stream_hold_tokens == HOLD_TOKENS


@pytest.mark.parametrize(
    "intent",
    [
        replace(GREETING, confidence=0.6),
        replace(GREETING, out_of_scope=True),
        Intent("calculator", 0.99, out_of_scope=False),
    ],
)
def test_an_unsure_or_demanding_intent_is_no_reason_to_stay(intent: Intent) -> None:
    assert decide(replace(OPEN, intent=intent)).route == "cloud"


def test_without_an_encoder_the_device_tries_first() -> None:
    decision = decide(replace(OPEN, intent=None, p_local_right=None))
    assert decision.route == "local"
    assert decision.reasons[-1] == "difficulty:unknown"
    assert decision.stream_hold_tokens


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cloud_policy": "never"}, "policy:cloud_never"),
        ({"entity_types": SECRET}, "privacy:never_leave:US_SSN"),
        ({"privacy_problem": Broken("It failed.", code="detector_failed")}, "privacy:failed:detector_failed"),
        ({"implicit_identity": True}, "privacy:implicit_identity"),
        ({"implicit_identity": True, "implicit_policy": "refuse"}, "privacy:implicit_identity"),
        ({"cloud_configured": False}, "cloud:not_configured"),
        ({"cloud_refusal": InvalidRequest("No.", code="unsupported_value")}, "cloud:refused:unsupported_value"),
        ({"usd_per_day": 1.0, "spent_today_usd": 1.0}, "budget:exhausted"),
        ({"usd_per_day": 1.0, "spent_today_usd": 0.9, "cost_estimate_usd": 0.2}, "budget:exhausted"),
        ({"max_cost_usd": 0.01, "cost_estimate_usd": 0.02}, "budget:max_cost_usd"),
    ],
)
def test_what_may_not_leave_is_answered_here_for_good(change: dict[str, object], reason: str) -> None:
    decision = decide(replace(OPEN, **change))  # type: ignore[arg-type]
    assert decision.route == "local"
    assert decision.reasons == ("requested:auto", reason)
    assert not decision.stream_hold_tokens
    assert not decision.queue


@pytest.mark.parametrize(
    ("change", "kind", "code", "hint"),
    [
        ({"cloud_policy": "never"}, NotAllowed, "cloud_disabled", "[routing] cloud"),
        ({"entity_types": SECRET}, NeverLeaves, "never_leaves", "never_leave"),
        (
            {"implicit_identity": True, "implicit_policy": "refuse"},
            NeverLeaves,
            "implicit_identity",
            "[privacy] implicit",
        ),
        ({"cloud_configured": False}, Unavailable, "cloud_not_configured", "[[bridge.providers]]"),
        ({"usd_per_day": 1.0, "spent_today_usd": 2.0}, NotAllowed, "budget_exhausted", "usd_per_day"),
        ({"max_cost_usd": 0.0, "cost_estimate_usd": 0.1}, NotAllowed, "max_cost_exceeded", "max_cost_usd"),
    ],
)
def test_the_cloud_asked_for_by_name_is_refused_where_it_may_not(
    change: dict[str, object], kind: type[Problem], code: str, hint: str
) -> None:
    situation = replace(OPEN, requested_model="cloud", **change)  # type: ignore[arg-type]
    assert hint in problem_of(decide(situation), kind, code).hint


def test_who_is_described_without_a_name_goes_to_the_cloud_that_was_asked_for_by_name() -> None:
    described = replace(OPEN, requested_model="cloud", implicit_identity=True)
    assert decide(described).route == "cloud"
    assert decide(replace(described, implicit_policy="warn")).route == "cloud"


def test_who_is_described_without_a_name_is_not_sent_because_nobody_here_can_answer() -> None:
    problem = problem_of(
        decide(replace(OPEN, local_model=None, implicit_identity=True)), NeverLeaves, "implicit_identity"
    )
    assert '"model": "cloud"' in problem.hint
    assert "/edge/v1/explain" in problem.hint


@pytest.mark.parametrize("defer", ["never", "allow", "always"])
def test_who_is_described_without_a_name_is_not_queued_either(defer: Defer) -> None:
    decision = decide(replace(OPEN, implicit_identity=True, defer=defer).without_cloud())
    assert (decision.route, decision.queue, decision.provisional) == ("local", False, False)


def test_only_the_types_that_must_not_leave_are_named() -> None:
    decision = decide(replace(OPEN, requested_model="cloud", entity_types=SECRET))
    assert decision.reasons == ("requested:cloud", "privacy:never_leave:US_SSN")
    assert "PERSON" not in str(decision.problem)


def test_where_nobody_can_be_asked_this_the_reason_is_told() -> None:
    refusal = InvalidRequest("One answer at a time.", code="unsupported_value", hint="Leave 'n' out.", param="n")
    assert decide(replace(OPEN, requested_model="cloud", cloud_refusal=refusal)).problem is refusal


def test_where_masking_failed_its_own_problem_is_raised() -> None:
    failure = Broken("It failed.", code="detector_failed", hint="Run: edge-agent doctor")
    assert decide(replace(OPEN, requested_model="cloud", privacy_problem=failure)).problem is failure


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"prompt_tokens_estimate": 9000}, "capability:context_length"),
        ({"local_model": None}, "capability:no_local_model"),
    ],
)
def test_what_the_local_model_cannot_do_goes_to_the_cloud(change: dict[str, object], reason: str) -> None:
    decision = decide(replace(OPEN, intent=GREETING, **change))  # type: ignore[arg-type]
    assert decision.route == "cloud"
    assert decision.reasons == ("requested:auto", reason)


@pytest.mark.parametrize("requested", ["local", "small", "auto"])
@pytest.mark.parametrize(
    ("change", "kind", "code"),
    [
        ({"prompt_tokens_estimate": 9000}, InvalidRequest, "context_length_exceeded"),
        ({"local_available": False}, Unavailable, "no_local_model"),
    ],
)
def test_without_a_cloud_what_the_local_model_cannot_do_is_a_clear_error(
    requested: str, change: dict[str, object], kind: type[Problem], code: str
) -> None:
    situation = replace(OPEN, requested_model=requested, cloud_configured=False, **change)  # type: ignore[arg-type]
    assert problem_of(decide(situation), kind, code).hint


def test_where_only_a_secret_closes_the_cloud_the_secret_is_the_error() -> None:
    problem_of(decide(replace(OPEN, prompt_tokens_estimate=9000, entity_types=SECRET)), NeverLeaves, "never_leaves")


def test_tools_are_used_by_the_cloud_where_it_may_be_asked_and_else_here() -> None:
    tools = replace(OPEN, intent=GREETING, needs_tools=True)
    assert decide(tools).route == "cloud"
    assert decide(tools).reasons == ("requested:auto", "tools:cloud_preferred")
    for asked in (
        replace(tools, requested_model="local"),
        replace(tools, cloud_configured=False),
        replace(tools, entity_types=SECRET),
        tools.without_cloud(),
    ):
        assert decide(asked).route == "local"


def test_a_local_model_asked_for_by_id_runs_and_is_final() -> None:
    decision = decide(replace(OPEN, requested_model="large", cloud_policy="always"))
    assert (decision.route, decision.model, decision.stream_hold_tokens) == ("local", "large", 0)
    assert decision.reasons == ("requested:large",)


def test_cloud_always_means_even_the_easy_ones() -> None:
    decision = decide(replace(OPEN, intent=GREETING, cloud_policy="always"))
    assert decision.route == "cloud"
    assert decision.reasons == ("requested:auto", "policy:cloud_always")


@pytest.mark.parametrize("requested", ["auto", "cloud"])
def test_offline_the_request_says_what_becomes_of_it(requested: str) -> None:
    offline = replace(OPEN, requested_model=requested).without_cloud()
    allow = decide(offline)
    assert (allow.route, allow.model, allow.provisional, allow.queue) == ("local", "small", True, True)
    assert allow.reasons[-2:] == ("cloud:unreachable", "defer:allow")
    always = decide(replace(offline, defer="always"))
    assert (always.route, always.provisional, always.queue) == ("queued", False, True)
    never = problem_of(decide(replace(offline, defer="never")), Unavailable, "cloud_unreachable")
    assert isinstance(never, Unavailable)
    assert never.retry_after_s


def test_offline_what_the_local_model_cannot_do_may_be_queued() -> None:
    offline = replace(OPEN, prompt_tokens_estimate=9000).without_cloud()
    assert '"defer": "always"' in problem_of(decide(offline), Unavailable, "cloud_unreachable").hint
    assert decide(replace(offline, defer="always")).route == "queued"


class TestAfterALocalAnswer:
    HERE = replace(OPEN, p_local_right=0.9)

    def after(self, confidence: float, **change: object) -> Decision:
        situation = replace(self.HERE, **change)  # type: ignore[arg-type]
        return decide_after_local(decide(self.HERE), situation, confidence)

    def test_a_sure_one_is_kept(self) -> None:
        kept = self.after(0.83)
        assert (kept.route, kept.model, kept.stream_hold_tokens) == ("local", "small", 0)
        assert kept.reasons[-1] == "confidence:0.83>=0.50"

    def test_a_weak_one_is_escalated(self) -> None:
        escalated = self.after(0.2)
        assert escalated.route == "cloud"
        assert escalated.reasons[-1] == "confidence:0.20<0.50"

    def test_a_weak_one_with_a_secret_is_kept(self) -> None:
        kept = self.after(0.2, entity_types=SECRET)
        assert kept.route == "local"
        assert not kept.queue
        assert kept.reasons[-2:] == ("confidence:0.20<0.50", "privacy:never_leave:US_SSN")

    def test_offline_a_weak_one_is_kept_for_now(self) -> None:
        kept = self.after(0.2, cloud_available=False)
        assert (kept.route, kept.model, kept.provisional, kept.queue) == ("local", "small", True, True)

    def test_offline_it_is_not_passed_off_as_good_enough(self) -> None:
        problem_of(self.after(0.2, cloud_available=False, defer="never"), Unavailable, "cloud_unreachable")
        assert self.after(0.2, cloud_available=False, defer="always").route == "queued"

    def test_a_final_one_is_left_alone(self) -> None:
        final = decide(replace(OPEN, requested_model="local"))
        assert decide_after_local(final, OPEN, 0.0) is final
