"""The command `edge-quantize`."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from cloud_bridge.protocol.problems import Broken, Problem
from edge_agent.home import current_home
from edge_agent.models.manifest import plain
from edge_agent.models.progress import Progress
from quantize import options
from quantize.comparison.candidates import Limits
from quantize.comparison.comparison import Comparison
from quantize.comparison.table import table
from quantize.conversion import Converted, Wanted
from quantize.conversion import convert as convert_source
from quantize.judge.extent import Extent
from quantize.ways import Ways

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

QUICK = Extent(tokens=250, intents=10, documents=3)
WIDTH = 140
"""Columns of a table that goes into a file or a pipe."""


class Drawn:
    """Progress as a line on stderr, where that is a terminal."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None)

    def advance(self, done: int, total: int, what: str) -> None:
        """Redraw the line; a `total` of 0 is a step of unknown length."""
        self._bar.update(self._task, completed=done, total=total or None, description=what)


@app.command()
def convert(
    source_name: options.SourceName,
    *,
    to: options.To,
    type_names: options.Types = None,
    ram_budget_mb: options.RamBudget = None,
    max_loss: options.MaxLoss = None,
    out: options.Out = None,
    judged: options.Judged = True,
    quick: options.Quick = False,
    judging: options.JudgingText = None,
    calibration: options.Calibration = None,
    matrix: options.Matrix = None,
    output_type: options.OutputType = None,
    embedding_type: options.EmbeddingType = None,
    base: options.Base = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Make a model that fits a runtime, and install it: `edge-agent models list` shows it, `model: ID` runs it.

    A manifest.json beside its files says what they are, how they came to be, and what was measured of them.
    """
    compared: dict[str, Any] = {}

    def show(comparison: Comparison, pictured: Path) -> None:
        compared.update(comparison=comparison.as_dict(), picture=str(pictured))
        if not as_json:
            _print(table(comparison.rows, comparison.chosen))
            typer.echo(f"Picture: {pictured}")

    try:
        wanted = Wanted(
            source_name,
            to,
            types=tuple(dict.fromkeys(type_names or ())),
            limits=Limits(ram_budget_mb, max_loss),
            ways=Ways(calibration, matrix, output_type, embedding_type, judging, QUICK if quick else Extent()),
            is_judged=judged,
            out=out,
            base=base,
        )
        with _progress() as progress:
            converted = convert_source(wanted, current_home(), progress, show)
        if as_json:
            typer.echo(json.dumps({"folder": str(converted.folder), **converted.manifest, **compared}, indent=2))
        else:
            _report(converted, wanted)
    except BrokenPipeError:
        raise typer.Exit(1) from None
    except Exception as error:  # noqa: BLE001  # a person gets one clear line, whatever happened
        if debug:
            traceback.print_exc()
        _print_problem(error if isinstance(error, Problem) else _unforeseen(error), as_json=as_json)
        raise typer.Exit(1) from None


def _report(converted: Converted, wanted: Wanted) -> None:
    made = converted.manifest
    if converted.row is not None and not wanted.compares:
        _print(table([converted.row]))
    size = sum(file["size"] for file in made["files"])
    typer.echo(f"{converted.folder}: {made['format']} {made['quantization']}, {size / 1e6:,.1f} MB")
    for note in made["made"]["notes"]:
        typer.echo(f"Note: {note}")
    if wanted.out is None and made["kind"] == "llm":
        typer.echo(f'Try it: edge-agent ask --model {made["id"]} "Who are you?"')
    elif wanted.out is None and made["kind"] == "adapter":
        typer.echo(f'Try it: edge-agent ask --model BASE+{made["id"]} "Who are you?"')


def _print(drawn: Table) -> None:
    """Whole, in a pipe, too."""
    Console(width=None if sys.stdout.isatty() else WIDTH).print(drawn)


@contextlib.contextmanager
def _progress() -> Iterator[Progress]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield Drawn(bar)


def _unforeseen(error: Exception) -> Problem:
    """Only a system error says what it is about: others may quote a text."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{plain(str(error.filename))}: " if error.filename else ""
        hint = "Check that path, its owner and its permissions."
        return Broken(f"{where}{error.strerror}.", code="system_error", hint=hint)
    return Broken(
        f"Something failed inside edge-quantize ({type(error).__name__}).",
        code="internal_error",
        hint="--debug shows the traceback.",
    )


def _print_problem(problem: Problem, *, as_json: bool) -> None:
    if as_json:
        error = {"code": problem.code, "message": problem.message, "hint": problem.hint}
        typer.echo(json.dumps({"error": error}), err=True)
    else:
        typer.echo(f"error: {problem}", err=True)


def main() -> None:
    """Entry point. Ctrl-C, a polite kill, and a terminal that closes leave nothing half-made and exit with 130."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:  # as nohup has it
        signal.signal(hangup, signal.default_int_handler)
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
