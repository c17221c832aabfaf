"""The figures of one or several artifacts, as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from quantize.comparison.candidates import Candidate, front
from quantize.comparison.comparison import Row

_HEADS = (
    ("type", "left"),
    ("files\nMB", "right"),
    ("needs\nMB", "right"),
    ("prompt\ntok/s", "right"),
    ("writes\ntok/s", "right"),
    ("perplexity\n(of source)", "right"),
    ("KL divergence\nnats a token", "right"),
    ("same\nfirst token", "right"),
    ("intents\n(of source)", "right"),
    ("JSON\n(of source)", "right"),
    ("", "left"),
)


def table(rows: Sequence[Row], chosen: Candidate | None = None) -> Table:
    """A row for each artifact; those of the Pareto front are marked where there are several."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for head, side in _HEADS:
        drawn.add_column(head, justify="right" if side == "right" else "left", no_wrap=True)
    best_ones = front([row.candidate for row in rows]) if len(rows) > 1 else ()
    for row in rows:
        marks = ["chosen"] * (row.candidate == chosen) + ["Pareto"] * (row.candidate in best_ones)
        drawn.add_row(*_cells(row), ", ".join(marks), style="bold" if row.candidate == chosen else None)
    return drawn


def _cells(row: Row) -> list[str]:
    found = row.measured
    return [
        row.type_name,
        f"{found.size_bytes / 1e6:,.0f}",
        f"{row.candidate.ram_mb:,.0f}",
        _number(found.prompt_tokens_per_s),
        _number(found.generation_tokens_per_s),
        f"{found.perplexity:.2f} ({found.reference_perplexity:.2f})",
        f"{found.kl_divergence:.4f} ±{found.kl_divergence_error:.4f}",
        f"{found.top1_agreement:.1%}",
        f"{_share(found.intent_accuracy)} ({_share(found.reference_intent_accuracy)})",
        f"{_share(found.json_validity)} ({_share(found.reference_json_validity)})",
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
