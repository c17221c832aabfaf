"""Which sessions nothing happened in for so long that they are to be forgotten, and by which clock.

A device's clock may leap years ahead, for a minute or for good; believed at once, it would end everything. So the time
that counts is one that the device has lived on from: that of its newest own decision which is at least a day older
than its newest one. After a leap nothing is forgotten until the device was used a day later by the same clock; a
device that was off for months forgets a day of use later what is due. What was dated in a wrong future and is not
now, counts for nothing: it is not the newest.
"""

from __future__ import annotations

from cloud_bridge.protocol.problems import Problem
from edge_agent.state import clock, sessions, ulid
from edge_agent.state.hlc import MAX_MS, Stamp
from edge_agent.state.log import Log, Reader

STEP = 16
"""How many sessions are forgotten in one step: others wait for the database meanwhile."""

LIVED_ON_MS = 86_400_000
"""How much later the device must have been used, for a time to count."""

_UNTOUCHED = """
    FROM sessions WHERE updated_ms < ?1
    -- By the order of events, too: what another device, whose clock is behind, adds now is not old.
    AND NOT EXISTS (SELECT 1 FROM turns WHERE session_id = sessions.id AND id >= ?2)
    AND {} (SELECT 1 FROM jobs INDEXED BY jobs_pending
        WHERE session_id = sessions.id AND status IN ('queued', 'sending'))
"""


def lived_until_ms(log: Log) -> int | None:
    """The newest time, in ms since 1970, that is certainly past; None where none is, or the clock cannot be right."""
    try:
        clock.check(log)
    except Problem:
        return None
    with log.reading() as tx:
        newest = tx.row("SELECT at_ms FROM decisions ORDER BY event_id DESC LIMIT 1")
        if newest is None:
            return None
        until = min(newest["at_ms"], int(log.now() * 1000)) - LIVED_ON_MS
        lived = tx.row(
            # In their order: back through one day's, not through all that were ever dated before it.
            "SELECT at_ms FROM decisions INDEXED BY decisions_by_event WHERE at_ms <= ? ORDER BY event_id DESC LIMIT 1",
            until,
        )
    return None if lived is None else int(lived["at_ms"])


def forget_untouched(log: Log, until_ms: int, limit: int) -> list[str]:
    """Forget at most `limit` sessions in which nothing happened since `until_ms`, the oldest first; returns them.

    A session of which something waits to be sent stays. Raises as `sessions.forget`.
    """
    with log.transaction() as tx:
        found = _untouched(tx, until_ms, limit)
        for session_id in found:
            sessions.forget_in(tx, session_id)
    if found:
        sessions.erase(log)
    return found


def count_untouched(log: Log, until_ms: int) -> int:
    """How many sessions stay although nothing happened in them since `until_ms`: something waits to be sent."""
    with log.reading() as tx:
        (count,) = tx.db.execute(f"SELECT count(*) {_UNTOUCHED.format('EXISTS')}", _parameters(until_ms)).fetchone()
    return int(count)


def _untouched(tx: Reader, until_ms: int, limit: int) -> list[str]:
    sql = f"SELECT id {_UNTOUCHED.format('NOT EXISTS')} ORDER BY updated_ms LIMIT ?3"
    return [str(row["id"]) for row in tx.rows(sql, *_parameters(until_ms), limit)]


def _parameters(until_ms: int) -> tuple[int, str]:
    return until_ms, ulid.encode(Stamp(min(max(until_ms, 0), MAX_MS), 0), 0)
