"""Conversations and answers for the property tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_bridge.protocol.conversation import (
    Conversation,
    Message,
    ResponseFormat,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from cloud_bridge.protocol.events import (
    AnswerEvent,
    ChoiceEvent,
    Event,
    Finish,
    OtherChoice,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from cloud_bridge.protocol.report import Intent, PrivacyReport, Report
from cloud_bridge.protocol.sse import SseDecoder, SseEvent


def for_all(*strategies: st.SearchStrategy[object]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A property that holds for all of these. No deadline for one example: the machine may be busy."""
    return lambda test: settings(deadline=None, max_examples=50)(given(*strategies)(test))


REPORT = Report(
    decision_id="dec_1",
    session_id="ses_1",
    trace_id="0af7651916cd43dd8448eb211c80319c",
    route="cloud",
    reasons=("intent:question", "confidence_below_threshold"),
    intent=Intent("question", 0.9, out_of_scope=False),
    confidence=0.4,
    threshold=0.6,
    model="big",
    provider="upstream",
    privacy=PrivacyReport({"PERSON": 2}, 123, "led_1"),
)

some_text = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)
spoken = some_text.filter(lambda text: bool(text.strip()))
identifiers = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | some_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(some_text, inner, max_size=3),
    max_leaves=5,
)
arguments = st.dictionaries(some_text, json_values, max_size=3).map(lambda value: json.dumps(value, ensure_ascii=False))
schemas = st.dictionaries(identifiers, json_values, max_size=2).map(
    lambda properties: {"type": "object", "x-properties": properties}
)
calls = st.builds(ToolCall, identifiers, identifiers, arguments)
texts = st.lists(st.builds(Text, spoken), min_size=1, max_size=3).map(tuple)
systems = st.builds(Message, st.just("system"), texts)
users = st.builds(Message, st.just("user"), texts)
tool_lists = st.lists(
    st.builds(Tool, identifiers, st.just("") | spoken, schemas, st.booleans()),
    max_size=3,
    unique_by=lambda tool: tool.name,
).map(tuple)


@st.composite
def assistants(draw: st.DrawFn) -> Message:
    said = draw(st.just(()) | texts)
    asked = tuple(draw(st.lists(calls, min_size=0 if said else 1, max_size=2)))
    return Message("assistant", (*said, *asked))


@st.composite
def rounds(draw: st.DrawFn, *, errors: bool) -> list[Message]:
    """A user's turn and an answer, with the results of the tools that it asked for."""
    answer = draw(assistants())
    results = [
        Message("tool", (ToolResult(part.id, draw(some_text), draw(st.booleans()) if errors else False),))
        for part in answer.parts
        if isinstance(part, ToolCall)
    ]
    return [draw(users), answer, *results]


def sampling(*, anthropic: bool, choices: int) -> st.SearchStrategy[Sampling]:
    none = st.none()
    limit = none | st.integers(1, 10**6)
    p = none | st.floats(0, 1)
    stops = st.lists(spoken, max_size=4).map(tuple)
    if anthropic:
        return st.builds(Sampling, st.integers(1, 10**6), p, p, none | st.integers(0, 100), stop=stops)
    penalty = none | st.floats(-2, 2)
    warmth = none | st.floats(0, 2)
    return st.builds(
        *(Sampling, limit, warmth, p, none | st.integers(0, 100), p, penalty, penalty, none | st.integers(-5, 5)),
        stops,
        n=st.integers(1, choices),
    ) | st.builds(Sampling, logprobs=st.just(value=True), top_logprobs=st.integers(0, 20))


@st.composite
def conversations(draw: st.DrawFn, *, anthropic: bool = False, choices: int = 8) -> Conversation:
    """Conversations that the format can say without loss, to which up to so many answers are wanted."""
    messages = [draw(systems)] if draw(st.booleans()) else []
    for turns in draw(st.lists(rounds(errors=anthropic), max_size=2)):
        messages += turns
    if not messages or messages[-1].role not in {"tool", "user"} or not anthropic:
        messages.append(draw(users))
    tools = draw(tool_lists)
    choice = ToolChoice(parallel=draw(st.booleans())) if tools else ToolChoice()
    if tools and draw(st.booleans()):
        choice = ToolChoice("named", draw(st.sampled_from(tools)).name, choice.parallel)
    wanted = draw(st.just(ResponseFormat()) | st.builds(ResponseFormat, st.just("json_schema"), schema=schemas))
    if anthropic and wanted.schema is not None:
        wanted = ResponseFormat("json_schema", schema=wanted.schema, strict=True)
    return Conversation(tuple(messages), tools, choice, wanted, draw(sampling(anthropic=anthropic, choices=choices)))


logprobs = st.builds(
    TokenLogprob,
    some_text,
    st.floats(-100, 0),
    st.lists(st.tuples(some_text, st.floats(-100, 0)), max_size=2).map(tuple),
)
text_deltas = st.builds(TextDelta, some_text, st.lists(logprobs, max_size=2).map(tuple))
reasons = st.sampled_from(["stop", "length", "tool_calls", "content_filter"])
finishes = st.builds(Finish, reasons, st.builds(Usage, st.integers(0, 10**6), st.integers(0, 10**6)))


@st.composite
def contents(draw: st.DrawFn) -> list[ChoiceEvent]:
    """What a choice says, without its finish."""
    events: list[ChoiceEvent] = list(draw(st.lists(st.builds(ReasoningDelta, some_text), max_size=2)))
    events += draw(st.lists(text_deltas, max_size=4))
    for index, call in enumerate(draw(st.lists(calls, max_size=2))):
        cut = draw(st.integers(0, len(call.arguments)))
        tokens = draw(st.lists(logprobs, max_size=2).map(tuple))
        events.append(ToolCallDelta(index, call.id, call.name, call.arguments[:cut], tokens))
        events.append(ToolCallDelta(index, arguments=call.arguments[cut:]))
    return events


@st.composite
def answers(draw: st.DrawFn, *, choices: int = 1) -> list[AnswerEvent]:
    """A stream of events as the agent sends it, of up to so many choices, interleaved; the report last."""
    events: list[AnswerEvent] = list(draw(contents()))
    for index in range(1, draw(st.integers(1, choices))):
        other = [*draw(contents()), Finish(draw(reasons))]
        places = sorted(draw(st.integers(0, len(events))) for _ in other)
        for place, event in reversed([*zip(places, other, strict=True)]):
            events.insert(place, OtherChoice(index, event))
    return [*events, draw(finishes), REPORT]


CHOICES: list[AnswerEvent] = [
    OtherChoice(1, TextDelta("1: <PERS")),
    TextDelta("0: <PERS"),
    OtherChoice(2, ToolCallDelta(0, "call_1", "look_up", '{"a": "<PER')),
    TextDelta("ON_1>"),
    OtherChoice(1, TextDelta("ON_2> 😀")),
    OtherChoice(1, Finish("length")),
    OtherChoice(2, ToolCallDelta(0, arguments='SON_1>"}')),
    OtherChoice(2, Finish("tool_calls")),
    Finish("stop", Usage(12, 34)),
    REPORT,
]
"""Three answers to one request."""


ANSWER: list[AnswerEvent] = [
    ReasoningDelta("hm …"),
    TextDelta("Grüße, "),
    TextDelta("<PERS"),
    TextDelta('ON_1>!\r\n😀 "quoted"'),
    ToolCallDelta(0, "call_1", "look_up", '{"name": "<PER'),
    ToolCallDelta(0, arguments='SON_1>"}'),
    ToolCallDelta(1, "call_2", "look_up", "{}"),
    Finish("tool_calls", Usage(12, 34)),
    REPORT,
]
"""One of everything, with characters of every width."""


def joined(events: Iterable[AnswerEvent], *, with_logprobs: bool = True) -> list[AnswerEvent]:
    """The same answer in as few deltas as can be, choice by choice, the first one last; without the report."""
    by_choice: dict[int, list[AnswerEvent]] = {}
    for event in events:
        index, plain = (event.index, event.event) if isinstance(event, OtherChoice) else (0, event)
        by_choice.setdefault(index, []).append(plain)
    first = _joined(by_choice.pop(0, []), with_logprobs=with_logprobs)
    others = {index: _joined(by_choice[index], with_logprobs=with_logprobs) for index in sorted(by_choice)}
    return [*(OtherChoice(index, event) for index, events in others.items() for event in events), *first]


def _joined(events: Iterable[AnswerEvent], *, with_logprobs: bool) -> list[AnswerEvent]:
    merged: list[AnswerEvent] = []
    for event in events:
        last = merged[-1] if merged else None
        match last, event:
            case _, Report():
                continue
            case TextDelta(), TextDelta():
                merged[-1] = TextDelta(last.text + event.text, last.logprobs + event.logprobs)
            case ReasoningDelta(), ReasoningDelta():
                merged[-1] = ReasoningDelta(last.text + event.text)
            case ToolCallDelta(), ToolCallDelta() if last.index == event.index:
                merged[-1] = ToolCallDelta(
                    last.index, last.id, last.name, last.arguments + event.arguments, last.logprobs + event.logprobs
                )
            case _:
                merged.append(event)
    if not with_logprobs:
        said = TextDelta | ToolCallDelta
        merged = [replace(event, logprobs=()) if isinstance(event, said) else event for event in merged]
    return merged


def cut_at(wire: bytes, *places: int) -> list[SseEvent]:
    """What the parser makes of bytes that arrive in pieces."""
    decoder = SseDecoder()
    edges = pairwise([0, *sorted(places), len(wire)])
    return [event for start, end in edges for event in decoder.feed(wire[start:end])]


def decoded(decoder: object, sse: Iterable[SseEvent]) -> list[Event]:
    """All events of a stream, to its end."""
    events = [event for item in sse for event in decoder.feed(item)]  # type: ignore[attr-defined]
    return events + decoder.end()  # type: ignore[attr-defined]
