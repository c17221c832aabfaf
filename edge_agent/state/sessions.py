"""The list of sessions, choosing how one goes on, and forgetting one."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import NotFound
from edge_agent.state import cached_answers, routing_facts
from edge_agent.state.database import has_table
from edge_agent.state.log import Log, Transaction
from edge_agent.state.migrations import backups
from edge_agent.state.session_view import require_session
from edge_agent.state.times import iso


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A line of `sessions list`. Times are ISO 8601, UTC."""

    id: str
    started_at: str
    updated_at: str
    turns: int
    interrupted: int
    jobs_pending: int

    def to_json(self) -> dict[str, Any]:
        """As a door shows it."""
        return asdict(self)


def summaries(log: Log, limit: int | None, before: str | None) -> list[SessionSummary]:
    """At most `limit` sessions, the newest first; `before`: those that changed before the session of that id."""
    with log.reading() as tx:
        since = require_session(tx, before)["updated_ms"] if before is not None else None
        return [
            SessionSummary(row["id"], iso(row["started_ms"]), iso(row["updated_ms"]), *tuple(row)[3:])
            for row in tx.rows(
                "SELECT id, started_ms, updated_ms, turns, interrupted,"
                " (SELECT count(*) FROM jobs INDEXED BY jobs_pending"
                " WHERE session_id = sessions.id AND status IN ('queued', 'sending'))"
                # Chosen first, so that nothing is counted for the others.
                " FROM (SELECT * FROM sessions WHERE ?1 IS NULL OR (updated_ms, id) < (?1, ?2)"
                " ORDER BY updated_ms DESC, id DESC LIMIT ?3) AS sessions ORDER BY updated_ms DESC, id DESC",
                *(since, before, -1 if limit is None else limit),
            )
        ]


def choose(log: Log, session_id: str, answer_id: str) -> None:
    """Go on from this answer: the next request carries the line that it ends, until a newer turn was made elsewhere.

    Raises NotFound where there is no such session, or no such answer in it.
    """
    with log.transaction() as tx:
        require_session(tx, session_id)
        if tx.row("SELECT 1 FROM answers WHERE id = ? AND session_id = ?", answer_id, session_id) is None:
            raise NotFound(
                "There is no such answer in that session.",
                code="unknown_answer",
                hint="'edge-agent sessions show' lists the answers of a session with their ids.",
                param="answer_id",
            )
        tx.append("session.chosen", session_id, meta={"answer_id": answer_id})


def forget(log: Log, session_id: str) -> None:
    """Destroy the session's key: no body of it can be read again, here or in the copies made before upgrades.

    Raises NotFound where there is no such session, and Unavailable `traces_left` where the key is destroyed but the
    write-ahead file still has a trace of it; the same call again removes that.
    """
    with log.transaction() as tx:
        key_id = None
        known = tx.key_row(session_id) is not None
        known = known or tx.row("SELECT 1 FROM sessions WHERE id = ?", session_id) is not None
        if known:
            key_id = forget_in(tx, session_id)
    erase(log, session_id, key_id)
    if not known:
        with log.reading() as reader:
            require_session(reader, session_id)


def forget_in(tx: Transaction, session_id: str) -> str | None:
    """Record that the session is forgotten, and destroy its key. Returns the key's id; `erase` is next."""
    tx.append("session.forgotten", session_id, meta={"epoch": 1}, sealed=False)
    return destroy_key(tx, session_id)


def destroy_key(tx: Transaction, session_id: str) -> str | None:
    """Delete the session's key and what is sealed with it outside the log. Returns the key's id; `erase` is next."""
    key = tx.key_row(session_id)
    tx.db.execute("DELETE FROM session_keys WHERE session_id = ?", (session_id,))
    cached_answers.forget(tx.db, session_id)
    routing_facts.forget(tx.db, session_id)
    return None if key is None else key[0]


def erase(log: Log, session_id: str, key_id: str | None) -> None:
    """Remove what is left of a destroyed key from memory, the write-ahead file, and the copies made before upgrades.

    Raises Unavailable `traces_left` where another process reads on.
    """
    erase_all(log, [(session_id, key_id)])


def erase_all(log: Log, destroyed: Sequence[tuple[str, str | None]]) -> None:
    """As `erase`, for several sessions and the ids of their keys."""
    for _, key_id in destroyed:
        if key_id is not None:
            log.drop_key(key_id)
    log.erase_traces()
    for copy in backups(log.path):
        for session_id, _ in destroyed:
            _forget_in_copy(copy, session_id)


def _forget_in_copy(copy: Path, session_id: str) -> None:
    connection = sqlite3.connect(copy, isolation_level=None)
    try:
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("DELETE FROM session_keys WHERE session_id = ?", (session_id,))
        if has_table(connection, "cached_answers"):
            cached_answers.forget(connection, session_id)
        if has_table(connection, "routing_facts"):
            routing_facts.forget(connection, session_id)
    finally:
        connection.close()
