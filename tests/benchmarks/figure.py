"""One measured figure."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, ours and the baseline's value with units, what the baseline is, and ours / baseline."""

    what: str
    ours: str
    baseline: str = ""
    is_baseline: str = ""
    ratio: float | None = None


def milliseconds(work: Callable[[int], object], *, times: int) -> float:
    """The median time of `work(n)` over n = 1 .. times, after one run to warm up (n = 0)."""
    work(0)
    taken = []
    for number in range(1, times + 1):
        started = time.perf_counter()
        work(number)
        taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken)


def alternating(works: Mapping[str, Callable[[int], float]], *, rounds: int) -> dict[str, float]:
    """The median of what each work(n) returns over n = 1 .. rounds, after one run of each to warm up (n = 0).

    They take turns, so that what else the machine does falls on all alike.
    """
    found: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            value = work(number)
            if number:
                found[name].append(value)
    return {name: statistics.median(values) for name, values in found.items()}


def compared(what: str, ours: float, baseline: float, is_baseline: str, unit: str) -> Figure:
    """A figure from two numbers of the same unit."""
    return Figure(what, f"{ours:.4g} {unit}", f"{baseline:.4g} {unit}", is_baseline, ours / baseline)
