"""A request in OpenAI's chat format, read and checked (our door)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, cast

from cloud_bridge.protocol.chat_request import AUTO_MODEL, ChatRequest
from cloud_bridge.protocol.conversation import (
    Conversation,
    Message,
    ResponseFormat,
    Role,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from cloud_bridge.protocol.fields import Fields, as_text, invalid, missing, wrong_type
from cloud_bridge.protocol.problems import InvalidRequest
from cloud_bridge.protocol.tools import check_tools, tool_name

ROLES = ("assistant", "developer", "system", "tool", "user")
MAX_STOPS = 4
MAX_CHOICES = 8
"""Answers to one request: each is a sequence of its own to the model, and is paid for."""

INT64 = 2**63
MOST_TOKENS = 2**31 - 1


def decode_request(body: Any) -> ChatRequest:
    """The request in a decoded JSON body. Raises InvalidRequest whose `param` names the path of what is wrong."""
    fields = Fields(body)
    _refuse_deprecated(fields)
    _refuse_unknown_ways(fields)
    fields.require("messages")
    tools = tuple(_tool(item) for item in fields.objects("tools"))
    tool_choice = _tool_choice(fields)
    check_tools(tools, tool_choice)
    conversation = Conversation(
        messages=tuple(_message(item) for item in fields.objects("messages")),
        tools=tools,
        tool_choice=tool_choice,
        response_format=_response_format(fields),
        sampling=_sampling(fields),
    )
    conversation.require_prompt()
    options = fields.nested("stream_options")
    return ChatRequest(
        conversation=conversation,
        model=fields.text("model") or AUTO_MODEL,
        stream=bool(fields.flag("stream")),
        include_usage=bool(options and options.flag("include_usage")),
        edge=fields.document("edge") or {},
    )


def _refuse_deprecated(fields: Fields) -> None:
    for old, new in (("functions", "tools"), ("function_call", "tool_choice")):
        if fields.raw(old) is not None:
            raise InvalidRequest(
                f"'{old}' is not supported.", code="unsupported_parameter", hint=f"Send '{new}' instead.", param=old
            )


def _refuse_unknown_ways(fields: Fields) -> None:
    """What would change the answer and is not done is refused, since an answer without it would be another one."""
    if fields.raw("logit_bias"):
        raise InvalidRequest(
            "'logit_bias' is not supported: its token ids are those of one model, and any may answer.",
            code="unsupported_parameter",
            hint="Leave it out; 'response_format' can say which words an answer may have.",
            param="logit_bias",
        )
    if any(kind != "text" for kind in fields.array("modalities")):
        raise InvalidRequest(
            "Only text is answered.", code="unsupported_value", hint="Leave 'modalities' out.", param="modalities"
        )


def _message(fields: Fields) -> Message:
    role = fields.required_choice("role", ROLES)
    name = fields.text("name")
    if role == "tool":
        call_id = fields.required_text("tool_call_id")
        content = "".join(part.text for part in _content(fields, required=True))
        return Message("tool", (ToolResult(call_id, content),), name)
    if role == "assistant":
        return Message("assistant", (*_assistant_text(fields), *_tool_calls(fields)), name)
    kept: Role = "user" if role == "user" else "system"
    return Message(kept, tuple(_content(fields, required=True)), name)


def _assistant_text(fields: Fields) -> Iterator[Text]:
    refusal = fields.text("refusal")
    if fields.raw("content") is None and refusal is not None:
        yield Text(refusal)
        return
    if fields.raw("content") is None and not fields.raw("tool_calls"):
        raise missing(fields.at("content"))
    yield from _content(fields, required=False)


def _content(fields: Fields, *, required: bool) -> Iterator[Text]:
    value = fields.require("content") if required else fields.raw("content")
    path = fields.at("content")
    if value is None:
        return
    if isinstance(value, str):
        yield Text(as_text(value, path))
        return
    if not isinstance(value, list):
        raise wrong_type(path, "a string or an array of parts", value)
    for index, part in enumerate(value):
        yield _text_part(Fields(part, f"{path}[{index}]"), index)


def _text_part(part: Fields, index: int) -> Text:
    kind = part.required_text("type")
    if kind not in {"text", "refusal"}:
        raise InvalidRequest(
            f"Content part {index} is not text; only text is supported.",
            code="unsupported_content",
            hint="Leave out images, audio and files, or describe them in words.",
            param=part.path,
        )
    return Text(part.required_text(kind))


def _tool_calls(fields: Fields) -> Iterator[ToolCall]:
    for call in fields.objects("tool_calls"):
        _only_functions(call)
        function = call.required_nested("function")
        yield ToolCall(
            id=call.required_text("id"),
            name=tool_name(function),
            arguments=function.required_text("arguments"),
        )


def _tool(fields: Fields) -> Tool:
    fields.require("type")
    _only_functions(fields)
    function = fields.required_nested("function")
    return Tool(
        name=tool_name(function),
        description=function.text("description") or "",
        parameters=function.document("parameters") or {},
        strict=bool(function.flag("strict")),
    )


def _only_functions(fields: Fields) -> None:
    # Some clients leave out the type of a call that they send back.
    fields.choice("type", ("function",))


def _tool_choice(fields: Fields) -> ToolChoice:
    value = fields.raw("tool_choice")
    parallel = fields.flag("parallel_tool_calls") is not False
    if value is None:
        return ToolChoice(parallel=parallel)
    if isinstance(value, str):
        mode = cast("Literal['auto', 'none', 'required']", fields.choice("tool_choice", ("auto", "none", "required")))
        return ToolChoice(mode, parallel=parallel)
    named = fields.required_nested("tool_choice")
    named.required_choice("type", ("function",))
    return ToolChoice("named", named.required_nested("function").required_text("name"), parallel)


def _response_format(fields: Fields) -> ResponseFormat:
    wanted = fields.nested("response_format")
    if wanted is None:
        return ResponseFormat()
    kind = wanted.required_choice("type", ("text", "json_object", "json_schema"))
    if kind == "text":
        return ResponseFormat()
    if kind == "json_object":
        return ResponseFormat("json_object")
    details = wanted.required_nested("json_schema")
    return ResponseFormat(
        "json_schema",
        name="answer" if details.raw("name") is None else tool_name(details),
        schema=details.document("schema") or {},
        strict=bool(details.flag("strict")),
    )


def _sampling(fields: Fields) -> Sampling:
    limit = fields.integer("max_tokens", 1, MOST_TOKENS)
    newer = fields.integer("max_completion_tokens", 1, MOST_TOKENS)
    logprobs = bool(fields.flag("logprobs"))
    top_logprobs = fields.integer("top_logprobs", 0, 20) or 0
    if top_logprobs and not logprobs:
        raise invalid("top_logprobs", "needs 'logprobs' to be true")
    return Sampling(
        max_tokens=limit if newer is None else newer,
        temperature=fields.number("temperature", 0, 2),
        top_p=fields.number("top_p", 0, 1),
        top_k=fields.integer("top_k", 0),
        min_p=fields.number("min_p", 0, 1),
        frequency_penalty=fields.number("frequency_penalty", -2, 2),
        presence_penalty=fields.number("presence_penalty", -2, 2),
        seed=fields.integer("seed", -INT64, INT64 - 1),
        stop=_stops(fields),
        logprobs=logprobs,
        top_logprobs=top_logprobs,
        n=fields.integer("n", 1, MAX_CHOICES) or 1,
    )


def _stops(fields: Fields) -> tuple[str, ...]:
    given = fields.raw("stop")
    if given is not None and not isinstance(given, str | list):
        raise wrong_type("stop", "a string or an array of strings", given)
    one = isinstance(given, str)
    stops = (fields.required_text("stop"),) if one else fields.texts("stop", most=MAX_STOPS)
    if not all(stops):
        raise invalid("stop", "holds an empty string")
    return stops
