"""From a conversation to a model's tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from cloud_bridge.protocol.conversation import Conversation
from edge_agent.runtimes.chat_template import ChatTemplate, template_messages

_PRIVATE_USE = range(0xE000, 0xF8FF)


class Tokenize(Protocol):
    """A model's own tokenizer."""

    def __call__(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """The tokens of `text`."""
        ...


class Prompter:
    """Renders and tokenizes. Thread-safe as far as `tokenize` is.

    A message that spells a control token, such as the mark that ends a turn, stays text: it cannot open a
    turn in somebody else's name.
    """

    def __init__(
        self, template: ChatTemplate, tokenize: Tokenize, *, control_texts: Sequence[str], bos: str, adds_bos: bool
    ) -> None:
        self._template = template
        self._tokenize = tokenize
        self._control_texts = tuple(control_texts)
        self._bos = bos
        self._adds_bos = adds_bos

    def tokens(self, conversation: Conversation) -> list[int]:
        """The prompt. Raises as `template_messages` and `ChatTemplate.render` do."""
        messages = template_messages(conversation)
        text = "".join(message["content"] for message in messages)
        if any(control in text for control in self._control_texts):
            return self._guarded(messages, text)
        rendered = self._template.render(messages)
        return self._tokenize(rendered, add_special=self._needs_bos(rendered), parse_special=True)

    def _guarded(self, messages: Sequence[Mapping[str, str]], text: str) -> list[int]:
        """Mark where the messages' own text lies, so that it is split without a look at control tokens."""
        free = (chr(code) for code in _PRIVATE_USE if chr(code) not in text)
        opening, closing = next(free, ""), next(free, "")
        marked = [{**message, "content": f"{opening}{message['content']}{closing}"} for message in messages]
        segments = _between(self._template.render(marked), opening, closing) if closing else None
        if segments is None:
            return self._without_marks(messages)
        tokens: list[int] = []
        for index, (segment, is_text) in enumerate(segments):
            add_special = index == 0 and self._needs_bos(segment)
            tokens += self._tokenize(segment, add_special=add_special, parse_special=not is_text)
        return tokens

    def _without_marks(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """The marks did not come through in pairs; so the control tokens' spellings are taken out."""
        stripped = [{**message, "content": self._strip(message["content"])} for message in messages]
        rendered = self._template.render(stripped)
        return self._tokenize(rendered, add_special=self._needs_bos(rendered), parse_special=True)

    def _strip(self, content: str) -> str:
        while any(control in content for control in self._control_texts):
            for control in self._control_texts:
                content = content.replace(control, "")
        return content

    def _needs_bos(self, rendered: str) -> bool:
        return self._adds_bos and not (self._bos and rendered.startswith(self._bos))


def _between(rendered: str, opening: str, closing: str) -> list[tuple[str, bool]] | None:
    """The segments, and whether each is a message's text; None where the marks are not in order."""
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
