"""Sessions as a person sees them, and forgetting one."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import NotFound
from edge_agent.state import cached_answers, routing_facts
from edge_agent.state.database import has_table
from edge_agent.state.history import Message
from edge_agent.state.log import Log, Reader, Transaction
from edge_agent.state.migrations import backups
from edge_agent.state.times import iso
from edge_agent.state.turns import text_of


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


@dataclass(frozen=True, slots=True)
class AnswerView:
    """One answer of a turn. `revises` is the provisional answer that it came later to replace; both stay."""

    id: str
    at: str
    text: str
    provisional: bool
    revises: str | None
    decision_id: str | None
    message: Message


@dataclass(frozen=True, slots=True)
class TurnView:
    """A request and its answers. `messages` is what it added to the answer `parent`.

    `status` is open, done, queued, refused, failed or interrupted. `branch` numbers the turns that continue
    the same turn (or ask the same first question again), from 0.
    """

    id: str
    at: str
    parent: str | None
    branch: int
    status: str
    code: str | None
    messages: Sequence[Message]
    answers: Sequence[AnswerView]


@dataclass(frozen=True, slots=True)
class SessionView:
    """A whole session, its turns in the order in which they were asked."""

    id: str
    started_at: str
    updated_at: str
    turns: Sequence[TurnView]

    def to_json(self) -> dict[str, Any]:
        """As a door shows it."""
        return asdict(self)


def summaries(log: Log, limit: int | None, before: str | None) -> list[SessionSummary]:
    """At most `limit` sessions, the newest first; `before`: those that changed before the session of that id."""
    with log.reading() as tx:
        since = _require_session(tx, before)["updated_ms"] if before is not None else None
        return [
            SessionSummary(row["id"], iso(row["started_ms"]), iso(row["updated_ms"]), *tuple(row)[3:])
            for row in tx.rows(
                "SELECT id, started_ms, updated_ms,"
                " (SELECT count(*) FROM turns WHERE session_id = sessions.id),"
                " (SELECT count(*) FROM turns WHERE session_id = sessions.id AND status = 'interrupted'),"
                " (SELECT count(*) FROM jobs WHERE session_id = sessions.id AND status IN ('queued', 'sending'))"
                # Chosen first, so that nothing is counted for the others.
                " FROM (SELECT * FROM sessions WHERE ?1 IS NULL OR (updated_ms, id) < (?1, ?2)"
                " ORDER BY updated_ms DESC, id DESC LIMIT ?3) AS sessions ORDER BY updated_ms DESC, id DESC",
                *(since, before, -1 if limit is None else limit),
            )
        ]


def view(log: Log, session_id: str) -> SessionView:
    """The whole session. Raises NotFound, saying so where it was forgotten."""
    with log.reading() as tx:
        session = _require_session(tx, session_id)
        answers = _answers(tx, session_id)
        branches: Counter[str] = Counter()
        turns = []
        for row in tx.rows(
            "SELECT turns.*, at_ms, parents.turn_id AS parent_turn FROM turns JOIN events USING (id)"
            " LEFT JOIN answers AS parents ON parents.id = turns.parent WHERE turns.session_id = ? ORDER BY turns.id",
            session_id,
        ):
            request = tx.document(row["id"]) or {}
            fork = row["parent_turn"] or row["mac"]
            turns.append(
                TurnView(
                    id=row["id"],
                    at=iso(row["at_ms"]),
                    parent=row["parent"],
                    branch=branches[fork],
                    status=row["status"],
                    code=row["code"],
                    messages=request["conversation"]["messages"],
                    answers=answers.get(row["id"], ()),
                )
            )
            branches[fork] += 1
        return SessionView(session_id, iso(session["started_ms"]), iso(session["updated_ms"]), turns)


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
            tx.append("session.forgotten", session_id, meta={"epoch": 1}, sealed=False)
            key_id = destroy_key(tx, session_id)
    erase(log, session_id, key_id)
    if not known:
        with log.reading() as reader:
            _require_session(reader, session_id)


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
    if key_id is not None:
        log.drop_key(key_id)
    log.erase_traces()
    for copy in backups(log.path):
        _forget_in_copy(copy, session_id)


def _answers(tx: Reader, session_id: str) -> dict[str, list[AnswerView]]:
    found: dict[str, list[AnswerView]] = {}
    for row in tx.rows(
        "SELECT answers.*, at_ms FROM answers JOIN events USING (id) WHERE answers.session_id = ? ORDER BY answers.id",
        session_id,
    ):
        message = (tx.document(row["id"]) or {})["message"]
        found.setdefault(row["turn_id"], []).append(
            AnswerView(
                id=row["id"],
                at=iso(row["at_ms"]),
                text=text_of(message),
                provisional=bool(row["provisional"]),
                revises=row["revises"],
                decision_id=row["decision_id"],
                message=message,
            )
        )
    return found


def _require_session(tx: Reader, session_id: str) -> Mapping[str, Any]:
    row = tx.row("SELECT * FROM sessions WHERE id = ?", session_id)
    if row is not None:
        return dict(row)
    if tx.events(session_id, "session.forgotten"):
        raise NotFound("That session was forgotten.", code="session_forgotten", hint="It cannot be brought back.")
    raise NotFound("There is no such session.", code="unknown_session", hint="'edge-agent sessions list' lists them.")


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
