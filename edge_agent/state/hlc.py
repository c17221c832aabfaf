"""A hybrid logical clock: wall time where it can be trusted, order always.

A stamp never goes back, whatever the device's clock does, and is later than every stamp that was observed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

COUNTER_BITS = 16
# Packed stamps must fit SQLite's signed 64-bit integers; this is the year 6429.
MAX_MS = (1 << 47) - 1

LATEST_MS = 1 << 46
"""The year 4199: a clock that shows a later time is taken to show this one. Stamps go on rising beyond it, one by one,
for 2**46 milliseconds of 2**16 each before they would reach `MAX_MS`."""

_MAX_COUNTER = (1 << COUNTER_BITS) - 1


@dataclass(frozen=True, slots=True, order=True)
class Stamp:
    """Milliseconds since 1970 and a counter within the millisecond."""

    ms: int
    counter: int

    @property
    def packed(self) -> int:
        """One integer that sorts as stamps do."""
        return self.ms << COUNTER_BITS | self.counter

    @classmethod
    def unpack(cls, packed: int) -> Stamp:
        """The inverse of `packed`."""
        return cls(packed >> COUNTER_BITS, packed & _MAX_COUNTER)

    def next(self) -> Stamp:
        """The smallest later stamp."""
        return Stamp(self.ms, self.counter + 1) if self.counter < _MAX_COUNTER else Stamp(self.ms + 1, 0)


class HybridClock:
    """Stamps in strictly rising order. Thread-safe. `now_ms` may jump either way."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._last = Stamp(0, 0)
        self._lock = threading.Lock()

    def tick(self) -> Stamp:
        """A stamp later than all before it."""
        with self._lock:
            wall = Stamp(min(max(self._now_ms(), 0), LATEST_MS), 0)
            self._last = wall if wall > self._last else self._last.next()
            return self._last

    def observe(self, stamp: Stamp) -> None:
        """From now on tick later than `stamp`."""
        with self._lock:
            self._last = max(self._last, stamp)
