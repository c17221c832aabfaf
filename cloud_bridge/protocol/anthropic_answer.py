"""A provider's answer in Anthropic's messages format, streamed or whole, read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cloud_bridge.protocol.events import Event, Finish, FinishReason, ReasoningDelta, TextDelta, ToolCallDelta, Usage
from cloud_bridge.protocol.provider_failures import provider_cut, provider_error, provider_malformed, read_object
from cloud_bridge.protocol.sse import SseEvent

_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
_UNREADABLE = (AttributeError, TypeError, ValueError, KeyError, IndexError)


class StreamDecoder:
    """Events out of a provider's server-sent events; `end()` must be called when the provider has no more.

    Raises Unavailable code "provider_error" for an error in the stream, "provider_cut" for an unfinished answer.
    """

    def __init__(self) -> None:
        self._reason: FinishReason | None = None
        self._usage = Usage()
        self._done = False
        self._calls: dict[int, int] = {}  # block index to call index
        self._without_arguments: set[int] = set()

    def feed(self, sse: SseEvent) -> list[Event]:
        """The events that one server-sent event carries."""
        if self._done or sse.event == "ping":
            return []
        message = read_object(sse.data)
        kind = message.get("type")
        if kind == "error" or sse.event == "error":
            raise provider_error(message.get("error"))
        if kind == "message_stop":
            return self.end()
        try:
            return list(self._events(message))
        except _UNREADABLE as error:
            raise provider_malformed() from error

    def end(self) -> list[Event]:
        """The last event. To be called when the provider's bytes end; harmless after `message_stop`."""
        if self._done:
            return []
        if self._reason is None:
            raise provider_cut()
        self._done = True
        return [Finish(self._reason, self._usage)]

    def _events(self, message: dict[str, Any]) -> Iterator[Event]:
        match message.get("type"):
            case "message_start":
                self._count(message["message"].get("usage") or {})
            case "content_block_start":
                yield from self._start(int(message["index"]), message["content_block"])
            case "content_block_delta":
                yield from self._delta(int(message["index"]), message["delta"])
            case "content_block_stop":
                index = int(message["index"])
                if index in self._without_arguments:
                    yield ToolCallDelta(self._calls[index], arguments="{}")
            case "message_delta":
                reason = message["delta"].get("stop_reason")
                if reason is not None:
                    self._reason = _REASONS.get(reason, "stop")
                self._count(message.get("usage") or {})

    def _start(self, index: int, block: dict[str, Any]) -> Iterator[Event]:
        if block["type"] != "tool_use":
            yield from _said(block)
            return
        call = self._calls[index] = len(self._calls)
        given = json.dumps(block["input"], ensure_ascii=False) if block.get("input") else ""
        if not given:
            self._without_arguments.add(index)
        yield ToolCallDelta(call, _text(block["id"]), _text(block["name"]), given)

    def _delta(self, index: int, delta: dict[str, Any]) -> Iterator[Event]:
        if delta["type"] == "input_json_delta":
            # Server-side tools stream their input, too; they are no calls of ours.
            if index in self._calls and _text(delta["partial_json"]):
                self._without_arguments.discard(index)
                yield ToolCallDelta(self._calls[index], arguments=delta["partial_json"])
        else:
            yield from _said({**delta, "type": delta["type"].removesuffix("_delta")})

    def _count(self, usage: dict[str, Any]) -> None:
        """Counts are running totals; a later one replaces an earlier one."""
        prompt, completion = _prompt_tokens(usage), usage.get("output_tokens")
        self._usage = Usage(
            prompt or self._usage.prompt_tokens,
            self._usage.completion_tokens if completion is None else int(completion),
        )


def decode_response(body: Any) -> list[Event]:
    """The events of a whole answer. Raises Unavailable code "provider_error" where it is none."""
    if not isinstance(body, dict):
        raise provider_malformed()
    if body.get("type") == "error":
        raise provider_error(body.get("error"))
    try:
        events: list[Event] = []
        for block in body["content"]:
            if block["type"] == "tool_use":
                index = sum(isinstance(event, ToolCallDelta) for event in events)
                arguments = json.dumps(block["input"], ensure_ascii=False)
                events.append(ToolCallDelta(index, _text(block["id"]), _text(block["name"]), arguments))
            else:
                events += _said(block)
        usage = body.get("usage") or {}
        counted = Usage(_prompt_tokens(usage), int(usage.get("output_tokens") or 0))
        events.append(Finish(_REASONS.get(body.get("stop_reason") or "end_turn", "stop"), counted))
    except _UNREADABLE as error:
        raise provider_malformed() from error
    return events


def _said(block: dict[str, Any]) -> Iterator[Event]:
    """What a block of text or of reasoning says; other kinds of blocks say nothing to us."""
    if block["type"] == "text" and _text(block["text"]):
        yield TextDelta(block["text"])
    elif block["type"] == "thinking" and _text(block["thinking"]):
        yield ReasoningDelta(block["thinking"])


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def _prompt_tokens(usage: dict[str, Any]) -> int:
    """What was read anew, and what was read from or put into the provider's cache."""
    fields = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    return sum(int(usage.get(name) or 0) for name in fields)
