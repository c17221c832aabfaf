"""A request in OpenAI's chat format, written for a provider."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

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

Dialect = Literal["openai", "compatible"]
"""`openai`: what OpenAI itself takes; it refuses unknown fields. `compatible`: what most other servers take, too."""

MAX_STOPS = 4
_NOT_IN_NAMES = re.compile(r"[\s<|\\/>]+")


def encode_request(
    conversation: Conversation, model: str, stream: bool, *, dialect: Dialect = "openai"
) -> dict[str, Any]:
    """The request body. What the format cannot say is left out: a tool result's `is_error`, a fifth stop string."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [item for message in conversation.messages for item in _messages(message)],
        "stream": stream,
    }
    if stream:
        body["stream_options"] = {"include_usage": True}
    if conversation.tools:
        body["tools"] = [_tool(tool) for tool in conversation.tools]
        body |= _tool_choice(conversation.tool_choice)
    if conversation.response_format.kind != "text":
        body["response_format"] = _response_format(conversation.response_format)
    return body | _sampling(conversation.sampling, dialect)


def _messages(message: Message) -> Iterator[dict[str, Any]]:
    """One of ours may be several of theirs: they keep each tool result in a message of its own."""
    for part in message.parts:
        if isinstance(part, ToolResult):
            yield {"role": "tool", "tool_call_id": part.call_id, "content": part.content}
    texts = [part.text for part in message.parts if isinstance(part, Text)]
    calls = [_tool_call(part) for part in message.parts if isinstance(part, ToolCall)]
    if message.role == "tool" and not texts:
        return
    item: dict[str, Any] = {
        "role": "user" if message.role == "tool" else message.role,
        "content": _content(texts) if texts or not calls else None,
    }
    if calls:
        item["tool_calls"] = calls
    # The format forbids the brackets of a placeholder in a name.
    name = _NOT_IN_NAMES.sub("", message.name or "")[:64]
    if name:
        item["name"] = name
    yield item


def _content(texts: list[str]) -> str | list[dict[str, str]]:
    if len(texts) < 2:
        return "".join(texts)
    return [{"type": "text", "text": text} for text in texts]


def _tool_call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "parameters": dict(tool.parameters)}
    if tool.description:
        function["description"] = tool.description
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if choice.mode == "named":
        fields["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    elif choice.mode != "auto":
        fields["tool_choice"] = choice.mode
    if not choice.parallel:
        fields["parallel_tool_calls"] = False
    return fields


def _response_format(wanted: ResponseFormat) -> dict[str, Any]:
    if wanted.kind != "json_schema":
        return {"type": wanted.kind}
    details: dict[str, Any] = {"name": wanted.name, "schema": dict(wanted.schema or {})}
    if wanted.strict:
        details["strict"] = True
    return {"type": "json_schema", "json_schema": details}


def _sampling(sampling: Sampling, dialect: Dialect) -> dict[str, Any]:
    limit = "max_completion_tokens" if dialect == "openai" else "max_tokens"
    fields: dict[str, Any] = {
        limit: sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "seed": sampling.seed,
        "stop": list(sampling.stop[:MAX_STOPS]) or None,
        "logprobs": sampling.logprobs or None,
        "top_logprobs": sampling.top_logprobs or None,
        "n": sampling.n if sampling.n > 1 else None,
    }
    if dialect == "compatible":
        fields |= {"top_k": sampling.top_k, "min_p": sampling.min_p}
    return {name: value for name, value in fields.items() if value is not None}
