"""Scoring of synthetic sentences as presidio-evaluator 0.2.4 does it, in `Evaluator.calculate_score`. Pure.

That is the score of presidio-research's notebooks 4 and 5: spaCy's tokens are labelled by the gold spans and by what
was found; precision, recall and F (beta 2 unless told otherwise: recall counts more) are over tokens that are a value
of any type ("PII"). A token that both sides label differently, and that is punctuation or a common word, counts for
nothing. The package itself brings pandas, plotly, scikit-learn and Faker; a test holds its results against these.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from edge_agent.privacy.evaluation.datasets import Gold, Labelled
from edge_agent.privacy.evaluation.figure import share
from edge_agent.privacy.spans import Span

BETA = 2.0
OUTSIDE = "O"

PRESIDIO_NAMES: Mapping[str, str] = {"DOMAIN_NAME": "URL", "GPE": "LOCATION", "STREET_ADDRESS": "LOCATION"}
"""The set's types that Presidio calls otherwise (the package's `presidio_entities_map`); the rest are the same."""

OUR_NAMES: Mapping[str, str] = {
    "ADDRESS": "LOCATION",
    "DATE_OF_BIRTH": "DATE_TIME",
    "DEMOGRAPHIC": "NRP",
    "DRIVER_LICENSE": "US_DRIVER_LICENSE",
    "HOSTNAME": "URL",
}
"""Our types that Presidio calls otherwise."""

Tokens = Sequence[tuple[int, str]]
"""Tokens of a text in order: where each begins, and its characters."""


@dataclass(frozen=True, slots=True)
class Score:
    """Counts of tokens: values in truth, values as found, and those that are both. `by_type`: (found, there)."""

    there: int
    found: int
    rightly: int
    by_type: Mapping[str, tuple[int, int]]

    @property
    def precision(self) -> float:
        """The package's `pii_precision`."""
        return share(self.rightly, self.found)

    @property
    def recall(self) -> float:
        """The package's `pii_recall`."""
        return share(self.rightly, self.there)

    def f(self, beta: float = BETA) -> float:
        """The package's `pii_f`."""
        weighted = beta**2 * self.precision + self.recall
        return (1 + beta**2) * self.precision * self.recall / weighted if weighted else 0.0


def score(
    sentences: Sequence[Labelled],
    tokens: Sequence[Tokens],
    found: Sequence[Sequence[Span]],
    *,
    types: frozenset[str],
    stop_words: Iterable[str],
) -> Score:
    """What was `found`, types named as Presidio does, held against the sentences.

    Only `types`, again Presidio's names, count, on both sides: the package takes those that the analyzer supports.
    `stop_words` are spaCy's for English.
    """
    skipped = _SKIPPED.union(stop_words)
    pairs: Counter[tuple[str, str]] = Counter()
    for sentence, words, spans in zip(sentences, tokens, found, strict=True):
        truth = _kept(labels(words, [_as_presidio(gold) for gold in sentence.spans]), types)
        guess = _kept(labels(words, spans), types)
        for (_, word), there, here in zip(words, truth, guess, strict=True):
            if there == here or word.lower().strip() not in skipped:
                pairs[there, here] += 1
    return _counted(pairs)


def labels(tokens: Tokens, spans: Sequence[Span]) -> list[str]:
    """A type for each token: that of the first span which holds the token's first character, or lies within it."""
    settled = _apart(spans)
    return [_label(start, start + len(word), settled) for start, word in tokens]


def renamed(spans: Iterable[Span]) -> list[Span]:
    """Our findings under Presidio's names."""
    return [Span(span.start, span.end, OUR_NAMES.get(span.type, span.type), span.score) for span in spans]


def _label(start: int, end: int, spans: Sequence[Span]) -> str:
    for span in spans:
        if span.start <= start < span.end or (start <= span.start <= end and start <= span.end <= end):
            return span.type
    return OUTSIDE


def _apart(spans: Sequence[Span]) -> list[Span]:
    """Overlapping spans cut as the package cuts them, the likelier over the less likely, in order.

    Ends are treated as if they belonged to the span, so that touching ones count as overlapping; a span that is cut
    away wholly stays. Both are the package's ways, and are needed for its figures.
    """
    rows = sorted(spans, key=_start)
    index = 0
    while index < len(rows) - 1:
        for other in range(index + 1, len(rows)):
            first, second = rows[index], rows[other]
            if not first.start <= second.start <= first.end:
                continue
            if first.score > second.score:
                inside = second.end <= first.end
                rows[other] = replace(second, score=0.0) if inside else replace(second, start=first.end + 1)
            else:
                if second.end < first.end:
                    rows.append(replace(first, start=second.end + 1))
                rows[index] = replace(first, end=second.start - 1)
        index += 1
    return sorted(rows, key=_start)


def _start(span: Span) -> int:
    return span.start


def _as_presidio(gold: Gold) -> Span:
    return Span(gold.start, gold.end, PRESIDIO_NAMES.get(gold.type, gold.type), 0.5)


def _kept(types_of_tokens: Iterable[str], types: frozenset[str]) -> list[str]:
    return [one if one in types else OUTSIDE for one in types_of_tokens]


def _counted(pairs: Mapping[tuple[str, str], int]) -> Score:
    there: Counter[str] = Counter()
    hit: Counter[str] = Counter()
    found = 0
    for (truth, guess), count in pairs.items():
        found += count if guess != OUTSIDE else 0
        if truth != OUTSIDE:
            there[truth] += count
            hit[truth] += count if guess != OUTSIDE else 0
    by_type = {kind: (hit[kind], count) for kind, count in sorted(there.items())}
    return Score(there.total(), found, hit.total(), by_type)


# The package's own list, beside the stop words: its data are full of addresses, ages and dates.
_SKIPPED = frozenset(string.punctuation).union(
    ("", "\n", "\n\n", "\n\n\n", "\n\n\n\n", "\t", "\t\t", "\t\t\t", "\t\t\t\t", " ", ">>", ">>>", ">>>>", ">>>>>"),
    (">>>>>>", "'s", "street", "st.", "st", "de", "rue", "via", "address", "country", "state", "city", "zip", "po"),
    ("apt", "unit", "corner", "p.o.", "box", "suite", "mr.", "mrs.", "miss", "inc", "inc.", "ltd"),
    ("day", "days", "week", "weeks", "weekend", "month", "months", "year", "years", "y/o", "old", "age", "ago"),
    ("morning", "noon", "afternoon", "night", "evening", "this", "first", "last"),
    ("a", "and", "as", "do", "of", "or", "the"),
)
