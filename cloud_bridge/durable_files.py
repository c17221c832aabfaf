"""Files that others may have open, and that outlast a power cut: made, named, and switched to a write-ahead log."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

BUSY_TIMEOUT_S = 10.0
"""How long a database that another process writes to is waited for, in seconds."""


def create(path: Path) -> None:
    """Make the file where there is none, readable by its owner only. One that is there is not touched.

    Closing any descriptor of a file drops all locks that the process has on it (POSIX), another connection's, too:
    another process would then take itself for the last one, and remove the write-ahead file that is in use.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def sync_folder(folder: Path) -> None:
    """Make new names in `folder` durable, where the platform can open folders."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to WAL. Where several open a new file at once SQLite gives up without waiting: it is asked again."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
