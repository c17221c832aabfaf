"""What a finder is, and the words that announce what it looks for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

Hit = tuple[int, int, float]
"""Start, end and score: 1.0 where a checksum or a fixed prefix proves it, less where only the shape speaks."""

Finder = Callable[[str], Iterator[Hit]]
"""A pure function from a text to its hits. Linear in the text, whatever the text."""

TypedFinder = Callable[[str], Iterator[tuple[str, Hit]]]
"""The same for a finder of several types."""

BEFORE, AFTER = 60, 25
"""Characters before and after a value in which a word counts as announcing it."""


def holds_any(text: str, parts: Iterable[str]) -> bool:
    """Whether one of `parts` stands in `text`: far cheaper than a pattern that finds nothing."""
    return any(part in text for part in parts)


def announced(text: str, start: int, end: int, words: tuple[str, ...]) -> bool:
    """Whether one of `words` (lower case) stands near the characters `start` to `end`, as a whole word."""
    near = text[max(0, start - BEFORE) : start] + "\n" + text[end : end + AFTER]
    return any_word(words).search(near.lower()) is not None


@lru_cache(maxsize=512)
def any_word(words: tuple[str, ...]) -> re.Pattern[str]:
    """One of `words` as a whole word; underscores separate words, as in names in code."""
    return re.compile(r"(?<![^\W_])(?:" + "|".join(re.escape(word.strip().lower()) for word in words) + r")(?![^\W_])")
