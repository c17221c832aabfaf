"""Figures that say how good routing is. Pure; ties count half."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def auroc(higher: ArrayLike, lower: ArrayLike) -> float:
    """The chance that one of `higher` has a greater score than one of `lower`; 0.5 is guessing."""
    positive, negative = np.asarray(higher, float), np.sort(np.asarray(lower, float))
    below = np.searchsorted(negative, positive, "left")
    at_most = np.searchsorted(negative, positive, "right")
    return float((below + at_most).sum() / 2 / positive.size / negative.size)


def apgr(hardness: ArrayLike, weak_right: ArrayLike, strong_right: ArrayLike) -> float:
    """Average performance gap recovered (RouteLLM) when the hardest go to the strong model first; random is 0.5.

    Prompts of equal hardness are taken in the average of all their orders.
    """
    gain = np.asarray(strong_right, float) - np.asarray(weak_right, float)
    _, group = np.unique(-np.asarray(hardness, float), return_inverse=True)
    size = np.bincount(group)
    each = np.repeat(np.bincount(group, weights=gain) / size, size)
    recovered = np.concatenate([[0.0], np.cumsum(each)]) / gain.sum()
    return float((recovered[1:] + recovered[:-1]).sum() / 2 / gain.size)


def calibration_error(confidence: ArrayLike, right: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error over bins of equal width."""
    sure, hit = np.asarray(confidence, float), np.asarray(right, float)
    place = np.clip((sure * bins).astype(int), 0, bins - 1)
    gaps = np.bincount(place, weights=hit, minlength=bins) - np.bincount(place, weights=sure, minlength=bins)
    return float(np.abs(gaps).sum() / sure.size)


def best_cut(inside: ArrayLike, outside: ArrayLike) -> float:
    """The score below which something is best called outside: where the two shares called rightly sum highest."""
    within, without = np.sort(np.asarray(inside, float)), np.sort(np.asarray(outside, float))
    cuts = np.unique(np.concatenate([within, without]))
    kept = 1 - np.searchsorted(within, cuts, "left") / within.size
    dropped = np.searchsorted(without, cuts, "left") / without.size
    return float(cuts[int(np.argmax(kept + dropped))])


def shares(values: Sequence[bool] | NDArray[np.bool_]) -> float:
    """The share that is true."""
    return float(np.mean(np.asarray(values, float)))
