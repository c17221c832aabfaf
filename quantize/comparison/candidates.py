"""Which of the candidates fits a device best. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cloud_bridge.protocol.problems import InvalidRequest

DEFAULTS = {
    "gguf": ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_M", "Q2_K"),
    "onnx": ("int8", "int4-hqq", "int4"),
    "mlx": ("8bit", "6bit", "4bit-minmax", "4bit", "mixed_3_6", "3bit"),
}
"""What is tried where no types are named: of each number of bits the type that costs least."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """`ram_mb`: the memory it needs, in MiB; `loss`: mean KL divergence from the source's answers, in nats a token."""

    type_name: str
    ram_mb: float
    loss: float


@dataclass(frozen=True, slots=True)
class Limits:
    """What is asked of the result: memory in MiB and loss in nats, each None where it does not matter."""

    ram_budget_mb: float | None = None
    max_loss: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("--ram-budget", self.ram_budget_mb), ("--max-loss", self.max_loss)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InvalidRequest(
                    f"{name} must be a number above 0.",
                    code="bad_limit",
                    hint="--ram-budget is in MB, as 800; --max-loss in nats a token, as 0.05.",
                    param=name.removeprefix("--"),
                )

    def allow(self, candidate: Candidate) -> bool:
        """Whether the candidate keeps to both."""
        return (self.ram_budget_mb is None or candidate.ram_mb <= self.ram_budget_mb) and (
            self.max_loss is None or candidate.loss <= self.max_loss
        )


def best(candidates: Sequence[Candidate], limits: Limits) -> Candidate:
    """Of those within the limits the one that loses least; where memory is free, the smallest that loses little enough.

    Raises InvalidRequest code "nothing_fits", which names the nearest.
    """
    allowed = [candidate for candidate in candidates if limits.allow(candidate)]
    if not allowed:
        raise _nothing_fits(candidates, limits)
    if limits.ram_budget_mb is None:
        return min(allowed, key=lambda candidate: (candidate.ram_mb, candidate.loss))
    return min(allowed, key=lambda candidate: (candidate.loss, candidate.ram_mb))


def front(candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """The Pareto front, the smallest first: no other candidate is better in memory or loss and no worse in both."""
    ordered = sorted(candidates, key=lambda candidate: (candidate.ram_mb, candidate.loss))
    kept: list[Candidate] = []
    for candidate in ordered:
        if not kept or candidate.loss < kept[-1].loss:
            kept.append(candidate)
    return kept


def _nothing_fits(candidates: Sequence[Candidate], limits: Limits) -> InvalidRequest:
    smallest = min(candidates, key=lambda candidate: candidate.ram_mb)
    truest = min(candidates, key=lambda candidate: candidate.loss)
    return InvalidRequest(
        "No candidate keeps to the limits. "
        f"The smallest, {smallest.type_name}, needs {smallest.ram_mb:,.0f} MB and loses {smallest.loss:.4f}; "
        f"{truest.type_name} loses least, {truest.loss:.4f}, and needs {truest.ram_mb:,.0f} MB.",
        code="nothing_fits",
        hint="Raise --ram-budget or --max-loss, name smaller types with --type, or take a smaller model."
        if limits.ram_budget_mb is not None
        else "Raise --max-loss, or name larger types with --type.",
    )
