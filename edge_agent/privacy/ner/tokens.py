"""What the token classifier reads: word pieces without case, and beside each what its letters looked like.

The word pieces are lower-case, which keeps the vocabulary small; capitals, digits and line starts, which tell names and
numbers apart from words, come in through the model's token types. Used by the model's training, too.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PLAIN, CAPITAL, CAPITALS, DIGITS = range(4)
"""Of the word that a piece belongs to: no capital first, a capital first, capitals only; or the piece has a digit."""

LINE_START = 4
"""Added where a new line begins before the piece."""

TOKEN_TYPES = 8

MAX_TOKENS = 254
"""Pieces read at once, without the two special ones. Attention grows with the square: short windows cost least."""

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Tokens:
    """The pieces of one text: their ids, their token types, and the characters [start, end) that each covers.

    All of shape (pieces,). `word_starts` marks the pieces that begin a word: a run of letters and digits, or one
    other character.
    """

    ids: Ints
    types: Ints
    starts: Ints
    ends: Ints
    word_starts: Flags

    def __len__(self) -> int:
        return len(self.ids)


def read(text: str, tokenizer: Tokenizer) -> Tokens:
    """`text` as the model reads it, without the special pieces at its ends."""
    # A lone surrogate is legal in a JSON string and not in UTF-8; one character for one keeps the places right.
    encoding = tokenizer.encode(text.encode("utf-8", "replace").decode(), add_special_tokens=False)
    offsets = np.array(encoding.offsets, np.int64).reshape(-1, 2)
    starts, ends = offsets[:, 0], offsets[:, 1]
    return Tokens(
        np.array(encoding.ids, np.int64), _types(text, starts, ends), starts, ends, _word_starts(text, starts, ends)
    )


def windows(tokens: Tokens, size: int, overlap: int) -> list[tuple[int, int]]:
    """Overlapping ranges of pieces, of about the same length, that cover all; none starts inside a word."""
    count = len(tokens)
    if count <= size:
        return [(0, count)]
    parts = -(-(count - overlap) // (size - overlap))
    step = -(-(count - overlap) // parts)
    ranges = []
    start = 0
    while True:
        end = min(start + step + overlap, count)
        ranges.append((start, end))
        if end == count:
            return ranges
        following = end - overlap
        while following > start + 1 and not tokens.word_starts[following]:
            following -= 1
        start = following


def _types(text: str, starts: Ints, ends: Ints) -> Ints:
    if not len(starts):
        return np.zeros(0, np.int64)
    codes = _codes(text)
    letters, capitals, digits = (table[codes] for table in _tables())
    first, last = _runs(letters)
    upper = np.concatenate(([0], np.cumsum(capitals)))
    run_start, run_end = first[starts], last[starts]
    all_capitals = (run_end - run_start > 1) & (upper[run_end] - upper[run_start] == run_end - run_start)
    case = np.where(capitals[run_start], np.where(all_capitals, CAPITALS, CAPITAL), PLAIN)
    numbers = np.concatenate(([0], np.cumsum(digits)))
    types = np.where(numbers[ends] > numbers[starts], DIGITS, np.where(letters[starts], case, PLAIN))
    lines = np.concatenate(([0], np.cumsum(codes == ord("\n"))))
    before = np.concatenate(([0], ends[:-1]))
    return np.asarray(types + LINE_START * (lines[starts] > lines[np.minimum(before, starts)]), np.int64)


def _word_starts(text: str, starts: Ints, ends: Ints) -> Flags:
    if not len(starts):
        return np.zeros(0, np.bool_)
    letters, _, digits = (table[_codes(text)] for table in _tables())
    wordy = letters | digits
    adjoins = np.zeros(len(starts), np.bool_)
    adjoins[1:] = (starts[1:] == ends[:-1]) & wordy[starts[1:]] & wordy[np.maximum(ends[:-1] - 1, 0)]
    return ~adjoins


def _runs(letters: Flags) -> tuple[Ints, Ints]:
    """For each character where the run of letters that it is in starts and ends; itself where it is no letter."""
    places = np.arange(len(letters))
    breaks = ~letters
    first = np.maximum.accumulate(np.where(breaks, places + 1, 0))
    last = np.minimum.accumulate(np.where(breaks, places, len(letters))[::-1])[::-1]
    return np.where(breaks, places, first), np.where(breaks, places, last)


def _codes(text: str) -> Ints:
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64)
    return np.asarray(np.minimum(codes, _BEYOND))


_BEYOND = 0xFFFF  # rarer characters are no letters to us


@lru_cache(maxsize=1)
def _tables() -> Sequence[Flags]:
    """Which characters of the basic plane are letters, capitals, digits."""
    characters = [chr(code) for code in range(min(_BEYOND, sys.maxunicode))] + [" "]
    return tuple(
        np.array([test(character) for character in characters], np.bool_)
        for test in (str.isalpha, str.isupper, str.isdigit)
    )
