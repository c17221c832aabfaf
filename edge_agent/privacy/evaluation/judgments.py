"""Scoring on court judgments (Text Anonymization Benchmark; Pilán et al. 2022, Computational Linguistics 48(4)).

The benchmark's own idea, over characters: what must be hidden, is it hidden wholly; and of what is hidden, how much
had to be. Spaces and punctuation count for nothing. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edge_agent.privacy.evaluation.datasets import Judgment, Range
from edge_agent.privacy.evaluation.figure import share

_CASE_NUMBER = re.compile(r"(?<![\d/])\d+/\d\d(?![\d/])")


@dataclass(frozen=True, slots=True)
class Coverage:
    """Counts over documents. `mentions` that must be hidden, and how many are, wholly; letters and digits masked."""

    mentions: int = 0
    mentions_hidden: int = 0
    case_numbers: int = 0
    case_numbers_hidden: int = 0
    masked: int = 0
    masked_rightly: int = 0
    masked_in_entities: int = 0

    def __add__(self, other: Coverage) -> Coverage:
        """Both together."""
        return Coverage(
            self.mentions + other.mentions,
            self.mentions_hidden + other.mentions_hidden,
            self.case_numbers + other.case_numbers,
            self.case_numbers_hidden + other.case_numbers_hidden,
            self.masked + other.masked,
            self.masked_rightly + other.masked_rightly,
            self.masked_in_entities + other.masked_in_entities,
        )

    @property
    def recall(self) -> float:
        """Share of the mentions that must be hidden of which no letter and no digit shows."""
        return share(self.mentions_hidden, self.mentions)

    @property
    def case_number_recall(self) -> float:
        """The same, of the mentions that hold an application's number such as 1234/05."""
        return share(self.case_numbers_hidden, self.case_numbers)

    @property
    def precision(self) -> float:
        """Share of the masked letters and digits that had to be hidden."""
        return share(self.masked_rightly, self.masked)

    @property
    def entity_precision(self) -> float:
        """Share of the masked letters and digits that belong to any entity, to be hidden or not."""
        return share(self.masked_in_entities, self.masked)


def coverage(judgments: Sequence[Judgment], found: Sequence[Iterable[Range]]) -> Coverage:
    """The counts over `judgments`, where `found` are the ranges masked in each."""
    total = Coverage()
    for judgment, ranges in zip(judgments, found, strict=True):
        total += _of_one(judgment, ranges)
    return total


def _of_one(judgment: Judgment, ranges: Iterable[Range]) -> Coverage:
    text = judgment.text
    counts = [character.isalnum() for character in text]
    masked = _marked(ranges, len(text))
    hidden = [place for place in judgment.mask_spans if _covered(place, counts, masked)]
    numbers = [place for place in judgment.mask_spans if _CASE_NUMBER.search(text, *place)]
    seen = [
        index
        for index, (is_masked, is_counted) in enumerate(zip(masked, counts, strict=True))
        if is_masked and is_counted
    ]
    rightly, entities = _marked(judgment.mask_spans, len(text)), _marked(judgment.entity_spans, len(text))
    return Coverage(
        mentions=len(judgment.mask_spans),
        mentions_hidden=len(hidden),
        case_numbers=len(numbers),
        case_numbers_hidden=len(set(numbers) & set(hidden)),
        masked=len(seen),
        masked_rightly=sum(rightly[index] for index in seen),
        masked_in_entities=sum(entities[index] for index in seen),
    )


def _covered(place: Range, counts: Sequence[bool], masked: bytearray) -> bool:
    return all(masked[index] or not counts[index] for index in range(*place))


def _marked(ranges: Iterable[Range], length: int) -> bytearray:
    marks = bytearray(length)
    for start, end in ranges:
        marks[start:end] = b"\1" * (min(end, length) - start)
    return marks
