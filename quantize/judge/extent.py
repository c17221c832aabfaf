"""How much is measured, and what of it must be the same for figures to be compared."""

from __future__ import annotations

import math
from dataclasses import dataclass

CHUNK_TOKENS = 256
"""Tokens that are read together, from the model's start; what came before a chunk is not known to it."""

UNSCORED = CHUNK_TOKENS // 2
"""A chunk's first half is only read, so that every scored token has something before it."""

SCORED = CHUNK_TOKENS - UNSCORED - 1
"""Of the second half the last token has none after it to be foretold."""


@dataclass(frozen=True, slots=True)
class Extent:
    """`tokens` of the text are scored at least, where it has as many; `intents` utterances are sorted, and
    `documents` asked for, at most as many as there are. With 0 of them that score is left out. Speeds are medians of
    `rounds`.
    """

    tokens: int = 1000
    intents: int = 40
    documents: int = 12
    rounds: int = 3

    @property
    def chunks(self) -> int:
        """How many chunks have so many scored tokens."""
        return max(1, math.ceil(self.tokens / SCORED))
