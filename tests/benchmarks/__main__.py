"""`make bench`: every measured figure, each beside its baseline. Machines are noisy: read the ratios.

python -m tests.benchmarks [--only NAME ...] [--json | --markdown] [--quick] [--llama-server PATH]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from tests.benchmarks import (
    batching,
    constraining,
    crashing,
    deciding,
    first_token,
    generating,
    holding,
    idling,
    masking,
    reconciling,
    recording,
    remembering,
    rewriting,
    searching,
    sessions,
)
from tests.benchmarks.figure import Figure
from tests.benchmarks.setup import QUICK_MODEL, Setup
from tests.model_files import big_models, small_models

BUSY_PERCENT = 15
COLUMNS = ("what", "ours", "baseline", "of the baseline", "ratio")

DAEMON: dict[str, Callable[[Path, Path], list[Figure]]] = {
    "idle": idling.measure,
    "decide": deciding.measure,
    "mask": masking.measure,
    "record": recording.measure,
    "reconcile": reconciling.measure,
    "crashes": crashing.measure,
    "sessions": sessions.measure,
    "documents": searching.measure,
}
INFERENCE: dict[str, Callable[[Setup], list[Figure]]] = {
    "generate": generating.measure,
    "first-token": first_token.measure,
    "batch": batching.measure,
    "remember": remembering.measure,
    "hold": holding.measure,
    "constrain": constraining.measure,
    "rewrite": rewriting.measure,
}


def main() -> None:
    """Run them all, or some, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("--only", choices=[*DAEMON, *INFERENCE], action="append", help="may be repeated")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true", help="rows for docs/benchmarks.md")
    parser.add_argument("--quick", action="store_true", help="a small model and one round, to see that all works")
    parser.add_argument("--llama-server", type=Path, help="a compiled llama.cpp server to measure against")
    chosen = parser.parse_args()
    wanted = chosen.only or [*DAEMON, *INFERENCE]
    busy = psutil.cpu_percent(1)
    if busy > BUSY_PERCENT:
        sys.stderr.write(f"note: this machine is busy ({busy:.0f}%); measure again when it is quiet\n")
    figures: list[Figure] = []
    for name in wanted:
        sys.stderr.write(f"measuring: {name}\n")
        with tempfile.TemporaryDirectory(prefix="edge-bench-") as scratch:
            figures += _measured(name, Path(scratch), chosen)
    if chosen.json:
        sys.stdout.write(json.dumps([asdict(figure) for figure in figures], indent=2) + "\n")
        return
    rows = [_row(figure) for figure in figures]
    if chosen.markdown:
        sys.stdout.write("".join(f"| {' | '.join(row)} |\n" for row in (COLUMNS, ["---"] * len(COLUMNS), *rows)))
        return
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 180).print(table)


def _row(figure: Figure) -> tuple[str, ...]:
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    return figure.what, figure.ours, figure.baseline, figure.is_baseline, ratio


def _measured(name: str, scratch: Path, chosen: argparse.Namespace) -> list[Figure]:
    if name in DAEMON:
        return DAEMON[name](small_models(), scratch)
    if chosen.quick:
        quick = Setup(
            *(small_models(), scratch, QUICK_MODEL),
            tokens=16,
            rounds=1,
            history_tokens=400,
            llama_server=chosen.llama_server,
        )
        return INFERENCE[name](quick)
    return INFERENCE[name](Setup(big_models(), scratch, llama_server=chosen.llama_server))


if __name__ == "__main__":
    main()
