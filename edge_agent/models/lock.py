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
    from edge_agent.models.lock_windows import try_lock
else:
    from edge_agent.models.lock_posix import try_lock

_POLL_S = 0.1


@contextmanager
def exclusive(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file `path`; blocks while another holds it, calling `waiting` once.

    The system lets go of the lock when its process dies. The file stays: removing it would race.
    Raises Unavailable code "models_folder_not_writable".
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    except OSError as error:
        raise Unavailable(
            f"The models folder {path.parent} cannot be written.",
            code="models_folder_not_writable",
            hint="Give yourself the right to write there, or set EDGE_AGENT_HOME.",
        ) from error
    try:
        if not try_lock(descriptor):
            waiting()
            while not try_lock(descriptor):
                time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)
