"""Putting the values back: in a text, and in an answer while it streams."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING

from cloud_bridge.protocol.events import (
    ChoiceEvent,
    Event,
    Finish,
    OtherChoice,
    ReasoningDelta,
    Served,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
)
from edge_agent.privacy.mapping import SessionMapping
from edge_agent.privacy.placeholders import canonical

if TYPE_CHECKING:
    import regex


def restore_text(text: str, mapping: SessionMapping) -> str:
    """`text` with every known placeholder replaced by its value; unknown ones stay as they are."""
    restored: str = mapping.grammar.text.sub(lambda match: _value(match, mapping), text)
    return restored


def restore_json(document: str, mapping: SessionMapping) -> str:
    """The same for the source of a JSON document: values are escaped, so that it stays one."""
    restored: str = mapping.grammar.json.sub(lambda match: _json_value(match, mapping), document)
    return restored


class StreamRestorer:
    """Restores one answer's events. Text, reasoning and each tool call are restored apart, in each choice.

    Where a delta ends in what could still become a placeholder, exactly that end is held back until the
    next one of its kind, and until the choice's finish at the latest. However a stream is cut, the joined result
    is that of restoring it whole.
    """

    def __init__(self, mapping: SessionMapping) -> None:
        self._mapping = mapping
        self.unknown: Counter[str] = Counter()
        """Placeholders that the model wrote and the session does not know, and how often."""
        self._first = _Choice(mapping, self.unknown)
        self._others: dict[int, _Choice] = {}

    async def restore(self, events: AsyncIterator[Event]) -> AsyncGenerator[Event]:
        """The events with their values back. What `events` raises passes through."""
        async for event in events:
            for restored in self._restored(event):
                yield restored
        for left in self._flushed():
            yield left

    def _restored(self, event: Event) -> Iterator[Event]:
        match event:
            case OtherChoice():
                if event.index not in self._others:
                    self._others[event.index] = _Choice(self._mapping, self.unknown)
                restored = self._others[event.index].restored(event.event)
                yield from (OtherChoice(event.index, each) for each in restored)
            case Finish():
                yield from self._flushed()
                yield event
            case Served():
                yield event
            case _:
                yield from self._first.restored(event)

    def _flushed(self) -> Iterator[Event]:
        for index, choice in self._others.items():
            yield from (OtherChoice(index, each) for each in choice.flushed())
        yield from self._first.flushed()


class _Choice:
    """One choice's channels. Log-probabilities wait for the last of their text, so that they never run ahead of it."""

    def __init__(self, mapping: SessionMapping, unknown: Counter[str]) -> None:
        self._mapping = mapping
        self._unknown = unknown
        self._text = _Carry(mapping.grammar.text, self._put_back)
        self._reasoning = _Carry(mapping.grammar.text, self._put_back)
        self._calls: dict[int, _Carry] = {}
        self._logprobs: list[TokenLogprob] = []
        self._call_logprobs: dict[int, list[TokenLogprob]] = {}

    def restored(self, event: ChoiceEvent) -> Iterator[ChoiceEvent]:
        match event:
            case TextDelta():
                yield from self._restored_text(event)
            case ReasoningDelta():
                text = self._reasoning.push(event.text)
                if text or not event.text:
                    yield ReasoningDelta(text)
            case ToolCallDelta():
                yield from self._restored_call(event)
            case Finish():
                yield from self.flushed()
                yield event

    def flushed(self) -> Iterator[ChoiceEvent]:
        """What was held back, since no more comes."""
        text, reasoning = self._text.flush(), self._reasoning.flush()
        if reasoning:
            yield ReasoningDelta(reasoning)
        if text or self._logprobs:
            yield TextDelta(text, _taken(self._logprobs))
        for index, carry in self._calls.items():
            arguments, logprobs = carry.flush(), _taken(self._call_logprobs[index])
            if arguments or logprobs:
                yield ToolCallDelta(index, arguments=arguments, logprobs=logprobs)

    def _restored_text(self, event: TextDelta) -> Iterator[ChoiceEvent]:
        text = self._text.push(event.text)
        self._logprobs.extend(event.logprobs)
        if self._text.held:
            if text:
                yield TextDelta(text)
        elif text or self._logprobs or not event.text:
            yield TextDelta(text, _taken(self._logprobs))

    def _restored_call(self, event: ToolCallDelta) -> Iterator[ChoiceEvent]:
        carry = self._calls.setdefault(event.index, _Carry(self._mapping.grammar.json, self._put_back_json))
        waiting = self._call_logprobs.setdefault(event.index, [])
        arguments = carry.push(event.arguments)
        waiting.extend(event.logprobs)
        logprobs = () if carry.held else _taken(waiting)
        if arguments or logprobs or event.id is not None or event.name is not None or not event.arguments:
            yield ToolCallDelta(event.index, event.id, event.name, arguments, logprobs)

    def _put_back(self, match: regex.Match[str]) -> str:
        self._count(match)
        return _value(match, self._mapping)

    def _put_back_json(self, match: regex.Match[str]) -> str:
        self._count(match)
        return _json_value(match, self._mapping)

    def _count(self, match: regex.Match[str]) -> None:
        if self._mapping.value_of(canonical(match)) is None:
            self._unknown[canonical(match)] += 1


class _Carry:
    """One channel's text, restored as it comes; `held` is the end that could still become a placeholder."""

    def __init__(self, pattern: regex.Pattern[str], put_back: Callable[[regex.Match[str]], str]) -> None:
        self._pattern = pattern
        self._put_back = put_back
        self.held = ""

    def push(self, text: str) -> str:
        """What is certain now."""
        waiting = self.held + text
        ready: list[str] = []
        position = 0
        while True:
            match = self._pattern.search(waiting, position, partial=True)
            if match is None:
                self.held = ""
                return "".join([*ready, waiting[position:]])
            ready.append(waiting[position : match.start()])
            if match.partial:
                self.held = waiting[match.start() :]
                return "".join(ready)
            ready.append(self._put_back(match))
            position = match.end()

    def flush(self) -> str:
        """The end that turned out to be no placeholder."""
        left, self.held = self.held, ""
        return left


def _taken(logprobs: list[TokenLogprob]) -> tuple[TokenLogprob, ...]:
    taken = tuple(logprobs)
    logprobs.clear()
    return taken


def _value(match: regex.Match[str], mapping: SessionMapping) -> str:
    value = mapping.value_of(canonical(match))
    return match.group() if value is None else value + (match["possessive"] or "")


def _json_value(match: regex.Match[str], mapping: SessionMapping) -> str:
    value = mapping.value_of(canonical(match))
    return match.group() if value is None else json.dumps(value, ensure_ascii=False)[1:-1] + (match["possessive"] or "")
