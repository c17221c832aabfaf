"""The tables that are views of the log: what each kind of event does to them.

`apply` reads only an event and its sealed bytes, no key and no clock, so that replaying the log gives the
same tables as living through it, also for sessions that were forgotten.
"""

from __future__ import annotations

import sqlite3

from edge_agent.state.event import Event
from edge_agent.state.times import EARLIEST_S

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
    after, known = str(event.meta.get("after", "")), forgotten_at(db, event.session_id)
    if after > known:
        _forget(db, event.session_id, after)
    is_dead = event.key_id is not None and after < known
    if is_dead and event.kind.partition(".")[0] in _SAID:
        return
    if event.kind in _BEGINS_SESSION and not is_dead:
        _begin(db, event)
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
    if room in _SAID:
        db.execute(
            "UPDATE sessions SET updated_ms = ?, newest = ? WHERE id = ? AND newest < ?",
            (event.at_ms, event.id, event.session_id, event.id),
        )


def _begin(db: sqlite3.Connection, event: Event) -> None:
    """The session is there. Another device's older event may come after a newer one."""
    db.execute(
        "INSERT INTO sessions (id, started_ms, updated_ms, oldest) VALUES (?1, ?2, ?2, ?3) ON CONFLICT (id) DO UPDATE"
        " SET started_ms = excluded.started_ms, oldest = excluded.oldest WHERE excluded.oldest < oldest",
        (event.session_id, event.at_ms, event.id),
    )


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
            _queue(db, event)
        case "sending":
            db.execute("UPDATE jobs SET status = 'sending', attempts = attempts + 1 WHERE id = ?", (event.parent,))
        case "retried":
            db.execute(
                "UPDATE jobs SET status = 'queued', reason = ?, not_before = ?, refusals = refusals + ? WHERE id = ?",
                (meta["reason"], meta["not_before"], meta.get("refused", 0), event.parent),
            )
            _settle_head(db, event.session_id)  # an older one may have come back while it was sent
        case "recovered":
            db.execute("UPDATE jobs SET status = 'queued', repeated = 1 WHERE id = ?", (event.parent,))
            _settle_head(db, event.session_id)
        case "requeued":
            db.execute(
                "UPDATE jobs SET status = 'queued', reason = ?, not_before = ?, refusals = 0, expires_ms = NULL"
                " WHERE id = ?",
                (meta["reason"], meta["not_before"], event.parent),
            )
            _turn_of_job(db, event.parent, "failed", "queued", None)
            _settle_head(db, event.session_id)
        case "done" | "failed" | "dropped":
            db.execute(
                "UPDATE jobs SET status = ?, reason = coalesce(?, reason), answer_id = ?, head = 0 WHERE id = ?",
                (verb, meta.get("reason"), meta.get("answer_id"), event.parent),
            )
            _turn_of_job(db, event.parent, "queued", verb, meta.get("reason"))
            _settle_head(db, event.session_id)
        case _:
            pass


def _queue(db: sqlite3.Connection, event: Event) -> None:
    meta = event.meta
    expires_s = meta.get("expires_s")
    if event.at_ms < EARLIEST_S * 1000:
        expires_s = None  # by a clock that could not be right it is not known when it is over
    expires_ms = None if expires_s is None else event.at_ms + int(expires_s * 1000)
    priority = meta.get("priority", 1)
    db.execute(
        "INSERT INTO jobs (id, session_id, request_id, decision_id, idempotency_key, status, reason, attempts,"
        " not_before, repeated, answer_id, head, priority, level, expires_ms)"
        " VALUES (?, ?, ?, ?, ?, 'queued', ?, 0, ?, 0, NULL, 0, ?, ?, ?)",
        (
            *(event.id, event.session_id, meta["request_id"], meta["decision_id"], meta["idempotency_key"]),
            *(meta["reason"], meta["not_before"], priority, priority, expires_ms),
        ),
    )
    _settle_head(db, event.session_id)


def _turn_of_job(db: sqlite3.Connection, job_id: str | None, was: str, status: str, code: str | None) -> None:
    db.execute(
        "UPDATE turns SET status = ?, code = ? WHERE status = ? AND id = (SELECT request_id FROM jobs WHERE id = ?)",
        (status, code, was, job_id),
    )


def _settle_head(db: sqlite3.Connection, session_id: str) -> None:
    """The oldest pending job of a session is its head, the only one to be claimed; while it is sent it stays that.

    Its level is the highest priority of all that wait behind it.
    """
    head = db.execute(
        "SELECT id, status FROM jobs INDEXED BY jobs_heads WHERE session_id = ? AND head = 1", (session_id,)
    ).fetchone()
    if head is None or head[1] != "sending":
        (first,) = db.execute(
            "SELECT min(id) FROM jobs WHERE session_id = ? AND status IN ('queued', 'sending')", (session_id,)
        ).fetchone()
        if head is not None and head[0] != first:
            db.execute("UPDATE jobs SET head = 0 WHERE id = ?", (head[0],))
        head = (first,)
    if head[0] is not None:
        db.execute(
            "UPDATE jobs SET head = 1, level = (SELECT max(priority) FROM jobs"
            " WHERE session_id = ?1 AND status IN ('queued', 'sending')) WHERE id = ?2",
            (session_id, head[0]),
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
