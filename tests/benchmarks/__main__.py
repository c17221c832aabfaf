"""`make bench`: every measured figure, each beside its baseline. Machines are noisy: read the ratios.

python -m tests.benchmarks [--only NAME] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks import deciding, generating, idling, masking, recording
from tests.benchmarks.figure import Figure
from tests.model_files import big_models, small_models

BENCHMARKS: dict[str, Callable[[Path, Path], list[Figure]]] = {
    "idle": idling.measure,
    "decide": deciding.measure,
    "mask": masking.measure,
    "record": recording.measure,
    "generate": generating.measure,
}


def main() -> None:
    """Run them all, or one, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("--only", choices=BENCHMARKS)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    wanted = [chosen.only] if chosen.only else list(BENCHMARKS)
    models = big_models() if "generate" in wanted else small_models()
    figures: list[Figure] = []
    for name in wanted:
        with tempfile.TemporaryDirectory(prefix="edge-bench-") as scratch:
            figures += BENCHMARKS[name](models, Path(scratch))
    if chosen.json:
        sys.stdout.write(json.dumps([asdict(figure) for figure in figures], indent=2) + "\n")
        return
    table = Table("what", "ours", "baseline", "of the baseline", "ratio")
    for figure in figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        table.add_row(figure.what, figure.ours, figure.baseline, figure.is_baseline, ratio)
    Console(width=None if sys.stdout.isatty() else 140).print(table)


if __name__ == "__main__":
    main()
