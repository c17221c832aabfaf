"""The figures, against values that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.routing.metrics import apgr, auroc, best_cut, calibration_error
from quantize.heads.logistic import (
    Schedule,
    best_temperature,
    fit_logistic,
    fit_softmax,
    shift_to_share,
    sigmoid,
    softmax,
)


def test_auroc_counts_pairs_and_half_of_ties() -> None:
    assert auroc([3, 2], [1, 0]) == 1
    assert auroc([0], [1]) == 0
    assert auroc([1, 2], [1, 0]) == pytest.approx((0.5 + 1 + 1 + 1) / 4)


def test_apgr_is_a_half_for_no_knowledge_and_highest_for_an_oracle() -> None:
    weak, strong = np.array([1, 1, 0, 0, 1, 0]), np.array([1, 1, 1, 0, 1, 1])
    gain = strong - weak
    assert apgr(np.zeros(6), weak, strong) == pytest.approx(0.5)
    # The two that gain come first: the curve is full after a third of the way.
    assert apgr(gain, weak, strong) == pytest.approx(1 - (2 / 6) / 2)
    assert apgr(-gain, weak, strong) == pytest.approx((2 / 6) / 2)


def test_calibration_error() -> None:
    assert calibration_error([0.9] * 10, [1] * 9 + [0]) == pytest.approx(0)
    assert calibration_error([1.0] * 4, [1, 1, 0, 0]) == pytest.approx(0.5)


def test_the_best_cut_divides() -> None:
    assert 2 < best_cut([3, 4, 5], [0, 1, 2]) <= 3


def test_fits_find_what_was_planted() -> None:
    generator = np.random.default_rng(1)
    rows = generator.normal(size=(4000, 3))
    right = (generator.random(4000) < sigmoid(rows @ np.array([2.0, -1.0, 0.0]) + 0.5)).astype(float)
    weights, bias = fit_logistic(rows, right, 1e-6)
    np.testing.assert_allclose(weights, [2, -1, 0], atol=0.2)
    assert bias == pytest.approx(0.5, abs=0.15)
    assert sigmoid(rows @ weights + shift_to_share(rows @ weights, 0.2)).mean() == pytest.approx(0.2, abs=1e-6)


def test_the_softmax_head_separates_and_repeats() -> None:
    generator = np.random.default_rng(2)
    centres = np.eye(5, dtype=np.float32) * 3
    targets = generator.integers(0, 5, 600)
    rows = (centres[targets] + generator.normal(size=(600, 5))).astype(np.float32)
    first, second = (fit_softmax(rows, targets, 5, Schedule(epochs=10)) for _ in range(2))
    assert ((rows @ first[0] + first[1]).argmax(axis=1) == targets).mean() > 0.9
    np.testing.assert_array_equal(first[0], second[0])


def test_the_best_temperature_undoes_a_scale() -> None:
    generator = np.random.default_rng(3)
    logits = generator.normal(size=(5000, 4)).astype(np.float32)
    targets = np.array([generator.choice(4, p=row / row.sum()) for row in softmax(logits).astype(float)])
    assert best_temperature(logits * 4, targets) == pytest.approx(4, rel=0.15)
