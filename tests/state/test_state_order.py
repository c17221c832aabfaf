"""Names and order: ULIDs and the hybrid clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.protocol.problems import InvalidRequest
from edge_agent.state import ulid
from edge_agent.state.hlc import LATEST_MS, MAX_MS, HybridClock, Stamp

stamps = st.builds(Stamp, st.integers(0, MAX_MS), st.integers(0, (1 << 16) - 1))
randoms = st.integers(0, (1 << 64) - 1)


@given(stamps, randoms, stamps, randoms)
def test_ids_sort_as_their_stamps(first: Stamp, first_random: int, second: Stamp, second_random: int) -> None:
    if first != second:
        assert (ulid.encode(first, first_random) < ulid.encode(second, second_random)) == (first < second)
    assert ulid.stamp_of(ulid.encode(first, first_random)) == first


@given(stamps)
def test_a_packed_stamp_fits_sqlite_and_comes_back(stamp: Stamp) -> None:
    assert stamp.packed < 1 << 63
    assert Stamp.unpack(stamp.packed) == stamp
    assert stamp.next() > stamp


def test_an_id_is_a_ulid_of_its_time() -> None:
    # The timestamp and text of the ULID specification's own example.
    assert ulid.encode(Stamp(1469918176385, 0), 0).startswith("01ARYZ6S41")


@pytest.mark.parametrize("text", ["", "01ARYZ6S41", "01ARYZ6S41" + "U" * 16, "8" + "0" * 25, "z" * 26])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ulid.stamp_of(text)
    assert caught.value.code == "bad_id"


@given(st.lists(st.integers(-(10**15), 10**15), min_size=1, max_size=60), st.lists(stamps, max_size=5))
def test_the_clock_rises_whatever_the_devices_clock_does(readings: list[int], observed: list[Stamp]) -> None:
    times = iter([*readings, *readings])
    clock = HybridClock(lambda: next(times))
    made = []
    for index in range(len(readings)):
        if index < len(observed) and observed[index].ms < MAX_MS:
            clock.observe(observed[index])
            made.append(observed[index])
        made.append(clock.tick())
        assert made[-1] == max(made)
    ticks = [stamp for stamp in made if stamp not in observed]
    assert ticks == sorted(set(ticks))


def test_a_clock_beyond_all_years_leaves_room_to_rise() -> None:
    clock = HybridClock(lambda: 10**30)
    stamps = [clock.tick() for _ in range(70_000)]
    assert stamps == sorted(set(stamps))
    assert (stamps[-1].ms, stamps[-1].packed < 1 << 63) == (LATEST_MS + 1, True)
    assert MAX_MS - LATEST_MS > 1 << 45


def test_a_million_ticks_in_one_millisecond_still_rise() -> None:
    clock = HybridClock(lambda: 5)
    last = Stamp(0, 0)
    for _ in range(100_000):
        stamp = clock.tick()
        assert stamp > last
        last = stamp
