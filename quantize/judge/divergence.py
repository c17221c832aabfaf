"""How far one model's next-token probabilities are from another's.

The reference's are kept on disk as whole steps of 1/1024 nat below certainty: two bytes a token of the vocabulary, and
finer than 16-bit floats for all but the likeliest. A model held against itself so gets a divergence of about 1e-7.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloud_bridge.protocol.problems import Broken

KEPT = np.dtype("<u2")
"""How a log-probability is kept."""

_STEPS_A_NAT = 1024
_LEAST = -65535 / _STEPS_A_NAT
"""Nothing is held to be less likely than e to this power."""

Vector = NDArray[np.float64]


def log_probabilities(logits: NDArray[Any]) -> Vector:
    """The natural-log probabilities that these logits mean, shape (vocabulary,).

    Raises Broken code "model_unusable" where they are no numbers.
    """
    highest = float(logits.max())
    if not math.isfinite(highest):
        raise Broken(
            "The model computes no numbers: its logits are not finite.",
            code="model_unusable",
            hint="Choose a type with more bits, or another method.",
        )
    shifted = logits.astype(np.float64) - highest
    return np.maximum(shifted - math.log(float(np.exp(shifted).sum())), _LEAST)


def kept(of: Vector) -> NDArray[np.uint16]:
    """Log-probabilities as they are kept, shape (vocabulary,)."""
    return np.rint(of * -_STEPS_A_NAT).astype(KEPT)


def read_back(row: NDArray[np.uint16]) -> Vector:
    """The inverse of `kept`, so that the probabilities add up to one again."""
    return log_probabilities(row.astype(np.float64) / -_STEPS_A_NAT)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over tokens and its standard error, which takes the tokens for independent of each other."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Of at least one value; of a single one the error is not known and 0."""
        error = np.std(values, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else 0.0
        return cls(float(np.mean(values)), float(error))

    def exponential(self) -> Estimate:
        """Euler's number to this power; the error to first order."""
        return Estimate(math.exp(self.mean), math.exp(self.mean) * self.error)


class Comparison:
    """Collects a token at a time how an artifact differs from its reference.

    The surprise at a token is minus its log-probability, in nats.
    """

    def __init__(self) -> None:
        self.divergences: list[float] = []
        self.surprises: list[float] = []
        self.increases: list[float] = []
        self._agreements = 0

    def add(self, logits: NDArray[Any], row: NDArray[np.uint16], *, top: int, token: int) -> None:
        """The artifact's `logits` and the reference's kept `row` and likeliest token, where `token` came next.

        Where one of the two has a padded vocabulary, the ids that both have count.
        """
        common = min(len(logits), len(row))
        ours, theirs = log_probabilities(logits[:common]), read_back(row[:common])
        self.divergences.append(max(0.0, float((np.exp(theirs) * (theirs - ours)).sum())))
        self.surprises.append(-float(ours[token]))
        self.increases.append(float(theirs[token] - ours[token]))
        self._agreements += int(np.argmax(ours)) == top

    @property
    def agreement(self) -> float:
        """The share of tokens for which both hold the same one to be the likeliest."""
        return self._agreements / len(self.divergences)
