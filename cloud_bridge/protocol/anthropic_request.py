"""A request in Anthropic's messages format, read and checked (our door)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any, Literal

from cloud_bridge.protocol.chat_request import AUTO_MODEL, ChatRequest
from cloud_bridge.protocol.conversation import (
    Conversation,
    Message,
    Part,
    ResponseFormat,
    Role,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from cloud_bridge.protocol.fields import Fields, as_text, invalid, wrong_type
from cloud_bridge.protocol.problems import InvalidRequest
from cloud_bridge.protocol.tools import check_tools, tool_name

MAX_STOPS = 16
_MODES: dict[str, Literal["auto", "none", "required", "named"]] = {
    "auto": "auto",
    "none": "none",
    "any": "required",
    "tool": "named",
}
# Reasoning is signed for the model that wrote it and means nothing to another.
_REASONING = ("redacted_thinking", "thinking")


def decode_request(body: Any) -> ChatRequest:
    """The request in a decoded JSON body. Raises InvalidRequest whose `param` names the path of what is wrong.

    `max_tokens` may be missing: then the model's own limit holds, as in our other formats.
    """
    fields = Fields(body)
    fields.require("messages")
    tools = tuple(_tool(item) for item in fields.objects("tools"))
    tool_choice = _tool_choice(fields)
    check_tools(tools, tool_choice)
    conversation = Conversation(
        messages=(*_system(fields), *(message for item in fields.objects("messages") for message in _messages(item))),
        tools=tools,
        tool_choice=tool_choice,
        response_format=_response_format(fields),
        sampling=_sampling(fields),
    )
    conversation.require_prompt()
    return ChatRequest(
        conversation=conversation,
        model=fields.text("model") or AUTO_MODEL,
        stream=bool(fields.flag("stream")),
        include_usage=True,
        edge=fields.document("edge") or {},
    )


def _system(fields: Fields) -> Iterator[Message]:
    parts = tuple(_parts(fields, "system", "system"))
    if parts:
        yield Message("system", parts)


def _messages(fields: Fields) -> Iterator[Message]:
    """One of theirs may be several of ours: a tool's result is a message of its own."""
    role = fields.required_choice("role", ("assistant", "system", "user"))
    fields.require("content")
    kept: Role = "assistant" if role == "assistant" else "system" if role == "system" else "user"
    for is_result, parts in groupby(_parts(fields, "content", kept), lambda part: isinstance(part, ToolResult)):
        if is_result:
            yield from (Message("tool", (part,)) for part in parts)
        else:
            yield Message(kept, tuple(parts))


def _parts(fields: Fields, key: str, role: Role) -> Iterator[Part]:
    value = fields.raw(key)
    if value is None:
        return
    if isinstance(value, str):
        yield Text(as_text(value, fields.at(key)))
        return
    if not isinstance(value, list):
        raise wrong_type(fields.at(key), "a string or an array of blocks", value)
    for index, block in enumerate(fields.objects(key)):
        yield from _block(block, index, role)


def _block(block: Fields, index: int, role: Role) -> Iterator[Part]:
    kind = block.required_text("type")
    if kind == "text":
        yield Text(block.required_text("text"))
    elif kind == "tool_use" and role == "assistant":
        arguments = json.dumps(block.document("input") or {}, ensure_ascii=False)
        yield ToolCall(block.required_text("id"), tool_name(block), arguments)
    elif kind == "tool_result" and role == "user":
        content = "".join(part.text for part in _parts(block, "content", "tool") if isinstance(part, Text))
        yield ToolResult(block.required_text("tool_use_id"), content, bool(block.flag("is_error")))
    elif kind not in _REASONING or role != "assistant":
        raise InvalidRequest(
            f"Content block {index} is of a kind that is not supported here.",
            code="unsupported_content",
            hint="Send text, tool_use (assistant) and tool_result (user) blocks; describe images and files in words.",
            param=block.path,
        )


def _tool(fields: Fields) -> Tool:
    if fields.text("type") not in {None, "custom"}:
        raise InvalidRequest(
            "Tools that run at the provider are not supported.",
            code="unsupported_value",
            hint="Send tools with 'name' and 'input_schema' only.",
            param=fields.at("type"),
        )
    return Tool(
        name=tool_name(fields),
        description=fields.text("description") or "",
        parameters=fields.document("input_schema") or {},
        strict=bool(fields.flag("strict")),
    )


def _tool_choice(fields: Fields) -> ToolChoice:
    choice = fields.nested("tool_choice")
    if choice is None:
        return ToolChoice()
    mode = _MODES[choice.required_choice("type", _MODES)]
    name = choice.required_text("name") if mode == "named" else None
    return ToolChoice(mode, name, parallel=not choice.flag("disable_parallel_tool_use"))


def _response_format(fields: Fields) -> ResponseFormat:
    config = fields.nested("output_config")
    wanted = config.nested("format") if config else None
    if wanted is None:
        return ResponseFormat()
    wanted.required_choice("type", ("json_schema",))
    wanted.require("schema")
    return ResponseFormat("json_schema", schema=wanted.document("schema"), strict=True)


def _sampling(fields: Fields) -> Sampling:
    stops = fields.texts("stop_sequences", most=MAX_STOPS)
    if not all(stops):
        raise invalid("stop_sequences", "holds an empty string")
    return Sampling(
        max_tokens=fields.integer("max_tokens", 1),
        temperature=fields.number("temperature", 0, 1),
        top_p=fields.number("top_p", 0, 1),
        top_k=fields.integer("top_k", 0),
        stop=stops,
    )
