"""A daemon that nobody has asked anything."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from tests.benchmarks.figure import Figure
from tests.daemon.conftest import LOCAL
from tests.daemon.running_daemon import RunningDaemon, daemon

STARTS = 5


def measure(models: Path, scratch: Path) -> list[Figure]:
    """Start to the first healthy answer, and what it takes when idle."""
    first_s, first_cpu_s = _start(models, scratch / "new-home")
    again = [_start(models, scratch / "home") for _ in range(STARTS + 1)][1:]
    with daemon(scratch / "home", models, LOCAL) as running:
        process = _process(running)
        time.sleep(2)
        before = process.cpu_times()
        time.sleep(5)
        after = process.cpu_times()
        cpu = (after.user + after.system - before.user - before.system) / 5
        resident = process.memory_info().rss / 2**20
    return [
        Figure(f"start of the process to /healthz, least of {STARTS}", f"{min(wall for wall, _ in again):.2f} s"),
        Figure("processor time of that", f"{min(cpu for _, cpu in again):.2f} s"),
        Figure("the same in a home that is new, once", f"{first_s:.2f} s, {first_cpu_s:.2f} s of processor time"),
        Figure("resident memory of the idle daemon", f"{resident:.0f} MiB"),
        Figure("processor use of the idle daemon", f"{cpu:.1%} of a core"),
    ]


def _start(models: Path, home: Path) -> tuple[float, float]:
    """Seconds from the start of the process to the first healthy answer, and the processor time that it took."""
    started = time.perf_counter()
    with daemon(home, models, LOCAL) as running:
        ready_s = time.perf_counter() - started
        used = _process(running).cpu_times()
        return ready_s, used.user + used.system


def _process(running: RunningDaemon) -> psutil.Process:
    assert running.process is not None
    return psutil.Process(running.process.pid)
