"""An outbox of any length, made at once: rows of the view without events behind them, to count what looking costs."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from edge_agent.state.state import State

COLUMNS = (
    "id, session_id, request_id, decision_id, idempotency_key, status, reason, attempts, not_before, repeated, head,"
    " priority, level, expires_ms"
)


def fill(state: State, number: int, *, status: str, reason: str, not_before: float, level: int) -> None:
    """As many jobs, each in a session of its own, older than what is queued later."""
    rows = (
        (
            *(f"0{level}{n:024}", f"old-{level}-{n}", "r", None, f"old-{level}-{n}", status, reason, 1, not_before),
            *(0, status == "queued", level, level, None),
        )
        for n in range(number)
    )
    db = sqlite3.connect(state._log.path)
    with db:
        (counting,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'jobs_are_counted'").fetchone()
        db.execute("DROP TRIGGER jobs_are_counted")  # row by row it would take most of the time
        places = ", ".join("?" * 14)
        db.executemany(f"INSERT INTO jobs ({COLUMNS}) VALUES ({places})", rows)  # noqa: S608 - constants
        db.execute(counting)
        db.execute("UPDATE job_counts SET number = number + ? WHERE status = ?", (number, status))
    db.close()


def steps(state: State, work: Callable[[], Any]) -> int:
    """How many instructions SQLite's virtual machine takes for it: the same on every machine."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    state._log._db.set_progress_handler(count, 10)
    try:
        work()
    finally:
        state._log._db.set_progress_handler(None, 10)
    return taken * 10
