"""Choosing by a session's seed: the same seed and labels choose the same, everywhere and after a restart."""

from __future__ import annotations

import hmac
from collections.abc import Sequence


class Draw:
    """Numbers from HMAC-SHA256 in counter mode: without the seed, a choice says nothing of what it was made for."""

    def __init__(self, seed: bytes, *labels: str) -> None:
        self._key = hmac.digest(seed, "\x1f".join(labels).encode("utf-8", "surrogatepass"), "sha256")
        self._count = 0

    def below(self, limit: int) -> int:
        """A number from 0 to `limit` - 1. The bias is under limit / 2**64."""
        self._count += 1
        return int.from_bytes(hmac.digest(self._key, self._count.to_bytes(8, "big"), "sha256")[:8], "big") % limit

    def between(self, low: int, high: int) -> int:
        """A number from `low` to `high`, both included."""
        return low + self.below(high - low + 1)

    def among(self, choices: Sequence[str]) -> str:
        """One of `choices`."""
        return choices[self.below(len(choices))]

    def digits(self, count: int) -> str:
        """`count` decimal digits."""
        return "".join(str(self.below(10)) for _ in range(count))
