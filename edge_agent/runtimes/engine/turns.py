"""Whose step is next, where requests want different adapters. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.runtimes.engine.task import Answer

STEPS = 4
"""Steps of one turn. Changing the adapter costs llama.cpp a seventh of a step; nobody's text stands still for long."""


class Turns:
    """Those who want one adapter are evaluated together; after `STEPS` steps the next ones' turn has come."""

    def __init__(self) -> None:
        self._order: list[str | None] = []
        self._taken = 0
        self._first = 0

    def company(self, writing: Sequence[Answer], slow_widths: range) -> list[Answer]:
        """Those of `writing` whose next token is computed now: all, or where that is slow, fewer, each time others."""
        if len(writing) not in slow_widths:
            return list(writing)
        taken = [writing[(self._first + each) % len(writing)] for each in range(slow_widths.start - 1)]
        self._first = (self._first + len(taken)) % len(writing)
        return taken

    def next(self, running: Sequence[Answer]) -> list[Answer]:
        """The answers that the next step is for: all that want the adapter whose turn it is."""
        wanted = dict.fromkeys(answer.task.adapter for answer in running)
        before = self._order[:1]
        stay = [adapter for adapter in self._order if adapter in wanted]
        self._order = [*stay, *(adapter for adapter in wanted if adapter not in stay)]
        if self._order[:1] != before:
            self._taken = 0
        elif self._taken >= STEPS and len(self._order) > 1:
            self._order.append(self._order.pop(0))
            self._taken = 0
        self._taken += 1
        return [answer for answer in running if answer.task.adapter == self._order[0]]
