"""How much memory a model may take when the user has not said."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it has no types

# A container's limit, which psutil does not see: cgroup v2, then v1.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def default_budget_mb() -> int:
    """Half of this machine's (or container's) memory in MiB.

    Of all memory rather than of what is free now: the choice of a model must not change from one start to the next.
    """
    total = int(psutil.virtual_memory().total)
    for path in _LIMITS:
        with suppress(OSError, ValueError):  # absent, or "max"
            total = min(total, int(path.read_text(encoding="ascii")))
    return total // 2 // 2**20
