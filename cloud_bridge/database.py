"""The bridge's SQLite file: calls, devices, nonces, audit. Never a person's text beyond masked answers."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlite_utils import Database, Migrations

from cloud_bridge.protocol.problems import Broken, Conflict, Problem, Unavailable

BUSY_TIMEOUT_S = 10.0
Row = dict[str, Any]

_PRAGMAS = (
    # FULL: a call that was started must be known after a power cut, or it would be made twice unnoticed.
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",
    # Answers that are past their time are overwritten, not only unlinked.
    "PRAGMA secure_delete = ON",
    "PRAGMA journal_size_limit = 16777216",
)

_SCHEMA = Migrations("cloud_bridge")


def m001_bridge(db: Database) -> None:
    """Calls and their answers, devices, nonces, and the audit chain."""
    db.executescript(
        """
        CREATE TABLE calls (
            caller TEXT NOT NULL,          -- the device's name; "" inside a device
            key TEXT NOT NULL,
            fingerprint TEXT NOT NULL,     -- sha256 of the masked conversation: a key names one only
            status TEXT NOT NULL,          -- started, done, failed, expired
            attempts INTEGER NOT NULL,
            repeated INTEGER NOT NULL,     -- an earlier call may have been answered, see store.Call
            started_at REAL NOT NULL,
            ended_at REAL,
            provider TEXT,
            code TEXT,                     -- why it failed
            events TEXT,                   -- the masked answer, until its retention is over
            PRIMARY KEY (caller, key)
        ) WITHOUT ROWID;
        CREATE INDEX calls_by_end ON calls (ended_at);
        CREATE TABLE devices (
            name TEXT PRIMARY KEY,
            public_key TEXT NOT NULL UNIQUE,
            enrolled_at REAL NOT NULL,
            revoked_at REAL
        ) WITHOUT ROWID;
        CREATE TABLE nonces (
            public_key TEXT NOT NULL,
            nonce TEXT NOT NULL,
            created REAL NOT NULL,
            PRIMARY KEY (public_key, nonce)
        ) WITHOUT ROWID;
        CREATE INDEX nonces_by_time ON nonces (created);
        CREATE TABLE audit (seq INTEGER PRIMARY KEY, record TEXT NOT NULL, hash TEXT NOT NULL);
        CREATE TABLE audit_head (only INTEGER PRIMARY KEY CHECK (only = 1), seq INTEGER NOT NULL, hash TEXT NOT NULL);
        CREATE TRIGGER audit_is_immutable BEFORE UPDATE ON audit
            BEGIN SELECT RAISE(ABORT, 'the audit is immutable'); END;
        CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit
            BEGIN SELECT RAISE(ABORT, 'the audit is kept'); END;
        """
    )


# Called, not decorated: sqlite-utils is untyped here, and an untyped decorator would untype the function.
_ALL = (m001_bridge,)
for _migration in _ALL:
    _SCHEMA()(_migration)


def own_home(home: Path) -> sqlite3.Connection:
    """Take the home for this process until the connection is closed or the process dies, however it dies.

    Raises Conflict where another bridge serves from it. SQLite's own lock on an empty file works on every platform.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = home / "serve.lock"
    os.close(os.open(lock, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(lock, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = MEMORY")  # nothing is ever written: no file beside it
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        connection.close()
        raise Conflict(
            f"Another bridge serves from {home}.",
            code="home_in_use",
            hint="Stop it first, or set CLOUD_BRIDGE_HOME to another folder.",
        ) from error
    return connection


class BridgeDatabase:
    """One connection to the file, safe to use from many threads. Other processes may use the file, too."""

    def __init__(self, path: Path) -> None:
        """Open or create, readable by its owner only. Raises Broken or Unavailable."""
        self.path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._readable_errors():
            # SQLite gives the -wal and -shm files the mode of the database file.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            path.chmod(0o600)
            # isolation_level=None: transactions begin where we say so, and nowhere else.
            connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
            try:
                self._db = Database(connection, execute_plugins=False, recursive_triggers=False)
                self._db.enable_wal()
                for pragma in _PRAGMAS:
                    self._db.execute(pragma)
                self._migrate()
            except BaseException:
                connection.close()
                raise

    def close(self) -> None:
        """Close the connection; harmless twice."""
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[Database]:
        """All of it or nothing; other writers wait."""
        with self._lock, self._readable_errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                self._db.conn.rollback()
                raise

    def rows(self, sql: str, *values: object) -> list[Row]:
        """What a query finds."""
        with self._lock, self._readable_errors():
            return list(self._db.query(sql, values))

    def row(self, sql: str, *values: object) -> Row | None:
        """The first row that a query finds, or None."""
        return next(iter(self.rows(sql, *values)), None)

    def _migrate(self) -> None:
        unknown = {migration.name for migration in _SCHEMA.applied(self._db)} - {m.__name__ for m in _ALL}
        if unknown:
            raise Conflict(
                f"{self.path} was written by a newer version (it has {min(unknown)}).",
                code="schema_newer",
                hint="Upgrade cloud-bridge, or use another CLOUD_BRIDGE_HOME.",
            )
        if _SCHEMA.pending(self._db):
            # Inside, a second process that opens the file at the same time finds nothing pending.
            with self.transaction() as db:
                _SCHEMA.apply(db)

    @contextmanager
    def _readable_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.OperationalError as error:
            raise _operational(error, self.path) from error
        except sqlite3.DatabaseError as error:
            raise Broken(
                f"{self.path} is damaged.", code="state_damaged", hint="Restore it from a backup, or move it away."
            ) from error


def _operational(error: sqlite3.OperationalError, path: Path) -> Problem:
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Unavailable(
                f"{path} is busy.", code="state_busy", hint="Another process holds it; try again.", retry_after_s=1
            )
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            return Unavailable(f"{path} cannot be written.", code="disk_full", hint="Free some disk space.")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return Broken(
                f"{path} cannot be opened for writing.",
                code="state_unwritable",
                hint="Check the folder's owner and permissions.",
            )
        case _:
            return Broken(f"{path}: {error}.", code="state_failed", hint="Restore it from a backup, or move it away.")
