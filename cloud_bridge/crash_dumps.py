"""A process that crashes must not leave its memory on the disk: texts, mappings and keys are in it."""

from __future__ import annotations

import sys


def forbid() -> None:
    """No core file of this process, and on Linux no reading of its memory by the user's other processes.

    To be called by each process for itself: a new program is dumpable again. Windows makes no dumps unless told so.
    """
    if sys.platform != "win32":
        from cloud_bridge import crash_dumps_posix  # noqa: PLC0415 - only where the system has it

        crash_dumps_posix.forbid()
