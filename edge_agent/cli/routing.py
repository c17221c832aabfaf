"""`edge-agent routing`: how well requests are routed, measured on public data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_agent.cli.output import JsonFlag, print_json, print_table

app = typer.Typer(help="How requests are routed.", no_args_is_help=True)


@app.callback()
def routing() -> None:
    """Keep `eval` a subcommand while it is the only one."""


@app.command("eval")
def evaluate(
    data: Annotated[
        Path, typer.Option("--data", help="A folder with clinc150/data_full.json, routellm/mmlu/*.csv, or one of them.")
    ],
    *,
    as_json: JsonFlag = False,
) -> None:
    """Measure intent and difficulty on labelled data, beside guessing and "longest prompt". Takes minutes."""
    from edge_agent.cli.routing_eval import measure  # noqa: PLC0415  # numpy, for this command only

    with _progress() as bar:
        figures = measure(data, bar)
    if as_json:
        print_json(figures)
        return
    rows = [(group, name, f"{value:.4f}") for group, found in figures.items() for name, value in found.items()]
    print_table(("data", "figure", "value"), rows, empty="")


@contextmanager
def _progress() -> Iterator[Any]:
    from rich.console import Console  # noqa: PLC0415  # slow
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        yield bar
