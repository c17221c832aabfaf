"""Opening the SQLite file: who may, how durable, and what its errors mean to a person."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cloud_bridge.durable_files import BUSY_TIMEOUT_S, create, write_ahead
from cloud_bridge.protocol.problems import Broken, Conflict, Problem, Unavailable

_PRAGMAS = (
    # FULL: in WAL mode NORMAL may lose the newest commits at a power cut, and what was accepted must not be lost.
    "PRAGMA synchronous = FULL",
    # macOS only: a plain fsync there leaves the data in the drive's cache.
    "PRAGMA fullfsync = ON",
    "PRAGMA checkpoint_fullfsync = ON",
    "PRAGMA foreign_keys = ON",
    # Deleted keys are overwritten with zeros, so that forgetting holds against a reader of the raw file.
    "PRAGMA secure_delete = ON",
    "PRAGMA journal_size_limit = 16777216",
    "PRAGMA temp_store = MEMORY",
)


def connect(path: Path) -> sqlite3.Connection:
    """Open or create the database, readable by its owner only. Raises Broken where it is not a database."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with readable_errors(path):
        # SQLite gives the -wal and -shm files the mode of the database file.
        create(path)
        path.chmod(0o600)
        # isolation_level=None: transactions begin where we say so, and nowhere else.
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            write_ahead(connection)
            for pragma in _PRAGMAS:
                connection.execute(pragma)
        except BaseException:
            connection.close()
            raise
    return connection


def has_table(connection: sqlite3.Connection, name: str) -> bool:
    """Whether there is one: a copy from before an upgrade lacks the newer ones."""
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)).fetchone()
    return found is not None


def check_integrity(connection: sqlite3.Connection, path: Path) -> None:
    """Raise Broken where SQLite finds damage. Reads the whole file."""
    with readable_errors(path):
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise _damaged(path)


def sync_write_ahead(path: Path) -> None:
    """Make the size of the database's write-ahead file durable, where there is one."""
    with suppress(FileNotFoundError):
        descriptor = os.open(f"{path}-wal", os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def own_home(home: Path) -> sqlite3.Connection:
    """Take the home for this process until the connection is closed or the process dies, however it dies.

    Raises Conflict where another process has it. SQLite's own lock on an empty file does it on every platform.
    """
    lock = home / "daemon.lock"
    create(lock)
    connection = sqlite3.connect(lock, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = MEMORY")  # nothing is ever written: no file beside it
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        connection.close()
        raise Conflict(
            f"Another daemon is using {home}.",
            code="home_in_use",
            hint="Stop it first, or set EDGE_AGENT_HOME to another folder.",
        ) from error
    return connection


@contextmanager
def readable_errors(path: Path) -> Iterator[None]:
    """Raise SQLite's errors as Problems."""
    try:
        yield
    except Problem:
        raise
    except sqlite3.IntegrityError:
        raise  # a bug of ours, not the file's
    except sqlite3.OperationalError as error:
        raise _operational(error, path) from error
    except sqlite3.DatabaseError as error:
        raise _damaged(path) from error


def _operational(error: sqlite3.OperationalError, path: Path) -> Problem:
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Unavailable(
                f"{path} is busy.", code="state_busy", hint="Another process holds it; try again.", retry_after_s=1
            )
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            return Unavailable(
                f"{path} cannot be written.", code="disk_full", hint="Free some disk space and check the disk."
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return Broken(
                f"{path} cannot be opened for writing.",
                code="state_unwritable",
                hint="Check the folder's owner and permissions.",
            )
        case _:
            return Broken(f"{path}: {error}.", code="state_failed", hint="Run 'edge-agent doctor'.")


def _damaged(path: Path) -> Broken:
    return Broken(
        f"{path} is damaged.",
        code="state_damaged",
        hint=f"Restore it from a backup ({path.name}.before-* lie beside it after upgrades), or move it away.",
    )
