"""The folder that a conversion makes: there completely, or not at all."""

from __future__ import annotations

import errno
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cloud_bridge.protocol.problems import Conflict, Unavailable
from edge_agent.models.disk import disk_errors
from edge_agent.models.locks.lock import open_lock, try_lock

_LOCK = "being-made"


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """A scratch folder that becomes `folder` when the block ends well, and is removed when it does not.

    It lies alone in a hidden folder beside `folder`: what the block puts next to it goes in the end, too. What a run
    that was killed left of the same folder goes before.
    Raises Conflict code "already_exists" where `folder` is there already, and what `disk_errors` raises.
    """
    if os.path.lexists(folder):
        raise already_exists(folder)
    with disk_errors(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        for left in folder.parent.glob(f".{glob.escape(folder.name)}.*/{_LOCK}"):
            remove_unused(left)
        with _scratch(folder) as made:
            yield made
            for file in made.rglob("*"):
                _sync(file)
            _sync(made)
            try:
                made.rename(folder)
            except OSError as error:
                if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:  # another made it in the meantime
                    raise already_exists(folder) from error
                raise
            _sync(folder.parent)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """It is locked while it is used: the system takes the lock back from a process that dies."""
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        lock = open_lock(scratch / _LOCK)
        try:
            with suppress(OSError):  # a file system without locks: there nothing is taken for left behind
                try_lock(lock)
            made = scratch / "made"
            made.mkdir()
            yield made
        finally:
            os.close(lock)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def remove_unused(lock: Path) -> None:
    """Remove the folder in which this lock lies, unless another process has it, or nobody can tell."""
    with suppress(OSError, Unavailable):
        descriptor = open_lock(lock)
        try:
            if try_lock(descriptor):
                shutil.rmtree(lock.parent, ignore_errors=True)
        finally:
            os.close(descriptor)


def already_exists(folder: Path) -> Conflict:
    """What is there is never replaced."""
    return Conflict(f"{folder} exists already.", code="already_exists", hint="Remove it, or name another with --out.")


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows has no handle to sync for a folder
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() or os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
