"""Which local model answers, how it is run, and what moves the bar for trying it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from situations import chances, times

from cloud_bridge.protocol.conversation import Conversation, Message, ResponseFormat, Sampling, Text
from cloud_bridge.protocol.report import Intent
from edge_agent.routing import weigh
from edge_agent.routing.candidates import Candidate, best_candidate
from edge_agent.routing.decide import Situation, decide, decide_after_local
from edge_agent.routing.parameters import Parameters, applied, parameters_for
from edge_agent.routing.replay import Step, record, replay
from edge_agent.routing.rules import Rule
from edge_agent.routing.weigh import Weights
from edge_agent.runtimes.resident import LoadedModel
from edge_agent.speeds import Speeds

SMALL = Candidate("small", context_length=2048, p_right=0.4, expected_ms=500)
LARGE = Candidate("large", context_length=8192, p_right=0.7, expected_ms=5000)
OPEN = Situation(
    known_local_models=frozenset({"small", "large"}),
    local_model="large",
    local_context_length=8192,
    cloud_configured=True,
    cloud_available=True,
    p_local_right=0.7,
    candidates=(LARGE, SMALL),
)


def best(*candidates: Candidate, tokens: int = 10, enough: float = 0.5, deadline: float | None = None) -> str | None:
    found = best_candidate(candidates, prompt_tokens=tokens, enough=enough, deadline_ms=deadline)
    return found and found.model


def test_the_fastest_that_is_good_enough_answers_and_else_the_best() -> None:
    assert best(LARGE, SMALL) == "large"
    assert best(LARGE, replace(SMALL, p_right=0.6)) == "small"
    assert best(LARGE, SMALL, enough=0.9) == "large"
    assert best(LARGE, replace(SMALL, p_right=0.6, expected_ms=None)) == "large"
    assert best(replace(LARGE, p_right=None), replace(SMALL, p_right=None)) == "large"


def test_what_cannot_read_the_prompt_or_does_not_fit_is_never_taken() -> None:
    assert best(LARGE, SMALL, tokens=4000, deadline=600) == "large"
    assert best(replace(LARGE, fits=False), SMALL) == "small"
    assert best(replace(LARGE, fits=False), SMALL, tokens=4000) is None
    decision = decide(replace(OPEN, candidates=(replace(LARGE, fits=False),), cloud_configured=False))
    assert decision.problem is not None
    assert decision.problem.code == "no_memory"


def test_whoever_keeps_the_deadline_answers() -> None:
    assert best(LARGE, SMALL, deadline=1000) == "small"
    late = replace(OPEN, candidates=(LARGE,), deadline_ms=2000.0, cloud_ms=900.0)
    assert decide(late).route == "cloud"
    assert decide(late).reasons[-1] == "deadline:local_too_slow"
    assert decide(replace(late, cloud_ms=9000.0)).route == "local"
    hurried = decide(replace(late, deadline_ms=5500.0))
    assert (hurried.route, hurried.stream_hold_tokens) == ("local", 0)
    assert "deadline:no_time_to_escalate" in hurried.reasons
    assert decide_after_local(hurried, late, 0.0) is hurried
    assert decide(replace(late, deadline_ms=5500.0, candidates=(replace(LARGE, p_right=0.1),))).route == "cloud"


def test_a_deadline_that_only_the_queue_breaks_goes_elsewhere_and_says_so() -> None:
    waiting = replace(LARGE, expected_ms=9000, queue_ms=4000)
    hurried = replace(OPEN, candidates=(waiting,), deadline_ms=6000.0, cloud_ms=900.0)
    decision = decide(hurried)
    assert (decision.route, decision.reasons[-1]) == ("cloud", "deadline:local_queue")
    assert replay(json.loads(json.dumps({"decision_id": "d", **record([Step(hurried)], decision)})))
    assert decide(replace(hurried, candidates=(replace(LARGE, expected_ms=5000),))).route == "local"
    assert decide(replace(hurried, candidates=(waiting, replace(SMALL, p_right=0.6)))).model == "small"
    assert decide(replace(hurried, deadline_ms=4000.0)).reasons[-1] == "deadline:local_too_slow"


@given(chances, st.floats(0, 1), st.floats(0, 10), times, times)
def test_the_bar_stays_near_the_threshold(
    threshold: float, risk: float, cost: float, local: float | None, cloud: float | None
) -> None:
    for low in (False, True):
        found = weigh.bar(
            threshold, Weights(), risk=risk, cost_usd=cost, local_ms=local, cloud_ms=cloud, low_battery=low
        )
        assert 0 <= found.value <= 1
        assert abs(found.value - threshold) <= weigh.MOST + 1e-9
    even = weigh.bar(threshold, Weights(0, 0, 0), risk=risk, cost_usd=cost, local_ms=local, cloud_ms=cloud)
    assert even == weigh.Bar(threshold)


@given(st.dictionaries(st.sampled_from(["PERSON", "CREDIT_CARD", "AGE"]), st.integers(0, 50)))
def test_more_that_would_leave_is_more_at_risk(entities: dict[str, int]) -> None:
    more = entities | {"PERSON": entities.get("PERSON", 0) + 1}
    assert 0 <= weigh.privacy_risk(entities) < weigh.privacy_risk(more) < 1


def test_a_text_full_of_people_is_rather_tried_here_and_says_so() -> None:
    hard = replace(OPEN, candidates=(), p_local_right=0.42)
    assert decide(hard).route == "cloud"
    full = decide(replace(hard, privacy_risk=0.9))
    assert full.route == "local"
    assert any(reason.startswith("weighed:privacy-") for reason in full.reasons)
    assert decide(replace(hard, privacy_risk=0.9, weights=Weights(privacy=0))).route == "cloud"


def test_a_rule_of_the_user_goes_before_what_was_learned() -> None:
    hard = replace(OPEN, candidates=(), p_local_right=0.1)
    kept = decide(replace(hard, rules=(Rule("night", "local"), Rule("later", "cloud"))))
    assert (kept.route, kept.reasons) == ("local", ("requested:auto", "rule:night"))
    refused = decide(replace(hard, rules=(Rule("never", "refuse"),)))
    assert refused.problem is not None
    assert refused.problem.code == "rule_refuses"
    easy = replace(hard, p_local_right=0.99, rules=(Rule("always", "cloud"),))
    assert decide(easy).reasons == ("requested:auto", "rule:always")
    assert decide(easy).route == "cloud"


def test_a_rule_never_opens_what_privacy_closes() -> None:
    secret = frozenset({"US_SSN"})
    situation = replace(OPEN, rules=(Rule("always", "cloud"),), entity_types=secret, never_leave=secret)
    assert decide(situation).route == "local"


def test_the_route_of_an_own_intent_is_followed_where_it_is_asked_for() -> None:
    own = replace(OPEN, intent=Intent("invoice", 0.9, out_of_scope=False), own_route="cloud")
    assert decide(own).reasons == ("requested:auto", "intent:invoice", "intent_route:cloud")
    assert decide(replace(own, intent=Intent("invoice", 0.2, out_of_scope=True))).route == "local"
    before = decide(replace(own, own_route="auto", kept_by="medical", p_local_right=0.1, candidates=()))
    assert (before.route, before.reasons[1:]) == ("local", ("intent:medical", "intent_route:local"))
    kept = replace(own, own_route="local", candidates=(), prompt_tokens_estimate=9000)
    assert decide(kept).problem is not None
    refused = decide(replace(own, own_route="refuse"))
    assert refused.problem is not None
    assert refused.problem.code == "intent_refused"


def test_what_the_cloud_answered_before_comes_from_the_cache_even_with_nobody_there() -> None:
    hard = replace(OPEN, candidates=(), p_local_right=0.1, cached="cache:exact")
    for situation in (hard, hard.without_cloud()):
        assert decide(situation).route == "cache"
        assert decide(situation).reasons[-1] == "cache:exact"
    old = replace(hard, cached="cache:offline")
    assert decide(old).route == "cloud"
    assert decide(old.without_cloud()).route == "local"
    assert decide(replace(old, defer="never").without_cloud()).route == "cache"


def asked(**sampling: object) -> Conversation:
    return Conversation((Message("user", (Text("Spam?"),)),), sampling=Sampling(**sampling))  # type: ignore[arg-type]


def test_short_answers_are_compared_with_samples_where_there_is_time() -> None:
    short = asked(max_tokens=4)
    assert parameters_for(short, exact=True, streams=False) == Parameters(0.0, 3)
    assert parameters_for(short, exact=True, streams=True).samples == 1
    assert parameters_for(short, exact=True, streams=False, low_battery=True).samples == 1
    assert parameters_for(short, exact=True, streams=False, deadline_ms=100, expected_ms=90).samples == 1
    assert parameters_for(asked(), exact=True, streams=False).samples == 1


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_what_the_client_set_is_never_changed(temperature: float) -> None:
    conversation = asked(temperature=temperature)
    assert applied(parameters_for(conversation, exact=True, streams=False), conversation) == conversation


def test_a_form_is_filled_in_without_chance() -> None:
    conversation = replace(asked(), response_format=ResponseFormat("json_object"))
    run = applied(parameters_for(conversation, exact=False, streams=True), conversation)
    assert run.sampling.temperature == 0.0
    assert parameters_for(asked(), exact=False, streams=True) == Parameters()


def test_speeds_follow_what_was_measured() -> None:
    speeds = Speeds()
    assert speeds.expected_ms("small", 20) is None
    speeds.note("small", took_ms=1000, tokens=10)
    assert speeds.expected_ms("small", 20) == pytest.approx(2000)
    for _ in range(30):
        speeds.note("small", took_ms=500, tokens=10)
    assert speeds.expected_ms("small", 20) == pytest.approx(1000, rel=0.01)
    speeds.note("other", took_ms=100, tokens=1)
    assert speeds.expected_ms("other", 20) is None


def at_work(name: str, running: int, *, seats: int = 4, ram_mb: int = 50) -> LoadedModel:
    return LoadedModel(name, ram_mb, 100, running, 0.0, None, seats=seats)


def test_who_waits_is_expected_later_by_what_answers_took_of_late() -> None:
    speeds = Speeds()

    def queue(*loaded: LoadedModel, ram_mb: int = 50) -> float:
        return speeds.queue_ms("small", loaded, ram_mb=ram_mb, ram_budget_mb=100)

    assert queue(at_work("small", 9)) == 0.0, "nobody measured it"
    speeds.note("small", took_ms=4000, tokens=100)
    speeds.note("large", took_ms=9000, tokens=100)
    assert queue() == queue(at_work("small", 3)) == 0.0
    assert queue(at_work("small", 4)) == pytest.approx(1000), "four seats, of which one is free each second"
    assert queue(at_work("small", 11)) == pytest.approx(8000)
    assert queue(at_work("large", 1, ram_mb=50)) == 0.0, "there is room beside it"
    assert queue(at_work("large", 0, ram_mb=60)) == 0.0, "it is idle and leaves"
    assert queue(at_work("large", 1, ram_mb=60)) == pytest.approx(9000)
    assert queue(at_work("large", 8, ram_mb=60)) == pytest.approx(18000)
