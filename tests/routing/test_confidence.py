"""Confidence from log-probabilities: its formula, its bounds, and that it never falls for a likelier token."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.protocol.events import TokenLogprob
from edge_agent.routing.confidence import WINDOW, from_logprobs

logprobs = st.lists(st.floats(max_value=0) | st.just(math.nan), min_size=1, max_size=60)


def tokens(values: list[float]) -> list[TokenLogprob]:
    return [TokenLogprob("x", value) for value in values]


def test_nothing_written_is_no_confidence() -> None:
    assert from_logprobs([]) == 0


@pytest.mark.parametrize("chance", [1.0, 0.5, 0.1])
def test_equal_tokens_give_their_own_probability(chance: float) -> None:
    assert from_logprobs(tokens([math.log(chance)] * 30)) == pytest.approx(chance)


def test_one_weak_passage_in_a_sure_answer_shows() -> None:
    sure, weak = math.log(0.99), math.log(0.3)
    answer = [sure] * 100 + [weak] * WINDOW + [sure] * 100
    mean = (200 * sure + WINDOW * weak) / (200 + WINDOW)
    assert from_logprobs(tokens(answer)) == pytest.approx(math.sqrt(math.exp(mean) * 0.3))


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=60))
def test_it_is_a_share_whatever_a_runtime_reports(values: list[float]) -> None:
    assert 0 <= from_logprobs(tokens(values)) <= 1


@given(logprobs, st.data())
def test_a_likelier_token_never_lowers_it(values: list[float], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(values) - 1))
    raised = list(values)
    raised[place] = data.draw(st.floats(min_value=-30, max_value=0))
    before = values[place] if not math.isnan(values[place]) else -math.inf
    if raised[place] >= before:
        assert from_logprobs(tokens(raised)) >= from_logprobs(tokens(values)) - 1e-12
