"""Which local model answers, where more than one could: the fastest that is good enough, else the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

DEFAULT_THRESHOLD = 0.5
"""What counts as good enough until `edge-agent calibrate` has measured it on this device."""

HOLD_TOKENS = 24
"""How much of a local answer is judged before a word of it is shown: 0.2 s at 120 tokens a second, 1 s at 24."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A local model with the runtime and the parameters that it would be run with, as things are now.

    `context_length` in tokens, None: not checked. `fits`: it needs no more memory than models may take. `p_right`:
    the chance that its answer will be right. `expected_ms`: until the whole answer would be there, by the speeds that
    were measured; both None where nobody knows. It includes loading, and `queue_ms`, until it could begin at all:
    others are before it. `calibrated`: its confidence was measured on this
    device; then `threshold` is the least that keeps the promise, and `hold_tokens` what has to be seen for it.
    `promise_broken`: that was found wrong since.
    """

    model: str
    runtime: str = ""
    context_length: int | None = None
    fits: bool = True
    p_right: float | None = None
    expected_ms: float | None = None
    calibrated: bool = False
    threshold: float = DEFAULT_THRESHOLD
    hold_tokens: int = HOLD_TOKENS
    promise_broken: bool = False
    queue_ms: float = 0.0

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Candidate:
        """The inverse of `to_json`."""
        return cls(**document)

    def to_json(self) -> dict[str, Any]:
        """For the record."""
        return asdict(self)

    def can_read(self, prompt_tokens: int) -> bool:
        """Whether a prompt of at least so many tokens fits into its context."""
        return self.context_length is None or prompt_tokens <= self.context_length


def best_candidate(
    candidates: Sequence[Candidate], *, prompt_tokens: int, enough: float, deadline_ms: float | None
) -> Candidate | None:
    """The model to run, None where none can. `candidates` stand in the order in which the user prefers them.

    Those that keep the deadline go first; of these the fastest one of those whose chance is `enough`; else
    the one with the best chance. What nobody measured is taken to be as good, and as slow, as is needed to come
    after what was, and the first of equals wins.
    """
    able = [each for each in candidates if each.fits and each.can_read(prompt_tokens)]
    punctual = [each for each in able if deadline_ms is None or (each.expected_ms or 0.0) <= deadline_ms] or able
    good = [each for each in punctual if each.p_right is not None and each.p_right >= enough]
    if good:
        return min(good, key=lambda each: each.expected_ms if each.expected_ms is not None else float("inf"))
    return max(punctual, key=lambda each: each.p_right or 0.0, default=None)
