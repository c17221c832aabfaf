"""Scoring of what still shows of a value after masking, as llm-redactor publishes it, and stricter. Pure.

LLM-Redactor (Agyemang et al. 2026) counts a value as leaked where its text, or any four characters of it in a row,
stands anywhere in what leaves: its "combined" leak rate. That counts "corp" of one company's name against another's,
and misses three digits that are left of a number; so what is left at the value's own place is counted, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from edge_agent.privacy.evaluation.datasets import Gold, Labelled, Range
from edge_agent.privacy.evaluation.figure import share

PARTIAL = 4
"""Characters in a row that count as a partial leak, as published."""

IN_PLACE = 3
"""Letters and digits in a row, left of a value at its own place, that may still say what it was."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A text's masked form as it would leave, and which ranges of the text were masked; None where nothing leaves."""

    outgoing: str
    masked: tuple[Range, ...]


@dataclass(slots=True)
class Leaks:
    """How many values there are, and how many leak, by kind."""

    values: Counter[str] = field(default_factory=Counter)
    exact: Counter[str] = field(default_factory=Counter)
    combined: Counter[str] = field(default_factory=Counter)
    in_place: Counter[str] = field(default_factory=Counter)

    @property
    def exact_rate(self) -> float:
        """Share of the values whose text stands in what leaves."""
        return share(self.exact.total(), self.values.total())

    @property
    def combined_rate(self) -> float:
        """The published rate: share of the values that leak wholly or in part."""
        return share(self.combined.total(), self.values.total())

    @property
    def in_place_rate(self) -> float:
        """Share of the values of which something is left where they stood."""
        return share(self.in_place.total(), self.values.total())

    def by_kind(self) -> dict[str, float]:
        """`combined_rate` of each kind."""
        return {kind: share(self.combined[kind], count) for kind, count in sorted(self.values.items())}


def leaks(texts: Sequence[Labelled], sent: Iterable[Sent | None]) -> Leaks:
    """What of the values in `texts` leaves, where `sent` is what became of each."""
    found = Leaks()
    for labelled, left in zip(texts, sent, strict=True):
        for gold in labelled.spans:
            value = labelled.text[gold.start : gold.end]
            found.values[gold.type] += 1
            if left is not None:
                exact = value in left.outgoing
                found.exact[gold.type] += exact
                found.combined[gold.type] += exact or _partly(value, left.outgoing)
                found.in_place[gold.type] += _shows(labelled.text, gold, left.masked)
    return found


def _partly(value: str, outgoing: str) -> bool:
    pieces = (value[start : start + PARTIAL] for start in range(len(value) - PARTIAL + 1))
    return any(piece in outgoing for piece in pieces)


def _shows(text: str, gold: Gold, masked: Iterable[Range]) -> bool:
    covered = {index for start, end in masked for index in range(max(start, gold.start), min(end, gold.end))}
    length = longest = shown = letters = 0
    for index in range(gold.start, gold.end):
        counted = text[index].isalnum()
        letters += counted
        length = length + 1 if counted and index not in covered else 0
        shown += length > 0
        longest = max(longest, length)
    return longest >= IN_PLACE or (letters > 0 and shown == letters)
