"""Tokens into text deltas: whole characters only, stop strings respected, log-probabilities beside their text."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from cloud_bridge.protocol.events import TextDelta, TokenLogprob
from edge_agent.runtimes.stop import StopHolder


class AnswerText:
    """The text of one answer as it grows."""

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._holder = StopHolder(stops)
        self._decoded = 0
        self._emitted = 0
        self._waiting: list[tuple[int, TokenLogprob]] = []

    @property
    def stopped(self) -> bool:
        """Whether a stop string is complete; nothing after it is shown."""
        return self._holder.stopped

    def add(self, piece: bytes, logprob: TokenLogprob) -> TextDelta | None:
        """Take in one token; the delta that it makes certain, if any."""
        self._waiting.append((self._decoded, logprob))
        text = self._decoder.decode(piece)
        self._decoded += len(text)
        return self._delta(self._holder.feed(text))

    def end(self) -> TextDelta | None:
        """What was held back, once the last token is in. After a stop string: nothing more."""
        if self.stopped:
            return None
        text = self._holder.feed(self._decoder.decode(b"", final=True))
        if not self.stopped:
            text += self._holder.flush()
        self._emitted += len(text)
        covered = tuple(logprob for start, logprob in self._waiting if not self.stopped or start < self._emitted)
        self._waiting.clear()
        return TextDelta(text, covered) if text or covered else None

    def _delta(self, text: str) -> TextDelta | None:
        """A delta covers every waiting token that starts in text that is out; the rest waits."""
        if not text:
            return None
        self._emitted += len(text)
        covered = tuple(logprob for start, logprob in self._waiting if start < self._emitted)
        self._waiting = [item for item in self._waiting if item[0] >= self._emitted]
        return TextDelta(text, covered)
