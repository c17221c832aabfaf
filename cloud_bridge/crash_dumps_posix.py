"""POSIX: a core file's size is limited to nothing; Linux hands no memory to a program that collects dumps, either."""

from __future__ import annotations

import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4


def forbid() -> None:
    """See `crash_dumps.forbid`."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        # The limit says nothing to a collector behind a pipe (core(5)), and that is what most distributions have.
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
