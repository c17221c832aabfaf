"""Presidio as it comes, to compare with: spaCy's small model with all its parts, and the default recognizers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_agent.privacy.spans import Span

SPACY_MODEL = "spacy-en-core-web-sm"

Find = Callable[[str], Sequence[Span]]


def stock(spacy_folder: Path) -> Find:
    """A function that finds what Presidio finds in a text, however unlikely. Blocking, never online.

    Loading takes seconds. Raises OSError where the folder holds no spaCy model.
    """
    import spacy  # noqa: PLC0415 - seconds, for the evaluation only
    import tldextract  # noqa: PLC0415
    from presidio_analyzer import AnalyzerEngine  # noqa: PLC0415
    from presidio_analyzer.nlp_engine import SpacyNlpEngine  # noqa: PLC0415

    from edge_agent.privacy.presidio import quiet  # noqa: PLC0415

    quiet()
    # At the first e-mail address it would try to download the public suffix list; the snapshot is as good.
    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=())
    engine = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": "en_core_web_sm"}])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a patch version's difference is announced, and harmless
        engine.nlp = {"en": spacy.load(spacy_folder)}
    analyzer = AnalyzerEngine(nlp_engine=engine, supported_languages=["en"])

    def find(text: str) -> list[Span]:
        found = analyzer.analyze(text, language="en")
        return [Span(one.start, one.end, one.entity_type, one.score) for one in found]

    return find
