"""How a model is run on this machine: how much context its memory allows, decided before it is loaded. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.models.footprint import Footprint
from edge_agent.runtimes.runtime import DEFAULT_CONTEXT_LENGTH, DEFAULT_MAX_WAITING, DEFAULT_PARALLEL

LEAST_CONTEXT = 2048
"""Tokens of context below which a model is refused rather than run: hardly a conversation fits into less."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user set for every model. `context_length` and `threads` 0: decided from the machine."""

    context_length: int = 0
    parallel: int = DEFAULT_PARALLEL
    threads: int = 0
    max_waiting: int = DEFAULT_MAX_WAITING

    def context_for(self, own: int) -> int:
        """Tokens of context for a model that was made for `own`, where memory is no matter."""
        return min(own, self.context_length or DEFAULT_CONTEXT_LENGTH)


def context_that_fits(footprint: Footprint, wanted: int, parallel: int, budget_mb: int) -> int:
    """`wanted` tokens of context, or as many as the budget leaves room for: no fewer than `LEAST_CONTEXT`.

    Where not even those fit the model is too large, and what it would take says so.
    """
    wanted = min(wanted, footprint.context_length)
    if footprint.mb(wanted, parallel) <= budget_mb:
        return wanted
    return min(wanted, max(footprint.largest_context(budget_mb, parallel), LEAST_CONTEXT))
