"""A clock that is surely wrong is told; one that is a little behind its own records is not."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cloud_bridge.protocol.problems import InvalidRequest, Unavailable
from edge_agent.state import ulid
from edge_agent.state.clock import BORNE_S, EARLIEST_S
from edge_agent.state.event import Event
from edge_agent.state.hlc import LATEST_MS, MAX_MS, Stamp
from edge_agent.state.state import State
from edge_agent.state.times import midnight

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


def test_another_devices_clock_is_no_measure_of_this_ones(state: State) -> None:
    heard(state, years=50)
    state.check_clock()
    assert ulid.stamp_of(state.append("hello", "s", {}).id).ms > (time.time() + 49 * 365 * DAY_S) * 1000
    state.check_clock()  # though its own ids are later than that from now on


def test_nor_does_it_hide_that_this_one_is_behind(state: State, open_at: Any) -> None:
    open_at(now=lambda: time.time() + 10 * DAY_S).append("later", "s", {})
    heard(state, years=50)
    for _ in range(2):  # looked through once, remembered the second time
        with pytest.raises(Unavailable, match="10 days"):
            state.check_clock()
    open_at(now=lambda: time.time() + 20 * DAY_S).append("later", "s", {})
    with pytest.raises(Unavailable, match="20 days"):
        state.check_clock()


def test_an_id_that_no_device_makes_is_refused_and_leaves_room_for_this_ones(state: State) -> None:
    with pytest.raises(InvalidRequest) as caught:
        state.log.observe(ulid.encode(Stamp(MAX_MS, 65_535), 0))
    assert caught.value.code == "bad_id"
    assert "sync remove" in caught.value.hint
    assert ulid.stamp_of(state.new_id()).ms < LATEST_MS


@pytest.mark.parametrize("now", [-1e12, 0.0, 4e9, 253402300799.0, 1e12])
def test_a_state_lives_on_under_any_clock_and_with_the_right_one_afterwards(
    open_at: Any, talk: Any, report: Any, now: float
) -> None:
    first = open_at().append("before", "s", {}).id
    with_wrong = open_at(now=lambda: now)
    request = with_wrong.accept_request("s", talk("hi"))
    with_wrong.finish_request(request, "hello", report(cost_usd=1.0))
    assert with_wrong.spent_since(midnight(now)) == 1.0
    assert with_wrong.sessions()[0].to_json()["id"] == "s"
    right = open_at()
    later = right.append("after", "s", {}).id
    assert first < request < later
    assert right.session("s").turns[0].answers[0].text == "hello"
    right.check()
    right.rebuild()


def test_a_budgets_day_begins_at_midnight_in_any_year() -> None:
    noon = 1_800_014_400.0
    assert midnight(noon) == noon - DAY_S / 2
    assert midnight(noon + 1e15) <= noon + 1e15 < midnight(noon + 1e15) + DAY_S
    assert midnight(-5.0) == -DAY_S


def heard(state: State, *, years: float) -> None:
    """Another device of the same person says something by its own clock."""
    at_ms = int((time.time() + years * 365 * DAY_S) * 1000)
    event_id = ulid.encode(Stamp(at_ms, 0), 7)
    with state.log.transaction() as tx:
        state.log.observe(event_id)
        tx.insert(Event(event_id, "ANOTHER", 1, at_ms, "s", None, "note.said", {}, None), b"{}", sealed=True)
