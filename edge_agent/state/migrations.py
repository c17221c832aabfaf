"""The schema, forward only. A migration is never edited once released: append the next one.

`events` and `session_keys` are the truth; every other table is a view of the log that `projection` can rebuild, but for
`facts`, `checks`, `cached_answers`, the routing tables, and the ledger's head and signatures. `meta`, `checks` and the
views hold ids, times, counts and names of models, never text.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from cloud_bridge.durable_files import sync_folder
from cloud_bridge.protocol.problems import Conflict

if TYPE_CHECKING:
    from sqlite_utils import Database, Migrations

NAME = "edge_agent.state"


def m001_log(db: Database) -> None:
    """The event log, the keys to its bodies, and what is true of the whole database."""
    db.executescript(
        """
        CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
        CREATE TABLE session_keys (
            session_id TEXT PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            wrapped BLOB NOT NULL
        );
        CREATE TABLE events (
            id TEXT PRIMARY KEY,
            hlc INTEGER NOT NULL,
            device TEXT NOT NULL,
            seq INTEGER NOT NULL,          -- dense per device: what a replica has is one number a device
            at_ms INTEGER NOT NULL,        -- the device's own clock, for people; order is the id's
            session_id TEXT NOT NULL,
            parent TEXT,                   -- no foreign key: another device's parent may arrive later
            kind TEXT NOT NULL,
            meta TEXT NOT NULL,
            key_id TEXT,
            body BLOB,
            UNIQUE (device, seq)
        );
        CREATE INDEX events_by_session ON events (session_id, kind, id);
        CREATE TRIGGER events_are_immutable BEFORE UPDATE ON events
            BEGIN SELECT RAISE(ABORT, 'events are immutable'); END;
        CREATE TRIGGER events_are_kept BEFORE DELETE ON events
            BEGIN SELECT RAISE(ABORT, 'events are kept'); END;
        """
    )


def m002_views(db: Database) -> None:
    """Sessions, turns, answers, decisions, jobs and ledger: views of the log."""
    db.executescript(
        """
        CREATE TABLE sessions (id TEXT PRIMARY KEY, started_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL);
        CREATE TABLE turns (
            id TEXT PRIMARY KEY REFERENCES events (id),
            session_id TEXT NOT NULL REFERENCES sessions (id),
            parent TEXT,                   -- the answer that it continues
            status TEXT NOT NULL,
            code TEXT,
            mac TEXT NOT NULL              -- keyed fingerprint of the conversation up to here
        );
        CREATE INDEX turns_by_session ON turns (session_id, id);
        CREATE INDEX turns_by_mac ON turns (session_id, mac);
        CREATE INDEX turns_open ON turns (id) WHERE status = 'open';
        CREATE TABLE answers (
            id TEXT PRIMARY KEY REFERENCES events (id),
            turn_id TEXT NOT NULL REFERENCES turns (id),
            session_id TEXT NOT NULL,
            provisional INTEGER NOT NULL,
            revises TEXT,
            decision_id TEXT,
            mac TEXT NOT NULL
        );
        CREATE INDEX answers_by_turn ON answers (turn_id, id);
        CREATE INDEX answers_by_mac ON answers (session_id, mac);
        CREATE INDEX answers_newest ON answers (session_id, turn_id, id);
        CREATE TABLE decisions (
            id TEXT PRIMARY KEY,
            event_id TEXT NOT NULL REFERENCES events (id),
            session_id TEXT NOT NULL,
            at_ms INTEGER NOT NULL,
            cost_usd REAL NOT NULL
        );
        CREATE INDEX decisions_by_time ON decisions (at_ms, cost_usd);
        CREATE INDEX decisions_by_event ON decisions (event_id);
        CREATE TABLE jobs (
            id TEXT PRIMARY KEY REFERENCES events (id),
            session_id TEXT NOT NULL,
            request_id TEXT NOT NULL,
            decision_id TEXT,
            idempotency_key TEXT NOT NULL UNIQUE,
            status TEXT NOT NULL,
            reason TEXT NOT NULL,
            attempts INTEGER NOT NULL,
            not_before REAL NOT NULL,
            repeated INTEGER NOT NULL,
            answer_id TEXT,
            head INTEGER NOT NULL          -- first of its session's pending jobs: the only one that may be sent
        );
        CREATE INDEX jobs_ready ON jobs (id) WHERE head = 1 AND status = 'queued';
        CREATE INDEX jobs_pending ON jobs (session_id, id) WHERE status IN ('queued', 'sending');
        CREATE INDEX jobs_by_status ON jobs (status, id);
        CREATE INDEX jobs_by_session ON jobs (session_id, id);
        CREATE TABLE ledger (
            seq INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE REFERENCES events (id),
            hash TEXT NOT NULL
        );
        CREATE TABLE ledger_head (
            only INTEGER PRIMARY KEY CHECK (only = 1),
            seq INTEGER NOT NULL,
            hash TEXT NOT NULL,
            mac TEXT NOT NULL
        );
        """
    )


def m003_ledger_signatures(db: Database) -> None:
    """The device's signature under each entry of the ledger from now on. No view: the log cannot make them anew."""
    db.executescript("CREATE TABLE ledger_signatures (seq INTEGER PRIMARY KEY, signature BLOB NOT NULL);")


def m004_checks(db: Database) -> None:
    """Checks of what a calibration predicted. No view: they belong to no session, and hold no text."""
    db.executescript(
        """
        CREATE TABLE checks (
            id INTEGER PRIMARY KEY,
            at_ms INTEGER NOT NULL,
            calibration TEXT NOT NULL,
            judge TEXT NOT NULL,
            predicted REAL NOT NULL,
            agreed INTEGER NOT NULL
        );
        CREATE INDEX checks_by_calibration ON checks (calibration, id);
        """
    )


def m005_cached_answers(db: Database) -> None:
    """Masked answers to be given again. No view: each is sealed with the key of the session that it was made for."""
    db.executescript(
        """
        CREATE TABLE cached_answers (
            key BLOB PRIMARY KEY,          -- keyed fingerprint of the masked request
            near BLOB,                     -- the same without its last words; NULL: for the same words only
            session_id TEXT NOT NULL,
            key_id TEXT NOT NULL,
            at_ms INTEGER NOT NULL,
            used_ms INTEGER NOT NULL,
            size INTEGER NOT NULL,         -- bytes of what is sealed
            embedding BLOB,
            body BLOB NOT NULL
        );
        CREATE INDEX cached_answers_by_use ON cached_answers (used_ms, size);
        CREATE INDEX cached_answers_by_session ON cached_answers (session_id);
        CREATE INDEX cached_answers_near ON cached_answers (near, at_ms) WHERE near IS NOT NULL;
        """
    )


def m006_routing_facts(db: Database) -> None:
    """What the routing report counts. No view: forgetting a session takes what its requests were about out of it.

    Intents and reasons are numbers, whose names are sealed.
    """
    db.executescript(
        """
        CREATE TABLE routing_names (code INTEGER PRIMARY KEY, mac BLOB NOT NULL UNIQUE, sealed BLOB NOT NULL);
        CREATE TABLE routing_facts (
            id TEXT PRIMARY KEY,           -- the decision's
            session_id TEXT NOT NULL,
            at_ms INTEGER NOT NULL,
            route TEXT NOT NULL,
            reason INTEGER,
            cause INTEGER,                 -- why it was to leave; NULL: it was not
            intent INTEGER,
            cost_usd REAL NOT NULL,
            saved_usd REAL NOT NULL,
            provisional INTEGER NOT NULL,
            revised INTEGER NOT NULL,
            agreed INTEGER,                -- whether both tiers said the same; NULL: not compared
            route_ms REAL,
            anonymize_ms REAL,
            first_token_ms REAL,
            total_ms REAL
        );
        CREATE INDEX routing_facts_by_time ON routing_facts (at_ms);
        CREATE INDEX routing_facts_by_session ON routing_facts (session_id);
        """
    )


def m007_sync(db: Database) -> None:
    """What this device has of others, what was forgotten, and the group that it shares sessions with."""
    db.executescript(
        """
        CREATE TABLE sync_group (only INTEGER PRIMARY KEY CHECK (only = 1), sealed BLOB NOT NULL);
        CREATE TABLE sync_state (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
        CREATE TABLE replicas (device TEXT PRIMARY KEY, through INTEGER NOT NULL) WITHOUT ROWID;
        CREATE TABLE forgets (          -- a view: the newest forgetting of each session that is known
            session_id TEXT PRIMARY KEY,
            epoch TEXT NOT NULL         -- the id of the session.forgotten event
        ) WITHOUT ROWID;
        CREATE INDEX events_forgotten ON events (session_id, id) WHERE kind = 'session.forgotten';
        -- Events that say when a session began and was last changed: they come in any order.
        ALTER TABLE sessions ADD COLUMN oldest TEXT NOT NULL DEFAULT '';
        ALTER TABLE sessions ADD COLUMN newest TEXT NOT NULL DEFAULT '';
        """
    )


def m008_outbox(db: Database) -> None:
    """Which job goes first, until when it is worth sending, and how often it was refused."""
    db.executescript(
        """
        ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 1;  -- 0 low, 1 normal, 2 high
        ALTER TABLE jobs ADD COLUMN level INTEGER NOT NULL DEFAULT 1;  -- of a head: its session's highest priority
        ALTER TABLE jobs ADD COLUMN expires_ms INTEGER;
        ALTER TABLE jobs ADD COLUMN refusals INTEGER NOT NULL DEFAULT 0;
        DROP INDEX jobs_ready;
        CREATE INDEX jobs_due ON jobs (level, not_before, id) WHERE head = 1 AND status = 'queued';
        CREATE INDEX jobs_first ON jobs (level, id) WHERE head = 1 AND status = 'queued';
        CREATE INDEX jobs_heads ON jobs (session_id) WHERE head = 1;
        CREATE INDEX jobs_by_priority ON jobs (session_id, priority) WHERE status IN ('queued', 'sending');
        CREATE INDEX jobs_expiring ON jobs (expires_ms) WHERE status = 'queued' AND expires_ms IS NOT NULL;
        CREATE INDEX jobs_held ON jobs (not_before) WHERE status = 'queued' AND reason = 'budget_spent';
        CREATE INDEX jobs_deferred ON jobs (id)
            WHERE (status = 'queued' OR repeated OR reason NOT IN ('in_flight', 'client_gone'));
        CREATE TABLE job_counts (status TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
        INSERT INTO job_counts SELECT value, (SELECT count(*) FROM jobs WHERE status = value)
            FROM json_each('["queued", "sending", "done", "failed", "dropped"]');
        CREATE TRIGGER jobs_are_counted AFTER INSERT ON jobs
            BEGIN UPDATE job_counts SET number = number + 1 WHERE status = new.status; END;
        CREATE TRIGGER jobs_are_not_counted AFTER DELETE ON jobs
            BEGIN UPDATE job_counts SET number = number - 1 WHERE status = old.status; END;
        CREATE TRIGGER jobs_are_counted_anew AFTER UPDATE OF status ON jobs WHEN old.status <> new.status
            BEGIN UPDATE job_counts SET number = number + (status = new.status) - (status = old.status)
                WHERE status IN (old.status, new.status); END;
        """
    )


def m010_choices(db: Database) -> None:
    """The answer that a person goes on from, answers known by their last words, and what opens a long session."""
    db.executescript(
        """
        CREATE TABLE choices (          -- a view: the newest choice of each session
            session_id TEXT PRIMARY KEY,
            id TEXT NOT NULL,           -- of the session.chosen event
            answer_id TEXT NOT NULL
        ) WITHOUT ROWID;
        ALTER TABLE answers ADD COLUMN tail TEXT;  -- keyed fingerprint of the answer and of the message before it
        -- Each with the id: of a thousand alike, the newest is found at once.
        DROP INDEX answers_by_mac;
        DROP INDEX answers_newest;
        DROP INDEX turns_by_mac;
        CREATE INDEX answers_alike ON answers (session_id, mac, id);
        CREATE INDEX answers_by_tail ON answers (session_id, tail, id) WHERE tail IS NOT NULL;
        CREATE INDEX turns_alike ON turns (session_id, mac, id) WHERE parent IS NULL;
        CREATE INDEX turns_by_parent ON turns (parent, id) WHERE parent IS NOT NULL;
        ALTER TABLE sessions ADD COLUMN turns INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE sessions ADD COLUMN interrupted INTEGER NOT NULL DEFAULT 0;
        UPDATE sessions SET turns = (SELECT count(*) FROM turns WHERE session_id = sessions.id), interrupted =
            (SELECT count(*) FROM turns WHERE session_id = sessions.id AND status = 'interrupted');
        CREATE TRIGGER turns_are_counted AFTER INSERT ON turns
            BEGIN UPDATE sessions SET turns = turns + 1 WHERE id = new.session_id; END;
        CREATE TRIGGER interruptions_are_counted AFTER UPDATE OF status ON turns
            WHEN (old.status = 'interrupted') <> (new.status = 'interrupted')
            BEGIN
                UPDATE sessions SET interrupted = interrupted + (new.status = 'interrupted')
                    - (old.status = 'interrupted') WHERE id = new.session_id;
            END;
        """
    )


_ALL = (
    m001_log,
    m002_views,
    m003_ledger_signatures,
    m004_checks,
    m005_cached_answers,
    m006_routing_facts,
    m007_sync,
    m008_outbox,
    m010_choices,
)


def schema() -> Migrations:
    """The migrations in their order."""
    from sqlite_utils import Migrations  # noqa: PLC0415 slow, and most starts find nothing to migrate

    migrations = Migrations(NAME)
    for migration in _ALL:
        # Called, not decorated: sqlite-utils is untyped here, and an untyped decorator would untype the function.
        migrations()(migration)
    return migrations


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring the schema to this version's, after a backup; safe where several processes open at once.

    Raises Conflict where a newer version has written the database: it is left as it is.
    """
    if len(_applied(db, path)) == len(_ALL) and not _drafts(path):
        return
    from sqlite_utils import Database  # noqa: PLC0415 as above

    db.execute("BEGIN IMMEDIATE")
    try:
        # Nobody else migrates or forgets now: so no draft is being written, and no key is destroyed past the copy.
        for draft in _drafts(path):
            _remove(draft)
        applied = _applied(db, path)
        if 0 < len(applied) < len(_ALL):
            _back_up(path, path.with_name(f"{path.name}.before-{len(applied) + 1:03d}"))
        # No plugins: third-party code has no business on this connection.
        # Each migration and its record share a savepoint; a second process finds nothing pending.
        schema().apply(Database(db, execute_plugins=False, recursive_triggers=False))
        db.execute("COMMIT")
    except BaseException:
        db.rollback()
        raise


def backups(path: Path) -> list[Path]:
    """The copies that `migrate` made of the database at `path`."""
    return sorted(path.parent.glob(f"{path.name}.before-???"))


def _applied(db: sqlite3.Connection, path: Path) -> set[str]:
    """The migrations on record. Raises Conflict where one is unknown."""
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = '_sqlite_migrations'").fetchone() is None:
        return set()  # a new file
    found = db.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = ?", (NAME,)).fetchall()
    applied = {str(name) for (name,) in found}
    unknown = applied - {migration.__name__ for migration in _ALL}
    if unknown:
        raise Conflict(
            f"{path} was written by a newer version (it has {min(unknown)}).",
            code="schema_newer",
            hint="Upgrade edge-agent, or use another EDGE_AGENT_HOME.",
        )
    return applied


def _back_up(path: Path, target: Path) -> None:
    draft = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
        # By a connection of its own: SQLite copies none that is in a transaction.
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(draft, isolation_level=None)) as copy:
            source.backup(copy)
            # A copy of its own, without a -wal file that would have to be renamed with it.
            copy.execute("PRAGMA journal_mode = DELETE")
        draft.replace(target)
    except BaseException:
        _remove(draft)
        raise
    sync_folder(target.parent)


def _drafts(path: Path) -> list[Path]:
    """What a process that died left of a copy: it has the keys, and forgetting does not look for it."""
    return list(path.parent.glob(f"{path.name}.before-???.*.part"))


def _remove(draft: Path) -> None:
    for each in (draft, *(draft.with_name(draft.name + end) for end in ("-journal", "-wal", "-shm"))):
        each.unlink(missing_ok=True)
