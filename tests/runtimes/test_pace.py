from __future__ import annotations

import pytest

from edge_agent.runtimes.decoders.decoder import STEP_TOKENS
from edge_agent.runtimes.engine.pace import FIRST, LEAST, Pace


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def read(pace: Pace, clock: Clock, tokens: int, per_second: float) -> None:
    with pace.timing(tokens):
        clock.now += tokens / per_second


@pytest.mark.parametrize("per_second", [5, 40, 100, 700, 50_000])
def test_a_step_takes_at_most_a_second_and_a_half_where_its_bounds_allow(per_second):
    clock = Clock()
    pace = Pace(clock)
    assert pace.prompt_tokens(beside_answers=False) == FIRST
    for _ in range(8):
        read(pace, clock, pace.prompt_tokens(beside_answers=False), per_second)
    size = pace.prompt_tokens(beside_answers=False)
    assert LEAST <= size <= STEP_TOKENS
    if LEAST < size < STEP_TOKENS:
        assert 0.75 <= size / per_second <= 1.5
    assert pace.prompt_tokens(beside_answers=True) <= size


def test_a_few_tokens_say_nothing_of_the_speed_of_many():
    clock = Clock()
    pace = Pace(clock)
    read(pace, clock, 3, 10)
    assert pace.prompt_tokens(beside_answers=False) == FIRST
