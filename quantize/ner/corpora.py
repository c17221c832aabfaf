"""The annotated texts that the token classifier learns from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantize.ner.labels import GENERATED, MASKED, PUBLIC, TAB
from quantize.ner.sentences import sentences


@dataclass(frozen=True, slots=True)
class Annotated:
    """A text, and the entities in it as (start, end, label), in characters."""

    text: str
    spans: tuple[tuple[int, int, str], ...]


def judgments(data: Path) -> list[Annotated]:
    """The Text Anonymization Benchmark's training part in `data`: what need not be masked is PUBLIC.

    Raises OSError where the file is missing.
    """
    lines = (data / "tab" / "tab_entities_train.jsonl").read_text("utf-8").splitlines()
    return [
        Annotated(
            document["text"],
            tuple(
                (
                    entity["start_offset"],
                    entity["end_offset"],
                    PUBLIC if entity["identifier_type"] == "NO_MASK" else TAB[entity["entity_type"]],
                )
                for entity in document["entities"]
            ),
        )
        for document in map(json.loads, lines)
    ]


def gold(data: Path) -> list[Annotated]:
    """The benchmark's development part in `data`, in its order: what must be hidden is MASKED, other entities PUBLIC.

    Raises OSError where the file is missing.
    """
    lines = (data / "tab" / "tab_gold_dev.jsonl").read_text("utf-8").splitlines()
    return [Annotated(document["text"], _settled(document)) for document in map(json.loads, lines)]


def _settled(document: Mapping[str, Any]) -> tuple[tuple[int, int, str], ...]:
    hidden = [(start, end) for start, end in document["mask_spans"]]
    public = [
        (start, end)
        for start, end in document["all_entity_spans"]
        if all(end <= first or last <= start for first, last in hidden)
    ]
    return (*((*place, MASKED) for place in hidden), *((*place, PUBLIC) for place in public))


def generated(count: int, seed: int) -> Sequence[Annotated]:
    """Texts of our own making: messages, forms, logs, letters. The same for the same seed."""
    return [
        Annotated(sentence.text, tuple((start, end, GENERATED[label]) for start, end, label in sentence.spans))
        for sentence in sentences(count, seed)
    ]
