# ruff: noqa: ARG002  (Presidio calls these methods by keyword, whatever they use)
"""Our finders as Presidio's recognizers.

Presidio's own pattern recognizers are not used: these check more, know more countries, and take a fraction of the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from presidio_analyzer import EntityRecognizer, LocalRecognizer, RecognizerResult
from presidio_analyzer.nlp_engine import NlpArtifacts

from edge_agent.privacy.finders import every
from edge_agent.privacy.finders.hits import Finder, TypedFinder

LANGUAGE = "en"


class Found(LocalRecognizer):  # type: ignore[misc]  # Presidio has no types
    """One of our own finders as a recognizer."""

    def __init__(self, entity: str, find: Finder, context: Iterable[str] = ()) -> None:
        self._find = find
        super().__init__(supported_entities=[entity], name=f"{entity}_finder", context=list(context))

    def load(self) -> None:
        """Nothing to load."""

    def analyze(
        self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts | None = None
    ) -> list[RecognizerResult]:
        """What the finder finds."""
        return [finding(self, self.supported_entities[0], *hit) for hit in self._find(text)]


class FoundTogether(LocalRecognizer):  # type: ignore[misc]  # Presidio has no types
    """A finder of several types at once as a recognizer."""

    def __init__(self, name: str, types: Iterable[str], find: TypedFinder) -> None:
        self._find = find
        super().__init__(supported_entities=sorted(types), name=name)

    def load(self) -> None:
        """Nothing to load."""

    def analyze(
        self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts | None = None
    ) -> list[RecognizerResult]:
        """What the finder finds."""
        return [finding(self, entity, *hit) for entity, hit in self._find(text)]


def finding(recognizer: EntityRecognizer, entity: str, start: int, end: int, score: float) -> RecognizerResult:
    """A finding that says who found it."""
    metadata = {
        RecognizerResult.RECOGNIZER_NAME_KEY: recognizer.name,
        RecognizerResult.RECOGNIZER_IDENTIFIER_KEY: recognizer.id,
    }
    return RecognizerResult(entity, start, end, score, recognition_metadata=metadata)


def recognizers() -> Iterator[EntityRecognizer]:
    """All that need no model."""
    for entity, find, context in every.finders():
        yield Found(entity, find, context)
    for name, types, find_typed in every.of_several_types():
        yield FoundTogether(name, types, find_typed)
