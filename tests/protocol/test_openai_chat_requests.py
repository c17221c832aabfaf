from __future__ import annotations

import json
from dataclasses import replace

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import TypeAdapter
from wire_strategies import conversations, for_all

from cloud_bridge.protocol.conversation import (
    Conversation,
    Message,
    ResponseFormat,
    Sampling,
    Text,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from cloud_bridge.protocol.openai_chat import decode_request, encode_request
from cloud_bridge.protocol.problems import InvalidRequest

OFFICIAL = TypeAdapter(CompletionCreateParamsNonStreaming)

HI = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": '{"a": 1}'}}
SECRET = "jan@example.org"


def request(**fields):
    return {"messages": HI, **fields}


def message(**fields):
    return {"messages": [{"role": "user", **fields}]}


@for_all(conversations())
def test_what_is_encoded_is_decoded(conversation):
    body = json.loads(json.dumps(encode_request(conversation, "m", stream=True, dialect="compatible")))
    decoded = decode_request(body)
    assert decoded.conversation == conversation
    assert (decoded.model, decoded.stream, decoded.include_usage) == ("m", True, True)


@for_all(conversations())
def test_the_official_client_s_types_take_the_request(conversation):
    body = encode_request(conversation, "m", stream=False)
    taken = OFFICIAL.validate_python(body)
    assert len(list(taken["messages"])) == len(conversation.messages)
    assert len(list(taken.get("tools", ()))) == len(conversation.tools)


def test_openai_itself_is_sent_no_field_that_it_refuses():
    conversation = Conversation((Message("user", (Text("hi"),)),), sampling=Sampling(max_tokens=5, top_k=3, min_p=0.1))
    assert encode_request(conversation, "m", stream=False) == {
        "model": "m",
        "messages": HI,
        "stream": False,
        "max_completion_tokens": 5,
    }


def test_a_masked_name_is_written_without_its_brackets():
    conversation = Conversation((Message("user", (Text("hi"),), name="<PERSON_1>"),))
    assert encode_request(conversation, "m", stream=False)["messages"][0]["name"] == "PERSON_1"


def test_a_small_request_gets_the_defaults():
    decoded = decode_request(request())
    assert decoded.conversation == Conversation((Message("user", (Text("hi"),)),))
    assert (decoded.model, decoded.stream, decoded.include_usage, decoded.edge) == ("auto", False, False, {})


def test_every_kind_of_message_is_read():
    body = {
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "be"}, {"type": "text", "text": "brief"}]},
            {"role": "user", "content": "hi", "name": "ann"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "4"}]},
            {"role": "assistant", "content": None, "refusal": "no"},
        ]
    }
    assert decode_request(body).conversation.messages == (
        Message("system", (Text("be"), Text("brief"))),
        Message("user", (Text("hi"),), "ann"),
        Message("assistant", (ToolCall("c1", "look_up", '{"a": 1}'),)),
        Message("tool", (ToolResult("c1", "4"),)),
        Message("assistant", (Text("no"),)),
    )


def test_every_option_is_read():
    decoded = decode_request(
        request(
            model="cloud",
            stream=True,
            stream_options={"include_usage": True},
            max_tokens=3,
            max_completion_tokens=7,
            temperature=2,
            top_p=0.5,
            frequency_penalty=-2,
            presence_penalty=2,
            seed=-4,
            stop="END",
            logprobs=True,
            top_logprobs=20,
            n=1,
            tools=[TOOL],
            tool_choice={"type": "function", "function": {"name": "look_up"}},
            parallel_tool_calls=False,
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"a": 1}, "strict": True}},
            edge={"session_id": "s", "defer": "never"},
            user="someone",
            unheard_of={"field": []},
        )
    )
    assert decoded.model == "cloud"
    assert decoded.stream
    assert decoded.include_usage
    assert decoded.edge == {"session_id": "s", "defer": "never"}
    assert decoded.conversation.sampling == Sampling(
        7, 2, 0.5, frequency_penalty=-2, presence_penalty=2, seed=-4, stop=("END",), logprobs=True, top_logprobs=20
    )
    assert decoded.conversation.tool_choice == ToolChoice("named", "look_up", parallel=False)
    assert decoded.conversation.response_format == ResponseFormat("json_schema", "x", {"a": 1}, strict=True)


def test_several_answers_may_be_asked_for():
    assert decode_request(request(n=8)).conversation.sampling == Sampling(n=8)
    assert encode_request(decode_request(request(n=3)).conversation, "m", stream=True)["n"] == 3
    assert "n" not in encode_request(decode_request(request(n=1)).conversation, "m", stream=True)
    with pytest.raises(InvalidRequest, match="from 1 to 8"):
        decode_request(request(n=9))


@pytest.mark.parametrize("option", ["temperature", "stop", "tools", "seed", "stream", "n", "edge", "model", "logprobs"])
def test_null_means_absent(option):
    assert decode_request(request(**{option: None})) == decode_request(request())


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ([], None, "invalid_type"),
        ({}, "messages", "missing_required_parameter"),
        ({"messages": []}, "messages", "empty_prompt"),
        ({"messages": "hi"}, "messages", "invalid_type"),
        ({"messages": ["hi"]}, "messages[0]", "invalid_type"),
        ({"messages": [*HI, {"content": "x"}]}, "messages[1].role", "missing_required_parameter"),
        (message(role=SECRET, content="x"), "messages[0].role", "unsupported_value"),
        (message(), "messages[0].content", "missing_required_parameter"),
        (message(content="  "), "messages", "empty_prompt"),
        (message(content=7), "messages[0].content", "invalid_type"),
        (message(content="\ud800"), "messages[0].content", "invalid_value"),
        (message(content=[{"type": "text"}]), "messages[0].content[0].text", "missing_required_parameter"),
        (message(content=[{"text": "x"}]), "messages[0].content[0].type", "missing_required_parameter"),
        (
            message(content=[{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": SECRET}}]),
            "messages[0].content[1]",
            "unsupported_content",
        ),
        (message(content=[SECRET]), "messages[0].content[0]", "invalid_type"),
        (message(role="assistant"), "messages[0].content", "missing_required_parameter"),
        (message(role="tool", content="x"), "messages[0].tool_call_id", "missing_required_parameter"),
        (
            message(role="assistant", tool_calls=[{"id": "1", "function": {"name": "f", "arguments": {}}}]),
            "messages[0].tool_calls[0].function.arguments",
            "invalid_type",
        ),
        (
            message(role="assistant", tool_calls=[{"id": "1", "type": "custom", "custom": {}}]),
            "messages[0].tool_calls[0].type",
            "unsupported_value",
        ),
        (request(model=3), "model", "invalid_type"),
        (request(temperature=2.1), "temperature", "invalid_value"),
        (request(temperature=float("nan")), "temperature", "invalid_value"),
        (request(temperature="0"), "temperature", "invalid_type"),
        (request(temperature=True), "temperature", "invalid_type"),
        (request(top_p=-0.1), "top_p", "invalid_value"),
        (request(n=9), "n", "invalid_value"),
        (request(n=1.5), "n", "invalid_type"),
        (request(n=0), "n", "invalid_value"),
        (request(max_tokens=0), "max_tokens", "invalid_value"),
        (request(max_completion_tokens=1.5), "max_completion_tokens", "invalid_type"),
        (request(stop=["a", "b", "c", "d", "e"]), "stop", "invalid_value"),
        (request(stop=[1]), "stop[0]", "invalid_type"),
        (request(stop=""), "stop", "invalid_value"),
        (request(max_completion_tokens=2**31), "max_completion_tokens", "invalid_value"),
        (request(stop=1), "stop", "invalid_type"),
        (request(seed=2**63), "seed", "invalid_value"),
        (request(logprobs=True, top_logprobs=21), "top_logprobs", "invalid_value"),
        (request(top_logprobs=1), "top_logprobs", "invalid_value"),
        (request(logit_bias={"1": 5}), "logit_bias", "unsupported_parameter"),
        (request(modalities=["text", "audio"]), "modalities", "unsupported_value"),
        (request(logprobs="yes"), "logprobs", "invalid_type"),
        (request(stream=1), "stream", "invalid_type"),
        (request(stream_options={"include_usage": 1}), "stream_options.include_usage", "invalid_type"),
        (request(tools={}), "tools", "invalid_type"),
        (request(tools=[{"type": "function"}]), "tools[0].function", "missing_required_parameter"),
        (request(tools=[{"type": "custom"}]), "tools[0].type", "unsupported_value"),
        (
            request(tools=[{"type": "function", "function": {"name": SECRET}}]),
            "tools[0].function.name",
            "invalid_value",
        ),
        (request(tools=[TOOL, TOOL]), "tools", "invalid_value"),
        (request(tools=[TOOL] * 129), "tools", "invalid_value"),
        (request(tool_choice="required"), "tool_choice", "invalid_value"),
        (request(tool_choice="some"), "tool_choice", "unsupported_value"),
        (request(tool_choice={"type": "function", "function": {"name": "f"}}), "tool_choice", "invalid_value"),
        (request(tool_choice={"type": "allowed_tools"}), "tool_choice.type", "unsupported_value"),
        (request(response_format={"type": "xml"}), "response_format.type", "unsupported_value"),
        (request(response_format={"type": "json_schema"}), "response_format.json_schema", "missing_required_parameter"),
        (
            request(response_format={"type": "json_schema", "json_schema": {"name": SECRET}}),
            "response_format.json_schema.name",
            "invalid_value",
        ),
        (request(functions=[]), "functions", "unsupported_parameter"),
        (request(edge="x"), "edge", "invalid_type"),
    ],
)
def test_what_is_wrong_is_named_and_never_quoted(body, param, code):
    with pytest.raises(InvalidRequest) as caught:
        decode_request(body)
    assert (caught.value.param, caught.value.code) == (param, code)
    assert caught.value.hint
    assert SECRET not in str(caught.value)


def test_a_bottomless_schema_is_refused():
    schema: dict = {}
    for _ in range(500):
        schema = {"items": schema}
    with pytest.raises(InvalidRequest) as caught:
        decode_request(request(tools=[{"type": "function", "function": {"name": "f", "parameters": schema}}]))
    assert caught.value.param == "tools[0].function.parameters"


def test_a_turn_that_mixes_results_and_text_becomes_two():
    mixed = Message("user", (Text("and now?"), ToolResult("c1", "4")))
    roles = [item["role"] for item in encode_request(Conversation((mixed,)), "m", stream=False)["messages"]]
    assert roles == ["tool", "user"]


@for_all(conversations(anthropic=True))
def test_any_conversation_can_be_written(conversation):
    crowded = replace(conversation, sampling=Sampling(stop=tuple("abcdefgh")))
    assert len(encode_request(crowded, "m", stream=False)["stop"]) == 4
