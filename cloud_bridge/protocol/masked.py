"""What may leave the device, as a type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from cloud_bridge.protocol.conversation import Conversation, Part, ToolCall, ToolResult


@dataclass(frozen=True, slots=True)
class Masked:
    """A conversation in which every detected value is a placeholder.

    Only `edge_agent.privacy.mask` makes one from a person's text, and only `protocol.envelope` reads one
    back from bytes that were made from one; a test pins both. Everything that sends takes this type, so a
    type checker refuses code that would send a plain conversation.
    """

    conversation: Conversation
    entities: Mapping[str, int]
    """Entity type to the number of masked spans."""

    def for_one_answer(self) -> Masked:
        """The same words, with one answer wanted."""
        conversation = self.conversation
        return replace(self, conversation=replace(conversation, sampling=replace(conversation.sampling, n=1)))

    def last(self, count: int) -> Masked:
        """The last `count` messages alone, without tools; `entities` still counts those of the whole."""
        conversation = self.conversation
        kept = conversation.messages[len(conversation.messages) - count :]
        return replace(self, conversation=Conversation(kept))

    def with_call_ids(self, ids: Iterator[str]) -> Masked:
        """With these ids of calls and of their results, in reading order: names that tell nothing."""

        def named(part: Part) -> Part:
            if isinstance(part, ToolCall):
                return replace(part, id=next(ids))
            return replace(part, call_id=next(ids)) if isinstance(part, ToolResult) else part

        messages = (replace(each, parts=tuple(map(named, each.parts))) for each in self.conversation.messages)
        return replace(self, conversation=replace(self.conversation, messages=tuple(messages)))
