from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import psutil
import pytest

from cloud_bridge.protocol.conversation import Conversation, Message, Sampling, Text, Tool, ToolCall, ToolResult
from cloud_bridge.protocol.events import Event
from cloud_bridge.protocol.problems import Broken, InvalidRequest, Unavailable
from edge_agent.runtimes.worker_runtime import WorkerRuntime
from tests.runtimes.asking import answer, asking, model_file, running, spec

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

HEADER = b"GGUF\x03\x00\x00\x00"


def gone(pid: int, within_s: float = 10) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "model_file_missing"),
        (b"", "model_truncated"),
        (b"not a model at all " * 1000, "model_unreadable"),
        (HEADER + b"\xff" * 64, "model_unreadable"),
        (HEADER + bytes(24), "model_unreadable"),
        ("half", "model_truncated"),
    ],
)
async def test_a_bad_model_file_is_named_for_what_it_is(models_home, tmp_path, content, code):
    path = tmp_path / "model.gguf"
    if content == "half":
        whole = model_file(models_home).read_bytes()
        content = whole[: len(whole) // 2]
    if content is not None:
        path.write_bytes(content)
    async with running(spec(path)) as runtime:
        for _ in range(2):
            with pytest.raises(Broken) as caught:
                await answer(runtime, asking("hi"))
            assert caught.value.code == code
            assert caught.value.hint


async def test_damaged_weights_take_down_at_most_their_own_process(models_home, tmp_path):
    """The header is whole and everything after it is noise: whatever happens, it is a Problem or an answer."""
    content = bytearray(model_file(models_home).read_bytes())
    content[5_000_000:] = os.urandom(len(content) - 5_000_000)
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    async with running(spec(path)) as runtime:
        with suppress(Broken, Unavailable):
            await answer(runtime, asking("hi", max_tokens=4))


async def test_a_killed_model_fails_its_requests_and_answers_the_next(models_home):
    async with running(spec(model_file(models_home))) as runtime:
        events = runtime.generate(asking("Tell me a long story.", temperature=1.0))
        beside = asyncio.create_task(answer(runtime, asking("Tell me another.", temperature=1.0)))
        await anext(events)
        pid = runtime.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(Unavailable) as caught:
            async for _ in events:
                pass
        assert caught.value.code == "model_crashed"
        assert caught.value.retry_after_s
        with pytest.raises(Unavailable):
            await beside
        got = await answer(runtime, asking("Hi", max_tokens=4))
        assert got.text
        assert runtime.pid != pid


async def test_a_model_that_keeps_crashing_is_given_time(models_home):
    now = [1000.0]
    runtime = WorkerRuntime(spec(model_file(models_home)), clock=lambda: now[0])
    try:
        for _ in range(2):
            await runtime.ensure_ready()
            assert runtime.pid is not None
            os.kill(runtime.pid, signal.SIGKILL)
            while runtime.pid is not None:  # noqa: ASYNC110 - nothing tells but the process's end itself
                await asyncio.sleep(0.01)
        with pytest.raises(Unavailable) as caught:
            await runtime.ensure_ready()
        assert caught.value.code == "model_crashed"
        assert caught.value.retry_after_s
        now[0] += caught.value.retry_after_s
        assert (await answer(runtime, asking("Hi", max_tokens=2))).finish
    finally:
        await runtime.close()


async def test_all_who_come_while_it_loads_share_one_process(models_home):
    async with running(spec(model_file(models_home))) as runtime:
        before = {child.pid for child in psutil.Process().children()}
        await asyncio.gather(*(runtime.ensure_ready() for _ in range(5)))
        started = {child.pid for child in psutil.Process().children()} - before
        assert started == {runtime.pid}


async def test_closing_ends_the_process_and_whatever_waits_for_it(models_home):
    runtime = WorkerRuntime(spec(model_file(models_home)))
    waiting = asyncio.create_task(answer(runtime, asking("hi")))
    await asyncio.sleep(0.05)
    await runtime.close()
    with pytest.raises(Unavailable) as caught:
        await waiting
    assert caught.value.code == "model_stopped"

    await runtime.ensure_ready()
    pid = runtime.pid
    assert pid is not None
    telling = asyncio.create_task(answer(runtime, asking("Tell me a long story.", temperature=1.0)))
    await asyncio.sleep(0.3)
    await runtime.close()
    with pytest.raises(Unavailable) as caught:
        await telling
    assert caught.value.code == "model_stopped"
    assert gone(pid)


async def test_no_process_outlives_a_daemon_that_is_killed(models_home):
    program = textwrap.dedent(
        f"""
        import asyncio
        from pathlib import Path
        from edge_agent.runtimes.worker_runtime import WorkerRuntime
        from edge_agent.runtimes.runtime import ModelSpec

        async def main():
            runtime = WorkerRuntime(ModelSpec("m", Path({str(model_file(models_home))!r}), "gguf", 512, 1, 0, 1))
            await runtime.ensure_ready()
            print(runtime.pid, flush=True)
            await asyncio.sleep(600)

        asyncio.run(main())
        """
    )
    with subprocess.Popen(  # noqa: ASYNC220 - the test waits for it anyway
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.kill()
        assert gone(pid)


async def test_what_a_process_said_before_it_died_holds_nothing_of_a_prompt(models_home, caplog):
    caplog.set_level("DEBUG")
    async with running(spec(model_file(models_home))) as runtime:
        events = runtime.generate(asking("The word is xylograph.", seed=1))
        await anext(events)
        os.kill(runtime.pid, signal.SIGABRT)
        with pytest.raises(Unavailable):
            async for _ in events:
                pass
        await asyncio.sleep(0)
    assert "ended with status" in caplog.text
    assert "xylograph" not in caplog.text


async def test_a_process_that_hangs_is_ended_and_its_request_told(models_home):
    runtime = WorkerRuntime(spec(model_file(models_home)), silence_s=0.5)
    try:
        events = runtime.generate(asking("Tell me a story.", seed=1))
        await anext(events)
        os.kill(runtime.pid, signal.SIGSTOP)
        with pytest.raises(Unavailable) as caught:
            await asyncio.wait_for(_rest(events), 20)
        assert caught.value.code == "model_crashed"
        assert (await answer(runtime, asking("Hi", max_tokens=2))).finish
    finally:
        await runtime.close()


async def _rest(events: AsyncIterator[Event]) -> None:
    async for _ in events:
        pass


async def test_a_process_that_only_works_long_is_left_alone(models_home):
    runtime = WorkerRuntime(spec(model_file(models_home), context_length=2048), silence_s=0.05)
    try:
        got = await answer(runtime, asking("word " * 1500, max_tokens=2))
        assert got.finish.usage.prompt_tokens > 1500
    finally:
        await runtime.close()


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 10**400},
        {"enum": [-(10**400)]},
        {"type": "string", "minLength": 10**400},
        {"type": "string", "pattern": f"a{{{'9' * 5000}}}"},
    ],
)
async def test_no_request_takes_others_answers_down(models_home, schema):
    async with running(spec(model_file(models_home))) as runtime:
        beside = asyncio.create_task(answer(runtime, asking("Tell me a story.", max_tokens=30)))
        with pytest.raises(InvalidRequest) as caught:
            await answer(runtime, asking("hi", schema=schema))
        assert caught.value.code == "unsupported_schema"
        assert (await beside).finish.usage.completion_tokens <= 30


async def test_half_a_surrogate_pair_in_a_past_call_is_read_as_it_is_spelled(models_home):
    call = ToolCall("call_1", "look", '{"a": "\\ud800"}')
    asked = Conversation(
        (Message("user", (Text("hi"),)), Message("assistant", (call,)), Message("tool", (ToolResult("call_1", "ok"),))),
        tools=(Tool("look"),),
        sampling=Sampling(max_tokens=2),
    )
    async with running(spec(model_file(models_home))) as runtime:
        assert (await answer(runtime, asked)).finish
