"""A model's process must not outlive the daemon that started it.

Everywhere: stdin ends when the daemon does. On Linux the kernel also sends SIGKILL at once, even while
native code is loading a file.
"""

from __future__ import annotations

import os
import sys


def die_with(parent: int) -> None:
    """Tie this process's life to its parent's; ends at once where that is gone already."""
    if sys.platform == "linux":
        from edge_agent.runtimes.worker import lifeline_linux  # noqa: PLC0415 - only where the system has it

        lifeline_linux.kill_me_after_parent()
    if hasattr(os, "getppid") and sys.platform != "win32" and os.getppid() != parent:
        os._exit(0)
