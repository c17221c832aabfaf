"""Which requests are the same question, and what their answer looks like in another session."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloud_bridge.protocol.conversation import Conversation, Message, ResponseFormat, Sampling, Text, Tool
from cloud_bridge.protocol.events import (
    Event,
    Finish,
    OtherChoice,
    ReasoningDelta,
    Served,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from cloud_bridge.protocol.gathered import gather
from cloud_bridge.protocol.masked import Masked
from edge_agent.answer_cache import OFFLINE_S, AnswerCache, CacheRules, Question
from edge_agent.privacy.mapping import MappingEntry, SessionMapping
from edge_agent.privacy.mask import INSTRUCTION
from edge_agent.privacy.surrogates.surrogates import Surrogates
from edge_agent.state.keys import KeyRing
from edge_agent.state.state import State

pytestmark = pytest.mark.anyio
SERVED = Served("stand-in", "big-model", "eu", usd_per_mtok_in=1.0, usd_per_mtok_out=2.0)
FINISH = Finish("stop", Usage(11, 7))
RULES = CacheRules(providers=("stand-in",))


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(tmp_path: Path, clock: Clock) -> Iterator[State]:
    with State.open(tmp_path / "state.db", KeyRing(b"m" * 32), now=clock) as opened:
        yield opened


def asked(text: str, people: Sequence[str] = (), session: str = "s", **conversation: Any) -> Question:
    """A masked question of a session, in which placeholders stand for `people` in turn: `<PERSON_1>` ..."""
    entries = [MappingEntry(f"<PERSON_{number}>", "PERSON", name) for number, name in enumerate(people, 1) if name]
    messages = (Message("user", (Text(text),)),)
    if "<" in text:
        messages = (Message("system", (Text(INSTRUCTION),)), *messages)
    return Question(Masked(Conversation(messages, **conversation), {}), SessionMapping(entries), session)


def said(*events: Event, finish: Finish = FINISH) -> list[Event]:
    return [SERVED, *events, finish]


async def kept(state: State, question: Question, *events: Event, rules: CacheRules = RULES) -> AnswerCache:
    state.append("hello", question.session_id, {})
    cache = AnswerCache(state, rules)
    await cache.keep(question, said(*events))
    return cache


async def answer_of(cache: AnswerCache, question: Question, **options: Any) -> str | None:
    hit = await cache.lookup(question, **options)
    return None if hit is None else gather([event async for event in hit.events()]).text


async def test_the_same_question_with_other_names_is_answered_with_them(state: State) -> None:
    cache = await kept(
        state,
        asked("Tell <PERSON_1> about <PERSON_2>.", ["Ada Byron", "Grace Hopper"]),
        TextDelta("Dear <PER"),
        TextDelta("SON_1>, <PERSON_2>'s [PERSON_2] ..."),
    )
    other = asked("Tell <PERSON_3> about <PERSON_1>.", ["Marie Curie", "", "Lise Meitner"], "t")
    hit = await cache.lookup(other)
    assert hit is not None
    events = [event async for event in hit.events()]
    assert gather(events).text == "Dear Lise Meitner, Marie Curie's Marie Curie ..."
    assert hit.reason == "cache:exact"
    assert hit.saved_usd == pytest.approx((11 * 1.0 + 7 * 2.0) / 1e6)
    assert events[0] == dataclasses.replace(SERVED, replayed=True)
    assert events[-1] == FINISH


async def test_who_is_who_is_part_of_the_question(state: State) -> None:
    cache = await kept(state, asked("Is <PERSON_1> older than <PERSON_2>?", ["Ada", "Grace"]), TextDelta("<PERSON_1>"))
    assert await answer_of(cache, asked("Is <PERSON_1> older than <PERSON_1>?", ["Ada", "Grace"])) is None


async def test_reasoning_and_calls_come_back_whole(state: State) -> None:
    question = asked("Write to <PERSON_2>", ["", "Ada"], tools=(Tool("send"),))
    cache = AnswerCache(state, RULES)
    state.append("hello", "s", {})
    events = said(
        ReasoningDelta("About <PERSON_2>"),
        ToolCallDelta(0, "c1", "send", '{"to": "<PERS'),
        ToolCallDelta(0, arguments='ON_2>"}'),
        ToolCallDelta(1, "c2", "send", "{}"),
        finish=Finish("tool_calls", Usage(3, 4)),
    )
    await cache.keep(question, events)
    hit = await cache.lookup(asked("Write to <PERSON_1>", ['O"Brien'], "t", tools=(Tool("send"),)))
    assert hit is not None
    answer = gather([event async for event in hit.events()])
    assert answer.reasoning == 'About O"Brien'
    assert [(call.name, call.arguments) for call in answer.calls] == [("send", '{"to": "O\\"Brien"}'), ("send", "{}")]
    assert len({"c1", "c2", *(call.id for call in answer.calls)}) == 4  # no two calls of a conversation share one
    assert answer.finish == Finish("tool_calls", Usage(3, 4))


@pytest.mark.parametrize(
    "other",
    [
        {"tools": (Tool("search"),)},
        {"response_format": ResponseFormat("json_object")},
        {"sampling": Sampling(max_tokens=5)},
        {"sampling": Sampling(seed=7)},
    ],
)
async def test_what_the_answer_depends_on_is_part_of_the_question(state: State, other: dict[str, Any]) -> None:
    cache = await kept(state, asked("What is a fjord?"), TextDelta("A bay."))
    assert await answer_of(cache, asked("What is a fjord?")) == "A bay."
    assert await answer_of(cache, asked("What is a fjord?", **other)) is None


async def test_providers_and_residency_are_part_of_the_question(state: State) -> None:
    question = asked("What is a fjord?")
    cache = await kept(state, question, TextDelta("A bay."))
    assert await answer_of(AnswerCache(state, dataclasses.replace(RULES, providers=("other",))), question) is None
    assert await answer_of(cache, dataclasses.replace(question, residency=("eu",))) is None


@pytest.mark.parametrize(
    "sampling", [Sampling(temperature=0.7), Sampling(n=2), Sampling(logprobs=True), Sampling(temperature=2)]
)
async def test_what_is_drawn_or_measured_anew_is_never_cached(state: State, sampling: Sampling) -> None:
    cache = await kept(state, asked("Tell a joke.", sampling=sampling), TextDelta("No."))
    assert await answer_of(cache, asked("Tell a joke.", sampling=sampling)) is None


async def test_temperature_0_is_cached(state: State) -> None:
    cold = Sampling(temperature=0)
    cache = await kept(state, asked("Tell a joke.", sampling=cold), TextDelta("No."))
    assert await answer_of(cache, asked("Tell a joke.", sampling=cold)) == "No."


@pytest.mark.parametrize(
    "events",
    [
        [TextDelta("half"), Finish("length")],
        [TextDelta("no"), Finish("content_filter")],
        [TextDelta("cut off")],
        [Finish("stop")],
        [TextDelta("Ask <PERSON_7>."), FINISH],  # nobody of that number was spoken of
        [TextDelta("Ask <PERSON_2>."), FINISH],  # somebody of the session, but not of the question
        [TextDelta("a"), OtherChoice(1, TextDelta("b")), FINISH],
    ],
)
async def test_an_answer_that_is_not_whole_or_not_of_the_question_is_not_kept(
    state: State, events: list[Event]
) -> None:
    question = asked("Who is <PERSON_1>?", ["Ada", "Grace"])
    state.append("hello", "s", {})
    cache = AnswerCache(state, RULES)
    await cache.keep(question, [SERVED, *events])
    assert await cache.lookup(question) is None


async def test_what_did_not_come_from_a_provider_is_not_kept(state: State) -> None:
    state.append("hello", "s", {})
    cache = AnswerCache(state, RULES)
    await cache.keep(asked("Hi"), [TextDelta("made here"), FINISH])
    assert await cache.lookup(asked("Hi")) is None


async def test_where_a_surrogate_stands_in_nothing_is_cached(state: State) -> None:
    mapping = SessionMapping(surrogates=Surrogates(b"seed", frozenset({"PERSON"})))
    shown = mapping.stand_in_for("PERSON", "Margarethe Lindqvist")
    assert not shown.startswith("<")
    question = dataclasses.replace(asked(f"Who is {shown}?"), mapping=mapping)
    cache = await kept(state, question, TextDelta(f"{shown} is a person."))
    assert await cache.lookup(question) is None
    with state._log.reading() as tx:
        assert tx.db.execute("SELECT count(*) FROM cached_answers").fetchone() == (0,)


async def test_a_session_may_be_told_to_keep_to_itself(state: State) -> None:
    rules = dataclasses.replace(RULES, scope="session")
    cache = await kept(state, asked("What is a fjord?"), TextDelta("A bay."), rules=rules)
    assert await answer_of(cache, asked("What is a fjord?")) == "A bay."
    assert await answer_of(cache, asked("What is a fjord?", session="t")) is None


async def test_switched_off_it_neither_keeps_nor_gives(state: State) -> None:
    question = asked("What is a fjord?")
    on = await kept(state, question, TextDelta("A bay."))
    off = AnswerCache(state, dataclasses.replace(RULES, exact=False))
    assert await off.lookup(question) is None
    await off.keep(asked("And a ria?"), said(TextDelta("Another.")))
    assert await on.lookup(asked("And a ria?")) is None


async def test_it_ages_and_is_given_longer_where_nobody_else_can_answer(state: State, clock: Clock) -> None:
    question = asked("What is a fjord?")
    cache = await kept(state, question, TextDelta("A bay."), rules=dataclasses.replace(RULES, ttl_s=60))
    clock.now += 61
    assert await cache.lookup(question) is None
    hit = await cache.lookup(question, offline=True)
    assert hit is not None
    assert hit.reason == "cache:offline"
    clock.now += OFFLINE_S
    assert await cache.lookup(question, offline=True) is None
    clock.now -= 2 * OFFLINE_S  # a clock that was wrong before, or is now
    assert await cache.lookup(question, offline=True) is None


async def test_a_client_may_want_a_younger_one_whoever_can_answer(state: State, clock: Clock) -> None:
    question = asked("What is a fjord?")
    cache = await kept(state, question, TextDelta("A bay."), rules=dataclasses.replace(RULES, ttl_s=60))
    clock.now += 30
    assert await answer_of(cache, question, within_s=29) is None
    assert await answer_of(cache, question, within_s=31) == "A bay."
    clock.now += 90
    assert await cache.lookup(question, within_s=1000) is None
    assert await cache.lookup(question, offline=True, within_s=100) is None
    assert await answer_of(cache, question, offline=True, within_s=1000) == "A bay."


async def test_a_cache_that_fails_is_none(state: State) -> None:
    question = asked("What is a fjord?")
    cache = await kept(state, question, TextDelta("A bay."))
    with state._log.transaction() as tx:
        tx.db.execute("UPDATE cached_answers SET body = x'00'")
    assert await cache.lookup(question) is None


WORDS = {
    "How do I reset my password?": [1.0, 0.0],
    "How can I reset my password?": [0.96, 0.28],
    "How do I not reset my password?": [1.0, 0.0],
    "How do I reset my password in 2019?": [1.0, 0.0],
    "How do I reset my password in 2020?": [1.0, 0.0],
    "What is a fjord?": [0.0, 1.0],
    "Did <PERSON_1> pay <PERSON_2>?": [1.0, 0.0],
    "Was <PERSON_1> paid by <PERSON_2>?": [1.0, 0.0],
    "Where does <PERSON_1> live?": [1.0, 0.0],
}


def embed(texts: Sequence[str]) -> Any:
    """Stands in for the encoder: what is near is told here."""
    return np.array([WORDS[text] for text in texts], np.float32)


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ("How do I reset my password?", "How can I reset my password?", True),
        ("How do I reset my password?", "What is a fjord?", False),
        ("How do I reset my password?", "How do I not reset my password?", False),
        ("How do I reset my password in 2019?", "How do I reset my password in 2020?", False),
        ("Did <PERSON_1> pay <PERSON_2>?", "Was <PERSON_1> paid by <PERSON_2>?", False),
        ("How do I reset my password?", "Where does <PERSON_1> live?", False),
    ],
)
async def test_other_words_for_it_are_found_where_that_is_wished(
    state: State, first: str, second: str, found: bool
) -> None:
    people = ["Ada", "Grace"]
    state.append("hello", "s", {})
    rules = dataclasses.replace(RULES, semantic_threshold=0.95)
    near = AnswerCache(state, rules, embed)
    await near.keep(asked(first, people), said(TextDelta("So.")))
    hit = await near.lookup(asked(second, people, "t"))
    assert (hit is not None) is found
    if hit is not None:
        assert hit.reason == "cache:semantic:0.96>=0.95"
    exact = await AnswerCache(state, RULES, embed).lookup(asked(second, people, "t"))
    assert exact is None


async def test_other_words_after_another_conversation_are_another_question(state: State) -> None:
    state.append("hello", "s", {})
    near = AnswerCache(state, dataclasses.replace(RULES, semantic_threshold=0.5), embed)
    await near.keep(asked("How do I reset my password?"), said(TextDelta("So.")))
    other = asked("How can I reset my password?", sampling=Sampling(max_tokens=3))
    assert await near.lookup(other) is None
