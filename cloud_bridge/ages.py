"""Ages that hold although the wall clock jumps: an answer is not old because a clock was set.

What a record's age counts is the time that this process saw pass, and `GAP_S` at most for each time that it did not:
asleep, off, or never passed at all. Everything beyond that is taken for the clock's error, and the records' times are
moved by it, as if they had been written by the clock as it goes now. What was signed elsewhere keeps its time.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlite_utils import Database

GAP_S = 3600.0
_KEPT_EVERY_S = 60.0


class Ages:
    """Of one database's records. `clock`: monotonic, in seconds. Called within transactions only."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._settled = clock()

    def settle(self, db: Database, now: float) -> None:
        """Before times are compared with `now` (Unix time in seconds), or written: undo a jump since the last time."""
        running, self._settled = self._clock() - self._settled, self._clock()
        found = db.execute("SELECT seen FROM wall_clock").fetchone()
        if found is None:
            # Written before anybody watched the clock.
            db.execute("UPDATE calls SET ended_at = ? WHERE ended_at > ?", (now, now))
            db.execute("INSERT INTO wall_clock VALUES (1, ?)", (now,))
            return
        passed = now - found[0]
        # `seen` may be older than the last look, which is when `running` begins.
        jump = passed if passed < 0 else max(0.0, passed - running - _KEPT_EVERY_S - GAP_S)
        if jump:
            db.execute("UPDATE calls SET started_at = started_at + ?, ended_at = ended_at + ?", (jump, jump))
            db.execute("UPDATE nonces SET received = received + ?", (jump,))
        if jump or passed >= _KEPT_EVERY_S:
            db.execute("UPDATE wall_clock SET seen = ?", (now,))
