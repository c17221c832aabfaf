"""The pool: loading on demand, keeping warm, making room."""

from __future__ import annotations

import asyncio

import psutil
import pytest

from cloud_bridge.protocol.problems import Broken, InvalidRequest, NotFound, Unavailable
from edge_agent.runtimes.pool import Pool
from edge_agent.runtimes.runtime import ModelSpec
from edge_agent.runtimes.worker_runtime import WorkerRuntime
from tests.runtimes.asking import answer, asking, model_file, spec
from tests.runtimes.staged_pool import Stage, until

pytestmark = pytest.mark.anyio

HI = asking("hi")


@pytest.fixture
async def stage():
    found = Stage()
    yield found
    await found.pool.close()


@pytest.fixture
async def impatient():
    found = Stage(busy_wait_s=0.05)
    yield found
    await found.pool.close()


async def test_a_model_is_loaded_when_it_is_asked_for_and_once(stage):
    one, two = await asyncio.gather(stage.pool.runtime("a"), stage.pool.runtime("a"))
    await answer(one, HI)
    await answer(two, HI)
    assert stage.log == ["+a"]


async def test_the_least_recently_used_goes_when_room_is_needed(stage):
    a, _ = await stage.pool.runtime("a"), await stage.pool.runtime("b")
    stage.now = 5
    await answer(a, HI)
    await stage.pool.runtime("c")
    assert stage.log == ["+a", "+b", "-b", "+c"]
    assert stage.names == {"a", "c"}


async def test_a_model_at_work_is_never_unloaded_for_another(impatient):
    stage, events = impatient, {}
    for name in ("a", "b"):
        runtime = await stage.pool.runtime(name)
        stage.made[name].go.clear()
        events[name] = runtime.generate(HI)
        await anext(events[name])
    with pytest.raises(Unavailable) as caught:
        await stage.pool.runtime("c")
    assert caught.value.code == "models_busy"
    assert "80" in caught.value.message
    assert stage.names == {"a", "b"}

    stage.made["a"].go.set()
    async for _ in events["a"]:
        pass
    await stage.pool.runtime("c")
    assert stage.names == {"b", "c"}
    await events["b"].aclose()


async def test_what_waits_for_room_gets_it_when_it_comes(stage):
    runtimes = {name: await stage.pool.runtime(name) for name in ("a", "b")}
    for name in runtimes:
        stage.made[name].go.clear()
    tasks = [asyncio.create_task(answer(runtime, HI)) for runtime in runtimes.values()]
    await until(lambda: stage.running("a") and stage.running("b"))
    waiting = asyncio.create_task(stage.pool.runtime("c"))
    await stage.looked_for_room()
    assert not waiting.done()
    stage.made["b"].go.set()
    await asyncio.wait_for(waiting, 10)
    assert stage.names == {"a", "c"}
    stage.made["a"].go.set()
    await asyncio.gather(*tasks)


async def test_what_can_never_fit_is_refused_with_numbers(stage):
    with pytest.raises(InvalidRequest) as caught:
        await stage.pool.runtime("huge")
    assert caught.value.code == "model_too_large"
    assert "101" in caught.value.message
    assert "100" in caught.value.message
    assert "models.ram_budget_mb` to 101" in caught.value.hint
    assert stage.log == []


async def test_an_unknown_model_is_said_to_be_unknown(stage):
    with pytest.raises(NotFound):
        await stage.pool.runtime("nobody")


async def test_an_idle_model_is_unloaded_in_time_and_comes_back_when_needed(stage):
    runtime = await stage.pool.runtime("a")
    assert await stage.slept.get() == 60
    stage.now = 30
    await answer(runtime, HI)
    stage.now = 61
    stage.wake.release()
    assert await stage.slept.get() == 29
    assert stage.names == {"a"}
    stage.now = 90
    stage.wake.release()
    await until(lambda: not stage.names)
    assert stage.log == ["+a", "-a"]
    await answer(runtime, HI)
    assert stage.log == ["+a", "-a", "+a"]


async def test_a_model_at_work_is_not_idle(stage):
    runtime = await stage.pool.runtime("a")
    stage.made["a"].go.clear()
    events = runtime.generate(HI)
    await anext(events)
    stage.now = 1000
    await stage.pool.unload_idle()
    (loaded,) = stage.pool.loaded()
    assert (loaded.running, loaded.idle_s) == (1, 0)
    await events.aclose()
    (loaded,) = stage.pool.loaded()
    assert loaded.running == 0


async def test_a_model_that_does_not_load_takes_no_room(stage):
    stage.broken.add("a")
    with pytest.raises(Broken):
        await stage.pool.runtime("a")
    assert stage.names == set()


async def test_a_closed_pool_loads_nothing(stage):
    runtime = await stage.pool.runtime("a")
    await stage.pool.close()
    with pytest.raises(Unavailable):
        await answer(runtime, HI)
    assert stage.log == ["+a", "-a"]


@pytest.mark.slow
async def test_real_models_take_turns_within_the_budget(models_home):
    path = model_file(models_home)
    made: list[WorkerRuntime] = []

    def make(found: ModelSpec) -> WorkerRuntime:
        made.append(WorkerRuntime(found))
        return made[-1]

    pool = Pool(lambda model_id: spec(path, model_id=model_id, ram_mb=300), 400, 300, make=make)
    try:
        for model_id in ("one", "two", "one"):
            got = await answer(await pool.runtime(model_id), asking("Hi", max_tokens=4))
            assert got.text
            assert [each.model_id for each in pool.loaded()] == [model_id]
        assert [runtime.pid is None for runtime in made] == [True, True, False]
        pid = made[-1].pid
        assert psutil.pid_exists(pid)
        await pool.unload("one")
        assert not psutil.pid_exists(pid)  # its memory is the system's again
    finally:
        await pool.close()
