"""One pull or removal of a model at a time, across threads and processes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cloud_bridge.protocol.problems import Unavailable

if sys.platform == "win32":
    from edge_agent.models.locks import lock_windows as system
else:
    from edge_agent.models.locks import lock_posix as system

POLL_S = 0.1

try_lock = system.try_lock


@contextmanager
def exclusive(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file `path`; blocks while another holds it, calling `waiting` once.

    The system lets go of the lock when its process dies. The file stays: removing it would race.
    Raises Unavailable code "models_folder_not_writable".
    """
    descriptor = open_lock(path)
    try:
        if not try_alone(descriptor, path):
            waiting()
            while not try_alone(descriptor, path):
                time.sleep(POLL_S)
        yield
    finally:
        os.close(descriptor)


def try_alone(descriptor: int, path: Path) -> bool:
    """Lock the open file of `path` alone, or say that another has it now.

    Raises Unavailable code "models_folder_not_writable" on a file system without locks.
    """
    try:
        return try_lock(descriptor)
    except OSError as error:
        raise Unavailable(
            f"The folder {path.parent} is not safe to write: files cannot be locked there.",
            code="models_folder_not_writable",
            hint="Set EDGE_AGENT_HOME to a folder on a disk of this machine.",
        ) from error


def open_lock(path: Path) -> int:
    """A descriptor of the lock file, made where it is missing; what is written to it is appended.

    Raises Unavailable code "models_folder_not_writable".
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0), 0o644)
    except OSError as error:
        raise Unavailable(
            f"The folder {path.parent} cannot be written.",
            code="models_folder_not_writable",
            hint="Give yourself the right to write there, or set EDGE_AGENT_HOME.",
        ) from error
