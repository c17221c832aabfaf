"""A conversation as a chat template takes it: messages and tools in OpenAI's form, calls and results as it has them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from cloud_bridge.protocol.conversation import Conversation, Message, Tool, ToolCall, ToolResult
from edge_agent.runtimes.chat.tool_styles import ToolStyle

Json = Any  # a value as json.loads returns it

_TOLD = """\
# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{signatures}
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""


def template_tools(conversation: Conversation, style: ToolStyle) -> list[dict[str, Json]]:
    """The tools for the template; none where none may be called, and where a message tells them."""
    return [_openai_tool(tool) for tool in _offered(conversation)] if style.template_tells else []


def template_messages(conversation: Conversation, style: ToolStyle) -> list[dict[str, Json]]:
    """The messages for the template."""
    names = {
        part.id: part.name for message in conversation.messages for part in message.parts if isinstance(part, ToolCall)
    }
    messages: list[dict[str, Json]] = []
    for message in conversation.messages:
        messages += _as_parts(message, style, names) if style.template_repeats else _as_text(message, style, messages)
    offered = _offered(conversation)
    return _told(messages, offered) if offered and not style.template_tells else messages


def _offered(conversation: Conversation) -> Sequence[Tool]:
    return () if conversation.tool_choice.mode == "none" else conversation.tools


def _openai_tool(tool: Tool) -> dict[str, Json]:
    parameters = dict(tool.parameters) or {"type": "object", "properties": {}}
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def _as_parts(message: Message, style: ToolStyle, names: dict[str, str]) -> Iterator[dict[str, Json]]:
    """As OpenAI has them: one message a result, and one message a call where the style knows one at a time."""
    results = [part for part in message.parts if isinstance(part, ToolResult)]
    calls = [part for part in message.parts if isinstance(part, ToolCall)]
    for result in results:
        yield {
            "role": "tool",
            "tool_call_id": _id(result.call_id, style),
            "name": names.get(result.call_id, ""),
            "content": _content(result),
        }
    if calls:
        openai = [_openai_call(call, style) for call in calls]
        groups = [openai] if style.parallel else [[call] for call in openai]
        for index, group in enumerate(groups):
            yield {"role": message.role, "content": "" if index else message.text, "tool_calls": group}
    elif message.text or not results:
        role = "user" if results else message.role
        yield {"role": role, "content": message.text}


def _openai_call(call: ToolCall, style: ToolStyle) -> dict[str, Json]:
    function = {"name": call.name, "arguments": _arguments(call)}
    return {"id": _id(call.id, style), "type": "function", "function": function}


def _arguments(call: ToolCall) -> Json:
    """Templates write the object; what is none, as after an answer that was cut, stays the text that it is."""
    try:
        value = json.loads(call.arguments or "{}")
        # Half of a surrogate pair can be spelled in JSON, and is no text.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return call.arguments
    return value if isinstance(value, dict) else call.arguments


def _id(call_id: str, style: ToolStyle) -> str:
    if style.id_length is None:
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[: style.id_length]


def _content(result: ToolResult) -> str:
    return f"Error: {result.content}" if result.is_error else result.content


def _as_text(message: Message, style: ToolStyle, before: list[dict[str, Json]]) -> list[dict[str, Json]]:
    """Calls and results as text, for templates that know only text. Results come from the user, like his own words."""
    calls = [part for part in message.parts if isinstance(part, ToolCall)]
    results = [part for part in message.parts if isinstance(part, ToolResult)]
    if calls:
        written = style.separator.join(style.written(call.name, call.arguments or "{}") for call in calls)
        called = f"{style.trigger}{style.opens}{written}{style.closes}"
        return [{"role": message.role, "content": f"{message.text}\n{called}".lstrip("\n")}]
    if not results and message.role != "tool":
        return [{"role": message.role, "content": message.text}]
    answered = [f"<tool_response>\n{_content(result)}\n</tool_response>" for result in results]
    text = "\n".join([*answered, *([message.text] if message.text else [])])
    if before and before[-1]["role"] == "user":
        # Many templates want user and assistant to take turns.
        before[-1]["content"] += "\n" + text
        return []
    return [{"role": "user", "content": text}]


def _told(messages: list[dict[str, Json]], tools: Sequence[Tool]) -> list[dict[str, Json]]:
    """The tools in the system message, as models are told that learned them as Hermes did."""
    signatures = "\n".join(json.dumps(_openai_tool(tool), ensure_ascii=False) for tool in tools)
    told = _TOLD.format(signatures=signatures)
    if messages and messages[0]["role"] == "system":
        first = {**messages[0], "content": f"{messages[0]['content']}\n\n{told}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": told}, *messages]
