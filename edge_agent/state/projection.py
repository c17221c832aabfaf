"""The tables that are views of the log: what each kind of event does to them.

`apply` reads only an event and its sealed bytes, no key and no clock, so that replaying the log gives the
same tables as living through it, also for sessions that were forgotten.
"""

from __future__ import annotations

import sqlite3

from edge_agent.state.event import Event

# Children before parents, for the foreign keys.
_VIEWS = ("answers", "turns", "decisions", "jobs", "ledger", "sessions", "forgets", "choices")

# A session is there as long as one of these happened in it since it was last forgotten.
_BEGINS_SESSION = frozenset({"request.accepted", "mapping.added"})

_SAID = frozenset({"request", "answer", "mapping", "session"})
"""What is gone with its session. What it cost, and that bytes left, stays counted."""


def clear(db: sqlite3.Connection) -> None:
    """Empty all views."""
    for table in _VIEWS:
        db.execute(f"DELETE FROM {table}")  # noqa: S608 - constants


def apply(db: sqlite3.Connection, event: Event, sealed: bytes | None) -> None:
    """Bring the views up to date with `event`.

    `meta["after"]` is the forgetting of its session that was known where it happened. What knew of an older one than is
    known here is dead, whatever the clocks said: so all devices agree, in whatever order they hear of it.
    """
    after = str(event.meta.get("after", ""))
    if after > forgotten_at(db, event.session_id):
        _forget(db, event.session_id, after)
    is_dead = event.key_id is not None and after < forgotten_at(db, event.session_id)
    if is_dead and event.kind.partition(".")[0] in _SAID:
        return
    if event.kind in _BEGINS_SESSION and not is_dead:
        db.execute(
            "INSERT OR IGNORE INTO sessions (id, started_ms, updated_ms) VALUES (?, ?, ?)",
            (event.session_id, event.at_ms, event.at_ms),
        )
    room, _, verb = event.kind.partition(".")
    match room:
        case "request":
            _request(db, event, verb)
        case "answer":
            _answer(db, event)
        case "decision":
            _decision(db, event)
        case "job":
            _job(db, event, verb)
        case "ledger":
            _ledger(db, event, sealed)
        case "session":
            _session(db, event, verb)
        case _:
            pass
    if is_dead and room == "job":
        _drop(db, "id IN (?, ?)", (event.id, event.parent))
    db.execute("UPDATE sessions SET updated_ms = ? WHERE id = ?", (event.at_ms, event.session_id))


def _request(db: sqlite3.Connection, event: Event, verb: str) -> None:
    if verb == "accepted":
        db.execute(
            "INSERT INTO turns (id, session_id, parent, status, code, mac) VALUES (?, ?, ?, 'open', NULL, ?)",
            (event.id, event.session_id, event.parent, event.meta["mac"]),
        )
    else:  # failed, interrupted
        # An answer that arrived is never taken back by a failure that is noticed later.
        db.execute(
            "UPDATE turns SET status = ?, code = ? WHERE id = ? AND status IN ('open', 'interrupted')",
            (verb, event.meta.get("code"), event.parent),
        )


def _answer(db: sqlite3.Connection, event: Event) -> None:
    if db.execute("UPDATE turns SET status = 'done', code = NULL WHERE id = ?", (event.parent,)).rowcount:
        db.execute(
            "INSERT INTO answers (id, turn_id, session_id, provisional, revises, decision_id, mac, tail)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(event.id, event.parent, event.session_id, int(event.meta["provisional"])),
                *(event.meta["revises"], event.meta["decision_id"], event.meta["mac"], event.meta.get("tail")),
            ),
        )


def _decision(db: sqlite3.Connection, event: Event) -> None:
    db.execute(
        "INSERT INTO decisions (id, event_id, session_id, at_ms, cost_usd) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET event_id = excluded.event_id, at_ms = excluded.at_ms,"
        " cost_usd = excluded.cost_usd",
        (event.meta["id"], event.id, event.session_id, event.at_ms, event.meta["cost_usd"]),
    )
    if event.meta["route"] in {"queued", "refused"}:
        db.execute("UPDATE turns SET status = ? WHERE id = ? AND status = 'open'", (event.meta["route"], event.parent))


def _job(db: sqlite3.Connection, event: Event, verb: str) -> None:
    meta = event.meta
    match verb:
        case "queued":
            db.execute(
                "INSERT INTO jobs VALUES (:id, :session_id, :request_id, :decision_id, :idempotency_key, 'queued',"
                " :reason, 0, :not_before, 0, NULL, NOT EXISTS (SELECT 1 FROM jobs WHERE session_id = :session_id"
                " AND status IN ('queued', 'sending')))",
                {"id": event.id, "session_id": event.session_id, **meta},
            )
        case "sending":
            db.execute("UPDATE jobs SET status = 'sending', attempts = attempts + 1 WHERE id = ?", (event.parent,))
        case "retried":
            db.execute(
                "UPDATE jobs SET status = 'queued', reason = ?, not_before = ? WHERE id = ?",
                (meta["reason"], meta["not_before"], event.parent),
            )
        case "recovered":
            db.execute("UPDATE jobs SET status = 'queued', repeated = 1 WHERE id = ?", (event.parent,))
        case "done" | "failed" | "dropped":
            db.execute(
                "UPDATE jobs SET status = ?, reason = coalesce(?, reason), answer_id = ? WHERE id = ?",
                (verb, meta.get("reason"), meta.get("answer_id"), event.parent),
            )
            db.execute(
                "UPDATE turns SET status = ?, code = ? WHERE status = 'queued'"
                " AND id = (SELECT request_id FROM jobs WHERE id = ?)",
                (verb, meta.get("reason"), event.parent),
            )
            _promote_next(db, event.parent, event.session_id)
        case _:
            pass


def _promote_next(db: sqlite3.Connection, job_id: str | None, session_id: str) -> None:
    was_head = db.execute("SELECT head FROM jobs WHERE id = ?", (job_id,)).fetchone()
    if was_head != (1,):
        return
    db.execute("UPDATE jobs SET head = 0 WHERE id = ?", (job_id,))
    db.execute(
        "UPDATE jobs SET head = 1 WHERE id = (SELECT min(id) FROM jobs"
        " WHERE session_id = ? AND status IN ('queued', 'sending'))",
        (session_id,),
    )


def _ledger(db: sqlite3.Connection, event: Event, sealed: bytes | None) -> None:
    db.execute("INSERT INTO ledger (seq, id, hash) VALUES (?, ?, ?)", (event.meta["seq"], event.id, event.link(sealed)))


def _session(db: sqlite3.Connection, event: Event, verb: str) -> None:
    if verb == "chosen":
        db.execute(
            "INSERT INTO choices VALUES (?, ?, ?) ON CONFLICT (session_id) DO UPDATE"
            " SET id = excluded.id, answer_id = excluded.answer_id WHERE excluded.id > choices.id",
            (event.session_id, event.id, event.meta["answer_id"]),
        )
    if verb != "forgotten":
        return
    if "epoch" not in event.meta:  # from before sessions were shared: it counts for what came before it here
        _clear_session(db, event.session_id)
    elif event.id > forgotten_at(db, event.session_id):
        _forget(db, event.session_id, event.id)


def forgotten_at(db: sqlite3.Connection, session_id: str) -> str:
    """The id of the newest forgetting of the session that is known; "" where there is none."""
    found = db.execute("SELECT epoch FROM forgets WHERE session_id = ?", (session_id,)).fetchone()
    return "" if found is None else str(found[0])


def _forget(db: sqlite3.Connection, session_id: str, epoch: str) -> None:
    db.execute("INSERT OR REPLACE INTO forgets VALUES (?, ?)", (session_id, epoch))
    _clear_session(db, session_id)


def _clear_session(db: sqlite3.Connection, session_id: str) -> None:
    session = (session_id,)
    _drop(db, "session_id = ?", session)
    # Its text is gone with the key. What it cost, and that bytes left, stays counted.
    db.execute("UPDATE jobs SET answer_id = NULL WHERE session_id = ?", session)
    db.execute("DELETE FROM choices WHERE session_id = ?", session)
    db.execute("DELETE FROM answers WHERE session_id = ?", session)
    db.execute("DELETE FROM turns WHERE session_id = ?", session)
    db.execute("DELETE FROM sessions WHERE id = ?", session)


def _drop(db: sqlite3.Connection, which: str, parameters: tuple[str | None, ...]) -> None:
    """What waits to be sent, and may not be any more."""
    db.execute(
        "UPDATE jobs SET status = 'dropped', reason = 'session_forgotten', head = 0"  # noqa: S608 - constants
        f" WHERE {which} AND status IN ('queued', 'sending')",
        parameters,
    )
