"""A clock that is surely wrong is told; one that is a little behind its own records is not."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cloud_bridge.protocol.problems import Unavailable
from edge_agent.state.clock import BORNE_S, EARLIEST_S
from edge_agent.state.state import State

DAY_S = 86_400


def test_a_right_clock_passes(state: State) -> None:
    state.check_clock()
    state.append("hello", "s", {})
    state.check_clock()


@pytest.mark.parametrize(("ahead_s", "right"), [(BORNE_S - 60, True), (BORNE_S + 60, False), (400 * DAY_S, False)])
def test_a_clock_behind_its_own_records(state: State, open_at: Any, ahead_s: float, right: bool) -> None:
    open_at(now=lambda: time.time() + ahead_s).append("later", "s", {})
    if right:
        state.check_clock()
        return
    with pytest.raises(Unavailable) as caught:
        state.check_clock()
    assert caught.value.code == "clock_wrong"
    assert "Set this device's clock" in caught.value.hint
    assert 'clock = "trusted"' in caught.value.hint


def test_what_is_recorded_meanwhile_does_not_hide_it(state: State, open_at: Any) -> None:
    open_at(now=lambda: time.time() + 10 * DAY_S).append("later", "s", {})
    state.append("now", "s", {})
    with pytest.raises(Unavailable, match="10 days"):
        state.check_clock()


def test_a_time_before_the_program_was_written(open_at: Any) -> None:
    with pytest.raises(Unavailable) as caught:
        open_at(now=lambda: EARLIEST_S - 1).check_clock()
    assert "trusted" not in caught.value.hint
