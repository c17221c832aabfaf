"""How many threads a model should compute with: one for each fast core that this process may use.

A slow core beside fast ones makes all of them wait, since each step of a model ends when its slowest thread does; so do
two threads on one core.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it has no types

from edge_agent.models.control_groups import groups, text_of

_SLOWER = 0.8
"""A core below this part of the fastest one's speed is a slow one. Cores of one kind differ by a few percent."""

_MOST_CPUS = 4096
_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")


def compute_threads() -> int:
    """Threads for this process on this machine, at least one. Blocks for some milliseconds."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    if sys.platform == "linux":
        return threads_on_linux(Path("/"), allowed)
    cores = psutil.cpu_count(logical=False) or len(allowed)
    if sys.platform == "darwin":
        cores = _fast_cores_of_a_mac() or cores
    return max(1, min(cores, len(allowed)))


def threads_on_linux(root: Path, allowed: AbstractSet[int]) -> int:
    """As `compute_threads`, from the `sys` and `proc` folders under `root`; `allowed`: CPUs that may be used."""
    cpus = _fast(root / "sys/devices", allowed) or set(allowed)
    cores = {_core(root / "sys/devices/system/cpu", cpu) for cpu in cpus}
    limits = [float(len(cores)), *_quotas(root)]
    return max(1, math.ceil(min(limits)))


def _fast(devices: Path, allowed: AbstractSet[int]) -> set[int]:
    """The allowed CPUs that are performance cores; all of them where the machine has one kind."""
    # Where Intel mixes kinds the kernel lists them; elsewhere speed tells.
    performance = _cpu_list(text_of(devices / "cpu_core/cpus"))
    if performance:
        return performance & allowed
    for measure in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
        speeds = {cpu: _number(devices / f"system/cpu/cpu{cpu}" / measure) for cpu in allowed}
        fastest = max(speeds.values(), default=0)
        if fastest and all(speeds.values()):
            return {cpu for cpu, speed in speeds.items() if speed >= _SLOWER * fastest}
    return set(allowed)


def _core(cpus: Path, cpu: int) -> str:
    """What the threads of one core have in common, and no other core has."""
    topology = cpus / f"cpu{cpu}/topology"
    return text_of(topology / "core_cpus_list") or text_of(topology / "thread_siblings_list") or str(cpu)


def _quotas(root: Path) -> Iterator[float]:
    """CPUs that each control group around this process may keep busy, where it has a limit."""
    for group in groups(root, "cpu"):
        for quota in (_quota_v2(group), _quota_v1(group)):
            if quota > 0:
                yield quota


def _quota_v2(group: Path) -> float:
    with suppress(ValueError):  # absent, or "max" for no limit
        quota, period = text_of(group / "cpu.max").split()
        return _cpus(int(quota), int(period))
    return 0


def _quota_v1(group: Path) -> float:
    with suppress(ValueError):  # absent; -1 for no limit
        return _cpus(int(text_of(group / "cpu.cfs_quota_us")), int(text_of(group / "cpu.cfs_period_us")))
    return 0


def _cpus(quota: int, period: int) -> float:
    return quota / period if quota > 0 and period > 0 else 0


def _cpu_list(text: str) -> set[int]:
    """The numbers in a list such as "0-3,8"; none for what is no such list."""
    cpus: set[int] = set()
    for part in filter(None, text.split(",")):
        found = _RANGE.fullmatch(part)
        if found is None:
            return set()
        first = int(found[1])
        cpus.update(range(first, min(int(found[2] or first), _MOST_CPUS) + 1))
    return cpus


def _number(file: Path) -> int:
    with suppress(ValueError):
        return int(text_of(file))
    return 0


def _fast_cores_of_a_mac() -> int:
    """Performance cores of Apple silicon; 0 on a Mac that has one kind."""
    with suppress(OSError, ValueError, subprocess.SubprocessError):
        command = ["/usr/sbin/sysctl", "-n", "hw.perflevel0.physicalcpu"]
        return int(subprocess.run(command, capture_output=True, timeout=5, check=True).stdout)
    return 0
