"""The engine's promises, on a decoder that tells exactly what a model would say next."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from cloud_bridge.protocol.conversation import Conversation, Message, ResponseFormat, Text
from cloud_bridge.protocol.events import Event, Finish, OtherChoice, TextDelta
from cloud_bridge.protocol.problems import Broken, Problem
from edge_agent.runtimes.chat.answer_format import answer_format
from edge_agent.runtimes.chat.constraint import Constraints
from edge_agent.runtimes.chat.tool_styles import TOLD
from edge_agent.runtimes.engine.engine import Engine
from edge_agent.runtimes.engine.sampling import SamplerSettings
from edge_agent.runtimes.engine.task import Task
from tests.runtimes.scripted_decoder import VOCABULARY, ScriptedDecoder

CONSTRAINTS = Constraints(VOCABULARY)
SCHEMA = {
    "type": "object",
    "properties": {
        "temperature_of_the_water": {"type": "integer", "minimum": 0, "maximum": 99},
        "name": {"type": "string", "maxLength": 8},
    },
    "required": ["temperature_of_the_water", "name"],
    "additionalProperties": False,
}

Said = dict[int, tuple[str, int, str]]


class Run:
    """An engine with what it emitted, by task."""

    def __init__(self, decoder: ScriptedDecoder, *, max_waiting: int = 100) -> None:
        self.decoder = decoder
        self.events: dict[int, list[Event]] = defaultdict(list)
        self.failed: dict[int, Problem] = {}
        self.engine = Engine(decoder, max_waiting=max_waiting, fail=self.failed.__setitem__)

    def submit(
        self, task_id: int, prompt: Sequence[int], schema: Any = None, *, adapter: str | None = None, **settings: Any
    ) -> None:
        asked = Conversation(
            (Message("user", (Text("x"),)),),
            response_format=ResponseFormat() if schema is None else ResponseFormat("json_schema", schema=schema),
        )
        form = answer_format(asked, TOLD)
        self.engine.submit(
            Task(
                task_id=task_id,
                prompt=list(prompt),
                settings=SamplerSettings(**settings),
                seed=task_id * 7 + 1,
                format=form,
                constraint=None if form.grammar is None else CONSTRAINTS.constraint(form.grammar),
                emit=self.events[task_id].append,
                adapter=adapter,
            )
        )

    def finish(self) -> Run:
        for _ in range(20_000):
            if self.engine.is_idle:
                return self
            self.engine.step()
        raise AssertionError("it goes on for ever")

    def said(self, task_id: int) -> Said:
        """Of each answer: its text, its tokens, why it ended."""
        texts: dict[int, str] = defaultdict(str)
        tokens: dict[int, int] = defaultdict(int)
        reasons: dict[int, str] = {}
        for event in self.events[task_id]:
            index, inner = (event.index, event.event) if isinstance(event, OtherChoice) else (0, event)
            if isinstance(inner, TextDelta):
                texts[index] += inner.text
                tokens[index] += len(inner.logprobs)
            elif isinstance(inner, Finish):
                reasons[index] = inner.reason
        return {index: (texts[index], tokens[index], reason) for index, reason in reasons.items()}


def roomy(context_length: int = 400) -> ScriptedDecoder:
    return ScriptedDecoder(cells=10 * context_length, sequences=8, context_length=context_length)


@pytest.mark.parametrize("seed", range(60))
def test_in_any_company_and_out_of_memory_an_answer_is_what_it_would_be_alone(seed):
    """Prefixes shared, drafts dropped, answers sent back to the queue, adapters, requests given up: nothing shows."""
    dice = random.Random(seed)  # noqa: S311 - a test's dice
    length = dice.choice([40, 80, 200])
    decoder = ScriptedDecoder(
        cells=length,
        sequences=dice.choice([1, 2, 4, 8]),
        context_length=length,
        can_share_prefixes=dice.random() < 0.8,
    )
    decoder.slow_widths = dice.choice([range(0), range(3, 6)])
    common = [dice.randrange(200) for _ in range(length)]
    tasks = []
    for task_id in range(dice.randrange(1, 9)):
        kept = dice.randrange(length - 2)
        prompt = (common[:kept] + [dice.randrange(200) for _ in range(dice.randrange(1, length))])[: length - 1]
        settings = {
            "temperature": dice.choice([0, 0, 0.7]),
            "max_tokens": dice.choice([None, 1, 5, 30]),
            "n": dice.choice([1, 1, 2, 3]),
            "frequency_penalty": dice.choice([0, 0, 0.5]),
            "adapter": dice.choice([None, None, "pirate", "poet"]) if seed % 2 else None,
        }
        tasks.append((task_id, prompt, settings))
    together, cancelled, waiting = Run(decoder), set(), list(tasks)
    while waiting or not together.engine.is_idle:
        while waiting and (together.engine.is_idle or dice.random() < 0.3):
            task_id, prompt, settings = waiting.pop(0)
            together.submit(task_id, prompt, **settings)
        if dice.random() < 0.02:
            cancelled.add(given_up := dice.choice(tasks)[0])
            together.engine.cancel(given_up)
        together.engine.step()
    assert not together.failed
    for task_id, prompt, settings in tasks:
        if task_id in cancelled:
            continue
        alone = Run(roomy(length))
        alone.submit(task_id, prompt, **settings)
        assert together.said(task_id) == alone.finish().said(task_id)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_same_seed_gives_the_same_document_in_any_company(temperature):
    """How much of what is forced is drafted depends on the others; what is said must not."""
    together = Run(roomy())
    for task_id in range(8):
        together.submit(task_id, [40 + task_id, 2, 3], SCHEMA, temperature=temperature, max_tokens=200)
    together.finish()
    for task_id in range(8):
        alone = Run(roomy())
        alone.submit(task_id, [40 + task_id, 2, 3], SCHEMA, temperature=temperature, max_tokens=200)
        assert together.said(task_id) == alone.finish().said(task_id)


def test_what_a_schema_leaves_no_choice_about_takes_few_evaluations():
    run = Run(roomy())
    run.submit(1, [1, 2, 3], {"const": "a rather long constant that takes many tokens to write"}, temperature=1)
    tokens = run.finish().said(1)[0][1]
    assert run.decoder.evaluations < tokens / 4


@pytest.mark.parametrize(("max_waiting", "taken"), [(0, 8), (4, 12)])
def test_as_many_are_taken_as_there_are_places_and_no_more(max_waiting, taken):
    run = Run(roomy(), max_waiting=max_waiting)
    for task_id in range(taken + 3):
        run.submit(task_id, [task_id, 1], max_tokens=5, temperature=0)
    run.finish()
    assert sorted(run.failed) == list(range(taken, taken + 3))
    assert {problem.code for problem in run.failed.values()} == {"queue_full"}
    assert all(run.said(task_id) for task_id in range(taken))


def test_nothing_is_said_for_a_request_that_failed():
    run = Run(roomy())
    run.submit(1, [1, 2, 3], n=3, max_tokens=20, temperature=1.0)
    while not any(isinstance(event, OtherChoice) for event in run.events[1]):
        run.engine.step()
    first = run.engine._running[0]

    def broken(*_: object) -> list[Event]:
        raise Broken("It does not fit.", code="inference_failed", hint="Ask again.")

    first.text.add = broken  # type: ignore[method-assign]
    said = len(run.events[1])
    run.finish()
    assert run.failed[1].code == "inference_failed"
    assert len(run.events[1]) == said


def test_answers_to_one_prompt_run_together_where_their_shared_cells_fit():
    run = Run(ScriptedDecoder(cells=1000, sequences=8, context_length=1000))
    run.submit(1, [token % 200 for token in range(300)], n=8, max_tokens=20, temperature=1.0)
    run.finish()
    assert run.decoder.busiest == 8
    assert run.decoder.refusals == 0


def test_where_eight_at_once_are_slow_seven_are_written_and_nobody_is_left_out_twice():
    decoder = roomy()
    decoder.slow_widths = range(8, 12)
    run = Run(decoder)
    for task_id in range(8):
        run.submit(task_id, [task_id, 1], max_tokens=30, temperature=1.0)
    run.finish()
    assert {run.said(task_id)[0][1:] for task_id in range(8)} == {(30, "length")}
    crowded = [company for company in decoder.companies[2:30] if company]
    assert {len(company) for company in crowded} == {7}
    for one, following in pairwise(crowded):
        assert one | following == set(range(8))
