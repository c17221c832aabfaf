"""Writes presidio_evaluator.json: what the package itself says of generated spans, for test_tokens.py.

In an environment of its own, since the package brings pandas and much else:

    uv run --no-project --with presidio-evaluator==0.2.4 python tests/privacy/evaluation/record_presidio_evaluator.py
"""

from __future__ import annotations

import contextlib
import json
import random
import sys
import tempfile
from pathlib import Path

import spacy
from presidio_evaluator import InputSample, span_to_tag
from presidio_evaluator.evaluation import Evaluator
from presidio_evaluator.models import BaseModel, PresidioAnalyzerWrapper

HERE = Path(__file__).parent
SENTENCES = HERE / "data" / "presidio_research" / "synth_dataset_v2.even.json"
TYPES = ["PERSON", "LOCATION", "ORGANIZATION", "URL", "PHONE_NUMBER"]
GOLD_TYPES = ["PERSON", "GPE", "STREET_ADDRESS", "ORGANIZATION", "DOMAIN_NAME", "PHONE_NUMBER", "AGE", "TITLE"]
CASES = 25


class Fixed(BaseModel):
    """A model whose findings are given."""

    def __init__(self, found: list[list[list]]) -> None:
        super().__init__(entities_to_keep=list(TYPES))
        self.found = found

    def predict(self, sample: InputSample, **kwargs: object) -> list[str]:
        raise NotImplementedError

    def batch_predict(self, dataset: list[InputSample], **kwargs: object) -> list[list[str]]:
        return [
            span_to_tag(
                scheme="IO",
                text=sample.full_text,
                starts=[one[0] for one in found],
                ends=[one[1] for one in found],
                tags=[one[2] for one in found],
                scores=[one[3] for one in found],
                tokens=sample.tokens,
            )
            for sample, found in zip(dataset, self.found, strict=True)
        ]


def spans(chance: random.Random, text: str, types: list[str]) -> list[list]:
    """Up to five spans anywhere in `text`, overlapping or not."""
    found = []
    for _ in range(chance.randrange(6)):
        start = chance.randrange(len(text))
        end = min(len(text), start + chance.randrange(1, 30))
        found.append([start, end, chance.choice(types), chance.choice([0.3, 0.5, 0.85, 1.0])])
    return found


def case(chance: random.Random, texts: list[str]) -> dict:
    """Gold and found spans of some texts, and the package's figures."""
    gold = [[one[:3] for one in spans(chance, text, GOLD_TYPES)] for text in texts]
    found = [spans(chance, text, [*TYPES, "US_SSN"]) for text in texts]
    document = [
        {
            "full_text": text,
            "masked": "",
            "spans": [
                {"entity_type": kind, "entity_value": text[a:b], "start_position": a, "end_position": b}
                for a, b, kind in there
            ],
        }
        for text, there in zip(texts, gold, strict=True)
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(document, file)
        file.flush()
        samples = InputSample.read_dataset_json(file.name)
    mapping = dict(PresidioAnalyzerWrapper.presidio_entities_map)
    samples = Evaluator.align_entity_types(samples, entities_mapping=mapping, allow_missing_mappings=True)
    evaluator = Evaluator(model=Fixed(found))
    results = evaluator.evaluate_all(samples)
    two, one = evaluator.calculate_score(results), evaluator.calculate_score(results, beta=1)
    return {
        "gold": gold,
        "found": found,
        "precision": two.pii_precision,
        "recall": two.pii_recall,
        "f2": two.pii_f,
        "f1": one.pii_f,
    }


def main() -> None:
    """Write the file."""
    # The package would download spaCy's model; the blank pipeline has the same tokenizer.
    sys.modules["presidio_evaluator.span_to_tag"].loaded_spacy["en_core_web_sm"] = spacy.blank("en")
    chance = random.Random(7)  # noqa: S311 - anything will do
    texts = [row["full_text"] for row in json.loads(SENTENCES.read_text(encoding="utf-8"))]
    with contextlib.redirect_stdout(sys.stderr):
        cases = [case(chance, texts) for _ in range(CASES)]
    document = {"package": "presidio-evaluator 0.2.4", "types": TYPES, "texts": texts, "cases": cases}
    (HERE / "presidio_evaluator.json").write_text(json.dumps(document, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
