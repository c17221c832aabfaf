# ruff: noqa: ARG002  (Presidio calls these methods by keyword, whatever they use)
"""Which recognizers look at a text: our own finders, and those of Presidio's that are good as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from presidio_analyzer import EntityRecognizer, LocalRecognizer, RecognizerResult
from presidio_analyzer.nlp_engine import NlpArtifacts
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

from edge_agent.privacy.finders import contacts, patterns, secrets
from edge_agent.privacy.finders.patterns import Finder, Hit

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


def finding(recognizer: EntityRecognizer, entity: str, start: int, end: int, score: float) -> RecognizerResult:
    """A finding that says who found it."""
    metadata = {
        RecognizerResult.RECOGNIZER_NAME_KEY: recognizer.name,
        RecognizerResult.RECOGNIZER_IDENTIFIER_KEY: recognizer.id,
    }
    return RecognizerResult(entity, start, end, score, recognition_metadata=metadata)


def recognizers() -> Iterator[EntityRecognizer]:
    """All that need no model of ours."""
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
