"""`edge-agent privacy eval`: how much is found, how fast, and what it costs, on public and on generated data."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from cloud_bridge.protocol.problems import InvalidRequest
from edge_agent.cli.output import JsonFlag, print_json, print_table
from edge_agent.home import current_home

if TYPE_CHECKING:
    from edge_agent.privacy.evaluation.figure import Figure, Watch

PARTS = ("tab", "presidio_research", "wl1", "wl3", "speed", "payloads", "quality")
GENERATED = ("payloads", "quality")
"""The parts that read no data set."""
COLUMNS = ("data", "what", "ours", "stock or published", "target", "reached")
BUSY_PERCENT = 15
"""From this use of the processor on, before anything is measured, speeds say little."""

QUESTIONS = 200
"""Where only the quality is asked for, without a number."""

T = TypeVar("T")


def evaluate(
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DIR",
            help=f"A folder with tab/, presidio_research/ and llm_redactor/, or some of them; "
            f"{' and '.join(GENERATED)} read none.",
        ),
    ] = None,
    *,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help=f"One of {', '.join(PARTS)}; may be repeated.")
    ] = None,
    payloads: Annotated[int, typer.Option(min=1, help="Generated payloads to mask.")] = 1000,
    quality: Annotated[int, typer.Option(min=0, help="Questions to a local model, each answered three times.")] = 0,
    model: Annotated[
        str | None, typer.Option("--model", metavar="ID", help="Which model; else the default one.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Of the speeds, of which the median counts.")] = 3,
    stock: Annotated[
        bool, typer.Option("--stock/--no-stock", help="Run stock Presidio, too; speed always needs it.")
    ] = True,
    folds: Annotated[
        Path | None,
        typer.Option("--folds", metavar="DIR", help="Judge tab by DIR/fold-1 and fold-2, each on what it never saw."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure how well values are found and hidden, beside stock Presidio and published figures. Takes minutes."""
    parts = _parts(only, quality)
    folder = _folder(data, parts)
    note = _busy_note() if "speed" in parts else None
    with _progress() as watch:
        from edge_agent.cli.privacy_figures import Asked, measure  # noqa: PLC0415 - loads what finds, for this command

        asked = Asked(folder, parts, payloads, quality or QUESTIONS, model, rounds, stock, folds)
        figures = asyncio.run(measure(current_home(), os.environ, asked, watch))
    _show(figures, as_json=as_json)
    if note:
        typer.echo(note, err=True)


def _busy_note() -> str | None:
    """What a reader must know of speeds that are measured now."""
    import psutil  # type: ignore[import-untyped]  # noqa: PLC0415 - it has no types, and is slow to load

    busy: float = psutil.cpu_percent(0.5)
    if busy <= BUSY_PERCENT:
        return None
    return f"This machine was busy ({busy:.0f}% before the start): trust no time, ratios a little more."


def _parts(only: Sequence[str] | None, quality: int) -> tuple[str, ...]:
    unknown = sorted(set(only or ()) - set(PARTS))
    if unknown:
        raise InvalidRequest(
            f"There is no {', '.join(unknown)} to measure.",
            code="unknown_part",
            hint=f"Name with --only one of {', '.join(PARTS)}.",
            param="only",
        )
    if only:
        return tuple(part for part in PARTS if part in only)
    return PARTS if quality else tuple(part for part in PARTS if part != "quality")


def _folder(data: Path | None, parts: Sequence[str]) -> Path:
    """Where the data sets are; anywhere, where no part reads one."""
    reading = [part for part in parts if part not in GENERATED]
    if data is None and reading:
        raise InvalidRequest(
            f"There are no data for {', '.join(reading)}.",
            code="data_not_given",
            hint=f"Give --data the folder that holds them; only {' and '.join(GENERATED)} need none.",
            param="data",
        )
    return data or Path()


def _show(figures: Sequence[Figure], *, as_json: bool) -> None:
    if as_json:
        print_json([figure.to_json() for figure in figures])
    else:
        print_table(COLUMNS, [figure.cells() for figure in figures], empty="")


@contextmanager
def _progress() -> Iterator[Watch]:
    from rich.console import Console  # noqa: PLC0415  # slow
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:

        def watch(items: Sequence[T], what: str) -> Iterable[T]:
            task = bar.add_task(what, total=len(items))
            for item in items:
                yield item
                bar.advance(task)

        yield watch
