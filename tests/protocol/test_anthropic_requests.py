from __future__ import annotations

import json

import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from pydantic import TypeAdapter
from wire_strategies import conversations, for_all

from cloud_bridge.protocol.anthropic import decode_request, encode_request
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
from cloud_bridge.protocol.problems import InvalidRequest

OFFICIAL = TypeAdapter(MessageCreateParamsNonStreaming)

SECRET = "jan@example.org"
HI = [{"role": "user", "content": "hi"}]
TOOL = {"name": "look_up", "input_schema": {"type": "object"}}


def request(**fields):
    return {"max_tokens": 10, "messages": HI, **fields}


def message(**fields):
    return {"max_tokens": 10, "messages": [{"role": "user", **fields}]}


def user(*texts):
    return Message("user", tuple(Text(text) for text in texts))


def assistant(*parts):
    return Message("assistant", parts)


def encoded(*messages, **fields):
    """The body without the marks for the provider's cache, which have tests of their own."""
    return unmarked(encode_request(Conversation(messages, **fields), "m", stream=False))


def unmarked(body):
    if isinstance(body, dict):
        return {key: unmarked(value) for key, value in body.items() if key != "cache_control"}
    return [unmarked(item) for item in body] if isinstance(body, list) else body


def marked(body):
    """Where the marks are: the field, the number in it, and for a turn the number of the block."""
    system, tools = body.get("system", ()), body.get("tools", ())
    places = [("system", number) for number, block in enumerate(system) if "cache_control" in block]
    places += [("tools", number) for number, tool in enumerate(tools) if "cache_control" in tool]
    for number, turn in enumerate(body["messages"]):
        blocks = () if isinstance(turn["content"], str) else turn["content"]
        places += [("messages", number, at) for at, block in enumerate(blocks) if "cache_control" in block]
    return places


@for_all(conversations(anthropic=True))
def test_what_is_encoded_is_decoded(conversation):
    body = json.loads(json.dumps(encode_request(conversation, "m", stream=True, sampling_fields=True)))
    decoded = decode_request(body)
    assert decoded.conversation == conversation
    assert (decoded.model, decoded.stream) == ("m", True)


@for_all(conversations(choices=1))
def test_what_another_format_can_say_is_settled_after_one_round(conversation):
    body = encode_request(conversation, "m", stream=False)
    assert encode_request(decode_request(body).conversation, "m", stream=False) == body


@for_all(conversations(choices=1))
def test_the_official_client_s_types_take_the_request_and_turns_alternate(conversation):
    body = encode_request(conversation, "m", stream=False)
    OFFICIAL.validate_python(body)
    roles = [turn["role"] for turn in body["messages"]]
    assert roles == [("user", "assistant")[index % 2] for index in range(len(roles))]


@for_all(conversations(choices=1))
def test_the_provider_is_told_what_to_keep_in_at_most_the_four_places_allowed(conversation):
    body = encode_request(conversation, "m", stream=False)
    asked = [number for number, turn in enumerate(body["messages"]) if turn["role"] == "user"][-2:]
    assert marked(body) == [
        *([("system", len(body["system"]) - 1)] if "system" in body else []),
        *([("tools", len(body["tools"]) - 1)] if "tools" in body else []),
        *(("messages", number, len(body["messages"][number]["content"]) - 1) for number in asked),
    ]
    assert len(marked(body)) <= 4


def test_what_a_request_had_marked_last_the_next_marks_again_and_begins_with():
    said = [
        Message("system", (Text("Be brief."),)),
        user("one"),
        assistant(Text("1")),
        user("two"),
        assistant(Text("2")),
    ]
    before = encode_request(Conversation(tuple(said[:4])), "m", stream=False)
    after = encode_request(Conversation((*said, user("three"))), "m", stream=False)
    assert after["system"] == before["system"]
    assert unmarked(after["messages"][2]) == unmarked(before["messages"][2])
    assert marked(before)[-1] in marked(after)


def test_several_answers_are_refused_since_the_format_has_no_word_for_them():
    with pytest.raises(InvalidRequest, match="one answer at a time") as caught:
        encoded(user("hi"), sampling=Sampling(n=2))
    assert (caught.value.code, caught.value.param) == ("unsupported_value", "n")


def test_neighbours_are_merged_and_results_come_first():
    body = encoded(
        Message("system", (Text("be brief"),)),
        user("one"),
        user("two"),
        assistant(ToolCall("c1", "f", '{"a": 1}'), ToolCall("c2", "g", "")),
        Message("tool", (ToolResult("c1", "4"),)),
        user("and?"),
        Message("tool", (ToolResult("c2", "no", is_error=True),)),
        Message("system", (Text("be polite"),)),
    )
    assert body["system"] == [{"type": "text", "text": "be brief"}, {"type": "text", "text": "be polite"}]
    assert body["max_tokens"] == 4096
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "c2", "name": "g", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "4"},
                {"type": "tool_result", "tool_use_id": "c2", "content": "no", "is_error": True},
                {"type": "text", "text": "and?"},
            ],
        },
    ]


@pytest.mark.parametrize("arguments", ["[1]", "not json", "3"])
def test_arguments_that_are_no_object_are_wrapped(arguments):
    (block,) = encoded(user("x"), assistant(ToolCall("c", "f", arguments)))["messages"][1]["content"]
    assert list(block["input"]) == ["value"]


def test_what_the_format_refuses_is_not_sent():
    body = encoded(
        assistant(Text("Hello!")),
        user("  ", "hi"),
        assistant(ToolCall("call:1", "f", "{}")),
        Message("tool", (ToolResult("call:1", ""),)),
        sampling=Sampling(temperature=0.7, top_p=0.5, top_k=3, seed=1, stop=("\n", "END")),
    )
    assert body["messages"][0]["role"] == "user"
    assert body["messages"][2]["content"] == [{"type": "text", "text": "hi"}]
    assert body["messages"][3]["content"][0]["id"] == body["messages"][4]["content"][0]["tool_use_id"] == "call_1"
    assert body["stop_sequences"] == ["END"]
    assert not {"temperature", "top_p", "top_k", "seed"} & set(body)


def test_an_older_model_is_told_how_to_choose():
    conversation = Conversation((user("hi"),), sampling=Sampling(temperature=1.7, top_p=0.5, top_k=3))
    body = encode_request(conversation, "m", stream=False, sampling_fields=True)
    assert (body["temperature"], body["top_p"], body["top_k"]) == (1.0, 0.5, 3)


def test_instructions_alone_are_asked_as_a_question():
    body = encoded(Message("system", (Text("Tell a joke."),)))
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Tell a joke."}]}]
    assert "system" not in body


def test_formats_and_choices_are_translated():
    tool = Tool("f")
    assert encoded(user("x"), tools=(tool,), tool_choice=ToolChoice("required"))["tool_choice"] == {"type": "any"}
    assert encoded(user("x"), tools=(tool,), tool_choice=ToolChoice(parallel=False))["tool_choice"] == {
        "type": "auto",
        "disable_parallel_tool_use": True,
    }
    assert encoded(user("x"), tools=(tool,))["tools"] == [{"name": "f", "input_schema": {"type": "object"}}]
    assert "JSON" in encoded(user("x"), response_format=ResponseFormat("json_object"))["system"][0]["text"]


def test_every_kind_of_block_is_read():
    body = request(
        system=[{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
        messages=[
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "x"},
                    {"type": "text", "text": "wait"},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": "é"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "4"}]},
                    {"type": "tool_result", "tool_use_id": "t2", "is_error": True},
                    {"type": "text", "text": "so?"},
                ],
            },
        ],
    )
    assert decode_request(body).conversation.messages == (
        Message("system", (Text("be brief"),)),
        user("hi"),
        assistant(Text("wait"), ToolCall("t1", "f", '{"a": "é"}')),
        Message("tool", (ToolResult("t1", "4"),)),
        Message("tool", (ToolResult("t2", "", is_error=True),)),
        user("so?"),
    )


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        (None, None, "invalid_type"),
        ({}, "messages", "missing_required_parameter"),
        ({"messages": []}, "messages", "empty_prompt"),
        (message(role=SECRET, content="x"), "messages[0].role", "unsupported_value"),
        (message(), "messages[0].content", "missing_required_parameter"),
        (message(content=3), "messages[0].content", "invalid_type"),
        (
            message(content=[{"type": "image", "source": {"data": SECRET}}]),
            "messages[0].content[0]",
            "unsupported_content",
        ),
        (message(content=[{"type": "tool_use"}]), "messages[0].content[0]", "unsupported_content"),
        (
            message(role="assistant", content=[{"type": "tool_use", "id": "1", "name": "f", "input": "{}"}]),
            "messages[0].content[0].input",
            "invalid_type",
        ),
        (
            message(content=[{"type": "tool_result", "tool_use_id": "1", "content": [{"type": "image"}]}]),
            "messages[0].content[0].content[0]",
            "unsupported_content",
        ),
        (request(system=[{"type": "image"}]), "system[0]", "unsupported_content"),
        (request(max_tokens=0), "max_tokens", "invalid_value"),
        (request(temperature=1.1), "temperature", "invalid_value"),
        (request(stop_sequences="x"), "stop_sequences", "invalid_type"),
        (request(tools=[{"type": "web_search_20250305", "name": "web_search"}]), "tools[0].type", "unsupported_value"),
        (request(tools=[TOOL, TOOL]), "tools", "invalid_value"),
        (request(tool_choice={"type": "tool", "name": "f"}), "tool_choice", "invalid_value"),
        (request(tool_choice={"type": "tool"}), "tool_choice.name", "missing_required_parameter"),
        (request(tool_choice="auto"), "tool_choice", "invalid_type"),
        (request(output_config={"format": {"type": "xml"}}), "output_config.format.type", "unsupported_value"),
    ],
)
def test_what_is_wrong_is_named_and_never_quoted(body, param, code):
    with pytest.raises(InvalidRequest) as caught:
        decode_request(body)
    assert (caught.value.param, caught.value.code) == (param, code)
    assert caught.value.hint
    assert SECRET not in str(caught.value)
