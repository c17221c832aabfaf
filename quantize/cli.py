"""The command `edge-quantize`."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import traceback
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from cloud_bridge.protocol.problems import Conflict, Problem
from edge_agent.home import current_home
from edge_agent.models.catalog import Catalog
from edge_agent.models.progress import Progress
from quantize import gguf, manifest, mlx, onnx, source
from quantize.artifact import building

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


class Target(StrEnum):
    """The three runtimes' formats."""

    GGUF = "gguf"
    MLX = "mlx"
    ONNX = "onnx"


FORMATS = {Target.GGUF: gguf, Target.MLX: mlx, Target.ONNX: onnx}


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
    source_name: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A .gguf file, or a folder with config.json and *.safetensors.")
    ],
    *,
    to: Annotated[Target, typer.Option(help="The format to make.")],
    type_name: Annotated[
        str | None,
        typer.Option(
            "--type",
            help=f"gguf: any of llama.cpp's types [{gguf.DEFAULT_TYPE}]; onnx: {', '.join(onnx.TYPES)} "
            f"[{onnx.DEFAULT_TYPE}]; mlx: {', '.join(mlx.TYPES)} [{mlx.DEFAULT_TYPE}].",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The folder to make; without it the model goes into the daemon's models folder."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a failure.")] = False,
) -> None:
    """Make a model that fits a runtime, and install it: `edge-agent models list` shows it, `model: ID` runs it.

    A manifest.json beside its files says what they are and how they came to be.
    """
    try:
        folder, made = make(source_name, to, type_name, out)
    except Problem as problem:
        if debug:
            traceback.print_exc()
        _print_problem(problem, as_json=as_json)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), **made}, indent=2))
        return
    size = sum(file["size"] for file in made["files"])
    typer.echo(f"{folder}: {made['format']} {made['quantization']}, {size / 1e6:,.1f} MB")
    for note in made["made"]["notes"]:
        typer.echo(f"Note: {note}")
    if out is None and made["kind"] == "llm":
        typer.echo(f'Try it: edge-agent ask --model {made["id"]} "Who are you?"')


def make(source_name: str, to: Target, type_name: str | None, out: Path | None) -> tuple[Path, dict[str, Any]]:
    """The folder that was made, and its manifest. Raises Problem."""
    target = FORMATS[to]
    type_name = target.check_type(type_name or target.DEFAULT_TYPE)
    model = source.find(source_name)
    model_id = manifest.artifact_id(model, type_name, to.value)
    folder = out.absolute() if out else _place_of(model_id)
    with building(folder) as scratch, _progress() as progress:
        made = target.convert(model, scratch, type_name, progress)
        progress.advance(0, 0, "checksums")
        record = manifest.write(scratch, model, made)
    return folder, record


def _place_of(model_id: str) -> Path:
    """Where the model goes among the daemon's. Raises Conflict code "model_id_taken" or "already_exists"."""
    if Catalog.load().find(model_id) is not None:
        raise Conflict(
            f"{model_id} is a model of the catalog.",
            code="model_id_taken",
            hint=f"Get it with `edge-agent models pull {model_id}`, choose another --type, or rename the source.",
        )
    home = current_home()
    folder = home / "models" / model_id
    if folder.exists():
        raise Conflict(
            f"The model {model_id} is there already.",
            code="already_exists",
            hint=f"Remove it with `edge-agent models rm {model_id}`, or name a folder with --out.",
        )
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


@contextlib.contextmanager
def _progress() -> Iterator[Progress]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield Drawn(bar)


def _print_problem(problem: Problem, *, as_json: bool) -> None:
    if as_json:
        error = {"code": problem.code, "message": problem.message, "hint": problem.hint}
        typer.echo(json.dumps({"error": error}), err=True)
    else:
        typer.echo(f"error: {problem}", err=True)


def main() -> None:
    """Entry point. Ctrl-C, and a polite kill, leave nothing half-made and exit with 130."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
