"""What a text asks for: a trained head over sentence embeddings, or labels compared by meaning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloud_bridge.protocol.problems import InvalidRequest
from cloud_bridge.protocol.report import Intent
from edge_agent.routing.head import Floats, Head, unreadable

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts to L2-normalised rows. Blocks."""

BUNDLED = "heads/intent-clinc150"


class IntentClassifier:
    """Gives a text its most likely label. Thread-safe where `embed` is; blocks while it embeds.

    Raises Broken code "model_file_missing" or "model_unreadable" when built on a bad folder.
    """

    def __init__(self, embed: Embed, head_dir: Path) -> None:
        self._embed = embed
        head = Head.load(head_dir)
        try:
            self.labels: tuple[str, ...] = tuple(head.parameters["labels"])
            self._weights, self._bias = head.arrays["weights"], head.arrays["bias"]
            self._temperature = float(head.parameters["temperature"])
            self._least_energy = float(head.parameters["least_energy"])
            self._label_temperature = float(head.parameters["label_temperature"])
            self._least_similarity = float(head.parameters["least_similarity"])
        except (LookupError, TypeError, ValueError) as error:
            raise unreadable(head_dir.name) from error
        if self._weights.ndim != 2 or self._weights.shape[1] != len(self.labels) != 0 or self._bias.ndim != 1:
            raise unreadable(head_dir.name)

    def classify(self, texts: Sequence[str], labels: Sequence[str] | None = None) -> list[Intent]:
        """One intent a text, in order. With `labels`: the one nearest in meaning, without any training.

        `confidence` is the calibrated probability of the label among the labels, whether or not it is in scope.
        Raises InvalidRequest code "no_labels" for an empty list of labels.
        """
        if labels is not None and not labels:
            raise InvalidRequest(
                "'labels' is empty.", code="no_labels", hint="Give at least one label, or leave it out.", param="labels"
            )
        if not texts:
            return []
        rows = self._embed(texts)
        return self.of_embeddings(rows) if labels is None else self._nearest(rows, labels)

    def of_embeddings(self, rows: Floats) -> list[Intent]:
        """The same without labels, for texts that are embedded already. Does not block."""
        logits = self.logits(rows)
        return _intents(logits / self._temperature, energy(logits) < self._least_energy, self.labels)

    def logits(self, rows: Floats) -> Floats:
        """The head's raw outputs, for measuring it."""
        return rows @ self._weights + self._bias

    def _nearest(self, rows: Floats, labels: Sequence[str]) -> list[Intent]:
        similarity = rows @ self._embed([phrase(label) for label in labels]).T
        outside = similarity.max(axis=1) < self._least_similarity
        return _intents(similarity / self._label_temperature, outside, labels)


def phrase(label: str) -> str:
    """A label as a person would say it."""
    return label.replace("_", " ").strip()


def energy(logits: Floats) -> Floats:
    """log-sum-exp a row: low where no label fits."""
    top = logits.max(axis=1)
    total: Floats = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return total


def _intents(scaled: Floats, outside: NDArray[np.bool_], labels: Sequence[str]) -> list[Intent]:
    best = scaled.argmax(axis=1)
    confidence = np.exp(scaled.max(axis=1) - energy(scaled))
    return [
        Intent(labels[index], min(1.0, float(sure)), bool(out))
        for index, sure, out in zip(best, confidence, outside, strict=True)
    ]
