"""A daemon that nobody has asked anything."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from tests.benchmarks.figure import Figure
from tests.daemon.conftest import LOCAL
from tests.daemon.running_daemon import daemon


def measure(models: Path, scratch: Path) -> list[Figure]:
    """Start to the first healthy answer, and what it takes when idle."""
    started = time.perf_counter()
    with daemon(scratch / "home", models, LOCAL) as running:
        ready_s = time.perf_counter() - started
        assert running.process is not None
        process = psutil.Process(running.process.pid)
        time.sleep(2)
        before = process.cpu_times()
        time.sleep(5)
        after = process.cpu_times()
        cpu = (after.user + after.system - before.user - before.system) / 5
        resident = process.memory_info().rss / 2**20
    return [
        Figure("start of the process to /healthz", f"{ready_s:.2f} s"),
        Figure("resident memory of the idle daemon", f"{resident:.0f} MiB"),
        Figure("processor use of the idle daemon", f"{cpu:.1%} of a core"),
    ]
