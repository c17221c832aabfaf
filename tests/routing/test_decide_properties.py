"""What holds for every decision, whatever the situation."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from situations import chances, situations

from cloud_bridge.protocol.problems import Problem
from edge_agent.routing import replay
from edge_agent.routing.decide import Decision, Situation, decide, decide_after_local
from edge_agent.routing.obstacles import cloud_obstacle, matching_rule

LEAVES = {"cloud", "queued"}


def leaves(decision: Decision) -> bool:
    return decision.route in LEAVES or decision.queue


def both(situation: Situation, confidence: float) -> list[Decision]:
    """Every decision that is made on the way of a request."""
    first = decide(situation)
    return [first, decide_after_local(first, situation, confidence)]


@given(situations, chances)
def test_nothing_leaves_that_must_not(situation: Situation, confidence: float) -> None:
    kept = (
        situation.entity_types & situation.never_leave
        or situation.cloud_policy == "never"
        or situation.privacy_problem is not None
        or situation.cloud_refusal is not None
        or not situation.cloud_configured
        or any(rule.route == "local" for rule in [matching_rule(situation)] if rule)
    )
    for decision in both(situation, confidence):
        assert not (kept and leaves(decision))


@given(situations, chances)
def test_who_is_described_without_a_name_leaves_only_where_the_policy_or_the_client_says_so(
    situation: Situation, confidence: float
) -> None:
    policy, asked_for = situation.implicit_policy, situation.requested_model == "cloud"
    for decision in both(situation, confidence):
        if situation.implicit_identity and leaves(decision):
            assert policy == "warn" or (policy == "local" and asked_for)


@given(situations, chances)
def test_a_warning_alone_changes_no_decision(situation: Situation, confidence: float) -> None:
    warned = replace(situation, implicit_policy="warn")
    for one, other in zip(
        both(replace(warned, implicit_identity=True), confidence),
        both(replace(warned, implicit_identity=False), confidence),
        strict=True,
    ):
        assert one.to_json() == other.to_json()


@given(situations, chances)
def test_nothing_is_escalated_beyond_the_budget(situation: Situation, confidence: float) -> None:
    over_limit = situation.max_cost_usd is not None and situation.cost_estimate_usd > situation.max_cost_usd
    over_day = 0 < situation.usd_per_day <= situation.spent_today_usd
    for decision in both(situation, confidence):
        assert not ((over_limit or over_day) and leaves(decision))


@given(situations, chances)
def test_an_unreachable_cloud_is_never_chosen(situation: Situation, confidence: float) -> None:
    for decision in both(situation.without_cloud(), confidence):
        assert decision.route != "cloud"
        assert not (situation.defer == "never" and decision.queue)


@given(situations, chances)
def test_a_local_model_is_never_chosen_for_what_it_cannot_do(situation: Situation, confidence: float) -> None:
    for decision in both(situation, confidence):
        if decision.route == "local" and decision.task is None:
            own = next((each for each in situation.candidates if each.model == decision.model), None)
            limit = own.context_length if own else situation.local_context_length
            assert situation.local_available
            assert own is None or own.fits
            assert limit is None or situation.prompt_tokens_estimate <= limit


@given(situations, chances)
def test_what_the_user_refuses_is_refused(situation: Situation, confidence: float) -> None:
    rule = matching_rule(situation)
    if rule is not None and rule.route == "refuse":
        assert {decision.route for decision in both(situation, confidence)} == {"refused"}


@given(situations, chances)
def test_the_cache_answers_only_what_the_cloud_would_have_been_asked(situation: Situation, confidence: float) -> None:
    """And then nothing leaves."""
    situation = replace(situation, cached_only=False)
    with_hit, without = replace(situation, cached="cache:exact"), replace(situation, cached=None)
    for hit, none in zip(both(with_hit, confidence), both(without, confidence), strict=True):
        assert not leaves(hit)
        assert (hit.route == "cache") == (leaves(none) or "cloud:unreachable" in none.reasons)


@given(situations)
def test_who_takes_a_kept_answer_or_none_has_nobody_asked(situation: Situation) -> None:
    decision = decide(replace(situation, cached_only=True))
    assert decision.route in {"cache", "refused"}
    if decision.route == "cache":
        assert decision.reasons[-1] == situation.cached
        assert cloud_obstacle(situation) is None
    if decision.problem is not None and decision.problem.code == "not_in_cache":
        assert decide(replace(situation, cached_only=False)).route in {"local", "cloud", "queued"}


@given(situations, chances)
def test_weights_are_about_where_to_begin_and_never_about_which_answer_to_keep(
    situation: Situation, confidence: float
) -> None:
    first = decide(situation)
    after = decide_after_local(first, situation, confidence)
    if first.route == "local" and first.stream_hold_tokens and confidence < first.threshold:
        assert any(reason.startswith("confidence:") for reason in after.reasons)
        assert after == decide_after_local(first, replace(situation, privacy_risk=0.0, low_battery=False), confidence)


@given(situations, chances)
def test_what_was_asked_for_by_name_is_what_runs(situation: Situation, confidence: float) -> None:
    for decision in both(situation, confidence):
        if situation.requested_model in {"local", *situation.known_local_models}:
            assert decision.route in {"local", "refused"}
            assert not decision.queue
        if situation.requested_model in situation.known_local_models and decision.route == "local":
            assert decision.model == situation.requested_model


@given(situations, chances)
def test_every_decision_is_whole(situation: Situation, confidence: float) -> None:
    for decision in both(situation, confidence):
        assert decision.reasons
        assert all(decision.reasons)
        assert (decision.route == "refused") == isinstance(decision.problem, Problem)
        assert (decision.route == "local") == (decision.model is not None)
        assert decision.queue == (decision.route == "queued" or decision.provisional)
        if decision.problem is not None:
            assert decision.problem.code
            assert decision.problem.hint


@given(situations, chances)
def test_a_record_replays_to_the_same_decision(situation: Situation, confidence: float) -> None:
    first, after = both(situation, confidence)
    for steps, decision in (
        ([replay.Step(situation)], first),
        ([replay.Step(situation), replay.Step(situation, confidence)], after),
    ):
        assert replay.replay(json.loads(json.dumps(replay.record(steps, decision), allow_nan=False)))


@given(situations, chances)
def test_a_situation_is_read_back_as_it_was(situation: Situation, confidence: float) -> None:
    record = json.loads(json.dumps(situation.to_json(), allow_nan=False))
    replayed = Situation.from_json(record)
    assert replayed.to_json() == situation.to_json()
    for again, first in zip(both(replayed, confidence), both(situation, confidence), strict=True):
        assert json.dumps(again.to_json()) == json.dumps(first.to_json())


@given(situations, chances, chances)
def test_a_better_chance_never_moves_an_answer_away_from_the_device(
    situation: Situation, one: float, other: float
) -> None:
    low, high = sorted((one, other))

    def decided(chance: float) -> Decision:
        some = tuple(replace(each, p_right=chance) for each in situation.candidates[:1])
        return decide(replace(situation, p_local_right=chance, candidates=some + situation.candidates[1:]))

    if decided(low).route == "local":
        assert decided(high).route == "local"
        assert decided(high).provisional <= decided(low).provisional


@given(situations, chances, chances)
def test_more_confidence_never_drops_an_answer(situation: Situation, one: float, other: float) -> None:
    low, high = sorted((one, other))
    first = decide(situation)
    weak, strong = (decide_after_local(first, situation, confidence) for confidence in (low, high))
    if weak.route == "local":
        assert strong.route == "local"
        assert strong.provisional <= weak.provisional


@given(situations, chances)
def test_judging_an_answer_twice_changes_nothing(situation: Situation, confidence: float) -> None:
    after = decide_after_local(decide(situation), situation, confidence)
    assert decide_after_local(after, situation, confidence) is after


@given(situations, st.text(max_size=20))
def test_what_a_client_wrote_as_a_model_is_not_repeated(situation: Situation, name: str) -> None:
    decision = decide(replace(situation, requested_model=f"x-{name}"))
    assert decision.reasons == ("requested:unknown_model",)
    assert decision.problem is not None
    assert decision.problem.code == "model_not_found"
    assert "edge-agent models list" in decision.problem.hint
