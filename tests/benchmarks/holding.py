"""What a loaded model takes."""

from __future__ import annotations

import psutil

from edge_agent.bench import baseline_process
from tests.benchmarks.clients import Server, log_book
from tests.benchmarks.figure import Figure
from tests.benchmarks.setup import CONTEXT_LENGTH, Setup
from tests.daemon.running_daemon import daemon

ENTRIES = 30


def measure(setup: Setup) -> list[Figure]:
    """Resident memory of the daemon and its model's process, after a prompt was read, against the library alone."""
    with daemon(setup.scratch / "home", setup.models, setup.config) as running:
        Server.of(running).whole(log_book(1, ENTRIES), setup.tokens)
        assert running.process is not None
        of_daemon = psutil.Process(running.process.pid)
        ours = _resident_mib(of_daemon, *of_daemon.children(recursive=True))
    figures = []
    for is_mapped, how in ((True, "as it comes"), (False, "its file not mapped")):
        with baseline_process.started(
            *("gguf", setup.path), context_length=CONTEXT_LENGTH, threads=setup.threads, is_mapped=is_mapped
        ) as baseline:
            baseline.ask(log_book(1, ENTRIES), setup.tokens)
            alone = _resident_mib(psutil.Process(baseline.pid))
            what = f"resident memory, daemon and {setup.name} model ({ours - alone:+.0f} MiB)"
            figures.append(Figure(what, f"{ours:.0f} MiB", f"{alone:.0f} MiB", f"{baseline.name}, {how}", ours / alone))
    return figures


def _resident_mib(*processes: psutil.Process) -> float:
    return sum(process.memory_info().rss for process in processes) / 2**20
