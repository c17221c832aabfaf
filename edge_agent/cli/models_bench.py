"""`edge-agent models bench`: how fast a model is here, and what the bare library makes of it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_agent.cli.output import JsonFlag, print_json, print_table
from edge_agent.home import current_home
from edge_agent.settings import Settings

if TYPE_CHECKING:
    from edge_agent.bench.figures import Measured, Tick
    from edge_agent.runtimes.pool import Pool
    from edge_agent.runtimes.runtime import ModelSpec

BUSY_PERCENT = 15
"""From this use of the processor on, before anything is measured, the figures say little."""

NOISY_SPREAD = 0.2


def bench(
    model_id: Annotated[str, typer.Argument(metavar="ID", help="A model's id, as `models list` shows it.")],
    *,
    tokens: Annotated[int, typer.Option(min=8, max=1024, help="Tokens to generate in each answer.")] = 64,
    as_json: JsonFlag = False,
) -> None:
    """Measure a model: speed, time to the first token, memory, each beside the bare library. Takes minutes."""
    # Refused before anything is loaded or measured.
    pool, spec = _pool_and_spec(model_id)
    found = asyncio.run(_measure(pool, spec, tokens))
    if as_json:
        print_json(found.to_json())
        return
    print_table(("figure", "edge-agent", found.library or "", "ratio"), found.rows(), empty="")
    for note in found.notes():
        typer.echo(note)


@dataclass(frozen=True, slots=True)
class _Found:
    model_id: str
    model_format: str
    threads: int
    tokens: int
    busy_percent: float
    library: str | None
    failed: str | None
    ours: Measured
    baseline: Measured | None

    def figures(self) -> list[tuple[str, str, float, float | None]]:
        """What, unit, ours, the library's."""
        theirs = _values(self.baseline) if self.baseline else {}
        alone = theirs.get(_generation(1), (0.0, ""))[0] or None
        return [
            (what, unit, ours, theirs[what][0] if what in theirs else alone)
            for what, (ours, unit) in _values(self.ours).items()
        ]

    def rows(self) -> list[tuple[str, str, str, str]]:
        """For people."""
        return [
            (
                what,
                f"{_short(ours)} {unit}",
                "" if theirs is None else f"{_short(theirs)} {unit}",
                "" if not theirs else f"{ours / theirs:.2f}",
            )
            for what, unit, ours, theirs in self.figures()
        ]

    def notes(self) -> list[str]:
        """What a reader must know about the figures."""
        spread = max(self.ours.spread, self.baseline.spread if self.baseline else 0.0)
        notes = []
        if self.baseline is None:
            notes.append(f"The bare library gave no figures ({self.failed}), so there is nothing to compare with.")
        else:
            notes.append("The bare library answers one request at a time: its speed is that of one.")
        if self.is_noisy:
            notes.append(
                f"This machine was busy ({self.busy_percent:.0f}% before the start, rounds {spread:.0%} apart): "
                "trust no figure much, ratios a little more, and measure again when it is quiet."
            )
        return notes

    @property
    def is_noisy(self) -> bool:
        """Whether something else was at work."""
        spread = max(self.ours.spread, self.baseline.spread if self.baseline else 0.0)
        return self.busy_percent > BUSY_PERCENT or spread > NOISY_SPREAD

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "model": self.model_id,
            "format": self.model_format,
            "threads": self.threads,
            "tokens": self.tokens,
            "library": self.library,
            "library_failed": self.failed,
            "busy_percent": self.busy_percent,
            "noisy": self.is_noisy,
            "figures": [
                {
                    "what": what,
                    "unit": unit,
                    "ours": ours,
                    "library": theirs,
                    "ratio": ours / theirs if theirs else None,
                }
                for what, unit, ours, theirs in self.figures()
            ],
            "notes": self.notes(),
        }


def _pool_and_spec(model_id: str) -> tuple[Pool, ModelSpec]:
    from edge_agent import composition  # noqa: PLC0415 - loads every room, for this command only
    from edge_agent.runtimes.pool import Pool  # noqa: PLC0415

    store = composition.open_store(current_home())
    settings = Settings.load(current_home(), os.environ).models
    models = composition.local_models(store, settings)
    spec = models.spec(model_id)
    return Pool(lambda _: spec, models.ram_budget_mb, settings.keep_alive_s), spec


async def _measure(pool: Pool, spec: ModelSpec, tokens: int) -> _Found:
    import psutil  # type: ignore[import-untyped]  # noqa: PLC0415 - it has no types

    from edge_agent.bench import baseline_process, figures  # noqa: PLC0415 - numpy, for this command only
    from edge_agent.runtimes.worker.threads import compute_threads  # noqa: PLC0415
    from edge_agent.runtimes.worker_process import ENVIRONMENT  # noqa: PLC0415

    busy_percent = await asyncio.to_thread(psutil.cpu_percent, 0.5)
    threads = spec.threads or compute_threads()
    library = failed = baseline = None
    with _progress(figures.steps(figures.AT_ONCE) + figures.steps((1,))) as tick:
        try:
            ours = await figures.measure_runtime(pool, spec.model_id, tokens, tick)
        finally:
            await pool.close()
        started = time.perf_counter()
        try:
            with baseline_process.started(
                *(spec.format, spec.path), context_length=spec.context_length, threads=threads, environ=ENVIRONMENT
            ) as process:
                library, loaded_s = process.name, time.perf_counter() - started
                baseline = await figures.measure_baseline(process, loaded_s, ours.entries, tokens, tick)
        except baseline_process.BaselineFailed as error:
            failed = str(error)
    return _Found(spec.model_id, spec.format, threads, tokens, busy_percent, library, failed, ours, baseline)


@contextmanager
def _progress(total: int) -> Iterator[Tick]:
    from rich.console import Console  # noqa: PLC0415  # slow
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("measuring", total=total)
        yield lambda: bar.advance(task)


def _values(side: Measured) -> dict[str, tuple[float, str]]:
    return {
        "prompt of some 500 tokens": (side.prompt_tokens_per_s, "tokens/s"),
        **{_generation(at_once): (speed, "tokens/s") for at_once, speed in side.tokens_per_s.items()},
        "first token, model not loaded": (side.cold_first_s, "s"),
        "first token, model loaded": (side.warm_first_s, "s"),
        "first token, second turn": (side.second_turn_first_s, "s"),
        "memory, resident": (side.resident_mb, "MiB"),
        "memory, at most": (side.peak_mb, "MiB"),
    }


def _generation(at_once: int) -> str:
    return f"generation, {at_once} at once"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
