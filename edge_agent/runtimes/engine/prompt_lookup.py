"""Prompt-lookup decoding: where an answer repeats what was read, the next tokens are looked up and checked at once.

The method is that of Saxena, "Prompt Lookup Decoding" (2023): the last few tokens are searched in what came before;
what followed them there is the draft. One evaluation checks the whole draft, and what the model would not have said
is dropped, so the answer is the same as without.
"""

from __future__ import annotations

from collections.abc import Sequence

NGRAM = 3
MOST = 7


class PromptLookup:
    """Drafts for one answer. Its index grows with the tokens; a draft's length follows how well the last ones did.

    A batch of a few tokens costs up to as many times one token on a CPU with few cores, so a draft has to earn its
    length: it doubles while all of it is right, and shrinks to what was right where it was not.
    """

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = list(tokens)
        self._next: dict[tuple[int, ...], int] = {}
        self._size = 2
        self._pause = 0
        self._misses = 0
        for end in range(NGRAM, len(self._tokens)):
            self._index(end)

    def extend(self, token: int) -> None:
        """One more token of the answer."""
        if len(self._tokens) >= NGRAM:
            self._index(len(self._tokens))
        self._tokens.append(token)

    def draft(self, most: int) -> list[int]:
        """Up to `most` tokens that may come next; often none."""
        if self._pause > 0:
            self._pause -= 1
            return []
        at = self._next.get(tuple(self._tokens[-NGRAM:]))
        return [] if at is None else self._tokens[at : at + min(self._size, most)]

    def judged(self, drafted: int, right: int) -> None:
        """How many of a draft's tokens the model would have said."""
        if right == drafted:
            self._size, self._misses = min(self._size * 2, MOST), 0
            return
        self._size = max(1, right)
        self._misses = self._misses + 1 if right == 0 else 0
        self._pause = min(2**self._misses, 64) if self._misses else 0

    def _index(self, end: int) -> None:
        """`tokens[end]` followed the n-gram that ends before it; the latest place counts."""
        self._next[tuple(self._tokens[end - NGRAM : end])] = end
