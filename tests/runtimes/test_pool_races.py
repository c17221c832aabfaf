"""The pool when things happen at once: closing while loading, unloading what is asked for, standing in line."""

from __future__ import annotations

import asyncio

import pytest

from cloud_bridge.protocol.problems import Broken, Unavailable
from tests.runtimes.asking import answer, asking
from tests.runtimes.staged_pool import Stage, until

pytestmark = pytest.mark.anyio

HI = asking("hi")


@pytest.fixture
async def stage():
    found = Stage()
    yield found
    await found.pool.close()


async def _busy(stage: Stage, name: str):
    runtime = await stage.pool.runtime(name)
    stage.made[name].go.clear()
    events = runtime.generate(HI)
    await anext(events)
    return events


async def _standing_back(stage: Stage, name: str) -> asyncio.Task[object]:
    """A request for a model that is at work, once whoever waits for its room has lost patience."""
    stage.now += 11
    await stage.looked_for_room()
    number = stage.asked.count(name)
    asking_for_it = asyncio.create_task(stage.pool.runtime(name))
    await until(lambda: stage.asked.count(name) > number)
    await stage.looked_for_room()
    assert not asking_for_it.done()
    return asking_for_it


async def test_whoever_waits_for_room_is_told_at_once_that_the_pool_closes(stage):
    events = await _busy(stage, "a")
    waiting = asyncio.create_task(stage.pool.runtime("big"))
    await stage.looked_for_room()
    await asyncio.wait_for(stage.pool.close(), 5)
    with pytest.raises(Unavailable) as caught:
        await asyncio.wait_for(waiting, 5)
    assert caught.value.code == "model_stopped"
    assert stage.names == set()
    assert "big" not in stage.made
    await events.aclose()


async def test_a_model_that_is_unloaded_while_it_loads_is_not_used(stage):
    stage.slow.add("a")
    loading = asyncio.create_task(stage.pool.runtime("a"))
    await until(lambda: "a" in stage.made)
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
    big = await stage.pool.runtime("big")
    other = asyncio.create_task(stage.pool.runtime("a"))
    await stage.looked_for_room()
    assert stage.names == {"big"}
    await answer(big, HI)
    await asyncio.wait_for(other, 5)
    assert stage.log == ["+big", "-big", "+a"]


async def test_a_model_that_was_asked_for_and_never_used_does_not_block_for_long(stage):
    await stage.pool.runtime("big")
    other = asyncio.create_task(stage.pool.runtime("a"))
    await stage.looked_for_room()
    assert stage.names == {"big"}
    stage.now = 3
    await asyncio.wait_for(other, 5)
    assert stage.names == {"a"}


async def test_a_big_model_is_not_kept_out_for_ever_by_small_ones_in_use(stage):
    events = await _busy(stage, "a")
    big = asyncio.create_task(stage.pool.runtime("big"))
    await stage.looked_for_room()
    second = await _busy(stage, "a")  # not yet: at first those who come go in
    third = await _standing_back(stage, "a")
    for one in (events, second):
        await one.aclose()
    handle = await asyncio.wait_for(big, 5)
    assert stage.names == {"big"}
    await answer(handle, HI)
    await asyncio.wait_for(third, 5)
    assert stage.names == {"a"}


async def test_whoever_stood_back_goes_on_when_the_big_one_gives_up(stage):
    events = await _busy(stage, "a")
    big = asyncio.create_task(stage.pool.runtime("big"))
    await stage.looked_for_room()
    standing_back = await _standing_back(stage, "a")
    big.cancel()  # its client leaves; its time's end would do the same
    with pytest.raises(asyncio.CancelledError):
        await big
    await asyncio.wait_for(standing_back, 10)
    assert stage.log == ["+a"]
    await events.aclose()


async def test_a_model_that_fails_to_load_remembers_how_often_it_tried(stage):
    stage.broken.add("a")
    for _ in range(3):
        with pytest.raises(Broken):
            await stage.pool.runtime("a")
    assert stage.log == ["+a"]  # one runtime, which can make who asks wait longer each time
    assert stage.names == set()
    stage.made["a"].broken = False
    await stage.pool.runtime("a")
    assert stage.names == {"a"}


async def test_keep_alive_of_nothing_unloads_after_the_answer_and_not_before():
    stage = Stage(keep_alive_s=0)
    try:
        runtime = await stage.pool.runtime("a")
        await stage.pool.unload_idle()
        assert stage.names == {"a"}
        await answer(runtime, HI)
        while await stage.slept.get() > 0.05:
            pass
        stage.wake.release()
        await until(lambda: not stage.names)
    finally:
        await stage.pool.close()


@pytest.mark.parametrize(("keep_alive_s", "expires_in_s"), [(60, 48), (-1, None)])
async def test_what_is_loaded_says_how_long_it_is_idle_and_when_it_leaves(keep_alive_s, expires_in_s):
    stage = Stage(keep_alive_s=keep_alive_s)
    try:
        await answer(await stage.pool.runtime("a"), HI)
        stage.now = 12
        (loaded,) = stage.pool.loaded()
        assert (loaded.idle_s, loaded.expires_in_s) == (12, expires_in_s)
    finally:
        await stage.pool.close()


async def test_a_negative_keep_alive_keeps_for_ever():
    stage = Stage(keep_alive_s=-1)
    try:
        await answer(await stage.pool.runtime("a"), HI)
        stage.now = 1e9
        await stage.pool.unload_idle()
        assert stage.names == {"a"}
    finally:
        await stage.pool.close()


async def test_a_client_that_leaves_while_its_model_waits_for_room_leaves_nothing(stage):
    events = await _busy(stage, "a")
    waiting = asyncio.create_task(stage.pool.runtime("big"))
    await stage.looked_for_room()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await events.aclose()
    assert stage.names == {"a"}
    await answer(await stage.pool.runtime("b"), HI)  # nothing is locked


async def test_many_requests_for_models_that_take_turns_all_get_their_answer(stage):
    async def one(name: str) -> None:
        runtime = await stage.pool.runtime(name)
        await asyncio.sleep(0)
        await answer(runtime, HI)

    names = ["a", "big", "b", "c", "big", "a"] * 8
    await asyncio.wait_for(asyncio.gather(*map(one, names)), 20)
    assert sum(each.ram_mb for each in stage.pool.loaded()) <= 100
