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
    strict: bool = False


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """`auto`, `none`, `required`, or `named` with the name of the tool that must be called.

    `parallel` False: at most one call in an answer.
    """

    mode: Literal["auto", "none", "required", "named"] = "auto"
    name: str | None = None
    parallel: bool = True


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """`text`, any `json_object`, or JSON that fits `schema`."""

    kind: Literal["text", "json_object", "json_schema"] = "text"
    name: str = "answer"
    schema: Mapping[str, Json] | None = None
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen. None means: the model's own default. `n` is how many answers are wanted, at least 1."""

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
    n: int = 1


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
        if not any(text.strip() for text in Conversation(self.messages).strings()):
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

    def places(self) -> Iterator[str]:
        """Where each string that `map_strings` changes stands, in its order: `messages[0].content`.

        A tool's or answer's schema is one place for all strings in it. Without `document`, the strings in a call's
        arguments or a tool's answer are changed one by one; they are one place here.
        """
        for index, message in enumerate(self.messages):
            yield from _message_places(message, f"messages[{index}]")
        for index, tool in enumerate(self.tools):
            yield f"tools[{index}].description"
            yield from (f"tools[{index}].parameters" for _ in range(_count(tool.parameters)))
        yield from ("response_format.schema" for _ in range(_count(self.response_format.schema or {})))
        yield from (f"stop[{index}]" for index, _ in enumerate(self.sampling.stop))

    def names(self) -> Iterator[str]:
        """Every string that `map_strings` leaves alone because others refer to it, but for the ids of calls.

        That is: the names of tools and of the response format, and in schemas the keys, references and keywords.
        """
        yield from (tool.name for tool in self.tools)
        yield from (part.name for message in self.messages for part in message.parts if isinstance(part, ToolCall))
        yield self.response_format.name
        for schema in (*(tool.parameters for tool in self.tools), self.response_format.schema or {}):
            yield from _schema_names(schema)

    def map_strings(self, change: Callable[[str], str], document: Callable[[str], str] | None = None) -> Conversation:
        """A copy in which `change` has been applied to every string that can carry a person's data.

        This is the one list of such fields: masking, measuring and searching all use it. Names of tools,
        ids and JSON-schema keywords are structure and stay; everything else is text. `document` changes
        what may be a whole JSON document (a call's arguments, a tool's answer); without it, `change` is
        applied to each string and number in one.
        """
        whole = document or (lambda source: map_json_text(source, change))
        return replace(
            self,
            messages=tuple(_map_message(message, change, whole) for message in self.messages),
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
    """A copy of a JSON value with `change` applied to every string in it, keys included.

    Numbers are shown to `change`, too, since a card or a phone may be written as one; a number that is changed
    becomes a string.
    """
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [map_json(item, change) for item in value]
    if isinstance(value, Mapping):
        return {change(key): map_json(item, change) for key, item in value.items()}
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = json.dumps(value)
        changed = change(text)
        return value if changed == text else changed
    return value


def map_json_text(document: str, change: Callable[[str], str]) -> str:
    """`map_json` over a JSON document; what is not JSON is changed as plain text.

    A document in which nothing changes is returned as it is, byte for byte.
    """
    try:
        value = json.loads(document)
        mapped = map_json(value, change)
    except (ValueError, RecursionError):
        return change(document)
    return document if mapped == value else json.dumps(mapped, ensure_ascii=False)


# In a JSON schema the values of these are names, keywords and counts; every other string may be a person's.
_SCHEMA_KEYWORDS = frozenset(
    {
        *("type", "format", "required", "dependentRequired", "$schema", "$id", "$ref", "$anchor"),
        *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "uniqueItems"),
    }
)
_SCHEMAS_BY_NAME = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_SCHEMA_INSIDE = frozenset(
    {
        *("items", "prefixItems", "additionalItems", "contains", "additionalProperties", "propertyNames"),
        *("unevaluatedItems", "unevaluatedProperties", "allOf", "anyOf", "oneOf", "not", "if", "then", "else"),
    }
)


def _map_schema(schema: Mapping[str, Json], change: Callable[[str], str]) -> dict[str, Json]:
    """Property names and the standard's own words stay; prose, constants and what is unknown is changed."""

    def walk(value: Json) -> Json:
        if isinstance(value, list):
            return [walk(item) for item in value]
        return _map_schema(value, change) if isinstance(value, Mapping) else value

    def mapped(key: str, value: Json) -> Json:
        if key in _SCHEMA_KEYWORDS:
            return value
        if key in _SCHEMAS_BY_NAME and isinstance(value, Mapping):
            return {name: walk(item) for name, item in value.items()}
        return walk(value) if key in _SCHEMA_INSIDE else map_json(value, change)

    return {key: mapped(key, value) for key, value in schema.items()}


def _schema_names(schema: Mapping[str, Json]) -> Iterator[str]:
    """What `_map_schema` leaves as it is."""

    def left(value: Json) -> Iterator[str]:
        if isinstance(value, Mapping):
            yield from _schema_names(value)
        elif isinstance(value, list):
            for item in value:
                yield from left(item)
        else:
            yield str(value)

    for key, value in schema.items():
        yield key
        if key in _SCHEMA_KEYWORDS:
            yield from _scalars(value)
        elif key in _SCHEMAS_BY_NAME and isinstance(value, Mapping):
            for name, item in value.items():
                yield name
                yield from left(item)
        elif key in _SCHEMA_INSIDE:
            yield from left(value)


def _scalars(value: Json) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _scalars(item)
    else:
        yield str(value)


def _map_message(message: Message, change: Callable[[str], str], document: Callable[[str], str]) -> Message:
    def mapped(parts: Iterable[Part]) -> Iterator[Part]:
        for part in parts:
            match part:
                case Text():
                    yield Text(change(part.text))
                case ToolCall():
                    yield replace(part, arguments=document(part.arguments))
                case ToolResult():
                    yield replace(part, content=document(part.content))

    name = None if message.name is None else change(message.name)
    return replace(message, parts=tuple(mapped(message.parts)), name=name)


def _message_places(message: Message, at: str) -> Iterator[str]:
    if message.name is not None:
        yield f"{at}.name"
    texts = sum(isinstance(part, Text) for part in message.parts)
    text = call = 0
    for part in message.parts:
        match part:
            case Text():
                yield f"{at}.content[{text}]" if texts > 1 else f"{at}.content"
                text += 1
            case ToolCall():
                yield f"{at}.tool_calls[{call}].function.arguments"
                call += 1
            case ToolResult():
                yield f"{at}.content"


def _count(schema: Mapping[str, Json]) -> int:
    """How many strings of a schema are changed."""
    seen: list[str] = []

    def note(text: str) -> str:
        seen.append(text)
        return text

    _map_schema(schema, note)
    return len(seen)
