"""A request in Anthropic's messages format, written for a provider."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from cloud_bridge.protocol.conversation import Conversation, Message, Sampling, Text, Tool, ToolCall, ToolChoice
from cloud_bridge.protocol.problems import InvalidRequest

DEFAULT_MAX_TOKENS = 4096

_JSON_ONLY = "Answer with one JSON object and nothing else."
_MODES = {"auto": "auto", "none": "none", "required": "any", "named": "tool"}
_CACHED = {"cache_control": {"type": "ephemeral"}}
_CACHED_TURNS = 2
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_-]")

Block = dict[str, Any]


def check_request(conversation: Conversation) -> None:
    """Raise InvalidRequest code "unsupported_value" for what the format has no word for, and cannot be left out."""
    if conversation.sampling.n > 1:
        raise InvalidRequest(
            "The provider makes one answer at a time.",
            code="unsupported_value",
            hint='Leave \'n\' out and send the request again for another answer, or ask for "model": "local".',
            param="n",
        )


def encode_request(
    conversation: Conversation, model: str, stream: bool, *, sampling_fields: bool = False
) -> dict[str, Any]:
    """The request body. What the format cannot say is left out: names, seeds, penalties, log probabilities.

    What a next request will begin with is marked for the provider's prompt cache: the instructions, the tools, and the
    newest two turns of the user (of which the second was the newest of the request before), at most the four marks that
    are allowed: https://platform.claude.com/docs/en/build-with-claude/prompt-caching

    `sampling_fields`: send temperature, top_p and top_k. From API version 2026-10-21 on they are refused, by newer
    models under 2023-06-01, too, so the default is to leave the choice to the model. Raises as `check_request`.
    """
    check_request(conversation)
    system, turns = _system(conversation), list(_turns(conversation))
    if not turns:
        # There must be a turn to answer; a conversation of instructions only is asked as a question.
        system, turns = [], [{"role": "user", "content": system}]
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": conversation.sampling.max_tokens or DEFAULT_MAX_TOKENS,
        "messages": _marked_turns(turns),
        "stream": stream,
    }
    if system:
        body["system"] = _marked(system)
    if conversation.tools:
        body["tools"] = _marked([_tool(tool) for tool in conversation.tools])
        body |= _tool_choice(conversation.tool_choice)
    wanted = conversation.response_format
    if wanted.kind == "json_schema":
        body["output_config"] = {"format": {"type": "json_schema", "schema": dict(wanted.schema or {})}}
    return body | _sampling(conversation.sampling, sampling_fields)


def _system(conversation: Conversation) -> list[Block]:
    texts = [
        part
        for message in conversation.messages
        if message.role == "system"
        for part in message.parts
        if isinstance(part, Text)
    ]
    if conversation.response_format.kind == "json_object":
        texts.append(Text(_JSON_ONLY))
    return [block for part in texts for block in _blocks(part)]


def _turns(conversation: Conversation) -> Iterator[Block]:
    """Turns that alternate and begin with the user's, as the format wants them."""
    spoken = [message for message in conversation.messages if message.role != "system"]
    first = True
    for role, messages in groupby(spoken, _role):
        content = [block for message in messages for part in message.parts for block in _blocks(part)]
        # In a turn, results of tools must come before anything else.
        content.sort(key=lambda block: block["type"] != "tool_result")
        if not content:
            continue
        if first and role == "assistant":
            yield {"role": "user", "content": [{"type": "text", "text": "(The assistant begins.)"}]}
        first = False
        yield {"role": role, "content": content}


def _role(message: Message) -> str:
    return "assistant" if message.role == "assistant" else "user"


def _blocks(part: Any) -> Iterator[Block]:
    if isinstance(part, Text):
        if part.text.strip():  # blank text blocks are refused
            yield {"type": "text", "text": part.text}
    elif isinstance(part, ToolCall):
        yield {"type": "tool_use", "id": _id(part.id), "name": part.name, "input": read_arguments(part.arguments)}
    else:
        block = {"type": "tool_result", "tool_use_id": _id(part.call_id), "content": part.content}
        yield {**block, "is_error": True} if part.is_error else block


def _marked_turns(turns: list[Block]) -> list[Block]:
    asked = [number for number, turn in enumerate(turns) if turn["role"] == "user"][-_CACHED_TURNS:]
    return [
        {**turn, "content": _marked(turn["content"]) if number in asked else _short(turn["content"])}
        for number, turn in enumerate(turns)
    ]


def _marked(blocks: list[Block]) -> list[Block]:
    """Up to and with the last of these the provider keeps what it read."""
    return [*blocks[:-1], blocks[-1] | _CACHED]


def _short(content: list[Block]) -> str | list[Block]:
    """A single text as a plain string."""
    if len(content) == 1 and content[0]["type"] == "text":
        return str(content[0]["text"])
    return content


def _id(call_id: str) -> str:
    return _NOT_IN_IDS.sub("_", call_id) or "_"


def read_arguments(arguments: str) -> dict[str, Any]:
    """A call's arguments as the object that the format wants; what is none is wrapped."""
    try:
        value = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        value = arguments
    return value if isinstance(value, dict) else {"value": value}


def _tool(tool: Tool) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": tool.name, "input_schema": {"type": "object", **tool.parameters}}
    if tool.description:
        fields["description"] = tool.description
    if tool.strict:
        fields["strict"] = True
    return fields


def _tool_choice(choice: ToolChoice) -> dict[str, Any]:
    if choice == ToolChoice():
        return {}
    fields: dict[str, Any] = {"type": _MODES[choice.mode]}
    if choice.mode == "named":
        fields["name"] = choice.name
    if not choice.parallel and choice.mode != "none":
        fields["disable_parallel_tool_use"] = True
    return {"tool_choice": fields}


def _sampling(sampling: Sampling, fields_too: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {
        # Blank stop strings are refused.
        "stop_sequences": [stop for stop in sampling.stop if stop.strip()] or None
    }
    if fields_too:
        temperature = sampling.temperature
        fields |= {
            "temperature": None if temperature is None else min(temperature, 1.0),
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
        }
    return {name: value for name, value in fields.items() if value is not None}
