"""What an answer must look like: the grammar that it is written under, and what is needed to read it back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloud_bridge.protocol.conversation import Conversation, ResponseFormat, Tool
from edge_agent.runtimes.chat.json_schema import checked_schema, unsupported_schema
from edge_agent.runtimes.chat.tool_styles import ToolStyle

Json = Any  # a value as json.loads returns it

# Between two parts of a document: small models that may write blanks without end do.
_BLANKS = r"[ \t]{1,2}|\n[ \t]{0,20}"
_JSON_OPTIONS = {"whitespace_pattern": _BLANKS, "lenient": False, "coerce_one_of": False}
_ANY_TEXT = "/(?s:.*)/"
_SPACE = r"[ \t\n]*"
_FENCE = r"(?:```(?:json)?[ \t\n]*)?"


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """`grammar` is llguidance's, None where any text will do.

    `style` is how calls are spelled, None where there are none to read; `tools` are the names that may be called.
    """

    grammar: str | None = None
    style: ToolStyle | None = None
    tools: tuple[str, ...] = ()
    free_text: bool = False
    """Whether any text may come before the calls."""
    spaced: bool = False
    """Whether a call that is the whole answer may have blanks between its parts."""

    @property
    def markers(self) -> frozenset[str]:
        """Spellings of control tokens that `AnswerText` must be given as text."""
        return frozenset(self.style.controls) if self.style else frozenset()

    @property
    def bare_call(self) -> str | None:
        """A pattern of a call without marks, up to its arguments; group 1 is the name."""
        if self.style is None or (self.style.trigger and not self.may_be_unmarked):
            return None
        if self.may_be_unmarked:
            return _unmarked_head(self.style, self.tools)
        return _bare_head(self.style, self.tools, spaced=self.spaced)

    @property
    def may_be_unmarked(self) -> bool:
        """Whether a call may be the whole of an answer though the style has marks for it."""
        return self.free_text and self.style is not None and self.style.unmarked


def answer_format(conversation: Conversation, style: ToolStyle) -> AnswerFormat:
    """The format that a conversation asks for.

    Raises InvalidRequest code "unsupported_schema", naming the keyword, for a schema that cannot be kept.
    """
    choice = conversation.tool_choice
    tools = _callable(conversation)
    answer = _answer_schema(conversation.response_format)
    if not tools:
        return AnswerFormat() if answer is None else AnswerFormat(_document("start: @response_format", answer=answer))
    must_call = choice.mode in {"required", "named"}
    if not must_call and answer is not None and not style.trigger:
        return _bare_or_json(style, tools, answer)
    # Whoever names a tool wants one call of it.
    rules = _Rules(style, tools, parallel=style.parallel and choice.parallel and choice.mode != "named")
    if must_call:
        lines = rules.only_calls()
    elif answer is not None:
        lines = rules.json_or_calls()
    else:
        lines = rules.text_or_calls()
    schemas = {f"tools-{index}": _arguments_schema(index, tool) for index, tool in tools}
    grammar = _document("\n".join(lines), answer=None if must_call else answer, schemas=schemas)
    names = tuple(tool.name for _, tool in tools)
    return AnswerFormat(grammar, style, names, free_text=not must_call and answer is None)


def _callable(conversation: Conversation) -> list[tuple[int, Tool]]:
    choice = conversation.tool_choice
    if choice.mode == "none":
        return []
    return [
        (index, tool)
        for index, tool in enumerate(conversation.tools)
        if choice.mode != "named" or tool.name == choice.name
    ]


def _answer_schema(wanted: ResponseFormat) -> dict[str, Json] | None:
    match wanted.kind:
        case "text":
            return None
        case "json_schema" if wanted.schema is not None:
            return checked_schema(wanted.schema, "response_format")
        case _:
            return {"type": "object"}


def _arguments_schema(index: int, tool: Tool, root: str = "#") -> dict[str, Json]:
    """Arguments are an object, whatever the schema leaves open; a tool without a schema takes none."""
    param = f"tools[{index}]"
    if not tool.parameters:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    schema = checked_schema(tool.parameters, param, root)
    kind = schema.pop("type", "object")
    if kind != "object" and not (isinstance(kind, list) and "object" in kind):
        raise unsupported_schema(param, "has a keyword ('type') that is not 'object', as arguments are")
    return {"type": "object", **schema}


def _document(
    lark: str, *, answer: Mapping[str, Json] | None = None, schemas: Mapping[str, Mapping[str, Json]] | None = None
) -> str:
    """The grammars that llguidance takes as one. The schemas' own options are ours alone."""
    named = dict(schemas or {})
    if answer is not None:
        named["response_format"] = answer
    grammars: list[dict[str, Json]] = [{"name": "answer", "lark_grammar": f"%llguidance {{}}\n{lark}\n"}]
    grammars += [
        {"name": name, "json_schema": {**schema, "x-guidance": _JSON_OPTIONS}} for name, schema in named.items()
    ]
    return json.dumps({"grammars": grammars}, ensure_ascii=False)


class _Rules:
    """The rules for calls in one style."""

    def __init__(self, style: ToolStyle, tools: Sequence[tuple[int, Tool]], *, parallel: bool) -> None:
        self._style = style
        self._tools = tools
        self._parallel = parallel

    def only_calls(self) -> list[str]:
        """An answer that is calls and nothing else."""
        return [f"start: {self._terms(self._style.trigger)} calls", *self._calls()]

    def json_or_calls(self) -> list[str]:
        """An answer that is a document, or calls."""
        return [f"start: @response_format | {self._terms(self._style.trigger)} calls", *self._calls()]

    def text_or_calls(self) -> list[str]:
        """Free text up to the trigger; from there on the rules hold."""
        style = self._style
        if not style.trigger:
            head = _bare_head(style, [tool.name for _, tool in self._tools], spaced=False)
            return ["start: TEXT | calls", f"TEXT: {_ANY_TEXT} & ~/{head}(?s:.*)/", *self._calls()]
        free, start = _ANY_TEXT, "start: TEXT | lead calls"
        if style.unmarked:
            names = [tool.name for _, tool in self._tools]
            free += f" & ~/{_unmarked_head(style, names)}(?s:.*)/"
            start += " | unmarked"
        # Where the trigger is a control token, its letters alone open nothing, and must not look as if they did.
        text = f"TEXT: FREE & ~/(?s:.*){_literal(style.trigger)}(?s:.*)/"
        if style.trigger in style.controls:
            lead = f"lead: TEXT {self._terms(style.trigger)}"
        else:
            lead = f"lead[lazy]: FREE {_quoted(style.trigger)}"
        return [start, f"FREE: {free}", text, lead, *self._calls(), *self._unmarked()]

    def _unmarked(self) -> Iterator[str]:
        """One call that is the whole answer, perhaps in a fence or in the doubled braces of some templates."""
        style = self._style
        if not style.unmarked:
            return
        yield "unmarked: " + " | ".join(f"unmarked_{index}" for index, _ in self._tools)
        for index, tool in self._tools:
            yield f"unmarked_{index}: UNMARKED_{index} @tools-{index} UNMARKED_END"
            yield f"UNMARKED_{index}: /{_unmarked_head(style, [tool.name])}[ \\t\\n]{{0,8}}/"
        yield r"UNMARKED_END: /[ \t\n]{0,8}\}\}?([ \t\n]{0,8}```)?/"

    def _calls(self) -> Iterator[str]:
        style = self._style
        more = f"({self._terms(style.separator)} call)*" if self._parallel else ""
        yield f"calls: {self._terms(style.opens)} call {more} {self._terms(style.closes)}"
        one_of = " | ".join(f"call_{index}" for index, _ in self._tools)
        yield f"call: {one_of}"
        for index, tool in self._tools:
            head = self._terms(f"{style.begin}{tool.name}{style.middle}")
            yield f"call_{index}: {head} @tools-{index} {self._terms(style.end)}"

    def _terms(self, text: str) -> str:
        """Fixed text as terms of a rule: letters quoted, control tokens by their id."""
        controls = self._style.controls
        if not controls:
            return _quoted(text) if text else ""
        parts = re.split("(" + "|".join(re.escape(mark) for mark in controls) + ")", text)
        return " ".join(f"<[{controls[part]}]>" if part in controls else _quoted(part) for part in parts if part)


def _bare_or_json(style: ToolStyle, tools: Sequence[tuple[int, Tool]], answer: Mapping[str, Json]) -> AnswerFormat:
    """A document or a call where a call is a document, too: each has a schema of its own."""
    name_key, arguments_key = _bare_keys(style)
    schemas = {
        f"tools-{index}": {
            "type": "object",
            "properties": {
                name_key: {"const": tool.name},
                arguments_key: _arguments_schema(index, tool, root=f"#/properties/{arguments_key}"),
            },
            "required": [name_key, arguments_key],
            "additionalProperties": False,
        }
        for index, tool in tools
    }
    lark = "start: " + " | ".join(["@response_format", *(f"@{name}" for name in schemas)])
    names = tuple(tool.name for _, tool in tools)
    return AnswerFormat(_document(lark, answer=answer, schemas=schemas), style, names, spaced=True)


def _bare_keys(style: ToolStyle) -> tuple[str, str]:
    """What a call's name and its arguments are called in a style where a call is an object."""
    return style.begin.split('"')[1], style.middle.split('"')[2]


def _bare_head(style: ToolStyle, names: Sequence[str], *, spaced: bool) -> str:
    one_of = "(" + "|".join(_literal(name) for name in names) + ")"
    if not spaced:
        return _literal(style.begin) + one_of + _literal(style.middle)
    name_key, arguments_key = _bare_keys(style)
    return _SPACE.join([r"\{", f'"{name_key}"', ":", f'"{one_of}"', ",", f'"{arguments_key}"', ":", ""])


def _unmarked_head(style: ToolStyle, names: Sequence[str]) -> str:
    """Up to the colon before the arguments."""
    return _FENCE + r"\{?" + _bare_head(style, names, spaced=True).removesuffix(_SPACE)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _literal(text: str) -> str:
    """A pattern for exactly this text, in Python's `re` and in llguidance between slashes."""
    return re.sub(r"([\\.+*?()|\[\]{}^$/])", r"\\\1", text).replace("\n", r"\n")
