"""How many threads a model should compute with."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it has no types

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1 = Path("/sys/fs/cgroup/cpu")


def compute_threads() -> int:
    """Physical cores that this process may use, within a container's limit; at least one."""
    limits = [psutil.cpu_count(logical=False) or os.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):
        limits.append(len(os.sched_getaffinity(0)))
    for quota, period in (_v2_limit(), _v1_limit()):
        if quota > 0 and period > 0:
            limits.append(math.ceil(quota / period))
    return max(1, min(limits))


def _v2_limit() -> tuple[int, int]:
    with suppress(OSError, ValueError):  # absent, or "max" for no limit
        quota, period = _CGROUP_V2.read_text(encoding="ascii").split()
        return int(quota), int(period)
    return 0, 0


def _v1_limit() -> tuple[int, int]:
    with suppress(OSError, ValueError):
        quota = int((_CGROUP_V1 / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        return quota, int((_CGROUP_V1 / "cpu.cfs_period_us").read_text(encoding="ascii"))
    return 0, 0
