"""Putting the values back: in a text, and in an answer while it streams."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
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
from edge_agent.privacy.escaping import in_json, written_for
from edge_agent.privacy.mapping import SessionMapping
from edge_agent.privacy.nesting import Nesting

if TYPE_CHECKING:
    import regex


def restore_text(text: str, mapping: SessionMapping, unknown: Counter[str] | None = None) -> str:
    """`text` with every known placeholder replaced by its value; unknown ones stay as they are, and are counted.

    Where the text is a JSON document it stays one.
    """
    carry = _Carry(mapping, Counter() if unknown is None else unknown)
    return carry.push(text) + carry.flush()


class StreamRestorer:
    """Restores one answer's events. Text, reasoning and each tool call are restored apart, in each choice.

    Where a delta ends in what could still become a placeholder, exactly that end is held back until the
    next one of its kind, and until the choice's finish at the latest. However a stream is cut, the joined result
    is that of restoring it whole.
    """

    def __init__(self, mapping: SessionMapping, unknown: Counter[str] | None = None) -> None:
        self._mapping = mapping
        self.unknown: Counter[str] = Counter() if unknown is None else unknown
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
        self._text = _Carry(mapping, unknown)
        self._reasoning = _Carry(mapping, unknown)
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
        carry = self._calls.setdefault(event.index, _Carry(self._mapping, self._unknown, least_depth=1))
        waiting = self._call_logprobs.setdefault(event.index, [])
        arguments = carry.push(event.arguments)
        waiting.extend(event.logprobs)
        logprobs = () if carry.held else _taken(waiting)
        if arguments or logprobs or event.id is not None or event.name is not None or not event.arguments:
            yield ToolCallDelta(event.index, event.id, event.name, arguments, logprobs)


class _Carry:
    """One channel's text, restored as it comes; `held` is the end that could still become a placeholder.

    In a JSON string, and in one inside it, values are escaped as the string needs it; at least `least_depth` times.
    """

    def __init__(self, mapping: SessionMapping, unknown: Counter[str], *, least_depth: int = 0) -> None:
        self._mapping = mapping
        self._unknown = unknown
        self._pattern = mapping.grammar.pattern
        self._least_depth = least_depth
        self._nesting = Nesting()
        # Before the placeholders: what these stand for, such as a name that the user wrote, is no surrogate.
        self._surrogates = mapping.surrogates.carry(least_depth=least_depth)
        self._held = ""

    @property
    def held(self) -> str:
        """What waits for more text, as the model wrote it or with its surrogates put back."""
        return self._held + self._surrogates.held

    def push(self, text: str) -> str:
        """What is certain now."""
        return self._restored(self._held + self._surrogates.push(text), partial=True)

    def flush(self) -> str:
        """The end, since no more comes."""
        return self._restored(self._held + self._surrogates.push("", last=True), partial=False)

    def _restored(self, waiting: str, *, partial: bool) -> str:
        ready: list[str] = []
        self._held = ""
        read = search = 0
        while True:
            match = self._next(waiting, search, partial=partial)
            if match is None:
                break
            self._nesting.feed(waiting[read : match.start()])
            ready.append(waiting[read : match.start()])
            read = match.start()
            if self._nesting.in_escape:
                # What follows a backslash of the string's own begins nothing.
                search = read + 1
                if search > len(waiting):
                    break
            elif match.partial:
                self._held = waiting[read:]
                return "".join(ready)
            else:
                ready.append(self._value(match))
                self._nesting.feed(match.group())
                read = search = match.end()
        self._nesting.feed(waiting[read:])
        return "".join([*ready, waiting[read:]])

    def _next(self, waiting: str, start: int, *, partial: bool) -> regex.Match[str] | None:
        """The next placeholder, or what could still become one; the search prefers a whole one to an earlier part."""
        match = self._pattern.search(waiting, start, partial=partial)
        if (
            partial
            and match is not None
            and not match.partial
            and start < match.start()
            and match.end() == len(waiting)
        ):
            # The inside of what could become `{{PERSON_1}}`.
            around = self._pattern.match(waiting, match.start() - 1, partial=True)
            return match if around is None else around
        return match

    def _value(self, match: regex.Match[str]) -> str:
        entry = self._mapping.meant(match)
        if entry is None:
            self._unknown[str(self._mapping.grammar.meant(match)[0])] += 1
            return str(match.group())
        value = in_json(written_for(match, entry.value), max(self._least_depth, self._nesting.depth))
        return value + str(match["possessive"] or "")


def _taken(logprobs: list[TokenLogprob]) -> tuple[TokenLogprob, ...]:
    taken = tuple(logprobs)
    logprobs.clear()
    return taken
