"""A decoder whose logits are a function of the tokens before: what an engine does with it can be told exactly."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_agent.runtimes.decoders.decoder import DRAFTED_TOKENS, STEP_TOKENS, Logits, NoRoomError, Span
from tests.runtimes.vocabularies import SmallVocabulary

VOCABULARY = SmallVocabulary()


class ScriptedDecoder:
    """Stands for a language model; checks what every real decoder relies on. Text repeats itself, so drafts happen.

    `turns` are the adapters of all evaluations, `companies` the sequences that got a single token in each.
    """

    vocabulary = VOCABULARY

    slow_widths = range(0)

    def __init__(self, *, cells: int, sequences: int, context_length: int, can_share_prefixes: bool = True) -> None:
        self.cells = cells
        self.sequences = sequences
        self.context_length = context_length
        self.can_share_prefixes = can_share_prefixes
        self.busiest = 0
        self.evaluations = 0
        self.refusals = 0
        self._tokens: list[list[int]] = [[] for _ in range(sequences)]
        self._cells: list[list[int]] = [[] for _ in range(sequences)]
        self._next_cell = 0
        self._adapters: list[str | None] = [None] * sequences
        self.turns: list[str | None] = []
        self.companies: list[set[int]] = []

    def load_adapter(self, name: str, path: Path) -> None:
        """Any name will do."""

    def evaluate(self, spans: Sequence[Span], adapter: str | None = None) -> list[Logits]:
        assert sum(len(span.tokens) for span in spans) <= STEP_TOKENS
        assert sum(span.wanted for span in spans) <= self.sequences + DRAFTED_TOKENS
        assert len({span.sequence for span in spans}) == len(spans)
        used = len({cell for cells in self._cells for cell in cells})
        if used + sum(len(span.tokens) for span in spans) > self.cells:
            self.refusals += 1
            raise NoRoomError
        self.evaluations += 1
        self.busiest = max(self.busiest, len(spans))
        self.turns.append(adapter)
        self.companies.append({span.sequence for span in spans if len(span.tokens) == 1})
        return [self._append(span, adapter) for span in spans]

    def _append(self, span: Span, adapter: str | None) -> Logits:
        tokens, cells = self._tokens[span.sequence], self._cells[span.sequence]
        assert span.start == len(tokens)
        assert 0 <= span.wanted <= len(span.tokens) > 0
        if not tokens:
            self._adapters[span.sequence] = adapter
        assert self._adapters[span.sequence] == adapter
        rows = []
        for token in span.tokens:
            tokens.append(token)
            cells.append(self._next_cell)
            self._next_cell += 1
            rows.append(self._logits(tokens, adapter))
        assert len(tokens) <= self.context_length
        wanted = rows[len(rows) - span.wanted :]
        return np.array(wanted, np.float32).reshape(span.wanted, VOCABULARY.size)

    def _logits(self, tokens: Sequence[int], adapter: str | None) -> Logits:
        """Mostly by the last two tokens, a little by all."""
        name = adapter or ""
        near, far = (np.random.default_rng(zlib.crc32(f"{name}{part}".encode())) for part in (tokens[-2:], tokens))
        found = near.normal(size=VOCABULARY.size) * 3 + far.normal(size=VOCABULARY.size) * 0.3
        return found.astype(np.float32)

    def forget(self, sequence: int, start: int = 0) -> bool:
        if start and not self.can_share_prefixes:
            return False
        del self._tokens[sequence][start:]
        del self._cells[sequence][start:]
        return True

    def share(self, source: int, target: int, length: int) -> None:
        assert not self._tokens[target]
        assert length <= len(self._tokens[source])
        self._adapters[target] = self._adapters[source]
        self._tokens[target] = self._tokens[source][:length]
        self._cells[target] = self._cells[source][:length]

    def embed(self, tokens: Sequence[int], adapter: str | None = None) -> Logits:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to give back."""
