"""Every string that may be changed has its place, in the order in which it is changed."""

from __future__ import annotations

from wire_strategies import conversations, for_all

from cloud_bridge.protocol.conversation import (
    Conversation,
    Message,
    ResponseFormat,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)


def changed(conversation: Conversation) -> list[str]:
    seen: list[str] = []

    def note(text: str) -> str:
        seen.append(text)
        return text

    conversation.map_strings(note, note)
    return seen


@for_all(conversations() | conversations(anthropic=True))
def test_each_string_has_one_place(conversation: Conversation) -> None:
    assert len(list(conversation.places())) == len(changed(conversation))


def test_places_are_written_as_in_a_request() -> None:
    schema = {"type": "object", "description": "d", "properties": {"a": {"enum": ["e"]}}}
    conversation = Conversation(
        (
            Message("system", (Text("s"),)),
            Message("user", (Text("t0"), Text("t1")), name="n"),
            Message("assistant", (Text("t2"), ToolCall("c", "f", "a0"), ToolCall("d", "f", "a1"))),
            Message("tool", (ToolResult("c", "r"),)),
        ),
        tools=(Tool("f", "about", schema),),
        response_format=ResponseFormat("json_schema", schema={"title": "x"}),
        sampling=Sampling(stop=("one", "two")),
    )
    assert dict(zip(changed(conversation), conversation.places(), strict=True)) == {
        "s": "messages[0].content",
        "n": "messages[1].name",
        "t0": "messages[1].content[0]",
        "t1": "messages[1].content[1]",
        "t2": "messages[2].content",
        "a0": "messages[2].tool_calls[0].function.arguments",
        "a1": "messages[2].tool_calls[1].function.arguments",
        "r": "messages[3].content",
        "about": "tools[0].description",
        "d": "tools[0].parameters",
        "e": "tools[0].parameters",
        "x": "response_format.schema",
        "one": "stop[0]",
        "two": "stop[1]",
    }
