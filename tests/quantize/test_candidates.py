"""Which candidate is chosen, and which lie on the Pareto front: held against trying all of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.protocol.problems import InvalidRequest
from quantize.comparison.candidates import Candidate, Limits, best, front

AMOUNTS = st.integers(1, 9).map(float)
CANDIDATES = st.lists(
    st.builds(Candidate, type_name=st.just("x"), ram_mb=AMOUNTS, loss=AMOUNTS), min_size=1, max_size=9
)


@given(CANDIDATES, AMOUNTS, st.none() | AMOUNTS)
def test_within_a_memory_budget_nothing_loses_less(
    candidates: list[Candidate], ram_budget_mb: float, max_loss: float | None
) -> None:
    fitting = [one for one in candidates if one.ram_mb <= ram_budget_mb and (max_loss is None or one.loss <= max_loss)]
    if not fitting:
        with pytest.raises(InvalidRequest, match="No candidate keeps to the limits"):
            best(candidates, Limits(ram_budget_mb, max_loss))
        return
    chosen = best(candidates, Limits(ram_budget_mb, max_loss))
    assert chosen in fitting
    assert all((chosen.loss, chosen.ram_mb) <= (one.loss, one.ram_mb) for one in fitting)


@given(CANDIDATES, AMOUNTS)
def test_with_a_greatest_loss_alone_nothing_that_is_good_enough_is_smaller(
    candidates: list[Candidate], max_loss: float
) -> None:
    fitting = [one for one in candidates if one.loss <= max_loss]
    if fitting:
        chosen = best(candidates, Limits(max_loss=max_loss))
        assert chosen in fitting
        assert all(chosen.ram_mb <= one.ram_mb for one in fitting)


@given(CANDIDATES)
def test_the_front_holds_what_nothing_beats_and_nothing_else(candidates: list[Candidate]) -> None:
    def beats(one: Candidate, other: Candidate) -> bool:
        no_worse = one.ram_mb <= other.ram_mb and one.loss <= other.loss
        return no_worse and (one.ram_mb, one.loss) != (other.ram_mb, other.loss)

    unbeaten = {(one.ram_mb, one.loss) for one in candidates if not any(beats(other, one) for other in candidates)}
    assert {(one.ram_mb, one.loss) for one in front(candidates)} == unbeaten


@pytest.mark.parametrize("limits", [(0, None), (-1, None), (float("nan"), None), (None, float("inf"))])
def test_limits_that_mean_nothing_are_refused(limits: tuple[float | None, float | None]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Limits(*limits)
    assert refused.value.code == "bad_limit"
    assert refused.value.hint
