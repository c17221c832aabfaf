"""How much of a prompt one step reads, so that a step stays short on any machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edge_agent.runtimes.decoders.decoder import STEP_TOKENS

LEAST = 32
FIRST = 160
_ALONE_S = 1.5
_BESIDE_ANSWERS_S = 0.25
_TELLING = 32
"""Fewer tokens than this say little of the speed of many."""


class Pace:
    """Learns from each step. A request can join, and one that is given up stops, only between two steps."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._per_second: float | None = None

    def prompt_tokens(self, *, beside_answers: bool) -> int:
        """How many prompt tokens the next step should read: a multiple of `LEAST`, at most `STEP_TOKENS`."""
        if self._per_second is None:
            return FIRST
        wanted = self._per_second * (_BESIDE_ANSWERS_S if beside_answers else _ALONE_S)
        return max(LEAST, min(STEP_TOKENS, int(wanted) // LEAST * LEAST))

    @contextmanager
    def timing(self, read: int) -> Iterator[None]:
        """The block evaluates `read` prompt tokens."""
        started = self._clock()
        yield
        taken = self._clock() - started
        if read >= _TELLING and taken > 0:
            speed = read / taken
            self._per_second = speed if self._per_second is None else 0.5 * (self._per_second + speed)
