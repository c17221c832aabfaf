"""The folder that a conversion makes: there completely, or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cloud_bridge.protocol.problems import Conflict
from edge_agent.models.disk import not_enough_disk


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """A scratch folder that becomes `folder` when the block ends well, and is removed when it does not.

    It lies alone in a hidden folder beside `folder`: what the block puts next to it goes in the end, too.
    Raises Conflict code "already_exists" where `folder` is there already, and Unavailable code "not_enough_disk".
    """
    if os.path.lexists(folder):
        raise already_exists(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    made = scratch / "made"
    made.mkdir()
    try:
        yield made
        for file in made.rglob("*"):
            _sync(file)
        _sync(made)
        made.rename(folder)
        _sync(folder.parent)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise not_enough_disk(folder.parent) from error
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:  # another made it in the meantime
            raise already_exists(folder) from error
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


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
