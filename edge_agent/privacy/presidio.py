# ruff: noqa: ARG002  (Presidio calls these methods by keyword, whatever they use)
"""Presidio's analyzer, put together so that it stays local, linear and quiet.

Imported only where a text is analysed: Presidio takes seconds to import. The models that read for names are its NLP
engine, so that they can be at work on the next windows while the recognizers look at this one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from presidio_analyzer import (
    AnalyzerEngine,
    ContextAwareEnhancer,
    EntityRecognizer,
    LocalRecognizer,
    RecognizerRegistry,
    RecognizerResult,
)
from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine

from edge_agent.privacy import kinds
from edge_agent.privacy.finders.hits import announced
from edge_agent.privacy.ner.reader import Reader
from edge_agent.privacy.own_patterns import CONTEXT_GAIN
from edge_agent.privacy.preferences import THRESHOLD
from edge_agent.privacy.recognizers import LANGUAGE, finding, recognizers
from edge_agent.privacy.spans import Span


class Reading(NlpArtifacts):  # type: ignore[misc]  # Presidio has no types
    """What the models find in one text, perhaps still at work on it."""

    def __init__(self, parts: Sequence[Future[list[Span]]]) -> None:
        super().__init__([], None, [], [], None, LANGUAGE)
        self._parts = parts

    def spans(self) -> list[Span]:
        """Waits for the models, and raises what they raised."""
        return [span for part in self._parts for span in part.result()]

    def cancel(self) -> None:
        """Nobody waits any more: what has not begun need not."""
        for part in self._parts:
            part.cancel()


class Models(NlpEngine):  # type: ignore[misc]  # Presidio has no types
    """The models, as Presidio's NLP engine: no tagger, parser or lemmatizer is loaded."""

    def __init__(self, readers: Sequence[Reader]) -> None:
        self._readers = readers
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, "detection")

    def start(self, text: str) -> Reading:
        """Begin to read `text` on other cores."""
        return Reading([self._pool.submit(reader.find, text) for reader in self._readers])

    def load(self) -> None:
        """They are loaded already."""

    def is_loaded(self) -> bool:
        """Always."""
        return True

    def process_text(self, text: str, language: str) -> Reading:
        """What is found in `text`, soon."""
        return self.start(text)

    def process_batch(
        self, texts: Iterable[str], language: str, batch_size: int = 1, n_process: int = 1, **kwargs: Any
    ) -> Iterator[tuple[str, NlpArtifacts]]:
        """Each text with what is found in it."""
        yield from [(text, self.start(text)) for text in texts]

    def is_stopword(self, word: str, language: str) -> bool:
        """Nobody asks: context is looked for by `NearbyWords`."""
        return False

    def is_punct(self, word: str, language: str) -> bool:
        """As above."""
        return False

    def get_supported_entities(self) -> list[str]:
        """What `ReadByModels` reports."""
        return sorted(kinds.READ)

    def get_supported_languages(self) -> list[str]:
        """Presidio's name for whatever the models read."""
        return [LANGUAGE]


class ReadByModels(LocalRecognizer):  # type: ignore[misc]  # Presidio has no types
    """The models' findings as a recognizer's. The last to be asked, since it waits."""

    def __init__(self) -> None:
        super().__init__(supported_entities=sorted(kinds.READ), name="models")

    def load(self) -> None:
        """Nothing to load."""

    def analyze(
        self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts | None = None
    ) -> list[RecognizerResult]:
        """What the models found."""
        spans = nlp_artifacts.spans() if isinstance(nlp_artifacts, Reading) else []
        return [finding(self, span.type, span.start, span.end, span.score) for span in spans]


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
        """The same results; those announced score higher."""
        words = {recognizer.id: tuple(recognizer.context or ()) for recognizer in recognizers}
        for result in raw_results:
            announcing = words[result.recognition_metadata[RecognizerResult.RECOGNIZER_IDENTIFIER_KEY]]
            if announcing and announced(text, result.start, result.end, announcing):
                result.score = min(1.0, result.score + CONTEXT_GAIN)
        return raw_results


class Analyzer:
    """Presidio's engine with our recognizers and models. Blocking; safe to call from several threads."""

    def __init__(self, readers: Sequence[Reader], threshold: float = THRESHOLD) -> None:
        quiet()
        self._models = Models(readers)
        self._engine = AnalyzerEngine(
            registry=RecognizerRegistry(recognizers=[*recognizers(), ReadByModels()], supported_languages=[LANGUAGE]),
            nlp_engine=self._models,
            supported_languages=[LANGUAGE],
            default_score_threshold=threshold,
            context_aware_enhancer=NearbyWords(),
        )

    def start(self, text: str) -> Reading:
        """Let the models begin with `text`."""
        return self._models.start(text)

    def finish(self, text: str, reading: Reading) -> tuple[Span, ...]:
        """All findings in `text`. Raises what a recognizer or a model raises."""
        results = self._engine.analyze(text, LANGUAGE, nlp_artifacts=reading)
        return tuple(Span(result.start, result.end, result.entity_type, result.score) for result in results)


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
