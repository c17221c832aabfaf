"""A spaCy pipeline's named entities: for a language that has one, and no token classifier."""

from __future__ import annotations

import warnings
from pathlib import Path

import spacy

from edge_agent.privacy.spans import Span

TYPES = {
    "PERSON": "PERSON",
    "PER": "PERSON",
    "GPE": "LOCATION",
    "LOC": "LOCATION",
    "FAC": "LOCATION",
    "ORG": "ORGANIZATION",
}
"""spaCy's labels, in English and in its other languages, to our types. The rest is left to the finders."""

SCORE = 0.7
"""spaCy does not say how sure it is."""

_UNUSED = ("tagger", "parser", "senter", "attribute_ruler", "lemmatizer", "morphologizer", "trainable_lemmatizer")


class SpacyNer:
    """The pipeline in `folder`, entities only. Blocking; safe to call from several threads.

    Raises OSError where the folder is no pipeline.
    """

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a patch version's difference is announced, and harmless
            self._read = spacy.load(folder, exclude=_UNUSED)

    def find(self, text: str) -> list[Span]:
        """Spans of `text`, in reading order."""
        # spaCy keeps every string it has seen; the zone lets go of them.
        with self._read.memory_zone():
            found = self._read(text).ents
            return [
                Span(entity.start_char, entity.end_char, TYPES[entity.label_], SCORE)
                for entity in found
                if entity.label_ in TYPES
            ]
