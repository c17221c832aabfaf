"""How models spell tool calls, as their chat templates teach them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from edge_agent.runtimes.decoders.decoder import Vocabulary


@dataclass(frozen=True, slots=True)
class ToolStyle:
    """A spelling of calls, all of them written as follows.

        trigger opens (begin NAME middle ARGUMENTS end) separator (begin NAME middle ARGUMENTS end) ... closes

    and an answer is plain text until the trigger; where that is empty, a call is the whole of an answer.
    `controls` are the parts that the model's vocabulary has as control tokens, with their ids.
    """

    name: str
    trigger: str
    opens: str
    begin: str
    middle: str
    end: str
    separator: str
    closes: str = ""
    unmarked: bool = False
    """Whether small models that know the style often leave its marks out, and write the object only."""
    parallel: bool = True
    """Whether an answer may hold several calls."""
    template_tells: bool = True
    """Whether the chat template tells the model its tools; else a system message does, as `tool_prompt` writes it."""
    template_repeats: bool = True
    """Whether the chat template writes calls and results of earlier turns."""
    id_length: int | None = None
    """The length that the template demands of a call's id: letters and digits only."""
    controls: Mapping[str, int] = field(default_factory=dict)

    @property
    def texts(self) -> tuple[str, ...]:
        """All fixed parts."""
        return (self.trigger, self.opens, self.begin, self.middle, self.end, self.separator, self.closes)

    def written(self, name: str, arguments: str) -> str:
        """One call as text, without what surrounds all calls."""
        return f"{self.begin}{name}{self.middle}{arguments}{self.end}"


HERMES = ToolStyle(
    name="hermes",
    trigger="<tool_call>",
    opens="",
    begin='\n{"name": "',
    middle='", "arguments": ',
    end="}\n</tool_call>",
    separator="\n<tool_call>",
    unmarked=True,
)
"""Hermes, Qwen 2.5 and 3, Granite 4, and whatever model is told so."""

TOLD = replace(HERMES, name="told", template_tells=False, template_repeats=False)
"""The form of Hermes, for templates that know no tools, or spell them in a way that is not known here."""

LLAMA = ToolStyle(
    name="llama",
    trigger="",
    opens="",
    begin='{"name": "',
    middle='", "parameters": ',
    end="}",
    separator="",
    parallel=False,
)
"""Llama 3.1 and later."""

MISTRAL_LIST = ToolStyle(
    name="mistral-list",
    trigger="[TOOL_CALLS]",
    opens="[",
    begin='{"name": "',
    middle='", "arguments": ',
    end="}",
    separator=", ",
    closes="]",
    id_length=9,
)
"""Mistral's models of 2024."""

MISTRAL_ARGS = ToolStyle(
    name="mistral-args",
    trigger="[TOOL_CALLS]",
    opens="",
    begin="",
    middle="[ARGS]",
    end="",
    separator="[TOOL_CALLS]",
    id_length=9,
)
"""Mistral's models from 2025 on."""

GRANITE = ToolStyle(
    name="granite",
    trigger="<|tool_call|>",
    opens="[",
    begin='{"name": "',
    middle='", "arguments": ',
    end="}",
    separator=", ",
    closes="]",
)
"""Granite 3."""

STYLES = (HERMES, TOLD, LLAMA, MISTRAL_LIST, MISTRAL_ARGS, GRANITE)


def tool_style(template: str, vocabulary: Vocabulary) -> ToolStyle:
    """The style that a chat template teaches, with its control tokens looked up."""
    style = _taught(template)
    repeats = style.template_tells and "tool_calls" in template
    return replace(style, template_repeats=repeats, controls=_controls(style, vocabulary))


def _taught(template: str) -> ToolStyle:
    if not re.search(r"\btools\b", template):
        return TOLD
    if MISTRAL_ARGS.trigger in template:
        return MISTRAL_ARGS if MISTRAL_ARGS.middle in template else MISTRAL_LIST
    # Qwen3-Coder has the same mark, and XML inside it.
    if HERMES.trigger in template and "<function=" not in template:
        return HERMES
    if "ipython" in template and '"parameters": ' in template:
        return LLAMA
    if GRANITE.trigger in template and "<|start_of_role|>" in template:
        return GRANITE
    return TOLD


def _controls(style: ToolStyle, vocabulary: Vocabulary) -> dict[str, int]:
    marks = {mark for text in style.texts for mark in re.findall(r"<\|?[^<>|\s]+\|?>|\[[A-Z_]+\]", text)}
    found: dict[str, int] = {}
    for mark in sorted(marks):
        tokens = vocabulary.tokenize(mark, add_special=False, parse_special=True)
        if len(tokens) == 1 and vocabulary.is_control(tokens[0]):
            found[mark] = tokens[0]
    return found
