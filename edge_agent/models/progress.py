"""How long steps report: one method, drawn by the terminal and sent as events by the daemon."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told, in bytes, how far a long step is."""

    def advance(self, done: int, total: int, what: str) -> None:
        """`done` of `total` bytes; `what` names the present part. Never goes backwards within one step."""
        ...


class Silent:
    """Shows nothing."""

    def advance(self, done: int, total: int, what: str) -> None:
        """Ignore it."""


SILENT = Silent()


class Meter:
    """Turns what single files and downloads report into one figure for the whole model that only grows."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total
        self._finished = 0
        self._shown = 0

    def finish(self, size: int, what: str) -> None:
        """A file of `size` bytes is in its place."""
        self._finished += size
        self.partly(0, what)

    def partly(self, size: int, what: str) -> None:
        """`size` bytes are there beyond the finished files."""
        done = min(self._total, self._finished + size)
        if done >= self._shown:
            self._shown = done
            self._progress.advance(done, self._total, what)
