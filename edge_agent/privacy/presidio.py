# ruff: noqa: ARG002  (Presidio calls these methods by keyword, whatever they use)
"""Presidio's analyzer, put together so that it stays local, linear and quiet.

Imported only where a text is analysed: spaCy and Presidio take seconds to import.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
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
from presidio_analyzer.predefined_recognizers import (
    CryptoRecognizer,
    EsNieRecognizer,
    EsNifRecognizer,
    FiPersonalIdentityCodeRecognizer,
    ItFiscalCodeRecognizer,
    MacAddressRecognizer,
    NhsRecognizer,
    PlPeselRecognizer,
    SpacyRecognizer,
    UkNinoRecognizer,
    UsBankRecognizer,
    UsItinRecognizer,
    UsLicenseRecognizer,
    UsPassportRecognizer,
)

from edge_agent.privacy import contacts, kinds, patterns, secrets
from edge_agent.privacy.patterns import Finder, Hit
from edge_agent.privacy.rampart import TYPES, Rampart

LANGUAGE = "en"
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
        return [_result(self, self.supported_entities[0], *hit) for hit in self._find(text)]


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
        return [_result(self, span.type, span.start, span.end, span.score) for span in self._model.find(text)]


def _result(recognizer: EntityRecognizer, entity: str, start: int, end: int, score: float) -> RecognizerResult:
    metadata = {
        RecognizerResult.RECOGNIZER_NAME_KEY: recognizer.name,
        RecognizerResult.RECOGNIZER_IDENTIFIER_KEY: recognizer.id,
    }
    return RecognizerResult(entity, start, end, score, recognition_metadata=metadata)


def build(spacy_folder: Path, rampart_folder: Path | None) -> AnalyzerEngine:
    """An analyzer for English on these folders' models. Raises whatever their loaders raise."""
    quiet()
    registry = RecognizerRegistry(recognizers=list(_recognizers()), supported_languages=[LANGUAGE])
    if rampart_folder is not None:
        registry.add_recognizer(RampartRecognizer(Rampart(rampart_folder)))
    return AnalyzerEngine(
        registry=registry,
        nlp_engine=NerOnly(spacy_folder),
        supported_languages=[LANGUAGE],
        default_score_threshold=THRESHOLD,
        context_aware_enhancer=NearbyWords(),
    )


def _recognizers() -> Iterator[EntityRecognizer]:
    yield SpacyRecognizer(supported_entities=["PERSON", "LOCATION", "ORGANIZATION"])
    yield Found("PHONE_NUMBER", contacts.phone_number, contacts.PHONE_WORDS)
    yield Found("EMAIL_ADDRESS", contacts.email_finder())
    yield Found(
        "CREDIT_CARD", patterns.card_number, ("card", "credit", "debit", "visa", "mastercard", "amex", "maestro")
    )
    yield Found("US_SSN", patterns.us_ssn, ("ssn", "ssns", "social security", "ss#", "social_security_number"))
    own: tuple[tuple[str, Callable[[str], Iterator[Hit]]], ...] = (
        ("IBAN_CODE", patterns.iban),
        ("IP_ADDRESS", patterns.ip_address),
        ("URL", patterns.url),
        ("HOSTNAME", patterns.hostname),
        ("ID_NUMBER", patterns.id_number),
        ("DATE_OF_BIRTH", patterns.date_of_birth),
        ("API_KEY", secrets.api_key),
        ("PASSWORD", secrets.password),
        ("CONNECTION_STRING", secrets.connection_string),
    )
    for entity, find in own:
        yield Found(entity, find)
    for stock in (
        CryptoRecognizer,
        MacAddressRecognizer,
        UsBankRecognizer,
        UsItinRecognizer,
        UsLicenseRecognizer,
        UsPassportRecognizer,
    ):
        yield stock(supported_language=LANGUAGE)
    for european in (
        EsNieRecognizer,
        EsNifRecognizer,
        FiPersonalIdentityCodeRecognizer,
        ItFiscalCodeRecognizer,
        NhsRecognizer,
        PlPeselRecognizer,
        UkNinoRecognizer,
    ):
        yield european(supported_language=LANGUAGE)


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
