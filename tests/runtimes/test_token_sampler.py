from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.runtimes.engine.sampling import SamplerSettings
from edge_agent.runtimes.engine.token_sampler import TokenSampler, likeliest

THROWS = 4000
LOGITS = st.lists(st.floats(-40, 40, width=32), min_size=1, max_size=50)


def sampler(seed: int = 1, **settings: object) -> TokenSampler:
    plain = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, **settings}
    return TokenSampler(SamplerSettings(**plain), seed)


def shares(found: TokenSampler, logits: list[float], rules: object = None) -> dict[int, float]:
    """How often each token is chosen."""
    thrown = Counter(found.choose(np.array(logits, np.float32), rules) for _ in range(THROWS))
    return {token: times / THROWS for token, times in thrown.items()}


class Only:
    """Rules that allow some tokens."""

    def __init__(self, *tokens: int) -> None:
        self._tokens = tokens

    def allows(self, token: int) -> bool:
        return token in self._tokens

    def mask(self, logits: np.ndarray) -> None:
        kept = logits[list(self._tokens)].copy()
        logits[:] = -np.inf
        logits[list(self._tokens)] = kept


HALVES = [math.log(share) for share in (0.5, 0.25, 0.125, 0.125)]


def test_tokens_come_as_often_as_the_model_says():
    found = shares(sampler(), HALVES)
    assert [found[token] for token in range(4)] == pytest.approx([0.5, 0.25, 0.125, 0.125], abs=0.03)


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({"top_k": 2}, [2 / 3, 1 / 3]),
        ({"top_p": 0.6}, [2 / 3, 1 / 3]),
        ({"top_p": 0.5}, [1.0]),
        ({"top_p": 0.0}, [1.0]),
        ({"min_p": 0.4}, [2 / 3, 1 / 3]),
        ({"min_p": 1.0}, [1.0]),
        ({"temperature": 0.0}, [1.0]),
        ({"temperature": 0.5}, [16 / 22, 4 / 22, 1 / 22, 1 / 22]),
        ({"top_k": 3, "top_p": 0.7}, [2 / 3, 1 / 3]),
    ],
)
def test_each_setting_leaves_what_it_says(settings, left):
    found = shares(sampler(**settings), HALVES)
    assert sorted(found) == list(range(len(left)))
    assert [found[token] for token in range(len(left))] == pytest.approx(left, abs=0.03)


def test_what_is_allowed_keeps_its_proportions():
    found = shares(sampler(), HALVES, Only(1, 2))
    assert found == pytest.approx({1: 2 / 3, 2: 1 / 3}, abs=0.03)


def test_the_likeliest_allowed_token_is_taken_however_unlikely_it_is():
    logits = np.array([90.0, 80.0, -80.0, -90.0], np.float32)
    assert sampler(temperature=0.0).choose(logits.copy(), Only(2, 3)) == 2
    assert sampler(top_k=1).choose(logits.copy(), Only(2, 3)) == 2


def test_penalties_count_what_was_said_in_this_answer():
    found = sampler(temperature=0.0, frequency_penalty=1.0, presence_penalty=0.5)
    logits = [2.0, 1.0, 0.0]
    chosen = []
    for _ in range(4):
        token = found.choose(np.array(logits, np.float32), None)
        found.accept(token)
        chosen.append(token)
    # 2.0 falls to 0.5, then 1.0 to -0.5, then 0.5 to -0.5: what is left untouched wins.
    assert chosen == [0, 1, 0, 2]


def test_one_seed_throws_the_same_dice():
    one, same, other = ([sampler(seed).choose(np.zeros(1000, np.float32), None)] for seed in (5, 5, 6))
    assert one == same != other


@given(LOGITS, st.integers(1, 60))
def test_the_likeliest_are_those_that_sorting_would_find(logits, most):
    values = np.array(logits, np.float32)
    found = likeliest(values, most, 30.0)
    wanted = sorted(range(len(values)), key=lambda token: (-values[token], token))[:most]
    assert list(found) == wanted[: len(found)]
    assert all(values[token] < values[wanted[0]] - 30 for token in wanted[len(found) :])
