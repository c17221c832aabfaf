"""The bridge's SQLite file: calls, devices, nonces, audit, and what devices share sealed.

Never a person's text beyond masked answers.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from cloud_bridge.ages import Ages
from cloud_bridge.durable_files import BUSY_TIMEOUT_S, create, write_ahead
from cloud_bridge.migrations import SCHEMA, unknown_to_this_version
from cloud_bridge.protocol.problems import Broken, Conflict, Problem, Unavailable

Row = dict[str, Any]

_PRAGMAS = (
    # FULL: a call that was started must be known after a power cut, or it would be made twice unnoticed.
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",
    # Answers that are past their time are overwritten, not only unlinked.
    "PRAGMA secure_delete = ON",
    "PRAGMA journal_size_limit = 16777216",
)


def own_home(home: Path) -> sqlite3.Connection:
    """Take the home for this process until the connection is closed or the process dies, however it dies.

    Raises Conflict where another bridge serves from it. SQLite's own lock on an empty file works on every platform.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = home / "serve.lock"
    create(lock)
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

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Open or create, readable by its owner only. Raises Broken or Unavailable."""
        self.path = path
        self.ages = Ages(clock)
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._readable_errors():
            # SQLite gives the -wal and -shm files the mode of the database file.
            create(path)
            path.chmod(0o600)
            # isolation_level=None: transactions begin where we say so, and nowhere else.
            connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
            try:
                self._db = Database(connection, execute_plugins=False, recursive_triggers=False)
                write_ahead(connection)
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

    def erase_traces(self) -> None:
        """Empty the write-ahead file, in which pages from before a deletion may still lie.

        Raises Unavailable `traces_left` where another process reads on for longer than `BUSY_TIMEOUT_S`.
        """
        with self._lock, self._readable_errors():
            (is_busy, *_) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if is_busy:
            raise Unavailable(
                "It is deleted, but a trace of it is left in the bridge's write-ahead file.",
                code="traces_left",
                hint="Another process reads the database. End it, and send the request again.",
                retry_after_s=1,
            )

    def _migrate(self) -> None:
        unknown = unknown_to_this_version(self._db)
        if unknown:
            raise Conflict(
                f"{self.path} was written by a newer version (it has {min(unknown)}).",
                code="schema_newer",
                hint="Upgrade cloud-bridge, or use another CLOUD_BRIDGE_HOME.",
            )
        if SCHEMA.pending(self._db):
            # Inside, a second process that opens the file at the same time finds nothing pending.
            with self.transaction() as db:
                SCHEMA.apply(db)

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
