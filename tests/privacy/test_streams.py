"""A provider's bytes in, a client's bytes out: whatever the formats and wherever they are cut, values come back.

What is expected is put together from the values themselves, so nothing depends on how restoring finds placeholders.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_bridge.protocol import anthropic_answer, anthropic_door, openai_chat_answer, openai_chat_door
from cloud_bridge.protocol.conversation import ToolCall
from cloud_bridge.protocol.events import (
    ChoiceEvent,
    Event,
    Finish,
    OtherChoice,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
)
from cloud_bridge.protocol.gathered import Answer, gather
from cloud_bridge.protocol.report import Report
from cloud_bridge.protocol.sse import SseDecoder
from edge_agent.privacy.mapping import MappingEntry, SessionMapping
from edge_agent.privacy.restore import StreamRestorer

FORMATS = {
    "openai": (lambda: openai_chat_door.StreamEncoder("id", "m", 0), openai_chat_answer.StreamDecoder),
    "anthropic": (lambda: anthropic_door.StreamEncoder("id", "m"), anthropic_answer.StreamDecoder),
}
TEXTS = st.text(max_size=6) | st.sampled_from(
    ['Peter "Pit" O\\Neil', "a\nb\t\x00\x1f", "<PERSON_2>", "\u2028é😀", "\\", '"']
)
VALUES = st.tuples(TEXTS, TEXTS)
HALF = TEXTS | st.just("\ud800") | st.just("\udfff\u2029")


@dataclass(frozen=True)
class Piece:
    """As the model writes it, and which value it means; None for its own words."""

    written: str
    value: int | None = None


SAID = [
    Piece(text)
    for text in ("a < b ", "&", "é😀", " ", "\n", '"', "'s", "<PERS", "<", "[", "日本", "<PERSON_99>", "data: ")
]
FORMS = [
    "<PERSON_{}>",
    "< Person_{} >",
    "<PERSON-{}>",
    "[PERSON_{}]",
    "{{{{PERSON_{}}}}}",
    "<PERSONNE_{}>",
    "**<PERSON_{}>**",
]
PLAIN = [Piece(form.format(number + 1), number) for form in FORMS for number in range(2)]
PIECES = st.lists(st.sampled_from(SAID) | st.sampled_from(PLAIN), max_size=8)


def written(pieces: Sequence[Piece]) -> str:
    return "".join(piece.written for piece in pieces)


def meant(pieces: Sequence[Piece], values: tuple[str, str]) -> str:
    def one(piece: Piece) -> str:
        if piece.value is None:
            return piece.written
        stars = "**" if piece.written.startswith("**") else ""
        return stars + values[piece.value] + stars

    return "".join(map(one, pieces))


def cut(draw: st.DrawFn, whole: Any) -> list[Any]:
    """In any pieces; often of one character or byte each."""
    if draw(st.booleans()):
        return [whole[at : at + 1] for at in range(len(whole))]
    places = sorted({0, len(whole), *draw(st.lists(st.integers(0, len(whole)), max_size=8))})
    return [whole[start:end] for start, end in pairwise(places)]


def mixed(draw: st.DrawFn, channels: list[list[Any]]) -> list[Any]:
    """All of them, each in its order."""
    random = draw(st.randoms(use_true_random=False))
    events = []
    while any(channels):
        events.append(random.choice([channel for channel in channels if channel]).pop(0))
    return events


def wire(events: Sequence[Event], kind: str) -> bytes:
    encoder = FORMATS[kind][0]()
    report = Report("d", "s", "t", "cloud")
    return b"".join(encoder.to_sse(event) for event in (*events, report)) + encoder.end()


def read(pieces: Sequence[bytes], kind: str, choices: int) -> list[Event]:
    decoder = FORMATS[kind][1](*((choices,) if kind == "openai" else ()))
    frames = SseDecoder()
    return [event for piece in pieces for sse in frames.feed(piece) for event in decoder.feed(sse)] + decoder.end()


def restored(events: Sequence[Event], mapping: SessionMapping) -> list[Event]:
    async def stream() -> AsyncIterator[Event]:
        for event in events:
            yield event

    async def collect() -> list[Event]:
        return [event async for event in StreamRestorer(mapping).restore(stream())]

    coroutine = collect()
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    return list(stop.value.value)


def mapping_of(values: tuple[str, str]) -> SessionMapping:
    return SessionMapping(MappingEntry(f"<PERSON_{at}>", "PERSON", value) for at, value in enumerate(values, 1))


@dataclass(frozen=True)
class Said:
    """What one choice says: text, reasoning, and one call's arguments, in JSON and in JSON inside it."""

    text: list[Piece]
    reasoning: list[Piece]
    outer: list[Piece]
    inner: list[Piece]
    key: list[Piece]

    def document(self, draw: st.DrawFn) -> str:
        # Each begins with a word: what begins as a JSON array does is taken for one.
        said, outer = "- " + written(self.inner), "- " + written(self.outer)
        inner = {"to": said, "n": [1, None, {"deep": said}]}
        ascii_only = draw(st.booleans())
        nested = json.dumps(inner, ensure_ascii=ascii_only)
        document = {"a": outer, "body": nested, "- " + written(self.key): [outer], "x": 1.5}
        source = json.dumps(document, ensure_ascii=ascii_only, indent=draw(st.sampled_from([None, 1])))
        return source.replace("<", "\\u003c").replace(">", "\\u003e") if draw(st.booleans()) else source

    def expected(self, values: tuple[str, str]) -> dict[str, Any]:
        outer, inner = "- " + meant(self.outer, values), "- " + meant(self.inner, values)
        nested = {"to": inner, "n": [1, None, {"deep": inner}]}
        return {"a": outer, "body": nested, "- " + meant(self.key, values): [outer], "x": 1.5}

    def events(self, draw: st.DrawFn) -> list[ChoiceEvent]:
        begun = [ToolCallDelta(0, "call_0", "send")]
        channels: list[list[ChoiceEvent]] = [
            [TextDelta(piece) for piece in cut(draw, "- " + written(self.text))],
            [ReasoningDelta(piece) for piece in cut(draw, "- " + written(self.reasoning))],
            [*begun, *(ToolCallDelta(0, arguments=piece) for piece in cut(draw, self.document(draw)))],
        ]
        return mixed(draw, channels)


SPOKEN = st.builds(Said, PIECES, PIECES, PIECES, PIECES, PIECES)


def check(answer: Answer, said: Said, values: tuple[str, str]) -> None:
    assert answer.text == "- " + meant(said.text, values)
    assert answer.reasoning == "- " + meant(said.reasoning, values)
    (call,) = answer.calls
    assert isinstance(call, ToolCall)
    document = json.loads(call.arguments)
    document["body"] = json.loads(document["body"])
    assert document == said.expected(values)


@settings(deadline=None, max_examples=40)  # the first compiles the grammar; each is a whole answer
@given(
    values=VALUES,
    said=SPOKEN,
    kinds=st.tuples(st.sampled_from([*FORMATS]), st.sampled_from([*FORMATS])),
    data=st.data(),
)
def test_every_value_comes_back_on_every_surface_wherever_it_is_cut(values, said, kinds, data):
    sent = wire([*said.events(data.draw), Finish("tool_calls")], kinds[0])
    out = restored(read(cut(data.draw, sent), kinds[0], 1), mapping_of(values))
    seen = read(cut(data.draw, wire(out, kinds[1])), kinds[1], 1)
    check(gather(seen), said, values)


@settings(deadline=None, max_examples=12)  # the first compiles the grammar; each is a whole answer
@given(values=VALUES, spoken=st.lists(SPOKEN, min_size=2, max_size=3), data=st.data())
def test_several_answers_in_one_stream(values, spoken, data):
    channels: list[list[Event]] = []
    for index, said in enumerate(spoken):
        events = [*said.events(data.draw), Finish("tool_calls")]
        channels.append([OtherChoice(index, event) for event in events] if index else list(events[:-1]))
    sent = wire([*mixed(data.draw, channels), Finish("tool_calls")], "openai")
    out = restored(read(cut(data.draw, sent), "openai", len(spoken)), mapping_of(values))
    answer = gather(read([wire(out, "openai")], "openai", len(spoken)))
    for index, said in enumerate(spoken):
        check(answer.others[index] if index else answer, said, values)


@settings(deadline=None, max_examples=30)  # the first compiles the grammar; each is a whole answer
@given(values=st.tuples(HALF, HALF), said=SPOKEN, data=st.data())
def test_arguments_stay_json_whatever_a_value_holds(values, said, data):
    source = said.document(data.draw)
    out = restored(
        [*(ToolCallDelta(0, arguments=piece) for piece in cut(data.draw, source)), Finish()], mapping_of(values)
    )
    arguments = gather(out).calls[0].arguments
    assert arguments.encode(), "it has bytes"
    assert not {"\u2028", "\u2029"} & set(arguments) - set(source)
    document = json.loads(arguments)
    document["body"] = json.loads(document["body"])
    assert document == json.loads(json.dumps(said.expected(values))), "half pairs side by side become a whole one"


@settings(deadline=None, max_examples=30)  # the first compiles the grammar; each is a whole answer
@given(values=VALUES, said=SPOKEN, data=st.data())
def test_an_answer_that_is_a_json_document_stays_one(values, said, data):
    out = restored(
        [*(TextDelta(piece) for piece in cut(data.draw, said.document(data.draw))), Finish()], mapping_of(values)
    )
    document = json.loads(gather(out).text)
    document["body"] = json.loads(document["body"])
    assert document == said.expected(values)
