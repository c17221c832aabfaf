"""What is asked: one conversation type for every surface and every provider."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from cloud_bridge.protocol.problems import InvalidRequest

Role = Literal["system", "user", "assistant", "tool"]
Json = Any  # a value as json.loads returns it


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the assistant asked for. `arguments` is a JSON document, as it was streamed."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool answered."""

    call_id: str
    content: str
    is_error: bool = False


Part = Text | ToolCall | ToolResult


@dataclass(frozen=True, slots=True)
class Message:
    """One turn's worth of parts. `name` tells participants of one role apart (OpenAI)."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None

    @property
    def text(self) -> str:
        """The text parts, joined; tool calls and results are left out."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call; `parameters` is its JSON schema."""

    name: str
    description: str = ""
    parameters: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """`auto`, `none`, `required`, or `named` with the name of the tool that must be called."""

    mode: Literal["auto", "none", "required", "named"] = "auto"
    name: str | None = None


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """`text`, any `json_object`, or JSON that fits `schema`."""

    kind: Literal["text", "json_object", "json_schema"] = "text"
    name: str = "answer"
    schema: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen. None means: the model's own default."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: bool = False
    top_logprobs: int = 0


@dataclass(frozen=True, slots=True)
class Conversation:
    """A whole request, whatever the surface it came from."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    response_format: ResponseFormat = ResponseFormat()
    sampling: Sampling = Sampling()

    @property
    def last_user_text(self) -> str:
        """The newest user message's text, or "" where there is none."""
        return next((m.text for m in reversed(self.messages) if m.role == "user"), "")

    def require_prompt(self) -> None:
        """Raise InvalidRequest where there is nothing to answer."""
        if not self.messages:
            raise InvalidRequest(
                "'messages' is empty.",
                code="empty_prompt",
                hint="Send at least one message with some text.",
                param="messages",
            )
        if not any(text.strip() for text in self.strings()):
            raise InvalidRequest(
                "The prompt is empty.",
                code="empty_prompt",
                hint="Send at least one message with some text.",
                param="messages",
            )

    def strings(self) -> Iterator[str]:
        """Every string that a person, a tool or a document may have put in, in reading order."""
        seen: list[str] = []

        def collect(text: str) -> str:
            seen.append(text)
            return text

        self.map_strings(collect)
        return iter(seen)

    def map_strings(self, change: Callable[[str], str]) -> Conversation:
        """A copy in which `change` has been applied to every string that can carry a person's data.

        This is the one list of such fields: masking, measuring and searching all use it. Names of tools,
        ids and JSON-schema keywords are structure and stay; everything else is text.
        """
        return replace(
            self,
            messages=tuple(_map_message(message, change) for message in self.messages),
            tools=tuple(
                replace(tool, description=change(tool.description), parameters=_map_schema(tool.parameters, change))
                for tool in self.tools
            ),
            response_format=replace(
                self.response_format,
                schema=None
                if self.response_format.schema is None
                else _map_schema(self.response_format.schema, change),
            ),
            sampling=replace(self.sampling, stop=tuple(change(stop) for stop in self.sampling.stop)),
        )


def map_json(value: Json, change: Callable[[str], str]) -> Json:
    """A copy of a JSON value with `change` applied to every string in it, keys included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [map_json(item, change) for item in value]
    if isinstance(value, dict):
        return {change(key): map_json(item, change) for key, item in value.items()}
    return value


def map_json_text(document: str, change: Callable[[str], str]) -> str:
    """`map_json` over a JSON document; what is not JSON is changed as plain text."""
    try:
        value = json.loads(document)
    except ValueError:
        return change(document)
    return json.dumps(map_json(value, change), ensure_ascii=False)


# In a JSON schema these hold prose or values that a person may have written.
_SCHEMA_TEXT = frozenset({"title", "description", "$comment", "const", "enum", "default", "examples", "example"})


def _map_schema(schema: Mapping[str, Json], change: Callable[[str], str]) -> dict[str, Json]:
    def walk(value: Json) -> Json:
        if isinstance(value, list):
            return [walk(item) for item in value]
        if isinstance(value, Mapping):
            return {
                key: map_json(item, change) if key in _SCHEMA_TEXT and not isinstance(item, Mapping) else walk(item)
                for key, item in value.items()
            }
        return value

    return {key: walk(item) if key not in _SCHEMA_TEXT else map_json(item, change) for key, item in schema.items()}


def _map_message(message: Message, change: Callable[[str], str]) -> Message:
    def mapped(parts: Iterable[Part]) -> Iterator[Part]:
        for part in parts:
            match part:
                case Text():
                    yield Text(change(part.text))
                case ToolCall():
                    yield replace(part, arguments=map_json_text(part.arguments, change))
                case ToolResult():
                    yield replace(part, content=map_json_text(part.content, change))

    name = None if message.name is None else change(message.name)
    return replace(message, parts=tuple(mapped(message.parts)), name=name)
