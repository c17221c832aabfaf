"""The list of sessions, choosing how one goes on, and forgetting one."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import NotFound, Problem
from edge_agent.state import cached_answers, routing_facts
from edge_agent.state.database import has_table, readable_errors
from edge_agent.state.log import Log, Transaction
from edge_agent.state.migrations import backups
from edge_agent.state.session_view import require_session
from edge_agent.state.times import iso

ERASE = "erase/"
"""What the names in `sync_state` begin with of sessions whose key is destroyed and may have left traces."""


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

    Raises NotFound where there is no such session, and as `erase` where the key is destroyed but a trace of it is left:
    the same call again removes that.
    """
    with log.transaction() as tx:
        known = tx.key_row(session_id) is not None
        known = known or tx.row("SELECT 1 FROM sessions WHERE id = ?", session_id) is not None
        if known:
            forget_in(tx, session_id)
        else:
            destroy_key(tx, session_id)  # a copy may have it still
    erase(log)
    if not known:
        with log.reading() as reader:
            require_session(reader, session_id)


def forget_in(tx: Transaction, session_id: str) -> None:
    """Record that the session is forgotten, and destroy its key. `erase` is next."""
    tx.append("session.forgotten", session_id, meta={"epoch": 1}, sealed=False)
    destroy_key(tx, session_id)


def destroy_key(tx: Transaction, session_id: str) -> None:
    """Delete the session's key and what is sealed with it outside the log, and note it for `erase`, which is next."""
    key = tx.key_row(session_id)
    tx.db.execute("DELETE FROM session_keys WHERE session_id = ?", (session_id,))
    cached_answers.forget(tx.db, session_id)
    routing_facts.forget(tx.db, session_id)
    key_id = ""
    if key is not None:
        key_id, _ = key
        tx.log.drop_key(key_id)
    tx.db.execute("INSERT OR REPLACE INTO sync_state VALUES (?, ?)", (ERASE + session_id, key_id))


def erase(log: Log) -> None:
    """Remove what is left of destroyed keys from the copies made before upgrades, and from the write-ahead file.

    What was not removed, since the process died or this raised, stays noted for the next call. Raises Unavailable
    `traces_left` where another process reads on, and Problems of a copy that cannot be written.
    """
    with log.reading() as tx:
        sql = "SELECT name, value FROM sync_state WHERE name GLOB ?"
        noted = tx.db.execute(sql, (ERASE + "*",)).fetchall()
    if not noted:
        return
    destroyed = [name.removeprefix(ERASE) for name, _ in noted]
    failed: Problem | None = None
    for copy in backups(log.path):
        try:
            _forget_in_copy(copy, destroyed)
        except Problem as problem:
            if problem.code != "state_damaged":  # no database any more: nothing can be looked for in it
                failed = problem
    log.erase_traces()
    if failed is not None:
        raise failed
    with log.transaction() as writer:
        # One that was forgotten anew meanwhile has another value.
        writer.db.executemany("DELETE FROM sync_state WHERE name = ? AND value = ?", noted)


def erase_left(log: Log) -> None:
    """As `erase`, at a start: what cannot be removed now does not stand in its way."""
    try:
        erase(log)
    except Problem as problem:
        logging.getLogger(__name__).warning("a trace of a forgotten session is left: %s", problem.code)


def _forget_in_copy(copy: Path, session_ids: Sequence[str]) -> None:
    with readable_errors(copy), closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("DELETE FROM session_keys WHERE session_id = ?", [(each,) for each in session_ids])
        for table, forget_there in (("cached_answers", cached_answers.forget), ("routing_facts", routing_facts.forget)):
            if has_table(connection, table):
                for session_id in session_ids:
                    forget_there(connection, session_id)
        connection.execute("COMMIT")
