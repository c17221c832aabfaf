"""Which of the passages found are given to a model: the best, each thing said once, within a number of tokens."""

from __future__ import annotations

import math
from collections.abc import Iterable

from edge_agent.memory.index import Passage

MOST_PASSAGES = 6
NEARLY_AS_GOOD = 0.75
"""The share of the best passage's score that another must have."""

ALIKE = 0.8
"""The share of the shorter one's words from which on two passages say the same."""

_BYTES_PER_TOKEN = 3.5
_FRAME_TOKENS = 24  # what stands around a passage: its number, name, heading and quotation marks


def chosen(found: Iterable[Passage], max_tokens: int) -> tuple[Passage, ...]:
    """Of `found`, the best first, those that are given, in that order. Always the same of the same."""
    kept: list[Passage] = []
    said: list[frozenset[str]] = []
    left = max_tokens
    for passage in found:
        words = frozenset(passage.text.lower().split())
        cost = tokens(passage.text) + _FRAME_TOKENS
        is_new = not any(len(words & other) >= ALIKE * min(len(words), len(other)) for other in said)
        if cost <= left and is_new and passage.score >= NEARLY_AS_GOOD * (kept[0] if kept else passage).score:
            kept.append(passage)
            said.append(words)
            left -= cost
        if len(kept) == MOST_PASSAGES:
            break
    return tuple(kept)


def tokens(text: str) -> int:
    """How many tokens `text` has at most, as models go that are in use: estimated by its UTF-8 bytes."""
    return math.ceil(len(text.encode("utf-8", "surrogatepass")) / _BYTES_PER_TOKEN)
