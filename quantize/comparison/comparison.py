"""Several types of one model, judged and held against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.models.manifest import Measured
from quantize.comparison.candidates import Candidate, Limits, front
from quantize.comparison.picture import picture


@dataclass(frozen=True, slots=True)
class Row:
    """One type, and what was measured of it."""

    type_name: str
    measured: Measured

    @property
    def candidate(self) -> Candidate:
        """What decides. Memory is what the daemon reckons or what was seen, whichever is more."""
        ram_mb = max(self.measured.ram_mb, self.measured.peak_ram_mb)
        return Candidate(self.type_name, ram_mb, self.measured.kl_divergence)


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that was tried, in the order of trying; `chosen` is None where nothing keeps to the limits."""

    title: str
    rows: Sequence[Row]
    limits: Limits
    chosen: Candidate | None

    @property
    def svg(self) -> str:
        """The picture."""
        return picture(self.title, [row.candidate for row in self.rows], self.limits, self.chosen)

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        on_front = {candidate.type_name for candidate in front([row.candidate for row in self.rows])}
        return {
            "title": self.title,
            "ram_budget_mb": self.limits.ram_budget_mb,
            "max_loss": self.limits.max_loss,
            "chosen": self.chosen.type_name if self.chosen else None,
            "candidates": [
                {
                    "type": row.type_name,
                    "needs_mb": row.candidate.ram_mb,
                    "fits": self.limits.allow(row.candidate),
                    "on_pareto_front": row.type_name in on_front,
                    **row.measured.as_dict(),
                }
                for row in self.rows
            ],
        }
