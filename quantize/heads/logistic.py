"""Logistic regression in numpy: all that the small heads need, with the same result from the same seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How `fit_softmax` descends: Adam, the step falling as a half cosine from `step` to 0."""

    epochs: int = 30
    batch: int = 512
    step: float = 0.05
    l2: float = 3e-6
    seed: int = 7


def fit_softmax(rows: Floats, targets: Ints, classes: int, schedule: Schedule) -> tuple[Floats, Floats]:
    """Weights (features, classes) and bias of a multinomial logistic regression."""
    generator = np.random.default_rng(schedule.seed)
    weights, bias = np.zeros((rows.shape[1], classes), np.float32), np.zeros(classes, np.float32)
    adam = [_Adam(weights), _Adam(bias)]
    wanted = np.eye(classes, dtype=np.float32)[targets]
    for epoch in range(schedule.epochs):
        step = schedule.step * 0.5 * (1 + np.cos(np.pi * epoch / schedule.epochs))
        order = generator.permutation(len(rows))
        for start in range(0, len(rows), schedule.batch):
            chosen = order[start : start + schedule.batch]
            batch = rows[chosen]
            error = (softmax(batch @ weights + bias) - wanted[chosen]) / len(chosen)
            adam[0].descend(batch.T @ error + schedule.l2 * weights, step)
            adam[1].descend(error.sum(axis=0), step)
    return weights, bias


class _Adam:
    def __init__(self, parameter: Floats) -> None:
        self._parameter = parameter
        self._first, self._second = np.zeros_like(parameter), np.zeros_like(parameter)
        self._steps = 0

    def descend(self, gradient: Floats, step: float) -> None:
        """Change the parameter in place."""
        self._steps += 1
        self._first += 0.1 * (gradient - self._first)
        self._second += 0.001 * (gradient * gradient - self._second)
        first = self._first / (1 - 0.9**self._steps)
        second = self._second / (1 - 0.999**self._steps)
        self._parameter -= np.float32(step) * first / (np.sqrt(second) + np.float32(1e-8))


def softmax(logits: Floats) -> Floats:
    """Probabilities a row."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares


def best_temperature(logits: Floats, targets: Ints) -> float:
    """The temperature that gives `targets` the highest likelihood, to 1%."""
    candidates = np.geomspace(0.01, 10, 700)
    likelihoods = [np.log(_chosen(softmax(logits / np.float32(t)), targets) + 1e-30).mean() for t in candidates]
    return float(candidates[int(np.argmax(likelihoods))])


def _chosen(shares: Floats, targets: Ints) -> Floats:
    return shares[np.arange(len(targets)), targets]


def fit_logistic(rows: Doubles, targets: Doubles, ridge: float, steps: int = 8) -> tuple[Doubles, float]:
    """Weights and bias of a binary logistic regression, by Newton's method; `ridge` is per row."""
    padded = np.c_[rows, np.ones(len(rows))]
    penalty = np.diag([ridge * len(rows)] * rows.shape[1] + [1e-8])
    found = np.zeros(padded.shape[1])
    for _ in range(steps):
        chance = sigmoid(padded @ found)
        curvature = (padded * (chance * (1 - chance))[:, None]).T @ padded + penalty
        found -= np.linalg.solve(curvature, padded.T @ (chance - targets) + penalty @ found)
    return found[:-1], float(found[-1])


def sigmoid(logits: Doubles) -> Doubles:
    """The chance that belongs to log-odds."""
    chances: Doubles = 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
    return chances


def shift_to_share(logits: Doubles, share: float) -> float:
    """What to add to all log-odds so that the mean chance becomes `share`."""
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sigmoid(logits + middle).mean() < share else (low, middle)
    return (low + high) / 2
