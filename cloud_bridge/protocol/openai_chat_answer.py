"""A provider's answer in OpenAI's chat format, streamed or whole, read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import starmap
from typing import Any

from cloud_bridge.protocol.events import (
    ChoiceEvent,
    Event,
    Finish,
    FinishReason,
    OtherChoice,
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
_NO_USAGE = Usage()
_UNREADABLE = (AttributeError, TypeError, ValueError, KeyError, IndexError, OverflowError)


class StreamDecoder:
    """Events out of a provider's server-sent events; `end()` must be called when the provider has no more.

    `choices` is how many answers were asked for; what comes of others is dropped. The Finish of each choice comes
    with `[DONE]` or with `end()`, since the token counts arrive after the reason to stop.
    Raises Unavailable code "provider_error" for an error in the stream, "provider_cut" for an unfinished answer.
    """

    def __init__(self, choices: int = 1) -> None:
        self._wanted = choices
        self._choices = {0: _Choice()}
        self._usage = Usage()
        self._done = False

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
        except _UNREADABLE as error:
            raise provider_malformed() from error

    def end(self) -> list[Event]:
        """The last events. To be called when the provider's bytes end; harmless after `[DONE]`."""
        if self._done:
            return []
        finishes: list[Event] = []
        for index in sorted(self._choices, reverse=True):
            reason = self._choices[index].reason
            if reason is None:
                raise provider_cut()
            finishes.append(_of_choice(index, Finish(reason, _NO_USAGE if index else self._usage)))
        self._done = True
        return finishes

    def _events(self, chunk: dict[str, Any]) -> Iterator[Event]:
        if chunk.get("usage") is not None:
            self._usage = _usage(chunk["usage"])
        for item in chunk.get("choices") or ():
            index = int(item.get("index") or 0)
            if 0 <= index < self._wanted:
                choice = self._choices.setdefault(index, _Choice())
                yield from (_of_choice(index, event) for event in choice.events(item))


class _Choice:
    """One of the answers in a stream."""

    def __init__(self) -> None:
        self.reason: FinishReason | None = None
        self._call_ids: list[str | None] = []

    def events(self, item: dict[str, Any]) -> Iterator[ChoiceEvent]:
        delta = item.get("delta") or {}
        yield from _said(delta, item, [self._tool_call(call) for call in delta.get("tool_calls") or ()])
        reason = item.get("finish_reason")
        if reason is not None:
            self.reason = _REASONS.get(reason, "stop")

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


def decode_response(body: Any, choices: int = 1) -> list[Event]:
    """The events of a whole answer, of its first `choices` choices.

    Raises Unavailable code "provider_error" where it is none.
    """
    if not isinstance(body, dict):
        raise provider_malformed()
    if body.get("error") is not None:
        raise provider_error(body["error"])
    try:
        usage = Usage() if body.get("usage") is None else _usage(body["usage"])
        given = sorted(body["choices"], key=lambda choice: int(choice.get("index") or 0))[:choices]
        others = [OtherChoice(index, event) for index, choice in enumerate(given[1:], 1) for event in _whole(choice)]
        # The first choice last, since its Finish ends the stream.
        return [*others, *_whole(given[0], usage)]
    except _UNREADABLE as error:
        raise provider_malformed() from error


def _whole(choice: dict[str, Any], usage: Usage = _NO_USAGE) -> Iterator[ChoiceEvent]:
    message = choice["message"]
    yield from _said(message, choice, list(starmap(_whole_call, enumerate(message.get("tool_calls") or ()))))
    yield Finish(_REASONS.get(choice.get("finish_reason") or "stop", "stop"), usage)


def _whole_call(index: int, call: dict[str, Any]) -> ToolCallDelta:
    function = call["function"]
    return ToolCallDelta(index, _text(call.get("id")) or None, _text(function["name"]), _text(function["arguments"]))


def _of_choice(index: int, event: ChoiceEvent) -> Event:
    return OtherChoice(index, event) if index else event


def _said(delta: dict[str, Any], choice: dict[str, Any], calls: Sequence[ToolCallDelta]) -> Iterator[ChoiceEvent]:
    """What a delta, or a whole message, holds. Log-probabilities are the text's, or without one the first call's."""
    reasoning = _text(delta.get("reasoning_content") or delta.get("reasoning"))
    if reasoning:
        yield ReasoningDelta(reasoning)
    text = _text(delta.get("content")) + _text(delta.get("refusal"))
    logprobs = tuple(_logprob(item) for item in (choice.get("logprobs") or {}).get("content") or ())
    if text or (logprobs and not calls):
        yield TextDelta(text, logprobs)
        logprobs = ()
    for call in calls:
        yield replace(call, logprobs=logprobs)
        logprobs = ()


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
