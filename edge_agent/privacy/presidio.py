# ruff: noqa: ARG002  (Presidio calls these methods by keyword, whatever they use)
"""Presidio's analyzer, put together so that it stays local, linear and quiet.

Imported only where a text is analysed: spaCy and Presidio take seconds to import.
"""

from __future__ import annotations

import logging
import re
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import spacy
from presidio_analyzer import (
    AnalyzerEngine,
    ContextAwareEnhancer,
    EntityRecognizer,
    LocalRecognizer,
    RecognizerRegistry,
    RecognizerResult,
)
from presidio_analyzer.nlp_engine import NerModelConfiguration, NlpArtifacts, SpacyNlpEngine

from edge_agent.privacy import kinds
from edge_agent.privacy.ner.rampart import TYPES, Rampart
from edge_agent.privacy.recognizers import LANGUAGE, finding, recognizers

THRESHOLD = 0.4
CONTEXT_GAIN = 0.4
_BEFORE, _AFTER = 60, 25  # characters in which a context word counts
_SPACY_SCORE = 0.7


class NerOnly(SpacyNlpEngine):  # type: ignore[misc]  # Presidio has no types
    """spaCy from a folder, entities only: the parser, tagger and lemmatizer are never loaded."""

    def __init__(self, folder: Path) -> None:
        labels = {"PERSON": "PERSON", "GPE": "LOCATION", "LOC": "LOCATION", "FAC": "LOCATION", "ORG": "ORGANIZATION"}
        ignored = ("CARDINAL", "DATE", "EVENT", "LANGUAGE", "LAW", "MONEY", "NORP", "ORDINAL", "PERCENT", "PRODUCT")
        super().__init__(
            models=[{"lang_code": LANGUAGE, "model_name": str(folder)}],
            ner_model_configuration=NerModelConfiguration(
                model_to_presidio_entity_mapping=labels,
                labels_to_ignore=[*ignored, "QUANTITY", "TIME", "WORK_OF_ART"],
                default_score=_SPACY_SCORE,
                low_score_entity_names=[],
            ),
        )

    def load(self) -> None:
        """Load the folder's pipeline, nothing else. Raises OSError where it is not one."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a patch version's difference is announced, and harmless
            unused = ["tok2vec", "tagger", "parser", "senter", "attribute_ruler", "lemmatizer"]
            self.nlp = {LANGUAGE: spacy.load(self.models[0]["model_name"], exclude=unused)}

    def _doc_to_nlp_artifact(self, doc: Any, language: str) -> NlpArtifacts:
        entities, scores = self._get_updated_entities(doc.ents, self._get_scores_for_entities(doc))
        return NlpArtifacts(
            entities=entities,
            tokens=doc,
            tokens_indices=[],
            lemmas=[],
            nlp_engine=None,
            language=language,
            scores=scores,
        )


class NearbyWords(ContextAwareEnhancer):  # type: ignore[misc]  # Presidio has no types
    """Raises the score of what stands near a word that announces it.

    Looks at a fixed number of characters around each finding. Presidio's own enhancer walks all of the
    document's tokens for each.
    """

    def __init__(self) -> None:
        super().__init__(CONTEXT_GAIN, 0.0, 0, 0)

    def enhance_using_context(
        self,
        text: str,
        raw_results: list[RecognizerResult],
        nlp_artifacts: NlpArtifacts,
        recognizers: list[EntityRecognizer],
        context: list[str] | None = None,
    ) -> list[RecognizerResult]:
        """The same results; those announced score higher, and those that need it and lack it score 0."""
        words = {recognizer.id: tuple(recognizer.context or ()) for recognizer in recognizers}
        lower = text.lower()
        for result in raw_results:
            announcing = words[result.recognition_metadata[RecognizerResult.RECOGNIZER_IDENTIFIER_KEY]]
            near = lower[max(0, result.start - _BEFORE) : result.start] + " " + lower[result.end : result.end + _AFTER]
            if announcing and _any_word(announcing).search(near):
                result.score = min(1.0, result.score + CONTEXT_GAIN)
            elif result.entity_type in kinds.NEEDS_CONTEXT:
                result.score = 0.0
        return raw_results


@lru_cache(maxsize=256)
def _any_word(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(r"(?<![^\W_])(?:" + "|".join(re.escape(word.strip().lower()) for word in words) + r")(?![^\W_])")


class RampartRecognizer(LocalRecognizer):  # type: ignore[misc]  # Presidio has no types
    """The Rampart model as a recognizer."""

    def __init__(self, model: Rampart) -> None:
        self._model = model
        super().__init__(supported_entities=sorted(set(TYPES.values())), name="rampart")

    def load(self) -> None:
        """It is loaded already."""

    def analyze(
        self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts | None = None
    ) -> list[RecognizerResult]:
        """What the model finds."""
        return [finding(self, span.type, span.start, span.end, span.score) for span in self._model.find(text)]


def build(spacy_folder: Path, rampart_folder: Path | None) -> AnalyzerEngine:
    """An analyzer for English on these folders' models. Raises whatever their loaders raise."""
    quiet()
    registry = RecognizerRegistry(recognizers=list(recognizers()), supported_languages=[LANGUAGE])
    if rampart_folder is not None:
        registry.add_recognizer(RampartRecognizer(Rampart(rampart_folder)))
    return AnalyzerEngine(
        registry=registry,
        nlp_engine=NerOnly(spacy_folder),
        supported_languages=[LANGUAGE],
        default_score_threshold=THRESHOLD,
        context_aware_enhancer=NearbyWords(),
    )


class _TimeOutsRaise(logging.Handler):
    """Presidio logs and skips a pattern that takes too long. For us that would let text out unsearched."""

    def emit(self, record: logging.LogRecord) -> None:
        if "timed out" in str(record.msg):
            raise TimeoutError("a pattern took too long")


def quiet() -> None:
    """Keep Presidio's log, which may quote what it looks at, away from everybody. Safe to repeat."""
    log = logging.getLogger("presidio-analyzer")
    log.propagate = False
    log.setLevel(logging.WARNING)  # its own, or a quieter root logger would keep the handler from hearing it
    if not any(isinstance(handler, _TimeOutsRaise) for handler in log.handlers):
        log.addHandler(_TimeOutsRaise())
