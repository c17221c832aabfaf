"""A provider's answer in OpenAI's chat format, streamed or whole, read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cloud_bridge.protocol.events import (
    Event,
    Finish,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from cloud_bridge.protocol.provider_failures import provider_cut, provider_error, provider_malformed, read_object
from cloud_bridge.protocol.sse import SseEvent

_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


class StreamDecoder:
    """Events out of a provider's server-sent events; `end()` must be called when the provider has no more.

    Finish comes with `[DONE]` or with `end()`, since the token counts arrive after the reason to stop.
    Raises Unavailable code "provider_error" for an error in the stream, "provider_cut" for an unfinished answer.
    """

    def __init__(self) -> None:
        self._reason: FinishReason | None = None
        self._usage = Usage()
        self._done = False
        self._call_ids: list[str | None] = []

    def feed(self, sse: SseEvent) -> list[Event]:
        """The events that one server-sent event carries."""
        if self._done:
            return []
        if sse.data.strip() == "[DONE]":
            return self.end()
        chunk = read_object(sse.data)
        if chunk.get("error") is not None or sse.event == "error":
            raise provider_error(chunk.get("error") or chunk)
        try:
            return list(self._events(chunk))
        except (AttributeError, TypeError, ValueError, KeyError, IndexError) as error:
            raise provider_malformed() from error

    def end(self) -> list[Event]:
        """The last event. To be called when the provider's bytes end; harmless after `[DONE]`."""
        if self._done:
            return []
        if self._reason is None:
            raise provider_cut()
        self._done = True
        return [Finish(self._reason, self._usage)]

    def _events(self, chunk: dict[str, Any]) -> Iterator[Event]:
        if chunk.get("usage") is not None:
            self._usage = _usage(chunk["usage"])
        for choice in chunk.get("choices") or ():
            if choice.get("index") or 0:
                continue  # only one answer was asked for
            delta = choice.get("delta") or {}
            yield from _text_events(delta, choice)
            for call in delta.get("tool_calls") or ():
                yield self._tool_call(call)
            reason = choice.get("finish_reason")
            if reason is not None:
                self._reason = _REASONS.get(reason, "stop")

    def _tool_call(self, call: dict[str, Any]) -> ToolCallDelta:
        function = call.get("function") or {}
        return ToolCallDelta(
            index=self._index_of(call),
            id=_text(call.get("id")) or None,
            name=_text(function.get("name")) or None,
            arguments=_text(function.get("arguments")),
        )

    def _index_of(self, call: dict[str, Any]) -> int:
        """Some servers leave the index out; then a new id begins the next call."""
        index, call_id = call.get("index"), call.get("id")
        if index is not None:
            return int(index)
        if call_id and call_id not in self._call_ids:
            self._call_ids.append(call_id)
        return self._call_ids.index(call_id) if call_id else max(len(self._call_ids) - 1, 0)


def decode_response(body: Any) -> list[Event]:
    """The events of a whole answer. Raises Unavailable code "provider_error" where it is none."""
    if not isinstance(body, dict):
        raise provider_malformed()
    if body.get("error") is not None:
        raise provider_error(body["error"])
    try:
        choice = body["choices"][0]
        message = choice["message"]
        events: list[Event] = list(_text_events(message, choice))
        events += [_whole_call(index, call) for index, call in enumerate(message.get("tool_calls") or ())]
        usage = Usage() if body.get("usage") is None else _usage(body["usage"])
        events.append(Finish(_REASONS.get(choice.get("finish_reason") or "stop", "stop"), usage))
    except (AttributeError, TypeError, ValueError, KeyError, IndexError) as error:
        raise provider_malformed() from error
    return events


def _whole_call(index: int, call: dict[str, Any]) -> ToolCallDelta:
    function = call["function"]
    return ToolCallDelta(index, _text(call.get("id")) or None, _text(function["name"]), _text(function["arguments"]))


def _text_events(delta: dict[str, Any], choice: dict[str, Any]) -> Iterator[Event]:
    reasoning = _text(delta.get("reasoning_content") or delta.get("reasoning"))
    if reasoning:
        yield ReasoningDelta(reasoning)
    text = _text(delta.get("content")) + _text(delta.get("refusal"))
    logprobs = tuple(_logprob(item) for item in (choice.get("logprobs") or {}).get("content") or ())
    if text or logprobs:
        yield TextDelta(text, logprobs)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def _logprob(item: dict[str, Any]) -> TokenLogprob:
    top = tuple((_text(other["token"]), float(other["logprob"])) for other in item.get("top_logprobs") or ())
    return TokenLogprob(_text(item["token"]), float(item["logprob"]), top)


def _usage(usage: dict[str, Any]) -> Usage:
    return Usage(int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))
