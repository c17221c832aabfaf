"""Everything of a database that hangs on the master key, brought under another one."""

from __future__ import annotations

import sqlite3

from edge_agent.state import cached_answers, ledger, routing_facts
from edge_agent.state.database import has_table
from edge_agent.state.keys import KeyRing
from edge_agent.state.sync import membership


def rekey(db: sqlite3.Connection, old: KeyRing, new: KeyRing) -> int:
    """Within the caller's transaction. Returns how many sessions' keys are wrapped by `new` now.

    Raises Broken `state_damaged` where one cannot be unwrapped.
    """
    rows = db.execute("SELECT session_id, id, CAST(wrapped AS BLOB) FROM session_keys").fetchall()
    db.executemany(
        "UPDATE session_keys SET wrapped = ? WHERE session_id = ?",
        [(old.rewrap(wrapped, key_id, session_id, new), session_id) for session_id, key_id, wrapped in rows],
    )
    (device,) = db.execute("SELECT value FROM facts WHERE name = 'device'").fetchone()
    ledger.reseal_head(db, device, old, new)
    if has_table(db, "cached_answers"):
        cached_answers.clear(db)
    if has_table(db, "routing_names"):
        routing_facts.rekey(db, old, new)
    if has_table(db, "sync_group"):
        membership.rekey(db, old, new)
    db.execute("UPDATE facts SET value = ? WHERE name = 'master_key'", (new.fingerprint,))
    return len(rows)


def rekey_copy(db: sqlite3.Connection, old: KeyRing, new: KeyRing) -> None:
    """`rekey` for a copy of the database, whole or not at all; one that `old` does not open stays as it is."""
    db.execute("PRAGMA secure_delete = ON")
    db.execute("BEGIN IMMEDIATE")
    try:
        found = db.execute("SELECT value FROM facts WHERE name = 'master_key'").fetchone()
        if found is not None and found[0] == old.fingerprint:
            rekey(db, old, new)
        db.execute("COMMIT")
    except BaseException:
        db.rollback()
        raise
