"""Finding what must be masked."""

from __future__ import annotations

from pathlib import Path

import spacy
import tldextract
from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import SpacyNlpEngine

from edge_agent.models.catalog import Catalog
from edge_agent.models.store import ModelStore
from edge_agent.privacy.detect import Detector
from edge_agent.privacy.evaluation.stock import SPACY_MODEL
from tests.benchmarks.figure import Figure, compared, milliseconds

MESSAGE = (
    "Invoice {n}: Margarethe Lindqvist of Halvorsen Marine AS asked us on {n} occasions to send the contract to "
    "margarethe{n}@example.org and to call her at +44 20 7946 0958 before the end of the week. The amount goes to "
    "DE89 3704 0044 0532 0130 00; the last order came from 203.0.113.17. Her colleague Rebecca Thornbury lives at "
    "14 Harbour Lane, Bristol, and prefers letters. "
) * 3


def measure(models: Path, scratch: Path) -> list[Figure]:
    """A message of some 1,000 characters, new each time, and the same one again."""
    ours = Detector(ModelStore(models, Catalog.load()).path)
    # Stock Presidio would try to download the public suffix list at each e-mail address; its snapshot is as good.
    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=())
    engine = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": "en_core_web_sm"}])
    engine.nlp = {"en": spacy.load(models / SPACY_MODEL)}
    stock = AnalyzerEngine(nlp_engine=engine, supported_languages=["en"])
    first = milliseconds(lambda n: ours.detect(MESSAGE.format(n=n)), times=20)
    again = milliseconds(lambda _: ours.detect(MESSAGE.format(n=1)), times=20)
    theirs = milliseconds(lambda n: stock.analyze(MESSAGE.format(n=n), language="en"), times=20)
    return [
        compared(f"detection in {len(MESSAGE)} characters, first time", first, theirs, "stock Presidio", "ms"),
        compared(f"detection in {len(MESSAGE)} characters, again", again, theirs, "stock Presidio", "ms"),
    ]
