"""Many requests on one model: batching, the queue, memory pressure, cancellation; on llama.cpp, which batches."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from itertools import islice

import pytest

from cloud_bridge.protocol.conversation import Conversation, Message, ResponseFormat, Sampling, Text
from cloud_bridge.protocol.problems import InvalidRequest, Unavailable
from tests.runtimes.asking import answer, asking, model_file, running, spec

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

CONTEXT = 1024
RUNNING = 4
WAITING = 16
STORY = "Tell me a long story about a fox."


@pytest.fixture(scope="module")
async def runtime(models_home):
    async with running(
        spec(model_file(models_home), context_length=CONTEXT, parallel=RUNNING, max_waiting=WAITING)
    ) as found:
        await found.ensure_ready()
        yield found


@pytest.mark.parametrize("temperature", [0, 1.0])
async def test_the_same_seed_gives_the_same_answer_whatever_was_asked_before(runtime, temperature):
    """Its prompt is kept from the first time, and from others that begin alike; that must not show."""
    asked = asking(f"{STORY} {'It is a very old fox. ' * 20}", max_tokens=40, temperature=temperature, seed=7)
    texts = set()
    for between in (STORY, "Hi", "Name a colour.", STORY):
        texts.add((await answer(runtime, asked)).text)
        await answer(runtime, asking(between, max_tokens=6))
    assert len(texts) == 1


async def test_requests_at_once_each_get_their_own_answer(runtime):
    async def own_number(number: int) -> tuple[int, object]:
        schema = {"type": "object", "properties": {"n": {"const": number}}, "required": ["n"]}
        got = await answer(runtime, asking("Which number?", schema=schema, seed=number))
        return number, json.loads(got.text)

    for number, document in await asyncio.gather(*(own_number(number) for number in range(1000, 1000 + 3 * RUNNING))):
        assert document == {"n": number}


async def test_an_answer_keeps_to_its_json_schema(runtime):
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 12},
            "born": {"type": "string", "format": "date"},
            "age": {"type": "integer", "minimum": 0},
            "tags": {"type": "array", "items": {"enum": ["a", 'quote " and \\', "é"]}, "minItems": 1, "maxItems": 3},
            "note": {"type": ["string", "null"], "maxLength": 5},
        },
        "required": ["name", "tags", "age"],
        "additionalProperties": False,
    }
    for seed in range(3):
        got = await answer(
            runtime, asking("A person, please.", schema=schema, seed=seed, temperature=1.5, max_tokens=200)
        )
        assert got.finish.reason == "stop"
        document = json.loads(got.text)
        assert {"name", "tags", "age"} <= document.keys() <= schema["properties"].keys()
        assert 1 <= len(document["name"]) <= 12
        assert document["age"] >= 0
        assert set(document["tags"]) <= {"a", 'quote " and \\', "é"}


async def test_json_object_begins_with_a_brace_whatever_the_model_would_say(runtime):
    conversation = Conversation(
        (Message("user", (Text("Say yes in JSON, as short as you can."),)),),
        response_format=ResponseFormat("json_object"),
        sampling=Sampling(seed=3, max_tokens=200, temperature=0.5),
    )
    got = await answer(runtime, conversation)
    assert got.text.startswith("{")


async def test_penalties_keep_a_model_from_repeating_itself(runtime):
    asked = "What is the capital of France?"
    plain = await answer(runtime, asking(asked, max_tokens=40, temperature=0))
    penalized = await answer(runtime, asking(asked, max_tokens=40, temperature=0, frequency_penalty=2))
    assert _variety(penalized.text) > _variety(plain.text)


def _variety(text: str) -> float:
    words = text.split()
    return len(set(words)) / len(words)


async def test_leaving_early_frees_the_place_at_once(runtime):
    for _ in range(2 * RUNNING):
        events = runtime.generate(asking(STORY, temperature=1.0, seed=5))
        await anext(events)
        await events.aclose()
    got = await asyncio.wait_for(answer(runtime, asking("Hi", max_tokens=2)), 20)
    assert got.finish.usage.completion_tokens <= 2


async def test_a_cancelled_task_takes_nothing_with_it(runtime):
    begun = asyncio.Event()

    async def go_on() -> None:
        async for _ in runtime.generate(asking(STORY, temperature=1.0, seed=5)):
            begun.set()

    task = asyncio.create_task(go_on())
    beside = asyncio.create_task(answer(runtime, asking(STORY, temperature=0, max_tokens=20)))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await beside).finish.usage.completion_tokens == 20


async def test_a_prompt_longer_than_the_context_is_refused_with_both_counts(runtime):
    conversation = asking("word " * 3000)
    tokens = await runtime.count(conversation)
    with pytest.raises(InvalidRequest) as caught:
        await answer(runtime, conversation)
    assert caught.value.code == "context_length_exceeded"
    assert str(tokens) in caught.value.message
    assert str(CONTEXT) in caught.value.message


async def test_an_answer_that_fills_the_context_ends_there(runtime):
    conversation = asking("word " * 950, temperature=0, schema={"type": "string", "minLength": 900})
    got = await answer(runtime, conversation)
    assert got.finish.reason == "length"
    assert got.finish.usage.prompt_tokens + got.finish.usage.completion_tokens == CONTEXT


async def test_more_than_the_memory_holds_at_once_is_answered_one_after_the_other(runtime):
    """Four answers that together need twice the cells: the younger ones wait or are taken up again."""
    schema = {"type": "string", "minLength": 300, "maxLength": 301}
    asked = [asking(f"{'word ' * 200}{n}", schema=schema, seed=n, temperature=1.0) for n in range(RUNNING)]
    for got in await asyncio.gather(*(answer(runtime, conversation) for conversation in asked)):
        assert len(json.loads(got.text)) in {300, 301}


@pytest.mark.parametrize(
    ("conversation", "code"),
    [
        (asking("hi", temperature=-1), "invalid_value"),
        (asking("hi", schema={"type": "object", "dependentSchemas": {}}), "unsupported_schema"),
    ],
)
async def test_what_can_never_work_is_refused_before_anything_runs(runtime, conversation, code):
    with pytest.raises(InvalidRequest) as caught:
        await answer(runtime, conversation)
    assert caught.value.code == code


async def test_a_full_queue_says_when_to_come_back(runtime):
    asked = [
        asyncio.create_task(answer(runtime, asking(STORY, temperature=1.0, max_tokens=400)))
        for _ in range(RUNNING + WAITING + 8)
    ]
    # All come at once: the places are taken, the queue is filled, and the rest is told so.
    for next_done in islice(asyncio.as_completed(asked, timeout=60), 8):
        with suppress(Unavailable):
            await next_done
    for task in asked:
        task.cancel()
    ended = await asyncio.gather(*asked, return_exceptions=True)
    problems = [each for each in ended if isinstance(each, Unavailable)]
    assert len(problems) == 8
    for problem in problems:
        assert problem.code == "queue_full"
        assert problem.retry_after_s
    assert (await answer(runtime, asking("Hi", max_tokens=2))).finish
