"""From a conversation to a model's tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

from cloud_bridge.protocol.conversation import Conversation
from edge_agent.runtimes.chat.chat_template import ChatTemplate
from edge_agent.runtimes.chat.tool_prompt import template_messages, template_tools
from edge_agent.runtimes.chat.tool_styles import ToolStyle
from edge_agent.runtimes.decoders.decoder import Vocabulary

Json = Any  # a value as json.loads returns it

_PRIVATE_USE = range(0xE000, 0xF8FF)
_WORD = re.compile(r"[A-Za-z0-9_.-]*")


class Prompter:
    """Renders and tokenizes, in one thread at a time.

    Whatever a conversation holds, a message, a tool's answer or a schema, stays text where it spells a control
    token, such as the mark that ends a turn: nobody can speak in somebody else's name.
    """

    def __init__(self, template: ChatTemplate, vocabulary: Vocabulary, style: ToolStyle) -> None:
        self._template = template
        self._vocabulary = vocabulary
        self.style = style

    @cached_property
    def _control_texts(self) -> tuple[str, ...]:
        """Spellings that mean more than their letters. Walks the vocabulary, once."""
        vocabulary = self._vocabulary
        texts = {vocabulary.spelling(token) for token in range(vocabulary.size) if vocabulary.is_control(token)}
        return tuple(sorted(filter(None, texts), key=len, reverse=True))

    def tokens(self, conversation: Conversation) -> list[int]:
        """The prompt. Raises as `ChatTemplate.render` does."""
        asked = {
            "messages": template_messages(conversation, self.style),
            "tools": template_tools(conversation, self.style),
        }
        text = "".join(_strings(asked))
        if any(control in text for control in self._control_texts):
            return self._guarded(asked, text)
        return self._tokens(self._template.render(asked["messages"], asked["tools"]))

    def _tokens(self, rendered: str) -> list[int]:
        add_special = self._needs_bos(rendered)
        return self._vocabulary.tokenize(rendered, add_special=add_special, parse_special=True)

    def _guarded(self, asked: Mapping[str, Json], text: str) -> list[int]:
        """Mark where free text lies, so that it is split without a look at control tokens."""
        free = (chr(code) for code in _PRIVATE_USE if chr(code) not in text)
        opening, closing = next(free, ""), next(free, "")
        segments = None
        if closing:
            marked = self._changed(asked, lambda string: f"{opening}{string}{closing}")
            segments = _between(self._template.render(marked["messages"], marked["tools"]), opening, closing)
        if segments is None:
            # The marks did not come through in pairs; so the control tokens' spellings are taken out.
            stripped = self._changed(asked, self._strip)
            return self._tokens(self._template.render(stripped["messages"], stripped["tools"]))
        tokens: list[int] = []
        for index, (segment, is_text) in enumerate(segments):
            add_special = index == 0 and self._needs_bos(segment)
            tokens += self._vocabulary.tokenize(segment, add_special=add_special, parse_special=not is_text)
        return tokens

    def _changed(self, value: Json, change: Callable[[str], str], key: str = "") -> Json:
        """A copy with `change` applied to free text: all contents, and in data what is more than a word.

        Templates compare single words, such as a schema's types, and look properties up by them.
        """
        if isinstance(value, str):
            return change(value) if key == "content" or self._is_free(value) else value
        if isinstance(value, Mapping):
            return {
                (change(name) if self._is_free(name) else name): self._changed(item, change, name)
                for name, item in value.items()
            }
        return [self._changed(item, change, key) for item in value] if isinstance(value, list) else value

    def _is_free(self, text: str) -> bool:
        return not _WORD.fullmatch(text) or any(control in text for control in self._control_texts)

    def _strip(self, content: str) -> str:
        while any(control in content for control in self._control_texts):
            for control in self._control_texts:
                content = content.replace(control, "")
        return content

    def _needs_bos(self, rendered: str) -> bool:
        bos = self._vocabulary.bos_text
        return self._vocabulary.adds_bos and not (bos and rendered.startswith(bos))


def _strings(value: Json) -> Iterator[str]:
    """Every string in a value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _between(rendered: str, opening: str, closing: str) -> list[tuple[str, bool]] | None:
    """The segments, and whether each is free text; None where the marks are not in order."""
    segments: list[tuple[str, bool]] = []
    head, *rest = rendered.split(opening)
    if closing in head:
        return None
    segments.append((head, False))
    for piece in rest:
        if piece.count(closing) != 1:
            return None
        text, after = piece.split(closing)
        segments += [(text, True), (after, False)]
    return [(segment, is_text) for index, (segment, is_text) in enumerate(segments) if segment or index == 0]
