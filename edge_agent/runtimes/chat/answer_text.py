"""Tokens into events: text and tool calls told apart, whole characters only, log-probabilities beside their text."""

from __future__ import annotations

import codecs
import secrets
from collections.abc import Callable, Sequence

from cloud_bridge.protocol.events import ChoiceEvent, FinishReason, TextDelta, TokenLogprob, ToolCallDelta
from edge_agent.runtimes.chat.answer_format import AnswerFormat
from edge_agent.runtimes.chat.call_reader import Arguments, CallBegins, CallReader, Found, Outside
from edge_agent.runtimes.chat.stop import StopHolder

_ANY = AnswerFormat()


def random_id() -> str:
    """A call's id, as OpenAI writes them."""
    return f"call_{secrets.token_hex(12)}"


class AnswerText:
    """One answer as it grows.

    Every token's log-probability is in exactly one event, but for the tokens of a stop string, which are not shown.
    """

    def __init__(
        self, stops: Sequence[str] = (), form: AnswerFormat = _ANY, *, new_id: Callable[[], str] = random_id
    ) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._reader = CallReader(form)
        self._holder = StopHolder(stops)
        self._new_id = new_id
        self._calls = 0
        self._decoded = 0
        self._shown = 0
        self._waiting: list[tuple[int, TokenLogprob]] = []

    @property
    def stopped(self) -> bool:
        """Whether a stop string is complete; nothing after it is shown."""
        return self._holder.stopped

    def finish_reason(self, *, cut: bool) -> FinishReason:
        """Why the answer ends; `cut` where it had to, for want of room."""
        if cut:
            return "length"
        return "tool_calls" if self._calls else "stop"

    def add(self, piece: bytes, logprob: TokenLogprob) -> list[ChoiceEvent]:
        """Take in one token; the events that it makes certain.

        `piece` is the token's bytes; a control token's are its spelling where that is one of the format's
        `markers`, else b"". Raises Broken code "inference_failed" where the answer does not fit its format.
        """
        self._waiting.append((self._decoded, logprob))
        text = self._decoder.decode(piece)
        self._decoded += len(text)
        return self._events(self._reader.feed(text))

    def end(self) -> list[ChoiceEvent]:
        """What was held back, once the last token is in. After a stop string: nothing more."""
        if self.stopped:
            return []
        text = self._decoder.decode(b"", final=True)
        self._decoded += len(text)
        events = self._events([*self._reader.feed(text), *self._reader.end()])
        if self.stopped:
            return events
        held, left = self._holder.flush(), self._covered(self._decoded + 1)
        if held or (left and not self._calls):
            events.append(TextDelta(held, left))
        elif left:
            events.append(ToolCallDelta(self._calls - 1, logprobs=left))
        return events

    def _events(self, found: Sequence[Found]) -> list[ChoiceEvent]:
        events: list[ChoiceEvent] = []
        for each in found:
            if self.stopped:
                break
            match each:
                case Outside():
                    self._show(events, self._holder.feed(each.text))
                case CallBegins():
                    self._show(events, self._holder.flush())
                    logprobs = self._covered(each.end)
                    events.append(ToolCallDelta(self._calls, self._new_id(), each.name, logprobs=logprobs))
                    self._calls += 1
                case Arguments():
                    logprobs = self._covered(each.end)
                    events.append(ToolCallDelta(self._calls - 1, arguments=each.text, logprobs=logprobs))
        return events

    def _show(self, events: list[ChoiceEvent], text: str) -> None:
        """Text outside of calls comes before all calls, so its length says how far the answer is out."""
        self._shown += len(text)
        if text:
            events.append(TextDelta(text, self._covered(self._shown)))

    def _covered(self, end: int) -> tuple[TokenLogprob, ...]:
        """The log-probabilities that wait of tokens which start before character `end`."""
        covered = tuple(logprob for start, logprob in self._waiting if start < end)
        self._waiting = [item for item in self._waiting if item[0] >= end]
        return covered
