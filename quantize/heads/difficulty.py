"""The difficulty head: P(a model is right) from a prompt's embedding and cheap features, learned from outcomes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_agent.routing.benchmarks import Outcomes
from edge_agent.routing.difficulty import CLIP
from edge_agent.routing.features import features
from edge_agent.routing.metrics import apgr, auroc
from quantize.heads.logistic import Doubles, fit_logistic

DIRECTIONS = 16
"""Principal directions of the embeddings that are used: more of them fit the subjects, not the difficulty."""

RIDGE = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class DifficultyHead:
    """A fitted head. `scores` are log-odds without the bias, with embeddings centred."""

    embedding_mean: Doubles
    embedding_weights: Doubles
    feature_mean: Doubles
    feature_scale: Doubles
    feature_weights: Doubles
    bias: float

    @classmethod
    def fit(cls, embeddings: Doubles, measured: Doubles, right: Doubles) -> DifficultyHead:
        """Fit on embeddings (n, d), unscaled features (n, k) and outcomes 0 or 1."""
        middle = embeddings.mean(axis=0)
        directions = np.linalg.eigh(np.cov(embeddings - middle, rowvar=False))[1][:, -DIRECTIONS:]
        projected = (embeddings - middle) @ directions
        spread = projected.std()
        mean, scale = measured.mean(axis=0), measured.std(axis=0) + 1e-9
        scaled = np.clip((measured - mean) / scale, -CLIP, CLIP)
        weights, bias = fit_logistic(np.c_[projected / spread, scaled], right, RIDGE)
        return cls(middle, directions @ weights[:DIRECTIONS] / spread, mean, scale, weights[DIRECTIONS:], bias)

    def scores(self, embeddings: Doubles, measured: Doubles) -> Doubles:
        """Higher where the model is likelier to be right."""
        scaled = np.clip((measured - self.feature_mean) / self.feature_scale, -CLIP, CLIP)
        found: Doubles = (embeddings - self.embedding_mean) @ self.embedding_weights + scaled @ self.feature_weights
        return found


def measure(prompts: list[str]) -> Doubles:
    """The cheap features of each prompt, unscaled."""
    return np.stack([features(prompt) for prompt in prompts])


def leave_subject_out(outcomes: Outcomes, embeddings: Doubles) -> Doubles:
    """Scores of every question by a head that saw no question of its subject."""
    measured = measure(outcomes.prompts)
    scores = np.zeros(len(outcomes.prompts))
    for subject in np.unique(outcomes.subjects):
        held = outcomes.subjects == subject
        head = DifficultyHead.fit(embeddings[~held], measured[~held], outcomes.weak[~held])
        scores[held] = head.scores(embeddings[held], measured[held])
    return scores


def ranking_figures(outcomes: Outcomes, scores: Doubles) -> dict[str, float]:
    """AUROC for "the weak model is right" and APGR, beside the longest prompt first and random."""
    right, wrong = outcomes.weak == 1, outcomes.weak == 0
    lengths = np.array([len(prompt) for prompt in outcomes.prompts], float)
    return {
        "auroc": round(auroc(scores[right], scores[wrong]), 4),
        "auroc_longest_prompt": round(auroc(-lengths[right], -lengths[wrong]), 4),
        "auroc_random": 0.5,
        "apgr": round(apgr(-scores, outcomes.weak, outcomes.strong), 4),
        "apgr_longest_prompt": round(apgr(lengths, outcomes.weak, outcomes.strong), 4),
        "apgr_random": 0.5,
    }
