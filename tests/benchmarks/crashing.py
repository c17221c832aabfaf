"""SIGKILLs and power cuts, all of them: what is lost, and what is sent twice. No speed, and nothing to compare with."""

from __future__ import annotations

from pathlib import Path
from random import Random

from tests.benchmarks.figure import Figure
from tests.crashes.killed_daemon import kill_daemons
from tests.crashes.power_cuts import compiler, cut
from tests.state.killed_writer import kill_writers

DAEMONS, WHOLE_DAEMONS, WRITERS, CUTS = 60, 10, 370, 200
"""Daemons with stand-ins for what takes seconds to load: with their own bridge, and as many in front of one that lives
on; daemons as they come; processes that only write."""


def measure(models: Path, scratch: Path) -> list[Figure]:
    """500 kills and 200 cuts. Raises AssertionError at the first thing that is lost, or that a file is not whole."""
    moments = Random(7)  # noqa: S311 - moments, not secrets
    figures = []
    for kills, bridge, light in (
        (DAEMONS, "embedded", True),
        (DAEMONS, "remote", True),
        (WHOLE_DAEMONS, "embedded", False),
    ):
        folder = scratch / f"{bridge}-{light}"
        folder.mkdir()
        report = kill_daemons(folder, kills, moments, bridge=bridge, light=light)
        if report.wrong:
            raise AssertionError(report.wrong)
        told = f"{report.answers} answers, {report.jobs} jobs, {report.provider_calls} provider calls"
        kind = f"{'busy' if light else 'whole'} daemons, {bridge} bridge"
        figures.append(Figure(f"lost, doubled by {report.kills} SIGKILLs of {kind}", "0, 0", told, "what was told"))
    told = kill_writers(scratch / "writers", WRITERS, moments)
    figures.append(Figure(f"lost by {WRITERS} SIGKILLs of writers", "0", f"{told}", "acknowledgements"))
    if compiler() is not None:
        found = list(cut(_made(scratch / "cuts"), turns=120, cuts=CUTS, random=moments))
        figures.append(Figure(f"lost by {len(found)} power cuts", "0", f"{sum(found)}", "acknowledgements"))
    return figures


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
