"""The pool when things happen at once: closing while loading, unloading what is asked for, standing in line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from cloud_bridge.protocol.problems import Broken, Unavailable
from edge_agent.runtimes.runtime import ModelSpec
from tests.runtimes.asking import answer, asking
from tests.runtimes.staged_pool import Stage, Staged

pytestmark = pytest.mark.anyio

HI = asking("hi")


@pytest.fixture
async def stage():
    found = Stage()
    yield found
    await found.pool.close()


async def _until(happened: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not happened():  # noqa: ASYNC110 - the pool does it in its own time
            await asyncio.sleep(0.001)


def _loading_slowly(stage: Stage, name: str) -> None:
    make = stage._make

    def slow(found: ModelSpec) -> Staged:
        made = make(found)
        if found.model_id == name:
            made.loads.clear()
        return made

    stage.pool._make = slow


async def _busy(stage: Stage, name: str):
    runtime = await stage.pool.runtime(name)
    stage.made[name].go.clear()
    events = runtime.generate(HI)
    await anext(events)
    return events


async def test_whoever_waits_for_room_is_told_at_once_that_the_pool_closes(stage):
    stage.pool._busy_wait_s = 60
    events = await _busy(stage, "a")
    waiting = asyncio.create_task(stage.pool.runtime("big"))
    await asyncio.sleep(0.02)
    await asyncio.wait_for(stage.pool.close(), 5)
    with pytest.raises(Unavailable) as caught:
        await asyncio.wait_for(waiting, 5)
    assert caught.value.code == "model_stopped"
    assert stage.names == set()
    assert "big" not in stage.made
    await events.aclose()


async def test_a_model_that_is_unloaded_while_it_loads_is_not_used(stage):
    _loading_slowly(stage, "a")
    loading = asyncio.create_task(stage.pool.runtime("a"))
    await _until(lambda: "a" in stage.made)
    unloading = asyncio.create_task(stage.pool.unload("a"))
    await asyncio.sleep(0)
    stage.made["a"].loads.set()
    await unloading
    with pytest.raises(Unavailable) as caught:
        await loading
    assert caught.value.code == "model_stopped"
    assert stage.names == set()
    assert not stage.made["a"].is_up


async def test_what_a_request_starts_again_after_the_unloading_does_not_stay(stage):
    events = await _busy(stage, "a")
    old = stage.made["a"]
    await stage.pool.unload("a")
    old.is_up = True  # as a runtime whose next call comes after its process was ended
    await events.aclose()
    assert not old.is_up
    assert stage.names == set()


async def test_making_room_waits_for_what_leaves_and_takes_nobody_else(stage):
    a, _ = await stage.pool.runtime("a"), await stage.pool.runtime("b")
    await answer(a, HI)
    stage.now = 5
    await asyncio.gather(stage.pool.unload("a"), stage.pool.runtime("c"), stage.pool.runtime("a"))
    assert stage.log.count("-b") <= 1
    assert len(stage.names) == 2

    lonely = Stage(budget=100)
    try:
        await lonely.pool.runtime("a")
        await lonely.pool.runtime("b")
        lonely.now = 5
        await asyncio.gather(lonely.pool.unload("a"), lonely.pool.runtime("a"))
        assert lonely.names == {"a", "b"}
        assert "-b" not in lonely.log
    finally:
        await lonely.pool.close()


async def test_a_model_that_was_just_asked_for_is_not_taken_away_before_its_first_request(stage):
    stage.pool._busy_wait_s = 10
    big = await stage.pool.runtime("big")
    other = asyncio.create_task(stage.pool.runtime("a"))
    await asyncio.sleep(0.05)
    assert stage.names == {"big"}
    await answer(big, HI)
    await asyncio.wait_for(other, 5)
    assert stage.log == ["+big", "-big", "+a"]


async def test_a_model_that_was_asked_for_and_never_used_does_not_block_for_long(stage):
    stage.pool._busy_wait_s = 10
    await stage.pool.runtime("big")
    other = asyncio.create_task(stage.pool.runtime("a"))
    await asyncio.sleep(0.02)
    stage.now = 3
    await asyncio.wait_for(other, 5)
    assert stage.names == {"a"}


async def test_a_big_model_is_not_kept_out_for_ever_by_small_ones_in_use(stage):
    stage.pool._busy_wait_s = 60
    events = await _busy(stage, "a")
    big = asyncio.create_task(stage.pool.runtime("big"))
    await asyncio.sleep(0.02)
    second = await _busy(stage, "a")  # not yet: at first those who come go in
    stage.now = 11
    await asyncio.sleep(0.3)
    third = asyncio.create_task(stage.pool.runtime("a"))
    await asyncio.sleep(0.05)
    assert not third.done()
    for one in (events, second):
        await one.aclose()
    handle = await asyncio.wait_for(big, 5)
    assert stage.names == {"big"}
    await answer(handle, HI)
    await asyncio.wait_for(third, 5)
    assert stage.names == {"a"}


async def test_whoever_stood_back_goes_on_when_the_big_one_gives_up(stage):
    stage.pool._busy_wait_s = 0.6
    events = await _busy(stage, "a")
    big = asyncio.create_task(stage.pool.runtime("big"))
    await asyncio.sleep(0.02)
    stage.now = 11
    await asyncio.sleep(0.3)
    standing_back = asyncio.create_task(stage.pool.runtime("a"))
    with pytest.raises(Unavailable) as caught:
        await big
    assert caught.value.code == "models_busy"
    await asyncio.wait_for(standing_back, 5)
    assert stage.log == ["+a"]
    await events.aclose()


async def test_a_model_that_fails_to_load_remembers_how_often_it_tried(stage):
    make = stage._make

    def broken(found: ModelSpec) -> Staged:
        made = make(found)
        made.broken = True
        return made

    stage.pool._make = broken
    for _ in range(3):
        with pytest.raises(Broken):
            await stage.pool.runtime("a")
    assert stage.log == ["+a"]  # one runtime, which can make who asks wait longer each time
    assert stage.names == set()
    stage.made["a"].broken = False
    await stage.pool.runtime("a")
    assert stage.names == {"a"}


@pytest.mark.parametrize("by_request", [False, True])
async def test_keep_alive_of_nothing_unloads_after_the_answer_and_not_before(by_request):
    stage = Stage(keep_alive_s=60 if by_request else 0)
    try:
        runtime = await stage.pool.runtime("a", keep_alive_s=0 if by_request else None)
        await stage.pool.unload_idle()
        assert stage.names == {"a"}
        await answer(runtime, HI)
        while await stage.slept.get() > 0.05:
            pass
        stage.wake.release()
        await _until(lambda: not stage.names)
    finally:
        await stage.pool.close()


async def test_a_negative_keep_alive_keeps_for_ever(stage):
    runtime = await stage.pool.runtime("a", keep_alive_s=-1)
    await answer(runtime, HI)
    stage.now = 1e9
    await stage.pool.unload_idle()
    (loaded,) = stage.pool.loaded()
    assert loaded.expires_in_s is None
    await answer(await stage.pool.runtime("a"), HI)  # the next one wants what the pool gives
    (loaded,) = stage.pool.loaded()
    assert loaded.expires_in_s == 60


async def test_a_client_that_leaves_while_its_model_waits_for_room_leaves_nothing(stage):
    stage.pool._busy_wait_s = 60
    events = await _busy(stage, "a")
    waiting = asyncio.create_task(stage.pool.runtime("big"))
    await asyncio.sleep(0.02)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await events.aclose()
    assert stage.names == {"a"}
    await answer(await stage.pool.runtime("b"), HI)  # nothing is locked


async def test_many_requests_for_models_that_take_turns_all_get_their_answer(stage):
    stage.pool._busy_wait_s = 60

    async def one(name: str) -> None:
        runtime = await stage.pool.runtime(name)
        await asyncio.sleep(0)
        await answer(runtime, HI)

    names = ["a", "big", "b", "c", "big", "a"] * 8
    await asyncio.wait_for(asyncio.gather(*map(one, names)), 20)
    assert sum(each.ram_mb for each in stage.pool.loaded()) <= 100
