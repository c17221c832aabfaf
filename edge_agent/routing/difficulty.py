"""How likely the local model is to be right, judged from the prompt before anything is generated."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from cloud_bridge.protocol.conversation import Conversation
from edge_agent.routing.features import NAMES, features, judged_text
from edge_agent.routing.head import Floats, Head, unreadable

BUNDLED = "heads/difficulty-mmlu"

CLIP = 3.0
"""Standard deviations beyond which a feature counts no further: a prompt unlike all that was learned from."""


class Difficulty:
    """A logistic model over a prompt's embedding and cheap features. Pure, thread-safe, microseconds.

    Learned from recorded outcomes of one model and shifted, per local model, to the share it was measured to get
    right; a model that was never measured gets the shift of the strongest one that was. Raises Broken code
    "model_file_missing" or "model_unreadable" when built on a bad folder.
    """

    def __init__(self, head_dir: Path) -> None:
        head = Head.load(head_dir)
        try:
            if tuple(head.parameters["features"]) != NAMES:
                raise unreadable(head_dir.name)
            arrays = head.arrays
            self._embedding, self._features = arrays["embedding_weights"], arrays["feature_weights"]
            self._mean, self._scale = arrays["feature_mean"], arrays["feature_scale"]
            self._bias = float(head.parameters["bias"])
            self._shifts: dict[str, float] = {
                name: float(measured["shift"]) for name, measured in head.parameters["measured_models"].items()
            }
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise unreadable(head_dir.name) from error
        if not self._features.shape == self._mean.shape == self._scale.shape == (len(NAMES),):
            raise unreadable(head_dir.name)

    def estimate(self, conversation: Conversation, embedding: Floats, model_id: str | None = None) -> float:
        """P(the local model `model_id` is right), in [0, 1]. `embedding` is that of `judged_text(conversation)`."""
        return self.of_text(judged_text(conversation), embedding, model_id)

    def of_text(self, text: str, embedding: Floats, model_id: str | None = None) -> float:
        """The same for one text."""
        shift = self._shifts.get(model_id or "", max(self._shifts.values(), default=0.0))
        return _sigmoid(self.score(text, embedding) + self._bias + shift)

    def score(self, text: str, embedding: Floats) -> float:
        """The log-odds without bias and shift: only good for ranking."""
        scaled = np.clip((features(text) - self._mean) / self._scale, -CLIP, CLIP)
        return float(embedding @ self._embedding + scaled @ self._features)


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, logit))))
