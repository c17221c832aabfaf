"""Stop strings: text that may still become one is held back."""

from __future__ import annotations

from collections.abc import Sequence


class StopHolder:
    """Passes text through until a stop string appears in it; the string itself and what follows is dropped."""

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._stops = tuple(stops)
        self._longest = max((len(stop) for stop in stops), default=0)
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """The text that is certain now. Sets `stopped` where a stop string is complete; the earliest one counts."""
        if self.stopped:
            return ""
        self._held += text
        found = [at for at in (self._held.find(stop) for stop in self._stops) if at >= 0]
        if found:
            self.stopped = True
            certain, self._held = self._held[: min(found)], ""
            return certain
        keep = self._possible_start()
        certain, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return certain

    def flush(self) -> str:
        """What was held back, once nothing more can come."""
        certain, self._held = self._held, ""
        return certain

    def _possible_start(self) -> int:
        """Length of the longest tail that a stop string begins with."""
        for size in range(min(self._longest - 1, len(self._held)), 0, -1):
            tail = self._held[-size:]
            if any(stop.startswith(tail) for stop in self._stops):
                return size
        return 0
