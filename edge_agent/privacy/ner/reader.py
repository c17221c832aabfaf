"""What reads a text for names: a token classifier of ours, Rampart, or a spaCy pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from edge_agent.privacy.spans import Span


class Reader(Protocol):
    """A loaded model. Blocking; safe to call from several threads."""

    def find(self, text: str) -> list[Span]:
        """Spans of `text` with the model's belief in them, in reading order."""


def load(folder: Path) -> Reader:
    """The model in `folder`, by what lies there. Raises what its loader raises, and OSError where nothing fits."""
    if (folder / "config.cfg").is_file():
        from edge_agent.privacy.ner.spacy_ner import SpacyNer  # noqa: PLC0415 - spaCy takes seconds to import

        return SpacyNer(folder)
    if (folder / "model.onnx").is_file():
        from edge_agent.privacy.ner.classifier import TokenClassifier  # noqa: PLC0415 - as numpy does

        return TokenClassifier(folder)
    from edge_agent.privacy.ner.rampart import Rampart  # noqa: PLC0415 - as above

    return Rampart(folder)
