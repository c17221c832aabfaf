"""A writer that knows nothing: it chooses at random among what a constraint allows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_agent.runtimes.chat.constraint import Constraint
from edge_agent.runtimes.decoders.decoder import Vocabulary

_CLOSING = ('"', "}", "]", '"}', '"]', "}}", "]}", '"}}', "0", "1", "true", "<")
_PATIENCE = 24  # tokens until it wants to be done
_MOST = 1200


class RandomWriter:
    """Writes an answer token by token; after a while it prefers what brings it to an end."""

    def __init__(self, vocabulary: Vocabulary, seed: int) -> None:
        self._vocabulary = vocabulary
        self._dice = np.random.default_rng(seed)
        self._ends = list(vocabulary.end_tokens)
        self._closing = [
            tokens[0]
            for text in _CLOSING
            if len(tokens := vocabulary.tokenize(text, add_special=False, parse_special=False)) == 1
        ]

    def write(self, constraint: Constraint, begin: Sequence[int] = (), *, least: int = 0) -> list[int] | None:
        """The tokens of a whole answer, which starts with `begin` and does not end before `least` unless it must.

        Its end is left out. None where the writer found none in time.
        """
        written: list[int] = []
        self._take(constraint, begin, written)
        while not constraint.is_over and len(written) < _MOST:
            self._take(constraint, constraint.forced(), written)
            if constraint.is_over:
                break
            token = self._choose(constraint, len(written), least)
            self._take(constraint, [token], written)
            if token in self._ends:
                return written[:-1]
        return written if constraint.is_over else None

    def _take(self, constraint: Constraint, tokens: Sequence[int], written: list[int]) -> None:
        for token in tokens:
            assert constraint.allows(token)
            constraint.accept(token)
            written.append(token)

    def _choose(self, constraint: Constraint, length: int, least: int) -> int:
        logits = self._dice.normal(size=self._vocabulary.size).astype(np.float32)
        logits[self._ends] += 3.0 if length >= least else -20.0
        if length > _PATIENCE:
            logits[self._closing] += 8.0
            logits[self._ends] += 20.0 if length >= least else 0.0
        constraint.mask(logits)
        return int(np.argmax(logits))
